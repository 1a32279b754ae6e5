"""Frames from a process that reads senders to the one that writes, sans-IO: columns in, columns out.

Both ends run on one machine, so all numbers are in its own byte order. A frame is a head of 12 bytes and a body:

    version  uint8      1
    kind     uint8
             uint16     0
    size     uint32     of the body, at most 8 MiB
    count    uint32

    kind 1   names      count names: first uint32, lengths uint16[count], then the names end to end.
                        On each connection names are numbered anew from 0, each is sent once; first is the number of the
                        first, which is how many there were before
    kind 2   batch      count datapoints: texts (listener, source), numbers of names int32[count], epoch seconds
                        int64[count], values float64[count]
    kind 3   rejects    count datapoints that were refused: texts (listener, reason, source, sample)
    kind 4   gauges     connections open uint32, of them held back uint32, datagrams the kernel dropped uint64

Texts are their sizes in bytes, uint16 each, then the texts end to end, UTF-8. Whoever writes answers with an uint32
now and then: so many frames more of kinds 2 to 4 were taken. What is not known to be taken when the connection ends is
sent again on the next one.

The peer is a process of ours; still, a frame that cannot be is a BadFrame, and the connection is closed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from carbon.errors import BadFrame
from carbon.names import NAMES_MAX, Bytes, Ids, Integers, NameTable
from carbon.protocols.reader import Batch
from storage.intern import grown

BODY_BYTES_MAX = 8 << 20
DATAPOINTS_MAX = (
    1 << 15
)  # what one batch should have, at most: 10 ms of the writer's time, for names that are known
_NAMES_BYTES = 1 << 20  # of names in one frame, and one name more
_VERSION = 1
_NAMES, _BATCH, _REJECTS, _GAUGES = 1, 2, 3, 4
_DATAPOINT_BYTES = 4 + 8 + 8
_NAME_NUMBERS_MAX = NAMES_MAX  # of one connection: a table of theirs takes 4 bytes each
_HEAD = struct.Struct("=BBHII")
_FIRST, _COUNTS, _TAKEN = struct.Struct("=I"), struct.Struct("=IIQ"), struct.Struct("=I")


class Arrived(NamedTuple):
    """Datapoints, their names as ids of our own table; `refused` more have a name that it did not take."""

    batch: Batch
    listener: str
    source: str
    refused: int


class Refused(NamedTuple):
    """Datapoints that were refused where they were read."""

    listener: str
    reason: str
    source: str
    sample: bytes
    datapoints: int


class Gauges(NamedTuple):
    """How a reader is doing."""

    connections: int
    paused: int
    udp_drops: int


Event = Arrived | Refused | Gauges


def encode_names(first: int, text: Bytes, lengths: Integers) -> Iterator[bytes]:
    """Frames of names that lie end to end in the text, int64 (names,) bytes each; numbered from `first`."""
    stops = np.cumsum(lengths)
    at = start = 0
    while at < len(lengths):
        last = max(at + 1, int(np.searchsorted(stops, start + _NAMES_BYTES, "right")))
        stop = int(stops[last - 1])
        body = lengths[at:last].astype(np.uint16).tobytes() + text[start:stop].tobytes()
        yield _frame(_NAMES, last - at, _FIRST.pack(first + at) + body)
        at, start = last, stop


def encode_batch(batch: Batch, listener: str, source: str) -> bytes:
    """A frame of at most DATAPOINTS_MAX datapoints, whose ids are the names' numbers on the connection."""
    texts = _texts(listener.encode(), source.encode())
    columns = [np.ascontiguousarray(column).data for column in batch]
    size = len(texts) + sum(column.nbytes for column in columns)
    return b"".join((_HEAD.pack(_VERSION, _BATCH, 0, size, len(batch.ids)), texts, *columns))  # one copy


def encode_rejects(refused: Refused) -> bytes:
    listener, reason, source = (text.encode() for text in refused[:3])
    return _frame(_REJECTS, refused.datapoints, _texts(listener, reason, source, refused.sample))


def encode_gauges(gauges: Gauges) -> bytes:
    return _frame(_GAUGES, 0, _COUNTS.pack(*gauges))


def encode_taken(frames: int) -> bytes:
    return _TAKEN.pack(frames)


def _frame(kind: int, count: int, body: bytes) -> bytes:
    return _HEAD.pack(_VERSION, kind, 0, len(body), count) + body


def _texts(*texts: bytes) -> bytes:
    return struct.pack(f"={len(texts)}H", *map(len, texts)) + b"".join(texts)


class TakenReader:
    """What the writer answers."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """How many frames were taken, by what `data` completes."""
        data = self._rest + data
        whole = len(data) // _TAKEN.size * _TAKEN.size
        self._rest = data[whole:]
        return sum(frames for (frames,) in _TAKEN.iter_unpack(data[:whole]))


class ColumnsReader:
    """Reads one connection; its names get ids of `names`."""

    def __init__(self, names: NameTable) -> None:
        self._names = names
        self._ids: Ids = np.empty(0, np.int32)  # of each number, -1 = refused
        self._count = 0  # numbers given
        self._counted = 0  # names just refused, for each of which a datapoint was counted already
        self._rest = bytearray()
        self._wanted = _HEAD.size

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the data, which may end anywhere, completes; to be asked to its end. Raises BadFrame."""
        self._rest += data
        if len(self._rest) < self._wanted:
            return
        data, at = bytes(self._rest), 0
        missing = _HEAD.size
        while len(data) - at >= _HEAD.size:
            kind, count, start, stop = _head(data, at)
            missing = stop - at
            if stop > len(data):
                break
            event = self._read(kind, count, data, start, stop)
            if event is not None:
                yield event
            at, missing = stop, _HEAD.size
        self._rest, self._wanted = bytearray(data[at:]), missing

    def _read(self, kind: int, count: int, data: bytes, at: int, stop: int) -> Event | None:
        if kind == _NAMES:
            self._take_names(count, data, at, stop)
            return None
        if kind == _BATCH:
            return self._batch(count, data, at, stop)
        if kind == _REJECTS:
            (listener, reason, source, sample), end = _read_texts(4, data, at, stop)
            _check(end == stop, "rejects of a wrong size")
            return Refused(_text(listener), _text(reason), _text(source), sample, count)
        _check(kind == _GAUGES and stop - at == _COUNTS.size, "no such frame of columns")
        return Gauges(*_COUNTS.unpack_from(data, at))

    def _take_names(self, count: int, data: bytes, at: int, stop: int) -> None:
        blob = at + _FIRST.size + 2 * count
        _check(blob <= stop, "names of a wrong size")
        _check(_FIRST.unpack_from(data, at)[0] == self._count, "names out of their order")
        _check(self._count + count <= _NAME_NUMBERS_MAX, "too many names on a connection")
        stops = np.cumsum(np.frombuffer(data, np.uint16, count, at + _FIRST.size), dtype=np.int64)
        _check(blob + int(stops[-1] if count else 0) == stop, "names of a wrong size")
        starts = np.zeros(count, np.int64)
        starts[1:] = stops[:-1]
        ids = self._names.ids_of_spans(np.frombuffer(data, np.uint8, stop - blob, blob), starts, stops)
        if self._count + count > len(self._ids):
            self._ids = grown(self._ids, self._count + count)
        self._ids[self._count : self._count + count] = ids
        self._count += count
        self._counted += int(np.count_nonzero(ids < 0))

    def _batch(self, count: int, data: bytes, at: int, stop: int) -> Arrived:
        (listener, source), at = _read_texts(2, data, at, stop)
        _check(stop - at == count * _DATAPOINT_BYTES, "a batch of a wrong size")
        numbers = np.frombuffer(data, np.int32, count, at)
        _check(not count or (numbers.min() >= 0 and numbers.max() < self._count), "a name that was not sent")
        ids = self._ids[numbers]
        # copies: what kernels are compiled for is aligned and can be written
        timestamps = np.frombuffer(data, np.int64, count, at + 4 * count).copy()
        values = np.frombuffer(data, np.float64, count, at + 12 * count).copy()
        batch, refused = Batch(ids, timestamps, values), 0
        if count and ids.min() < 0:
            good = ids >= 0
            batch = Batch(ids[good], timestamps[good], values[good])
            refused = count - len(batch.ids)
            counted = min(refused, self._counted)
            refused, self._counted = refused - counted, self._counted - counted
        return Arrived(batch, _text(listener), _text(source), refused)


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    """(kind, count, where the body begins, where it ends)"""
    version, kind, zero, size, count = _HEAD.unpack_from(data, at)
    _check(version == _VERSION and not zero, "another version of columns")
    _check(size <= BODY_BYTES_MAX, "a frame of columns that is too large")
    start = at + _HEAD.size
    return kind, count, start, start + size


def _read_texts(count: int, data: bytes, at: int, stop: int) -> tuple[list[bytes], int]:
    """The texts, and where they end."""
    _check(at + 2 * count <= stop, "texts of a wrong size")
    sizes = struct.unpack_from(f"={count}H", data, at)
    at += 2 * count
    texts = []
    for size in sizes:
        texts.append(data[at : at + size])
        at += size
    _check(at <= stop, "texts of a wrong size")
    return texts, at


def _text(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BadFrame("a text that is no UTF-8") from None


def _check(is_so: bool | np.bool_, words: str) -> None:
    if not is_so:
        raise BadFrame(words)
