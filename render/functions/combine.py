"""Functions that make one series of all: group Combine.

Series of different steps meet on the least common multiple of their steps, aligned by time (graphite-web
pairs them by position).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from render.errors import ArgumentError
from render.functions import aggregation
from render.functions.aggregation import fresh, joined
from render.functions.arithmetic import power
from render.functions.column_percentile import percentile_columns
from render.functions.fold import fold_of
from render.functions.registry import AGGREGATIONS, SERIES, SERIES_LISTS, Param, function
from render.series import Block, SeriesList, Tags

if TYPE_CHECKING:
    from render.functions.context import Context

_COMBINE = "Combine"
# sumSeries as an aggregation is allowed here, hence not the type aggFunc
FUNC = Param("func", "aggOrSeriesFunc", required=True, suggestions=AGGREGATIONS)
FACTOR = Param("xFilesFactor", "float")
NODES = Param("nodes", "nodeOrTag", multiple=True)


@function(
    "aggregate",
    group=_COMBINE,
    params=[SERIES, FUNC, FACTOR],
    fold=lambda given: fold_of(given["func"], x_files_factor=given["xFilesFactor"]),
)
def aggregate(context: Context, series: SeriesList, func: str, x_files_factor: float | None) -> SeriesList:
    """One series of all, each point aggregated by `func`: average, median, sum, min, max, diff, stddev,
    count, range, multiply, last and others. A point is there if the part of the series that have one is at
    least `xFilesFactor`.

    Example: aggregate(servers.*.cpu, "median")
    """
    return aggregation.aggregate(series, aggregation.label("aggregate", func), x_files_factor)


@function(
    "sumSeries", "sum", group=_COMBINE, params=[SERIES_LISTS], aggregator=True, fold=lambda _: fold_of("sum")
)
def sum_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The sum of all series, point by point. Missing values are left out.

    Example: sumSeries(servers.*.cpu)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "sum")


@function(
    "averageSeries",
    "avg",
    group=_COMBINE,
    params=[SERIES_LISTS],
    aggregator=True,
    fold=lambda _: fold_of("average"),
)
def average_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The average of all series, point by point. Missing values are left out.

    Example: averageSeries(servers.*.cpu, servers.*.mem)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "average")


@function("minSeries", group=_COMBINE, params=[SERIES_LISTS], aggregator=True, fold=lambda _: fold_of("min"))
def min_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The smallest value of all series, point by point.

    Example: minSeries(servers.*.cpu)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "min")


@function("maxSeries", group=_COMBINE, params=[SERIES_LISTS], aggregator=True, fold=lambda _: fold_of("max"))
def max_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The largest value of all series, point by point.

    Example: maxSeries(servers.*.cpu)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "max")


@function(
    "rangeOfSeries", group=_COMBINE, params=[SERIES_LISTS], aggregator=True, fold=lambda _: fold_of("rangeOf")
)
def range_of_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The largest value less the smallest, point by point: how far apart the series are.

    Example: rangeOfSeries(servers.*.cpu)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "rangeOf")


@function(
    "stddevSeries", group=_COMBINE, params=[SERIES_LISTS], aggregator=True, fold=lambda _: fold_of("stddev")
)
def stddev_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The standard deviation of all series (of the population), point by point.

    Example: stddevSeries(servers.*.cpu)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "stddev")


@function(
    "diffSeries", group=_COMBINE, params=[SERIES_LISTS], aggregator=True, fold=lambda _: fold_of("diff")
)
def diff_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The first series less all others, point by point. Where the first has no value, the next that has one
    is first.

    Example: diffSeries(disk.a.total, disk.a.used)
    """
    return aggregation.aggregate(SeriesList.concat(lists), "diff")


@function("multiplySeries", group=_COMBINE, params=[SERIES_LISTS], aggregator=True)
def multiply_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The product of all series, point by point; missing where one of them is. A series alone stays as it is.

    Example: multiplySeries(servers.web1.cpu, servers.web2.cpu)
    """
    if len(lists) == 1 and len(lists[0]) == 1:
        return lists[0]
    return aggregation.aggregate(SeriesList.concat(lists), "multiply")


@function(
    "powSeries",
    group=_COMBINE,
    params=[Param("seriesList", "seriesList", required=True, multiple=True)],
    aggregator=True,
)
def pow_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The first series to the power of the second, that to the power of the third and so on; missing where
    one is.

    Example: powSeries(odd.tiny, disk.a.total)
    """
    series = SeriesList.concat(lists)
    if not series:
        return SeriesList()
    block = series.on_one_grid()
    values = block.values[0]
    for exponents in block.values[1:]:
        values = power(values, exponents)
    return SeriesList([fresh(block, values[np.newaxis], [f"powSeries({aggregation.cut_join(block.names)})"])])


@function(
    "countSeries", group=_COMBINE, params=[Param("seriesLists", "seriesList", multiple=True)], aggregator=True
)
def count_series(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """How many series there are, as a line. `aggregate(…, "count")` counts those that have a value instead.

    Example: countSeries(servers.*.cpu)
    """
    if not lists:
        return _zero(context)
    series = SeriesList.concat(lists)
    if not series:
        return SeriesList()
    block = series.on_one_grid()
    values = np.full((1, block.values.shape[1]), float(len(block)))
    return SeriesList([fresh(block, values, [f"countSeries({joined(block.expressions)})"])])


@function(
    "percentileOfSeries",
    group=_COMBINE,
    params=[SERIES, Param("n", "float", required=True), Param("interpolate", "boolean", default=False)],
)
def percentile_of_series(context: Context, series: SeriesList, n: float, interpolate: bool) -> SeriesList:
    """The n-th percentile of all series, point by point; of a value that is there, or between two with
    `interpolate`. percentileOverTime() goes over the points of each series instead.

    Example: percentileOfSeries(servers.*.cpu, 95)
    """
    if not 0 < n <= 100:
        raise ArgumentError(
            "percentileOfSeries", "n", f"takes a percentage, more than 0 and at most 100, not {n:g}"
        )
    if not series:
        return SeriesList()
    block = series.on_one_grid()
    values = percentile_columns(block.values, n, interpolate)
    name = f"percentileOfSeries({block.expressions[0]},{n:g})"
    return SeriesList([fresh(block, values[np.newaxis], [name])])


@function("group", group=_COMBINE, params=[Param("seriesLists", "seriesList", multiple=True)])
def group(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """Several lists as one, as they are, for functions that take one list.

    Example: group(servers.*.cpu, disk.*.used)
    """
    return SeriesList.concat(lists)


def _zero(context: Context) -> SeriesList:
    """countSeries() of nothing at all: graphite's line of three points."""
    step = max((context.until - context.start) // 2, 1)
    tags = Tags([{"name": "0"}])
    line = Block(np.zeros((1, 3)), context.start, step, ["0"], ["countSeries()"], tags, ["average"])
    return SeriesList([line.with_(x_files_factor=context.x_files_factor or 0.0, fixed_end=context.until)])
