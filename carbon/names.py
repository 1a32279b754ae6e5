"""The name table: a name's bytes → a dense id, and under the id all that was decided when the name was first seen.

Names come in many spellings (tags in any order), so a name's id is not its series: `series[id]` is. It is decided
once, for all new names of a batch together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from carbon.stats import Stats
from storage import naming
from storage.errors import InvalidName
from storage.intern import Interned, lay

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NAMES_MAX = 20_000_000  # some 150 bytes each; what comes after is counted and refused
REFUSED, _UNDECIDED = -1, -2


class SeriesMaker(Protocol):
    """What the table needs of the store."""

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids: ...


class NameTable:
    def __init__(self, store: SeriesMaker, stats: Stats, *, names_max: int = NAMES_MAX) -> None:
        self._store, self._stats = store, stats
        self.names_max = names_max
        self.interned = Interned()
        self.successor = np.empty(0, np.int32)  # of each id: which name came after it last time
        self.series = np.empty(0, np.int32)  # of each id, as far as decided

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
        """The series of each id, REFUSED where there can be none; decides about those that are seen first.

        A name whose datapoints were all bad is never asked for, and no series is made for it.
        """
        series = self.series[ids]
        new = series == _UNDECIDED
        if new.any():
            self._decide(np.unique(ids[new]))
            series = self.series[ids]
        return series

    def _decide(self, ids: Ids) -> None:
        offsets = self.interned.offsets
        first, last = int(offsets[ids[0]]), int(offsets[ids[-1] + 1])
        text = self.interned.blob[first:last]
        starts, stops = offsets[ids] - first, offsets[ids + 1] - first
        if (text == ord(";")).any():
            ids, text, starts, stops = self._canonical(ids, text.tobytes(), starts, stops)
        self.series[ids] = self._store.series_of(text, starts, stops)
        self._stats.creates += len(ids)

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
