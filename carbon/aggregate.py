"""The aggregator: datapoints of many names → one value an interval for each aggregate they feed. Columns throughout.

An interval is `timestamp - timestamp % frequency`, its value what the rule's method makes of all that came for it,
in the order in which it came. Emission follows the wall clock: an interval is emitted when it has ended, once every
`frequency` seconds, so that what is stored is complete. With `write_back_s` (carbon's WRITE_BACK_FREQUENCY) the
operator asks for early values instead: every so many seconds, intervals that are still open are emitted too. A
datapoint that comes after its interval was emitted has the interval emitted again with all of its values, at the
next turn; one that is older than `max_intervals` is counted and dropped. carbon differs in all three: its turns
begin with a buffer's first datapoint and emit whatever is there, and what comes too late is emitted alone, in place
of the whole value that had been stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from carbon.rules.aggregation import Feed
from storage import consolidation

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

VALUES_MAX = 20_000_000  # 16 bytes each; 100,000 names every 10 s, in intervals of a minute, hold 3,600,000
BUFFERS_MAX = 1_000_000  # aggregates, some 400 bytes each
GRACE_S = 2  # how long after its end an interval waits for what is under way
LATE, AHEAD, FULL, TOO_MANY = (
    "too late to aggregate",
    "too far ahead",
    "aggregator full",
    "too many aggregates",
)

# A value's key is its interval's number since 1970, then its buffer: sorted by keys, old intervals are a prefix.
_BUFFER_BITS = 31
_BUFFER = (1 << _BUFFER_BITS) - 1
_INTERVALS_MAX = 1 << 32
_NEVER = -1
_BLOCKS_MAX = 16


class Emitted(NamedTuple):
    """Aggregates; each (buffer, timestamp) once."""

    buffers: Ids
    timestamps: Integers  # epoch seconds, where the interval begins
    values: Values


class Due(NamedTuple):
    """What waited for intervals that are to be emitted now."""

    keys: Integers
    values: Values
    turns: Sequence[tuple[int, int]]  # lanes, and of each the oldest interval that may be emitted again


_NOTHING = Emitted(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))


class Aggregator:
    """`dropped` counts by reason the datapoints that no aggregate has taken in.

    Call `emit` every second or so, and once before the first `feed`: until then it is not known what is late.
    """

    def __init__(
        self,
        *,
        max_intervals: int = 5,
        write_back_s: int | None = None,
        grace_s: int = GRACE_S,
        values_max: int = VALUES_MAX,
        buffers_max: int = BUFFERS_MAX,
    ) -> None:
        self.max_intervals, self.write_back_s, self.grace_s = max_intervals, write_back_s, grace_s
        self.values_max, self.buffers_max = values_max, buffers_max
        self.dropped = {LATE: 0, AHEAD: 0, FULL: 0, TOO_MANY: 0}
        self.buffers: list[Feed] = []  # of each id
        self._ids: dict[Feed, int] = {}
        self._methods: list[str] = []
        self._lanes: list[_Lane] = []
        self._lane_of = np.empty(0, np.int32)  # of each buffer
        self._method_of = np.empty(0, np.int32)
        self._frequency = np.empty(0, np.int64)  # of each lane
        self._oldest = np.empty(
            0, np.int64
        )  # of each lane, the number of the first interval that is not too late
        self._waiting = _Columns()
        self._clock: int | None = None

    def __len__(self) -> int:
        """How many values are held."""
        return len(self._waiting) + sum(map(len, self._lanes))

    @property
    def late(self) -> int:
        return self.dropped[LATE]

    def buffer_of(self, feed: Feed) -> int:
        """The id of an aggregate; -1 if there are too many, and `feed` drops what comes for it."""
        found = self._ids.get(feed)
        if found is None:
            if len(self.buffers) >= self.buffers_max:
                return -1
            found = self._ids[feed] = len(self.buffers)
            self.buffers.append(feed)
            if found >= len(self._lane_of):
                self._lane_of = _longer(self._lane_of)
                self._method_of = _longer(self._method_of)
            self._lane_of[found] = self._lane(feed.frequency_s)
            self._method_of[found] = self._method(feed.method)
        return found

    def _lane(self, frequency_s: int) -> int:
        for number, lane in enumerate(self._lanes):
            if lane.frequency_s == frequency_s:
                return number
        self._lanes.append(_Lane(frequency_s, min(self.write_back_s or frequency_s, frequency_s)))
        self._frequency = np.append(self._frequency, frequency_s)
        self._oldest = np.append(self._oldest, 0)
        self._see(self._clock)
        return len(self._lanes) - 1

    def _method(self, method: str) -> int:
        if method not in self._methods:
            self._methods.append(method)
        return self._methods.index(method)

    def feed(self, outputs: Ids, timestamps: Integers, values: Values) -> None:
        """Take in datapoints: the id of the aggregate each is for, epoch seconds, value; NaN is no value."""
        known = (outputs >= 0) & ~np.isnan(values)
        if not known.all():
            self.dropped[TOO_MANY] += int(np.count_nonzero(outputs < 0))
            outputs, timestamps, values = outputs[known], timestamps[known], values[known]
        if not len(outputs):
            return
        intervals, oldest = self._intervals(outputs, timestamps)
        late, ahead = intervals < oldest, intervals >= _INTERVALS_MAX
        if late.any() or ahead.any():
            self.dropped[LATE] += int(np.count_nonzero(late))
            self.dropped[AHEAD] += int(np.count_nonzero(ahead))
            kept = ~(late | ahead)
            outputs, intervals, values = outputs[kept], intervals[kept], values[kept]
        room = max(self.values_max - len(self), 0)
        self.dropped[FULL] += max(len(values) - room, 0)
        self._waiting.append((intervals[:room] << _BUFFER_BITS) | outputs[:room], values[:room])

    def _intervals(self, outputs: Ids, timestamps: Integers) -> tuple[Integers, Integers]:
        """The number of each datapoint's interval, and of the oldest that is not too late for it."""
        if len(self._lanes) == 1:  # to divide by one number takes a third of the time
            return timestamps // self._lanes[0].frequency_s, self._oldest
        lanes = self._lane_of[outputs]
        return timestamps // self._frequency[lanes], self._oldest[lanes]

    def emit(self, now: int) -> Emitted:
        """The aggregates that are due at `now`, epoch seconds."""
        return self.merged(self.take_due(now))

    def drain(self) -> Emitted:
        """All that was not emitted yet, of open intervals too: the last that there is before a stop."""
        return self.merged(self._take(np.full(len(self._lanes), _INTERVALS_MAX, np.int64)))

    def take_due(self, now: int) -> Due:
        """The first part of `emit`, and the shorter by far."""
        clock = now - self.grace_s
        self._see(clock)
        return self._take(np.array([lane.limit(clock) for lane in self._lanes], np.int64))

    def _see(self, clock: int | None) -> None:
        self._clock = clock
        if clock is not None:
            self._oldest = np.maximum(clock // self._frequency - self.max_intervals, 0)

    def _take(self, limits: Integers) -> Due:
        """What waits for intervals before each lane's limit."""
        turns = [(number, int(self._oldest[number])) for number in np.flatnonzero(limits > _NEVER).tolist()]
        if not turns:
            return Due(_NOTHING.timestamps, _NOTHING.values, ())

        def is_due(keys: Integers) -> npt.NDArray[np.bool_]:
            last = limits[self._lanes_of(keys)] if len(limits) > 1 else limits[0]
            return np.asarray(keys >> _BUFFER_BITS < last)

        return Due(*self._waiting.take(is_due), turns)

    def merged(self, due: Due) -> Emitted:
        """The rest of `emit`: a thread of its own may do it, one at a time, while another one feeds."""
        lanes = self._lanes_of(due.keys)
        parts = [_NOTHING]
        for number, oldest in due.turns:
            lane, mine = self._lanes[number], lanes == number
            cells = lane.merge(due.keys[mine], due.values[mine])
            buffers = (cells.keys & _BUFFER).astype(np.int32)
            timestamps = (cells.keys >> _BUFFER_BITS) * lane.frequency_s
            parts.append(Emitted(buffers, timestamps, self._reduce(buffers, cells)))
            lane.forget(oldest)  # too old to be emitted again
        return Emitted(*map(np.concatenate, zip(*parts, strict=True)))

    def _lanes_of(self, keys: Integers) -> Ids:
        lanes: Ids = self._lane_of[keys & _BUFFER]
        return lanes

    def _reduce(self, buffers: Ids, cells: _Cells) -> Values:
        """One value a cell: cells of one method and one size are a matrix for the table of consolidations."""
        out = np.empty(len(buffers))
        methods = self._method_of[buffers]
        order = np.lexsort((cells.sizes, methods))
        changes = (np.diff(methods[order]) != 0) | (np.diff(cells.sizes[order]) != 0)
        for alike in np.split(order, np.flatnonzero(changes) + 1) if len(order) else ():
            size, method = int(cells.sizes[alike[0]]), self._methods[methods[alike[0]]]
            at = cells.starts[alike] + np.arange(size)[:, np.newaxis]
            out[alike] = consolidation.columns(method, cells.values[at]).values
        return out


class _Cells(NamedTuple):
    """Intervals of buffers: cell i is values[starts[i] : starts[i] + sizes[i]], in the order of arrival."""

    keys: Integers
    starts: Integers
    sizes: Integers
    values: Values


class _Lane:
    """The buffers of one frequency, and their values that were emitted but may have to be again.

    These lie in a block for each turn, sorted by keys and in the order of arrival: an interval has values in more
    than one only if some came late, and the blocks are not touched otherwise.
    """

    def __init__(self, frequency_s: int, period_s: int) -> None:
        self.frequency_s, self.period_s = frequency_s, period_s
        self._blocks: list[_Block] = []
        self._turn = _NEVER

    def __len__(self) -> int:
        return sum(len(block.keys) for block in self._blocks)

    def limit(self, clock: int) -> int:
        """The number of the first interval that is not to be emitted; _NEVER if it is not this lane's turn."""
        turn = clock // self.period_s
        if turn == self._turn:
            return _NEVER
        self._turn = turn
        return clock // self.frequency_s if self.period_s == self.frequency_s else _INTERVALS_MAX

    def merge(self, keys: Integers, values: Values) -> _Cells:
        """Take in new values, in the order of arrival; the cells that got any, with all of theirs."""
        new = _sorted(keys, values)
        got = new.keys[_starts(new.keys)]
        before = [part for block in self._blocks if len((part := block.of(got)).keys)]
        if len(new.keys):
            self._blocks.append(new)
        if len(self._blocks) > _BLOCKS_MAX:
            self._blocks = [_joined(self._blocks)]
        whole = _joined([*before, new]) if before else new
        starts = _starts(whole.keys)
        return _Cells(got, starts, np.diff(starts, append=len(whole.keys)), whole.values)

    def forget(self, oldest: int) -> None:
        """Let go of intervals before the one of this number."""
        rest = [block.since(oldest << _BUFFER_BITS) for block in self._blocks]
        self._blocks = [block for block in rest if len(block.keys)]


class _Block(NamedTuple):
    """Values and their keys, sorted by these."""

    keys: Integers
    values: Values

    def of(self, keys: Integers) -> _Block:
        """What it has of these keys, which are sorted."""
        first = np.searchsorted(self.keys, keys)
        sizes = np.searchsorted(self.keys, keys, "right") - first
        # first[i], first[i] + 1 … for each key
        at = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        return _Block(self.keys[at], self.values[at])

    def since(self, key: int) -> _Block:
        at = int(np.searchsorted(self.keys, key))
        return _Block(self.keys[at:].copy(), self.values[at:].copy()) if at else self


def _sorted(keys: Integers, values: Values) -> _Block:
    """By keys, those of one key as they came: a radix sort, as numpy has one for 16 bits (a fifth of the time)."""
    order = np.arange(len(keys))
    if len(keys):
        digits = (keys - keys.min()).astype("<i8").view("<u2").reshape(-1, 4)
        for at in range(4):
            digit = np.ascontiguousarray(digits[:, at])
            if digit.any():
                order = order[np.argsort(digit[order], kind="stable")]
    return _Block(keys[order], values[order])


def _joined(blocks: Sequence[_Block]) -> _Block:
    return _sorted(
        np.concatenate([block.keys for block in blocks]), np.concatenate([block.values for block in blocks])
    )


def _starts(keys: Integers) -> Integers:
    """Where each key begins in sorted ones."""
    return np.flatnonzero(np.diff(keys, prepend=_NEVER))


class _Columns:
    """Keys and values in the order of arrival, in arrays with room to grow."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._values = np.empty(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, keys: Integers, values: Values) -> None:
        stop = self._count + len(keys)
        if stop > len(self._keys):
            self._keys = _longer(self._keys, stop)
            self._values = _longer(self._values, stop)
        self._keys[self._count : stop] = keys
        self._values[self._count : stop] = values
        self._count = stop

    def take(self, chosen: Callable[[Integers], npt.NDArray[np.bool_]]) -> tuple[Integers, Values]:
        """Take out those whose keys are chosen; the room of what went is given back."""
        keys, values = self._keys[: self._count], self._values[: self._count]
        out = chosen(keys)
        if not out.any():
            return keys[:0], values[:0]
        self._keys, self._values, self._count = keys[~out], values[~out], int(np.count_nonzero(~out))
        return keys[out], values[out]


_Number = TypeVar("_Number", np.int32, np.int64, np.float64)


def _longer(column: npt.NDArray[_Number], wanted: int = 0) -> npt.NDArray[_Number]:
    """The column with room for half as much again, at least for `wanted`; zeros behind."""
    more = max(wanted, len(column) * 3 // 2, 1024)
    return np.concatenate((column, np.zeros(more - len(column), column.dtype)))
