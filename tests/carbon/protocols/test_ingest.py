"""A body of lines: what was taken, what was refused and which lines, whatever it is encoded in."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols.ingest import (
    CUT_SHORT,
    SAMPLES_MAX,
    TEXT_CHARACTERS_MAX,
    TOO_LARGE,
    UNKNOWN_ENCODING,
    Ingested,
    ingest,
)
from carbon.protocols.line import LineReader
from carbon.stats import Stats
from tests.carbon.memory import MemorySeries
from tests.carbon.protocols import streams
from tests.carbon.protocols.streams import NOW


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODINGS: list[Any] = [
    ("", bytes),
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("GZIP ", lambda body: gzip.compress(body[:10]) + gzip.compress(body[10:])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("gzip, zstd", lambda body: zstandard.ZstdCompressor().compress(gzip.compress(body))),
]


def post(body: bytes, encoding: str = "", **limits: int) -> Ingested:
    stats = Stats()
    ingested = ingest(body, encoding, NameTable(MemorySeries(), stats), stats, NOW, **limits)
    assert ingested.answer["refused"] == dict(stats.rejected)
    return ingested


lines = st.sampled_from(
    [
        b"a.b 1 10",
        b"c 2.5",
        b"",
        b"d x 1",
        b"e 1 x",
        b"f nan 1",
        b"g..h 1 1",
        b"\xff 1 1",
        b"i",
        b"1 2 3 4",
        b"j x x",
    ]
)


@given(st.lists(lines, max_size=60), st.sampled_from(ENCODINGS), st.sampled_from([b"\n", b"\r\n"]))
def test_the_answer_counts_what_lines_say_and_shows_the_first_that_were_refused(
    body: list[bytes], encoding: Any, newline: bytes
) -> None:
    name, encode = encoding
    answer, batch = post(encode(newline.join(body)), name)
    expected = streams.read(LineReader, [newline.join(body) + b"\n"])
    assert answer["refused"] == expected.rejected
    assert answer["taken"] == len(expected.points) == (0 if batch is None else len(batch.ids))
    bad = []
    for at, line in enumerate(body, 1):
        (reason,) = streams.read(LineReader, [line + b"\n"]).rejected or [None]
        if reason:
            bad.append((at, line, reason))
    assert [(sample["line"], sample["reason"]) for sample in answer["samples"]] == [
        (at, reason) for at, _, reason in bad[:SAMPLES_MAX]
    ]
    for sample, (_, line, _) in zip(answer["samples"], bad, strict=False):
        assert sample["text"].startswith(repr(line.decode("utf-8", "backslashreplace"))[:-1])


def test_a_sample_is_clipped() -> None:
    (sample,) = post(b"a " + b"x" * 100_000 + b" 1")[0]["samples"]
    assert len(sample["text"]) == TEXT_CHARACTERS_MAX


def test_control_characters_of_a_sample_are_escaped() -> None:
    (sample,) = post(b"a\x1b[31m 1 1")[0]["samples"]
    assert sample["text"] == "'a\\x1b[31m 1 1'"


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip, gzip", "gzip;q=1"])
def test_an_encoding_that_is_not_known_is_refused(encoding: str) -> None:
    with pytest.raises(BadFrame, match=UNKNOWN_ENCODING):
        post(b"a 1 1", encoding)


@pytest.mark.parametrize(("name", "encode"), ENCODINGS)
def test_a_body_as_long_as_allowed_is_read_and_a_byte_more_is_not(name: str, encode: Any) -> None:
    body = b"a.b.c.d 1 10\n" * 100
    if "," not in name:
        assert post(encode(body), name, bytes_max=len(body))[0]["taken"] == 100
    with pytest.raises(BadFrame, match=TOO_LARGE):
        post(encode(body), name, bytes_max=len(body) - 1)


@pytest.mark.parametrize(("name", "encode"), ENCODINGS[2:])
def test_a_compressed_body_that_is_cut_or_damaged_is_refused_whole(name: str, encode: Any) -> None:
    whole = encode(b"".join(b"a.b %d %d\n" % (i, i) for i in range(1, 400)))
    with pytest.raises(BadFrame, match=f"{CUT_SHORT}|cannot be read"):
        post(whole[:-5], name)
    with pytest.raises(BadFrame, match=f"{CUT_SHORT}|cannot be read|window"):
        post(b"\x28\xb5\x2f\xfd" + b"\xff" * 50, name)


def test_a_bomb_of_any_encoding_takes_no_more_than_a_body() -> None:
    bombs = {
        "gzip": gzip.compress(b"\n" * (1 << 27)),
        "zstd": zstandard.ZstdCompressor().compress(b"\n" * (1 << 27)),
    }
    for name, bomb in bombs.items():
        tracemalloc.start()
        with pytest.raises(BadFrame, match=TOO_LARGE):
            post(bomb, name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40_000_000
