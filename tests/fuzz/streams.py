"""What must hold of any bytes, for every reader, and bytes that are nearly right.

A reader raises nothing but BadFrame, keeps all good datapoints that came before, and of lines those that come after
too; however the stream is split it says the same; time and memory are bounded by the bytes that came.
"""

from __future__ import annotations

import pickle
import random
import time
import zlib

import psutil

from carbon.errors import BadFrame
from carbon.protocols.reader import Batch
from tests.carbon.protocols.spoken import SPOKEN, framed
from tests.carbon.protocols.streams import NOW, Point, Stream

GOOD: list[Point] = [(b"good.%d" % i, 10 + i, i / 2) for i in range(5)]
LAST: list[Point] = [(b"last", 99, 1.0)]
CPU_S, CPU_S_A_BYTE = 0.3, 50e-6  # on a loaded machine; most input takes 5 ns a byte
RSS_BYTES_MAX = 128 << 20  # more than at the start; the largest frame of the worst objects takes 32 MB
_BITS = [
    b"\0",
    b"\xff",
    b"\n",
    b"\x80",
    b"\x7f",
    b" ",
    b"-",
    b".",
    b"(",
    b"\x90",
    b"\xdd\xff\xff\xff\xff",
    b"nan",
    b"1e999",
]


def prepare() -> None:
    """Have the kernels compiled, so that no check is too slow for that."""
    for name, spoken in SPOKEN.items():
        assert _read(name, [spoken.encode(GOOD)])[0] == GOOD


def seeds() -> dict[str, list[bytes]]:
    """For each protocol, streams that are right, and some that are known to be nasty."""
    points: list[Point] = [*GOOD, ("ü.ß;t=1".encode(), 1_700_000_000, -1.5e300), (b"x" * 300, 0, 0.0)]
    found = {name: [spoken.encode(points), spoken.encode(GOOD[:1])] for name, spoken in SPOKEN.items()}
    items = [
        ("a", ("1", "nan")),
        ("b", (-1, None)),
        ["c", [1.5, True]],
        ("", (1, 2)),
        5,
        ("d", (2**70, 2**200 * 1.0)),
    ]
    for protocol in range(6):
        found["pickle 2"].append(framed(pickle.dumps(items, protocol)))
        found["pickle 2"].append(framed(pickle.dumps({"a": {1}}, protocol)))
    found["pickle 2"] += [
        framed(b"]" + b"".join(b"\x94(" + b"h%c" % i * 60 + b"l" for i in range(255)) + b".")
    ]
    found["line"] += [
        b"a 1\r\n\t b\t2  -1\n",
        b"a\0b 1 1\nc x y\n d\n",
        b"\xff" * 50 + b"\n",
        b"a 1_0 1e9\n" * 3,
    ]
    found["msgpack columns"].append(b"\x83\xa4name\xa1a\xaatimestamps\x92\x01\xc0\xa6values\x92\x01\xa3nan")
    found["msgpack"].append(b"\x92\xa1a\x92\xd6\xff\0\0\0\1\xcb\x7f\xf8\0\0\0\0\0\0" + b"\x91" * 50 + b"\xc0")
    found["protobuf"].append(framed(b"\x0a\x0e\x12\x0b\x08\x05\x11\0\0\0\0\0\0\0\0\x0a\x01\xff"))
    found["lines in gzip"].append(zlib.compress(b"a 1 1\n" * 10_000, wbits=31))
    return found


def mutated(data: bytes, other: bytes, source: random.Random) -> bytes:
    """The data with some of its bytes changed, moved, said again, cut out or put in."""
    out = bytearray(data)
    for _ in range(1 << source.randrange(4)):
        at, size = source.randrange(len(out) + 1), 1 << source.randrange(6)
        part = out[at : at + size]
        how = source.randrange(7)
        if how == 0 and part:
            out[at] ^= 1 << source.randrange(8)
        elif how == 1:
            del out[at : at + size]
        elif how == 2:
            out[at:at] = part * source.randrange(1, 20)
        elif how == 3:
            out[at : at + source.randrange(3)] = source.choice(_BITS)
        elif how == 4:
            out[at:at] = source.randbytes(size)
        elif how == 5:
            cut = source.randrange(len(other) + 1)
            out[at:at] = other[cut : cut + size]
        else:
            out[at : at + 4] = source.choice([0, 1, len(out), 2**20, 2**31, 2**32 - 1]).to_bytes(4, "big")
    return bytes(out)


def check(name: str, middle: bytes, cuts: list[int]) -> None:
    """Send good datapoints, the middle and good ones again; raises AssertionError where a promise is broken."""
    spoken = SPOKEN[name]
    before = spoken.encode(GOOD)
    after = b"\n" + spoken.encode(LAST) if spoken.make is SPOKEN["line"].make else b""
    stream = before + middle + after
    started = time.process_time()
    points, _ = _read(name, [before, middle, after])
    split, _ = _read(
        name, [stream[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True)]
    )
    spent = time.process_time() - started
    assert points[: len(GOOD)] == GOOD, "datapoints that came before were lost"
    if after:
        assert points[-1:] == LAST, "a line that came after was lost"
    most = min(len(points), len(split)) if " in " in name else max(len(points), len(split))
    # of damaged compressed data a library may keep back what it has expanded so far
    assert points[:most] == split[:most], "split elsewhere the stream says something else"
    assert spent < 2 * (CPU_S + CPU_S_A_BYTE * len(stream)), f"{spent:.2f} s for {len(stream)} bytes"


def _read(name: str, pieces: list[bytes]) -> tuple[list[Point], str | None]:
    stream = Stream(SPOKEN[name].make)
    points: list[Point] = []
    for piece in pieces:
        batch: Batch | None = None
        try:
            batch = stream.reader.feed(piece, NOW)
        except BadFrame as bad:
            return points + stream.points(bad.batch), bad.reason
        points += stream.points(batch)
    return points, None


def rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
