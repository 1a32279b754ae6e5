"""The name table: a name's bytes → a dense id, and under the id all that was decided when the name was first seen.

Names come in many spellings (tags in any order), so a name's id is not its series: `series[id]` is. It is decided
once, for all new names of a buffer together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from carbon.stats import Stats
from storage import naming
from storage.errors import InvalidName
from storage.intern import Interned

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NAMES_MAX = 20_000_000  # some 150 bytes each; what comes after is counted and refused
REFUSED = -1


class SeriesMaker(Protocol):
    """What the table needs of the store."""

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids: ...


class NameTable:
    def __init__(self, store: SeriesMaker, stats: Stats, *, names_max: int = NAMES_MAX) -> None:
        self._store, self._stats = store, stats
        self.names_max = names_max
        self.interned = Interned()
        self.successor = np.empty(0, np.int32)  # of each id: which name came after it last time
        self.series = np.empty(0, np.int32)  # of each id; REFUSED where the name cannot be stored
        self._decided = 0

    def reserve(self, names: int, size: int) -> None:
        """Make room for so many new names of so many bytes together."""
        self.interned.reserve(names, size)
        wanted = len(self.interned) + names
        if wanted > len(self.successor):
            more = wanted * 3 // 2 + 1024
            self.successor = np.concatenate((self.successor, np.full(more - len(self.successor), -1, np.int32)))
            self.series = np.concatenate((self.series, np.full(more - len(self.series), REFUSED, np.int32)))

    def ids_of(self, names: Sequence[bytes]) -> Ids:
        """The ids of names that came as Python objects; -1 for one with a fault, which is counted."""
        faults = [naming.fault(name) for name in names]
        for name, fault in zip(names, faults, strict=True):
            if fault:
                self._stats.reject(fault.words, sample=name)
        good = [name for name, fault in zip(names, faults, strict=True) if not fault]
        sizes = [len(name) for name in good]
        self.reserve(len(good), sum(sizes))
        stops = np.cumsum(sizes, dtype=np.int64)
        text = np.frombuffer(b"".join(good), np.uint8)
        ids = np.full(len(names), -1, np.int32)
        ids[[not fault for fault in faults]] = self.interned.add_all(text, stops - np.array(sizes, np.int64), stops)
        self.decide()
        return ids

    def decide(self) -> int:
        """Decide about all names that are new since the last call; gives how many there were."""
        first, count = self._decided, len(self.interned)
        if first == count:
            return 0
        offsets = self.interned.offsets[first : count + 1]
        text = self.interned.blob[offsets[0] : offsets[-1]]
        starts, stops = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
        if not (text == ord(";")).any():
            self.series[first:count] = self._store.series_of(text, starts, stops)
        else:
            self._decide_tagged(first, text.tobytes(), starts, stops)
        self._decided = count
        return count - first

    def _decide_tagged(self, first: int, text: bytes, starts: Integers, stops: Integers) -> None:
        """Bring names with tags to their canonical form before asking for their series."""
        canonical, at = [], []
        for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            name = text[start:stop]
            try:
                canonical.append(naming.canonical(name.decode()).encode() if b";" in name else name)
            except InvalidName:
                self._stats.reject(naming.Fault.BAD_TAG.words, sample=name)
                continue
            at.append(first + i)
        ends = np.cumsum([len(name) for name in canonical], dtype=np.int64)
        begins = ends - np.array([len(name) for name in canonical], np.int64)
        joined = np.frombuffer(b"".join(canonical), np.uint8)
        self.series[at] = self._store.series_of(joined, begins, ends)
