"""Compressed streams: what is inside is read whatever the pieces, and a bomb ends the stream at its bound."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.protocols.compressed import GZIP, WINDOW_BYTES_MAX, ZSTD
from carbon.protocols.line import LineReader
from carbon.protocols.msgpack import MsgpackReader
from tests.carbon.protocols import streams
from tests.carbon.protocols.spoken import SPOKEN, inside
from tests.carbon.protocols.streams import NOW, Outcome, Stream

Compress = Callable[[bytes], bytes]
COMPRESS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
compressions = st.sampled_from(list(COMPRESS.values()))
lines = st.lists(
    st.sampled_from([b"a.b 1 10\n", b"c 2.5 -1\r\n", b"d x 1\n", b"e 1\n", b"rest"]), max_size=20
)


lines_reader = inside(LineReader)


def read(pieces: Iterable[bytes]) -> Outcome:
    return streams.read(lines_reader, pieces)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(at, len(data)) for at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(lines.map(b"".join), max_size=4), compressions, st.lists(st.integers(0, 300), max_size=5))
def test_members_one_after_another_are_the_stream_that_they_hold(
    parts: list[bytes], compress: Compress, cuts: list[int]
) -> None:
    stream = b"".join(map(compress, parts))
    expected = streams.read(LineReader, [b"".join(parts)])
    assert read([stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected
    assert read(cut(stream, cuts)) == expected


@given(st.binary(max_size=40) | lines.map(b"".join), st.lists(st.integers(0, 40), max_size=5))
def test_a_stream_that_is_not_compressed_goes_through_as_it_is(data: bytes, cuts: list[int]) -> None:
    if not data.startswith((GZIP, ZSTD)):
        assert read([*cut(data, cuts), b"\nz 1 1\n"]) == streams.read(LineReader, [data + b"\nz 1 1\n"])


@pytest.mark.parametrize("magic", [GZIP, ZSTD], ids=["gzip", "zstd"])
def test_no_reader_has_a_datapoint_that_begins_like_a_compressed_stream(magic: bytes) -> None:
    tail = b"a 1 10\n" + b"\0" * 100
    line = streams.read(LineReader, [magic + tail])
    assert line == Outcome([], {"control character" if magic == GZIP else "not utf8": 1}, None)
    for framed in ("pickle 2", "protobuf"):
        assert "longer than" in str(streams.read(SPOKEN[framed].make, [magic + tail]).broken)
    assert streams.read(MsgpackReader, [magic[:1]]).rejected == {"bad item": 1}


@given(compressions, st.integers(0, 10**6))
def test_of_a_stream_that_is_cut_all_is_read_that_has_come(compress: Compress, at: int) -> None:
    data = b"".join(b"a.b %d %d\n" % (i * 7919 % 1000, i) for i in range(1, 4000))
    stream = compress(data)
    outcome = read([stream[: at % len(stream)]])
    assert outcome.broken is None
    assert outcome.points == streams.read(LineReader, [data]).points[: len(outcome.points)]


@given(compressions, st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_damage_ends_the_stream_and_costs_nothing_before_it(
    compress: Compress, at: int, change: bytes
) -> None:
    data = b"a.b 1 10\n" * 50
    good, bad = compress(data), bytearray(compress(b"c.d 2 20\n" * 50))
    at %= len(bad)
    bad[at : at + len(change)] = change
    outcome = read([good, bytes(bad)])
    assert outcome.points[:50] == streams.read(LineReader, [data]).points
    assert outcome.broken is None or "that cannot be read" in outcome.broken or "window" in outcome.broken


@pytest.mark.parametrize("name", COMPRESS)
def test_rubbish_after_a_member_ends_the_stream(name: str) -> None:
    outcome = read([COMPRESS[name](b"a 1 10\n") + b"rubbish"])
    assert outcome == Outcome([(b"a", 10, 1.0)], {}, f"{name} data that cannot be read")


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_a_broken_stream_stays_broken(compress: Compress) -> None:
    stream, good = Stream(lines_reader), compress(b"a 1 10\n")
    for data, names in ((good + b"rubbish", [b"a"]), (good, []), (b"", [])):
        with pytest.raises(BadFrame, match="cannot be read") as caught:
            stream.feed(data)
        assert [name for name, *_ in stream.points(caught.value.batch)] == names


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("pickle 2", b"\xff\xff\xff\xff"),
        ("msgpack", b"\xc1"),
        ("protobuf", b"\0\0\0\1\xff"),
        ("line", b"\xff 1 1\n"),
    ],
)
@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_a_bad_frame_inside_ends_the_stream_with_what_came_before(
    name: str, bad: bytes, compress: Compress
) -> None:
    good = SPOKEN[name].encode([(b"a", 10, 1.0)])
    outcome = streams.read(inside(SPOKEN[name].make), [compress(good * 3 + bad)])
    assert outcome.points == [(b"a", 10, 1.0)] * 3
    assert (outcome.broken is None) == (name == "line")


def zstd_bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(b"\0" * size)


BOMBS: dict[str, Callable[[], bytes]] = {  # not made before they are asked for: that takes seconds
    "gzip of zeros": lambda: gzip.compress(b"\0" * (1 << 28)),
    "gzip of short lines": lambda: gzip.compress(b"a 1 1\n" * (1 << 24)),
    "zstd of zeros": lambda: zstd_bomb(1 << 28),
    "zstd of short lines": lambda: zstandard.ZstdCompressor().compress(b"a 1 1\n" * (1 << 24)),
    "many small members": lambda: gzip.compress(b"") * 12_000,
    "many small frames": lambda: zstandard.ZstdCompressor().compress(b"") * 20_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_and_ends_its_stream(name: str) -> None:
    stream, bomb = Stream(lines_reader), BOMBS[name]()
    streams.read(LineReader, [b"a 1 1\n"])  # the kernels are compiled before
    tracemalloc.start()
    started = time.process_time()
    broken = None
    try:
        for at in range(0, len(bomb), 1 << 18):
            stream.reader.feed(bomb[at : at + (1 << 18)], NOW)
    except BadFrame as bad:
        broken = bad.reason
    spent = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert broken == (None if "many" in name else "compressed data that expands too much")
    assert peak < 160_000_000  # of short lines the columns, of zstd a block of 8 MiB; 256 MB were sent
    assert spent < 5


def test_a_zstd_window_that_takes_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(b"a 1 10\n" * 1000) + compressor.flush()
    assert WINDOW_BYTES_MAX < 1 << 27
    assert read([data]).broken == "zstd window too large"


def test_zlib_has_nothing_left_when_a_piece_was_expanded() -> None:
    data = b"".join(b"a.b %d %d\n" % (i, i) for i in range(1, 30_000))
    stream = Stream(lines_reader)
    compressor = zlib.compressobj(wbits=31)
    sent = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(stream.feed(sent)) == 29_999
