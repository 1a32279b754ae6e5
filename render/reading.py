"""What a request reads of the store: patterns resolved once, datapoints counted before they are read, each read once.

Two bounds hold for datapoints: how many are *read*, which takes time, and how many are *held* at once, which takes
memory. An aggregate over many series is folded part by part, so that it holds a part only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from render.conditions import read_conditions
from render.config import Limits
from render.errors import Cancelled, Deadline, TargetError, TooMuch
from render.explain import Step, Trace
from render.series import Block, Matrix, SeriesList, Tags
from storage.errors import InvalidGlob
from storage.events import Asked
from storage.tags import Condition

T = TypeVar("T")
Key: TypeAlias = Hashable
SeriesIds = npt.NDArray[np.int32]

FOLDED_POINTS = 4_000_000  # from so many on an aggregate's series are read in parts: 32 MB
_PART_POINTS = 2_000_000  # of a part: 16 MB, which two processors' caches nearly hold


class Fetched(Protocol):
    """Series that share one grid; `positions` says which of the asked ones. storage.store.Fetched is one."""

    @property
    def positions(self) -> npt.NDArray[np.intp]: ...
    @property
    def start(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def values(self) -> Matrix: ...


class Source(Protocol):
    """What a query needs of the store."""

    def find_series(self, pattern: str) -> tuple[list[str], SeriesIds]:
        """The paths that a pattern names, sorted, and their series."""
        ...

    def find_tagged(self, conditions: Sequence[Condition]) -> tuple[list[str], SeriesIds]:
        """The paths whose tags fulfil all conditions, sorted, and their series."""
        ...

    def count(self, series: SeriesIds, start: int, until: int, now: int, *, stitched: bool = False) -> int:
        """How many datapoints `fetch` would give; reads none."""
        ...

    def fetch(
        self,
        series: SeriesIds,
        start: int,
        until: int,
        now: int,
        method: str | None = None,
        *,
        stitched: bool = False,
    ) -> Sequence[Fetched]:
        """The datapoints in (start, until]; series that have no such window come in none of the answers.

        `method`: the aggregation to read coarse archives by, where they keep several. `stitched`: of each archive what
        no finer one has, instead of all from the one that reaches back to `start`.
        """
        ...

    def consolidations(self, series: SeriesIds) -> list[str]:
        """Each series' own aggregation."""
        ...

    def count_events(self, asked: Asked, step: int) -> npt.NDArray[np.float64]:
        """How many events there are in each `step` seconds from the start on, up to before the end; NaN = none."""
        ...


class Window(NamedTuple):
    start: int  # epoch seconds
    until: int


class Reading(NamedTuple):
    """What of a series is read."""

    window: Window
    method: str | None  # the aggregation to read coarse archives by, None = the series' own
    stitched: bool = False  # from all archives that have some of the window


class Part(NamedTuple):
    """Some of the series that a pattern names, in their order."""

    pattern: str
    series: slice


class Found(NamedTuple):
    """What a pattern names."""

    paths: Sequence[str]
    series: SeriesIds
    consolidations: Sequence[str]

    def part(self, some: slice) -> Found:
        return Found(self.paths[some], self.series[some], self.consolidations[some])


class Request:
    """What a request has read so far, and what it has cost.

    `shared` holds the keys of what stands more than once in the targets: calls, whose outcome is kept, and patterns.
    """

    def __init__(
        self,
        source: Source,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        shared: frozenset[Key] = frozenset(),
        *,
        cancelled: Callable[[], bool] = lambda: False,
        trace: Trace | None = None,
    ) -> None:
        """`cancelled`: whether nobody waits for the answer any more. `trace` is told what is done."""
        self.source, self.limits, self.shared, self.trace = source, limits, shared, trace
        self._clock, self._deadline = clock, clock() + limits.duration_s
        self._cancelled = cancelled
        self._found: dict[str, Found] = {}
        self._fetched: dict[tuple[str, Reading], SeriesList] = {}
        self.evaluated: dict[tuple[Key, Reading], SeriesList] = {}
        self.stacks: dict[str, SeriesList] = {}
        self.series = 0
        self.held = 0  # datapoints in `_fetched`
        self.read = 0  # datapoints

    def check(self) -> None:
        """Raises Deadline or Cancelled when it is time to give up. Called between steps; long loops call it too."""
        if self._clock() > self._deadline:
            raise Deadline(self.limits.duration_s)
        if self._cancelled():
            raise Cancelled

    def check_names(self, function: str, series: SeriesList) -> SeriesList:
        """The list as it is; raises TooMuch if its names have grown too long."""
        chars = sum(sum(map(len, block.names)) for block in series.blocks)
        if chars > self.limits.name_chars_max:
            most = self.limits.name_chars_max
            raise TooMuch(
                f"{function}() makes names of {chars} characters; at most {most}: use alias() within"
            )
        return series

    def step(self, words: str) -> AbstractContextManager[Step | None]:
        """A step of the trace, if there is one."""
        return nullcontext() if self.trace is None else self.trace.step(words)

    def each_part(self, parts: Sequence[T]) -> Iterator[T]:
        """These, one after another; the trace counts them and shows what is done with the first."""
        for i, part in enumerate(parts):
            self.check()
            with nullcontext() if self.trace is None or i == 0 else self.trace.part():
                yield part

    # --- names ---

    def find(self, pattern: str) -> Found:
        found = self._found.get(pattern)
        if found is None:
            try:
                paths, series = self.source.find_series(pattern)
            except InvalidGlob as error:
                raise TargetError(pattern, 1, str(error)) from error
            found = self._found[pattern] = Found(paths, series, self.source.consolidations(series))
        return found

    def find_tagged(self, pattern: str, expressions: Sequence[str]) -> None:
        """Let a pattern name the series whose tags fulfil all expressions; raises ArgumentError."""
        if pattern not in self._found:
            paths, series = self.source.find_tagged(read_conditions(expressions, self.check))
            self._found[pattern] = Found(paths, series, self.source.consolidations(series))

    # --- datapoints ---

    def admit(self, patterns: Sequence[str], reading: Reading, now: int) -> None:
        """Raises TooMuch, before anything is read, if all that these patterns name would be too much."""
        series = points = 0
        for pattern in dict.fromkeys(patterns):
            found = self.find(pattern)
            self._check_series(pattern, len(found.series), series)
            series += len(found.series)
            cost = self._cost(found, reading, now)
            self._check_points(pattern, found, cost, points, self.limits.points_read_max)
            points += cost

    def fetch(self, pattern: str, reading: Reading, now: int, x_files_factor: float) -> SeriesList:
        """The series of a pattern in a window. Raises TooMuch before reading what the limits do not allow."""
        fetched = self._fetched.get((pattern, reading))
        if fetched is None:
            found = self.find(pattern)
            self._check_series(pattern, len(found.series), self.series)
            cost = self._cost(found, reading, now)
            self._check_points(pattern, found, cost, self.held, self.limits.points_max)
            fetched = self._read(pattern, found, reading, now, x_files_factor, cost)
            self._fetched[pattern, reading] = fetched
            self.held += cost
            self.series += len(found.series)
        return fetched

    def fetch_part(self, part: Part, reading: Reading, now: int, x_files_factor: float) -> SeriesList:
        """Some of a pattern's series; they are not kept."""
        found = self.find(part.pattern).part(part.series)
        cost = self._cost(found, reading, now)
        return self._read(part.pattern, found, reading, now, x_files_factor, cost)

    def parts(self, pattern: str, reading: Reading, now: int) -> Iterator[Part]:
        """All of a pattern's series in parts that are held one after another; none where that is not worth it: they
        are few, or stand in the targets more than once and are better read once.
        """
        found = self.find(pattern)
        cost = self._cost(found, reading, now)
        fits = self.held + cost <= self.limits.points_max
        if cost < FOLDED_POINTS or (fits and (pattern in self.shared or (pattern, reading) in self._fetched)):
            return
        self._check_series(pattern, len(found.series), self.series)
        self._check_points(pattern, found, cost, self.read, self.limits.points_read_max)
        self.series += len(found.series)
        count = max(1, len(found.series) * _PART_POINTS // cost)
        for at in range(0, len(found.series), count):
            yield Part(pattern, slice(at, at + count))

    def _cost(self, found: Found, reading: Reading, now: int) -> int:
        """The datapoints that reading gives."""
        if not len(found.series):
            return 0
        return self.source.count(found.series, *reading.window, now, stitched=reading.stitched)

    def _read(
        self, pattern: str, found: Found, reading: Reading, now: int, x_files_factor: float, cost: int
    ) -> SeriesList:
        self.check()
        self._check_points(pattern, found, cost, self.read, self.limits.points_read_max)
        self.read += cost
        with self.step(pattern) as step:
            window, method, stitched = reading
            parts: Sequence[Fetched] = ()
            if len(found.series):
                parts = self.source.fetch(found.series, *window, now, method, stitched=stitched)
            fetched = _listed(pattern, found, parts, x_files_factor)
            if step is not None:
                step.made(fetched, read=sum(part.values.nbytes for part in parts))
        return fetched

    def _check_series(self, pattern: str, count: int, before: int) -> None:
        if before + count > self.limits.series_max:
            more = f", {before + count} with what the request reads beside" if before else ""
            raise TooMuch(
                f"{pattern!r} names {count} series{more}; at most {self.limits.series_max}: narrow the pattern"
            )

    def _check_points(self, pattern: str, found: Found, points: int, before: int, most: int) -> None:
        if before + points > most:
            count = max(1, len(found.series))
            more = f", {before + points} with what the request reads beside" if before else ""
            raise TooMuch(
                f"{pattern!r} would read {points} points, {points // count} of each of {count} series{more}; "
                f"at most {most}: narrow the pattern or the window"
            )


def _listed(pattern: str, found: Found, parts: Sequence[Fetched], x_files_factor: float) -> SeriesList:
    """What was fetched as one block a grid, in the order of the paths."""
    grids: dict[tuple[int, int, int], list[Fetched]] = {}
    for part in parts:
        if len(part.positions):
            grids.setdefault((part.start, part.step, part.values.shape[1]), []).append(part)
    blocks, places = [], []
    for (start, step, _), same in grids.items():
        at, values = _merged(same)
        whole = len(at) == len(found.paths)
        names = found.paths if whole else [found.paths[i] for i in at]
        methods = found.consolidations if whole else [found.consolidations[i] for i in at]
        expressions = [pattern] * len(names)
        blocks.append(
            Block(
                values, start, step, names, expressions, Tags(names), methods, x_files_factor=x_files_factor
            )
        )
        places.append(at)
    return SeriesList(blocks, np.argsort(np.concatenate(places)) if len(blocks) > 1 else None)


def _merged(parts: list[Fetched]) -> tuple[npt.NDArray[np.intp], Matrix]:
    """Parts on one grid as one matrix, their positions ascending; copies nothing if they are so already."""
    if len(parts) == 1 and bool(np.all(parts[0].positions[1:] > parts[0].positions[:-1])):
        return parts[0].positions, parts[0].values
    positions = np.concatenate([part.positions for part in parts])
    order = np.argsort(positions)
    return positions[order], np.concatenate([part.values for part in parts])[order]
