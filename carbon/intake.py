"""Where every listener's datapoints meet: ids → series → the store; what is refused is counted by reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from carbon.names import NameTable
from carbon.protocols.line import Batch
from carbon.stats import Stats
from storage.naming import Fault
from storage.store import Store

_DROPPED = {
    "too_old": "timestamp older than the longest archive",
    "too_far_ahead": "timestamp too far in the future",
    "not_a_number": "value is NaN",
}


class Intake:
    """The pipeline's end. `now` gives epoch seconds."""

    def __init__(
        self,
        store: Store,
        names: NameTable,
        stats: Stats,
        now: Callable[[], float] = time.time,
        *,
        sync_each: bool = False,
    ) -> None:
        """`sync_each`: wait for the disk after every batch."""
        self._store, self._names, self._stats, self.now = store, names, stats, now
        self._sync_each = sync_each

    def accept(self, batch: Batch | None, listener: str) -> None:
        """Store a batch's datapoints."""
        if batch is None:
            return
        stats, started = self._stats, time.perf_counter()
        stats.received[listener] += len(batch.ids)
        series = self._names.series_of(batch.ids)
        refused = series < 0
        if refused.any():
            sample = self._names.interned.name(int(batch.ids[refused.argmax()]))
            stats.reject(Fault.BAD_TAG.words, int(refused.sum()), sample=sample, source=listener)
            kept = ~refused
            series, batch = series[kept], Batch(batch.ids[kept], batch.timestamps[kept], batch.values[kept])
        dropped = self._store.append(series, batch.timestamps, batch.values, int(self.now()))
        for reason, count in dropped._asdict().items():
            stats.reject(_DROPPED[reason], count, source=listener)
        stats.committed += len(series) - dropped.total
        if self._sync_each:
            self._store.sync()
        stats.updates += 1
        stats.update_s += time.perf_counter() - started

    def accept_columns(
        self, names: Sequence[bytes], timestamps: Sequence[float], values: Sequence[float], listener: str
    ) -> None:
        """Store datapoints whose names came as Python objects; a timestamp of -1 is now."""
        if not names:
            return
        ids = self._names.ids_of(names)
        when = np.array(timestamps, np.float64)
        when[when == -1] = self.now()
        good = ids >= 0
        floor = np.floor(when).astype(np.int64)
        self.accept(Batch(ids[good], floor[good], np.array(values, np.float64)[good]), listener)

    def accept_values(self, values: Mapping[str, float], listener: str) -> None:
        """Store values of now: our own measurements."""
        names = [name.encode() for name in values]
        self.accept_columns(names, [self.now()] * len(names), list(values.values()), listener)
