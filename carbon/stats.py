"""Our own counters: counted by everyone, reported as carbon.agents.<host>.* like any metric.

Names are carbon-cache's where it has them (features of dashboards depend on them), ours beside.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

_log = logging.getLogger(__name__)
_QUIET_S = 60.0  # of one kind of bad input, one line is logged in so many seconds
_SHOWN_MAX = 200  # characters of untrusted text in a log line


@dataclass
class Stats:
    """Counters since the start; `since` gives the differences for a report."""

    received: Counter[str] = field(default_factory=Counter)  # datapoints by listener
    rejected: Counter[str] = field(default_factory=Counter)  # datapoints (or lines, frames) by reason
    committed: int = 0  # datapoints stored
    updates: int = 0  # columns appended
    update_s: float = 0.0  # seconds spent in appending them
    creates: int = 0  # series made
    errors: int = 0
    connections: int = 0  # open now
    paused: int = 0  # of them, held back now
    waiting: int = 0  # datapoints that wait for room on the disk
    stalled_s: float = 0.0  # seconds in which nothing was stored
    read_only: bool = False  # the disk fails: nothing is stored until the next start
    clock: Callable[[], float] = time.monotonic
    _last_logged: dict[str, tuple[float, int]] = field(default_factory=dict)

    def reject(self, reason: str, count: int = 1, *, sample: bytes | str = b"", source: str = "") -> None:
        """Count refused input under its reason, and log one sample of the reason a minute."""
        if count <= 0:
            return
        self.rejected[reason] += count
        last, suppressed = self._last_logged.get(reason, (-_QUIET_S, 0))
        if self.clock() - last < _QUIET_S:
            self._last_logged[reason] = (last, suppressed + count)
            return
        self._last_logged[reason] = (self.clock(), 0)
        shown = repr(sample[:_SHOWN_MAX])
        more = f" ({suppressed} more since the last of these lines)" if suppressed else ""
        _log.warning("rejected: %s from %s: %s%s", reason, source or "a client", shown, more)


class Report:
    """What happened since the last report, as (name below carbon.agents.<host>, value)."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._before = self._totals()

    def _totals(self) -> dict[str, float]:
        stats = self._stats
        received = {f"listeners.{name}.metricsReceived": float(n) for name, n in stats.received.items()}
        rejected = {f"rejected.{node(reason)}": float(n) for reason, n in stats.rejected.items()}
        return {
            "metricsReceived": float(stats.received.total()),
            "committedPoints": float(stats.committed),
            "updateOperations": float(stats.updates),
            "creates": float(stats.creates),
            "errors": float(stats.errors),
            "rejectedPoints": float(stats.rejected.total()),
            "updateSeconds": stats.update_s,
            "stalledSeconds": stats.stalled_s,
            **received,
            **rejected,
        }

    def take(self) -> dict[str, float]:
        totals = self._totals()
        since = {name: value - self._before.get(name, 0.0) for name, value in totals.items()}
        self._before = totals
        spent = since.pop("updateSeconds")
        if since["updateOperations"]:
            since["pointsPerUpdate"] = since["committedPoints"] / since["updateOperations"]
            since["avgUpdateTime"] = spent / since["updateOperations"]
        return {
            **since,
            "cpuUsage": self._process.cpu_percent(),
            "memUsage": float(self._process.memory_info().rss),
            "activeConnections": float(self._stats.connections),
            "pausedConnections": float(self._stats.paused),
            "waitingDatapoints": float(self._stats.waiting),
            "readOnly": float(self._stats.read_only),
        }


def node(text: str) -> str:
    """A host's or device's name as one node of a path: dots and spaces would split it."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text) or "unnamed"
