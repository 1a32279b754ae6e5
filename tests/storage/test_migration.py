"""Migration: series come to the schema that the rules decide, whole and online, and the plan says what it costs."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from storage.jobs import Job, Progress
from storage.migration import kept, losses, migrate, plan, plan_lines
from storage.resample import Held, resample
from storage.retention import Retention, parse
from storage.schema import AGGREGATION_FILE, SCHEMAS_FILE, Rules, Schema
from storage.store import AHEAD_MAX_S, Store
from tests.effort import tries
from tests.storage.test_resample import as_dicts, first_slot, retentions

NOW = 1_700_000_030
HOUR, DAY = 3600, 86_400
Archives = dict[str, list[dict[int, float]]]  # name → of each archive, slot → value


def rules(folder: Path, retentions: str, method: str = "average", factor: float = 0.0) -> Rules:
    """Rules for names that begin with "m"; all others keep an hour."""
    folder.mkdir(exist_ok=True)
    (folder / SCHEMAS_FILE).write_text(
        f"[m]\npattern = ^m\nretentions = {retentions}\n[rest]\npattern = .\nretentions = 1m:1h\n"
    )
    (folder / AGGREGATION_FILE).write_text(
        f"[m]\npattern = ^m\naggregationMethod = {method}\nxFilesFactor = {factor}\n"
    )
    return Rules.load(folder)


def run(job: Job) -> tuple[list[Progress], list[str]]:
    """All that a job says on its way, and how it ended."""
    said = []
    while True:
        try:
            said.append(next(job))
        except StopIteration as end:
            return said, end.value


def put(store: Store, names: list[str], ages: list[int], values: list[float]) -> None:
    """Append to the names' series, wherever they are now."""
    series = store.create(names)
    times = np.array([NOW - age for age in ages])
    assert store.append(series, times, np.array(values), NOW).total == 0


def read(store: Store, name: str) -> list[dict[int, float]]:
    """slot → value of each archive of a series."""
    series = store.lookup([name])
    return as_dicts(held(store, int(series[0])))


def held(store: Store, series: int) -> list[Held]:
    out = []
    for i, archive in enumerate(store.schema_of(series).retention.archives):
        first = first_slot(archive)
        slots = (NOW + AHEAD_MAX_S) // archive.step + 1 - first
        out.append(Held(archive, first, store.read_archive(np.array([series], np.int32), i, first, slots)))
    return out


def retention_of(store: Store, name: str) -> str:
    return str(store.schema_of(int(store.lookup([name])[0])).retention)


# --- what is lost ---


@given(old=retentions(), new=retentions())
@settings(max_examples=tries(100), deadline=None)
def test_every_datapoint_that_does_not_come_through_lies_in_a_part_that_the_losses_name(
    old: Retention, new: Retention
) -> None:
    """All is known and different. A point comes through when an archive has it at the slot of its own timestamp."""
    steps = sorted({archive.step for archive in (*old.archives, *new.archives)})
    assume(all(coarse % fine == 0 for fine, coarse in pairwise(steps)))
    full = []
    for i, archive in enumerate(old.archives):
        values = np.arange(archive.points + 1, dtype=np.float64)[None] + 1_000_000 * i
        full.append(Held(archive, first_slot(archive), values))
    named = [(loss.archive, *loss.slots(NOW, NOW + AHEAD_MAX_S)) for loss in losses(old, new)]
    made = as_dicts(resample(full, Schema(new, "max", 0), NOW))
    for i, one in enumerate(full):
        finer = full[i - 1].first * full[i - 1].step if i else NOW + AHEAD_MAX_S + 10**6
        for slot in range(one.first, one.stop):
            if slot * one.step >= finer:
                break  # a finer archive tells of it
            value = one.values[0, slot - one.first]
            there = any(
                known.get(slot * one.step // archive.step) == value
                for archive, known in zip(new.archives, made, strict=True)
                if archive.step <= one.step
            )
            is_named = any(i == archive and first <= slot < first + count for archive, first, count in named)
            assert there != is_named


@pytest.mark.parametrize(
    ("old", "new", "lost", "stays"),
    [
        ("1m:1d", "1m:2d", [], "60 s for 24 h"),
        ("1m:1d,5m:30d", "1m:30d", [], "60 s for 24 h, 5 min for 30 days"),
        ("1m:1y", "1m:30d", ["older than 30 days is lost"], "60 s for 30 days"),
        ("10s:6h,1m:7d", "1m:7d", ["10 s detail becomes 60 s"], "60 s for 7 days"),
        (
            "10s:6h,1m:7d",
            "10s:1h,1m:7d",
            ["10 s detail older than 60 min becomes 60 s"],
            "10 s for 60 min, 60 s for 7 days",
        ),
        (
            "1m:1d,5m:30d",
            "1m:12h,15m:20d",
            [
                "60 s detail older than 12 h becomes 15 min",
                "5 min detail older than 24 h becomes 15 min",
                "older than 20 days is lost",
            ],
            "60 s for 12 h",
        ),
        ("1m:1d", "5m:30d", ["60 s detail becomes 5 min"], "nothing as it is"),
    ],
)  # fmt: skip
def test_losses_in_words(old: str, new: str, lost: list[str], stays: str) -> None:
    assert [loss.words for loss in losses(parse(old), parse(new))] == lost
    assert kept(parse(old), parse(new)) == stays


# --- the plan ---


def test_the_plan_groups_series_by_what_they_have_and_get_and_says_what_goes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", rules(tmp_path / "old", "1m:1d,5m:30d", "average", 0.5))
    put(store, [f"m{i}" for i in range(5)], [60, 60, 25 * HOUR, 26 * HOUR, 3 * DAY], [1.0] * 5)
    put(store, ["x"], [60], [1.0])
    found = plan(store, rules(tmp_path / "new", "1m:2d", "max"), NOW)
    (change,) = found.changes
    assert (change.series, change.looked_at, change.losing, found.unchanged) == (5, 5, 1, 1)
    assert (change.bytes_now, change.bytes_then) == (5 * 8 * (1440 + 8640), 5 * 8 * 2880)
    assert plan_lines(found) == [
        "5 series",
        "  stored as 1m:1d,5m:30d, average, xFilesFactor 0.5",
        "  would be  1m:2d, max, xFilesFactor 0",
        "  when full 0.4 MiB now, 0.1 MiB then",
        "  kept      60 s for 24 h, 5 min for 2 days",
        "  lost      older than 2 days is lost",
        "  stored    1 of 5 series hold datapoints that would be lost",
        "",
        "1 series have the schema that the rules decide",
        "plumbago migrate --lossy moves 5 that lose datapoints",
    ]
    store.close()


def test_of_a_change_with_too_many_datapoints_the_plan_looks_at_a_sample(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", rules(tmp_path / "old", "1m:5y"))
    store.create([f"m{i}" for i in range(100)])
    found = plan(store, rules(tmp_path / "new", "1m:1y"), NOW)
    (change,) = found.changes
    assert (change.series, change.losing) == (100, 0)
    assert 10 < change.looked_at < 40
    words = f"0 of a sample of {change.looked_at} series hold datapoints that would be lost"
    assert words in "\n".join(plan_lines(found))
    assert len(set(change.sample(7).tolist())) == 7
    assert store.names_of(change.sample(1000)) == [f"m{i}" for i in range(100)]
    store.close()


def test_a_store_as_the_rules_say_has_nothing_to_migrate(tmp_path: Path) -> None:
    decided = rules(tmp_path / "rules", "1m:1d")
    store = Store(tmp_path / "store", decided)
    put(store, ["m", "x"], [60, 60], [1.0, 2.0])
    assert plan_lines(plan(store, decided, NOW)) == ["2 series have the schema that the rules decide"]
    assert run(migrate(store, lambda: NOW))[1][0].startswith("moved 0 series")
    store.close()


# --- the migration ---


def filled(folder: Path, old: str, names: list[str]) -> Store:
    """A store whose series have a datapoint in most slots of every archive.

    They roll up by max: that gives the same bits whatever the steps between, also when a start rolls heads up again.
    """
    store = Store(folder / "store", rules(folder / "old", old, "max"))
    series = store.create(names)
    rng = np.random.default_rng(len(names))
    finer = NOW + 1
    for archive in parse(old).archives:
        times = np.arange(first_slot(archive) * archive.step, finer, archive.step)
        finer = int(times[0])
        some = rng.random((len(names), len(times))) > 0.1
        which, when = np.nonzero(some)
        order = np.argsort(when, kind="stable")
        put = series[which[order]], times[when[order]], rng.normal(size=len(which))
        assert store.append(*put, NOW).total == 0
    store.roll_up()
    return store


def expected(store: Store, names: list[str], schema: Schema) -> Archives:
    series = store.lookup(names).tolist()
    return {
        name: as_dicts(resample(held(store, one), schema, NOW))
        for name, one in zip(names, series, strict=True)
    }


NAMES = [f"m.a{i}" for i in range(40)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1m:2h,5m:1d", "1m:4h,15m:3d"),
        ("10s:30m,1m:2h", "1m:6h,10m:1d"),
        ("5m:1d", "1m:4h,5m:1d,1h:7d"),
        ("10s:1h", "15s:1h,1m:2h"),
    ],
)
def test_each_series_holds_what_resampling_gives_and_is_found_by_its_name(
    old: str, new: str, tmp_path: Path
) -> None:
    store = filled(tmp_path, old, NAMES)
    store.rules = rules(tmp_path / "new", new, "max")
    wanted = expected(store, NAMES, Schema(parse(new), "max", 0.0))
    assert all(any(archives) for archives in wanted.values())
    said, (line,) = run(migrate(store, lambda: NOW, lossy=True, batch_points=3000))
    assert line.startswith(f"moved {len(NAMES)} series in ")
    done = [one.done for one in said if one.what == "series"]
    assert done == sorted(set(done))
    assert (done[0], done[-1], said[-1].total) == (0, len(NAMES), len(NAMES))
    assert len(done) > 4
    for again in range(2):
        for name in NAMES:
            assert retention_of(store, name) == str(parse(new))
            assert read(store, name) == wanted[name]
        assert store.find_series("m.*")[0] == sorted(NAMES)
        store.close()
        if not again:
            store = Store(tmp_path / "store", rules(tmp_path / "new", new))


def test_changed_aggregation_or_x_files_factor_takes_the_archives_over_as_they_are(tmp_path: Path) -> None:
    store = filled(tmp_path, "1m:2h,5m:1d", NAMES)
    before = {name: read(store, name) for name in NAMES}
    store.rules = rules(tmp_path / "new", "1m:2h,5m:1d", "sum", 0.5)
    _, (line,) = run(migrate(store, lambda: NOW))
    assert line.startswith(f"moved {len(NAMES)} series in ")
    assert {name: read(store, name) for name in NAMES} == before
    series = int(store.lookup(NAMES[:1])[0])
    assert store.schema_of(series) == Schema(parse("1m:2h,5m:1d"), "sum", 0.5)
    store.close()


Late = st.one_of(
    st.integers(0, 100), st.integers(140, 1300)
)  # minutes; nearer to 2 h two archives are as good


@given(
    appends=st.lists(
        st.lists(st.tuples(st.integers(0, 9), Late), max_size=8, unique=True), min_size=1, max_size=8
    ),
    roll_up=st.booleans(),
)
@settings(max_examples=tries(25), deadline=None)
@example(appends=[[(i, 0), (i, 200)] for i in range(8)], roll_up=False)
def test_datapoints_appended_between_slices_are_never_lost(
    appends: list[list[tuple[int, int]]], roll_up: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """New ones, late ones, to series that have moved and to those that have not."""
    folder = tmp_path_factory.mktemp("online")
    names = [f"m{i}" for i in range(10)]
    store = Store(folder / "store", rules(folder / "old", "1m:2h,5m:1d", "max"))
    put(store, names, [60] * 10, [-1.0] * 10)
    store.rules = rules(folder / "new", "1m:4h,5m:2d", "max")
    sent: dict[tuple[str, int], tuple[int, float]] = {}
    number = 0.0
    job = migrate(store, lambda: NOW, batch_points=1)
    waiting = iter(appends)
    for _ in job:
        for i, minutes in next(waiting, []):
            number += 1
            age = minutes * 60
            put(store, [names[i]], [age], [number])
            sent[names[i], (NOW - age) // (60 if minutes < 120 else 300)] = (age, number)
        if roll_up:
            store.roll_up()
    store.roll_up()
    for (name, _), (age, value) in sent.items():
        assert retention_of(store, name) == "1m:4h,5m:2d"
        fine, coarse = read(store, name)
        own = fine.get((NOW - age) // 60), coarse.get((NOW - age) // 300)
        stood = fine.get((NOW - age) // 300 * 5)  # what was late for the old minutes stands at five minutes
        assert value in (*own, stood)
        assert coarse[(NOW - age) // 300] >= value
    store.close()


def test_a_job_that_goes_on_for_hours_takes_along_what_came_meanwhile(tmp_path: Path) -> None:
    names = [f"m{i}" for i in range(10)]
    store = Store(tmp_path / "store", rules(tmp_path / "old", "1m:2h,5m:1d"))
    series, times = store.create(names), [NOW - DAY]
    store.rules = rules(tmp_path / "new", "1m:4h,5m:2d")
    for _ in migrate(store, lambda: times[-1], batch_points=1):
        times.append(now := times[-1] + HOUR)
        series = store.lookup(names)
        store.append(series, np.full(10, now), np.full(10, now // HOUR * 1.0), now)
    came = set(range((NOW - DAY) // HOUR + 1, now // HOUR + 1))
    for one in series.tolist():
        coarse = store.read_archive(np.array([one], np.int32), 1, (NOW - DAY) // 300, DAY // 300)[0]
        fine = store.read_archive(np.array([one], np.int32), 0, (now - 4 * HOUR) // 60 + 1, 241)[0]
        assert came == set(coarse[~np.isnan(coarse)].tolist()) | set(fine[~np.isnan(fine)].tolist())
    store.close()


def is_whole(store: Store, name: str, old: Archives, new: Archives) -> bool:
    """Whether the series has moved; it must be wholly there or wholly here."""
    moved = retention_of(store, name) == "1m:4h,15m:3d"
    assert read(store, name) == (new if moved else old)[name]
    return moved


def test_a_job_closed_at_any_yield_leaves_each_series_wholly_old_or_wholly_new(tmp_path: Path) -> None:
    store = filled(tmp_path, "1m:2h,5m:1d", NAMES)
    decided = rules(tmp_path / "new", "1m:4h,15m:3d", "max")
    old = {name: read(store, name) for name in NAMES}
    new = expected(store, NAMES, Schema(parse("1m:4h,15m:3d"), "max", 0.0))
    moved = 0
    for steps in range(1, 40):
        store.rules = decided
        job = migrate(store, lambda: NOW, lossy=True, batch_points=2000)
        for _ in range(steps):
            next(job, None)
        job.close()
        store.close()
        store = Store(tmp_path / "store", decided)
        before, moved = moved, sum(is_whole(store, name, old, new) for name in NAMES)
        assert moved >= before
        if moved == len(NAMES):
            break
    assert steps > 5
    store.close()


def test_killed_at_any_moment_each_series_is_wholly_old_or_wholly_new(tmp_path: Path) -> None:
    names = [f"m.a{i}" for i in range(300)]
    store = filled(tmp_path, "1m:2h,5m:1d", names)
    old = {name: read(store, name) for name in names}
    new = expected(store, names, Schema(parse("1m:4h,15m:3d"), "max", 0.0))
    store.close()
    decided = rules(tmp_path / "new", "1m:4h,15m:3d", "max")
    counts = [0]
    rng = np.random.default_rng(5)
    while counts[-1] < len(names) and len(counts) < 40:
        killed_after(rng.uniform(0.005, 0.05), tmp_path / "store", decided)
        store = Store(tmp_path / "store", decided)
        counts.append(sum(is_whole(store, name, old, new) for name in names))
        store.close()
    assert counts == sorted(counts)
    assert len(set(counts)) > 2  # some kills came in the middle
    store = Store(tmp_path / "store", decided)
    run(migrate(store, lambda: NOW, lossy=True))
    assert all(is_whole(store, name, old, new) for name in names)
    store.close()


def killed_after(seconds: float, folder: Path, decided: Rules) -> None:
    """A process that migrates the store until a timer ends it, wherever it is."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] in (0, signal.SIGPROF)
        return
    try:
        store = Store(folder, decided)
        signal.setitimer(signal.ITIMER_PROF, seconds)  # of its own time: a busy machine changes nothing
        run(migrate(store, lambda: NOW, lossy=True, batch_points=10_000))
    finally:
        os._exit(0)  # without this process' own end of tests


def test_what_would_lose_datapoints_stays_and_the_last_lines_say_how_it_goes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", rules(tmp_path / "old", "1m:2d"))
    put(store, ["m1", "m2", "m3"], [60, 60, 30 * HOUR], [1.0, 2.0, 3.0])
    store.rules = rules(tmp_path / "new", "1m:1d")
    _, lines = run(migrate(store, lambda: NOW))
    assert lines[0].startswith("moved 0 series")
    assert lines[1].startswith("skipped 3 series that would lose datapoints; plumbago migrate --lossy")
    assert {retention_of(store, name) for name in ("m1", "m2", "m3")} == {"1m:2d"}
    _, lines = run(migrate(store, lambda: NOW, lossy=True))
    assert len(lines) == 1
    assert lines[0].startswith("moved 3 series")
    assert [read(store, name)[0] for name in ("m1", "m2", "m3")] == [
        {(NOW - 60) // 60: 1.0},
        {(NOW - 60) // 60: 2.0},
        {},
    ]
    store.close()


def test_a_series_that_was_not_in_the_sample_is_looked_at_before_it_moves(tmp_path: Path) -> None:
    """As one that gets old datapoints after the plan was made."""
    store = Store(tmp_path / "store", rules(tmp_path / "old", "1m:2d"))
    put(store, ["m1", "m2", "m3"], [60, 60, 60], [1.0, 2.0, 3.0])
    store.rules = rules(tmp_path / "new", "1m:1d")
    job = migrate(store, lambda: NOW)
    while next(job).what != "series":
        pass
    put(store, ["m2"], [30 * HOUR], [9.0])
    _, lines = run(job)
    assert lines[0].startswith("moved 2 series")
    assert lines[1].startswith("skipped 1 series")
    assert [retention_of(store, name) for name in ("m1", "m2", "m3")] == ["1m:1d", "1m:2d", "1m:1d"]
    assert [max(read(store, name)[0].values()) for name in ("m1", "m2", "m3")] == [1.0, 9.0, 3.0]
    store.close()


def test_two_jobs_at_once_move_each_series_once(tmp_path: Path) -> None:
    store = filled(tmp_path, "1m:2h,5m:1d", NAMES)
    store.rules = rules(tmp_path / "new", "1m:4h,15m:3d")
    wanted = expected(store, NAMES, Schema(parse("1m:4h,15m:3d"), "average", 0.0))
    jobs = [migrate(store, lambda: NOW, lossy=True, batch_points=2000) for _ in range(2)]
    ends: list[str] = []
    while len(ends) < 2:
        for job in jobs:
            try:
                next(job)
            except StopIteration as end:
                ends += end.value or []
    assert {name: read(store, name) for name in NAMES} == wanted
    assert sum(int(line.split()[1]) for line in ends) == len(NAMES)
    store.close()


def test_other_rules_meanwhile_end_the_job(tmp_path: Path) -> None:
    store = filled(tmp_path, "1m:2h,5m:1d", NAMES)
    store.rules = rules(tmp_path / "new", "1m:4h,5m:3d")
    job = migrate(store, lambda: NOW, batch_points=1)
    while (said := next(job)).what != "series" or said.done < 3:
        pass
    store.rules = rules(tmp_path / "newer", "1m:6h,5m:3d")
    _, lines = run(job)
    assert lines[0].startswith("moved 3 series")
    assert "the rules have changed" in lines[-1]
    store.close()


def test_pinned_series_stay_as_they_are_and_are_listed_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", rules(tmp_path / "old", "1m:2h"))
    own = Schema(parse("1m:2h"), "average", 0.0)  # as the others, and yet their own
    store.create_as(["m1", "m2"], own, pinned=True)
    put(store, ["m1", "m2", "m3"], [60, 60, 60], [1.0, 2.0, 3.0])
    store.rules = rules(tmp_path / "new", "1m:4h")
    found = plan(store, store.rules, NOW)
    assert ([change.series for change in found.changes], found.pinned) == ([1], {own: 2})
    wanted = "2 series imported with 1m:2h, average, xFilesFactor 0 of their own stay as they are"
    assert wanted in plan_lines(found)
    _, lines = run(migrate(store, lambda: NOW))
    assert lines[0].startswith("moved 1 series")
    assert lines[1] == "pinned 2 series, imported with a schema of their own: left alone"
    assert [retention_of(store, name) for name in ("m1", "m2", "m3")] == ["1m:2h", "1m:2h", "1m:4h"]
    assert read(store, "m1")[0] == {(NOW - 60) // 60: 1.0}
    store.close()


def test_names_deleted_renamed_or_made_anew_between_slices_are_no_trouble(tmp_path: Path) -> None:
    store = filled(tmp_path, "1m:2h,5m:1d", NAMES)
    store.rules = rules(tmp_path / "new", "1m:4h,5m:3d", "max")
    wanted = expected(store, NAMES, Schema(parse("1m:4h,5m:3d"), "max", 0.0))
    job = migrate(store, lambda: NOW, batch_points=1)
    while (said := next(job)).what != "series" or said.done < 3:
        pass
    store.delete(NAMES[-1:] + NAMES[:1], NOW)
    store.rename(NAMES[-2], "m.renamed")
    store.delete(NAMES[-3:-2], NOW)
    put(store, NAMES[-3:-2], [0], [5.0])
    _, (line,) = run(job)
    assert line.startswith(f"moved {len(NAMES) - 3} series")
    assert store.lookup([NAMES[0], NAMES[-1], NAMES[-2]]).tolist() == [-1, -1, -1]
    assert {name: read(store, name) for name in NAMES[1:-3]} == {name: wanted[name] for name in NAMES[1:-3]}
    store.roll_up()
    assert read(store, NAMES[-3]) == [{NOW // 60: 5.0}, {NOW // 300: 5.0}]
    _, (line,) = run(migrate(store, lambda: NOW))
    assert line.startswith("moved 1 series")
    assert read(store, "m.renamed") == wanted[NAMES[-2]]
    store.close()


# --- several aggregations ---


def coarse(store: Store, name: str, method: str) -> dict[int, float]:
    """age in minutes → value of what a query over 10 hours gets, read by an aggregation."""
    (fetched,) = store.fetch(store.lookup([name]), NOW - 10 * HOUR, NOW, NOW, method)
    known = np.flatnonzero(~np.isnan(fetched.values[0]))
    ages = (NOW - fetched.start - known * fetched.step) // 60
    return dict(zip(ages.tolist(), fetched.values[0, known].tolist(), strict=True))


def with_methods(folder: Path, retentions: str, methods: str) -> Store:
    """Two datapoints in five minutes: 20 minutes ago and, by now rolled up only, more than 9 hours ago."""
    store = Store(folder / "store", rules(folder / "old", retentions, methods))
    for now in (NOW - 9 * HOUR, NOW):
        times = (now - 1200) // 300 * 300 + np.array([0, 60])
        store.append(store.create(["m", "m"]), times, np.array([3.0, 5.0]), now)
        store.roll_up()
    return store


def test_every_aggregation_that_is_kept_before_and_after_comes_through(tmp_path: Path) -> None:
    store = with_methods(tmp_path, "1m:2h,5m:1d", "average,max,count,sum")
    methods = ("average", "max", "count", "sum")
    before = {method: list(coarse(store, "m", method).values()) for method in methods}
    assert before == {"average": [4.0, 4.0], "max": [5.0, 5.0], "count": [2.0, 2.0], "sum": [8.0, 8.0]}
    store.rules = rules(tmp_path / "new", "1m:3h,5m:2d", "max,average,sum,count")
    _, (line,) = run(migrate(store, lambda: NOW))
    assert line.startswith("moved 1 series")
    assert {method: list(coarse(store, "m", method).values()) for method in methods} == before
    store.rules = rules(tmp_path / "newer", "1m:3h,10m:2d", "max,average,sum,count")
    run(migrate(store, lambda: NOW, lossy=True))
    assert {method: list(coarse(store, "m", method).values()) for method in methods} == before
    store.close()


def test_an_aggregation_that_is_new_is_made_of_the_finest_archive(tmp_path: Path) -> None:
    store = with_methods(tmp_path, "1m:2h,5m:1d", "average")
    store.rules = rules(tmp_path / "new", "1m:2h,5m:1d", "average,max,count")
    run(migrate(store, lambda: NOW))
    assert list(coarse(store, "m", "average").values()) == [4.0, 4.0]
    assert list(coarse(store, "m", "max").values()) == [4.0, 5.0]  # the older from before it was kept
    assert list(coarse(store, "m", "count").values()) == [2.0]
    store.rules = rules(tmp_path / "newer", "1m:2h,5m:1d", "max")
    run(migrate(store, lambda: NOW, lossy=True))
    assert list(coarse(store, "m", "max").values()) == [4.0, 5.0]
    store.close()


def test_to_keep_an_aggregation_no_more_is_a_loss(tmp_path: Path) -> None:
    store = with_methods(tmp_path, "1m:2h,5m:1d", "average,max")
    store.rules = rules(tmp_path / "new", "1m:3h,5m:2d", "average")
    lines = plan_lines(plan(store, store.rules, NOW))
    assert "  lost      max of 5 min is lost" in lines
    assert "  stored    1 of 1 series hold datapoints that would be lost" in lines
    _, lines = run(migrate(store, lambda: NOW))
    assert lines[1].startswith("skipped 1 series")
    _, lines = run(migrate(store, lambda: NOW, lossy=True))
    assert lines[0].startswith("moved 1 series")
    assert list(coarse(store, "m", "average").values()) == [4.0, 4.0]
    store.rules = rules(tmp_path / "newer", "1m:3h,5m:2d", "sum")  # one for one: as they are
    _, lines = run(migrate(store, lambda: NOW))
    assert lines[0].startswith("moved 1 series")
    assert list(coarse(store, "m", "sum").values()) == [4.0, 4.0]
    store.close()
