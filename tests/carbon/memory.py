"""A store of names in memory: what the name table needs of the real one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage.register import Moved

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]


class MemorySeries:
    """Gives each canonical name the next series."""

    moves = 0

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self._series: dict[bytes, int] = {}

    def known(self, text: Bytes, starts: Integers, stops: Integers) -> Ids:
        return np.array([self._series.get(name, -1) for name in names_in(text, starts, stops)], np.int32)

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids:
        return np.array([self.make(name) for name in names_in(text, starts, stops)], np.int32)

    def make(self, name: bytes) -> int:
        if name not in self._series:
            self._series[name] = len(self.names)
            self.names.append(name)
        return self._series[name]

    def moved(self, since: int) -> Moved:
        nothing = np.empty(0, np.int32)
        return Moved(nothing, nothing, 0)

    def why_refused(self, name: str) -> str:
        return ""


def names_in(text: Bytes, starts: Integers, stops: Integers) -> list[bytes]:
    return [text[start:stop].tobytes() for start, stop in zip(starts, stops, strict=True)]
