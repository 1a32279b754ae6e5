"""Straight lines through series, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from render.functions import line_kernels
from render.functions.bands import student
from render.series import Matrix

Numbers = npt.NDArray[np.float64]

_VALUES_AT_ONCE = 1_000_000  # some 10 ms between looks at the clock


class Lines(NamedTuple):
    """A line of least squares to each row; all float64 (series,). Places are counted in points, the first is 0.

    Of moving windows all are (series, points).
    """

    centre: Numbers  # the mean place of the known values
    level: Numbers  # there; NaN = the row has no two known values, and no line
    slope: Numbers  # a point
    known: Numbers
    apart: Numbers  # the sum of squares of known places about the centre
    variance: Numbers  # of the values about the line; NaN = fewer than three are known
    correlation: Numbers  # of neighbours' distances from the line, 0 … 0.99

    def at(self, places: Numbers) -> Matrix:
        """The lines' values at some places: float64 (series, places)."""
        return self.level[:, None] + self.slope[:, None] * (places - self.centre[:, None])

    def deviations(self, places: Numbers) -> Matrix:
        """The standard deviations of a datapoint from what the lines say: float64 (series, places)."""
        away = (places - self.centre[:, None]) ** 2 / self.apart[:, None]
        own = self.variance[:, None]
        return np.sqrt(own + self.uncertainty[:, None] * (1 / self.known[:, None] + away))

    @property
    def uncertainty(self) -> Numbers:
        """The variance of a level, times the number of known values, and of a slope, times `apart`.

        Values that resemble their neighbours tell less about the line than they count.
        """
        return self.variance * (1 + self.correlation) / (1 - self.correlation)


def fit(values: Matrix, check: Callable[[], None]) -> Lines:
    """The line of least squares through the known values of each row; `check` is called in between."""
    found = np.empty((len(values), len(Lines._fields)))
    rows = max(1, _VALUES_AT_ONCE // max(1, values.shape[1]))
    for at in range(0, len(values), rows):
        check()
        line_kernels.least_squares(np.ascontiguousarray(values[at : at + rows]), found[at : at + rows])
    return Lines(*found.T)


def moving(values: Matrix, window: int) -> Lines:
    """The line of least squares through the `window` points up to and with each point."""
    found = np.empty((*values.shape, len(Lines._fields)))
    line_kernels.moving_least_squares(np.ascontiguousarray(values), window, found)
    return Lines(*np.moveaxis(found, 2, 0))


def robust(values: Matrix, check: Callable[[], None]) -> Lines:
    """The line of Theil and Sen: the median of the slopes between all pairs of points, at most 128 of them.

    A row of more points is cut into 128 runs, each with its median. Only centre, level, slope and known are told.
    """
    found = np.full((len(values), len(Lines._fields)), np.nan)
    rows = max(1, _VALUES_AT_ONCE // max(100, values.shape[1]) // 10)
    for at in range(0, len(values), rows):
        check()
        line_kernels.theil_sen(np.ascontiguousarray(values[at : at + rows]), found[at : at + rows])
    return Lines(*found.T)


class Crossings(NamedTuple):
    """In how many points lines reach a value: 0 = they have, NaN = they never will."""

    earliest: Numbers  # by the upper edge of the band that the line lies in
    likely: Numbers
    latest: Numbers  # by its lower edge


def crossings(lines: Lines, now: Numbers, value: float, normal: float) -> Crossings:
    """When lines reach a value from below, in points from the places `now` on.

    The band is so many standard deviations of the line as `normal` says, more where few values are known.
    """
    gap, place, slope = value - lines.level, now - lines.centre, lines.slope
    square = student(normal, lines.known - 2) ** 2 * lines.uncertainty
    likely = np.where(slope * place >= gap, 0.0, np.where(slope > 0, gap / slope - place, np.nan))
    # (slope·x - gap)² = square·(1/known + x²/apart): where an edge of the band is at the value
    a, b, c = slope**2 - square / lines.apart, slope * gap, gap**2 - square / lines.known
    far = b + np.copysign(np.sqrt(np.maximum(b * b - a * c, 0.0)), b)  # of the root that has no cancellation
    roots = np.stack((far / a, c / far))
    edges = []
    for sign in (1, -1):
        reached = slope * place + sign * np.sqrt(square * (1 / lines.known + place**2 / lines.apart)) >= gap
        ahead = (roots > place) & (sign * (gap - slope * roots) >= 0)
        first = np.min(np.where(ahead, roots, np.inf), axis=0) - place
        ever = (slope + sign * np.sqrt(square / lines.apart) > 0) & np.isfinite(first)
        edges.append(np.where(reached, 0.0, np.where(ever, first, np.nan)))
    there = ~np.isnan(lines.variance)
    return Crossings(*(np.where(there, edge, np.nan) for edge in (edges[0], likely, edges[1])))
