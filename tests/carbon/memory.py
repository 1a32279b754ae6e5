"""A store of names in memory: what the name table needs of the real one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage.register import Moved


class MemorySeries:
    """Gives each canonical name the next series."""

    moves = 0

    def __init__(self) -> None:
        self.names: list[bytes] = []

    def series_of(
        self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int32]:
        series = []
        for start, stop in zip(starts, stops, strict=True):
            name = text[start:stop].tobytes()
            if name not in self.names:
                self.names.append(name)
            series.append(self.names.index(name))
        return np.array(series, np.int32)

    def moved(self, since: int) -> Moved:
        nothing = np.empty(0, np.int32)
        return Moved(nothing, nothing, 0)

    def why_refused(self, name: str) -> str:
        return ""
