"""Jobs on a store that is written meanwhile: snapshots above all, and what commands show of a store."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbago import main
from storage.disk import SystemDisk
from storage.errors import EventsFailed, InvalidJob, NotAStore
from storage.events import Asked, Event, Events
from storage.format import LANE_ROWS, PACKED
from storage.jobs import drive
from storage.operations import OPERATIONS, Setting, find, start, trashed
from storage.readout import dump_lines, fetch_lines, moment
from storage.schema import Rules
from storage.snapshot import UNFINISHED, restore, snapshot
from storage.store import Store
from storage.usage import EVENTS, NO_SERIES, Branch, usage
from storage.verify import Damaged, verify
from tests.effort import tries

NOW = 1_700_000_000
STEP, SLOTS, COARSE = 1, 60, 5
RULES = """
[all]
pattern = .
retentions = 1s:60s,5s:600s
"""
MAX = """
[all]
pattern = .
xFilesFactor = 0
aggregationMethod = max
"""


# --- snapshots ---


class Sent:
    """All that was ever sent, and what was there at one moment."""

    def __init__(self) -> None:
        self.all: dict[str, dict[int, set[float]]] = {}
        self.last: dict[str, dict[int, float]] = {}

    def add(self, name: str, timestamp: int, value: float) -> None:
        self.all.setdefault(name, {}).setdefault(timestamp, set()).add(value)
        self.last.setdefault(name, {})[timestamp] = value

    def now(self) -> dict[str, dict[int, float]]:
        return {name: dict(points) for name, points in self.last.items()}


class QuickDisk(SystemDisk):
    """One that nobody cuts from power."""

    def sync(self, file: int) -> None:
        pass


class Written:
    """A store and what becomes of it, step by step."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "storage-schemas.conf").write_text(RULES)
        (folder / "storage-aggregation.conf").write_text(MAX)
        self.now, self.sent, self.value = NOW, Sent(), 0.0
        self.store = Store(
            folder / "data",
            Rules.load(folder),
            durable=True,
            pack_after=0,
            disk=QuickDisk(),
            clock=lambda: self.now,
        )
        self.store.create([f"filler.{i}" for i in range(LANE_ROWS - 2)])  # so that names lie in two lanes

    def do(self, step: Any) -> None:
        match step:
            case (int(ahead), list(points)):
                self.now += ahead
                for name, age in points:
                    self.append(name, self.now - age)
            case "roll up":
                self.store.roll_up()
            case "seal":
                self.store.seal_ahead(9)
            case "pack":
                self.store.pack_some(self.now, 9)
            case "sync":
                self.store.sync()
            case "delete":
                self.delete()

    def append(self, name: str, timestamp: int) -> None:
        self.value += 1.0
        series = self.store.create([name])
        dropped = self.store.append(series, np.array([timestamp]), np.array([self.value]), self.now)
        if not dropped.total:
            self.sent.add(name, timestamp, self.value)

    def delete(self) -> None:
        """Free a row, so that another name gets it."""
        self.store.delete(["m.0"], self.now)
        self.store.purge(self.now + 1)
        self.sent.last.pop("m.0", None)


Names = st.sampled_from([f"m.{i}" for i in range(5)])
Points = st.tuples(st.integers(0, 25), st.lists(st.tuples(Names, st.integers(0, 80)), min_size=1, max_size=8))
Writes = st.one_of(Points, Points, st.sampled_from(["roll up", "seal", "pack", "sync"]))


@given(
    before=st.lists(st.one_of(Writes, st.just("delete")), max_size=25),
    meanwhile=st.lists(Writes, max_size=25),
)
@settings(max_examples=tries(30), deadline=None)
def test_a_snapshot_has_what_was_there_and_nothing_that_was_not_sent(
    before: list[Any], meanwhile: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("snapshot") / "s"
    written = Written(folder)
    for step in before:
        written.do(step)
    was_there, left = written.sent.now(), list(meanwhile)

    def go_on(progress: object) -> None:
        if left:
            written.do(left.pop(0))

    drive(snapshot(written.store, folder / "copy", slice_bytes=1), go_on)
    for step in left:
        written.do(step)
    written.store.close()
    for writable in (False, True):
        copy = Store(folder / "copy", writable=writable, clock=lambda: written.now)
        check(copy, was_there, written)
        check_lanes(copy)
        if writable:
            copy.roll_up()
            check_rolled_up(copy, was_there, written)
        copy.close()


def test_a_snapshot_in_which_the_ring_goes_round_is_of_its_beginning(tmp_path: Path) -> None:
    written = Written(tmp_path / "s")
    for _ in range(9):
        written.do((12, [("m.1", 0), ("m.3", 2)]))

    def go_round(progress: object) -> None:
        for _ in range(5):
            written.do((20, [("m.1", 0), ("m.3", 2)]))

    drive(snapshot(written.store, tmp_path / "copy", slice_bytes=1), go_round)
    copy = Store(tmp_path / "copy", clock=lambda: written.now)
    check(copy, {}, written)
    check_lanes(copy)


def check_lanes(copy: Store) -> None:
    """Each lane ends with its heads: what was sealed after they were copied is not there behind a gap."""
    for ring in (ring for shard in copy.shards() for ring in shard.rings):
        for lane in range(ring.lanes):
            newest = int(ring.file.heads(lane)[:2].max())
            blocks = ring.file.stamps(lane) & np.uint64(PACKED - 1)
            assert not newest or int(blocks.max()) <= newest, (ring.path, lane)


def check_rolled_up(copy: Store, was_there: dict[str, dict[int, float]], written: Written) -> None:
    """The coarser archive has something wherever there was something."""
    oldest = (written.now - 600) // COARSE + 1
    for name, points in was_there.items():
        slots = {timestamp // COARSE for timestamp in points if timestamp // COARSE >= oldest}
        coarse = copy.read_archive(copy.lookup([name]), 1, oldest, 130)[0]
        assert not {slot for slot in slots if np.isnan(coarse[slot - oldest])}, name


def check(copy: Store, was_there: dict[str, dict[int, float]], written: Written) -> None:
    now = written.now
    for name in was_there:
        assert copy.lookup([name])[0] >= 0, name
    for name in copy.find_series("m.*")[0]:
        series, sent = copy.lookup([name]), written.sent.all.get(name, {})
        fine = copy.read_archive(series, 0, NOW - 200, now - NOW + 210)[0]
        for at in np.flatnonzero(~np.isnan(fine)).tolist():
            assert fine[at] in sent.get(NOW - 200 + at, ()), (name, at)
        coarse = copy.read_archive(series, 1, (NOW - 800) // COARSE, (now - NOW + 820) // COARSE)[0]
        for at in np.flatnonzero(~np.isnan(coarse)).tolist():
            begin = ((NOW - 800) // COARSE + at) * COARSE
            assert any(coarse[at] in sent.get(begin + i, ()) for i in range(COARSE)), (name, begin)
        for timestamp, value in was_there.get(name, {}).items():
            if timestamp > now - SLOTS:
                found = fine[timestamp - NOW + 200]
                assert found >= value, (name, timestamp, value, found)  # what came later for it is greater


def test_a_snapshot_opens_serves_and_goes_on(tmp_path: Path) -> None:
    written = Written(tmp_path / "s")
    for _ in range(30):
        written.do((5, [("m.1", 0), ("m.3", 2)]))
        written.do("roll up")
    lines = drive(snapshot(written.store, tmp_path / "copy"), lambda progress: None)
    assert "512 series" in lines[0]
    assert not list(tmp_path.glob(f"*{UNFINISHED}"))
    drive(
        verify(tmp_path / "copy", written.now, lambda line: None), lambda progress: None
    )  # raises if it is damaged
    copy = Store(tmp_path / "copy", written.store.rules, durable=True)
    for i, first, points in ((0, written.now - 59, 60), (1, NOW // COARSE, 40)):
        series = [store.lookup(["m.1", "m.3"]) for store in (written.store, copy)]
        wanted, found = (
            store.read_archive(one, i, first, points)
            for store, one in zip((written.store, copy), series, strict=True)
        )
        assert np.array_equal(wanted, found, equal_nan=True)
        assert not np.isnan(found).all()
    written.store = copy
    written.do((5, [("m.1", 0), ("m.9", 0)]))
    copy.close()


def test_a_snapshot_does_not_take_a_folder_that_has_something(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.create(["a.b"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(NotAStore, match="new or empty"):
        next(snapshot(store, tmp_path / "full"))
    (tmp_path / "empty").mkdir()
    job = snapshot(store, tmp_path / "empty")
    next(job)
    job.close()
    assert (tmp_path / f"empty{UNFINISHED}").is_dir()
    with pytest.raises(NotAStore, match="remove it first"):
        next(snapshot(store, tmp_path / "empty"))
    (tmp_path / f"empty{UNFINISHED}").rename(tmp_path / "away")
    drive(snapshot(store, tmp_path / "empty"), lambda progress: None)
    assert len(Store(tmp_path / "empty")) == 1


def test_a_snapshot_keeps_holes_and_restores_to_the_same_answers(tmp_path: Path) -> None:
    written = Written(tmp_path / "s")
    written.do((0, [("m.1", 3), ("m.2", 4)]))
    drive(snapshot(written.store, tmp_path / "copy"), lambda progress: None)
    assert on_disk(tmp_path / "copy") <= on_disk(tmp_path / "s" / "data") * 1.5 + 65536
    with pytest.raises(NotAStore, match="no snapshot"):
        next(restore(tmp_path / "s", tmp_path / "back"))
    drive(restore(tmp_path / "copy", tmp_path / "back"), lambda progress: None)
    assert on_disk(tmp_path / "back") <= on_disk(tmp_path / "copy") * 1.5 + 65536
    back = Store(tmp_path / "back")
    check(back, written.sent.now(), written)
    with pytest.raises(NotAStore, match="new or empty"):
        next(restore(tmp_path / "copy", tmp_path / "back"))


def test_a_snapshot_has_the_events_and_brings_them_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.create(["a.b"])
    events = Events(store.folder)
    deployed = events.add(Event(NOW, "deployed", ("web",), '{"by":"x"}'))
    job = snapshot(store, tmp_path / "copy")
    while next(job).what != "bytes":
        pass
    events.add(Event(NOW, "later"))
    drive(job, lambda progress: None)
    drive(restore(tmp_path / "copy", tmp_path / "back"), lambda progress: None)
    for folder in (tmp_path / "copy", tmp_path / "back"):
        assert Events(folder).find(Asked(0, NOW, ["web"])) == ([deployed], False)
        assert Events(folder).find(Asked(0, NOW)) == ([deployed], False)


def test_a_snapshot_of_damaged_events_ends_before_anything_else_is_copied(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.create(["a.b"])
    Events(store.folder).path.write_bytes(b"no database" * 100)
    with pytest.raises(EventsFailed, match=r"events\.sqlite: file is not a database"):
        drive(snapshot(store, tmp_path / "copy"), lambda progress: None)
    assert not list(tmp_path.rglob(f"*{UNFINISHED}/shards"))


def test_verify_knows_the_events_and_names_what_is_wrong_with_them(tmp_path: Path) -> None:
    Store(tmp_path, durable=True).close()
    Events(tmp_path).add(Event(NOW, "deployed"))
    assert "1 files" in drive(verify(tmp_path, NOW, pytest.fail), lambda progress: None)[0]
    Events(tmp_path).path.write_bytes(b"no database" * 100)
    told: list[str] = []
    with pytest.raises(Damaged, match="1 findings"):
        drive(verify(tmp_path, NOW, told.append), lambda progress: None)
    assert told[0].endswith(
        "not a database; lost: events; set the file aside, and new ones are kept in a new one"
    )


def on_disk(folder: Path) -> int:
    return int(subprocess.run(["du", "-s", "-B1", folder], capture_output=True, text=True).stdout.split()[0])


# --- requests ---


class Told(NamedTuple):
    lines: list[str]
    told: list[str]


def ask(store: Store, name: str, **arguments: Any) -> Told:
    told: list[str] = []
    setting = Setting(store, lambda: NOW, told.append)
    return Told(drive(start(find(OPERATIONS, name), name, arguments, setting), lambda progress: None), told)


def test_names_are_deleted_listed_restored_renamed_and_purged(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    names = [f"a.{i:04}.x" for i in range(2500)] + ["a.b", "c.d.e"]
    store.append(store.create(names), np.full(2502, NOW), np.arange(2502.0), NOW)
    assert "2,500 series" in ask(store, "delete", glob="a.*.x").lines[0]
    assert store.index.all_paths() == ["a.b", "c.d.e"]
    assert len(trashed(store, "a.*.x")) == len(trashed(store, "**")) == len(trashed(store, None)) == 2500
    assert trashed(store, "a.0007.*") == [("a.0007.x", NOW)]
    store.create(["a.0003.x"])
    done = ask(store, "restore", glob="a.000*.x")
    assert done.lines == ["restored   9 series", "refused    1, listed above"]
    assert done.told == ["not restored: a.0003.x is there again, rename or delete it first"]
    assert store.read_archive(store.lookup(["a.0007.x"]), 0, NOW // 60, 1).tolist() == [[7.0]]
    ask(store, "rename", old="c.d.e", new="c.f")
    assert store.find_series("c.**")[0] == ["c.f"]
    assert "0 series" in ask(store, "purge", older_than_s=10).lines[0]
    assert "2,491 series" in ask(store, "purge", older_than_s=-1).lines[0]
    assert store.trashed() == []


def test_jobs_of_the_server_run_on_an_empty_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    assert ask(store, "migrate", lossy=False).lines
    assert ask(store, "expire").lines


@pytest.mark.parametrize("folder", ["here", "", "/a\0b"])
def test_a_folder_must_be_absolute(tmp_path: Path, folder: str) -> None:
    store = Store(tmp_path / "data")
    for name, more in (("snapshot", {}), ("import whisper", {"verify": True})):
        with pytest.raises(InvalidJob, match="no absolute path"):
            ask(store, name, folder=folder, **more)


# --- what commands show ---


def filled(folder: Path) -> Store:
    """Series in shards of two schemas, on both sides of a lane's end."""
    store = Store(folder)
    names = [f"hosts.h{i % 7}.cpu.c{i}" for i in range(LANE_ROWS + 9)] + [
        f"shop.s{i}.count" for i in range(20)
    ]
    store.append(store.create([*names, "t;a=1"]), np.full(len(names) + 1, NOW), np.ones(len(names) + 1), NOW)
    store.sync()
    return store


@given(depth=st.none() | st.integers(1, 5))
@settings(max_examples=tries(10), deadline=None)
def test_what_branches_take_sums_up_to_the_files(
    depth: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = filled(tmp_path_factory.mktemp("du") / "data")
    files = sum(path.stat().st_blocks * 512 for path in store.folder.rglob("*.ring"))
    branches = usage(store, None, depth)
    assert sum(branch.bytes for branch in branches) == pytest.approx(files)
    assert sum(branch.series for branch in branches) == len(store)
    assert [branch.bytes for branch in branches] == sorted(
        (branch.bytes for branch in branches), reverse=True
    )
    below = usage(store, "hosts", depth)
    hosts = [branch for branch in usage(store, None, 1) if branch.path == "hosts."]
    assert sum(branch.bytes for branch in below) == pytest.approx(hosts[0].bytes)
    assert sum(branch.series for branch in below) == hosts[0].series == LANE_ROWS + 9
    store.close()


def test_events_take_space_too(tmp_path: Path) -> None:
    store = filled(tmp_path / "data")
    before = usage(store)
    events = Events(store.folder)
    events.add(Event(NOW, "deployed"))
    size = events.path.stat().st_blocks * 512
    assert set(usage(store)) == {*before, Branch(EVENTS, 0, size)}
    assert EVENTS not in {branch.path for branch in usage(store, "hosts")}


def test_files_without_series_count_too(tmp_path: Path) -> None:
    store = filled(tmp_path / "data")
    store.delete(store.find_series("hosts.**")[0], NOW)
    branches = usage(store)
    assert {branch.path for branch in branches} == {"shop.", "t", NO_SERIES}
    files = sum(path.stat().st_blocks * 512 for path in store.folder.rglob("*.ring"))
    assert sum(branch.bytes for branch in branches) == pytest.approx(files)


Stored = st.dictionaries(st.integers(0, 59), st.floats(allow_nan=False, allow_infinity=True), max_size=20)


@given(stored=Stored, missing=st.booleans())
@settings(max_examples=tries(25), deadline=None)
def test_a_dump_is_what_was_stored(stored: dict[int, float], missing: bool, tmp_path_factory: Any) -> None:
    written = Written(tmp_path_factory.mktemp("dump") / "s")
    series = written.store.create(["a.b"])
    if stored:
        ages, values = np.array(list(stored)), np.array(list(stored.values()))
        written.store.append(np.repeat(series, len(stored)), NOW - ages, values, NOW)
    lines = list(dump_lines(written.store, int(series[0]), 1, missing, NOW))
    assert lines[0] == f"# archive 0: 1 s × 60, {len(stored)} datapoints"
    found = {int(at): value for at, value in (line.split() for line in lines[1:])}
    assert {at: float(value) for at, value in found.items() if value != "None"} == {
        NOW - age: value for age, value in stored.items()
    }
    assert (len(found) == 60 + 600) if missing else ("None" not in found.values())
    written.store.close()


def test_a_window_is_printed_as_it_is_fetched(tmp_path: Path) -> None:
    written = Written(tmp_path / "s")
    written.do((0, [("m.1", 3), ("m.2", 4)]))
    one = list(fetch_lines(written.store, "m.1", NOW - 5, NOW, NOW, as_json=False))
    assert one == [
        f"{NOW + at} {value}" for at, value in ((-4, None), (-3, 1.0), (-2, None), (-1, None), (0, None))
    ]
    both = list(fetch_lines(written.store, "m.*", NOW - 5, NOW, NOW, as_json=False))
    assert [line for line in both if line.startswith("#")] == ["# m.1", "# m.2"]
    (line,) = fetch_lines(written.store, "m.2", NOW - 5, NOW - 3, NOW, as_json=True)
    assert (
        line == f'{{"metric": "m.2", "start": {NOW - 4}, "end": {NOW - 2}, "step": 1, "values": [2.0, null]}}'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("now", NOW), ("-1h", NOW - 3600), ("now-2d", NOW - 172_800), ("123", 123), ("+1h", None), ("-1", None),
        ("1970-01-02T00:00:00Z", 86_400), ("1970-01-02T00:00:00+01:00", 82_800), ("yesterday", None), ("", NOW),
    ],
)  # fmt: skip
def test_a_moment_is_epoch_seconds_an_age_or_iso_8601(text: str, said: int | None) -> None:
    assert moment(text, NOW) == said


# --- the commands, without a server ---


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments)


def test_every_command_shows_an_example_and_one_line_errors(tmp_path: Path) -> None:
    for command in (
        "dump", "fetch", "du", "find", "info", "snapshot", "restore", "delete", "trash", "rename", "purge", "expire",
        "plan", "migrate",
    ):  # fmt: skip
        done = run(command, "--help")
        assert done.exit_code == 0
        assert "Example: plumbago " + command in " ".join(done.stdout.split()), command
    for arguments in (("dump", "a"), ("fetch", "a"), ("du",), ("delete", "a"), ("trash",), ("plan",)):
        done = run(*arguments, "--data", str(tmp_path / "nothing"))
        assert done.exit_code == 1, arguments
        assert done.stderr.startswith("plumbago: "), done.stderr
        assert done.stderr.count("\n") == 1


def test_the_commands_work_on_a_store_that_no_server_has(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    store = filled(tmp_path / "data")
    store.close()
    assert run("du", *data).stdout.splitlines()[-1].split()[-3:] == ["542", "in", "all"]
    assert run("dump", "shop.s1.count", "--archive", "1m", *data).stdout.startswith("# archive 0: 60 s ×")
    assert "its steps are 60, 900 s" in run("dump", "shop.s1.count", "--archive", "7", *data).stderr
    assert len(run("delete", "hosts.**", "--dry-run", *data).stdout.splitlines()) == LANE_ROWS + 9
    assert run("delete", "shop.**", *data).stdout.startswith("deleted    20 series")
    assert len(run("trash", "shop.*.count", *data).stdout.splitlines()) == 20
    assert run("restore", "shop.s1.*", *data).stdout == "restored   1 series\n"
    assert run("rename", "shop.s1.count", "shop.one", *data).exit_code == 0
    assert run("find", "shop.*", *data).stdout == "shop.one\n"
    assert run("rename", "shop.s1.count", "x", *data).stderr.startswith(
        "plumbago: 'shop.s1.count': there is no"
    )
    assert run("purge", "--older-than", "0s", *data).exit_code == 0
    assert run("snapshot", str(tmp_path / "copy"), *data).stdout.startswith("snapshot   523 series")
    assert run("restore", "--from", str(tmp_path / "copy"), "--data", str(tmp_path / "back")).exit_code == 0
    assert run("find", "shop.*", "--data", str(tmp_path / "back")).stdout == "shop.one\n"
    assert run("restore", *data).exit_code == 2
    assert run("expire", *data).exit_code == 0
    assert run("migrate", *data).exit_code == 0
    assert run("plan", *data).stdout


def test_many_series_are_deleted_only_with_a_yes(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    store = Store(tmp_path / "data")
    store.create([f"a.b{i}" for i in range(1001)])
    store.close()
    done = run("delete", "a.*", *data)
    assert (done.exit_code, "say --yes" in done.stderr) == (1, True)
    assert run("delete", "a.*", "--yes", *data).stdout.startswith("deleted    1,001 series")
    assert run("delete", "a.*", *data).exit_code == 1


def test_a_server_that_may_not_be_asked_is_one_clear_line(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    done = run("expire", "--data", str(tmp_path / "data"))
    assert done.exit_code == 1
    assert "in use by another writer" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert done.stderr.count("\n") == 1
    store.close()
