"""The aggregator against a dict of lists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.aggregate import AHEAD, FULL, LATE, TOO_MANY, Aggregator, Emitted
from carbon.rules.aggregation import Feed
from storage import consolidation
from tests.effort import tries

NOW = 1_700_000_040  # begins a minute
FEEDS = [
    Feed("a", 10, "sum"), Feed("b", 10, "average"), Feed("c", 60, "max"), Feed("d", 60, "p95"), Feed("e", 7, "last"),
    Feed("f", 10, "count"), Feed("g", 60, "median"), Feed("h", 10, "avg_zero"),
]  # fmt: skip


class Plain:
    """The same, a datapoint at a time."""

    def __init__(self, max_intervals: int, write_back_s: int | None, grace_s: int, values_max: int) -> None:
        self.max_intervals, self.write_back_s = max_intervals, write_back_s
        self.grace_s, self.values_max = grace_s, values_max
        self.values: dict[tuple[int, int], list[float]] = {}
        self.waiting: set[tuple[int, int]] = set()
        self.turns: dict[int, int] = {}
        self.oldest: dict[int, int] = {}
        self.late = self.full = 0

    def held(self) -> int:
        return sum(map(len, self.values.values()))

    def feed(self, points: list[tuple[int, int, float]]) -> None:
        kept = []
        for buffer, timestamp, value in points:
            frequency = FEEDS[buffer].frequency_s
            interval = timestamp - timestamp % frequency
            if value != value:
                continue
            if interval < self.oldest.get(frequency, 0):
                self.late += 1
            else:
                kept.append(((buffer, interval), value))
        for cell, value in kept:
            if self.held() >= self.values_max:
                self.full += 1
            else:
                self.values.setdefault(cell, []).append(value)
                self.waiting.add(cell)

    def emit(self, now: int) -> dict[tuple[int, int], float]:
        clock = now - self.grace_s
        found: dict[tuple[int, int], float] = {}
        for frequency in {feed.frequency_s for feed in FEEDS}:
            current = clock - clock % frequency
            self.oldest[frequency] = current - self.max_intervals * frequency
            period = min(self.write_back_s or frequency, frequency)
            turn, self.turns[frequency] = self.turns.get(frequency), clock // period
            if turn != clock // period:
                found.update(self._emit(frequency, current if period == frequency else 1 << 60))
        return found

    def _emit(self, frequency: int, limit: int) -> Iterator[tuple[tuple[int, int], float]]:
        for cell in sorted(self.values):
            if FEEDS[cell[0]].frequency_s == frequency and cell[1] < limit:
                if cell in self.waiting:
                    column = np.array(self.values[cell])[:, np.newaxis]
                    yield cell, float(consolidation.columns(FEEDS[cell[0]].method, column).values[0])
                    self.waiting.discard(cell)
                if cell[1] < self.oldest[frequency]:
                    del self.values[cell]


def cells(emitted: Emitted) -> dict[tuple[int, int], float]:
    pairs = list(zip(emitted.buffers.tolist(), emitted.timestamps.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, emitted.values.tolist(), strict=True))


def feed(aggregator: Aggregator, points: list[tuple[int, int, float]]) -> None:
    buffers, timestamps, values = zip(*points, strict=True) if points else ((), (), ())
    aggregator.feed(np.array(buffers, np.int32), np.array(timestamps, np.int64), np.array(values, float))


def build(**limits: int | None) -> Aggregator:
    aggregator = Aggregator(**limits)  # type: ignore[arg-type]  # the tests give each what it takes
    assert [aggregator.buffer_of(one) for one in FEEDS] == list(range(len(FEEDS)))
    return aggregator


points = st.lists(
    st.tuples(
        st.integers(0, len(FEEDS) - 1),
        st.integers(-200, 60),  # seconds from now
        st.sampled_from([0.0, 1.0, -2.5, 1e300, 0.1, float("nan")]),
    ),
    max_size=12,
)


@given(
    st.lists(st.tuples(st.integers(0, 70), st.booleans(), points), max_size=12),
    st.sampled_from([0, 1, 5]),
    st.sampled_from([None, 3, 30, 600]),
    st.sampled_from([0, 2]),
    st.sampled_from([10, 1000]),
)
@settings(max_examples=tries(300))
def test_it_holds_and_emits_what_a_dict_of_lists_does(
    steps: list[tuple[int, bool, list[tuple[int, int, float]]]],
    max_intervals: int, write_back_s: int | None, grace_s: int, values_max: int,
) -> None:  # fmt: skip
    plain = Plain(max_intervals, write_back_s, grace_s, values_max)
    ours = build(
        max_intervals=max_intervals, write_back_s=write_back_s, grace_s=grace_s, values_max=values_max
    )
    now = NOW
    for passed, emits, some in steps:
        now += passed
        batch = [(buffer, now + ago, value) for buffer, ago, value in some]
        plain.feed(batch)
        feed(ours, batch)
        if emits:
            assert cells(ours.emit(now)) == pytest.approx(plain.emit(now), nan_ok=True)
        assert (len(ours), ours.late, ours.dropped[FULL]) == (plain.held(), plain.late, plain.full)


def test_an_interval_is_emitted_once_when_it_has_ended() -> None:
    ours = build(grace_s=2)
    assert not cells(ours.emit(NOW))
    feed(ours, [(0, NOW, 1.0), (0, NOW + 9, 2.0), (0, NOW + 10, 4.0), (2, NOW, 3.0)])
    assert [cells(ours.emit(NOW + second)) for second in (1, 10, 11)] == [{}, {}, {}]
    assert cells(ours.emit(NOW + 12)) == {(0, NOW): 3.0}
    assert [cells(ours.emit(NOW + second)) for second in (13, 21, 22, 23)] == [
        {},
        {},
        {(0, NOW + 10): 4.0},
        {},
    ]
    assert cells(ours.emit(NOW + 62)) == {(2, NOW): 3.0}


def test_an_interval_that_got_more_is_emitted_again_with_all_its_values() -> None:
    ours = build(grace_s=0)
    ours.emit(NOW)
    for turn in range(1, 5):
        feed(ours, [(0, NOW, 1.0), (3, NOW, 1.0)])
        assert cells(ours.emit(NOW + 10 * turn)) == {(0, NOW): float(turn)}
        assert cells(ours.emit(NOW + 10 * turn + 1)) == {}


def test_what_is_older_than_the_kept_intervals_is_late() -> None:
    ours = build(max_intervals=2, grace_s=0)
    ours.emit(NOW)
    feed(
        ours, [(0, NOW - 20, 1.0), (0, NOW - 21, 1.0), (2, NOW - 120, 1.0), (2, NOW - 121, 1.0), (0, -5, 1.0)]
    )
    assert (ours.late, len(ours)) == (3, 2)
    ours.emit(NOW + 10)
    assert len(ours) == 1
    feed(ours, [(0, NOW - 20, 1.0)])
    assert ours.late == 4


def test_the_time_before_1970_is_late() -> None:
    ours = build(grace_s=0)
    ours.emit(100)
    feed(ours, [(2, -1, 1.0), (2, 0, 1.0)])
    assert (ours.late, len(ours)) == (1, 1)


def test_early_values_are_emitted_where_the_operator_wants_them() -> None:
    ours = build(write_back_s=20, grace_s=0)
    ours.emit(NOW)
    seen = []
    for second in range(0, 70, 5):
        feed(ours, [(2, NOW + second, float(second)), (0, NOW + second, 1.0)])
        seen += [
            (second, *cell, value) for cell, value in cells(ours.emit(NOW + second)).items() if cell[0] == 2
        ]
    assert seen == [(20, 2, NOW, 20.0), (40, 2, NOW, 40.0), (60, 2, NOW, 55.0), (60, 2, NOW + 60, 60.0)]


def test_all_that_waits_is_drained_before_a_stop() -> None:
    ours = build()
    ours.emit(NOW)
    feed(ours, [(0, NOW, 1.0), (2, NOW + 3, 2.0), (0, NOW + 55, 4.0)])
    assert cells(ours.drain()) == {(0, NOW): 1.0, (2, NOW): 2.0, (0, NOW + 50): 4.0}
    assert cells(ours.drain()) == {}


def test_values_beyond_the_bound_are_counted_and_dropped() -> None:
    ours = build(values_max=3, grace_s=0)
    feed(ours, [(0, NOW, 1.0)] * 2)
    feed(ours, [(0, NOW, 1.0)] * 5)
    feed(ours, [(0, NOW, 1.0)])
    assert (len(ours), ours.dropped[FULL]) == (3, 5)
    assert cells(ours.emit(NOW + 10)) == {(0, NOW): 3.0}
    assert (len(ours), ours.dropped[FULL]) == (3, 5)
    ours.emit(NOW + 120)
    assert len(ours) == 0


def test_aggregates_beyond_the_bound_have_no_buffer() -> None:
    ours = Aggregator(buffers_max=2)
    ids = [ours.buffer_of(Feed(name, 60, "sum")) for name in ("a", "b", "c", "a")]
    assert ids == [0, 1, -1, 0]
    feed(ours, [(-1, NOW, 1.0), (1, NOW, 2.0), (-1, NOW, 1.0)])
    assert (len(ours), ours.dropped[TOO_MANY]) == (1, 2)


def test_nothing_at_all_is_no_trouble() -> None:
    ours = Aggregator()
    feed(ours, [])
    feed(ours, [(-1, NOW, 1.0)])
    assert cells(ours.emit(NOW)) == cells(ours.drain()) == {}


def test_an_absurd_timestamp_is_counted_and_dropped() -> None:
    ours = build()
    feed(ours, [(4, 7 << 32, 1.0), (4, (7 << 32) - 1, 1.0), (4, -(1 << 62), 1.0), (4, (1 << 63) - 1, 1.0)])
    assert (ours.dropped[AHEAD], ours.dropped[LATE], len(ours)) == (2, 1, 1)
    assert cells(ours.drain()) == {(4, (7 << 32) - 7): 1.0}


def test_one_buffer_is_one_output_frequency_and_method() -> None:
    ours = Aggregator()
    feeds = [Feed("a", 60, "sum"), Feed("a", 10, "sum"), Feed("a", 60, "max"), Feed("b", 60, "sum")]
    assert [ours.buffer_of(one) for one in (*feeds, *feeds)] == [0, 1, 2, 3] * 2
    assert ours.buffers == feeds


def test_a_frequency_that_comes_later_knows_what_is_late() -> None:
    ours = Aggregator(max_intervals=1, grace_s=0)
    ours.emit(NOW)
    late = ours.buffer_of(Feed("a", 60, "sum"))
    feed(ours, [(late, NOW - 61, 1.0), (late, NOW - 60, 1.0)])
    assert (ours.late, len(ours)) == (1, 1)


def test_a_clock_that_was_set_back_does_not_stop_it() -> None:
    ours = build(grace_s=0)
    ours.emit(NOW + 86_400)
    ours.emit(NOW)
    feed(ours, [(0, NOW, 1.0)])
    assert cells(ours.emit(NOW + 10)) == {(0, NOW): 1.0}


def test_thousands_of_buffers_and_late_values_in_many_turns_keep_their_order() -> None:
    ours = Aggregator(grace_s=0, max_intervals=50)
    ids = [ours.buffer_of(Feed(f"o{n}", 10, "last" if n % 2 else "first")) for n in range(70_000)]
    ours.emit(NOW)
    asked = np.array([0, 1, 65_535, 65_536, 69_999], np.int32)
    for turn in range(1, 30):  # more than are kept in blocks of their own
        ours.feed(asked, np.full(5, NOW, np.int64), np.full(5, float(turn)))
        ours.feed(asked[::-1], np.full(5, NOW, np.int64), np.full(5, turn + 0.5))
        last = turn + 0.5
        expected = {(int(n), NOW): last if n % 2 else 1.0 for n in asked}
        assert cells(ours.emit(NOW + 10 * turn)) == expected
    assert ids == list(range(70_000))
    assert len(ours) == 290
