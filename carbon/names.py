"""The name table: a name's bytes → a dense id, and under the id all that was decided when the name was first seen.

Names come in many spellings (tags in any order), so a name's id is not its series: `series[id]` is. It is decided
once, for all new names of a batch together, and followed when the store says that series have moved or gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from carbon.stats import Stats
from storage import naming
from storage.errors import InvalidName
from storage.intern import Interned, lay
from storage.naming import Fault
from storage.register import Moved

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NAMES_MAX = 20_000_000  # some 150 bytes each; what comes after is counted and refused
REFUSED, _UNDECIDED, _NO_ROOM = -1, -2, -3  # from _NO_ROOM down: which reason kept it out
ASK_AGAIN_S = 60.0  # how long a name that a quota keeps out is not asked for again


class SeriesMaker(Protocol):
    """What the table needs of the store."""

    @property
    def moves(self) -> int: ...

    def moved(self, since: int) -> Moved: ...

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids: ...

    def why_refused(self, name: str) -> str: ...


class Refusal(NamedTuple):
    """Datapoints that were refused for one reason, with a name of theirs."""

    reason: str
    datapoints: int
    sample: str


class NameTable:
    def __init__(self, store: SeriesMaker, stats: Stats, *, names_max: int = NAMES_MAX) -> None:
        self._store, self._stats = store, stats
        self.names_max = names_max
        self.interned = Interned()
        self.successor = np.empty(0, np.int32)  # of each id: which name came after it last time
        self.series = np.empty(0, np.int32)  # of each id, as far as decided
        self._moves = store.moves
        self._reasons: list[str] = []  # of _NO_ROOM, _NO_ROOM - 1 …
        self._asked = 0.0

    def reserve(self, names: int, size: int) -> None:
        """Make room for so many new names of so many bytes together."""
        self.interned.reserve(names, size)
        wanted = len(self.interned) + names
        if wanted > len(self.successor):
            more = wanted * 3 // 2 + 1024
            self.successor = np.concatenate(
                (self.successor, np.full(more - len(self.successor), -1, np.int32))
            )
            self.series = np.concatenate(
                (self.series, np.full(more - len(self.series), _UNDECIDED, np.int32))
            )

    def ids_of(self, names: Sequence[bytes]) -> Ids:
        """The ids of names that came as Python objects; -1 for one with a fault, which is counted."""
        faults = [naming.fault(name) for name in names]
        for name, fault in zip(names, faults, strict=True):
            if fault:
                self._stats.reject(fault.words, sample=name)
        good = [name for name, fault in zip(names, faults, strict=True) if not fault]
        self.reserve(len(good), sum(map(len, good)))
        ids = np.full(len(names), REFUSED, np.int32)
        ids[[not fault for fault in faults]] = self.interned.add_all(*lay(good))
        return ids

    def series_of(self, ids: Ids) -> Ids:
        """The series of each id, negative where there can be none (`refusals` says why); decides about those that
        are seen first.

        A name whose datapoints were all bad is never asked for, and no series is made for it.
        """
        if self._moves != self._store.moves:
            self._follow()
        series = self.series[ids]
        if len(ids) and series.min() < REFUSED:
            self._ask_again()
            new = self.series[ids] == _UNDECIDED
            if new.any():
                self._decide(np.unique(ids[new]))
            series = self.series[ids]
        return series

    def refusals(self, ids: Ids) -> list[Refusal]:
        """Why the datapoints of ids whose series is negative are refused."""
        found = []
        for why, first, count in zip(
            *np.unique(self.series[ids], return_index=True, return_counts=True), strict=True
        ):
            reason = Fault.BAD_TAG.words if why == REFUSED else self._reasons[_NO_ROOM - why]
            found.append(Refusal(reason, int(count), self.interned.name(int(ids[first]))))
        return found

    def _follow(self) -> None:
        """Take in where series have moved: a row that one has left may be another's soon."""
        old, new, self._moves = self._store.moved(self._moves)
        top = max(int(self.series.max(initial=-1)), int(old.max(initial=-1))) + 1
        became = np.arange(top, dtype=np.int32)
        became[old] = np.where(new < 0, _UNDECIDED, new)
        at = np.flatnonzero(self.series >= 0)
        self.series[at] = became[self.series[at]]

    def _ask_again(self) -> None:
        """After a while, forget whom a quota has kept out: others may have gone."""
        now = self._stats.clock()
        if self._reasons and now - self._asked >= ASK_AGAIN_S:
            self.series[self.series <= _NO_ROOM] = _UNDECIDED
            self._reasons.clear()
            self._asked = now

    def _decide(self, ids: Ids) -> None:
        offsets = self.interned.offsets
        first, last = int(offsets[ids[0]]), int(offsets[ids[-1] + 1])
        text = self.interned.blob[first:last]
        starts, stops = offsets[ids] - first, offsets[ids + 1] - first
        if (text == ord(";")).any():
            ids, text, starts, stops = self._canonical(ids, text.tobytes(), starts, stops)
        series = self._store.series_of(text, starts, stops)
        self._stats.creates += int(np.count_nonzero(series >= 0))
        for i in np.flatnonzero(series < 0).tolist():
            series[i] = self._keep_out(text[starts[i] : stops[i]].tobytes().decode())
        self.series[ids] = series

    def _keep_out(self, name: str) -> int:
        """What stands for the series of a name that the store has no room for."""
        reason = self._store.why_refused(name) or "no room for new names"
        if reason not in self._reasons:
            if not self._reasons:
                self._asked = self._stats.clock()
            self._reasons.append(reason)
        return _NO_ROOM - self._reasons.index(reason)

    def _canonical(
        self, ids: Ids, text: bytes, starts: Integers, stops: Integers
    ) -> tuple[Ids, Bytes, Integers, Integers]:
        """Names with tags brought to their canonical form; those that have none are refused for good."""
        names, kept = [], []
        for at, start, stop in zip(ids.tolist(), starts.tolist(), stops.tolist(), strict=True):
            name = text[start:stop]
            try:
                names.append(naming.canonical(name.decode()).encode() if b";" in name else name)
                kept.append(at)
            except InvalidName:
                self.series[at] = REFUSED
        return np.array(kept, np.int32), *lay(names)
