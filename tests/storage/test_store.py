"""The store: a folder that one writes and many read, against a dict."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InvalidName, NotAStore, StoreInUse, StoreVersion
from storage.format import SHARD_ROWS
from storage.schema import Rules
from storage.store import Store
from tests.effort import tries

NOW = 1_700_000_030


def put(store: Store, points: dict[str, tuple[int, float]]) -> None:
    series = store.create(list(points))
    store.append(
        series, np.array([t for t, _ in points.values()]), np.array([v for _, v in points.values()]), NOW
    )


def get(store: Store, name: str, start: int = NOW - 3600) -> dict[int, float]:
    paths, series = store.find_series(name)
    assert paths == [name]
    (fetched,) = store.fetch(series, start, NOW, NOW)
    grid = fetched.start + fetched.step * np.arange(fetched.values.shape[1])
    known = ~np.isnan(fetched.values[0])
    return dict(zip(grid[known].tolist(), fetched.values[0][known].tolist(), strict=True))


def test_a_datapoint_is_seen_by_a_reader_as_soon_as_it_is_written(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    reader = Store(tmp_path, writable=False)
    put(writer, {"a.b": (NOW - 60, 1.5)})
    reader.refresh()
    assert get(reader, "a.b") == {NOW - 60 - (NOW - 60) % 60: 1.5}
    put(writer, {"a.b": (NOW, 2.5)})
    assert 2.5 in get(reader, "a.b").values()


Names = st.sampled_from(
    [f"{a}.{b}.{c}" for a in "xyz" for b in ("cpu", "mem") for c in ("count", "max", "p99")]
)
Points = st.lists(st.tuples(Names, st.integers(0, 59), st.integers(-9, 9)), min_size=1, max_size=20)


@given(steps=st.lists(st.one_of(Points, st.just("reopen")), max_size=6))
@settings(max_examples=tries(50), deadline=None)
def test_any_series_of_appends_and_reopenings_reads_as_a_dict(
    steps: list, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store, model = Store(folder), {}
    for step in steps:
        if step == "reopen":
            store.close()
            store = Store(folder)
            continue
        for name, minute, value in step:
            model.setdefault(name, {})[NOW - 30 - minute * 60 - (NOW - 30) % 60] = float(value)
        series = store.create([name for name, _, _ in step])
        times = np.array([NOW - 30 - minute * 60 for _, minute, _ in step])
        assert store.append(series, times, np.array([float(v) for _, _, v in step]), NOW).total == 0
    reader = Store(folder, writable=False)
    assert reader.index.all_paths() == sorted(model)
    for name, points in model.items():
        assert get(reader, name, NOW - 7200) == points
    store.close()


def test_series_of_several_schemas_come_back_in_one_fetch_by_grid(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, {"hosts.a.cpu": (NOW, 1.0), "x.count": (NOW, 2.0), "x.gauge": (NOW, 3.0)})
    paths, series = store.find_series("*.{a.cpu,count,gauge}")
    fetched = store.fetch(series, NOW - 600, NOW, NOW)
    by_step = {part.step: [paths[i] for i in part.positions] for part in fetched}
    assert by_step == {10: ["hosts.a.cpu"], 60: ["x.count", "x.gauge"]}
    assert [np.nanmax(part.values) for part in sorted(fetched, key=lambda p: p.step)] == [1.0, 3.0]
    assert store.consolidations(series) == ["average", "sum", "average"]


def test_what_cannot_be_stored_is_counted_by_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    series = store.create(["a"] * 5)
    times = np.array([NOW, NOW + 601, NOW - 6 * 365 * 86400, NOW, NOW + 600])
    dropped = store.append(series, times, np.array([1.0, 1.0, 1.0, np.nan, 1.0]), NOW)
    assert dropped._asdict() == {"too_old": 1, "too_far_ahead": 1, "not_a_number": 1}


def test_more_series_than_a_shard_has_rows_go_to_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [f"m.{i}" for i in range(SHARD_ROWS + 100)]
    series = store.create(names)
    assert len(np.unique(series)) == len(names)
    assert len(store.shards()) == 2
    store.append(series, np.full(len(names), NOW), np.arange(len(names), dtype=float), NOW)
    (fetched,) = store.fetch(series[[5, -1, 7]], NOW - 60, NOW, NOW)
    assert fetched.positions.tolist() == [0, 1, 2]
    assert fetched.values[:, -1].tolist() == [5.0, SHARD_ROWS + 99.0, 7.0]


@pytest.mark.parametrize("window", [(NOW - 60, NOW), (NOW - 86_400 * 20, NOW), (NOW + 60, NOW + 120), (0, 9)])
def test_datapoints_are_counted_without_reading(tmp_path: Path, window: tuple[int, int]) -> None:
    store = Store(tmp_path)
    put(store, {"hosts.a.cpu": (NOW, 1.0), "x.count": (NOW, 2.0), "x.gauge": (NOW, 3.0)})
    _, series = store.find_series("*.{a.cpu,count,gauge}")
    fetched = store.fetch(series, *window, NOW)
    assert store.grids(series, *window, NOW) == [
        (part.start, part.step, part.values.shape[1], len(part.values)) for part in fetched
    ]


def test_names_that_came_one_by_one_are_joined_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(50):
        store.create([f"a.{i:02}"])
    store.close()
    store = Store(tmp_path)
    assert len(list(store.catalogue.runs())) == 1
    assert store.index.all_paths() == [f"a.{i:02}" for i in range(50)]


def test_a_reader_notices_that_the_catalogue_was_rewritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(9):
        store.create([f"a.{i}"])
    reader = Store(tmp_path, writable=False)
    store.close()
    store = Store(tmp_path)
    store.create(["b"])
    reader.refresh()
    assert reader.index.all_paths() == [*(f"a.{i}" for i in range(9)), "b"]
    assert len(reader) == 10


def test_the_same_tags_in_another_order_are_the_same_series(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.create(["cpu;b=2;a=1"]) == store.create(["cpu;a=1;b=2"])


@pytest.mark.parametrize("name", ["", "a..b", "a b", "a\nb", "a;b", "x" * 5000])
def test_a_name_with_a_fault_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        Store(tmp_path).create([name])


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreInUse, match="in use by another writer"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_folder_of_another_version_or_program_is_named(tmp_path: Path) -> None:
    Store(tmp_path).close()
    database = sqlite3.connect(tmp_path / "catalogue.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreVersion, match="version 99"):
        Store(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    database = sqlite3.connect(other / "catalogue.sqlite")
    database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(NotAStore, match="another program"):
        Store(other)
    with pytest.raises(NotAStore, match="no Plumbago store"):
        Store(tmp_path / "none", writable=False)


def test_explain_names_the_rules_that_decide(tmp_path: Path) -> None:
    (tmp_path / "storage-schemas.conf").write_text("[web]\npattern = ^web\\.\nretentions = 10s:1h\n")
    store = Store(tmp_path / "data", Rules.load(tmp_path))
    decision = store.explain("web.a")
    assert str(decision.schema.retention) == "10s:1h"
    assert "web" in decision.retention_rule
    assert store.schema_of(int(store.create(["web.a"])[0])) == decision.schema


def test_a_deleted_name_is_gone_for_every_process_and_comes_back_with_its_values(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    put(writer, {"a.b": (NOW, 1.5), "a.c": (NOW, 2.5), "t;x=1": (NOW, 3.5)})
    reader = Store(tmp_path, writable=False)
    assert len(reader.index.all_paths()) == 3
    assert writer.delete(["a.b", "t;x=1", "never.was"], NOW) == 2
    for store in (writer, reader):
        store.refresh()
        assert store.index.all_paths() == ["a.c"]
        assert (store.find("a.*").paths, len(store)) == (["a.c"], 1)
        assert store.lookup(["a.b"]).tolist() == [-1]
    assert writer.trashed() == reader.trashed() == [("a.b", NOW), ("t;x=1", NOW)]
    put(writer, {"t;x=1": (NOW, 4.5)})
    assert writer.restore(["a.b", "t;x=1", "never.was"]) == (["a.b"], ["t;x=1"])
    reader.refresh()
    assert list(get(reader, "a.b").values()) == [1.5]
    assert list(get(reader, "t;x=1").values()) == [4.5]


def test_a_renamed_series_keeps_its_values_for_every_process(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    put(writer, {"a.b": (NOW, 1.5), "a.c": (NOW, 2.5)})
    reader = Store(tmp_path, writable=False)
    assert reader.index.all_paths() == ["a.b", "a.c"]
    writer.rename("a.b", "t;y=1;x=2")
    reader.refresh()
    assert reader.index.all_paths() == ["a.c", "t;x=2;y=1"]
    assert list(get(reader, "t;x=2;y=1").values()) == [1.5]
    for old, new in (("a.c", "t;x=2;y=1"), ("a.c", "a..c"), ("a.b", "a.d"), ("a.c", "a.c")):
        with pytest.raises(InvalidName):
            writer.rename(old, new)


def test_a_journal_of_names_that_came_and_went_is_short_after_a_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(20):
        store.create([f"a.{i}", f"b.{i}"])
        store.delete([f"a.{i}"], NOW)
    reader = Store(tmp_path, writable=False)
    store.close()
    store = Store(tmp_path)
    assert len(list(store.catalogue.runs())) == 1
    reader.refresh()
    assert store.index.all_paths() == reader.index.all_paths() == sorted(f"b.{i}" for i in range(20))
    assert (len(store), len(reader), store.seen) == (20, 20, 20)
    assert not set(store.create(["c"]).tolist()) & set(store.lookup([f"b.{i}" for i in range(20)]).tolist())
