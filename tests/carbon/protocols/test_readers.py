"""What holds for all readers: whole, split anywhere, with rubbish after – the same datapoints."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.protocols.line import LineReader
from carbon.protocols.msgpack import MsgpackReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.protobuf import ProtobufReader
from carbon.protocols.reader import Batch, Sampled, joined, warm_up
from tests.carbon.protocols.spoken import SPOKEN, Spoken
from tests.carbon.protocols.streams import Point, Stream, fault, read
from tests.effort import tries

names = st.text("abc.;=é-_", min_size=1, max_size=30).map(str.encode).filter(lambda name: fault(name) is None)
points = st.tuples(names, st.integers(0, 2**32 - 1), st.floats(allow_nan=False, allow_infinity=False))
batches = st.lists(st.lists(points, max_size=6), max_size=4)
every = pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
RUBBISH = [
    b"\xff" * 8,
    b"\n",
    b"\0\0\0\2.\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xc1\xff\xff\xff\n",
    b"\x1f\x8b\x08\x00junk",
]


@every
@given(batches=batches, cuts=st.lists(st.integers(0, 1000), max_size=6))
@settings(max_examples=tries(40))
def test_a_stream_split_anywhere_gives_the_same_datapoints(
    spoken: Spoken, batches: list[list[Point]], cuts: list[int]
) -> None:
    stream, expected = b"".join(map(spoken.encode, batches)), [point for batch in batches for point in batch]
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for pieces in (
        [stream],
        [stream[a:b] for a, b in pairwise(edges)],
        [stream[i : i + 1] for i in range(len(stream))],
    ):
        assert read(spoken.make, pieces) == (expected, {}, None)


@every
@given(batches=batches, rubbish=st.sampled_from(RUBBISH) | st.binary(min_size=1, max_size=12))
@settings(max_examples=tries(40))
def test_rubbish_after_datapoints_costs_none_of_them(
    spoken: Spoken, batches: list[list[Point]], rubbish: bytes
) -> None:
    stream, expected = b"".join(map(spoken.encode, batches)), [point for batch in batches for point in batch]
    for pieces in ([stream + rubbish], [stream, rubbish], [stream + rubbish[:1], rubbish[1:]]):
        assert read(spoken.make, pieces).points[: len(expected)] == expected


@every
def test_names_that_come_in_the_same_order_again_are_the_same_ids(spoken: Spoken) -> None:
    stream = Stream(spoken.make)
    points = [(b"a.%d" % i, 10, i / 2) for i in range(300)]
    for _ in range(3):
        assert stream.feed(spoken.encode(points)) == points
    assert stream.feed(spoken.encode(points[::-1])) == points[::-1]
    assert len(stream.names.interned) == 300


@pytest.mark.parametrize("reader", [LineReader, PickleReader, MsgpackReader, ProtobufReader])
def test_a_sample_is_a_datapoint(reader: Sampled) -> None:
    assert [name for name, *_ in read(reader, [reader.sample]).points] == [b"a"]
    warm_up(reader)


def test_batches_are_joined_in_their_order() -> None:
    stream = Stream(SPOKEN["line"].make)
    first, second = stream.reader.feed(b"a 1 1\nb 2 2\n", 0), stream.reader.feed(b"c 3 3\n", 0)
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert stream.points(joined([first, second])) == [(b"a", 1, 1.0), (b"b", 2, 2.0), (b"c", 3, 3.0)]
    assert joined([first]) is first
    assert joined([]) is None
