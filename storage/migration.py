"""Retentions that changed, for data that is already there: what would be done (`plan`) and the doing (`migrate`).

A series keeps the schema that the rules decided when it was made. `migrate` gives it the one that they decide now: a
batch of series is read whole, resampled (see resample.py), written to free rows of a shard of the new schema, and then
moved there in one transaction. A batch is one slice of a job: nothing is appended while it runs, and whoever is killed
in it finds the series where they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage import retention
from storage.format import SHARD_ROWS
from storage.jobs import Job, Progress, drive
from storage.register import Series
from storage.resample import Floats, Held, resample, resample_beside
from storage.retention import Retention
from storage.schema import Rules, Schema
from storage.store import Store

Clock = Callable[[], int]  # epoch seconds: a job may go on for hours
Mask = npt.NDArray[np.bool_]

BATCH_POINTS = 1 << 19  # with BATCH_SERIES what a slice moves: some 30 ms
BATCH_SERIES = 4096
_NAMES_AT_ONCE = 16_384  # decided in a slice: 20 ms with the built-in rules
_LOOK_POINTS = 1 << 26  # of each change, to see if datapoints would be lost; a second or less


# --- what a change of the retention loses ---


@dataclass(frozen=True)
class Loss:
    """A part of an old archive that the new retention does not keep at its step."""

    archive: int  # of the old retention, 0 = the finest
    step: int
    newest: int  # the part's ages, in seconds: newest ≤ age < oldest
    oldest: int
    becomes: int  # the step it is rolled up to; 0 = it goes
    method: str = ""  # the aggregation that is no longer kept; "" = whatever the archive holds goes

    @property
    def words(self) -> str:
        if self.method:
            return f"{self.method} of {retention.words(self.step)} is lost"
        older = f" older than {retention.words(self.newest)}" if self.newest else ""
        if not self.becomes:
            return f"{'everything' if not older else older.lstrip()} is lost"
        return f"{retention.words(self.step)} detail{older} becomes {retention.words(self.becomes)}"

    def slots(self, now: int, horizon: int) -> tuple[int, int]:
        """(first, how many) of the old archive's slots, `horizon` being the last timestamp that there can be."""
        first = max(0, (now - self.oldest) // self.step + 1)
        newest = now - self.newest if self.newest else horizon
        return first, max(0, newest // self.step + 1 - first)


def losses(old: Retention, new: Retention) -> tuple[Loss, ...]:
    """What is not kept as it is: of each old archive the ages that no finer one tells of."""
    found: list[Loss] = []
    told = 0
    for i, archive in enumerate(old.archives):
        age = max(told, _reach(new, archive.step))
        for coarser in new.archives:
            if coarser.step > archive.step and age < min(coarser.duration, archive.duration):
                oldest = min(coarser.duration, archive.duration)
                found.append(Loss(i, archive.step, age, oldest, coarser.step))
                age = oldest
        if age < archive.duration:
            found.append(Loss(i, archive.step, age, archive.duration, 0))
        told = archive.duration
    return tuple(found)


def dropped(old: Schema, new: Schema) -> tuple[Loss, ...]:
    """The coarser archives of aggregations that were kept beside others and are no more.

    A single aggregation that is replaced by another is not among them: its archives are taken over as they are.
    """
    gone = [method for method in old.methods[1:] if method not in new.methods]
    if old.method not in new.methods and new.method in old.methods:
        gone.append(old.method)
    return tuple(
        Loss(i, archive.step, 0, archive.duration, 0, method)
        for method in gone
        for i, archive in enumerate(old.retention.archives)
        if i
    )


def kept(old: Retention, new: Retention) -> str:
    """In words, how far back each step of the old retention stays as it is."""
    parts: list[str] = []
    told = 0
    for archive in old.archives:
        until = min(archive.duration, _reach(new, archive.step))
        if until > told:
            parts.append(f"{retention.words(archive.step)} for {retention.words(until)}")
        told = archive.duration
    return ", ".join(parts) or "nothing as it is"


def _reach(new: Retention, step: int) -> int:
    """How many seconds back points `step` apart stay apart."""
    return max((archive.duration for archive in new.archives if archive.step <= step), default=0)


# --- the plan ---


@dataclass
class Change:
    """Series that have one schema and for which the rules decide another."""

    stored: Schema
    decided: Schema
    ids: Series  # of the names: they stay while the process lives, and each is a fifteenth of a str
    looked_at: int = 0  # series of which the parts that go were read
    losing: int = 0  # those of them that hold datapoints there

    @property
    def series(self) -> int:
        return len(self.ids)

    @property
    def losses(self) -> tuple[Loss, ...]:
        stored, decided = self.stored, self.decided
        return losses(stored.retention, decided.retention) + dropped(stored, decided)

    @property
    def bytes_now(self) -> int:
        """Bytes of all archives when full."""
        return 8 * self.series * _points(self.stored)

    @property
    def bytes_then(self) -> int:
        return 8 * self.series * _points(self.decided)

    def batches(self, size: int) -> Iterator[Series]:
        """The ids, `size` at a time."""
        return (self.ids[at : at + size] for at in range(0, len(self.ids), size))

    def sample(self, size: int) -> Series:
        """`size` ids, evenly spread; all of them if there are no more."""
        if size >= len(self.ids):
            return self.ids
        return self.ids[np.linspace(0, len(self.ids) - 1, size).astype(np.intp)]


@dataclass
class Plan:
    """What `migrate` would do."""

    changes: list[Change]  # the most series first
    pinned: dict[Schema, int]  # how many series keep a schema of their own
    unchanged: int  # series whose schema is what the rules decide


def plan(store: Store, rules: Rules, now: int) -> Plan:
    """What a store would become under these rules; some microseconds a name, and the sample of each change."""
    return drive(survey(store, rules, now), lambda progress: None)


def survey(store: Store, rules: Rules, now: int) -> Generator[Progress, None, Plan]:
    """`plan` in slices, for a job to be made of."""
    grouping, total = _Grouping(store, rules), store.seen
    for first in range(0, total, _NAMES_AT_ONCE):
        last = min(first + _NAMES_AT_ONCE, total)
        grouping.add(first, last)
        yield Progress(last, total, "names")
    found = grouping.plan()
    for change in found.changes:
        yield from _look(store, change, now)
    return found


class _Grouping:
    """Sorts the store's names by what they have and what the rules decide."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self._store, self._rules = store, rules
        self._ids: dict[tuple[Schema, Schema], list[Series]] = {}
        self._pinned: dict[Schema, int] = {}
        self._unchanged = 0

    def add(self, first: int, last: int) -> None:
        """Take in the names that live among those with ids from first to before last."""
        ids, series = self._store.living(first, last)
        decided = np.array(self._rules.decide_all(self._store.names_of(ids)), np.int64)
        pairs, which = np.unique(np.stack((series // SHARD_ROWS, decided)), axis=1, return_inverse=True)
        for i, (shard, outcome) in enumerate(pairs.T.tolist()):
            stored, wanted = self._store.schema_of(shard * SHARD_ROWS), self._rules.schemas[outcome]
            some = ids[which == i]
            if self._store.is_pinned(shard * SHARD_ROWS):
                self._pinned[stored] = self._pinned.get(stored, 0) + len(some)
            elif stored == wanted:
                self._unchanged += len(some)
            else:
                self._ids.setdefault((stored, wanted), []).append(some)

    def plan(self) -> Plan:
        changes = [Change(*pair, np.concatenate(parts)) for pair, parts in self._ids.items()]
        changes.sort(key=lambda change: -change.series)
        return Plan(changes, self._pinned, self._unchanged)


def _look(store: Store, change: Change, now: int) -> Iterator[Progress]:
    """Count the series that would lose datapoints: of all, or of a sample where that would take too long."""
    points = sum(loss.slots(now, store.horizon(now))[1] for loss in change.losses)
    if not points:
        return
    sample = change.sample(max(1, _LOOK_POINTS // points))
    at_once = max(1, min(BATCH_SERIES, BATCH_POINTS // points))
    for at in range(0, len(sample), at_once):
        _, series = _still(store, change, sample[at : at + at_once])
        change.looked_at += len(series)
        change.losing += int(_loses(store, series, change, now).sum())
        yield Progress(min(at + at_once, len(sample)), len(sample), "series looked at")


def _loses(store: Store, series: Series, change: Change, now: int) -> Mask:
    """bool (series,): which of them hold datapoints in a part that goes or is rolled up."""
    losing = np.zeros(len(series), np.bool_)
    for loss in change.losses:
        slots = loss.slots(now, store.horizon(now))
        values = _read(store, series, loss.archive, slots, loss.method)
        losing |= ~np.isnan(values).all(axis=1)
    return losing


# --- the plan in words ---


def plan_lines(found: Plan) -> list[str]:
    """What `plumbago plan` prints."""
    lines: list[str] = []
    for change in found.changes:
        lines += [*_change_lines(change), ""]
    for schema, series in found.pinned.items():
        lines.append(f"{series:,} series imported with {_schema(schema)} of their own stay as they are")
    lines.append(f"{found.unchanged:,} series have the schema that the rules decide")
    safe = sum(change.series for change in found.changes if not change.losing)
    losing = sum(change.series for change in found.changes if change.losing)
    if safe:
        lines.append(f"plumbago migrate moves {safe:,} series")
    if losing:
        lines.append(
            f"plumbago migrate --lossy moves {losing:,} {'more ' if safe else ''}that lose datapoints"
        )
    return lines


def _change_lines(change: Change) -> list[str]:
    stored, decided = change.stored, change.decided
    lines = [
        f"{change.series:,} series",
        _row("stored as", _schema(stored)),
        _row("would be", _schema(decided)),
    ]
    now, then = change.bytes_now / 2**20, change.bytes_then / 2**20
    lines.append(_row("when full", f"{now:,.1f} MiB now, {then:,.1f} MiB then"))
    lines.append(_row("kept", kept(stored.retention, decided.retention)))
    lines.append(_row("lost", _loss_words(change.losses)))
    if change.looked_at:
        lines.append(_row("stored", _stored_words(change)))
    return lines


def _row(label: str, text: str) -> str:
    return f"  {label:<10}{text}"


def _loss_words(found: Sequence[Loss]) -> str:
    parts = [loss for loss in found if loss.becomes]
    parts += [loss for loss in found if not loss.becomes and not loss.method][:1]  # the rest is older still
    words = [loss.words for loss in (*parts, *(loss for loss in found if loss.method))]
    return ", ".join(words) or "nothing is lost"


def _stored_words(change: Change) -> str:
    if change.looked_at == change.series:
        return f"{change.losing:,} of {change.series:,} series hold datapoints that would be lost"
    words = f"{change.losing:,} of a sample of {change.looked_at:,} series hold datapoints that would be lost"
    return words if change.losing else f"{words}; each is looked at before it moves"


def _schema(schema: Schema) -> str:
    return f"{schema.retention}, {schema.aggregation}, xFilesFactor {schema.x_files_factor:g}"


# --- the migration ---


@dataclass
class _Tally:
    began: float
    done: int = 0  # looked at: moved, skipped, or gone meanwhile
    moved: int = 0
    losing: int = 0  # left where they are


def migrate(store: Store, clock: Clock, *, lossy: bool = False, batch_points: int = BATCH_POINTS) -> Job:
    """Give every series that is not pinned the schema that the store's rules decide.

    Not `lossy`: what would lose datapoints is left as it is. A slice moves at most batch_points datapoints, but one
    series at least. Raises OSError when the disk is full: what was moved stands, all else is where it was.
    """
    tally, rules = _Tally(time.monotonic()), store.rules
    found = yield from survey(store, rules, clock())
    total = sum(change.series for change in found.changes)
    for change in found.changes:
        if change.losing and not lossy:
            tally.losing += change.series
            tally.done += change.series
            continue
        points = max(_points(change.stored), _points(change.decided))
        for ids in change.batches(max(1, min(BATCH_SERIES, batch_points // points))):
            yield Progress(tally.done, total, "series")
            if store.rules is not rules:
                return [
                    *_end(found, tally),
                    "the rules have changed meanwhile: plumbago migrate goes on by the new ones",
                ]
            _move(store, change, ids, clock(), lossy, tally)
    yield Progress(tally.done, total, "series")
    return _end(found, tally)


def _move(store: Store, change: Change, ids: Series, now: int, lossy: bool, tally: _Tally) -> None:
    """Move those of the names that still have the stored schema: a slice, in which nothing else happens."""
    tally.done += len(ids)
    names, series = _still(store, change, ids)
    for shard in np.unique(series // SHARD_ROWS).tolist():
        store.shard_of(shard * SHARD_ROWS).roll_up()
    if not lossy:
        losing = _loses(store, series, change, now)
        tally.losing += int(losing.sum())
        names = [name for name, loses in zip(names, losing.tolist(), strict=True) if not loses]
        series = series[~losing]
    if not names:
        return
    rows = store.fresh_rows(change.decided, len(names))
    for i, method, new in _resampled(store, series, change, now):
        _write(store, rows, i, new, now, method)
    tally.moved += store.relocate(names, rows, now)


def _still(store: Store, change: Change, ids: Series) -> tuple[list[str], Series]:
    """Those of the names that are there and to be changed, and their series, in the order of these.

    Between two slices of a job names are deleted, renamed and moved.
    """
    names = store.names_of(ids)
    series = store.lookup(names)
    order = np.argsort(series, kind="stable")
    order = order[series[order] >= 0]
    shards = series[order] // SHARD_ROWS
    ours = [shard for shard in np.unique(shards).tolist() if _is_stored(store, change, shard)]
    order = order[np.isin(shards, ours)]
    return [names[i] for i in order.tolist()], series[order]


def _is_stored(store: Store, change: Change, shard: int) -> bool:
    first = shard * SHARD_ROWS
    return store.schema_of(first) == change.stored and not store.is_pinned(first)


def _resampled(store: Store, series: Series, change: Change, now: int) -> Iterator[tuple[int, str, Held]]:
    """(archive, aggregation, what it is to hold) of all that the decided schema keeps; "" = the series' own."""
    stored, decided = change.stored, change.decided
    own = _archives(store, series, stored, "", now)
    coarser = {stored.method: own[1:]}
    for method in stored.methods[1:]:
        if method in decided.methods:
            coarser[method] = _archives(store, series, stored, method, now)[1:]
    taken = [own[0], *map(_over, own[1:], coarser.get(decided.method, own[1:]))]
    for i, new in enumerate(resample(taken, decided, now)):
        yield i, "", new
    for method in decided.methods[1:]:
        held = [own[0], *coarser.get(method, [])]
        for i, new in enumerate(resample_beside(held, decided, method, now), 1):
            yield i, method, new


def _over(own: Held, kept: Held) -> Held:
    """What was kept, and the series' own of the time before it was."""
    return kept._replace(values=np.where(np.isnan(kept.values), own.values, kept.values))


def _archives(store: Store, series: Series, schema: Schema, method: str, now: int) -> list[Held]:
    """All archives of series with one schema."""
    held = []
    for i, archive in enumerate(schema.retention.archives):
        first = max(0, (now - archive.duration) // archive.step + 1)
        slots = store.horizon(now) // archive.step + 1 - first
        held.append(Held(archive, first, _read(store, series, i, (first, slots), method)))
    return held


def _read(store: Store, series: Series, archive: int, slots: tuple[int, int], method: str) -> Floats:
    """float64 (series, slots): what an archive holds of an aggregation; "" = the series' own."""
    values = store.read_archive(series, archive, *slots)
    if archive and method:
        beside = np.empty_like(values)
        for shard, at in _by_shard(series):
            ring = store.shard_of(int(series[at[0]])).ring(archive, method)
            beside[at] = ring.read(series[at].astype(np.int64) - shard * SHARD_ROWS, *slots)
        # where the series' own has nothing there is nothing beside it, but of those who had the row before
        values = np.where(np.isnan(values), np.nan, beside)
    return values


def _write(store: Store, rows: Series, archive: int, new: Held, now: int, method: str) -> None:
    """Fill an archive of fresh rows."""
    if not method:
        store.write_archive(rows, archive, new.first, new.values, now)
        return
    for shard, at in _by_shard(rows):
        mine = rows[at].astype(np.int64) - shard * SHARD_ROWS
        store.shard_of(int(rows[at[0]])).write_archive(archive, mine, new.first, new.values[at], now, method)


def _by_shard(series: Series) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """(shard, indices) of series in ascending order."""
    shards = series // SHARD_ROWS
    return [(shard, np.flatnonzero(shards == shard)) for shard in np.unique(shards).tolist()]


def _points(schema: Schema) -> int:
    archives = schema.retention.archives
    coarser = sum(archive.points for archive in archives[1:])
    return archives[0].points + len(schema.methods) * coarser


def _end(found: Plan, tally: _Tally) -> list[str]:
    lines = [f"moved {tally.moved:,} series in {time.monotonic() - tally.began:,.1f} s"]
    if tally.losing:
        why = "would lose datapoints; plumbago migrate --lossy moves them too, plumbago plan shows what goes"
        lines.append(f"skipped {tally.losing:,} series that {why}")
    if found.pinned:
        lines.append(
            f"pinned {sum(found.pinned.values()):,} series, imported with a schema of their own: left alone"
        )
    return lines
