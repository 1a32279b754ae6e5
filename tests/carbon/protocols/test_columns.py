"""Columns between a reader and the writer: what went in comes out, however it is cut; what cannot be is a BadFrame."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols import columns
from carbon.protocols.columns import (
    Arrived,
    ColumnsReader,
    Event,
    Gauges,
    Refused,
    TakenReader,
    encode_batch,
    encode_gauges,
    encode_names,
    encode_rejects,
    encode_taken,
)
from carbon.protocols.reader import Batch
from carbon.stats import Stats

Point = tuple[str, int, float]
Told = tuple[str, str, list[Point]] | Refused | Gauges

NAMES = st.sampled_from([*(f"servers.web{i}.load" for i in range(20)), "é.ü", "a", "x" * 4000])
TEXTS = st.text(max_size=20)
POINTS = st.lists(
    st.tuples(NAMES, st.integers(-(2**40), 2**40), st.floats(allow_nan=False)), min_size=1, max_size=30
)
TOLD = st.one_of(
    st.tuples(TEXTS, TEXTS, POINTS),
    st.builds(Refused, TEXTS, TEXTS, TEXTS, st.binary(max_size=200), st.integers(1, 2**32 - 1)),
    st.builds(Gauges, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
)


class Sender:
    """The plain twin of what a reader does."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def encode(self, told: Told) -> bytes:
        if isinstance(told, Refused):
            return encode_rejects(told)
        if isinstance(told, Gauges):
            return encode_gauges(told)
        listener, source, points = told
        first, new = len(self.numbers), []
        for name, _, _ in points:
            if name not in self.numbers:
                self.numbers[name] = len(self.numbers)
                new.append(name.encode())
        text = np.frombuffer(b"".join(new), np.uint8)
        frames = b"".join(encode_names(first, text, np.array([len(name) for name in new], np.int64)))
        ids = np.array([self.numbers[name] for name, _, _ in points], np.int32)
        whens = np.array([when for _, when, _ in points], np.int64)
        return frames + encode_batch(
            Batch(ids, whens, np.array([value for _, _, value in points])), listener, source
        )


def table(names_max: int = 1000) -> NameTable:
    made = NameTable(None, Stats(), names_max=names_max)
    made.ids_of([b"others.were.here"])  # so that ids and numbers are not the same
    return made


def plain(event: Event, names: NameTable) -> Told:
    if not isinstance(event, Arrived):
        return event
    batch = event.batch
    points = zip(
        names.interned.names(batch.ids), batch.timestamps.tolist(), batch.values.tolist(), strict=True
    )
    return event.listener, event.source, list(points)


def read(pieces: Iterable[bytes]) -> list[Told]:
    names = table()
    reader = ColumnsReader(names)
    return [plain(event, names) for piece in pieces for event in reader.feed(piece)]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:stop] for start, stop in itertools.pairwise(ends)]


@given(st.lists(TOLD, max_size=8), st.lists(st.integers(0, 1 << 20), max_size=20))
def test_what_is_sent_is_read_whole_and_split_anywhere(told: list[Told], places: list[int]) -> None:
    sender = Sender()
    data = b"".join(sender.encode(each) for each in told)
    assert read([data]) == told
    assert read(cut(data, places)) == told


@given(st.lists(TOLD, max_size=4), st.binary(min_size=1, max_size=100))
def test_rubbish_after_is_a_bad_frame_and_costs_nothing_that_came_before(
    told: list[Told], rubbish: bytes
) -> None:
    sender = Sender()
    names = table()
    reader = ColumnsReader(names)
    found = []
    bad = b"\xff" + rubbish + bytes(12)
    with pytest.raises(BadFrame):
        for event in reader.feed(b"".join(sender.encode(each) for each in told) + bad):
            found.append(plain(event, names))  # what came before the error
    assert found == told


@given(st.lists(TOLD, min_size=1, max_size=4), st.integers(0, 1 << 20), st.integers(1, 255))
def test_a_changed_byte_is_another_value_or_a_bad_frame(told: list[Told], at: int, change: int) -> None:
    sender = Sender()
    data = bytearray(b"".join(sender.encode(each) for each in told))
    data[at % len(data)] ^= change
    try:
        read([bytes(data)])
    except BadFrame as bad:
        assert bad.reason  # noqa: PT017  # either is right, any other error is not


def frame(kind: int, count: int, body: bytes, *, version: int = 1, size: int | None = None) -> bytes:
    return struct.pack("=BBHII", version, kind, 0, len(body) if size is None else size, count) + body


EMPTY_BATCH = struct.pack("=2H", 0, 0)
POINT = struct.pack("=iqd", 0, 0, 0.0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(1, 0, bytes(4), version=2), "another version"),
        (frame(9, 0, b""), "no such frame"),
        (frame(4, 0, bytes(15)), "no such frame"),
        (frame(2, 0, b"", size=columns.BODY_BYTES_MAX + 1), "too large"),
        (frame(2, 1, EMPTY_BATCH + POINT), "a name that was not sent"),
        (frame(2, 2, EMPTY_BATCH + POINT), "a batch of a wrong size"),
        (frame(2, 1, struct.pack("=2H", 0, 100) + POINT), "texts of a wrong size"),
        (frame(2, 0, b"\0"), "texts of a wrong size"),
        (frame(2, 0, struct.pack("=2H", 1, 0) + b"\xff"), "no UTF-8"),
        (frame(1, 1, struct.pack("=IH", 1, 1) + b"a"), "names out of their order"),
        (frame(1, 1, struct.pack("=IH", 0, 2) + b"a"), "names of a wrong size"),
        (frame(1, 2**32 - 1, bytes(4)), "names of a wrong size"),
        (frame(1, 0, struct.pack("=I", 0) + b"a"), "names of a wrong size"),
        (frame(3, 1, struct.pack("=4H", 0, 0, 0, 0) + b"a"), "rejects of a wrong size"),
    ],
)
def test_a_frame_that_cannot_be_is_a_bad_frame(data: bytes, reason: str) -> None:
    with pytest.raises(BadFrame, match=reason):
        read([data])


def test_a_negative_number_is_no_name() -> None:
    good = Sender().encode(("line", "", [("a", 1, 1.0)]))
    with pytest.raises(BadFrame, match="not sent"):
        read([good + frame(2, 1, EMPTY_BATCH + struct.pack("=iqd", -1, 0, 0.0))])


def test_datapoints_of_names_that_find_no_room_are_counted_each() -> None:
    names = table(names_max=3)  # one is there
    stats = names._stats
    reader, sender = ColumnsReader(names), Sender()
    points = [(f"n{i}", 0, float(i)) for i in (0, 1, 2, 3, 2)]
    refused = 0
    for _ in range(2):
        for event in reader.feed(sender.encode(("line", "", points))):
            assert isinstance(event, Arrived)
            refused += event.refused
            assert plain(event, names) == ("line", "", points[:2])
    assert stats.rejected.total() + refused == 2 * 3


def test_many_names_go_in_frames_of_bounded_size() -> None:
    lengths = np.full(3000, 4000, np.int64)
    text = np.full(3000 * 4000, ord("a"), np.uint8)
    text[::4000] = ord("b")
    frames = list(encode_names(7, text, lengths))
    assert len(frames) > 3
    assert max(map(len, frames)) < columns.BODY_BYTES_MAX // 4
    firsts = [struct.unpack_from("=I", each, 12)[0] for each in frames]
    counts = [struct.unpack_from("=I", each, 8)[0] for each in frames]
    assert firsts == [7 + sum(counts[:i]) for i in range(len(counts))]
    assert sum(counts) == 3000


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20), st.lists(st.integers(0, 1000), max_size=5))
def test_what_was_taken_is_read_split_anywhere(counts: list[int], places: list[int]) -> None:
    reader = TakenReader()
    data = b"".join(map(encode_taken, counts))
    assert sum(reader.feed(piece) for piece in cut(data, places)) == sum(counts)
