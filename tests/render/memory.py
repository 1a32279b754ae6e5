"""A Source that holds its series in memory: what a store gives, without files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from render.series import parse_tags
from storage.events import Asked, Event
from storage.shard import Grid
from storage.tags import Condition
from tests.render.golden import series as golden


class Fetched(NamedTuple):
    """The shape of storage.store.Fetched."""

    positions: npt.NDArray[np.intp]
    start: int
    step: int
    values: npt.NDArray[np.float64]


class MemorySource:
    """`add` series, then query; `finds` and `fetches` tell what has been asked."""

    def __init__(self, *, retention_s: int | None = None) -> None:
        self._retention_s = retention_s  # how far back it reaches, as a store does; None = as far as asked
        self._paths: list[str] = []
        self._points: list[tuple[int, int, npt.NDArray[np.float64]]] = []
        self._aggregations: list[str] = []
        self.finds: list[str] = []
        self.fetches: list[tuple[int, int, int]] = []  # series, start, until
        self.happened: list[Event] = []

    @classmethod
    def golden(cls, *, retention_s: int | None = None) -> MemorySource:
        """The series of tests/render/golden/series.py."""
        source = cls(retention_s=retention_s)
        for path, points in golden.SERIES.items():
            source.add(path, points.start, points.step, points.values)
        return source

    def add(
        self, path: str, start: int, step: int, values: Sequence[float | None], aggregation: str = "average"
    ) -> None:
        """`start` is the first value's timestamp, a multiple of `step`; None is no data."""
        self._paths.append(path)
        self._points.append((start, step, np.array(values, dtype=np.float64)))
        self._aggregations.append(aggregation)

    def find_series(self, pattern: str) -> tuple[list[str], npt.NDArray[np.int32]]:
        self.finds.append(pattern)
        matcher = golden.glob(pattern)
        found = [
            (path, i)
            for i, path in enumerate(self._paths)
            if path == pattern or (";" not in path and matcher.fullmatch(path))
        ]
        return _sorted(found)

    def find_tagged(self, conditions: Sequence[Condition]) -> tuple[list[str], npt.NDArray[np.int32]]:
        self.finds.append("seriesByTag")
        found = []
        for i, path in enumerate(self._paths):
            tags = parse_tags(path) if ";" in path else {}
            if all((tags.get(tag, "") in texts) is among for tag, texts, among in conditions):
                found.append((path, i))
        return _sorted(found)

    def fetch(
        self,
        series: npt.NDArray[np.int32],
        start: int,
        until: int,
        now: int,
        method: str | None = None,
        *,
        stitched: bool = False,  # it has one archive a series
    ) -> list[Fetched]:
        self.fetches.append((len(series), start, until))
        if self._retention_s is not None:
            start = max(start, now - self._retention_s)
            if until < start:
                return []
        by_step: dict[int, list[int]] = {}
        for position, i in enumerate(series):
            by_step.setdefault(self._points[i][1], []).append(position)
        fetched = []
        for step, positions in by_step.items():
            begin, end = start - start % step + step, until - until % step + step
            end = max(end, begin + step)
            values = np.full((len(positions), (end - begin) // step), np.nan)
            for row, position in enumerate(positions):
                first, _, points = self._points[series[position]]
                _copy(points, (begin - first) // step, values[row])
            fetched.append(Fetched(np.array(positions, dtype=np.intp), begin, step, values))
        return fetched

    def grids(
        self, series: npt.NDArray[np.int32], start: int, until: int, now: int, *, stitched: bool = False
    ) -> list[Grid]:
        asked = list(self.fetches)
        parts = self.fetch(series, start, until, now)
        self.fetches[:] = asked
        return [Grid(part.start, part.step, part.values.shape[1], len(part.values)) for part in parts]

    def add_event(self, event: Event) -> Event:
        self.happened.append(event._replace(id=len(self.happened) + 1))
        return self.happened[-1]

    def event(self, number: int) -> Event | None:
        return next((event for event in self.happened if event.id == number), None)

    def events(self, asked: Asked) -> tuple[list[Event], bool]:
        found = [event for event in self.happened if _is_asked(event, asked)]
        return sorted(found, key=lambda event: (event.when, event.id)), False

    def count_events(self, asked: Asked, step: int) -> npt.NDArray[np.float64]:
        counts = np.full(-(-(asked.until - asked.start) // step), np.nan)
        for event in self.events(asked)[0]:
            if event.when < asked.until:
                slot = (event.when - asked.start) // step
                counts[slot] = np.nan_to_num(counts[slot]) + 1
        return counts

    def consolidations(self, series: npt.NDArray[np.int32]) -> list[str]:
        return [self._aggregations[i] for i in series]


def _is_asked(event: Event, asked: Asked) -> bool:
    tags = set(asked.tags)
    fits = bool(tags & set(event.tags)) if asked.any_tag else tags <= set(event.tags)
    text = asked.text.casefold()
    return (
        asked.start <= event.when <= asked.until
        and (fits or not tags)
        and (text in event.what.casefold() or text in event.data.casefold())
    )


def _sorted(found: list[tuple[str, int]]) -> tuple[list[str], npt.NDArray[np.int32]]:
    found.sort()
    return [path for path, _ in found], np.array([i for _, i in found], dtype=np.int32)


def _copy(points: npt.NDArray[np.float64], first: int, into: npt.NDArray[np.float64]) -> None:
    """Put points[first:] into a window; what lies outside stays missing."""
    low, high = max(first, 0), min(first + len(into), len(points))
    if low < high:
        into[low - first : high - first] = points[low:high]
