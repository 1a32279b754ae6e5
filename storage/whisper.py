"""A whisper file, Graphite's: its bytes ↔ a schema and slots, its path ↔ a name. No file is touched here.

All numbers are big-endian. A file is a header, then archives, finest first, each a run of points:

    header   u32 method (1 = average, …, the order of WHISPER_METHODS)   u32 seconds of the longest archive
             f32 xFilesFactor   u32 archives   then for each: u32 offset   u32 step   u32 points
    point    u32 timestamp (0 = never written)   f64 value

Which slot a timestamp lies in follows from the archive's first point, the *base*: (timestamp - base) // step modulo
points. A point counts when its timestamp is the one that is expected there; any other is left over from an
earlier turn of the ring. A series `name;tag=value` lies in `_tagged/` under the SHA-256 of its name.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import naming
from storage.consolidation import WHISPER_METHODS
from storage.errors import CorruptWhisper, InvalidName, InvalidRetention
from storage.retention import ARCHIVES_MAX, Archive, Retention
from storage.schema import Schema

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SUFFIX = ".wsp"
_START = struct.Struct(">IIfI")
_ARCHIVE = struct.Struct(">III")
_POINT = np.dtype([("timestamp", ">u4"), ("value", ">f8")])
_COMPRESSED = b"whisper_compressed"  # go-carbon's other format
_HEADERS_MAX = 1024  # different ones remembered: an installation has about as many as storage rules
_POINTS_AT_ONCE = 1 << 17  # decoded together: their columns stay in the cache


@dataclass(frozen=True)
class Layout:
    """What a header says."""

    schema: Schema
    offsets: tuple[int, ...]  # of each archive

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.offsets[-1] + self.schema.retention.archives[-1].points * _POINT.itemsize


class Span(NamedTuple):
    """Slots of an archive, `slot = timestamp // step`."""

    first: int
    slots: int


def span(archive: Archive, now: int, ahead_s: int) -> Span:
    """The slots that whisper reads of an archive at `now`, and those of the `ahead_s` seconds after."""
    first = (now - archive.duration) // archive.step + 1
    return Span(first, (now + ahead_s) // archive.step + 1 - first)


# --- bytes ---


def layout(data: bytes) -> Layout:
    """The layout of a file; raises CorruptWhisper for one that whisper cannot read, or only reads by luck."""
    if data.startswith(_COMPRESSED):
        raise CorruptWhisper("a compressed file of go-carbon: convert it to plain whisper first")
    if len(data) < _START.size:
        raise CorruptWhisper(f"the header is cut short: {len(data)} bytes")
    archives = _START.unpack_from(data)[3]
    if not 1 <= archives <= ARCHIVES_MAX:
        raise CorruptWhisper(f"{archives:,} archives; 1 to {ARCHIVES_MAX} are allowed")
    header = _START.size + archives * _ARCHIVE.size
    if len(data) < header:
        raise CorruptWhisper(f"the header is cut short: {len(data)} of {header} bytes")
    found = _layout(data[:header])
    if len(data) < found.size:
        raise CorruptWhisper(f"the file is cut short: {len(data):,} of {found.size:,} bytes")
    return found


@lru_cache(_HEADERS_MAX)
def _layout(header: bytes) -> Layout:
    code, longest, factor, count = _START.unpack_from(header)
    if not 1 <= code <= len(WHISPER_METHODS):
        raise CorruptWhisper(f"aggregation method {code:,}; 1 to {len(WHISPER_METHODS)} are known")
    if not 0 <= factor <= 1:
        raise CorruptWhisper(f"an xFilesFactor of {factor:g}; 0 to 1 is allowed")
    entries = [_ARCHIVE.unpack_from(header, _START.size + i * _ARCHIVE.size) for i in range(count)]
    try:
        retention = Retention(tuple(Archive(step, points) for _, step, points in entries))
    except InvalidRetention as error:
        raise CorruptWhisper(f"archives that cannot be: {error}") from None
    if longest != retention.longest:
        raise CorruptWhisper(f"a retention of {longest:,} s, but archives of {retention.longest:,} s")
    expected = len(header)
    for offset, _, points in entries:
        if offset != expected:
            raise CorruptWhisper(f"an archive at byte {offset:,} that belongs at {expected:,}")
        expected += points * _POINT.itemsize
    # the shortest number that is this float32: 0.3 and not 0.30000001192092896, so that shards are shared
    schema = Schema(retention, WHISPER_METHODS[code - 1], float(str(np.float32(factor))))
    return Layout(schema, tuple(offset for offset, _, _ in entries))


def decode(files: Sequence[bytes], shape: Layout, i: int, wanted: Span) -> Floats:
    """float64 (files, slots): archive i of files with one layout, NaN where whisper finds nothing."""
    archive, start = shape.schema.retention.archives[i], shape.offsets[i]
    out = np.full((len(files), wanted.slots), np.nan)
    stop = start + archive.points * _POINT.itemsize
    at_once = max(1, _POINTS_AT_ONCE // archive.points)
    for at in range(0, len(files), at_once):
        data = b"".join([memoryview(file)[start:stop] for file in files[at : at + at_once]])
        points = np.frombuffer(data, _POINT).reshape(-1, archive.points)
        for begin in range(0, archive.points, _POINTS_AT_ONCE):
            _place(points, begin, archive.step, wanted, out[at : at + at_once])
    return out


def _place(points: npt.NDArray[np.void], begin: int, step: int, wanted: Span, out: Floats) -> None:
    """Bring points (files, points) from `begin` on, those that count, to their slots of out (files, slots)."""
    some = points[:, begin : begin + _POINTS_AT_ONCE]
    timestamps = some["timestamp"].astype(np.int64)
    base = points["timestamp"][:, :1].astype(np.int64)
    slot = timestamps // step
    counts = (timestamps == slot * step) & (base != 0)
    slot -= wanted.first
    counts &= (slot >= 0) & (slot < wanted.slots)
    place = np.arange(begin, begin + some.shape[1])
    counts &= (timestamps - base) // step % points.shape[1] == place
    row, at = np.nonzero(counts)
    out[row, slot[row, at]] = some["value"][row, at]


def encode(schema: Schema, spans: Sequence[Span], archives: Sequence[Floats]) -> bytes:
    """A file with these slots, (slots,) for each archive, NaN left out; the method must be whisper's.

    Slots beyond an archive's points take the places of the oldest, as they do when they come over the years.
    """
    retention = schema.retention
    code = WHISPER_METHODS.index(schema.method) + 1
    parts = [_START.pack(code, retention.longest, schema.x_files_factor, len(archives))]
    offset = _START.size + len(archives) * _ARCHIVE.size
    for archive in retention.archives:
        parts.append(_ARCHIVE.pack(offset, archive.step, archive.points))
        offset += archive.points * _POINT.itemsize
    for archive, (first, _), values in zip(retention.archives, spans, archives, strict=True):
        points = np.zeros(archive.points, _POINT)
        known = np.flatnonzero(~np.isnan(values))
        # the base is a point that is known: whisper takes an archive that begins with none for empty
        at = (known - known[:1]) % archive.points
        points["timestamp"][at] = (first + known) * archive.step
        points["value"][at] = values[known]
        parts.append(points.tobytes())
    return b"".join(parts)


# --- names ---

_TAGGED = "_tagged/"
_DOT = "_DOT_"
_HASH = re.compile(r"[0-9a-f]{64}")
_NODE_BYTES_MAX = 255 - len(SUFFIX) - 4  # what file systems allow, and room for the end of a temporary name


def name_of(path: str) -> str:
    """The canonical name whose file has this path, relative and ending in .wsp; raises InvalidName."""
    stem = path.removesuffix(SUFFIX)
    if stem.startswith(_TAGGED):
        return _tagged_name(stem)
    if "." in stem:
        raise InvalidName("a dot in the name of a folder or file, which Graphite would take for a node's end")
    if ";" in stem:
        raise InvalidName("a name with tags outside of _tagged")
    return _sound(stem.replace("/", "."))


def _tagged_name(stem: str) -> str:
    folder, _, encoded = stem[len(_TAGGED) :].partition("/")
    folder_below, _, encoded = encoded.partition("/")
    if _HASH.fullmatch(encoded):
        raise InvalidName("the hash of a name with tags, which only Graphite's tag database can turn back")
    if ";" not in encoded or "." in encoded:
        raise InvalidName("no name with tags, but in _tagged")
    name = _sound(encoded.replace(_DOT, "."))
    digest = _digest(name)
    if naming.canonical(name) != name or (folder, folder_below) != (digest[:3], digest[3:6]):
        raise InvalidName("a name with tags in a folder that is not its own")
    return name


def _sound(name: str) -> str:
    if fault := naming.fault(name.encode("utf-8", "surrogateescape")):
        raise InvalidName(f"a name that cannot be stored: {fault.words}")
    return name


def path_of(name: str) -> str:
    """The path of a canonical name's file, relative; raises InvalidName where it would not lead back to it.

    Tags are written out, which carbon and graphite-web read and carbon's own hashed names do not allow to be turned
    back; hashed are only those that no file can be called.
    """
    if ";" in name:
        digest = _digest(name)
        encoded = name.replace(".", _DOT)
        if "/" in name or _DOT in name or len(encoded.encode()) > _NODE_BYTES_MAX:
            encoded = digest
        return f"{_TAGGED}{digest[:3]}/{digest[3:6]}/{encoded}{SUFFIX}"
    if "/" in name:
        raise InvalidName("a slash in the name, which would be a folder of its own")
    nodes = name.split(".")
    if nodes[0] == _TAGGED[:-1]:
        raise InvalidName("the first node is the folder of names with tags")
    if max(len(node.encode()) for node in nodes) > _NODE_BYTES_MAX:
        raise InvalidName("a node that is too long to be the name of a file")
    return "/".join(nodes) + SUFFIX


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
