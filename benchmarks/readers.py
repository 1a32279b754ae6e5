"""How many datapoints a second does one core read in each protocol, from bytes to columns, of names that are known?

The twin is what one would write with the protocol's library: Python objects, and a dict of names. Frames and batches
hold 500 datapoints, as a carbon-relay sends them.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # has no stubs
import zstandard

from benchmarks.kernel import plain
from benchmarks.measure import Row, cpu_seconds
from benchmarks.workbench import Workbench, names, now_in_steps
from carbon.names import NameTable
from carbon.protocols.compressed import CompressedReader
from carbon.protocols.line import LineReader
from carbon.protocols.msgpack import MsgpackReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.protobuf import ProtobufReader
from carbon.protocols.reader import Reader
from carbon.stats import Stats

_PIECE = 1 << 18
_BATCH = 500
Point = tuple[str, int, float]
Twin = Callable[[bytes, dict[Any, int]], object]


class _Spoken(NamedTuple):
    """A protocol: its reader, the bytes of some datapoints, and the twin."""

    what: str
    make: Callable[[NameTable, Stats], Reader]
    encode: Callable[[list[Point]], bytes]
    peer: str
    twin: Twin | None
    limit: float  # datapoints/CPU-s


def rows(bench: Workbench) -> Iterator[Row]:
    now = now_in_steps()
    points = [(name, now, i % 1000 / 8) for i, name in enumerate(names(bench.size(100_000)))]
    for spoken in _SPOKEN:
        stream = b"".join(spoken.encode(points[at : at + _BATCH]) for at in range(0, len(points), _BATCH))
        pieces = [stream[at : at + _PIECE] for at in range(0, len(stream), _PIECE)]
        stats = Stats()
        table = NameTable(None, stats)
        reader = spoken.make(table, stats)
        ours = cpu_seconds(lambda reader=reader, pieces=pieces: _read(reader, pieces, now))  # type: ignore[misc]  # bound now
        assert len(table.interned) == len(points)
        theirs = None
        if spoken.twin is not None:
            ids: dict[Any, int] = {}
            theirs = cpu_seconds(lambda twin=spoken.twin, stream=stream, ids=ids: twin(stream, ids), runs=3)  # type: ignore[misc]  # likewise
            assert len(ids) == len(points)
        yield Row(
            f"readers: {spoken.what}",
            len(points) / ours,
            "datapoints/CPU-s",
            spoken.peer,
            None if theirs is None else len(points) / theirs,
            limit=spoken.limit,
        )


def _read(reader: Reader, pieces: list[bytes], now: int) -> None:
    for piece in pieces:
        reader.feed(piece, now)


# --- bytes ---


def _framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def _lines(points: list[Point]) -> bytes:
    return b"".join(f"{name} {value} {when}\n".encode() for name, when, value in points)


def _pickled(protocol: int, number: Callable[[float], Any] = float) -> Callable[[list[Point]], bytes]:
    return lambda points: _framed(
        pickle.dumps([(name, (when, number(value))) for name, when, value in points], protocol)
    )


def _packed(points: list[Point]) -> bytes:
    return b"".join(msgpack.packb([name, [when, value]]) for name, when, value in points)


def _packed_columns(points: list[Point]) -> bytes:
    paths, whens, values = zip(*points, strict=True)
    n = len(points)
    columns = {
        "names": paths, "timestamps_i64": struct.pack(f"<{n}q", *whens), "values_f64": struct.pack(f"<{n}d", *values)
    }  # fmt: skip
    return bytes(msgpack.packb(columns))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + _varint(number >> 7)


def _protobuf(points: list[Point]) -> bytes:
    return _framed(
        b"".join(
            _field(
                1,
                _field(1, name.encode())
                + _field(2, b"\x08" + _varint(when) + struct.pack("<Bd", 0x11, value)),
            )
            for name, when, value in points
        )
    )


# --- twins ---


def _columns(items: Iterable[Any], ids: dict[Any, int]) -> tuple[list[int], list[int], list[float]]:
    series, timestamps, values = [], [], []
    for name, (timestamp, value) in items:
        series.append(ids.setdefault(name, len(ids)))
        timestamps.append(int(timestamp))
        values.append(float(value))
    return series, timestamps, values


def _unpickle(stream: bytes, ids: dict[Any, int]) -> None:
    at = 0
    while at < len(stream):
        (size,) = struct.unpack_from(">I", stream, at)
        _columns(pickle.loads(stream[at + 4 : at + 4 + size]), ids)  # our own bytes
        at += 4 + size


def _unpack(stream: bytes, ids: dict[Any, int]) -> None:
    unpacker = msgpack.Unpacker()
    unpacker.feed(stream)
    _columns(unpacker, ids)


def _unpack_columns(stream: bytes, ids: dict[Any, int]) -> None:
    unpacker = msgpack.Unpacker()
    unpacker.feed(stream)
    for batch in unpacker:
        n = len(batch["names"])
        whens = struct.unpack(f"<{n}q", batch["timestamps_i64"])
        values = struct.unpack(f"<{n}d", batch["values_f64"])
        _columns(zip(batch["names"], zip(whens, values, strict=True), strict=True), ids)


def _gunzip(stream: bytes, ids: dict[Any, int]) -> None:
    while stream:
        member = zlib.decompressobj(wbits=31)
        plain(member.decompress(stream), ids)
        stream = member.unused_data


def _unzstd(stream: bytes, ids: dict[Any, int]) -> None:
    while stream:
        frame = zstandard.ZstdDecompressor().decompressobj()
        plain(frame.decompress(stream), ids)
        stream = frame.unused_data


def _compressed(make: Callable[[NameTable, Stats], Reader]) -> Callable[[NameTable, Stats], Reader]:
    return lambda table, stats: CompressedReader(make(table, stats))


def _plain_lines(stream: bytes, ids: dict[Any, int]) -> None:
    plain(stream, ids)


_GZIP: Callable[[list[Point]], bytes] = lambda points: zlib.compress(_lines(points), wbits=31)  # noqa: E731  # a row of the table
_ZSTD: Callable[[list[Point]], bytes] = lambda points: zstandard.ZstdCompressor().compress(_lines(points))  # noqa: E731  # likewise
_SPOKEN = (
    _Spoken("lines", _compressed(LineReader), _lines, "split, float, dict", _plain_lines, 5e6),
    _Spoken("lines in gzip", _compressed(LineReader), _GZIP, "zlib, split, float, dict", _gunzip, 1e6),
    _Spoken("lines in zstd", _compressed(LineReader), _ZSTD, "zstandard, split, float, dict", _unzstd, 2e6),
    _Spoken("pickle 2 (carbon-relay)", PickleReader, _pickled(2), "pickle.loads, dict", _unpickle, 1e6),
    _Spoken(
        "pickle 2 of texts (statsd)", PickleReader, _pickled(2, str), "pickle.loads, dict", _unpickle, 1e6
    ),
    _Spoken("pickle 0 (Dropwizard)", PickleReader, _pickled(0, str), "pickle.loads, dict", _unpickle, 5e5),
    _Spoken("msgpack", MsgpackReader, _packed, "msgpack, dict", _unpack, 2e6),
    _Spoken(
        "msgpack in packed columns",
        MsgpackReader,
        _packed_columns,
        "msgpack, struct, dict",
        _unpack_columns,
        2e6,
    ),
    _Spoken("protobuf", ProtobufReader, _protobuf, "protobuf", None, 2e6),
)


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["readers", *sys.argv[1:]]))
