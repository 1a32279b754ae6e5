"""Names as they come in → names as they go on, and the aggregates they feed, by the operator's rules.

Where there are rules, what comes in has ids of its own table, and under each id lies what the rules made of the name
when it was first seen: the id that it goes on under in the table of names that are stored and relayed, and a set of
aggregates. Where there are none, both tables are one and nothing of this is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from carbon.aggregate import Aggregator, Emitted
from carbon.names import REFUSED, Ids, Integers, NameTable, Refusal
from carbon.protocols.reader import Batch, Floats
from carbon.rules.aggregation import Feed
from carbon.rules.ruleset import BAD_NAME, RuleSet
from storage import naming
from storage.errors import InvalidName
from storage.intern import grown

# for the id that a name goes on under; from _REFUSED down: why it does not
_UNDECIDED, _NOT_ITSELF, _REFUSED = -1, -2, -3
BAD_OUTPUT = "an aggregate's name is bad"
_SLICE = 50_000  # names whose text is looked at together


class Fed(NamedTuple):
    """Datapoints for aggregates: buffer ids, epoch seconds, values."""

    buffers: Ids
    timestamps: Integers
    values: Floats


class Passed(NamedTuple):
    """What the rules make of a batch."""

    batch: Batch  # with ids of the onward table
    fed: Fed | None
    refusals: list[Refusal]


class FeedSets:
    """The sets of aggregates that names feed, each once; 0 is the empty one."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, ...], int] = {(): 0}
        self._first = np.zeros(2, np.int64)  # of each set, where its buffers begin, and one more; room behind
        self._buffers = np.empty(0, np.int32)

    def id_of(self, buffers: Sequence[int]) -> int:
        known = len(self._ids)
        found = self._ids.setdefault(tuple(buffers), known)
        if found == known:
            start = int(self._first[found])
            stop = start + len(buffers)
            if found + 2 > len(self._first):
                self._first = grown(self._first, found + 2)
            if stop > len(self._buffers):
                self._buffers = grown(self._buffers, stop)
            self._first[found + 1] = stop
            self._buffers[start:stop] = buffers
        return found

    def expand(self, sets: Ids) -> tuple[Integers, Ids]:
        """(rows, buffers): for each row of `sets` its buffers, one after the other."""
        counts = self._first[sets + 1] - self._first[sets]
        rows = np.repeat(np.arange(len(sets)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._buffers[self._first[sets][rows] + within]


class Ruled:
    """The rules, applied to batches. A name is decided once; until `replace`, the decision is an array look-up."""

    def __init__(
        self, rules: RuleSet, incoming: NameTable, onward: NameTable, aggregator: Aggregator
    ) -> None:
        self.rules = rules
        self.incoming, self._onward, self._aggregator = incoming, onward, aggregator
        self._sets = FeedSets()
        self._on = np.empty(0, np.int32)  # of each incoming id, the onward one
        self._feeds = np.empty(0, np.int32)  # of each incoming id, a feed set
        self._reasons: list[str] = []

    def replace(self, rules: RuleSet) -> None:
        """From here on by other rules; what was decided is decided anew when it is next seen."""
        self.rules = rules
        self._on[:] = _UNDECIDED

    def apply(self, batch: Batch) -> Passed:
        """The batch as it goes on; deciding about the same datapoints twice does no harm."""
        ids = batch.ids
        self._decide_new(ids)
        on, feeds = self._on[ids], self._feeds[ids]
        refusals: list[Refusal] = []
        fed = None
        rows, buffers = self._sets.expand(feeds) if feeds.any() else (None, None)
        if rows is not None and buffers is not None:
            fed = Fed(buffers, batch.timestamps[rows], batch.values[rows])
        if len(on) and on.min() < 0:
            refusals = self._refusals(ids, on)
            kept = on >= 0
            batch = Batch(on[kept], batch.timestamps[kept], batch.values[kept])
        else:
            batch = Batch(on, batch.timestamps, batch.values)
        return Passed(batch, fed, refusals)

    def _refusals(self, ids: Ids, on: Ids) -> list[Refusal]:
        found = []
        rows = np.flatnonzero(on <= _REFUSED)
        codes = np.unique(on[rows], return_index=True, return_counts=True)
        for code, first, count in zip(*codes, strict=True):
            name = self.incoming.interned.name(int(ids[rows[first]]))
            found.append(Refusal(self._reasons[_REFUSED - code], int(count), name))
        return found

    # --- once for each name ---

    def _decide_new(self, ids: Ids) -> None:
        known = len(self.incoming.interned)
        if known > len(self._on):
            more = known * 3 // 2 + 1024 - len(self._on)
            self._on = np.concatenate((self._on, np.full(more, _UNDECIDED, np.int32)))
            self._feeds = np.concatenate((self._feeds, np.zeros(more, np.int32)))
        new = self._on[ids] == _UNDECIDED
        if new.any():
            wanted = np.unique(ids[new])
            for at in range(0, len(wanted), _SLICE):
                self._decide(wanted[at : at + _SLICE])

    def _decide(self, ids: Ids) -> None:
        names = self.incoming.interned.names(ids)
        codes = np.full(len(ids), _UNDECIDED, np.int32)
        feeds = np.zeros(len(ids), np.int32)
        for at, name in enumerate(names):
            if ";" in name:
                try:
                    names[at] = naming.canonical(name)
                except InvalidName:
                    codes[at] = self._code(naming.Fault.BAD_TAG.words)
        for at, decision in self.rules.touched(names).items():
            if codes[at] != _UNDECIDED:
                continue
            if decision.refused:
                codes[at] = self._code(decision.refused)
                continue
            feeds[at] = self._feed_set(decision.feeds)
            if decision.name is None:
                codes[at] = _NOT_ITSELF
            else:
                names[at] = decision.name
        goes_on = np.flatnonzero(codes == _UNDECIDED)
        onward = self._onward.ids_of([names[at].encode() for at in goes_on.tolist()])
        codes[goes_on] = np.where(onward == REFUSED, self._code(BAD_NAME), onward)
        self._on[ids], self._feeds[ids] = codes, feeds

    def _feed_set(self, feeds: Sequence[Feed]) -> int:
        # -1, for an aggregate too many, goes along: the aggregator counts each datapoint that comes for it
        return self._sets.id_of([self._aggregator.buffer_of(feed) for feed in feeds]) if feeds else 0

    def _code(self, reason: str) -> int:
        if reason not in self._reasons:
            self._reasons.append(reason)
        return _REFUSED - self._reasons.index(reason)


class Outputs:
    """What aggregates are stored and relayed under: buffer ids → onward ids."""

    def __init__(self, aggregator: Aggregator, onward: NameTable) -> None:
        self._aggregator, self._onward = aggregator, onward
        self._ids = np.empty(0, np.int32)

    def named(self, emitted: Emitted) -> tuple[Batch, list[Refusal]]:
        """What was emitted, like what comes in but for the rules, and what of it has a bad name."""
        self._name_new()
        ids = self._ids[emitted.buffers]
        good = ids >= 0
        refusals = []
        if not good.all():
            first = self._aggregator.buffers[emitted.buffers[int(np.argmin(good))]]
            refusals.append(Refusal(BAD_OUTPUT, int(np.count_nonzero(~good)), first.output))
        return Batch(ids[good], emitted.timestamps[good], emitted.values[good]), refusals

    def _name_new(self) -> None:
        new = [feed.output.encode() for feed in self._aggregator.buffers[len(self._ids) :]]
        if new:
            ids = np.full(len(new), REFUSED, np.int32)
            good = [at for at, name in enumerate(new) if not naming.fault(name)]
            ids[good] = self._onward.ids_of([new[at] for at in good])
            self._ids = np.concatenate((self._ids, ids))
