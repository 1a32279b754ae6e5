"""A long range from several archives: fine data where there is some, coarse data before, all on the finest one's grid.

A coarse value stands in each fine slot that it covers. A total (sum, count) is divided among them, so that the sum over
any time stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from storage.retention import Archive
from storage.schema import Schema
from storage.shard import TOTALS, Grid, Window, choose_window

Series = npt.NDArray[np.int32]
Positions = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


class Fetched(Protocol):
    """storage.store.Fetched is one."""

    @property
    def positions(self) -> Positions: ...
    @property
    def start(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def values(self) -> Floats: ...


class Stitched(NamedTuple):
    positions: Positions
    start: int
    step: int
    values: Floats


class Store(Protocol):
    """What stitching needs of a store."""

    def by_schema(self, series: Series) -> list[tuple[Schema, Positions]]: ...

    def fetch(
        self, series: Series, start: int, until: int, now: int, method: str | None = None
    ) -> Sequence[Fetched]: ...


class Piece(NamedTuple):
    """What is asked of one archive, epoch seconds: more than is needed, finer archives come after it."""

    start: int
    until: int


def grids(store: Store, series: Series, start: int, until: int, now: int) -> list[Grid]:
    """The grids of what `fetch` would give, in its order; reads nothing."""
    counts: dict[tuple[Archive, ...], int] = {}
    for schema, at in store.by_schema(series):
        archives = schema.retention.archives
        counts[archives] = counts.get(archives, 0) + len(at)
    found = ((_grid(archives, start, until, now), count) for archives, count in counts.items())
    return [Grid(grid.start, grid.step, grid.points, count) for grid, count in found if grid is not None]


def fetch(
    store: Store, series: Series, start: int, until: int, now: int, method: str | None = None
) -> list[Stitched]:
    """As the store's own: the datapoints in (start, until], on the grid of each series' finest archive that has any."""
    by_archives: dict[tuple[Archive, ...], list[Positions]] = {}
    total = np.zeros(len(series), np.bool_)
    for schema, at in store.by_schema(series):
        by_archives.setdefault(schema.retention.archives, []).append(at)
        total[at] = (method or schema.method) in TOTALS
    found = []
    for archives, parts in by_archives.items():
        grid = _grid(archives, start, until, now)
        if grid is not None:
            at = np.sort(np.concatenate(parts))
            out = np.full((len(at), grid.points), np.nan)
            for piece in _pieces(archives, start, until, now):
                for part in store.fetch(series[at], *piece, now, method):
                    _put(part, out, grid, total[at])
            found.append(Stitched(at, grid.start, grid.step, out))
    return found


def _grid(archives: tuple[Archive, ...], start: int, until: int, now: int) -> Window | None:
    """The finest archive's slots that has some of the window, over all of the window; None = no archive has any."""
    for archive in archives:
        whole = choose_window((archive, *archives[-1:]), max(start, now - archive.duration), until, now)
        if whole is not None and whole.archive == 0:
            begin = max(start, now - archives[-1].duration)
            first = begin - begin % archive.step + archive.step
            return Window(0, first, archive.step, (whole.start - first) // archive.step + whole.points)
    return None


def _pieces(archives: tuple[Archive, ...], start: int, until: int, now: int) -> list[Piece]:
    """The window's pieces, coarsest first; each begins a slot early, if its archive reaches back so far, and ends where
    the next has its first slots.
    """
    found: list[Piece] = []
    end = until
    for archive in archives:
        oldest = now - archive.duration
        begin = max(start, oldest)
        if begin < end:
            found.append(Piece(max(oldest, begin - archive.step), end + archive.step))
            end = min(until, begin + archive.step)
        if begin == start:
            break
    return found[::-1]


def _put(part: Fetched, out: Floats, grid: Window, total: npt.NDArray[np.bool_]) -> None:
    """Let a piece's values stand in all slots that they cover."""
    times = grid.start + grid.step * np.arange(grid.points)
    end = part.start + part.step * part.values.shape[1]
    slots = np.flatnonzero((times >= part.start) & (times < end))
    values = part.values[:, (times[slots] - part.start) // part.step]
    divided = total[part.positions]
    if part.step != grid.step and divided.any():
        values[divided] *= grid.step / part.step
    out[np.ix_(part.positions, slots)] = values
