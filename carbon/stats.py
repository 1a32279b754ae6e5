"""Our own counters: counted by everyone, reported as carbon.agents.<host>.*, on /metrics and in `plumbago top`.

Names are carbon-cache's where it has them (features of dashboards depend on them), ours beside.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil

_log = logging.getLogger(__name__)
_QUIET_S = 60.0  # of one kind of bad input, one line is logged in so many seconds
_SHOWN_MAX = 200  # characters of untrusted text in a log line
_NEWEST = 20
SOURCES_MAX = 1_000  # addresses that are counted by themselves; 100 bytes each
TICK_S = 0.25  # between two looks at the reactor
_OVERFLOW = "no room on the disk"  # backlog.DROPPED, which imports this module
_BLACKLISTED, _NOT_WHITELISTED = "blacklisted", "not whitelisted"  # rules/filter.py


class Reject(NamedTuple):
    """Input that was refused: a sample of it as repr shows it, without control characters."""

    reason: str
    sample: str
    source: str


@dataclass
class Stats:
    """Counters since the start; `Report` gives the differences."""

    received: Counter[str] = field(default_factory=Counter)  # datapoints by listener
    rejected: Counter[str] = field(default_factory=Counter)  # datapoints (or lines, frames) by reason
    rejected_by: Counter[tuple[str, str]] = field(default_factory=Counter)  # (listener, reason), where known
    committed: int = 0  # datapoints stored
    only_aggregated: int = 0  # datapoints that only feed aggregates, by the rules
    only_relayed: int = 0  # datapoints that have no series as there is no store
    updates: int = 0  # columns appended
    update_s: float = 0.0  # seconds spent in appending them
    creates: int = 0  # series made
    dropped_creates: int = 0  # names that got no series, as there were too many or too many a second
    errors: int = 0
    connections: int = 0  # open now
    paused: int = 0  # of them, held back now
    waiting: int = 0  # datapoints that wait for room on the disk
    stalled_s: float = 0.0  # seconds in which nothing was stored
    read_only: bool = False  # the disk fails: nothing is stored until the next start
    queries: int = 0  # CarbonLink's, of one metric
    bulk_queries: int = 0
    bulk_query_names: int = 0  # metrics that these asked for
    stage_s: defaultdict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # spent reading, deciding, storing, relaying
    sources: Sources = field(default_factory=lambda: Sources())
    newest_names: deque[str] = field(default_factory=lambda: deque(maxlen=_NEWEST))  # that got a series
    newest_rejects: deque[Reject] = field(default_factory=lambda: deque(maxlen=_NEWEST))
    udp_drops: int = 0  # datagrams that the kernel dropped, as our sockets were full: see kernel_drops
    max_stall_s: float = 0.0  # the longest that the reactor did nothing else, since the last report
    lag_s: float = 0.0  # how far the newest timestamp of the last batch was behind its arrival
    clock: Callable[[], float] = time.monotonic
    _last_logged: dict[str, tuple[float, int]] = field(default_factory=dict)

    def reject(
        self, reason: str, count: int = 1, *, sample: bytes | str = b"", source: str = "", listener: str = ""
    ) -> None:
        """Count refused input under its reason, and log one sample of the reason a minute.

        `source` is an address or, for who knows no more, a listener's name.
        """
        if count <= 0:
            return
        self.rejected[reason] += count
        if source and is_address(source):
            self.sources.add(source, rejects=count)
        else:
            listener = listener or source
        if listener:
            self.rejected_by[listener, reason] += count
        shown = repr(sample[:_SHOWN_MAX])[: 2 * _SHOWN_MAX]
        self.newest_rejects.append(Reject(reason, shown, source or listener))
        self._log(reason, count, shown, source or listener)

    def _log(self, reason: str, count: int, shown: str, source: str) -> None:
        last, suppressed = self._last_logged.get(reason, (-_QUIET_S, 0))
        if self.clock() - last < _QUIET_S:
            self._last_logged[reason] = (last, suppressed + count)
            return
        self._last_logged[reason] = (self.clock(), 0)
        more = f" ({suppressed} more since the last of these lines)" if suppressed else ""
        _log.warning("rejected: %s from %s: %s%s", reason, source or "a client", shown, more)


def is_address(source: str) -> bool:
    """Whether this is an address (`local` = of a Unix socket), not a listener's name."""
    return source == "local" or any(c in ".:(/" for c in source)


# --- who sends ---


@dataclass(slots=True)
class Source:
    """What came from an address since it is watched. `weight` ranks it; it may have what others left behind."""

    weight: int
    datapoints: int = 0
    series: int = 0  # made
    rejects: int = 0


class Sources:
    """Counters of the addresses that send most, for a bounded number of them (the space-saving algorithm).

    A new address takes the place and the weight of the one with the least: whoever sends more than
    1/size of everything is in the table, however many others come and go.
    """

    def __init__(self, size: int = SOURCES_MAX) -> None:
        self.size = size
        self._of: dict[str, Source] = {}
        self._heap: list[tuple[int, str]] = []  # each address once, with a weight that it had or has

    def __len__(self) -> int:
        return len(self._of)

    def add(self, address: str, *, datapoints: int = 0, series: int = 0, rejects: int = 0) -> None:
        if not address:
            return
        found = self._of.get(address) or self._enter(address)
        found.datapoints += datapoints
        found.series += series
        found.rejects += rejects
        found.weight += datapoints + rejects

    def _enter(self, address: str) -> Source:
        if len(self._of) < self.size:
            made = self._of[address] = Source(0)
            heappush(self._heap, (0, address))
            return made
        while True:  # weights only grow, so the least of the true ones comes to the top
            weight, least = self._heap[0]
            true = self._of[least].weight
            if weight == true:
                break
            heapreplace(self._heap, (true, least))
        del self._of[least]
        made = self._of[address] = Source(weight)
        heapreplace(self._heap, (weight, address))
        return made

    def rows(self) -> list[tuple[str, Source]]:
        """All that are watched, by weight."""
        return sorted(self._of.items(), key=lambda item: -item[1].weight)


# --- reports ---


class Measures(Protocol):
    """What another part has to tell: relay.Report is one."""

    @property
    def totals(self) -> Mapping[str, float]:
        """Since the start: what is reported is what came since the last report."""
        ...

    @property
    def gauges(self) -> Mapping[str, float]: ...


Extra = Sequence[Callable[[], Measures]]


class Report:
    """What happened since the last report, as (name below <prefix>.agents.<host>, value)."""

    def __init__(self, stats: Stats, extra: Extra = ()) -> None:
        self._stats, self._extra = stats, extra
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._before = totals_of(stats)
        for measures in extra:
            self._before |= measures().totals

    def take(self) -> dict[str, float]:
        told = [measures() for measures in self._extra]
        totals = totals_of(self._stats)
        for measures in told:
            totals |= measures.totals
        since = {name: value - self._before.get(name, 0.0) for name, value in totals.items()}
        self._before = totals
        values = {**_with_means(since), **self._gauges()}
        for measures in told:
            values |= measures.gauges
        self._stats.max_stall_s = 0.0
        return values

    def _gauges(self) -> dict[str, float]:
        stats = self._stats
        return {
            "cpuUsage": self._process.cpu_percent(),
            "memUsage": float(self._process.memory_info().rss),
            "activeConnections": float(stats.connections),
            "pausedConnections": float(stats.paused),
            "cache.size": float(stats.waiting),
            "waitingDatapoints": float(stats.waiting),
            "readOnly": float(stats.read_only),
            "reactor.maxStall": stats.max_stall_s,
            "lagSeconds": stats.lag_s,
        }


def totals_of(stats: Stats) -> dict[str, float]:
    """What only grows, by the name under which it is reported."""
    own: dict[str, float] = {
        "metricsReceived": stats.received.total(),
        "committedPoints": stats.committed,
        "onlyAggregatedPoints": stats.only_aggregated,
        "onlyRelayedPoints": stats.only_relayed,
        "updateOperations": stats.updates,
        "creates": stats.creates,
        "droppedCreates": stats.dropped_creates,
        "errors": stats.errors,
        "blacklistMatches": stats.rejected[_BLACKLISTED],
        "whitelistRejects": stats.rejected[_NOT_WHITELISTED],
        "cache.overflow": stats.rejected[_OVERFLOW],
        "cache.queries": stats.queries,
        "cache.bulk_queries": stats.bulk_queries,
        "bulkQueryNames": stats.bulk_query_names,
        "rejectedPoints": stats.rejected.total(),
        "updateSeconds": stats.update_s,
        "stalledSeconds": stats.stalled_s,
        "udp.kernelDrops": stats.udp_drops,
    }
    own |= {f"listeners.{node(name)}.metricsReceived": n for name, n in stats.received.items()}
    own |= {f"listeners.{node(name)}.rejected.{node(why)}": n for (name, why), n in stats.rejected_by.items()}
    own |= {f"rejected.{node(reason)}": n for reason, n in stats.rejected.items()}
    own |= {f"stages.{node(name)}.seconds": seconds for name, seconds in stats.stage_s.items()}
    return {name: float(value) for name, value in own.items()}


def _with_means(since: Mapping[str, float]) -> dict[str, float]:
    """The differences, with carbon's means of those that are only told as a mean."""
    values = dict(since)
    spent, names = values.pop("updateSeconds"), values.pop("bulkQueryNames")
    if updates := values["updateOperations"]:
        values["pointsPerUpdate"] = values["committedPoints"] / updates
        values["avgUpdateTime"] = spent / updates
    if queries := values["cache.bulk_queries"]:
        values["cache.bulk_queries_average_size"] = names / queries
    return values


def node(text: str) -> str:
    """A host's or device's name as one node of a path: dots and spaces would split it."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text) or "unnamed"


def snapshot(stats: Stats) -> dict[str, Any]:
    """All of it as JSON has it, for `plumbago top`; `at` is seconds of a clock that never goes back."""
    process = psutil.Process()
    cpu = process.cpu_times()
    return {
        "pid": process.pid,
        "at": time.monotonic(),
        "cpu_s": cpu.user + cpu.system,
        "memory_bytes": process.memory_info().rss,
        "received": dict(stats.received),
        "rejected": dict(stats.rejected),
        "rejected_by": [[listener, reason, n] for (listener, reason), n in stats.rejected_by.items()],
        "stage_s": dict(stats.stage_s),
        "sources": [[at, one.datapoints, one.series, one.rejects] for at, one in stats.sources.rows()],
        "newest_names": [name[:_SHOWN_MAX] for name in stats.newest_names],
        "newest_rejects": [list(one) for one in stats.newest_rejects],
        **{name: getattr(stats, name) for name in _SCALARS},
    }


_SCALARS = (
    "committed", "only_aggregated", "only_relayed", "updates", "update_s", "creates", "dropped_creates", "errors",
    "connections", "paused", "waiting", "stalled_s", "read_only", "queries", "bulk_queries", "bulk_query_names",
    "udp_drops", "max_stall_s", "lag_s",
)  # fmt: skip


# --- what only a look from outside can tell ---


class Watchdog:
    """Sees how long the reactor was busy: `tick` is called every TICK_S, or as soon after that as it can."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._last = stats.clock()

    def tick(self) -> None:
        now = self._stats.clock()
        self._stats.max_stall_s = max(self._stats.max_stall_s, now - self._last - TICK_S)
        self._last = now


def kernel_drops(bound: socket.socket, proc: Path = Path("/proc/net")) -> int | None:
    """Datagrams that the kernel dropped since the socket was made, as its buffer was full; None = not known."""
    name = "udp6" if bound.family == socket.AF_INET6 else "udp"
    inode = str(os.fstat(bound.fileno()).st_ino)
    try:
        lines = (proc / name).read_text().splitlines()
    except OSError:
        return None
    for line in lines[1:]:
        columns = line.split()
        if len(columns) > 12 and columns[9] == inode and columns[-1].isdigit():
            return int(columns[-1])
    return None
