"""The line reader: whole, split anywhere, rubbish after – the same datapoints; bad lines counted by reason."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.names import REFUSED, NameTable
from carbon.protocols.line import LineReader
from carbon.stats import Stats
from tests.carbon.memory import MemorySeries
from tests.effort import tries

NOW = 1_700_000_000
Point = tuple[str, int, float]


class Stream:
    """A reader, and what came out of it as (name, timestamp, value)."""

    def __init__(self, **limits: int) -> None:
        self.stats, self.store = Stats(), MemorySeries()
        self.names = NameTable(self.store, self.stats)
        self.reader = LineReader(self.names, self.stats, **limits)
        self.points: list[Point] = []

    def feed(self, *pieces: bytes) -> Stream:
        for piece in pieces:
            batch = self.reader.feed(piece, NOW)
            if batch is not None:
                names = self.names.interned.names(batch.ids)
                self.names.series_of(batch.ids)
                self.points += zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True)
        return self

    @property
    def rejected(self) -> dict[str, int]:
        return dict(self.stats.rejected)


def plain(data: bytes) -> list[Point]:
    """The twin: what str.split and float() make of the whole lines of data."""
    points = []
    for line in data.split(b"\n")[:-1]:
        fields = line.split()
        if len(fields) not in (2, 3):
            continue
        try:
            name, value = fields[0].decode(), float(fields[1])
            when = float(fields[2]) if len(fields) == 3 else -1
        except ValueError:
            continue
        bad_name = (
            not all(name.split("."))
            or len(fields[0]) > 4096
            or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name)
        )
        if bad_name or not np.isfinite(value) or not abs(when) < 1e11:
            continue
        points.append((name, NOW if when == -1 else int(np.floor(when)), value))
    return points


Names = st.sampled_from(
    ["a.b", "hosts.web-1.cpu.user", "ü.ß", "x", "a.b.c.d.e", "a..b", ".a", "a.", "b\x7f", "c\x85"]
)
Numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=7).map(str),
    st.sampled_from(
        ["nan", "inf", "-inf", "1_000", "0x10", "1e", "--1", "+.5", "1e400", "1e-400", "5e-324", ".", ""]
    ),
)
Times = st.one_of(
    st.integers(0, 2**32).map(str),
    st.sampled_from(["-1", "1700000000.9", "nan", "inf", "1e9", "1e300", "x", "-5"]),
)
Blanks = st.sampled_from([" ", "\t", "  ", " \t "])
Lines = st.builds(
    lambda *parts: "".join(parts).encode(), st.sampled_from(["", " "]), Names, Blanks, Numbers, Blanks, Times,
    st.sampled_from(["\n", "\r\n", " \n", " junk\n"]),
)  # fmt: skip
Text = st.lists(Lines, max_size=30).map(b"".join)


@given(Text)
@settings(max_examples=tries(300), deadline=None)
def test_a_buffer_of_lines_gives_what_split_and_float_give(data: bytes) -> None:
    # a form feed and its like are white space to bytes.split, but not to the protocol
    assert Stream().feed(data).points == plain(data)


@given(Text, st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=tries(150), deadline=None)
def test_a_stream_split_anywhere_gives_the_same_datapoints(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert Stream().feed(*pieces).points == Stream().feed(data).points


@given(st.binary(max_size=300))
@settings(max_examples=tries(300), deadline=None)
def test_rubbish_neither_raises_nor_costs_the_lines_around_it(rubbish: bytes) -> None:
    stream = Stream().feed(b"a.b 1 10\n" + rubbish + b"\nc.d 2 20\n")
    assert stream.points[0] == ("a.b", 10, 1.0)
    assert stream.points[-1] == ("c.d", 20, 2.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a.b", "not three fields"),
        (b"a.b 1 2 3", "not three fields"),
        (b"a.b x 10", "bad value"),
        (b"a.b 1 x", "bad timestamp"),
        (b"a.b nan 10", "value is NaN"),
        (b"a.b -inf 10", "value is infinite"),
        (b"a..b 1 10", "empty node"),
        (b".a 1 10", "empty node"),
        (b"a. 1 10", "empty node"),
        (b"a\x01b 1 10", "control character"),
        (b"a\xc2\x9bb 1 10", "control character"),
        (b"a\xffb 1 10", "not utf8"),
        (b"a." + b"b" * 4096 + b" 1 10", "too long"),
    ],
)
def test_a_bad_line_is_counted_under_its_reason_and_the_rest_is_kept(line: bytes, reason: str) -> None:
    stream = Stream().feed(b"before 1 10\n" + line + b"\nafter 2 20\n")
    assert stream.rejected == {reason: 1}
    assert [name for name, _, _ in stream.points] == ["before", "after"]


@pytest.mark.parametrize("name", [b"a;=1", b"a;b", b"a;b=", b"a;b!=1", b"a;b=~1"])
def test_a_bad_tag_is_refused_once_for_all(name: bytes) -> None:
    stream = Stream().feed(name + b" 1 10\nb 1 10\n", name + b" 1 20\n")
    ids = np.array([stream.names.interned.find(one) for one in (name, b"b")], np.int32)
    bad, good = stream.names.series_of(ids).tolist()
    assert bad < 0
    assert good == 0
    assert [refusal.reason for refusal in stream.names.refusals(ids[:1])] == ["bad tag"]
    assert stream.names.ids_of([name]).tolist() == [REFUSED]
    assert stream.store.names == [b"b"]


@pytest.mark.parametrize(
    ("line", "point"),
    [
        (b"a.b\t 1  \t10\r\n", ("a.b", 10, 1.0)),
        (b" \t a.b 1 10 \n", ("a.b", 10, 1.0)),
        (b"a.b 1 10\r\r\n", ("a.b", 10, 1.0)),
        (b"a.b 1 -1\n", ("a.b", NOW, 1.0)),
        (b"a.b 1 -1.0\n", ("a.b", NOW, 1.0)),
        (b"a.b 1\n", ("a.b", NOW, 1.0)),  # carbon refuses it
        (b"a.b\t1e3\r\n", ("a.b", NOW, 1000.0)),
        (b"a.b 1_000 10\n", ("a.b", 10, 1000.0)),
        (b"a.b +.5 1.7e9\n", ("a.b", 1_700_000_000, 0.5)),
        (b"a.b 1 10.9\n", ("a.b", 10, 1.0)),
        (b"a.b 1 -5\n", ("a.b", -5, 1.0)),
        (b"\xc3\xbc;t=\xc3\x9f 1 10\n", ("ü;t=ß", 10, 1.0)),
        (b"a 1 10 \x20\n", ("a", 10, 1.0)),
    ],
)
def test_what_carbon_reads_is_read(line: bytes, point: Point) -> None:
    assert Stream().feed(line).points == [point]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a", "not three fields"),
        (b"a 1 1700000000000", "bad timestamp"),  # milliseconds,
        (b"a 1 1700000000000000000", "bad timestamp"),  # nanoseconds
        (b"a 0x10 10", "bad value"),
        (b"a 1 0x10", "bad timestamp"),
        (b"a \xff 10", "bad value"),
        (b"a 1 \xff", "bad timestamp"),
        (b"a 1 nan", "bad timestamp"),
        (b"a\x001 1 1", "control character"),
        (b"a\x0b1 1 10", "control character"),  # vertical tab and form feed separate nothing here
        (b"a\x0c1 1 10", "control character"),
        (b"a \xd9\xa1 10", "bad value"),  # a digit, but not of ASCII
        (b"a 1,5 10", "bad value"),
    ],
)
def test_what_no_datapoint_is_is_counted(line: bytes, reason: str) -> None:
    stream = Stream().feed(line + b"\nb 1 10\n")
    assert stream.points == [("b", 10, 1.0)]
    assert stream.rejected == {reason: 1}


@pytest.mark.parametrize("line", [b"\n", b" \r\n", b"\t\n"])
def test_an_empty_line_is_none(line: bytes) -> None:
    assert Stream().feed(line).rejected == {}


def test_no_series_is_made_for_a_name_without_a_good_value() -> None:
    stream = Stream().feed(b"rate nan 10\nother 1 10\n")
    assert stream.store.names == [b"other"]


def test_a_giant_line_is_skipped_to_its_newline_in_bounded_memory() -> None:
    stream = Stream(line_bytes_max=1000)
    stream.feed(b"a 1 10\n")
    for _ in range(2000):
        stream.feed(b"x" * 5000)
        assert len(stream.reader._rest) <= 1000
    stream.feed(b"y 1 10\nb 2 20\n")
    assert [point[0] for point in stream.points] == ["a", "b"]
    assert stream.rejected == {"line too long": 1}


def test_names_are_interned_once_whatever_the_order() -> None:
    stream = Stream().feed(b"a 1 1\nb 2 1\nc 3 1\n" * 3, b"c 1 2\na 2 2\nb 3 2\n", b"a 4 3\nb 5 3\n")
    assert len(stream.names.interned) == 3
    assert stream.points[-5:] == [("c", 2, 1.0), ("a", 2, 2.0), ("b", 2, 3.0), ("a", 3, 4.0), ("b", 3, 5.0)]


def test_tags_in_any_order_are_one_series() -> None:
    stream = Stream().feed(b"cpu;host=a;dc=x 1 10\ncpu;dc=x;host=a 2 20\ncpu;dc=y;dc=x;host=a 3 30\n")
    assert stream.names.series_of(np.arange(3, dtype=np.int32)).tolist() == [0, 0, 0]
    assert stream.store.names == [b"cpu;dc=x;host=a"]


def test_names_beyond_the_bound_are_refused_and_the_known_ones_kept() -> None:
    stats = Stats()
    names = NameTable(MemorySeries(), stats, names_max=2)
    batch = LineReader(names, stats).feed(b"a 1 1\nb 1 1\nc 1 1\na 2 2\n", NOW)
    assert batch is not None
    assert batch.values.tolist() == [1.0, 1.0, 2.0]
    assert dict(stats.rejected) == {"too many names": 1}


def test_a_datagram_need_not_end_with_a_newline() -> None:
    stream = Stream()
    batch = stream.reader.whole(b"a 1 10\nb 2 20", NOW)
    assert batch is not None
    assert batch.values.tolist() == [1.0, 2.0]


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=tries(500), deadline=None)
def test_every_float_comes_through_to_the_last_bit(bits: int) -> None:
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    if np.isfinite(value):
        point = Stream().feed(f"a {value!r} 1\n".encode()).points[0]
        assert struct.pack("<d", point[2]) == struct.pack("<d", value)
