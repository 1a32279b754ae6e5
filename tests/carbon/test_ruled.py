"""The rules on batches: the same as deciding about every datapoint by itself, whatever is reloaded in between."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.aggregate import FULL, TOO_MANY, Aggregator, Emitted
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.protocols.reader import Batch
from carbon.ruled import BAD_OUTPUT, FeedSets, Outputs, Passed, Ruled
from carbon.rules.aggregation import Feed
from carbon.rules.ruleset import RuleSet
from carbon.stats import Stats
from storage import naming
from tests.carbon.memory import MemorySeries
from tests.carbon.rulebook import BOOKS, NAMES, Book, plain
from tests.effort import tries

NOW = 1_700_000_000
BATCHES = st.lists(st.lists(st.tuples(NAMES, st.integers(0, 90)), min_size=1, max_size=12), max_size=4)
PLAIN_METHODS: dict[str, Callable[[list[float]], float]] = {"sum": sum, "count": len, "max": max}

Point = tuple[str, int, float]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


class House:
    """Rules between two tables."""

    def __init__(self, rules: RuleSet, aggregator: Aggregator | None = None) -> None:
        self.stats, self.onward_stats = Stats(), Stats()
        self.incoming = NameTable(MemorySeries(), self.stats)
        self.onward = NameTable(MemorySeries(), self.onward_stats)
        self.aggregator = Aggregator() if aggregator is None else aggregator
        self.ruled = Ruled(rules, self.incoming, self.onward, self.aggregator)
        self._reader = LineReader(self.incoming, self.stats)
        self.sent = 0

    def batch(self, points: Sequence[tuple[str, int]]) -> Batch:
        """Datapoints with ascending values, as a reader makes them of lines."""
        lines = [f"{name} {self.sent + i} {NOW + at}" for i, (name, at) in enumerate(points)]
        self.sent += len(points)
        batch = self._reader.whole("\n".join(lines).encode(), NOW)
        assert batch is not None
        assert len(batch.ids) == len(points)
        return batch

    def names_of(self, passed: Passed) -> list[Point]:
        ids, timestamps, values = passed.batch
        names = [self.onward.interned.name(int(one)) for one in ids]
        return list(zip(names, timestamps.tolist(), values.tolist(), strict=True))

    def fed(self, passed: Passed) -> list[tuple[Feed | None, int, float]]:
        if passed.fed is None:
            return []
        feeds = [self.aggregator.buffers[one] if one >= 0 else None for one in passed.fed.buffers.tolist()]
        return list(zip(feeds, passed.fed.timestamps.tolist(), passed.fed.values.tolist(), strict=True))


@given(st.lists(st.tuples(BOOKS, BATCHES), min_size=1, max_size=3))
@settings(max_examples=tries(60))
def test_batches_pass_as_if_every_datapoint_were_decided_by_itself(
    folder: Path, chapters: list[tuple[Book, list[list[tuple[str, int]]]]]
) -> None:
    house = House(chapters[0][0].load(folder))
    for book, batches in chapters:
        house.ruled.replace(book.load(folder))
        for points in batches:
            batch = house.batch(points)
            decided = [plain(house.ruled.rules, name) for name, _ in points]
            rows = list(zip(decided, batch.timestamps.tolist(), batch.values.tolist(), strict=True))
            for _ in range(2):  # a batch that could not be stored comes again
                passed = house.ruled.apply(batch)
                assert house.names_of(passed) == [(d.name, t, v) for d, t, v in rows if d.name is not None]
                assert house.fed(passed) == [(feed, t, v) for d, t, v in rows for feed in d.feeds]
                refused = Counter(d.refused for d in decided if d.refused)
                assert {why: n for why, n, _ in passed.refusals} == refused
                for why, _, sample in passed.refusals:
                    assert plain(house.ruled.rules, sample).refused == why
    assert not house.onward_stats.rejected


@given(BOOKS, BATCHES)
@settings(max_examples=tries(50))
def test_aggregates_are_those_of_a_dict(
    folder: Path, book: Book, batches: list[list[tuple[str, int]]]
) -> None:
    house, expected = House(book.load(folder)), defaultdict(list)
    for points in batches:
        batch = house.batch(points)
        fed = house.ruled.apply(batch).fed
        if fed is not None:
            house.aggregator.feed(*fed)
        for (name, at), value in zip(points, batch.values.tolist(), strict=True):
            for feed in plain(house.ruled.rules, name).feeds:
                expected[feed, (NOW + at) // feed.frequency_s * feed.frequency_s].append(value)
    batch, refusals = Outputs(house.aggregator, house.onward).named(house.aggregator.drain())
    good = {key: values for key, values in expected.items() if not naming.fault(key[0].output.encode())}
    assert sorted(house.names_of(Passed(batch, None, []))) == sorted(
        (feed.output, when, float(PLAIN_METHODS[feed.method](values)))
        for (feed, when), values in good.items()
    )
    assert sum(refusal.datapoints for refusal in refusals) == len(expected) - len(good)
    assert not house.onward_stats.rejected


@given(BOOKS, BATCHES, st.integers(0, 2), st.integers(0, 20))
@settings(max_examples=tries(50))
def test_what_a_full_aggregator_does_not_take_is_counted(
    folder: Path, book: Book, batches: list[list[tuple[str, int]]], buffers: int, values: int
) -> None:
    house = House(book.load(folder), Aggregator(buffers_max=buffers, values_max=values))
    expected = 0
    for points in batches:
        passed = house.ruled.apply(house.batch(points))
        decided = [plain(house.ruled.rules, name) for name, _ in points]
        assert [name for name, _, _ in house.names_of(passed)] == [
            d.name for d in decided if d.name is not None
        ]
        expected += sum(len(d.feeds) for d in decided)
        for feed, _, value in house.fed(passed):
            assert feed is None or feed in decided[int(value) - house.sent + len(points)].feeds
        if passed.fed is not None:
            house.aggregator.feed(*passed.fed)
    dropped = house.aggregator.dropped
    assert len(house.aggregator.buffers) <= buffers
    assert len(house.aggregator) <= values
    assert expected == len(house.aggregator) + dropped[TOO_MANY] + dropped[FULL]


@given(st.lists(st.lists(st.integers(-1, 50), min_size=1, max_size=4), max_size=40))
def test_feed_sets_expand_to_what_they_were_made_of(sets: list[list[int]]) -> None:
    made = FeedSets()
    ids = np.array([made.id_of(buffers) for buffers in [*sets, [], *sets]], np.int32)
    rows, buffers = made.expand(ids)
    expected = [(row, one) for row, of in enumerate([*sets, [], *sets]) for one in of]
    assert list(zip(rows.tolist(), buffers.tolist(), strict=True)) == expected
    assert len(set(ids.tolist())) == len({tuple(each) for each in sets} | {()})


def test_a_name_is_decided_once_until_the_rules_are_replaced(folder: Path) -> None:
    asked: list[str] = []

    class Counting(RuleSet):
        """The rules, and what they were asked."""

        def touched(self, names):  # type: ignore[no-untyped-def]  # as the base class
            asked.extend(names)
            return super().touched(names)

    house = House(Counting())
    batch = house.batch([("a.b", 0), ("t;b=1;a=2", 1), ("a.b", 2)])
    for _ in range(3):
        house.ruled.apply(batch)
    assert asked == ["a.b", "t;a=2;b=1"]
    house.ruled.replace(Counting())
    house.ruled.apply(batch)
    assert asked == ["a.b", "t;a=2;b=1"] * 2


def test_spellings_of_a_name_go_on_as_one(folder: Path) -> None:
    house = House(RuleSet())
    passed = house.ruled.apply(house.batch([("t;b=1;a=2", 0), ("t;a=2;b=1", 0), ("t;a=3;b=1;a=2", 0)]))
    assert len(set(passed.batch.ids.tolist())) == 1


def test_more_names_than_a_slice_are_decided(folder: Path) -> None:
    house = House(Book(black=["7$"]).load(folder))
    batch = house.batch([(f"n.{i}", 0) for i in range(60_000)])
    passed = house.ruled.apply(batch)
    assert len(passed.batch.ids) == 54_000
    assert [(why, count) for why, count, _ in passed.refusals] == [("blacklisted", 6_000)]


def test_bad_names_of_aggregates_are_told_by_one_of_them(folder: Path) -> None:
    house = House(RuleSet())
    buffers = [house.aggregator.buffer_of(Feed(name, 10, "sum")) for name in ("a", "b..c", "d")]
    emitted = Emitted(np.array([*buffers, 1], np.int32), np.arange(4), np.arange(4.0))
    batch, refusals = Outputs(house.aggregator, house.onward).named(emitted)
    assert refusals == [(BAD_OUTPUT, 2, "b..c")]
    assert house.names_of(Passed(batch, None, [])) == [("a", 0, 0.0), ("d", 2, 2.0)]
