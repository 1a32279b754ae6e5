"""The rows of one shard: how many were ever given out, which are free again, and from when on a reused one counts.

Nothing of a row is cleared when its series goes. The next one on it is *born* at a moment that no value of the
former reaches, in no archive, and reads as missing before it. That is never forgotten while it lives: who asks says
what time it is (`now=`), and an old block lies in its place until the ring comes round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage.format import SHARD_ROWS

Integers = npt.NDArray[np.int64]

NOT_YET = 1 << 62  # born of a row that was given out to be filled and has no name yet: later than any time
_NONE: Integers = np.empty(0, np.int64)


class Rows:
    """`born` (epoch seconds, int64 of each row) is None as long as no row has a second owner."""

    def __init__(self) -> None:
        self.used = 0  # rows that have or had an owner; those beyond hold nothing
        self.born: Integers | None = None
        self._free: Integers | None = None  # of each free row from when on it counts; 0 = not free

    @property
    def left(self) -> int:
        """How many rows were never given out."""
        return SHARD_ROWS - self.used

    def use(self, rows: Integers, born: Integers) -> None:
        """Rows have an owner, who is born at `born`; 0 = the first."""
        self.used = max(self.used, int(rows.max()) + 1)
        if self._free is not None:
            self._free[rows] = 0
        if self.born is not None:
            self.born[rows] = born
        elif born.any():
            fresh = np.zeros(SHARD_ROWS, np.int64)
            fresh[rows] = born
            self.born = fresh  # whole when another thread sees it

    def release(self, rows: Integers, born: Integers) -> None:
        """Rows are free: the next owner of each is born at `born`."""
        self.used = max(self.used, int(rows.max()) + 1)
        if self._free is None:
            self._free = np.zeros(SHARD_ROWS, np.int64)
        self._free[rows] = born

    def born_of(self, rows: npt.NDArray[np.integer]) -> Integers:
        """From when on the rows count; 0 = always."""
        return np.zeros(len(rows), np.int64) if self.born is None else self.born[rows]

    def reusable(self, count: int, now: int) -> tuple[Integers, Integers]:
        """Up to `count` free rows whose next owner may be born by now, and when it is born."""
        if self._free is None:
            return _NONE, _NONE
        rows = np.flatnonzero((self._free > 0) & (self._free < now))[:count]
        return rows, self._free[rows]

    def promised(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Which of the rows were given out to be filled and have no name yet."""
        free = np.zeros(len(rows), np.int64) if self._free is None else self._free[rows]
        return np.array(free == NOT_YET)


def next_born(last: int, step: int) -> int:
    """From when on a row counts for its next owner, when the former has nothing after `last`.

    No slot of `step`, that of the coarsest archive, has something of both: a value of the former lies in one that
    ends before.
    """
    return -(-(last + step) // step) * step


def blank_unborn(
    values: npt.NDArray[np.float64], at: Integers, born: Integers, start: int, step: int
) -> None:
    """Make missing what lies before each one's `born` in rows `at` of a matrix (rows, slots from `start` on)."""
    hidden = -((start - born) // step)  # slots that begin before
    some = np.flatnonzero(hidden > 0)
    if len(some):
        early = np.arange(values.shape[1]) < hidden[some, None]
        values[at[some]] = np.where(early, np.nan, values[at[some]])
