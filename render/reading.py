"""What a request reads of the store: patterns resolved once, datapoints counted before they are read, each read once.

Where windows of a pattern lie within each other and the store answers them from the same archives, the widest is read
and the others are cut out of it.

Two bounds hold for datapoints: how many are *read*, which takes time, and how many are *held* at once, which takes
memory. An aggregate over many series is folded part by part, so that it holds a part only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from render.conditions import read_conditions
from render.config import Limits
from render.errors import Cancelled, Deadline, TargetError, TooHeavy, TooMuch
from render.explain import Step, Trace
from render.series import Block, Matrix, SeriesList, Tags
from storage.errors import InvalidGlob
from storage.events import Asked
from storage.shard import Grid
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

    def grids(
        self, series: SeriesIds, start: int, until: int, now: int, *, stitched: bool = False
    ) -> Sequence[Grid]:
        """The grids of what `fetch` would give, in its order; reads nothing.

        An earlier start may be answered from other archives, but then with a longer step.
        """
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
        window: Window | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        trace: Trace | None = None,
    ) -> None:
        """`cancelled`: whether nobody waits for the answer any more. `trace` is told what is done."""
        self.source, self.limits, self.shared, self.trace = source, limits, shared, trace
        self._clock, self._deadline = clock, clock() + limits.duration_s
        self._light_until = math.inf if limits.light is None else clock() + limits.light.seconds
        self._cancelled = cancelled
        self._found: dict[str, Found] = {}
        self._fetched: dict[tuple[str, Reading], SeriesList] = {}
        self._grids: dict[tuple[str, Reading], Sequence[Grid]] = {}
        self._readings: dict[str, set[Reading]] = {}  # of each pattern: those foreseen, and those done
        self.evaluated: dict[tuple[Key, Reading], SeriesList] = {}
        self.stacks: dict[str, SeriesList] = {}
        self._window = window
        self.is_of_one_window = (
            False  # another window's datapoints may be others though they lie in the same steps
        )
        self.common_step = 0  # the common divisor of all steps that were read
        self.may_recur = True  # an equal request would read the same again
        self.series = 0
        self.held = 0  # datapoints in `_fetched`
        self.read = 0  # datapoints

    def check(self) -> None:
        """Raises Deadline or Cancelled when it is time to give up, TooHeavy when it is for a worker to go on.

        Called between steps; long loops call it too.
        """
        now = self._clock()
        if now > self._deadline:
            raise Deadline(self.limits.duration_s)
        if now > self._light_until:
            raise TooHeavy(late=True)
        if self._cancelled():
            raise Cancelled

    def may_wait(self) -> None:
        """What follows may wait for another process, or matches a user's pattern. Raises TooHeavy if it must not."""
        if not self.limits.may_wait:
            raise TooHeavy

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
            self.may_wait()
            paths, series = self.source.find_tagged(read_conditions(expressions, self.check))
            self._found[pattern] = Found(paths, series, self.source.consolidations(series))

    # --- datapoints ---

    def foresee(self, pattern: str, reading: Reading) -> None:
        """Take note of what will be fetched, so that what lies within it is cut out of it."""
        self._readings.setdefault(pattern, set()).add(reading)

    def admit(self, asked: Iterable[tuple[str, Reading]], now: int) -> None:
        """Raises TooMuch, before anything is read, if all this would be too much; TooHeavy if it is not light."""
        series = points = 0
        for pattern, reading in dict.fromkeys(
            (one, self._widest(one, reading, now)) for one, reading in asked
        ):
            found = self.find(pattern)
            self._check_series(pattern, len(found.series), series)
            series += len(found.series)
            cost = self._cost(pattern, reading, now)
            self._check_points(pattern, found, cost, points, self.limits.points_read_max)
            points += cost
        if self.limits.light is not None and points > self.limits.light.points:
            raise TooHeavy

    def fetch(self, pattern: str, reading: Reading, now: int, x_files_factor: float) -> SeriesList:
        """The series of a pattern in a window. Raises TooMuch before reading what the limits do not allow."""
        fetched = self._fetched.get((pattern, reading))
        if fetched is None:
            cost, wide = self._cost(pattern, reading, now), self._widest(pattern, reading, now)
            if wide != reading and self._can_hold(pattern, wide, now, beside=cost):
                whole = self.fetch(pattern, wide, now, x_files_factor)
                fetched = _cut(whole, self.grids(pattern, reading, now))
            else:
                found = self.find(pattern)
                self._check_series(pattern, len(found.series), self.series)
                self._check_points(pattern, found, cost, self.held, self.limits.points_max)
                fetched = self._read(pattern, found, reading, now, x_files_factor, cost)
                self.series += len(found.series)
                self.foresee(pattern, reading)
            self._fetched[pattern, reading] = fetched
            self.held += cost
        return fetched

    def grids(self, pattern: str, reading: Reading, now: int) -> Sequence[Grid]:
        """The grids of the blocks that `fetch` gives."""
        grids = self._grids.get((pattern, reading))
        if grids is None:
            grids = self._grids[pattern, reading] = self._grids_of(self.find(pattern), reading, now)
            for grid in grids:
                self._note(reading.window, grid.step)
        return grids

    def _note(self, window: Window, step: int) -> None:
        """What is read begins and ends whole steps off the request's window, or depends on its very seconds."""
        self.common_step = math.gcd(self.common_step, step)
        if self._window is None or any((a - b) % step for a, b in zip(window, self._window, strict=True)):
            self.is_of_one_window = True

    def count_events(self, asked: Asked, step: int) -> npt.NDArray[np.float64]:
        """See Source. Whether there are more is not seen by what is read of series."""
        self.may_recur = False
        self.may_wait()
        return self.source.count_events(asked, step)

    @property
    def read_series(self) -> Sequence[SeriesIds]:
        """The series of each pattern."""
        return [found.series for found in self._found.values()]

    def _grids_of(self, found: Found, reading: Reading, now: int) -> Sequence[Grid]:
        if not len(found.series):
            return ()
        counts: dict[tuple[int, int, int], int] = {}
        for *grid, count in self.source.grids(found.series, *reading.window, now, stitched=reading.stitched):
            start, step, points = grid
            counts[start, step, points] = counts.get((start, step, points), 0) + count
        return [Grid(*grid, count) for grid, count in counts.items() if count]

    def _widest(self, pattern: str, reading: Reading, now: int) -> Reading:
        """What of a pattern to read instead, as what is asked for lies within it; the same if there is nothing.

        What is stitched is read by itself: where its archives meet depends on the window.
        """
        if reading.stitched or self._readings.get(pattern) in (None, {reading}):
            return reading
        start, until = reading.window
        around = [
            other
            for other in self._readings.get(pattern, ())
            if other.window.start <= start
            and until <= other.window.until
            and other._replace(window=reading.window) == reading
        ]
        if around:
            grids = self.grids(pattern, reading, now)
            around = [other for other in around if _lie_within(grids, self.grids(pattern, other, now))]
        return min(around, key=lambda other: (other.window.start, -other.window.until), default=reading)

    def _can_hold(self, pattern: str, reading: Reading, now: int, *, beside: int) -> bool:
        """Whether a reading is held already or may be, with so many datapoints more."""
        more = 0 if (pattern, reading) in self._fetched else self._cost(pattern, reading, now)
        return self.held + more + beside <= self.limits.points_max

    def fetch_part(self, part: Part, reading: Reading, now: int, x_files_factor: float) -> SeriesList:
        """Some of a pattern's series; they are not kept."""
        found = self.find(part.pattern).part(part.series)
        cost = _points(self._grids_of(found, reading, now))
        return self._read(part.pattern, found, reading, now, x_files_factor, cost)

    def parts(self, pattern: str, reading: Reading, now: int) -> Iterator[Part]:
        """All of a pattern's series in parts that are held one after another; none where that is not worth it: they
        are few, or stand in the targets more than once and are better read once.
        """
        found = self.find(pattern)
        cost = self._cost(pattern, reading, now)
        if cost < FOLDED_POINTS:
            return
        is_read = (pattern, self._widest(pattern, reading, now)) in self._fetched
        if self.held + cost <= self.limits.points_max and (pattern in self.shared or is_read):
            return
        self._check_series(pattern, len(found.series), self.series)
        self._check_points(pattern, found, cost, self.read, self.limits.points_read_max)
        self.series += len(found.series)
        count = max(1, len(found.series) * _PART_POINTS // cost)
        for at in range(0, len(found.series), count):
            yield Part(pattern, slice(at, at + count))

    def _cost(self, pattern: str, reading: Reading, now: int) -> int:
        """The datapoints that reading gives."""
        return _points(self.grids(pattern, reading, now))

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


def _points(grids: Sequence[Grid]) -> int:
    """The datapoints of all series."""
    return sum(grid.points * grid.series for grid in grids)


def _lie_within(grids: Sequence[Grid], wide: Sequence[Grid]) -> bool:
    """Whether a window's datapoints are among another's around it: the steps tell that the archives are the same.

    As many grids, each with as many series as its counterpart: where retentions differ, a window that reaches
    before the oldest datapoints of some has more grids, and is read by itself.
    """
    return len(grids) == len(wide) and all(
        (grid.step, grid.series) == (around.step, around.series)
        and around.start <= grid.start
        and grid.start + grid.step * grid.points <= around.start + around.step * around.points
        for grid, around in zip(grids, wide, strict=True)
    )


def _cut(series: SeriesList, grids: Sequence[Grid]) -> SeriesList:
    """A list over a window within its own. The values are copies: kernels would be compiled once more for rows that do
    not lie end to end.
    """
    blocks = []
    for block, grid in zip(series.blocks, grids, strict=True):
        first = (grid.start - block.start) // grid.step
        values = np.ascontiguousarray(block.values[:, first : first + grid.points])
        blocks.append(block.with_(values, start=grid.start))
    return SeriesList(blocks, series.order if len(blocks) > 1 else None)


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
    if len(parts) == 1:
        positions = parts[0].positions
        if len(positions) == 1 or bool(np.all(positions[1:] > positions[:-1])):
            return positions, parts[0].values
    positions = np.concatenate([part.positions for part in parts])
    order = np.argsort(positions)
    return positions[order], np.concatenate([part.values for part in parts])[order]
