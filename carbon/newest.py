"""What CarbonLink is answered with: the newest hour of each metric, from the store's own files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from carbon.carbonlink import Points
from carbon.names import Ids
from storage import naming
from storage.store import Store

WINDOW_S = 3600  # carbon's cache holds what is not written yet: seconds to minutes

_NONE: Points = (np.empty(0, np.int64), np.empty(0))


class Newest:
    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store, self._now = store, now

    def newest(self, names: Sequence[str]) -> list[Points]:
        """The newest datapoints of each name; none for one that is unknown."""
        now = int(self._now())
        series = self._series(names)
        known = np.flatnonzero(series >= 0)
        found = [_NONE] * len(names)
        for part in self._store.fetch(series[known], now - WINDOW_S, now, now):
            timestamps = part.start + part.step * np.arange(part.values.shape[1])
            for row, values in zip(part.positions.tolist(), part.values, strict=True):
                there = ~np.isnan(values)
                found[int(known[row])] = (timestamps[there], values[there])
        return found

    def aggregation(self, name: str) -> str | None:
        """The series' own aggregation; None if there is no such series."""
        (series,) = self._series([name]).tolist()
        return self._store.schema_of(series).method if series >= 0 else None

    def _series(self, names: Sequence[str]) -> Ids:
        """-1 for what no series can be called, too: clients ask for what they like."""
        series = np.full(len(names), -1, np.int32)
        good = [at for at, name in enumerate(names) if not naming.fault(name.encode())]
        series[good] = self._store.lookup([names[at] for at in good])
        return series


class Nowhere:
    """Without a store there is nothing to ask for."""

    def newest(self, names: Sequence[str]) -> list[Points]:
        return [_NONE] * len(names)

    def aggregation(self, name: str) -> str | None:
        return None
