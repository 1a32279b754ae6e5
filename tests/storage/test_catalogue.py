"""The catalogue: a journal that is replayed, changed all or nothing, and read by older and newer programs."""

from __future__ import annotations

import errno
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.catalogue import VERSION, Catalogue, Change, Free, Run, Trashed, gone, run_of
from storage.errors import NotAStore, StoreVersion
from storage.register import Register
from storage.store import Store
from tests.effort import tries

NOW = 1_700_000_030
GOLDEN = Path(__file__).parent / "golden" / "v1.tar.xz"
GOLDEN_NAMES = ["golden.a", "golden.b", "golden.max", "golden.t;host=x"]
GOLDEN_NOW = 1_700_000_040 + 60 * 60


def golden(folder: Path) -> Path:
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(folder, filter="data")
    return folder / "v1"


def newest(store: Store, name: str) -> float:
    (fetched,) = store.fetch(store.lookup([name]), GOLDEN_NOW - 2000, GOLDEN_NOW, GOLDEN_NOW)
    return float(fetched.values[0][~np.isnan(fetched.values[0])][-1])


def test_a_store_of_version_1_is_read_as_it_is_and_upgraded_by_a_writer(tmp_path: Path) -> None:
    folder = golden(tmp_path)
    reader = Store(folder, writable=False)
    assert reader.index.all_paths() == GOLDEN_NAMES
    assert (newest(reader, "golden.a"), reader.trashed()) == (59.25, [])
    assert reader.catalogue._version() == 1
    writer = Store(folder)
    assert (writer.catalogue._version(), writer.index.all_paths()) == (VERSION, GOLDEN_NAMES)
    assert newest(writer, "golden.max") == 2059.25
    assert not writer.is_pinned(int(writer.lookup(["golden.a"])[0]))
    writer.create(["golden.new"])
    writer.delete(["golden.a"], GOLDEN_NOW)
    writer.rename("golden.b", "golden.c")
    reader.refresh()
    assert reader.index.all_paths() == sorted(["golden.c", "golden.new", *GOLDEN_NAMES[2:]])
    assert newest(reader, "golden.c") == 1059.25
    writer.restore(["golden.a"])
    writer.close()
    assert newest(Store(folder), "golden.a") == 59.25


def test_an_upgrade_that_fails_leaves_version_1(tmp_path: Path) -> None:
    folder = golden(tmp_path)
    database = sqlite3.connect(folder / Catalogue.FILE)
    database.execute("CREATE TABLE trash (x)")  # in the way of the third step
    database.commit()
    with pytest.raises(NotAStore, match="trash"):
        Catalogue(folder, writable=True)
    database.execute("DROP TABLE trash")
    database.commit()
    database.close()
    assert Store(folder).index.all_paths() == GOLDEN_NAMES


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    database = sqlite3.connect(tmp_path / Catalogue.FILE)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    for writable in (True, False):
        with pytest.raises(StoreVersion, match=f"reads up to {VERSION}"):
            Store(tmp_path, writable=writable)


Moves = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(0, 9)))
    ),
    max_size=12,
)


@given(steps=st.lists(st.one_of(Moves, st.sampled_from(["look", "compact", "index"])), max_size=8))
@settings(max_examples=tries(100), deadline=None)
def test_a_later_run_overrides_an_earlier_for_all_who_replay(
    steps: list, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("catalogue")
    catalogue = Catalogue(folder, writable=True)
    schema = catalogue.add_schema("60s:1h", "average", 0.0, pinned=False)
    for _ in range(3):
        catalogue.add_shard(schema)
    writer = Register(catalogue, logs=True)
    writer.refresh()
    reader = Register(Catalogue(folder, writable=False), logs=False)
    model: dict[str, tuple[int, int]] = {}
    for step in steps:
        if step == "look":
            reader.refresh()
            check(reader, model)
        elif step == "index":
            assert writer.index.all_paths() == sorted(model)
        elif step == "compact":
            writer.compact()
        else:
            change = Change()
            for name, place in step:
                if place is None:
                    if name in model:
                        del model[name]
                        change.runs.append(gone([name]))
                elif place not in model.values():
                    model[name] = place
                    change.runs.append(
                        run_of(place[0], np.array([place[1]]), [name], np.array([place[1] * 7]))
                    )
            if change.runs:
                writer.commit(change)
        check(writer, model)
    reader.refresh()
    check(reader, model)
    again = Register(Catalogue(folder, writable=True), logs=True)
    again.refresh()
    check(again, model)


def check(register: Register, model: dict[str, tuple[int, int]]) -> None:
    ids, series = register.living(0, register.seen)
    found = zip(register.names_of(ids), (series // 32_768).tolist(), (series % 32_768).tolist(), strict=True)
    assert {name: (shard, row) for name, shard, row in found} == model
    assert len(register) == len(model)
    assert register.index.all_paths() == sorted(model)
    for shard, row in model.values():
        assert register.rows[shard].born_of(np.array([row])) == row * 7


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 9)), max_size=20), cut=st.integers(0, 20))
def test_the_log_of_moves_says_where_each_series_is_now(steps: list, cut: int) -> None:
    """Names hold places; at a moment somebody notes all of them and asks later what became of them."""
    log = _Log()
    holds = dict(enumerate(range(6)))
    noted: dict[int, int] = dict(holds)
    since = 0
    for i, (name, place) in enumerate(steps):
        if i == cut:
            noted, since = dict(holds), log.moves
        if place in holds.values() and place >= 0:
            continue
        if holds[name] >= 0:
            log._log(np.array([holds[name]], np.int32), np.array([place], np.int32))
            holds[name] = place
    moved = log.moved(since)
    became = dict(zip(moved.old.tolist(), moved.new.tolist(), strict=True))
    assert len(became) == len(moved.old)
    assert moved.upto == log.moves
    for name, place in noted.items():
        if place >= 0:
            assert became.get(place, place) == holds[name]


class _Log(Register):
    """A register without a catalogue."""

    def __init__(self) -> None:
        self._old = self._new = np.empty(0, np.int32)
        self._moves = 0


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path, writable=True)
    plain = run_of(1, np.arange(3, 6), ["a", "b", "ü"])
    spread = run_of(2, np.array([9, 4]), ["c", "d"], np.array([0, 1 << 40]))
    last = catalogue.apply(Change(runs=[plain, spread, gone(["a"])]))
    found = list(catalogue.runs())
    assert [number for number, _ in found] == [last - 2, last - 1, last]
    for (_, run), wanted in zip(found, (plain, spread, gone(["a"])), strict=True):
        assert _comparable(run)[::3] == _comparable(wanted)[::3]
        if run.shard:
            assert _comparable(run) == _comparable(wanted)
    stored = sqlite3.connect(tmp_path / Catalogue.FILE).execute("SELECT places IS NULL FROM run").fetchall()
    assert stored == [(1,), (0,), (1,)]


def _comparable(run: Run) -> tuple[object, ...]:
    return run.shard, run.rows.tolist(), run.born.tolist(), run.names


def test_a_change_is_whole_or_not_at_all(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path, writable=True)
    catalogue.apply(Change(freed=[Free(1, 2, 3)]))
    wrong = Change(runs=[gone(["x"])], taken=[(1, 2)], trashed=[Trashed(1, 1, None, 1, 1, 1)])  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        catalogue.apply(wrong)
    assert (list(catalogue.runs()), catalogue.free()) == ([], [Free(1, 2, 3)])


def test_a_disk_that_fails_is_an_os_error(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path, writable=True)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with pytest.raises(OSError, match="disk I/O error") as found, catalogue._writing():
        raise error
    assert (found.value.errno, found.value.filename) == (errno.EIO, str(catalogue.path))


def test_when_the_catalogue_is_full_nothing_was_done_and_the_same_can_be_done_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    names = [f"a.{'x' * 80}.{i}" for i in range(300)]
    first = store.create(names[:100])
    set_room(store, 0)
    for attempt in (
        lambda: store.create(names),
        lambda: store.delete(names[:100], NOW),
        lambda: store.fresh_rows(store.schema_of(int(first[0])), 5000),
    ):
        with pytest.raises(OSError, match="full") as error:
            attempt()
        assert error.value.errno == errno.ENOSPC
        assert len(store) == 100
        assert store.lookup(names).tolist() == [*first.tolist(), *[-1] * 200]
    set_room(store, 1000)
    assert store.create(names).tolist() == list(range(int(first[0]), int(first[0]) + 300))
    reader = Store(tmp_path / "data", writable=False)
    assert sorted(reader.index.all_paths()) == sorted(names)
    assert store.delete(names[:100], NOW) == 100
    assert store.restore(names[:100]).restored == names[:100]


def set_room(store: Store, pages: int) -> None:
    """Let the catalogue grow by so many pages and no more."""
    database = store.catalogue._db
    count = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {count + pages}")
