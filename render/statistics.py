"""What the renderer counts: as Prometheus' text for GET /metrics, and as values for carbon.agents.<host>.render.*.

Counted in the reactor's thread when a request has ended, so that no lock is needed. Labels are bounded: routes by the
names that the API has for them, never by the path that was asked for.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psutil
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from render.api import NOWHERE
from render.api.cache import CacheStatistics

# statuses of what is not done, but might be another time, or for another
REFUSALS = (401, 403, 411, 413, 421, 429, 503)
GONE = 499  # nginx' word for a client that has not waited
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_NEWEST_MAX = 10_000  # requests whose milliseconds the next report's p99 is made of


@dataclass(slots=True)
class Note:
    """What is known of a request, filled in while it is answered. Never what stands in its headers."""

    number: str  # its id
    client: str  # the address of the connection
    method: str
    uri: bytes
    route: str = NOWHERE  # the name of what answers, which is not looked for where nobody is let in
    name: str = ""  # of the token or the user
    began: float = field(default_factory=time.perf_counter)
    waited_s: float = 0.0  # for a thread
    made_s: float = 0.0  # until the answer was there
    worker: bool = False
    account: Mapping[str, Any] = field(default_factory=dict)  # what the view says that it has cost
    status: int = 0
    sent: int = 0  # bytes of the body, as they went over
    seconds: float = 0.0  # until all of it was written

    def made(self, account: Mapping[str, Any] | None) -> None:
        """The answer is there."""
        self.made_s = time.perf_counter() - self.began
        self.account = account or {}
        self.worker = self.worker and self.account.get("cache") != "hit"

    def end(self, status: int, sent: int) -> None:
        self.status, self.sent, self.seconds = status, sent, time.perf_counter() - self.began
        if status == GONE:
            self.made_s = self.made_s or self.seconds


class Live(NamedTuple):
    """What is told as it is at the moment, by those who know it; totals are since the start."""

    connections: int = 0
    in_work: int = 0
    waiting: int = 0
    heavy: int = 0  # of both: those that are a worker's
    series: int = 0
    refreshes: int = 0  # of the catalogue that brought something
    workers_started: int = 0
    workers_lost: int = 0
    assistants_started: int = 0
    assistants_lost: int = 0
    cache: CacheStatistics | None = None
    dropped_lines: int = 0


@dataclass
class Spent:
    """The seconds of a route's requests."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))  # the last: above all bounds
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total += seconds


@dataclass
class Statistics:
    """Totals since the start."""

    requests: Counter[tuple[str, int]] = field(
        default_factory=Counter
    )  # by route and the status' first digit
    refused: Counter[int] = field(default_factory=Counter)  # by status
    spent: dict[str, Spent] = field(default_factory=dict)  # by route
    bytes_sent: int = 0
    waited_s: float = 0.0
    series: int = 0  # read
    points: int = 0
    slow: int = 0
    newest_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_NEWEST_MAX))

    def count(self, note: Note) -> None:
        """A request has ended."""
        self.requests[note.route, note.status // 100] += 1
        if note.status in REFUSALS:
            self.refused[note.status] += 1
        self.spent.setdefault(note.route, Spent()).add(note.seconds)
        self.newest_ms.append(note.seconds * 1e3)
        self.bytes_sent += note.sent
        self.waited_s += note.waited_s
        self.series += note.account.get("series", 0)
        self.points += note.account.get("points", 0)


# --- Prometheus ---


class Exposition:
    """The counters as Prometheus' text format 0.0.4."""

    def __init__(self, statistics: Statistics, live: Callable[[], Live]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_Families(statistics, live))

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Families(Collector):
    def __init__(self, statistics: Statistics, live: Callable[[], Live]) -> None:
        self._statistics, self._live = statistics, live

    def describe(self) -> Iterable[Metric]:
        """Nothing, or the registry would collect while we are not whole."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _of_requests(self._statistics)
        yield from _of_now(self._live())


def _of_requests(statistics: Statistics) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "plumbago_http_requests", "Requests that have ended.", labels=["route", "status"]
    )
    for (route, digit), count in statistics.requests.items():
        requests.add_metric([route, f"{digit}xx"], count)
    yield requests
    refused = CounterMetricFamily(
        "plumbago_http_refused", "Requests that were refused: who asks may not, or it is too much.",
        labels=["status"],
    )  # fmt: skip
    for status, count in statistics.refused.items():
        refused.add_metric([str(status)], count)
    yield refused
    spent = HistogramMetricFamily(
        "plumbago_http_request_seconds", "Seconds until all was written.", labels=["route"]
    )
    for route, of_route in statistics.spent.items():
        spent.add_metric([route], _cumulative(of_route.counts), of_route.total)
    yield spent
    for name, words, value in (
        ("http_sent_bytes", "Bytes of bodies, as they went over.", statistics.bytes_sent),
        ("http_waited_seconds", "Seconds that requests have waited for a thread.", statistics.waited_s),
        ("http_slow", "Requests that took longer than [http] slow-s.", statistics.slow),
        ("render_series_read", "Series that were read.", statistics.series),
        ("render_points_read", "Datapoints that were read.", statistics.points),
    ):
        yield CounterMetricFamily(f"plumbago_{name}", words, value)


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _of_now(live: Live) -> Iterator[Metric]:
    for name, words, value in (
        ("http_connections", "Connections that are open.", live.connections),
        ("http_requests_in_work", "Requests that are worked on.", live.in_work),
        ("http_requests_waiting", "Requests that wait for a thread or a worker.", live.waiting),
        ("http_requests_heavy", "Of both: those that are for workers.", live.heavy),
        ("render_series", "Series that there are.", live.series),
        *_cache(live, ("entries", "bytes"), "Of the cache."),
    ):
        yield GaugeMetricFamily(f"plumbago_{name}", words, value)
    for name, words, value in (
        ("render_catalogue_refreshes", "Times that the catalogue had changed.", live.refreshes),
        ("render_workers_started", "Worker processes that were started.", live.workers_started),
        ("render_workers_lost", "Worker processes that ended, or had to be.", live.workers_lost),
        ("render_assistants_started", "Assistants that were started.", live.assistants_started),
        ("render_assistants_lost", "Assistants that ended, or had to be.", live.assistants_lost),
        ("http_dropped_log_lines", "Lines that the disk was too slow for.", live.dropped_lines),
        *_cache(live, ("hits", "misses"), "Answers that were, or were not, in the cache."),
    ):
        yield CounterMetricFamily(f"plumbago_{name}", words, value)


def _cache(live: Live, fields: Sequence[str], words: str) -> Iterator[tuple[str, str, int]]:
    if live.cache is not None:
        yield from ((f"render_cache_{name}", words, getattr(live.cache, name)) for name in fields)


# --- stored series ---


class Report:
    """What happened since the last report, by the names below carbon.agents.<host>."""

    def __init__(self, statistics: Statistics, live: Callable[[], Live]) -> None:
        self._statistics, self._live = statistics, live
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._before: Mapping[str, float] = {}
        self._shown: Mapping[str, float] = {}
        self.begin()

    def begin(self) -> None:
        """Report from here on."""
        self._before = self._shown = _totals(self._statistics, self._live())
        self._statistics.newest_ms.clear()

    def take(self) -> dict[str, float]:
        """Told once more, and more of it, unless `taken` is called."""
        live = self._live()
        self._shown = _totals(self._statistics, live)
        since = {name: total - self._before[name] for name, total in self._shown.items()}
        values = {**_with_means(since), **_gauges(live), **_milliseconds(sorted(self._statistics.newest_ms))}
        values["cpuUsage"] = self._process.cpu_percent()
        values["memUsage"] = float(self._process.memory_info().rss)
        return {f"render.{name}": value for name, value in values.items()}

    def taken(self) -> None:
        """Somebody has what was last taken."""
        self._before = self._shown
        self._statistics.newest_ms.clear()


def _totals(statistics: Statistics, live: Live) -> dict[str, float]:
    by_class = Counter[int]()
    for (_, digit), count in statistics.requests.items():
        by_class[digit] += count
    cache = live.cache
    totals = {
        "requests": by_class.total(),
        "errors": by_class[5],
        "refused": statistics.refused.total(),
        "waitedSeconds": statistics.waited_s,
        "bytesSent": statistics.bytes_sent,
        "seriesRead": statistics.series,
        "pointsRead": statistics.points,
        "slowQueries": statistics.slow,
        "workersStarted": live.workers_started,
        "workersLost": live.workers_lost,
        "assistantsStarted": live.assistants_started,
        "assistantsLost": live.assistants_lost,
        "cacheHits": cache.hits if cache is not None else 0,
        "cacheMisses": cache.misses if cache is not None else 0,
        "droppedLogLines": live.dropped_lines,
    }
    return {name: float(total) for name, total in totals.items()}


def _with_means(since: Mapping[str, float]) -> dict[str, float]:
    """queueTime: the mean milliseconds that a request has waited, as carbonapi's word has it."""
    values = dict(since)
    waited_s = values.pop("waitedSeconds")
    values["queueTime"] = 1e3 * waited_s / values["requests"] if values["requests"] else 0.0
    return values


def _gauges(live: Live) -> dict[str, float]:
    gauges = {"activeConnections": live.connections, "inWork": live.in_work, "waiting": live.waiting}
    if live.cache is not None:
        gauges |= {"cacheEntries": live.cache.entries, "cacheBytes": live.cache.bytes}
    return {name: float(value) for name, value in gauges.items()}


def _milliseconds(ascending: Sequence[float]) -> dict[str, float]:
    """Of requests since the last report; nothing if there were none, which a 0 would hide."""
    count = len(ascending)
    parts = {"p50Ms": 50, "p99Ms": 99, "maxMs": 100}
    return {name: ascending[-(-count * part // 100) - 1] for name, part in parts.items()} if count else {}
