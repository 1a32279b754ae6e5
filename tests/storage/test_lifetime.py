"""The life of a name: whatever happens to it and its row, it shows what was sent to it and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carbon.names import NameTable
from carbon.stats import Stats
from storage.errors import InvalidConfig, InvalidName
from storage.format import LANE_ROWS, SHARD_ROWS
from storage.jobs import drive
from storage.lifetime import Limits, expire, silent
from storage.schema import Rules
from storage.store import AHEAD_MAX_S, Restored, Store
from tests.effort import tries

NOW = 1_700_000_030
CONF = "[all]\npattern = .\nretentions = 10s:1h,60s:6h\n"
FINE_S, COARSE_S = 3600, 6 * 3600
MAXIMUM = "[all]\npattern = .\naggregationMethod = max\nxFilesFactor = 0\n"


def rules(folder: Path, limits: str = "") -> Rules:
    folder.mkdir(exist_ok=True)
    (folder / "storage-schemas.conf").write_text(CONF)
    (folder / "storage-aggregation.conf").write_text(MAXIMUM)
    if limits:
        (folder / "storage-limits.conf").write_text(limits)
    return Rules.load(folder)


@dataclass
class Clock:
    """What tells a store the time."""

    now: int = NOW

    def __call__(self) -> float:
        return self.now


def put(store: Store, name: str, now: int, points: dict[int, float]) -> None:
    series = np.repeat(store.create([name]), len(points))
    dropped = store.append(series, np.array(list(points)), np.array(list(points.values())), now)
    assert dropped.total == 0


def values(
    store: Store, name: str, now: int, back: int = FINE_S, until: int | None = None
) -> dict[int, float]:
    """What a query shows: start of slot → value; nothing for a name that is not there."""
    series = store.lookup([name])
    if series[0] < 0:
        return {}
    (fetched,) = store.fetch(series, now - back, now if until is None else until, now)
    grid = fetched.start + fetched.step * np.arange(fetched.values.shape[1])
    known = ~np.isnan(fetched.values[0])
    return dict(zip(grid[known].tolist(), fetched.values[0][known].tolist(), strict=True))


# --- any life ---


@dataclass
class Owner:
    """What was sent to a name from its making until it went for good."""

    sent: set[float] = field(default_factory=set)
    fine: dict[int, float] = field(default_factory=dict)  # start of slot → the last value
    coarse: set[int] = field(default_factory=set)  # starts of slots with a value


NAMES = ["a", "b.c", "b.d", "e.f.g", "t;x=1"]
Name = st.sampled_from(NAMES)
Some = st.lists(Name, min_size=1, max_size=4, unique=True)
Ages = st.one_of(st.integers(-AHEAD_MAX_S, 300), st.integers(-AHEAD_MAX_S, COARSE_S - 60))


class Lives(RuleBasedStateMachine):
    """A writer as the receiver has it, and a reader that looks when it likes."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock, self.count = Clock(), 0.0
        self.owners: dict[str, Owner] = {}
        self.trash: list[tuple[str, int, Owner]] = []
        self.rules = rules(self.folder / "config")
        self.open()
        self.reader = Store(self.folder / "data", writable=False)
        self.seen: dict[str, Owner] = {}

    def open(self) -> None:
        self.store = Store(self.folder / "data", self.rules, durable=True, clock=self.clock)
        self.table = NameTable(self.store, Stats())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.reader.close()
            shutil.rmtree(self.folder)

    @rule(names=Some, ages=st.lists(Ages, min_size=1, max_size=4))
    def append(self, names: list[str], ages: list[int]) -> None:
        points = [(name, self.clock.now - age) for name in names for age in ages]
        sent = np.arange(self.count + 1, self.count + 1 + len(points))
        self.count += len(points)
        ids = self.table.ids_of([name.encode() for name, _ in points])
        times = np.array([at for _, at in points])
        dropped = self.store.append(self.table.series_of(ids), times, sent, self.clock.now)
        assert dropped.total == 0
        for (name, at), value in zip(points, sent.tolist(), strict=True):
            owner = self.owners.setdefault(name, Owner())
            owner.sent.add(value)
            owner.coarse.add(at - at % 60)
            if self.clock.now - at < FINE_S:
                owner.fine[at - at % 10] = value

    @rule(by=st.sampled_from([1, 70, 700, 1500, 4000]))
    def wait(self, by: int) -> None:
        self.clock.now += by

    @rule(names=Some)
    def delete(self, names: list[str]) -> None:
        living = [name for name in names if name in self.owners]
        assert self.store.delete(names, self.clock.now) == len(living)
        for name in sorted(living, key=names.index):
            self.trash.append((name, self.clock.now, self.owners.pop(name)))

    @rule(names=Some)
    def restore(self, names: list[str]) -> None:
        there = [name for name in names if any(name == one for one, _, _ in self.trash)]
        back = [name for name in there if name not in self.owners]
        assert self.store.restore(names) == Restored(back, [name for name in there if name in self.owners])
        for name in back:
            at = max(i for i, (one, _, _) in enumerate(self.trash) if one == name)
            self.owners[name] = self.trash.pop(at)[2]

    @rule(age=st.sampled_from([-1, 0, 700]))
    def purge(self, age: int) -> None:
        older_than = self.clock.now - age
        left = [one for one in self.trash if one[1] >= older_than]
        assert self.store.purge(older_than) == len(self.trash) - len(left)
        self.trash = left
        assert sorted(self.store.trashed()) == sorted((name, when) for name, when, _ in left)

    @rule(old=Name, new=Name)
    def rename(self, old: str, new: str) -> None:
        if old in self.owners and new not in self.owners:
            self.store.rename(old, new)
            self.owners[new] = self.owners.pop(old)
        else:
            with pytest.raises(InvalidName):
                self.store.rename(old, new)

    @rule(names=Some, finish=st.booleans())
    def relocate(self, names: list[str], finish: bool) -> None:
        names = [name for name in names if name in self.owners]
        schema = self.rules.decide("a").schema
        new = self.store.fresh_rows(schema, len(names))
        self.store.roll_up()
        for i, archive in enumerate(schema.retention.archives):
            last = (self.clock.now + AHEAD_MAX_S) // archive.step + 1
            first = (self.clock.now - archive.duration) // archive.step
            copied = self.store.read_archive(self.store.lookup(names), i, first, last - first)
            self.store.write_archive(new, i, first, copied, self.clock.now)
        if finish:
            assert self.store.relocate(names, new, self.clock.now) == len(names)

    @rule(names=Some, after=st.sampled_from([0, 700, 1500]))
    def pass_on(self, names: list[str], after: int) -> None:
        """Rows find new owners soon."""
        self.delete(names)
        self.purge(-1)
        self.wait(after)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def look(self) -> None:
        self.reader.refresh()
        assert sorted(self.reader.index.all_paths()) == sorted(self.owners)
        self.check(self.reader)

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def each_row_has_one_owner_or_lies_in_the_trash_or_is_free(self) -> None:
        owned = self.store.living(0, self.store.seen)[1].tolist()
        trash = [one.shard * SHARD_ROWS + one.row for one in self.store.catalogue.trash()]
        free = [one.shard * SHARD_ROWS + one.row for one in self.store.catalogue.free()]
        rows = sorted(owned + trash + free)
        assert rows == list(range(SHARD_ROWS, SHARD_ROWS + len(rows)))

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def the_writer_shows_what_was_sent(self) -> None:
        assert sorted(self.store.index.all_paths()) == sorted(self.owners)
        self.check(self.store)

    def check(self, store: Store) -> None:
        self.store.roll_up()
        assert len(store) == len(self.owners)
        now = self.clock.now
        for name, owner in self.owners.items():
            fine = values(store, name, now)
            assert fine == {at: value for at, value in owner.fine.items() if now - FINE_S < at <= now}
            coarse = values(store, name, now, COARSE_S - 60)
            assert set(coarse.values()) <= owner.sent
            assert set(coarse) >= {at for at in owner.coarse if now - COARSE_S + 120 < at <= now}


Lives.TestCase.settings = settings(
    max_examples=tries(40), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_a_name_shows_what_was_sent_to_it_and_nothing_of_another = Lives.TestCase


# --- rows and their owners ---


def handed_on(folder: Path, points: dict[int, float], *, deleted: int = NOW) -> tuple[Store, Clock]:
    """A store in which "old" had points and is gone, and whose row is free by now."""
    clock = Clock()
    store = Store(folder, rules(folder.parent / "config"), clock=clock)
    put(store, "old", max([NOW, *points]), points)
    row = store.lookup(["old"])
    store.delete(["old"], deleted)
    assert store.purge(deleted + 1) == 1
    clock.now = max([NOW, *points]) + AHEAD_MAX_S + 200
    assert store.create(["new"]) == row
    return store, clock


def test_a_row_is_used_again_and_shows_nothing_of_the_former_owner(tmp_path: Path) -> None:
    store, clock = handed_on(tmp_path / "data", {NOW: 1.0, NOW - 60: 2.0})
    reader = Store(tmp_path / "data", writable=False)
    for one in (store, reader):
        assert values(one, "new", clock.now) == {}
        assert values(one, "new", clock.now, COARSE_S - 60) == {}
        assert one.newest(int(one.lookup(["new"])[0]), clock.now) == 0
    put(store, "new", clock.now, {clock.now: 3.0})
    assert list(values(reader, "new", clock.now).values()) == [3.0]
    store.close()
    assert list(values(Store(tmp_path / "data"), "new", clock.now, COARSE_S - 60).values()) == [3.0]


def test_values_of_a_clock_that_went_back_are_not_those_of_the_next_owner(tmp_path: Path) -> None:
    store, clock = handed_on(tmp_path / "data", {NOW + 3000: 1.0}, deleted=NOW)
    store.roll_up()
    assert values(store, "new", clock.now) == {}
    assert values(store, "new", clock.now, COARSE_S - 60) == {}


def test_a_row_waits_until_no_value_of_the_former_owner_can_be_meant(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path / "data", rules(tmp_path / "config"), clock=clock)
    (row,) = store.create(["old"])
    store.delete(["old"], NOW)
    store.purge(NOW + 1)
    clock.now = NOW + AHEAD_MAX_S
    assert store.create(["early"])[0] != row
    clock.now += 121
    assert store.create(["late"])[0] == row


def test_an_old_value_moves_a_series_to_a_row_of_its_own(tmp_path: Path) -> None:
    store, clock = handed_on(tmp_path / "data", {NOW: 1.0})
    store.roll_up()
    put(store, "new", clock.now, {clock.now: 3.0})
    store.create([f"x.{i}" for i in range(LANE_ROWS)])  # so that its new row is rolled up for itself
    before = store.lookup(["new"])
    put(store, "new", clock.now, {NOW: 4.0, clock.now - 60: 5.0})
    assert store.lookup(["new"]) != before
    assert list(values(store, "new", clock.now).values()) == [4.0, 5.0, 3.0]
    store.roll_up()
    assert set(values(store, "new", clock.now, COARSE_S - 60).values()) == {4.0, 5.0, 3.0}
    reader = Store(tmp_path / "data", writable=False)
    assert list(values(reader, "new", clock.now).values()) == [4.0, 5.0, 3.0]


def test_an_import_of_old_times_moves_a_series_too(tmp_path: Path) -> None:
    store, clock = handed_on(tmp_path / "data", {NOW: 1.0})
    series = store.lookup(["new"])
    moved = store.write_archive(series, 0, NOW // 10, np.array([[6.0]]), clock.now)
    assert moved == store.lookup(["new"]) != series
    assert list(values(store, "new", clock.now).values()) == [6.0]
    imported = store.create_as(["imported"], store.schema_of(int(moved[0])))
    assert imported not in (series, moved)


def killed(store: Store, folder: Path) -> Path:
    """The files as they are when the process ends now."""
    store.roll_up()
    shutil.copytree(store.folder, folder)
    return folder


def test_rows_that_were_filled_and_never_named_show_nothing_and_do_not_leak(tmp_path: Path) -> None:
    clock = Clock()
    config = rules(tmp_path / "config")
    store = Store(tmp_path / "data", config, clock=clock)
    (kept,) = store.create(["kept"])
    filled = store.fresh_rows(store.schema_of(int(kept)), 2)
    store.write_archive(filled, 0, NOW // 10, np.full((2, 1), 7.0), NOW)
    assert not set(filled.tolist()) & set(store.create(["other"]).tolist())
    again = Store(killed(store, tmp_path / "killed"), config, clock=clock)
    assert not set(filled.tolist()) & set(again.create(["x"]).tolist())
    clock.now += AHEAD_MAX_S + 121
    assert set(again.create(["y", "z"]).tolist()) == set(filled.tolist())
    assert values(again, "y", NOW) == values(again, "z", clock.now, COARSE_S - 60) == {}


def test_only_promised_rows_get_names_and_each_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (a, b) = store.create(["a", "b"])
    (new,) = store.fresh_rows(store.schema_of(int(a)), 1)
    with pytest.raises(ValueError, match="fresh_rows"):
        store.relocate(["a"], np.array([b]), NOW)
    assert store.relocate(["a", "gone"], np.array([new, new]), NOW) == 1
    assert store.lookup(["a"]) == [new]
    with pytest.raises(ValueError, match="fresh_rows"):
        store.relocate(["b"], np.array([new]), NOW)


def test_a_name_moves_when_what_it_moves_to_is_on_the_disk(tmp_path: Path) -> None:
    class Watched(Store):
        """A store that notes where "a" leads whenever all is on the disk."""

        synced: tuple[int, ...] = ()

        def sync(self) -> None:
            super().sync()
            self.synced = (*self.synced, int(self.lookup(["a"])[0]))

    store = Watched(tmp_path, durable=True)
    (old,) = store.create(["a"]).tolist()
    new = store.fresh_rows(store.schema_of(old), 1)
    store.write_archive(new, 0, NOW // 60, np.array([[1.0]]), NOW)
    store.relocate(["a"], new, NOW)
    assert store.synced == (old,)
    assert store.lookup(["a"]).tolist() == new.tolist()


def test_values_of_an_owner_whose_name_was_lost_in_a_power_cut_are_nobodys(tmp_path: Path) -> None:
    store, clock = handed_on(tmp_path / "data", {NOW: 1.0})
    put(store, "new", clock.now, {clock.now: 3.0})
    store.delete(["new"], clock.now)
    store.purge(clock.now + 1)
    store.close()
    clock.now += 900
    store = Store(tmp_path / "data", store.rules, clock=clock)
    names = {path.name: path.read_bytes() for path in (tmp_path / "data").glob("catalogue*")}
    put(store, "lost", clock.now, {clock.now: 4.0})
    store.sync()
    cut = killed(store, tmp_path / "cut")
    for old in cut.glob("catalogue*"):
        old.unlink()
    for name, content in names.items():
        (cut / name).write_bytes(content)
    (cut / "boot").write_text("another boot")
    again = Store(cut, store.rules, clock=clock)
    again.create(["next"])
    assert values(again, "next", clock.now) == {}


def test_what_lies_in_the_trash_keeps_its_row_over_a_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("a", "b", "c"):
        put(store, name, NOW, {NOW: float(ord(name))})
    store.delete(["b", "c"], NOW)
    store.close()
    Store(tmp_path).close()  # from here on the journal does not know of them
    store = Store(tmp_path)
    assert len(list(store.catalogue.runs())) == 1
    put(store, "d", NOW, {NOW: 4.0})
    assert store.restore(["b", "c"]).restored == ["b", "c"]
    found = [list(values(store, name, NOW).values()) for name in "abcd"]
    assert found == [[97.0], [98.0], [99.0], [4.0]]


def test_what_comes_back_is_what_was_deleted_last_and_still_nothing_of_another(tmp_path: Path) -> None:
    store, clock = handed_on(tmp_path / "data", {NOW: 1.0})
    for value in (2.0, 3.0):
        put(store, "new", clock.now, {clock.now: value})
        store.delete(["new"], clock.now)
    assert store.restore(["new"]).restored == ["new"]
    assert list(values(store, "new", clock.now).values()) == [3.0]
    store.delete(["new"], clock.now)
    store.restore(["new"])
    store.rename("new", "old")
    assert list(values(store, "old", clock.now).values()) == [3.0]
    assert len(store.trashed()) == 1
    first = store.catalogue.trash()[0]
    assert first.born > NOW  # the row of the one that was deleted first was another's before


def test_a_pinned_series_keeps_its_schema_in_a_shard_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path, rules(tmp_path / "config"))
    schema = store.explain("a").schema
    free, pinned = store.create(["a"]), store.create_as(["b"], schema, pinned=True)
    store.close()
    store = Store(tmp_path)
    assert [store.is_pinned(int(one[0])) for one in (free, pinned)] == [False, True]
    assert store.schema_of(int(pinned[0])) == schema == store.schema_of(int(free[0]))


# --- quotas and expiry ---

LIMITS = """
[keep]
pattern = keep$
expireAfter = never
[pods]
pattern = ^k8s\\.
expireAfter = 2h
[rest]
pattern = .
expireAfter = 5h
[all pods]
prefix = k8s.
maxSeries = 2
"""


def test_a_quota_lets_no_sender_make_more_series(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", rules(tmp_path / "config", LIMITS))

    def send(*names: str) -> list[bool]:
        table = NameTable(store, Stats())
        return (table.series_of(table.ids_of([name.encode() for name in names])) >= 0).tolist()

    assert send("k8s.a", "k8sx", "k8s.b", "k8s.c") == [True, True, True, False]
    assert store.why_refused("k8s.c") == "quota of k8s. reached: 2 series"
    assert store.why_refused("k8sx") == ""
    store.delete(["k8s.a"], NOW)
    assert send("k8s.c", "k8s.a", "k8s.b") == [True, False, True]
    store.close()
    store = Store(tmp_path / "data", store.rules)
    assert send("k8s.d", "k8s.b") == [False, True]
    store.rules = rules(tmp_path / "config", LIMITS.replace("= 2\n", "= 3\n"))
    assert send("k8s.d", "k8s.e") == [True, False]


def run(store: Store, now: int, trash_s: int = 86_400) -> list[str]:
    job = expire(store, now, trash_s=trash_s)
    while True:
        try:
            next(job)
        except StopIteration as end:
            return list(end.value)


def test_silent_series_go_to_the_trash_and_leave_it_in_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", rules(tmp_path / "config", LIMITS))
    for name in ("k8s.old", "k8s.keep", "other"):
        put(store, name, NOW, {NOW: 1.0})
    later = NOW + 2 * 3600 + 60
    put(store, "k8s.new", later, {later - 7100: 1.0})
    assert run(store, later)[0] == "1 series without new datapoints went to the trash"
    assert store.index.all_paths() == ["k8s.keep", "k8s.new", "other"]
    assert store.trashed() == [("k8s.old", later)]
    run(store, later + 86_401)
    assert store.index.all_paths() == ["k8s.keep"]
    assert sorted(name for name, _ in store.trashed()) == ["k8s.new", "other"]


def test_a_series_is_silent_by_its_own_datapoints_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", rules(tmp_path / "config"))
    ages = [0, 700, 3000, 3500, 4000, 7000, 7300, 20_000]
    for age in ages:
        put(store, f"a.{age}", NOW, {NOW - age: 1.0})
    store.roll_up()
    series = store.lookup([f"a.{age}" for age in ages])
    for limit in (3600, 7200, 18_000):
        assert silent(store, series, NOW, limit).tolist() == [age > limit for age in ages], limit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a]\npattern = x\n", "expireAfter: is missing"),
        ("[a]\nexpireAfter = 1d\n", "pattern or prefix: is missing"),
        ("[a]\npattern = x\nexpireAfter = 90\n", "has no unit"),
        ("[a]\npattern = x\nexpireAfter = 10m\n", "1h to 100y"),
        ("[a]\npattern = (\nexpireAfter = 1d\n", "no regular expression"),
        ("[a]\nprefix = x.\nmaxSeries = many\n", "from 0 to 999999999"),
        ("[a]\nprefix = a b\nmaxSeries = 1\n", "beginning of no metric name"),
        ("[a]\nprefix = x.\nmaxSeries = 1\nexpireAfter = 1d\n", "expireAfter: is unknown"),
        ("[a]\nkeepTrash = 7\n", "has no unit"),
        ("[a]\nkeepTrash = 7d\n[b]\nkeepTrash = 8d\n", "stands twice"),
    ],
)
def test_a_limit_that_cannot_be_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "storage-limits.conf").write_text(text)
    with pytest.raises(InvalidConfig) as error:
        Limits.load(tmp_path)
    assert words in str(error.value)
    assert "storage-limits.conf:" in str(error.value)


def test_changed_limits_are_changed_rules(tmp_path: Path) -> None:
    before = rules(tmp_path)
    assert not before.changed()
    (tmp_path / "storage-limits.conf").write_text(LIMITS)
    assert before.changed()
    assert Rules.load(tmp_path).limits.expire_after("k8s.a") == 7200
    assert Rules.load(tmp_path).limits.expire_after("k8s.keep") is None
    assert before.limits.expire_after("k8s.a") is None


def test_the_trash_is_kept_for_as_long_as_the_limits_say(tmp_path: Path) -> None:
    (tmp_path / "storage-limits.conf").write_text("[trash]\nkeepTrash = 2d\n")
    store = Store(tmp_path / "data", Rules.load(tmp_path))
    store.create(["a.b", "a.c"])
    store.delete(["a.b"], NOW)
    drive(expire(store, NOW + 2 * 86_400 - 10), lambda progress: None)
    assert [name for name, _ in store.trashed()] == ["a.b"]
    drive(expire(store, NOW + 2 * 86_400 + 10), lambda progress: None)
    assert store.trashed() == []
    store.close()
