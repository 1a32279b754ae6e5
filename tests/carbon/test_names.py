"""The name table on a real store: ids stay, what they lead to follows the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carbon.intake import Intake
from carbon.names import ASK_AGAIN_S, NameTable
from carbon.stats import Stats
from storage.schema import Rules
from storage.store import Store

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
        return self.names.series_of(self.names.ids_of([name.encode() for name in names])).tolist()


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
        moved, why_refused = house.store.moved, house.store.why_refused

        def series_of(self, text, starts, stops):  # type: ignore[no-untyped-def]
            asked.append(len(starts))
            return house.store.series_of(text, starts, stops)

    house.names = NameTable(Counting(), house.stats)
    house.series("q.a", "q.b")
    for _ in range(10):
        house.series("q.c", "q.d")
        house.seconds += 10
    assert asked == [2, 2, 2]
