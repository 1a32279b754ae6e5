"""Datapoints in the words of every protocol: what suites for all readers send."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # has no stubs
import zstandard

from carbon.names import NameTable
from carbon.protocols.compressed import CompressedReader
from carbon.protocols.line import LineReader
from carbon.protocols.msgpack import MsgpackReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.protobuf import ProtobufReader
from carbon.stats import Stats
from tests.carbon.protocols.streams import Make, Point

Encode = Callable[[list[Point]], bytes]


class Spoken(NamedTuple):
    """A protocol: its reader, and the bytes that say datapoints in it."""

    make: Make
    encode: Encode


def framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def lines(points: list[Point]) -> bytes:
    return b"".join(b"%b %b %d\n" % (name, repr(value).encode(), when) for name, when, value in points)


def pickled(protocol: int, number: Callable[[float], Any] = float) -> Encode:
    def encode(points: list[Point]) -> bytes:
        return framed(
            pickle.dumps([(name.decode(), (when, number(value))) for name, when, value in points], protocol)
        )

    return encode


def packed(points: list[Point]) -> bytes:
    return b"".join(msgpack.packb([name.decode(), [when, value]]) for name, when, value in points)


def packed_list(points: list[Point]) -> bytes:
    return (
        bytes(msgpack.packb([[name.decode(), [when, value]] for name, when, value in points]))
        if points
        else b""
    )


def packed_columns(points: list[Point]) -> bytes:
    names, whens, values = ([point[i] for point in points] for i in range(3))
    return bytes(msgpack.packb({"names": names, "timestamps": whens, "values": values}))


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def protobuf(points: list[Point]) -> bytes:
    metrics = []
    for name, when, value in points:
        point = b"\x08" + varint(when) + b"\x11" + struct.pack("<d", value)
        metrics.append(_field(1, _field(1, name) + _field(2, point)))
    return framed(b"".join(metrics))


def inside(make: Make) -> Make:
    """A reader for streams that may be compressed."""

    def made(names: NameTable, stats: Stats) -> CompressedReader:
        return CompressedReader(make(names, stats))

    return made


ZSTD = zstandard.ZstdCompressor().compress
SPOKEN = {
    "line": Spoken(LineReader, lines),
    "pickle 0 with texts": Spoken(PickleReader, pickled(0, str)),
    "pickle 2": Spoken(PickleReader, pickled(2)),
    "pickle 5": Spoken(PickleReader, pickled(5)),
    "msgpack": Spoken(MsgpackReader, packed),
    "msgpack list": Spoken(MsgpackReader, packed_list),
    "msgpack columns": Spoken(MsgpackReader, packed_columns),
    "protobuf": Spoken(ProtobufReader, protobuf),
    "lines in gzip": Spoken(inside(LineReader), lambda points: gzip.compress(lines(points))),
    "lines in zstd": Spoken(inside(LineReader), lambda points: ZSTD(lines(points))),
    "pickle 2 in gzip": Spoken(inside(PickleReader), lambda points: gzip.compress(pickled(2)(points))),
    "msgpack in zstd": Spoken(inside(MsgpackReader), lambda points: ZSTD(packed(points))),
    "protobuf in gzip": Spoken(inside(ProtobufReader), lambda points: gzip.compress(protobuf(points))),
    "lines perhaps compressed": Spoken(inside(LineReader), lines),
}
