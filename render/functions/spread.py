"""How the series of a list spread: which values they have, in steps of a heat map, and those far out. Of carbonapi."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions.aggregation import fresh
from render.functions.context import Context
from render.functions.registry import SERIES, Param, function
from render.functions.window import check_points
from render.series import Matrix, SeriesList
from render.timespec import parse_interval

_ROWS_AT_ONCE = 64
_WEIGHED = 5  # points by which heatMap() orders its series
_WHOLE_MAX = 1 << 53  # beyond it a float's digits are not all its own
_TUKEY = [
    SERIES,
    Param("basis", "float", required=True, suggestions=(1.5, 3)),
    Param("n", "integer", required=True),
    Param("interval", "intOrInterval", default=0),
]


@function("countValues", group="Combine", params=[SERIES, Param("valuesLimit", "integer", default=32)])
def count_values(context: Context, series: SeriesList, values_limit: int = 32) -> SeriesList:
    """One series for each value that there is, called by it: how many of all series have it, point by point. For
    states, codes and versions that are sent as numbers.

    Values count by their whole part. If there are more than `valuesLimit` of them, the answer is one series of
    zeros that is called valuesLimitReached.

    Example: countValues(servers.*.cpu, 100)
    """
    if values_limit < 1:
        raise ArgumentError("countValues", "valuesLimit", f"takes a number of 1 or more, not {values_limit}")
    if not series:
        return SeriesList()
    block = series.on_one_grid()
    points = block.values.shape[1]
    found = _values(context, block.values, values_limit)
    if len(found) > values_limit:
        return SeriesList([fresh(block, np.zeros((1, points)), ["valuesLimitReached"])])
    check_points("countValues", "valuesLimit", points, series=len(found))
    counts = np.zeros((len(found), points))
    for at in range(0, len(block), _ROWS_AT_ONCE):
        context.check()
        part = block.values[at : at + _ROWS_AT_ONCE]
        known = ~np.isnan(part)
        np.add.at(counts, (np.searchsorted(found, np.trunc(part[known])), np.nonzero(known)[1]), 1.0)
    names = [f"{value:.0f}" if abs(value) < _WHOLE_MAX else f"{value:g}" for value in found.tolist()]
    return SeriesList([fresh(block, counts, names)])


@function("heatMap", group="Combine", params=[SERIES])
def heat_map(context: Context, series: SeriesList) -> SeriesList:
    """What each series has more than the next smaller one, so that counts of `up to 10 ms`, `up to 50 ms` and so on
    become counts of each bucket, which Grafana's heat map shows. Series are ordered by the sum of the first five
    points that all of them have; the smallest has none to be compared with and goes.

    Example: heatMap(servers.*.requests)
    """
    if len(series) < 2:
        return SeriesList()
    block = series.on_one_grid()
    shared = np.flatnonzero(~np.isnan(block.values).any(axis=0))[:_WEIGHED]
    with np.errstate(all="ignore"):
        order = np.argsort(block.values[:, shared].sum(axis=1), kind="stable")
        values = np.diff(block.values[order], axis=0)
    names = [f"heatMap({block.names[more]},{block.names[less]})" for less, more in pairwise(order.tolist())]
    return SeriesList([block.pick(order[1:].tolist()).with_(values).renamed(names)])


@function("tukeyAbove", group="Filter Series", params=_TUKEY)
def tukey_above(
    context: Context, series: SeriesList, basis: float, n: int, interval: int | str = 0
) -> SeriesList:
    """The n series of which most points lie far above the others, most first: at the upper quartile of all points
    plus `basis` times the distance of the quartiles, or beyond. By Tukey, 1.5 is outlying and 3 far out.

    With `interval`, a number of points or a time, only the last so many points are looked at; if it is negative,
    all but those.

    Example: tukeyAbove(servers.*.cpu, 0.5, 3)
    """
    return _far_out("tukeyAbove", series, basis, n, interval, above=True)


@function("tukeyBelow", group="Filter Series", params=_TUKEY)
def tukey_below(
    context: Context, series: SeriesList, basis: float, n: int, interval: int | str = 0
) -> SeriesList:
    """The n series of which most points lie far below the others, most first: at the lower quartile of all points
    less `basis` times the distance of the quartiles, or beyond. See tukeyAbove.

    Example: tukeyBelow(servers.*.cpu, 0.2, 3, "15min")
    """
    return _far_out("tukeyBelow", series, basis, n, interval, above=False)


def _values(context: Context, values: Matrix, most: int) -> npt.NDArray[np.float64]:
    """The different whole parts of the known values, ascending; perhaps not all if there are more than `most`."""
    found = np.empty(0)
    for at in range(0, len(values), _ROWS_AT_ONCE):
        context.check()
        part = values[at : at + _ROWS_AT_ONCE]
        found = np.union1d(found, np.trunc(part[~np.isnan(part)]) + 0.0)  # 0 for -0
        if len(found) > most:
            break
    return found


def _far_out(
    function: str, series: SeriesList, basis: float, n: int, interval: int | str, *, above: bool
) -> SeriesList:
    if basis <= 0:
        raise ArgumentError(function, "basis", f"takes a number above 0, not {basis:g}")
    if n < 1:
        raise ArgumentError(function, "n", f"takes a number of series, 1 or more, not {n}")
    if not series:
        return series
    block = series.on_one_grid()
    values = block.values[:, _looked_at(interval, block.values.shape[1], block.step)]
    known = values[~np.isnan(values)]
    if not known.size:
        return SeriesList()
    first, third = known.size // 4, 3 * known.size // 4
    ordered = np.partition(known, (first, third))
    low, high = ordered[first], ordered[third]
    with np.errstate(all="ignore"):
        beyond = basis * (high - low)
        out = values >= high + beyond if above else values <= low - beyond
    counts = np.count_nonzero(out, axis=1)
    order = np.argsort(-counts, kind="stable")
    return series.pick(order[: np.count_nonzero(counts)][:n])


def _looked_at(interval: int | str, points: int, step: int) -> slice:
    """The last points, or all but them; all where the interval is 0 or longer than the series."""
    size = int(parse_interval(interval) / step) if isinstance(interval, str) else interval
    if 0 < size < points:
        return slice(points - size, points)
    if 0 < -size < points:
        return slice(0, points + size)
    return slice(0, points)
