"""The name table on a real store: ids stay, what they lead to follows the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.intake import Intake
from carbon.limits import NewSeries
from carbon.names import ASK_AGAIN_S, ELSEWHERE, TOO_FAST, Ids, NameTable
from carbon.protocols.reader import Batch
from carbon.stats import Stats
from storage.intern import lay
from storage.schema import Rules
from storage.store import Store
from tests.carbon.memory import MemorySeries
from tests.effort import tries

NOW = 1_700_000_000


class House:
    """A table on a store whose quota is two series under `q.`."""

    def __init__(self, folder: Path) -> None:
        (folder / "storage-limits.conf").write_text("[q]\nprefix = q.\nmaxSeries = 2\n")
        self.seconds = 0.0
        self.store = Store(folder / "data", Rules.load(folder))
        self.stats = Stats(clock=lambda: self.seconds)
        self.names = NameTable(self.store, self.stats)
        self.intake = Intake(self.store, self.names, self.stats, lambda: NOW)

    def send(self, *names: str) -> None:
        self.intake.accept_columns(
            [name.encode() for name in names], [NOW] * len(names), [1.0] * len(names), "line"
        )

    def series(self, *names: str) -> list[int]:
        return [
            int(one) for one in self.names.series_of(self.names.ids_of([name.encode() for name in names]))
        ]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_an_id_leads_where_its_series_moved(house: House) -> None:
    a, b = house.series("a", "t;y=1;x=2")
    (new,) = house.store.fresh_rows(house.store.schema_of(a), 1)
    house.store.relocate(["a"], np.array([new]), NOW)
    assert house.series("a", "t;y=1;x=2", "t;x=2;y=1") == [new, b, b]


def test_a_name_that_was_deleted_is_made_anew_by_its_next_datapoint(house: House) -> None:
    house.send("a", "t;y=1;x=2", "t;x=2;y=1")
    house.store.delete(["a", "t;x=2;y=1"], NOW)
    assert house.store.index.all_paths() == []
    house.send("t;y=1;x=2", "a", "t;x=2;y=1")
    assert house.store.index.all_paths() == ["a", "t;x=2;y=1"]
    assert len(house.store) == 2


def test_a_name_that_was_renamed_or_restored_is_not_made_twice(house: House) -> None:
    a, b = house.series("a", "b")
    house.store.rename("a", "c")
    house.store.delete(["b"], NOW)
    house.store.restore(["b"])
    assert house.series("b", "c") == [b, a]
    assert house.series("a")[0] not in (a, b)


def test_ids_that_are_not_asked_for_follow_too(house: House) -> None:
    a, b = house.series("a", "b")
    house.store.delete(["a"], NOW)
    house.series("b")
    house.store.rename("b", "c")
    house.store.rename("c", "b")
    assert house.series("b") == [b]
    assert house.series("a")[0] not in (a, b)


def test_names_beyond_a_quota_are_counted_under_it(house: House) -> None:
    house.send("q.a", "t;bad", "q.b", "q.c", "q.c", "q.d", "r")
    assert dict(house.stats.rejected) == {"quota of q. reached: 2 series": 3, "bad tag": 1}
    assert (house.stats.committed, house.stats.creates) == (3, 3)
    assert house.store.index.all_paths() == ["q.a", "q.b", "r"]


def test_a_name_that_a_quota_keeps_out_is_asked_for_again_after_a_while(house: House) -> None:
    house.send("q.a", "q.b", "q.c")
    house.store.delete(["q.a"], NOW)
    house.seconds += ASK_AGAIN_S - 1
    house.send("q.c")
    assert house.store.index.all_paths() == ["q.b"]
    house.seconds += 1
    house.send("q.c", "q.d")
    assert house.store.index.all_paths() == ["q.b", "q.c"]
    assert dict(house.stats.rejected) == {"quota of q. reached: 2 series": 3}


def test_a_store_that_is_asked_once_a_minute_is_not_asked_by_every_batch(house: House) -> None:
    asked: list[int] = []

    class Counting:
        """The store, and how many names it was asked for."""

        moves = 0
        moved, known, why_refused = house.store.moved, house.store.known, house.store.why_refused

        def series_of(self, text, starts, stops):  # type: ignore[no-untyped-def]
            asked.append(len(starts))
            return house.store.series_of(text, starts, stops)

    house.names = NameTable(Counting(), house.stats)
    house.series("q.a", "q.b")
    for _ in range(10):
        house.series("q.c", "q.d")
        house.seconds += 10
    assert asked == [2, 2, 2]


# --- how fast series may be made ---


class Limited(House):
    """So many new series a second, and for each address."""

    def __init__(self, folder: Path, a_second: int | None, per_source: int | None = None) -> None:
        super().__init__(folder)
        self.admission = NewSeries(a_second, per_source, lambda: self.seconds)
        self.again()

    def again(self) -> None:
        """As a new process on the same store."""
        self.stats = Stats(clock=lambda: self.seconds)
        self.names = NameTable(self.store, self.stats, admission=self.admission)
        self.intake = Intake(self.store, self.names, self.stats, lambda: NOW)

    def send_from(self, source: str, *names: str) -> None:
        ids = self.names.ids_of([name.encode() for name in names])
        batch = Batch(ids, np.full(len(ids), NOW), np.ones(len(ids)))
        self.intake.accept(batch, "line", source)


def test_names_beyond_the_rate_are_refused_and_asked_again_after_a_minute(tmp_path: Path) -> None:
    house = Limited(tmp_path, 2)
    house.send("a", "b", "c", "d")
    assert (house.stats.creates, house.stats.dropped_creates) == (2, 2)
    assert dict(house.stats.rejected) == {TOO_FAST: 2}
    house.seconds += 30
    house.send("c", "e")  # one that was refused waits, another does not
    assert house.store.index.all_paths() == ["a", "b", "e"]
    house.seconds += ASK_AGAIN_S
    house.send("c", "d")
    assert house.store.index.all_paths() == ["a", "b", "c", "d", "e"]
    assert dict(house.stats.rejected) == {TOO_FAST: 3}


def test_one_address_does_not_use_up_what_others_may(tmp_path: Path) -> None:
    house = Limited(tmp_path, 100, 2)
    house.send_from("10.0.0.1", *(f"one.{i}" for i in range(50)))
    house.send_from("10.0.0.2", "two.1", "two.2")
    assert house.store.index.all_paths() == ["one.0", "one.1", "two.1", "two.2"]
    assert house.stats.rejected_by["line", TOO_FAST] == 48
    sources = dict(house.stats.sources.rows())
    assert (sources["10.0.0.1"].series, sources["10.0.0.1"].datapoints, sources["10.0.0.1"].rejects) == (
        2,
        50,
        48,
    )


def test_series_that_are_there_are_not_new_whatever_the_rate(tmp_path: Path) -> None:
    house = Limited(tmp_path, None)
    known = [f"known.{i}" for i in range(50)]
    house.send(*known)
    house.admission = NewSeries(1, 1, lambda: house.seconds)
    house.again()
    house.send(*known, "new.1", "new.2")
    assert dict(house.stats.rejected) == {TOO_FAST: 1}
    assert house.stats.creates == 1
    house.admission.stopped = True  # there is no memory for more
    house.names.forget()
    house.send(*known, "new.1", "new.3")
    assert dict(house.stats.rejected) == {TOO_FAST: 2}
    assert house.stats.committed == 50 + 1 + 50 + 1


def test_two_spellings_of_a_name_make_one_series(house: House) -> None:
    house.send("t;a=1;b=2", "t;b=2;a=1")
    assert (house.stats.creates, house.stats.dropped_creates, len(house.store)) == (1, 0, 1)


def test_the_newest_names_that_got_a_series_are_kept(house: House) -> None:
    house.send(*(f"n.{i}" for i in range(30)), "q.1", "q.2", "q.3")
    assert list(house.stats.newest_names) == [*(f"n.{i}" for i in range(12, 30)), "q.1", "q.2"]


# --- reasons ---


def test_refusals_are_told_by_reason_with_a_name_each(house: House) -> None:
    house.names.reserve(7, 100)  # as a reader does, which does not look into tags
    ids = house.names.interned.add_all(*lay([b"q.1", b"t;bad", b"q.2", b"q.3", b"a", b"q.4", b"t;t=~1"]))
    series = house.names.series_of(ids)
    assert (series >= 0).tolist() == [True, False, True, False, True, False, False]
    told = house.names.refusals(np.concatenate((ids, ids)))
    assert sorted(told) == [("bad tag", 4, "t;bad"), ("quota of q. reached: 2 series", 4, "q.3")]
    assert house.names.refusals(ids[series >= 0]) == []


def test_without_a_store_names_are_elsewhere_and_refused_only_for_their_faults() -> None:
    class Everywhere:
        """Routes by the name's length."""

        def route_ids(self, names: Sequence[bytes]) -> Ids:
            return np.array([len(name) for name in names], np.int32)

    names = NameTable(None, Stats(), router=Everywhere())
    names.reserve(3, 100)
    ids = names.interned.add_all(*lay([b"a", b"t;bad", b"bcd"]))
    assert names.series_of(ids)[[0, 2]].tolist() == [ELSEWHERE, ELSEWHERE]
    assert names.routes[ids].tolist() == [1, 0, 3]
    assert names.refusals(ids) == [("bad tag", 1, "t;bad")]


@given(st.lists(st.integers(0, 3999), min_size=1, max_size=30, unique=True))
@settings(max_examples=tries(30))
def test_a_few_of_many_names_are_decided_as_all_would_be(wanted: list[int]) -> None:
    shelf = MemorySeries()
    names = NameTable(shelf, Stats())
    every = [b"some.long.name.of.a.server.number.%d" % i for i in range(4000)]
    ids = names.ids_of(every)
    series = names.series_of(ids[np.array(wanted)])
    assert [shelf.names[one] for one in series.tolist()] == [every[i] for i in wanted]
