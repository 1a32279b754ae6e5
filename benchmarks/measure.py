"""Seconds, bytes and rows of the table."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

NOT_INSTALLED = "not installed"
_HEAD = ("what", "ours", "unit", "beside it", "its figure", "ratio", "must show", "holds")
_RIGHT = {"ours", "its figure", "ratio"}


class Row(NamedTuple):
    """One line of the table: a figure of ours, a peer's or a twin's in the same unit, and what must hold."""

    what: str
    ours: float
    unit: str  # more is better if it ends in "/s" or "/CPU-s", else less is
    peer: str
    theirs: float | None  # None = the peer is not installed
    limit: float | None = None  # ours must be this or better
    times: float | None = None  # ours must be so many times better than theirs

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith(("/s", "/CPU-s"))

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if self.theirs is None:
            return None
        return self.ours / self.theirs if self.more_is_better else self.theirs / self.ours

    @property
    def must(self) -> str:
        parts = []
        if self.limit is not None:
            parts.append(f"{'≥' if self.more_is_better else '≤'} {number(self.limit)}")
        if self.times is not None:
            parts.append(f"≥ {number(self.times)} ×")
        return ", ".join(parts)

    @property
    def holds(self) -> bool | None:
        """None = nothing must, or without the peer it cannot be told."""
        if self.limit is not None:
            within = self.ours >= self.limit if self.more_is_better else self.ours <= self.limit
            if not within:
                return False
        if self.times is None:
            return None if self.limit is None else True
        return None if self.ratio is None else self.ratio >= self.times


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, with the machine above."""
    cells = [_HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, tuple("-" * width for width in widths))
    return "\n".join([_machine(), "", *(_line(each, widths) for each in cells)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if name in _RIGHT else cell.ljust(width)
        for name, cell, width in zip(_HEAD, cells, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    theirs = NOT_INSTALLED if row.theirs is None else number(row.theirs)
    ratio = "" if row.ratio is None else f"{number(row.ratio)} ×"
    holds = {True: "yes", False: "NO", None: "?" if row.must else ""}[row.holds]
    return row.what, number(row.ours), row.unit, row.peer, theirs, ratio, row.must, holds


def _machine() -> str:
    load = " ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"{os.cpu_count()} cores, load {load}, Python {platform.python_version()}, Linux {platform.release()}"
    )


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds(work: Callable[[], object], *, runs: int = 5) -> float:
    """The median of several runs after one that warms up."""
    return _median(work, runs, time.perf_counter)


def cpu_seconds(work: Callable[[], object], *, runs: int = 5) -> float:
    """The same in this process' CPU time: what else the machine does is not in it."""
    return _median(work, runs, time.process_time)


def pair_seconds(
    ours: Callable[[], object], theirs: Callable[[], object], *, runs: int
) -> tuple[float, float]:
    """The median seconds of two pieces of work that are done in turn: what disturbs one disturbs the other."""
    ours()
    theirs()
    taken: list[tuple[float, float]] = []
    for _ in range(runs):
        first = time.perf_counter()
        ours()
        second = time.perf_counter()
        theirs()
        taken.append((second - first, time.perf_counter() - second))
    return statistics.median(mine for mine, _ in taken), statistics.median(other for _, other in taken)


def _median(work: Callable[[], object], runs: int, clock: Callable[[], float]) -> float:
    work()
    taken = []
    for _ in range(runs):
        started = clock()
        work()
        taken.append(clock() - started)
    return statistics.median(taken)


def device_bytes() -> int:
    """Bytes that this process has caused to be written to a device so far: pages that it made dirty."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])
