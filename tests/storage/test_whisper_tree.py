"""Trees of whisper files into a store and out of it: what the whisper package reads, the store reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import whisper as graphite
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbago import main
from storage.format import LANE_ROWS
from storage.jobs import Progress, drive
from storage.schema import Schema
from storage.store import Store
from storage.whisper import layout
from storage.whisper_tree import Tally, export_tree, import_tree
from tests.effort import tries
from tests.storage.test_whisper import NOW, Batches, Factors, archive_lists, make, same

DAY = [(60, 1440)]
TWO = [(60, 120), (300, 100)]
ROOT = Path(__file__).parent.parent.parent


class Said(list[tuple[str, str]]):
    """A Skip that remembers."""

    def __call__(self, path: str, why: str) -> None:
        self.append((path, why))


def take_in(
    store: Store,
    tree: Path,
    said: Said | None = None,
    see: Callable[[Progress], object] = lambda progress: None,
    **options: Any,
) -> Tally:
    said = Said() if said is None else said
    return drive(import_tree(store, tree, lambda: NOW, skip=said, **options), see)


def put_out(store: Store, folder: Path, glob: str | None = None, **options: Any) -> tuple[Tally, Said]:
    said = Said()
    options.setdefault("overwrite", False)
    return drive(export_tree(store, glob, folder, NOW, skip=said, **options), lambda progress: None), said


def put(tree: Path, path: str, *, archives: Any = DAY, points: Sequence[tuple[int, float]] = ()) -> Path:
    """A file in the tree, written at NOW."""
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    make(target, archives, "average", 0.5, [(0, [(NOW - at, value) for at, value in points])])
    os.utime(target, (NOW, NOW))
    return target


def reads_the_same(store: Store, name: str, path: Path) -> bool:
    """Whether Store.fetch gives for the window of each archive what whisper gives."""
    series = store.lookup([name])
    for archive in graphite.info(str(path))["archives"]:
        start = NOW - archive["retention"]
        (first, _, step), values = graphite.fetch(str(path), start, NOW, NOW)
        (fetched,) = store.fetch(series, start, NOW, NOW)
        assert (fetched.start, fetched.step) == (first, step)
        wanted = np.array([np.nan if value is None else value for value in values])
        if not same(fetched.values[0], wanted):
            return False
    return True


Files = st.lists(
    st.tuples(
        archive_lists(), st.sampled_from(["average", "sum", "last", "max", "absmin"]), Factors, Batches
    ),
    min_size=1,
    max_size=5,
)


@given(files=Files, chunk_files=st.integers(1, 6))
@settings(max_examples=tries(40), deadline=None)
def test_a_tree_goes_in_and_out_and_reads_as_whisper_reads_it(
    files: Any, chunk_files: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    names = [f"a.{'b.' * (i % 3)}m{i}" for i in range(len(files))]
    paths = [folder / "in" / f"{name.replace('.', '/')}.wsp" for name in names]
    for path, file in zip(paths, files, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path, *file)
    said, store = Said(), Store(folder / "data")
    tally = take_in(store, folder / "in", said, chunk_files=chunk_files, verify=False)
    assert (said, tally.files, tally.skipped) == ([], len(files), 0)
    assert store.index.all_paths() == sorted(names)
    for name, path in zip(names, paths, strict=True):
        assert reads_the_same(store, name, path), name
    put_out(store, folder / "out")
    for name, path in zip(names, paths, strict=True):
        out = folder / "out" / path.relative_to(folder / "in")
        assert graphite.info(str(out)) == graphite.info(str(path))
        ahead = any(age < 0 for _, points in files[names.index(name)][3] for age, _ in points)
        assert ahead or reads_the_same(store, name, out)
    store.close()


def test_a_nested_tree_of_a_thousand_files_of_several_schemas(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    shapes = [DAY, TWO, [(10, 360), (60, 720), (600, 100)]]
    ages = np.arange(0, 3600, 60)
    for i in range(1000):
        points = [
            (NOW - int(age), float(value)) for age, value in zip(ages, rng.normal(size=60), strict=True)
        ]
        put(
            tmp_path / "tree",
            f"dc{i % 3}/rack{i % 11}/h{i % 101}/m{i}.wsp",
            archives=shapes[i % 3],
            points=points,
        )
    store = Store(tmp_path / "data")
    tally = take_in(store, tmp_path / "tree", chunk_files=300)
    assert (tally.files, tally.verified, tally.different, tally.changed, tally.skipped) == (
        1000,
        1000,
        0,
        0,
        0,
    )
    assert tally.datapoints > 1000 * 60
    for i in range(0, 1000, 37):
        path = f"dc{i % 3}/rack{i % 11}/h{i % 101}/m{i}"
        assert reads_the_same(store, path.replace("/", "."), tmp_path / "tree" / f"{path}.wsp")
    schema = store.schema_of(int(store.lookup(["dc2.rack2.h2.m2"])[0]))
    assert (str(schema.retention), schema.x_files_factor) == ("10s:1h,1m:12h,10m:1000m", 0.5)
    assert not list((tmp_path / "data").glob("import*"))


def test_the_store_goes_on_where_the_files_end(tmp_path: Path) -> None:
    path = put(tmp_path / "tree", "a/b.wsp", archives=TWO, points=[(NOW - 60 * i, 1.0) for i in range(90)])
    store = Store(tmp_path / "data")
    take_in(store, tmp_path / "tree")
    series = store.lookup(["a.b"])
    graphite.update_many(str(path), [(NOW + 60, 5.0), (NOW - 600, 7.0), (NOW + 200, 2.0)], NOW + 200)
    for at, value in ((NOW + 60, 5.0), (NOW - 600, 7.0), (NOW + 200, 2.0)):
        assert not store.append(series, np.array([at]), np.array([value]), NOW + 200).total
    store.close()
    store = Store(tmp_path / "data")
    (fetched,) = store.fetch(series, NOW - 7000, NOW + 200, NOW + 200)
    (_, _, _), values = graphite.fetch(str(path), NOW - 7000, NOW + 200, NOW + 200)
    assert same(fetched.values[0], np.array([np.nan if value is None else value for value in values]))
    assert len(store.shards()) == 1


def test_two_imports_make_the_same_store_as_one(tmp_path: Path) -> None:
    for i in range(LANE_ROWS + 9):
        put(tmp_path / "tree", f"m{i}.wsp", archives=[(60, 30)], points=[(NOW - 60 * (i % 30), float(i))])
    store = Store(tmp_path / "data")
    names = sorted(f"m{i}" for i in range(LANE_ROWS))
    store.create_as(names[::-1], store_schema(tmp_path / "tree" / "m0.wsp"))  # rows in another order
    first = take_in(store, tmp_path / "tree", chunk_files=100)
    assert first.different == 0
    before = contents(store)
    assert take_in(store, tmp_path / "tree") == first
    assert contents(store) == before
    assert len(store) == LANE_ROWS + 9


def contents(store: Store) -> dict[str, list[bytes]]:
    """Each series' values, all archives, and its schema."""
    found = {}
    for name in store.index.all_paths():
        series = store.lookup([name])
        schema: Schema = store.schema_of(int(series[0]))
        parts = [repr(schema).encode()]
        for i, archive in enumerate(schema.retention.archives):
            parts.append(
                store.read_archive(
                    series, i, NOW // archive.step - archive.points, archive.points + 9
                ).tobytes()
            )
        found[name] = parts
    return found


def test_what_the_store_has_where_a_file_has_nothing_stays(tmp_path: Path) -> None:
    put(tmp_path / "tree", "a.wsp", points=[(NOW - 60, 1.0), (NOW - 60 * 1000, 2.0)])
    put(tmp_path / "tree", "b.wsp", points=[(NOW - 60, 1.0)])
    store = Store(tmp_path / "data")
    take_in(store, tmp_path / "tree")
    series = store.lookup(["a", "a", "b", "b"])
    ages = np.array([1001, 1, 1000, 2]) * 60
    store.append(series, NOW - ages, np.array([10.0, 20.0, 30.0, 40.0]), NOW)
    take_in(store, tmp_path / "tree")
    a, b = store.read_archive(store.lookup(["a", "b"]), 0, NOW // 60 - 1001, 1001)
    assert {int(i): a[i] for i in np.flatnonzero(~np.isnan(a))} == {0: 10.0, 1: 2.0, 1000: 1.0}
    assert {int(i): b[i] for i in np.flatnonzero(~np.isnan(b))} == {1: 30.0, 999: 40.0, 1000: 1.0}


def test_files_that_come_long_after_the_store_was_left_find_their_places(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    old = NOW - 5 * 86_400
    put(tmp_path / "old", "a.wsp", archives=[(60, 10_000)], points=[(NOW - 60, 1.0)])
    for name in ("a", "b"):
        store.create_as([name], store_schema(tmp_path / "old" / "a.wsp"))
    series = store.lookup(["a", "b"])
    for minutes in range(0, 200, 10):  # heads with old values are in the way
        store.append(series, np.full(2, old + 60 * minutes), np.full(2, float(minutes)), old + 60 * minutes)
    points = [(NOW - 60 * i, float(i)) for i in range(5, 9_000, 100)]
    path = put(tmp_path / "tree", "b.wsp", archives=[(60, 10_000)], points=points)
    assert take_in(store, tmp_path / "tree").different == 0
    assert reads_the_same(store, "b", path) is False  # what was there before is there still
    for row in store.read_archive(series, 0, old // 60, 200):
        assert row[::10].tolist() == list(range(0, 200, 10))
    a = store.read_archive(series[:1], 0, old // 60 + 200, 10_000)
    assert np.isnan(a).all()


def store_schema(path: Path) -> Schema:
    return layout(path.read_bytes()).schema


# --- what cannot be taken in ---


def test_what_cannot_be_taken_in_is_listed_and_nothing_else_is_lost(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    good = put(tree, "good/a.wsp", points=[(NOW - 60, 1.0)])
    whole = good.read_bytes()
    (tree / "bad").mkdir()
    (tree / "bad/short.wsp").write_bytes(whole[:-1])
    (tree / "bad/empty.wsp").write_bytes(b"")
    (tree / "bad/type.wsp").write_bytes(b"\0\0\0\x09" + whole[4:])
    (tree / "bad/two words.wsp").write_bytes(whole)
    (tree / "bad/folder.wsp").mkdir()
    os.mkfifo(tree / "bad/pipe.wsp")
    (tree / "bad/loop").symlink_to(tree)
    (tree / "bad/nowhere.wsp").symlink_to(tree / "not there")
    (tree / "good/linked.wsp").symlink_to(good)
    (tree / "good/notes.txt").write_text("no metric")
    tagged = tree / "_tagged/eff/aae"
    tagged.mkdir(parents=True)
    (tagged / ("e" * 64 + ".wsp")).write_bytes(whole)
    (tagged / "some_DOT_metric;tag1=value2;tag2=value_DOT_2.wsp").write_bytes(whole)
    store, said = Store(tmp_path / "data"), Said()
    tally = take_in(store, tree, said)
    reasons = dict(said)
    assert tally.skipped == len(reasons) == len(said)
    expected = {
        "bad/short.wsp": "cut short", "bad/empty.wsp": "cut short", "bad/type.wsp": "method 9",
        "bad/two words.wsp": "white space", "bad/pipe.wsp": "no regular file", "bad/loop": "lies in",
        "bad/nowhere.wsp": "No such file", f"_tagged/eff/aae/{'e' * 64}.wsp": "hash",
    }  # fmt: skip
    assert sorted(reasons) == sorted(expected)
    assert all(words in reasons[path] for path, words in expected.items())
    assert store.index.all_paths() == ["good.a", "good.linked", "some.metric;tag1=value2;tag2=value.2"]
    assert all(reads_the_same(store, name, good) for name in store.index.all_paths())


def test_what_the_journal_says_is_on_the_disk(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path / "tree", f"m{i}.wsp", archives=TWO, points=[(NOW - 60, 1.0), (NOW - 6000, 1.0)])
    data, journals = tmp_path / "data", [0]
    store = Store(data, durable=True)

    def look(progress: Progress) -> None:
        journal = data / "import.journal"
        files = json.loads(journal.read_text())["tally"]["files"] if journal.exists() else 0
        if files != journals[-1]:  # just written
            journals.append(files)
            assert not store.begin_sync()

    take_in(store, tmp_path / "tree", see=look, chunk_files=2)
    assert journals == [0, 2, 4]


def test_a_series_that_the_store_keeps_otherwise_is_listed(tmp_path: Path) -> None:
    put(tmp_path / "tree", "a.wsp", points=[(NOW - 60, 1.0)])
    put(tmp_path / "tree", "b.wsp", points=[(NOW - 60, 1.0)])
    store, said = Store(tmp_path / "data"), Said()
    series = store.create(["a"])
    tally = take_in(store, tmp_path / "tree", said)
    assert (tally.files, tally.skipped, tally.verified) == (1, 1, 1)
    assert "keeps it otherwise: 1m:30d,15m:5y, average" in said[0][1]
    assert np.isnan(store.read_archive(series, 0, NOW // 60 - 9, 9)).all()


def test_an_installations_folder_leads_to_its_files(tmp_path: Path) -> None:
    put(tmp_path / "graphite" / "storage" / "whisper", "a/b.wsp")
    store = Store(tmp_path / "data")
    assert take_in(store, tmp_path / "graphite").files == 1
    assert store.index.all_paths() == ["a.b"]


# --- verifying ---


def test_verifying_finds_a_value_that_does_not_read_back(tmp_path: Path) -> None:
    put(tmp_path / "tree", "a.wsp", archives=TWO, points=[(NOW - 60, 1.0), (NOW - 3600, 2.0)])
    put(tmp_path / "tree", "b.wsp", points=[(NOW - 60, 1.0)])
    store, said = Store(tmp_path / "data"), Said()

    def tamper(progress: Progress) -> None:
        if progress.what == "files":
            at = np.array([NOW - 60])
            store.append(store.lookup(["a"]), at, np.array([1.5]), NOW)

    tally = take_in(store, tmp_path / "tree", said, tamper)
    assert (tally.verified, tally.different) == (2, 1)
    assert said == [("a.wsp", "1 datapoints do not read back as they are in the file")]


def test_a_file_that_is_written_meanwhile_is_not_compared(tmp_path: Path) -> None:
    path = put(tmp_path / "tree", "a.wsp", points=[(NOW - 60, 1.0)])

    def write(progress: Progress) -> None:
        graphite.update_many(str(path), [(NOW - 120, 9.0)], NOW)

    store = Store(tmp_path / "data")
    tally = take_in(store, tmp_path / "tree", see=write)
    assert (tally.verified, tally.different, tally.changed) == (0, 0, 1)


# --- killed in the middle ---

_DYING = """
import os, signal, sys
from pathlib import Path
from storage.jobs import drive
from storage.whisper_tree import import_tree
from storage.store import Store

class Dying(Store):
    left = int(sys.argv[3])

    def step(self):
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def create_as(self, names, schema, **options):
        series = super().create_as(names, schema, **options)
        self.step()
        return series

    def write_archive(self, *arguments):
        series = super().write_archive(*arguments)
        self.step()
        return series

    def run_sync(self, syncs):
        self.step()
        super().run_sync(syncs)
        self.step()

store = Dying(Path(sys.argv[1]), durable=True)
job = import_tree(store, Path(sys.argv[2]), lambda: int(sys.argv[4]), skip=print, chunk_files=50)
drive(job, lambda progress: None)
"""


def test_an_import_that_was_killed_goes_on_and_makes_the_same_store(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for i in range(210):
        ages = range(0, 7000, 60 + i)
        points = [(NOW - age, float(i + age)) for age in ages]
        put(tree, f"h{i % 7}/m{i}.wsp", archives=DAY if i % 2 else TWO, points=points)
    whole = Store(tmp_path / "whole")
    assert take_in(whole, tree).files == 210
    for steps in (2, 10, 6):  # each run dies a few steps further, in another place
        arguments = [str(tmp_path / "data"), str(tree), str(steps), str(NOW)]
        died = subprocess.run([sys.executable, "-c", _DYING, *arguments], cwd=ROOT, capture_output=True)
        assert died.returncode == -9, died.stderr
    assert (tmp_path / "data" / "import.journal").exists()
    store = Store(tmp_path / "data")
    tally = take_in(store, tree, chunk_files=50)
    assert (tally.files, tally.verified, tally.different, tally.skipped) == (210, 210, 0, 0)
    assert contents(store) == contents(whole)


def test_the_journal_of_another_tree_is_not_believed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        put(tmp_path / name, f"{name}.wsp", points=[(NOW - 60, 1.0)])
    store = Store(tmp_path / "data")

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if (tmp_path / "data" / "import.journal").exists():
            raise Stopped

    with pytest.raises(Stopped):
        take_in(store, tmp_path / "one", see=stop)
    assert take_in(store, tmp_path / "other").files == 1
    assert store.index.all_paths() == ["one", "other"]


# --- export ---


def test_export_lists_what_whisper_cannot_hold_and_what_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    day = store_schema(put(tmp_path, "x.wsp"))
    store.create_as(["p"], Schema(day.retention, "p95", 0.0))
    store.create_as(["a.b", "a.c", "a/b", "t;x=1", "t;x=/"], day)
    out = tmp_path / "out"
    tally, said = put_out(store, out)
    assert (tally.files, tally.skipped) == (4, 2)
    assert {name: why.split()[0] for name, why in said} == {"p": "whisper", "a/b": "a"}
    tally, said = put_out(store, out, "a.*")
    assert tally.files == 0
    assert sorted(name for name, why in said if "--overwrite" in why) == ["a.b", "a.c"]
    tally, said = put_out(store, out, "a.*", overwrite=True)
    assert (tally.files, [name for name, _ in said]) == (2, [])
    again = Store(tmp_path / "again")
    assert take_in(again, out).skipped == 1  # the slash: its file has a hash for a name
    assert again.index.all_paths() == ["a.b", "a.c", "t;x=1"]


# --- the commands ---


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments)


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    now = int(time.time())
    put(tmp_path / "tree", "a/b.wsp")
    graphite.update_many(str(tmp_path / "tree/a/b.wsp"), [(now - 60 * i, float(i)) for i in range(5)], now)
    os.utime(tmp_path / "tree/a/b.wsp", (NOW, NOW))
    (tmp_path / "tree" / "c\x1b.wsp").write_bytes(b"")
    done = run("import", "whisper", str(tmp_path / "tree"), "--data", str(tmp_path / "data"))
    assert done.exit_code == 0, done.output
    assert "imported   1 files, 5 datapoints" in done.stdout
    assert "verified   1 files, 0 of them differ" in done.stdout
    assert "skipped c\\x1b.wsp: a name that cannot be stored" in done.stderr
    done = run("export", "whisper", str(tmp_path / "out"), "a.*", "--data", str(tmp_path / "data"))
    assert "exported   1 files, 5 datapoints" in done.stdout, done.output
    wanted, found = (
        graphite.fetch(str(tmp_path / at / "a/b.wsp"), now - 900, now, now) for at in ("tree", "out")
    )
    assert wanted == found


def test_an_import_beside_a_writer_that_takes_no_requests_is_one_clear_line(tmp_path: Path) -> None:
    put(tmp_path / "tree", "a.wsp")
    store = Store(tmp_path / "data")
    done = run("import", "whisper", str(tmp_path / "tree"), "--data", str(tmp_path / "data"))
    assert done.exit_code == 1
    assert "takes no requests" in done.stderr
    assert done.stderr.count("\n") == 1
    store.close()
