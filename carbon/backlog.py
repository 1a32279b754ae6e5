"""What waits while the store takes nothing: batches in their order, bounded, and the streams that are held back.

When it is full the streams are paused, so that TCP makes the senders wait. A stream's datapoints are kept even then:
what came before the pause took effect is one read a connection at most. What cannot be held back is dropped, counted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from carbon.gates import Gates
from carbon.protocols.reader import Batch
from carbon.stats import Stats

_log = logging.getLogger(__name__)

BUFFER_BYTES = 64 << 20  # five minutes of 10,000 datapoints a second
_BATCH_BYTES = 512  # what a batch costs beside its values
DROPPED = "no room on the disk"
FULL = "the buffer is full"  # why streams are held back


class Waiting(NamedTuple):
    batch: Batch
    listener: str
    source: str


class Backlog:
    """`bytes_max` bounds what waits, as the arrays count."""

    def __init__(self, bytes_max: int, stats: Stats, gates: Gates) -> None:
        self.bytes_max, self._stats, self._gates = bytes_max, stats, gates
        self._batches: deque[Waiting] = deque()
        self.size = 0  # bytes
        self.not_held_back = {"udp", "self", "aggregator"}  # listeners whose datapoints cannot wait elsewhere

    def __len__(self) -> int:
        """How many batches wait."""
        return len(self._batches)

    def add(self, batch: Batch, listener: str, source: str) -> None:
        size = _size(batch)
        if self.size + size > self.bytes_max and listener in self.not_held_back:
            self._stats.reject(DROPPED, len(batch.ids), source=listener)
            return
        # copies: a view of some rows would keep all the rows that its reader had
        kept = Batch(batch.ids.copy(), batch.timestamps.copy(), batch.values.copy())
        self._batches.append(Waiting(kept, listener, source))
        self.size += size
        self._stats.waiting += len(batch.ids)
        if self.size >= self.bytes_max and FULL not in self._gates.held:
            _log.warning("%d datapoints wait: the buffer is full, senders are held back", self._stats.waiting)
            self._gates.hold(FULL)

    def take_first(self, take: Callable[[Batch, str, str], None]) -> None:
        """Give the batch that came first to `take`; it waits on if that raises."""
        batch, listener, source = self._batches[0]
        take(batch, listener, source)
        self._batches.popleft()
        self.size -= _size(batch)
        self._stats.waiting -= len(batch.ids)

    def drop(self) -> int:
        """Drop and count all that waits; gives how many datapoints."""
        dropped = sum(len(batch.ids) for batch, _, _ in self._batches)
        self._stats.rejected[DROPPED] += dropped
        self._stats.waiting -= dropped
        self._batches.clear()
        self.size = 0
        return dropped


def _size(batch: Batch) -> int:
    return sum(column.nbytes for column in batch) + _BATCH_BYTES
