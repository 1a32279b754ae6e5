"""The store: the front door of this wing. append · fetch · find · create · delete.

A data folder holds `catalogue.sqlite` (names), `names.backup` (a copy of them), `shards/NNNNN/<step>s.ring` (numbers),
`lock` (the writer's), `boot` (whether the power was cut) and `damaged/` (what was mended or could not be).
A *series* is an int32: its shard × 32,768 + its row there, so that where a datapoint lies is arithmetic.
One process writes; any number read the same files and see a datapoint as soon as it is written.

A name may move to another row, go to the trash and come back; in the end its row has another owner (rows.py).
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import naming
from storage.backup import Backup, bring_back
from storage.catalogue import Catalogue, Change, Free, Trashed, gone, run_of
from storage.damage import Aside
from storage.disk import Disk
from storage.durable import Sync
from storage.errors import CorruptCatalogue, InvalidName, NotAStore, StorageError, StoreInUse
from storage.format import SHARD_ROWS
from storage.index import Index, Nodes
from storage.intern import lay
from storage.register import Bytes, Moved, Register
from storage.ring import Floats, Integers, Ring
from storage.rows import NOT_YET, blank_unborn, next_born
from storage.schema import Decision, Rules, Schema
from storage.shard import Grid, Shard, Window, choose_window

_log = logging.getLogger(__name__)

Series = npt.NDArray[np.int32]

_CLEAN, _FAILED = "closed", "failed"
PACK_AFTER_S = 86_400  # what dashboards show all day is read at twice the speed, and seldom written to after
AHEAD_MAX_S = 600  # how far ahead of now a timestamp may lie: VictoriaMetrics takes 2 days, whisper any
_COPIED_AT_ONCE = 1 << 20  # values


class Fetched(NamedTuple):
    """Series that share one grid: a part of what `fetch` was asked for."""

    positions: npt.NDArray[np.intp]  # which of the asked series
    start: int  # epoch seconds of the first point
    step: int
    values: Floats  # float64 (len(positions), points), NaN = no data


class Dropped(NamedTuple):
    """How many of the values given to `append` were not stored, by reason."""

    too_old: int = 0
    too_far_ahead: int = 0
    not_a_number: int = 0

    @property
    def total(self) -> int:
        return sum(self)


class Restored(NamedTuple):
    """What became of names that were to come back."""

    restored: list[str]
    refused: list[str]  # there is a series of that name again; names that are not in the trash are in neither


class Store:
    """A data folder, open. `Store(folder)` writes, `Store(folder, writable=False)` reads beside a writer."""

    def __init__(
        self,
        folder: Path,
        rules: Rules | None = None,
        *,
        writable: bool = True,
        durable: bool = False,
        pack_after: int | None = PACK_AFTER_S,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`durable`: what `sync` has returned from survives a power cut; otherwise only a kill of the process.
        `pack_after`: seconds after its end that a block is packed, 0 = when it is sealed, None = never.
        `clock`: epoch seconds, for what is told no `now`: whether a free row may be used again.
        """
        self.folder = folder
        self.rules = rules or Rules.load(None)
        self._writable, self._durable, self._clock = writable, durable, clock
        self._pack_after, self._disk = pack_after, disk
        self._lock = _lock(folder) if writable else None
        self._recover = writable and _power_was_cut(folder)
        self._aside = Aside(folder, clock)
        self._told = False  # that the catalogue is damaged
        self._mended = 0  # when something was last mended, as a reader knows it
        self.catalogue, self._register = self._open_names()
        self._shards: dict[int, Shard] = {}
        self._backup = Backup(self.catalogue, durable=durable)
        self._opening = Lock()  # threads that read may meet a new shard at once
        self._old_shards = frozenset(self._register.shard_schema)
        if writable:
            self._begin_to_write()

    def _open_names(self) -> tuple[Catalogue, Register]:
        """The catalogue and what it says. A writer makes it anew where it is damaged; for readers, CorruptCatalogue."""
        try:
            return self._read_names()
        except CorruptCatalogue as error:
            if not self._writable:
                raise
            bring_back(self.folder, self._aside, error)
            return self._read_names(again=True)

    def _read_names(self, *, again: bool = False) -> tuple[Catalogue, Register]:
        catalogue = Catalogue(self.folder, writable=self._writable)
        try:
            if self._writable:
                catalogue.check()
                if (
                    not again and self._has_shards() and not catalogue.shards()
                ):  # SQLite takes a short file for new
                    raise CorruptCatalogue(str(catalogue.path), "it is empty, but there are shards")
            register = Register(catalogue, logs=self._writable)
            register.refresh()
        except BaseException as error:
            catalogue.close()
            if catalogue.is_damage(error):
                raise CorruptCatalogue(str(catalogue.path), str(error)) from error
            raise
        return catalogue, register

    def _has_shards(self) -> bool:
        folder = self.folder / "shards"
        return folder.exists() and any(folder.iterdir())

    def _begin_to_write(self) -> None:
        self._set_strangers_aside()
        with suppress(OSError):  # a full disk: the journal stays as long as it is until another start
            self._register.compact()
        free = self._register.read_free()
        for number in self._old_shards:
            self._open_shard(number)  # a power cut is recovered from at once, not when a value comes
            self._keep_nameless(number)
        # values of owners whose names were lost in the power cut, or that came before there was a name
        doubtful = free if self._recover else [row for row in free if row.born == NOT_YET]
        if doubtful:
            self._register.commit(Change(freed=self._dated(doubtful)))
        _write_boot(self.folder, _boot())

    def _set_strangers_aside(self) -> None:
        """Have no new shard take the folder of one that the catalogue has lost: its rows have other names."""
        known = {self._folder_of(number).name for number in self._old_shards}
        folder = self.folder / "shards"
        for path in sorted(folder.iterdir()) if folder.exists() else ():
            if path.name not in known:
                self._aside.take(path, f"{path}: the catalogue does not know this shard")

    def _keep_nameless(self, number: int) -> None:
        """Keep rows that have values, but lost their names, from other names until the ring has come round."""
        shard, used = self._shards[number], self._register.rows[number].used
        if shard.rows <= used:
            return
        last = int(self._clock()) + shard.schema.retention.longest
        born = next_born(self.horizon(last), self._coarsest(number))
        self._register.commit(Change(freed=[Free(number, row, born) for row in range(used, shard.rows)]))
        _log.error("%s: %d rows without names: the catalogue has lost them", shard.folder, shard.rows - used)

    def _dated(self, doubtful: list[Free]) -> list[Free]:
        """Free rows that may hold values up to now, as they are free for others."""
        before = {row[:2]: 0 if row.born == NOT_YET else row.born for row in doubtful}
        series = np.array([shard * SHARD_ROWS + row for shard, row in before], np.int64)
        rows = self._freed(series, int(self._clock()))
        return [row._replace(born=max(row.born, before[row[:2]])) for row in rows]

    def close(self, *, synced: bool = False) -> None:
        """Sync and close; `synced`: the caller has seen to that, or could not wait for it."""
        if self._writable and not synced:
            self.roll_up()
            self.sync()
            if self._backup.stale:
                self._backup.make()
            self.closed_clean()
        for shard in self._shards.values():
            shard.close()
        self.catalogue.close()
        if self._lock is not None:
            os.close(self._lock)

    def after_fork(self) -> None:
        """In a process forked from a reader's: read names over a connection of its own, as SQLite demands."""
        self._inherited = self.catalogue  # must neither be used here nor closed
        self.catalogue = self._register.catalogue = Catalogue(self.folder, writable=False)

    def closed_clean(self) -> None:
        """Remember that all is synced: the next start need not ask whether the power was cut."""
        if self._durable:
            _write_boot(self.folder, _CLEAN)

    def distrust(self) -> None:
        """Remember that a sync failed: the next start goes back to what the last good one brought to the disk.

        The page cache may show more, but what of it was not written will never be.
        """
        if self._durable:
            with suppress(OSError):  # on a disk that takes nothing, the page cache does not outlive the boot
                _write_boot(self.folder, _FAILED)

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._register)

    # --- names ---

    def refresh(self) -> None:
        """Take in what the writer has changed in the catalogue, or mended; cheap when it has not."""
        if self._writable:
            self._register.refresh()
            return
        self._follow()
        try:
            self._register.refresh()
        except (StorageError, sqlite3.DatabaseError) as error:
            if not self.catalogue.is_damage(error):
                raise
            if not self._told:
                self._told = True
                _log.error("%s: names are read as they were until the writer is started again", error)

    @property
    def is_current(self) -> bool:
        """Whether `refresh` would find nothing new. For readers; raises as little as that does."""
        try:
            return self._aside.changed() == self._mended and not self._has_lost and self._register.is_current
        except (StorageError, sqlite3.DatabaseError):
            return False

    @property
    def _has_lost(self) -> bool:
        return any(shard.has_lost for shard in list(self._shards.values()))

    def _follow(self) -> None:
        """Read anew what the writer has mended since the last call: it keeps what was there before."""
        mended, shards = self._aside.changed(), list(self._shards.values())
        if mended != self._mended or self._has_lost:
            self._follow_catalogue()
            for shard in shards:
                shard.follow()
            self._mended = mended

    def _follow_catalogue(self) -> None:
        """Read the catalogue that the writer has made anew, if there is one."""
        try:
            if (self.folder / Catalogue.FILE).stat().st_ino == self.catalogue.inode:
                return
            catalogue = Catalogue(self.folder, writable=False)
        except (OSError, NotAStore):
            return  # in a moment
        self._register.reopen(catalogue)
        self.catalogue.close()
        self.catalogue, self._told = catalogue, False

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Series:
        """The series of canonical names text[starts:stops] (UTF-8), made where there is none yet.

        -1 where a quota of the rules leaves no room for a new one: `why_refused` says which. The names must be
        without fault (see naming.py). Raises OSError when the disk is full; then no series was made.
        """
        return self._series_of(text, starts, stops, lambda names: self._create(self._admitted(names)))

    def _series_of(
        self, text: Bytes, starts: Integers, stops: Integers, make: Callable[[list[str]], None]
    ) -> Series:
        series = self._register.find_all(text, starts, stops)
        new = np.flatnonzero(series < 0)
        if len(new):
            raw = text.tobytes()
            bounds = zip(starts[new].tolist(), stops[new].tolist(), strict=True)
            wanted = dict.fromkeys(raw[start:stop] for start, stop in bounds)
            make([name.decode() for name in wanted])
            series = self._register.find_all(text, starts, stops)
        return series

    def _admitted(self, names: list[str]) -> list[str]:
        """The names for which the quotas have room, in their order."""
        quotas = self.rules.limits.quotas
        if not quotas:
            return names
        counts, admitted = self._register.counts(quotas), []
        for name in names:
            mine = [i for i, quota in enumerate(quotas) if name.startswith(quota.prefix)]
            if all(counts[i] < quotas[i].most for i in mine):
                admitted.append(name)
                for i in mine:
                    counts[i] += 1
        return admitted

    def why_refused(self, name: str) -> str:
        """In words, the quota that keeps a name out; "" if there is room for it."""
        quotas = self.rules.limits.quotas
        for quota, count in zip(quotas, self._register.counts(quotas), strict=True):
            if count >= quota.most and name.startswith(quota.prefix):
                return quota.words
        return ""

    def create(self, names: Sequence[str]) -> Series:
        """The series of these names, made where there is none yet; a name with a fault raises InvalidName.

        Quotas are for what senders send: whoever calls this means it.
        """
        return self._series_of(*_laid(names), self._create)

    def create_as(self, names: Sequence[str], schema: Schema, *, pinned: bool = False) -> Series:
        """As `create`, but new ones get this schema, whatever the rules say; those there are keep their own.

        `pinned`: they are to keep it when rules change. They get rows that nobody had: an import writes of old times.
        """

        def make(new: list[str]) -> None:
            self._add({self._schema_id(schema, pinned=pinned): new}, fresh=True)

        return self._series_of(*_laid(names), make)

    def lookup(self, names: Sequence[str]) -> Series:
        """The series of these names, -1 where there is none; a name with a fault raises InvalidName."""
        return self.known(*_laid(names))

    def known(self, text: Bytes, starts: Integers, stops: Integers) -> Series:
        """The series of canonical names text[starts:stops], -1 where there is none."""
        return self._register.find_all(text, starts, stops)

    def _create(self, names: list[str]) -> None:
        """Make series of new names, each with the schema that the rules decide."""
        by_outcome: dict[int, list[str]] = {}
        for name, outcome in zip(names, self.rules.decide_all(names), strict=True):
            by_outcome.setdefault(outcome, []).append(name)
        by_schema: dict[int, list[str]] = {}
        for outcome, members in by_outcome.items():
            by_schema.setdefault(self._schema_id(self.rules.schemas[outcome]), []).extend(members)
        self._add(by_schema)

    def _add(self, groups: dict[int, list[str]], *, fresh: bool = False) -> None:
        """Give new names rows of shards of their schemas; in the catalogue before any of their values."""
        change = Change()
        for schema, members in groups.items():
            for number, rows, born in self._rows_for(schema, len(members), fresh=fresh):
                mine, members = members[: len(rows)], members[len(rows) :]
                change.runs.append(run_of(number, rows, mine, born))
                change.taken += [(number, row) for row in rows[born > 0].tolist()]
        if change.runs:
            self._register.commit(change)

    def _schema_id(self, schema: Schema, *, pinned: bool = False) -> int:
        register = self._register
        for known, other in register.schemas.items():
            if other == schema and (known in register.pinned) == pinned:
                return known
        added = self.catalogue.add_schema(
            str(schema.retention), schema.aggregation, schema.x_files_factor, pinned=pinned
        )
        register.learn(added, schema, pinned=pinned)
        return added

    def _rows_for(self, schema: int, count: int, *, fresh: bool = False) -> list[_Rows]:
        """Rows for so many new series: free ones first, unless only rows that nobody had will do.

        They are not taken before a commit says so: if that fails, they are given again.
        """
        found: list[_Rows] = []
        numbers = [number for number, of in self._register.shard_schema.items() if of == schema]
        for number in () if fresh else numbers:
            rows, born = self._register.rows[number].reusable(count, int(self._clock()))
            if len(rows):
                found.append(_Rows(number, rows, born))
                count -= len(rows)
        for number in numbers:
            count -= self._add_fresh(number, count, found)
        while count:
            number = self.catalogue.add_shard(schema)
            self._register.open_shard(number, schema)
            count -= self._add_fresh(number, count, found)
        return found

    def _add_fresh(self, number: int, wanted: int, found: list[_Rows]) -> int:
        """Up to so many rows of a shard that nobody had; gives how many."""
        used, count = self._register.rows[number].used, min(self._register.rows[number].left, wanted)
        if count:
            self._shard(number).make_room(used + count)
            found.append(_Rows(number, np.arange(used, used + count), np.zeros(count, np.int64)))
        return count

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        return shard if shard is not None else self._open_shard(number)

    def _open_shard(self, number: int) -> Shard:
        with self._opening:
            if number not in self._shards:
                schema = self._register.schemas[self._register.shard_schema[number]]
                rows = self._register.rows[number].used
                self._shards[number] = Shard(
                    self._folder_of(number),
                    schema,
                    rows,
                    writable=self._writable,
                    durable=self._durable,
                    recover=self._recover and number in self._old_shards,
                    pack_after=self._pack_after,
                    disk=self._disk,
                    aside=self._aside,
                    horizon=self.horizon(int(self._clock())),
                )
            return self._shards[number]

    def _folder_of(self, number: int) -> Path:
        return self.folder / "shards" / f"{number:05d}"

    @property
    def index(self) -> Index:
        """The names as a tree; made when first asked for, kept up to date from then on."""
        return self._register.index

    def find(self, pattern: str) -> Nodes:
        """The nodes, leaves and branches, whose path matches a glob; sorted by path."""
        return self.index.find(pattern)

    def find_series(self, pattern: str) -> tuple[list[str], Series]:
        """The paths, sorted, and series that match a glob."""
        return self.index.find_series(pattern)

    # --- what becomes of names ---

    def delete(self, names: Sequence[str], now: int) -> int:
        """Let names lead nowhere and put what they have into the trash; gives how many there were.

        A name that receives data again is a new series. A name with a fault raises InvalidName.
        """
        ids = np.unique(self._register.find_ids(*_laid(names)))
        series = self._register.series_at(ids)
        ids, series = ids[series >= 0], series[series >= 0]
        if not len(ids):
            return 0
        gone_names = self._register.names_of(ids)
        change = Change(runs=[gone(gone_names)])
        for number, at in _by_shard(series):
            rows, last = series[at] % SHARD_ROWS, self._last_at(number, now)
            born = self._register.rows[number].born_of(rows)
            for i, row, since in zip(at.tolist(), rows.tolist(), born.tolist(), strict=True):
                change.trashed.append(Trashed(number, row, gone_names[i], now, last, since))
        self._register.commit(change)
        return len(ids)

    def restore(self, names: Sequence[str]) -> Restored:
        """Bring names back from the trash with all they had, of several of one name the last."""
        restored: dict[str, Trashed] = {}
        refused = []
        for name in dict.fromkeys(_canonical(names)):
            found = self.catalogue.trash_of(name)
            if found is not None:
                if self.lookup([name])[0] >= 0:
                    refused.append(name)
                else:
                    restored[name] = found
        by_shard: dict[int, list[Trashed]] = {}
        for one in restored.values():
            by_shard.setdefault(one.shard, []).append(one)
        change = Change(untrashed=[one.id for one in restored.values()])
        for number, some in by_shard.items():
            rows, born = np.array([one.row for one in some]), np.array([one.born for one in some])
            change.runs.append(run_of(number, rows, [one.name for one in some], born))
        if restored:
            self._register.commit(change)
        return Restored(list(restored), refused)

    def trashed(self) -> list[tuple[str, int]]:
        """(name, epoch seconds of when it was deleted) of all that lies in the trash, the oldest first."""
        return [(one.name, one.deleted) for one in self.catalogue.trash()]

    def purge(self, older_than: int, *, at_most: int = -1) -> int:
        """Empty the trash of what was deleted before a time (epoch seconds), or of the oldest `at_most` of it.

        Their rows are free for others; gives how many.
        """
        found = self.catalogue.trash(older_than, at_most=at_most)
        freed = [Free(one.shard, one.row, next_born(one.last, self._coarsest(one.shard))) for one in found]
        if found:
            self._register.commit(Change(freed=freed, untrashed=[one.id for one in found]))
        return len(found)

    def rename(self, old: str, new: str) -> None:
        """Give a series another name; raises InvalidName if there is no such series, or if the new name is taken."""
        (source, target), (series, taken) = _canonical([old, new]), self.lookup([old, new]).tolist()
        if series < 0:
            raise InvalidName(f"{old!r}: there is no such series")
        if taken >= 0:
            raise InvalidName(f"{new!r}: there is a series of this name already")
        number, rows = series // SHARD_ROWS, np.array([series % SHARD_ROWS])
        born = self._register.rows[number].born_of(rows)
        self._register.commit(Change(runs=[gone([source]), run_of(number, rows, [target], born)]))

    def fresh_rows(self, schema: Schema, count: int) -> Series:
        """Rows of this schema that nobody ever had, for write_archive to fill and for `relocate` to give names to.

        Those that get none are free for others after the next start. Raises OSError when the disk is full.
        """
        return self._promise(self._schema_id(schema), count)

    def relocate(self, names: Sequence[str], new: Series, now: int) -> int:
        """Let names lead to rows from `fresh_rows`, all at once and when what was written there is on the disk.

        Names that are gone meanwhile are passed over; gives how many moved. Their old rows are free for others.
        """
        for number, at in _by_shard(new):
            if not self._register.rows[number].promised(new[at] % SHARD_ROWS).all():
                raise ValueError("names can be moved to rows from fresh_rows only, once")
        ids = self._register.find_ids(*_laid(names))
        living = self._register.series_at(ids) >= 0
        self.sync()
        self._move(ids[living], new[living], now)
        return int(np.count_nonzero(living))

    def _promise(self, schema: int, count: int) -> Series:
        parts = self._rows_for(schema, count, fresh=True)
        freed = [Free(part.shard, row, NOT_YET) for part in parts for row in part.rows.tolist()]
        self._register.commit(Change(freed=freed))
        series = [part.shard * SHARD_ROWS + part.rows for part in parts]
        return np.concatenate([np.empty(0, np.int64), *series]).astype(np.int32)

    def _move(self, ids: Series, new: Series, now: int) -> None:
        """Let the names of these ids lead to promised rows."""
        if not len(ids):
            return
        names = self._register.names_of(ids)
        change = Change(freed=self._freed(self._register.series_at(ids), now))
        for number, at in _by_shard(new):
            rows = new[at].astype(np.int64) % SHARD_ROWS
            change.runs.append(run_of(number, rows, [names[i] for i in at.tolist()]))
            change.taken += [(number, row) for row in rows.tolist()]
        self._register.commit(change)

    def _freed(self, series: npt.NDArray[np.integer], now: int) -> list[Free]:
        """The rows of these series as they are free for others from now on."""
        freed = []
        for number, at in _by_shard(series.astype(np.int32)):
            born = next_born(self._last_at(number, now), self._coarsest(number))
            freed += [Free(number, row, born) for row in (series[at] % SHARD_ROWS).tolist()]
        return freed

    def _last_at(self, number: int, now: int) -> int:
        """No series of a shard has a value after this: clocks have been known to go back."""
        return max(self.horizon(now), self._shard(number).newest())

    def _coarsest(self, number: int) -> int:
        return self._register.schemas[self._register.shard_schema[number]].retention.archives[-1].step

    def _rehome(self, series: Series, now: int) -> Series:
        """Move series of one shard, on rows that others had, to rows of their own, where they can have old values.

        Gives where each is now. Synced, like every move: the names must not be on the disk before the values.
        """
        ids = self._register.ids_of(series)
        named = np.flatnonzero(ids >= 0)
        old, number = series[named], int(series[0]) // SHARD_ROWS
        shard, new = self._shard(number), self._promise(self._register.shard_schema[number], len(named))
        shard.roll_up()
        since = int(self._register.rows[number].born_of(old % SHARD_ROWS).min(initial=NOT_YET))
        for i, archive in enumerate(shard.archives):
            last = self._last_at(number, now) // archive.step + 1
            first = max(since, now - archive.duration) // archive.step
            for method in (None, *shard.beside[i]) if first < last else ():
                self._copy(old, new, i, method, first, last - first, now)
        self.sync()
        self._move(ids[named], new, now)
        became = series.copy()
        became[named] = new
        return became

    def _copy(
        self, old: Series, new: Series, archive: int, method: str | None, first: int, points: int, now: int
    ) -> None:
        """Write what series of one shard have in slots of a ring to other rows of their schema, in their order."""
        number = int(old[0]) // SHARD_ROWS if len(old) else 0
        at_once = max(1, _COPIED_AT_ONCE // points)
        for begin in range(0, len(old), at_once):
            rows = old[begin : begin + at_once].astype(np.int64) % SHARD_ROWS
            values = self._read_rows(number, rows, archive, method, first, points)
            some = new[begin : begin + at_once]
            for target, at in _by_shard(some):
                there = some[at].astype(np.int64) % SHARD_ROWS
                self._shard(target).write_archive(archive, there, first, values[at], now, method)

    # --- telling others ---

    @property
    def moves(self) -> int:
        """A number that grows when series move or go; what was remembered of series is then to be asked again."""
        return self._register.moves

    def moved(self, since: int) -> Moved:
        """What became of series since `moves` was that number."""
        return self._register.moved(since)

    @property
    def names_version(self) -> int:
        """For readers: what grows when `refresh` finds that names have come, moved or gone."""
        return self._register.version

    @property
    def seen(self) -> int:
        """How many names have an id in this process; some may be gone."""
        return self._register.seen

    def living(self, first: int, last: int) -> tuple[Series, Series]:
        """(ids, series) of the names that live, among the ids from first to before last."""
        return self._register.living(first, last)

    def names_of(self, ids: Series) -> list[str]:
        return self._register.names_of(ids)

    # --- numbers ---

    def horizon(self, now: int) -> int:
        """The last timestamp that is taken."""
        return now + AHEAD_MAX_S

    def append(self, series: Series, timestamps: Integers, values: Floats, now: int) -> Dropped:
        """Store columns of datapoints; of two for one slot the later in the columns prevails."""
        dropped = Dropped()
        missing = np.isnan(values)
        if missing.any():
            series, timestamps, values = series[~missing], timestamps[~missing], values[~missing]
            dropped = dropped._replace(not_a_number=int(missing.sum()))
        ahead = timestamps > self.horizon(now)
        if ahead.any():
            series, timestamps, values = series[~ahead], timestamps[~ahead], values[~ahead]
            dropped = dropped._replace(too_far_ahead=int(ahead.sum()))
        too_old = 0
        for number, at in _by_shard(series):
            too_old += self._append(number, series[at], timestamps[at], values[at], now)
        return dropped._replace(too_old=too_old)

    def _append(self, number: int, series: Series, timestamps: Integers, values: Floats, now: int) -> int:
        shard = self._shard(number)
        rows = series.astype(np.int64) - number * SHARD_ROWS
        oldest = now - shard.schema.retention.longest
        too_old = 0
        if int(timestamps.min()) <= oldest:
            kept = timestamps > oldest
            too_old = len(kept) - int(kept.sum())
            rows, timestamps, values = rows[kept], timestamps[kept], values[kept]
            if not len(rows):
                return too_old
            series = series[kept]
        born = self._register.rows[number].born
        if born is not None and (early := timestamps < born[rows]).any():
            return too_old + self._append_early(series, early, timestamps, values, now)
        return too_old + shard.append(rows, timestamps, values, now)

    def _append_early(
        self, series: Series, early: npt.NDArray[np.bool_], timestamps: Integers, values: Floats, now: int
    ) -> int:
        """Store values of one shard of which some are of a time when their rows were another's."""
        series = _translated(series, moving := np.unique(series[early]), self._rehome(moving, now))
        dropped = 0
        for number, at in _by_shard(series):
            rows = series[at].astype(np.int64) - number * SHARD_ROWS
            dropped += self._shard(number).append(rows, timestamps[at], values[at], now)
        return dropped

    def write_archive(self, series: Series, archive: int, first: int, values: Floats, now: int) -> Series:
        """Store a matrix (series, slots from `first` on) in one archive as it is; NaN leaves what is there.

        For imports: of any age that the archive holds, and nothing is rolled up. The series must have that archive.
        Gives the series as they are now: what had its row from another has one of its own if there are older values.
        """
        series = self._settled(series, archive, first, values, now)
        order = np.argsort(series, kind="stable")
        for number, at in _by_shard(series[order]):
            rows = series[order[at]].astype(np.int64) - number * SHARD_ROWS
            self._shard(number).write_archive(archive, rows, first, values[order[at]], now)
        return series

    def _settled(self, series: Series, archive: int, first: int, values: Floats, now: int) -> Series:
        """The series, those moved for which there are values of a time when their rows were another's."""
        for number, at in _by_shard(series):
            born = self._register.rows[number].born
            if born is not None:
                step = self._shard(number).archives[archive].step
                hidden = -((first * step - born[series[at] % SHARD_ROWS]) // step)
                before = np.arange(values.shape[1]) < hidden[:, None]
                early = (before & ~np.isnan(values[at])).any(axis=1)
                if early.any():
                    moving = np.unique(series[at[early]])
                    series = _translated(series, moving, self._rehome(moving, now))
        return series

    def read_archive(self, series: Series, archive: int, first: int, points: int) -> Floats:
        """float64 (series, points): the slots from `first` on of one archive, NaN where there is nothing."""
        out = np.empty((len(series), points))
        for number, at in _by_shard(series):
            rows = series[at].astype(np.int64) - number * SHARD_ROWS
            out[at] = self._read_rows(number, rows, archive, None, first, points)
        return out

    def _read_rows(
        self, number: int, rows: Integers, archive: int, method: str | None, first: int, points: int
    ) -> Floats:
        """float64 (rows, points) of one shard, without what is of former owners."""
        shard, born = self._shard(number), self._register.rows[number].born
        values = shard.ring(archive, method).read(rows, first, points)
        if born is not None:
            step = shard.archives[archive].step
            blank_unborn(values, np.arange(len(rows)), born[rows], first * step, step)
        return values

    def roll_up(self) -> None:
        """Bring all coarser archives up to date; to be called every fraction of a second, and before closing."""
        for shard in self._shards.values():
            shard.roll_up()

    def seal_ahead(self, lanes_max: int) -> None:
        """Seal up to lanes_max complete heads: some at a time, so that no block's end stalls the writer."""
        for shard in self._shards.values():
            lanes_max -= shard.seal_ahead(lanes_max)

    def pack_some(self, now: int, most: int) -> None:
        """Pack up to `most` sealed blocks that are old enough."""
        for shard in self._shards.values():
            most -= shard.pack_some(now, most)

    def sync(self) -> None:
        """Bring all that was appended to the disk, if the store is durable."""
        syncs = self.begin_sync()
        self.run_sync(syncs)
        self.end_sync(syncs)

    def begin_sync(self) -> list[tuple[Ring, Sync]]:
        """What has changed since the last sync; in the writer's thread."""
        return [sync for shard in self._shards.values() for sync in shard.begin_sync()]

    def run_sync(self, syncs: Sequence[tuple[Ring, Sync]]) -> None:
        """Wait for the disk, in any thread: names first, so that no value is on it without its name."""
        if syncs and self._durable:
            self.catalogue.sync()
        for _, sync in syncs:
            sync.run()
        if self._writable and self._backup.due:
            self._backup.make()

    def end_sync(self, syncs: Sequence[tuple[Ring, Sync]]) -> None:
        """Free what has been brought to its place; in the writer's thread."""
        for ring, sync in syncs:
            ring.end_sync(sync)

    def fetch(
        self, series: Series, start: int, until: int, now: int, method: str | None = None
    ) -> list[Fetched]:
        """The datapoints in (start, until] of series, each on the archive that whisper would choose.

        `method` is the aggregation to read coarse archives by, where they keep several.
        Series whose archives have the same step and window come as one matrix; those without any window
        (all of it in the future or before their oldest point) come in none.
        """
        grids: dict[Window, list[_Part]] = {}
        for number, at in _by_shard(series):
            shard = self._shard(number)
            window = shard.window(start, until, now)
            if window is not None:
                rows = series[at].astype(np.int64) - number * SHARD_ROWS
                born = self._register.rows[number].born
                part = _Part(shard, window, at, rows, None if born is None else born[rows])
                grids.setdefault(window._replace(archive=0), []).append(part)
        return [_gather(grid, parts, method) for grid, parts in grids.items()]

    def grids(self, series: Series, start: int, until: int, now: int) -> list[Grid]:
        """The grids of what `fetch` would give, in its order; reads nothing."""
        counts: dict[Window, int] = {}
        for number, at in _by_shard(series):
            archives = self.schema_of(number * SHARD_ROWS).retention.archives
            window = choose_window(archives, start, until, now)
            if window is not None:
                grid = window._replace(archive=0)
                counts[grid] = counts.get(grid, 0) + len(at)
        return [Grid(grid.start, grid.step, grid.points, count) for grid, count in counts.items()]

    def consolidations(self, series: Series) -> list[str]:
        """Each series' own aggregation."""
        if len(series) == 1:  # as most targets of a dashboard name
            return [self.schema_of(int(series[0])).method]
        numbers, which = np.unique(series // SHARD_ROWS, return_inverse=True)
        methods = [self.schema_of(int(number) * SHARD_ROWS).method for number in numbers]
        return [methods[i] for i in which]

    # --- explaining ---

    def schema_of(self, series: int) -> Schema:
        return self._register.schemas[self._register.shard_schema[series // SHARD_ROWS]]

    def is_pinned(self, series: int) -> bool:
        """Whether a series keeps its schema whatever the rules say."""
        return self._register.shard_schema[series // SHARD_ROWS] in self._register.pinned

    def by_schema(self, series: Series) -> list[tuple[Schema, npt.NDArray[np.intp]]]:
        """(schema, indices of the series that have it) for each shard among the series."""
        return [(self.schema_of(number * SHARD_ROWS), at) for number, at in _by_shard(series)]

    def shard_of(self, series: int) -> Shard:
        return self._shard(series // SHARD_ROWS)

    def newest(self, series: int, now: int) -> int:
        """Epoch seconds of a series' newest datapoint, to the step of the archive that has it; 0 = none."""
        one = np.array([series], np.int32)
        for i, archive in enumerate(self.schema_of(series).retention.archives):
            last = self.horizon(now) // archive.step + 1
            first = max(0, now // archive.step - archive.points)
            known = np.flatnonzero(~np.isnan(self.read_archive(one, i, first, last - first)[0]))
            if len(known):
                return int(first + known[-1]) * archive.step
        return 0

    def shards(self) -> list[Shard]:
        return [self._shard(number) for number in sorted(self._register.shard_schema)]

    def explain(self, name: str) -> Decision:
        """Which rules decide a name's schema now; what is stored already may have come by others."""
        return self.rules.decide(naming.canonical(name))


class _Rows(NamedTuple):
    """Rows of a shard for new series, and from when on each counts."""

    shard: int
    rows: Integers
    born: Integers


class _Part(NamedTuple):
    """What a shard gives to a grid."""

    shard: Shard
    window: Window
    positions: npt.NDArray[np.intp]
    rows: Integers
    born: Integers | None

    def read_into(self, out: Floats, at: Integers, method: str | None) -> None:
        self.shard.read_into(out, at, self.rows, self.window, method)
        if self.born is not None:
            blank_unborn(out, at, self.born, self.window.start, self.window.step)


def _gather(grid: Window, parts: list[_Part], method: str | None) -> Fetched:
    """What all parts give, their positions ascending: each writes its rows where they belong."""
    positions = np.sort(np.concatenate([part.positions for part in parts]))
    out = np.empty((len(positions), grid.points))
    for part in parts:
        part.read_into(out, np.searchsorted(positions, part.positions), method)
    return Fetched(positions, grid.start, grid.step, out)


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(0o750, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise NotAStore(
            f"{folder} cannot be written: {error.strerror}; choose a data folder that this user owns"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreInUse(
            f"{folder} is in use by another writer (process {holder}): stop it or choose another data folder"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _boot() -> str:
    """The kernel's name for the time since it was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _write_boot(folder: Path, text: str) -> None:
    """Remember under which boot the store is written; _CLEAN when it was closed with everything synced."""
    file = os.open(folder / "boot", os.O_WRONLY | os.O_CREAT, 0o640)
    try:
        os.pwrite(file, text.encode(), 0)
        os.ftruncate(file, len(text))  # after the write: a full disk has room for what is written over
        os.fsync(file)
    finally:
        os.close(file)


def _power_was_cut(folder: Path) -> bool:
    """Whether the last writer ended with the machine: it was not closed, and the kernel was started since."""
    try:
        last = (folder / "boot").read_text(errors="replace")
    except OSError:
        return False
    return last not in (_boot(), _CLEAN)


def _by_shard(series: Series) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """(shard, indices in their order) for each shard among the series."""
    if not len(series):
        return []
    first = int(series[0]) // SHARD_ROWS
    if len(series) == 1:
        return [(first, np.zeros(1, np.intp))]
    numbers = series // SHARD_ROWS
    if (numbers == first).all():
        return [(first, np.arange(len(series)))]
    order = np.argsort(numbers.astype(np.int16 if numbers.max() < 1 << 15 else np.int32), kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    return [(int(numbers[at[0]]), at) for at in np.split(order, cuts)]


def _canonical(names: Sequence[str]) -> list[str]:
    """The canonical names; one with a fault raises InvalidName."""
    for name in names:
        if fault := naming.fault(name.encode()):
            raise InvalidName(f"{name!r}: {fault.words}")
    return [naming.canonical(name) for name in names]


def _laid(names: Sequence[str]) -> tuple[Bytes, Integers, Integers]:
    """The canonical names as text[starts:stops]; a name with a fault raises InvalidName."""
    return lay([name.encode() for name in _canonical(names)])


def _translated(series: Series, moving: Series, became: Series) -> Series:
    """The series, with those among `moving` (in order, each once) where they are now."""
    at = np.minimum(np.searchsorted(moving, series), len(moving) - 1)
    return np.where(moving[at] == series, became[at], series)
