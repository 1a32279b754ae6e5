"""The counters as Prometheus' text format 0.0.4, for /metrics.

A family is a name, a type, a line of help and its samples; what has no samples yet is left out.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from carbon.stats import Extra, Stats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "plumbago_"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_DESTINATION = re.compile(r"destinations\.(?P<destination>.*)\.(?P<measure>[^.]+)")


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float


class Family(NamedTuple):
    """A counter's name ends in _total, as theirs do."""

    name: str
    help: str
    samples: list[Sample]

    @property
    def kind(self) -> str:
        return "counter" if self.name.endswith("_total") else "gauge"


def exposition(stats: Stats, extra: Extra = ()) -> str:
    """All counters since the start, and gauges as they are; `extra` are a relay's or an aggregator's."""
    families = [*_listeners(stats), *_scalars(stats), *_others(extra), *_process()]
    return "".join(line for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    if family.samples:
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        inner = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
        yield f"{family.name}{{{inner}}} {value!r}\n" if inner else f"{family.name} {value!r}\n"


def _family(name: str, words: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(_PREFIX + name, words, [Sample(labels, float(value)) for labels, value in samples])


def _listeners(stats: Stats) -> Iterator[Family]:
    received = [({"listener": name}, n) for name, n in stats.received.items()]
    yield _family("received_datapoints_total", "Datapoints that were read.", received)
    yield _family("rejected_total", "Datapoints, lines and frames that were refused.", _rejected(stats))
    spent = [({"stage": name}, seconds) for name, seconds in stats.stage_s.items()]
    yield _family("stage_seconds_total", "Seconds of the receiver's thread.", spent)


def _rejected(stats: Stats) -> Iterator[tuple[Mapping[str, str], float]]:
    """By listener and reason, so that they add up: what is of no known listener has an empty one."""
    rest = dict(stats.rejected)
    for (listener, reason), n in stats.rejected_by.items():
        rest[reason] = rest.get(reason, 0) - n
        yield {"listener": listener, "reason": reason}, n
    yield from (({"listener": "", "reason": reason}, n) for reason, n in rest.items() if n > 0)


_SCALARS = (
    ("committed", "committed_datapoints_total", "Datapoints that were stored."),
    ("only_aggregated", "only_aggregated_datapoints_total", "Datapoints that only feed aggregates."),
    ("only_relayed", "only_relayed_datapoints_total", "Datapoints that are only relayed."),
    ("updates", "updates_total", "Columns of datapoints that were stored."),
    ("update_s", "update_seconds_total", "Seconds spent in storing them."),
    ("creates", "created_series_total", "Series that were made."),
    ("dropped_creates", "dropped_creates_total", "Names that got no series."),
    ("errors", "errors_total", "Errors of our own."),
    ("udp_drops", "udp_kernel_drops_total", "Datagrams that the kernel dropped."),
    ("stalled_s", "stalled_seconds_total", "Seconds in which nothing was stored."),
    ("queries", "carbonlink_queries_total", "CarbonLink requests for one metric."),
    ("bulk_queries", "carbonlink_bulk_queries_total", "CarbonLink requests for several."),
    ("connections", "connections", "Connections that are open."),
    ("paused", "paused_connections", "Connections that are held back."),
    ("waiting", "waiting_datapoints", "Datapoints that wait for room on the disk."),
    ("read_only", "read_only", "1 when the disk has failed and nothing is stored."),
    ("max_stall_s", "reactor_max_stall_seconds", "The longest stall since the last report."),
    ("lag_s", "lag_seconds", "How far the newest datapoint was behind its arrival."),
)


def _scalars(stats: Stats) -> Iterator[Family]:
    for field, name, words in _SCALARS:
        yield _family(name, words, [({}, float(getattr(stats, field)))])


def _others(extra: Extra) -> Iterator[Family]:
    """Relays' and aggregators' measures under their own names; a destination is a label."""
    families: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for measures in extra:
        told = measures()
        for ending, values in (("_total", told.totals), ("", told.gauges)):
            for path, value in values.items():
                name, labels = _named(path)
                families.setdefault(name + ending, []).append((labels, value))
    for name, samples in families.items():
        yield _family(name, "As our reports to ourselves have it, under the same words.", samples)


def _named(path: str) -> tuple[str, Mapping[str, str]]:
    """destinations.web1:2004:a.attemptedRelays → destination_attempted_relays of that destination."""
    found = _DESTINATION.fullmatch(path)
    labels = {"destination": found["destination"]} if found else {}
    words = f"destination_{found['measure']}" if found else path
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", words).lower()
    return re.sub(r"[^a-z0-9_]", "_", snake), labels


def _process() -> Iterator[Family]:
    """What Prometheus' own libraries tell of a process, by their names."""
    process = psutil.Process()
    cpu, memory = process.cpu_times(), process.memory_info()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for name, words, value in (
        ("process_cpu_seconds_total", "Seconds of user and system time.", cpu.user + cpu.system),
        ("process_resident_memory_bytes", "Memory that is in use, maps of files included.", memory.rss),
        ("process_virtual_memory_bytes", "Address space.", memory.vms),
        ("process_start_time_seconds", "When the process began, epoch seconds.", process.create_time()),
        ("process_open_fds", "File descriptors that are open.", len(os.listdir(Path("/proc/self/fd")))),
        ("process_max_fds", "How many there may be.", limit),
    ):
        yield Family(name, words, [Sample({}, float(value))])
