"""Columns → bytes → columns: what our own readers, and Python's, read of lines and frames."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.protocols.pickle import PickleReader
from carbon.relay import encode_kernels as kernels
from carbon.relay.encode import (
    FRAME_BYTES_MAX,
    FRAME_DATAPOINTS_MAX,
    Chunk,
    Format,
    encode,
    encode_lines,
    encode_pickle,
)
from carbon.stats import Stats
from storage.intern import Interned, lay
from tests.carbon.memory import MemorySeries
from tests.effort import tries

Datapoint = tuple[bytes, int, float]

Node = st.text(st.characters(categories=("L", "N"), include_characters="-_:"), min_size=1, max_size=8)
Paths = st.lists(Node, min_size=1, max_size=5).map(lambda nodes: ".".join(nodes).encode())
Tagged = st.builds(lambda path, tag: path + b";host=" + tag.encode(), Paths, Node)
Datapoints = st.lists(
    st.tuples(Paths | Tagged, st.integers(0, 10**11 - 1), st.floats(allow_nan=False, allow_infinity=False)),
    max_size=40,
)


class Columns:
    """Datapoints as a relay has them: an id into a table of names."""

    def __init__(self, points: list[Datapoint]) -> None:
        self.names = Interned(seed=7)
        self.ids = self.names.add_all(*lay([b"another", *(name for name, _, _ in points)]))[1:]
        self.timestamps = np.array([timestamp for _, timestamp, _ in points], np.int64)
        self.values = np.array([value for _, _, value in points], np.float64)

    def encode(self, form: Format) -> bytes:
        return encode(form, self.names, self.ids, self.timestamps, self.values)


def same(a: list[Datapoint], b: list[Datapoint]) -> bool:
    """Values bit for bit."""
    return [(n, t, struct.pack("<d", v)) for n, t, v in a] == [(n, t, struct.pack("<d", v)) for n, t, v in b]


def read_lines(data: bytes) -> list[Datapoint]:
    """By our own reader, which must find nothing wrong."""
    return _read(LineReader, data)


def read_frames(data: bytes) -> list[Datapoint]:
    return _read(PickleReader, data)


def _read(kind: type[LineReader | PickleReader], data: bytes) -> list[Datapoint]:
    stats = Stats()
    table = NameTable(MemorySeries(), stats)
    batch = kind(table, stats).feed(data, 1)
    assert not stats.rejected
    if batch is None:
        return []
    names = [name.encode() for name in table.interned.names(batch.ids)]
    return list(zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True))


def frames(data: bytes) -> list[bytes]:
    """The pickles in the frames, which must be whole."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        assert len(data) >= 4 + size
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def unpickled(data: bytes) -> list[Datapoint]:
    """By Python's own unpickler, as carbon reads frames."""
    items: list[Any] = [item for frame in frames(data) for item in pickle.loads(frame)]
    return [(name.encode(), timestamp, value) for name, (timestamp, value) in items]


# --- round trips ---


@given(Datapoints)
@settings(max_examples=tries(150))
@example([(b"a", 0, -0.0)])
def test_lines_read_back_as_the_same(points: list[Datapoint]) -> None:
    assert same(read_lines(Columns(points).encode(Format.LINE)), points)


@given(Datapoints)
@settings(max_examples=tries(150))
def test_frames_read_back_as_the_same(points: list[Datapoint]) -> None:
    data = Columns(points).encode(Format.PICKLE)
    assert same(read_frames(data), points)
    assert same(unpickled(data), points)


@given(Datapoints)
def test_lines_are_their_plain_twin(points: list[Datapoint]) -> None:
    lines = Columns(points).encode(Format.LINE).splitlines(keepends=True)
    assert len(lines) == len(points)
    for line, (name, timestamp, _) in zip(lines, points, strict=True):
        assert line.startswith(name + b" ")
        assert line.endswith(b" %d\n" % timestamp)
        assert line.count(b" ") == 2


@given(
    Datapoints.filter(bool),
    st.sampled_from([-(2**63), -(2**31) - 1, -(2**31), -1, 2**31 - 1, 2**31, 2**63 - 1]),
)
def test_any_timestamp_is_written(points: list[Datapoint], odd: int) -> None:
    points[0] = (points[0][0], odd, points[0][2])
    columns = Columns(points)
    assert same(unpickled(columns.encode(Format.PICKLE)), points)
    assert columns.encode(Format.LINE).split(b"\n")[0].split()[2] == b"%d" % odd


@pytest.mark.parametrize("form", Format)
def test_nothing_is_no_bytes(form: Format) -> None:
    assert Columns([]).encode(form) == b""


def test_columns_that_are_views_are_read_as_they_are() -> None:
    columns = Columns([(b"a.%d" % i, i, i / 8) for i in range(100)])
    columns.ids, columns.timestamps, columns.values = (
        columns.ids[::3],
        columns.timestamps[::3],
        columns.values[::3],
    )
    wanted = [(b"a.%d" % i, i, i / 8) for i in range(0, 100, 3)]
    assert same(read_lines(columns.encode(Format.LINE)), wanted)
    assert same(unpickled(columns.encode(Format.PICKLE)), wanted)


# --- frames ---


def test_a_frame_has_no_more_datapoints_than_carbon_sends() -> None:
    data = Columns([(b"a", i, 1.0) for i in range(1201)]).encode(Format.PICKLE)
    assert [len(pickle.loads(frame)) for frame in frames(data)] == [FRAME_DATAPOINTS_MAX] * 2 + [201]


def test_a_frame_of_long_names_is_short_enough_for_carbon() -> None:
    points = [(b"%04d." % i + b"x" * 4000, i, 1.0) for i in range(400)]
    data = Columns(points).encode(Format.PICKLE)
    assert len(frames(data)) == 4
    assert max(map(len, frames(data))) <= FRAME_BYTES_MAX
    assert same(read_frames(data), points)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 300))
def test_frames_keep_to_their_bounds(sizes: list[int], datapoints_max: int, bytes_max: int) -> None:
    points = [(b"n" * size, i, float(i)) for i, size in enumerate(sizes)]
    columns = Columns(points)
    data = encode_pickle(
        columns.names.blob, columns.names.offsets, columns.ids, columns.timestamps, columns.values,
        datapoints_max=datapoints_max, bytes_max=bytes_max,
    )  # fmt: skip
    assert same(unpickled(data), points)
    for frame in frames(data):
        count = len(pickle.loads(frame))
        assert count <= datapoints_max
        assert count == 1 or len(frame) + 4 <= bytes_max


# --- groups ---


@given(st.lists(st.integers(-1, 6), max_size=60), st.integers(1, 5))
def test_datapoints_are_grouped_by_route_in_their_order(routes: list[int], count: int) -> None:
    first, order = np.zeros(count + 1, np.int64), np.empty(len(routes), np.int64)
    kernels.group(np.array(routes, np.int32), first, order)
    for route in range(count):
        wanted = [i for i, one in enumerate(routes) if one == route]
        assert order[first[route] : first[route + 1]].tolist() == wanted
    assert first[-1] == sum(0 <= route < count for route in routes)


def test_the_longest_lines_fit() -> None:
    value, timestamp = -1.2345678901234567e-308, -(2**63)
    ids: npt.NDArray[np.int32] = np.zeros(1000, np.int32)
    blob, offsets = np.frombuffer(bytearray(b"abc"), np.uint8), np.array([0, 3])
    data = encode_lines(blob, offsets, ids, np.full(1000, timestamp), np.full(1000, value))
    assert data == b"abc -1.2345678901234567e-308 -9223372036854775808\n" * 1000


def test_a_chunk_is_bytes_and_how_many_datapoints() -> None:
    assert Chunk(b"a 1 2\n", 1).points == 1
