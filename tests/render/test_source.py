from __future__ import annotations

import threading
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest

from render.plan import render
from render.source import Remembered, SharedStore
from storage.schema import Rules
from storage.store import Store

NOW = 1_700_000_000


def put(store: Store, names: list[str]) -> None:
    """A datapoint of a minute ago in each."""
    series = store.create(names)
    store.append(series, np.full(len(series), NOW - 60), np.ones(len(series)), NOW)


def test_names_that_a_writer_adds_are_found_after_a_refresh_while_others_search(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    put(writer, ["a.first"])
    shared = SharedStore(Store(tmp_path, writable=False))
    stop, wrong = threading.Event(), list[object]()

    def search() -> None:
        while not stop.is_set():
            shared.refresh()
            paths, series = shared.find_series("a.*")
            fetched = shared.fetch(series, NOW - 300, NOW, NOW)
            if sum(len(part.positions) for part in fetched) != len(paths) or paths != sorted(set(paths)):
                wrong.append(paths)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(60):
        put(writer, [f"a.n{i}", *(f"a.m{i}.{j}" for j in range(3))])
    stop.set()
    for thread in threads:
        thread.join()
    shared.refresh()
    assert not wrong
    assert len(shared.find_series("a.*")[0]) == 61
    assert len(shared.all_paths()) == len(shared) == 241


def test_a_series_tells_how_far_back_it_reaches_and_how_it_merges(tmp_path: Path) -> None:
    put(Store(tmp_path), ["stats.requests.count"])
    shared = SharedStore(Store(tmp_path, writable=False))
    (path,), series = shared.find_series("stats.requests.*")
    assert path == "stats.requests.count"
    assert shared.retentions_s(series) >= 86_400
    assert shared.retentions_s(series[:0]).tolist() == []
    assert shared.consolidations(series) == ["sum"]


def test_nothing_new_is_found_without_a_refresh(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    shared = SharedStore(Store(tmp_path, writable=False))
    put(writer, ["a"])
    assert (len(shared), shared.all_paths(), shared.find("*").paths) == (0, [], [])
    shared.refresh()
    assert (len(shared), shared.all_paths(), shared.find("*").paths) == (1, ["a"], ["a"])


def test_a_catalogue_that_the_writer_rewrote_is_read_anew(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    shared = SharedStore(Store(tmp_path, writable=False))
    for i in range(5):
        put(writer, [f"a.n{i}"])
    shared.refresh()
    before = shared.generation
    writer.close()
    put(Store(tmp_path), ["a.n5"])  # a writer that starts joins the runs of names
    shared.refresh()
    assert shared.generation != before
    assert shared.find("a.*").paths == shared.all_paths() == [f"a.n{i}" for i in range(6)]


def test_one_thread_at_a_time_refreshes(tmp_path: Path) -> None:
    second = threading.Event()
    met: list[bool] = []

    class Slow(Store):
        is_current = False

        def refresh(self) -> None:
            if threading.current_thread().name == "second":
                second.set()
            elif threading.current_thread().name == "first":
                threading.Thread(target=shared.refresh, name="second").start()
                met.append(second.wait(0.2))
            super().refresh()

    Store(tmp_path).close()
    shared = SharedStore(Slow(tmp_path, writable=False))
    first = threading.Thread(target=shared.refresh, name="first")
    first.start()
    first.join()
    assert met == [False]
    assert second.wait(10)


def test_consolidate_by_reads_the_aggregation_that_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "storage-schemas.conf").write_text(
        "[a]\npattern = .\nretentions = 1m:1h,5m:1d,1h:1y\n"
    )
    (tmp_path / "config" / "storage-aggregation.conf").write_text(
        "[a]\npattern = .\nxFilesFactor = 0\naggregationMethod = average,max,count,p90\n"
    )
    writer = Store(tmp_path / "data", Rules.load(tmp_path / "config"))
    series = writer.create(["a.b"])
    start = NOW // 3600 * 3600
    for minute in range(30 * 60):
        now = start + minute * 60
        writer.append(series, np.array([now]), np.array([float(minute % 60)]), now)
        writer.roll_up()
    now = start + 30 * 3600
    shared = SharedStore(Store(tmp_path / "data", writable=False))

    def ask(target: str) -> list[float]:
        (found,) = render(shared, [target], start=now - 3 * 86_400, until=now, now=now, zone=UTC)
        values = found.blocks[0].values[0]
        return [float(v) for v in values[~np.isnan(values)]][1:-1]

    assert set(ask("a.b")) == {29.5}
    assert set(ask("consolidateBy(a.b,'max')")) == {59.0}
    assert set(ask("scale(consolidateBy(scale(a.b,2),'max'),10)")) == {1180.0}
    assert set(ask("consolidateBy(a.b,'count')")) == {60.0}
    assert set(ask("sumSeries(a.b,consolidateBy(a.b,'max'))")) == {88.5}
    assert set(ask("consolidateBy(a.b,'min')")) == {29.5}, "what is not kept is the series' own"
    assert 50 < min(ask("consolidateBy(a.b,'p90')")) < 59


def test_what_a_pattern_names_is_remembered_until_a_name_comes(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    put(writer, ["a.b"])
    shared = SharedStore(Store(tmp_path, writable=False))
    for _ in range(2):
        paths, series = shared.find_series("a.*")
        assert paths == ["a.b"]
        paths.clear()  # it is the caller's
        series[:] = -1
    put(writer, ["a.c"])
    shared.refresh()
    paths, series = shared.find_series("a.*")
    assert (paths, len(set(series.tolist()))) == (["a.b", "a.c"], 2)


def test_only_so_many_paths_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.source._PATHS_MAX", 10)
    put(Store(tmp_path), [f"a.b{i}" for i in range(6)])
    index = Store(tmp_path, writable=False).index
    found = Remembered()
    for _ in range(2):
        for i in range(20):
            assert len(found.find(f"a.b{i}", index)[0]) == (i < 6)
        assert len(found.find("a.*", index)[0]) == 6
        assert sum(len(paths) + 1 for paths, _ in found._known.values()) <= 10


def test_whether_names_are_to_be_taken_in_is_told_without_waiting(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    shared = SharedStore(Store(tmp_path, writable=False))
    assert shared.is_current
    put(writer, ["a"])
    assert not shared.is_current
    assert not shared.is_current  # asking takes nothing in
    shared.refresh()
    assert shared.is_current
    with shared._lock:  # as a thread that takes names in
        assert not shared.is_current
