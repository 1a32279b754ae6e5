"""The register: which names there are and where each lies, in memory; the catalogue's journal, replayed.

A name has an id here for as long as the process lives, and a series while it lives itself. What the writer
commits is replayed like what a reader finds, so that both have the same register.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import retention
from storage.catalogue import GONE, Catalogue, Change, Free, Run, run_of
from storage.format import SHARD_ROWS
from storage.index import Index
from storage.intern import Interned, grown
from storage.lifetime import Quota
from storage.rows import Integers, Rows
from storage.schema import Schema

Series = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_NOTHING: Series = np.empty(0, np.int32)


class Moved(NamedTuple):
    """What became of series: each of `old`, once, is now the one in `new`, -1 = gone."""

    old: Series
    new: Series
    upto: int  # what to ask with the next time


class Register:
    """The names of a catalogue. Threads may read numbers while one refreshes or commits."""

    def __init__(self, catalogue: Catalogue, *, logs: bool) -> None:
        """`logs`: whether `moved` is to be asked."""
        self.catalogue, self._logs = catalogue, logs
        self.schemas: dict[int, Schema] = {}
        self.pinned: set[int] = set()  # schemas
        self.shard_schema: dict[int, int] = {}
        # Kept when all is read anew: `born` of a row only ever grows, and a thread may be reading it
        self.rows: dict[int, Rows] = {}
        self._old, self._new, self._moves = _NOTHING, _NOTHING, 0
        self._quotas: tuple[Quota, ...] = ()
        self.version = 0  # grows whenever names may have come, moved or gone by another process
        self._forget()

    def _forget(self) -> None:
        self._names = Interned()
        self._series: Series = np.empty(0, np.int32)  # of each name, -1 = gone
        self._living = 0
        self._index: Index | None = None
        self._indexed: Series = _NOTHING  # of each name, as the index has it
        self._stale = False  # whether the index has to catch up with moves
        self._runs_read = self._last_run = 0
        self._counts = [0] * len(self._quotas)
        self._epoch = self.catalogue.epoch()

    def reopen(self, catalogue: Catalogue) -> None:
        """Go on with another catalogue."""
        self.catalogue = catalogue
        with catalogue.reading():
            self._forget()
            self._read()
        self.version += 1

    # --- replaying ---

    def refresh(self) -> None:
        """Take in what the writer has committed; cheap when it has not."""
        if self.catalogue.changed():
            with self.catalogue.reading():
                self._read()
            self.version += 1

    @property
    def is_current(self) -> bool:
        """Whether `refresh` would find nothing new."""
        return self.catalogue.is_current

    def load(self) -> None:
        """As `refresh`, inside of a `reading` of the catalogue."""
        self._read()

    def _read(self) -> None:
        if self.catalogue.epoch() != self._epoch:
            self._forget()
        for row in self.catalogue.schemas():
            if row.id not in self.schemas:
                self.learn(row.id, Schema(retention.parse(row.retention), *row[2:4]), pinned=bool(row.pinned))
        for shard, schema in self.catalogue.shards():
            self.open_shard(shard, schema)
        for number, run in self.catalogue.runs(self._last_run):
            self._take(run)
            self._last_run = number
            self._runs_read += 1

    def learn(self, schema: int, words: Schema, *, pinned: bool) -> None:
        if pinned:
            self.pinned.add(schema)
        self.schemas[schema] = words

    def open_shard(self, shard: int, schema: int) -> None:
        self.rows.setdefault(shard, Rows())
        self.shard_schema[shard] = schema

    def read_free(self) -> list[Free]:
        """Learn the rows that nobody has, as the writer must; gives them."""
        for shard, row in self.catalogue.trashed_rows():
            self.rows[shard].used = max(self.rows[shard].used, row + 1)
        found = self.catalogue.free()
        self._release(found)
        return found

    def commit(self, change: Change) -> None:
        """Make a change in the catalogue and, if that went well, here; raises OSError."""
        last = self.catalogue.apply(change)
        for run in change.runs:
            self._take(run)
        if change.runs:
            self._last_run = last
        self._release(change.freed)

    def _release(self, freed: Sequence[Free]) -> None:
        for shard, rows, born in _by_shard(freed):
            self.rows[shard].release(rows, born)

    def _take(self, run: Run) -> None:
        text = np.frombuffer(run.names.encode() + b"\n", np.uint8)
        stops = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate(([0], stops[:-1] + 1))
        before = len(self._names)
        ids = self._names.add_all(text, starts, stops)
        if len(self._names) > len(self._series):
            self._series = grown(self._series, len(self._names))
        self._series[before : len(self._names)] = -1
        if run.shard == GONE:
            new = np.full(len(ids), -1, np.int32)
        else:
            self.rows[run.shard].use(run.rows, run.born)  # before a name leads there
            new = (run.shard * SHARD_ROWS + run.rows).astype(np.int32)
        old = self._series[ids]
        self._series[ids] = new
        self._living += _more(old, new)
        for i, quota in enumerate(self._quotas):
            mine = under(quota.prefix, text, starts, stops)
            self._counts[i] += _more(old[mine], new[mine])
        self._stale |= int(ids.min()) < len(self._indexed)
        moved = (old >= 0) & (old != new)
        if self._logs and moved.any():
            self._log(old[moved], new[moved])

    # --- compacting ---

    def compact(self) -> None:
        """Rewrite the journal to what lives, if that makes it less than half as long: names that came one by one,
        moved or went would each be a row for ever.
        """
        ids = np.flatnonzero(self._series[: len(self._names)] >= 0).astype(np.int32)
        series = self._series[ids]
        order = np.argsort(series)
        ids, series = ids[order], series[order]
        cuts = np.flatnonzero(np.diff(series // SHARD_ROWS)) + 1
        shards = np.split(ids, cuts) if len(ids) else []
        if len(shards) * 2 > self._runs_read or not self._runs_read:
            return
        self._last_run = self.catalogue.rewrite(self._run(some) for some in shards)
        self._epoch, self._runs_read = self.catalogue.epoch(), len(shards)
        if self._living * 2 <= len(self._names):
            self._forget()  # names that are gone would take memory
            self._read()

    def _run(self, ids: Series) -> Run:
        """The run of names that lie in one shard, in the order of their rows."""
        series = self._series[ids].astype(np.int64)
        shard, rows = int(series[0]) // SHARD_ROWS, series % SHARD_ROWS
        born = self.rows[shard].born
        return run_of(shard, rows, self._names.names(ids), None if born is None else born[rows])

    # --- names ---

    def __len__(self) -> int:
        """How many names live."""
        return self._living

    @property
    def seen(self) -> int:
        """How many names have an id, living or not."""
        return len(self._names)

    def find_all(self, text: Bytes, starts: Integers, stops: Integers) -> Series:
        """The series of canonical names text[starts:stops], -1 where there is none."""
        ids = self._names.find_all(text, starts, stops)
        return self._series[ids] if len(ids) and ids.min() >= 0 else self.series_at(ids)

    def find_ids(self, text: Bytes, starts: Integers, stops: Integers) -> Series:
        """The ids of canonical names, living or not; -1 for one that was never seen."""
        return self._names.find_all(text, starts, stops)

    def series_at(self, ids: Series) -> Series:
        """The series of each id, -1 where the name is gone or the id is -1."""
        series = np.full(len(ids), -1, np.int32)
        series[ids >= 0] = self._series[ids[ids >= 0]]
        return series

    def living(self, first: int, last: int) -> tuple[Series, Series]:
        """(ids, series) of the names that live among ids from first to before last."""
        some = self._series[first : min(last, len(self._names))]
        at = np.flatnonzero(some >= 0)
        return (first + at).astype(np.int32), some[at]

    def names_of(self, ids: Series) -> list[str]:
        return self._names.names(ids)

    def ids_of(self, series: Series) -> Series:
        """The ids of the names that lead to these series, -1 where none does."""
        known = self._series[: len(self._names)]
        at = np.flatnonzero(np.isin(known, series))
        order = at[np.argsort(known[at])]
        where = np.searchsorted(known[order], series)
        found = np.full(len(series), -1, np.int32)
        inside = where < len(order)
        there = inside.copy()
        there[inside] = known[order[where[inside]]] == series[inside]
        found[there] = order[where[there]]
        return found

    @property
    def index(self) -> Index:
        """The names as a tree; made when first asked for, kept up to date from then on."""
        if self._index is None:
            self._index, self._indexed = Index(), _NOTHING
        done, count = len(self._indexed), len(self._names)
        if self._stale:
            changed = np.flatnonzero(self._series[:done] != self._indexed)
            # a row may have another owner by now, so the old ones leave before the new ones come
            self._index.remove(self._indexed[changed[self._series[changed] < 0]])
            self._put(changed)
            self._stale = False
        if done < count:
            self._put(np.arange(done, count))
        return self._index

    def _put(self, ids: npt.NDArray[np.intp]) -> None:
        assert self._index is not None
        offsets = self._names.offsets
        self._index.add_all(self._names.blob, offsets[ids], offsets[ids + 1], self._series[ids])
        if len(ids) and ids[-1] >= len(self._indexed):
            self._indexed = self._series[: len(self._names)].copy()
        else:
            self._indexed[ids] = self._series[ids]

    # --- moves ---

    @property
    def moves(self) -> int:
        """A number that grows when series move or go."""
        return self._moves

    def _log(self, old: Series, new: Series) -> None:
        count = self._moves + len(old)
        if count > len(self._old):
            self._old, self._new = grown(self._old, count), grown(self._new, count)
        self._old[self._moves : count], self._new[self._moves : count] = old, new
        self._moves = count

    def moved(self, since: int) -> Moved:
        """What became, since that many moves, of the series that moved or went."""
        old, new = self._old[since : self._moves], self._new[since : self._moves]
        if len(np.unique(old)) < len(old) or np.isin(old, new).any():
            old, new = _followed(old, new)
        return Moved(old.copy(), new.copy(), self._moves)

    # --- quotas ---

    def counts(self, quotas: tuple[Quota, ...]) -> list[int]:
        """How many names live under each quota's prefix: counted once, then kept."""
        if quotas is not self._quotas:
            count = len(self._names)
            starts, stops = self._names.offsets[:count], self._names.offsets[1 : count + 1]
            living = self._series[:count] >= 0
            self._counts = [
                int(np.count_nonzero(under(quota.prefix, self._names.blob, starts, stops) & living))
                for quota in quotas
            ]
            self._quotas = quotas
        return list(self._counts)


def under(prefix: str, text: Bytes, starts: Integers, stops: Integers) -> Mask:
    """Which of the names text[starts:stops] begin with a prefix."""
    wanted = prefix.encode()
    at = np.flatnonzero(stops - starts >= len(wanted))
    for i, byte in enumerate(wanted):
        at = at[text[starts[at] + i] == byte]
    mask = np.zeros(len(starts), np.bool_)
    mask[at] = True
    return mask


def _more(old: Series, new: Series) -> int:
    """By how many more of the names live."""
    return int(np.count_nonzero(new >= 0)) - int(np.count_nonzero(old >= 0))


def _followed(old: Series, new: Series) -> tuple[Series, Series]:
    """The same moves, each series once: a → b and then b → c is a → c, and b → c for who was at b before.

    Who came to a place and left it was not there at first: only the first move from a place counts for those.
    """
    became: dict[int, int] = {}
    came_from: dict[int, int] = {}  # place → who is there of those that have moved
    for one, to in zip(old.tolist(), new.tolist(), strict=True):
        first = came_from.pop(one, None)
        if first is None:
            first = one
            if one in became:
                continue  # somebody who came later, by no move of ours
        became[first] = to
        if to >= 0:
            came_from[to] = first
    return np.array(list(became), np.int32), np.array(list(became.values()), np.int32)


def _by_shard(freed: Sequence[Free]) -> list[tuple[int, Integers, Integers]]:
    """(shard, rows, born) of each shard."""
    if not freed:
        return []
    shards, rows, born = np.array(freed, np.int64).T
    order = np.argsort(shards, kind="stable")
    cuts = np.flatnonzero(np.diff(shards[order])) + 1
    return [(int(shards[at[0]]), rows[at], born[at]) for at in np.split(order, cuts)]
