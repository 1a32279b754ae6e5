"""Functions that choose series by their values or names: group Filter Series."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from render import patterns
from render.functions import measure
from render.functions.context import Context
from render.functions.registry import SERIES, SERIES_LISTS, Param, function
from render.series import Block, Matrix, SeriesList


class Querying(Context, Protocol):
    """A context that also evaluates other targets."""

    def evaluate_text(self, target: str) -> SeriesList: ...


_NUMBER = [SERIES, Param("n", "float", required=True)]
_COUNT = [SERIES, Param("n", "integer", required=True)]
_COUNT_BY = [*_COUNT, Param("func", "aggFunc", default="average")]
_PATTERN = [SERIES, Param("pattern", "string", required=True)]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
}
# join(): whether series stay that both lists have, that only the first has, that only the second has
_JOINS = {
    "AND": (True, False, False),
    "OR": (True, True, True),
    "XOR": (False, True, True),
    "SUB": (False, True, False),
}
_PASS_UNKNOWN = ("!=", "<", "<=")  # what a series without datapoints is


@function(
    "filterSeries",
    group="Filter Series",
    params=[
        SERIES,
        Param("func", "aggFunc", required=True),
        Param("operator", "string", required=True, options=tuple(_OPERATORS)),
        Param("threshold", "float", required=True),
    ],
    each=True,
)
def filter_series(
    context: Context, series: SeriesList, func: str, comparison: str, threshold: float
) -> SeriesList:
    """The series whose aggregation compares so with a number: `=`, `!=`, `>`, `>=`, `<` or `<=`.

    A series without datapoints is kept by `!=`, `<` and `<=`.

    Example: filterSeries(servers.*.cpu, "max", ">", 3)
    """
    numbers = series.measure(lambda block: measure.aggregate(func, block))
    unknown = np.isnan(numbers)
    passes = _OPERATORS[comparison](numbers, threshold)
    return series.keep(np.where(unknown, comparison in _PASS_UNKNOWN, passes))


@function("averageAbove", group="Filter Series", params=_NUMBER, each=True)
def average_above(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose average is above a number.

    Example: averageAbove(servers.*.cpu, 2)
    """
    return filter_series(context, series, "average", ">", n)


@function("averageBelow", group="Filter Series", params=_NUMBER, each=True)
def average_below(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose average is a number or below, and those without datapoints.

    Example: averageBelow(servers.*.cpu, 2)
    """
    return filter_series(context, series, "average", "<=", n)


@function("currentAbove", group="Filter Series", params=_NUMBER, each=True)
def current_above(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose last datapoint is above a number.

    Example: currentAbove(servers.*.cpu, 2)
    """
    return filter_series(context, series, "last", ">", n)


@function("currentBelow", group="Filter Series", params=_NUMBER, each=True)
def current_below(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose last datapoint is a number or below, and those without datapoints.

    Example: currentBelow(servers.*.cpu, 2)
    """
    return filter_series(context, series, "last", "<=", n)


@function("maximumAbove", group="Filter Series", params=_NUMBER, each=True)
def maximum_above(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose maximum is above a number.

    Example: maximumAbove(servers.*.cpu, 2)
    """
    return filter_series(context, series, "max", ">", n)


@function("maximumBelow", group="Filter Series", params=_NUMBER, each=True)
def maximum_below(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose maximum is a number or below, and those without datapoints.

    Example: maximumBelow(servers.*.cpu, 5)
    """
    return filter_series(context, series, "max", "<=", n)


@function("minimumAbove", group="Filter Series", params=_NUMBER, each=True)
def minimum_above(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose minimum is above a number.

    Example: minimumAbove(servers.*.mem, 2)
    """
    return filter_series(context, series, "min", ">", n)


@function("minimumBelow", group="Filter Series", params=_NUMBER, each=True)
def minimum_below(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose minimum is a number or below, and those without datapoints.

    Example: minimumBelow(servers.*.cpu, 2)
    """
    return filter_series(context, series, "min", "<=", n)


@function("highest", group="Filter Series", params=_COUNT_BY)
def highest(context: Context, series: SeriesList, n: int = 1, func: str = "average") -> SeriesList:
    """The n series with the highest aggregation, highest first; a negative n leaves out the last -n instead.
    topk() can fold all others into one.

    Example: highest(servers.*.cpu, 5, "max")
    """
    ranks = measure.ranking(func, series)
    return series.pick(np.argsort(-ranks, kind="stable")[:n])


@function("highestAverage", group="Filter Series", params=_COUNT)
def highest_average(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the highest average, highest first.

    Example: highestAverage(servers.*.cpu, 5)
    """
    return highest(context, series, n, "average")


@function("highestCurrent", group="Filter Series", params=_COUNT)
def highest_current(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the highest last datapoint, highest first.

    Example: highestCurrent(servers.*.cpu, 5)
    """
    return highest(context, series, n, "current")


@function("highestMax", group="Filter Series", params=_COUNT)
def highest_max(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the highest maximum, highest first.

    Example: highestMax(servers.*.cpu, 5)
    """
    return highest(context, series, n, "max")


@function("highestMin", group="Filter Series", params=_COUNT)
def highest_min(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the highest minimum, highest first.

    Example: highestMin(servers.*.mem, 5)
    """
    return highest(context, series, n, "min")


@function("lowest", group="Filter Series", params=_COUNT_BY)
def lowest(context: Context, series: SeriesList, n: int = 1, func: str = "average") -> SeriesList:
    """The n series with the lowest aggregation, lowest first; series without datapoints come before all.

    Example: lowest(servers.*.cpu, 5, "min")
    """
    return series.pick(np.argsort(measure.ranking(func, series), kind="stable")[:n])


@function("lowestAverage", group="Filter Series", params=_COUNT)
def lowest_average(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the lowest average, lowest first; see lowest.

    Example: lowestAverage(servers.*.cpu, 5)
    """
    return lowest(context, series, n, "average")


@function("lowestCurrent", group="Filter Series", params=_COUNT)
def lowest_current(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the lowest last datapoint, lowest first; see lowest.

    Example: lowestCurrent(servers.*.cpu, 5)
    """
    return lowest(context, series, n, "current")


@function("lowestMax", group="Filter Series", params=_COUNT)
def lowest_max(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the lowest maximum, lowest first; see lowest.

    Example: lowestMax(servers.*.cpu, 5)
    """
    return lowest(context, series, n, "max")


@function("lowestMin", group="Filter Series", params=_COUNT)
def lowest_min(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series with the lowest minimum, lowest first; see lowest.

    Example: lowestMin(servers.*.cpu, 5)
    """
    return lowest(context, series, n, "min")


@function("limit", group="Filter Series", params=_COUNT)
def limit(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The first n series; a negative n leaves out the last -n instead.

    Example: limit(servers.*.cpu, 10)
    """
    return series.pick(np.arange(len(series))[:n])


@function("mostDeviant", group="Filter Series", params=_COUNT)
def most_deviant(context: Context, series: SeriesList, n: int) -> SeriesList:
    """The n series whose datapoints vary most about their average, most first; none without datapoints.

    Example: mostDeviant(servers.*.cpu, 5)
    """
    deviations = series.measure(lambda block: measure.aggregate("stddev", block))
    order = np.argsort(-deviations, kind="stable")  # NaN sorts last
    return series.pick(order[: np.count_nonzero(~np.isnan(deviations))][:n])


@function("averageOutsidePercentile", group="Filter Series", params=_NUMBER)
def average_outside_percentile(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series whose average is not between the (100-n)-th and the n-th percentile of all averages.

    Series without datapoints have none and go (graphite-web fails on them).

    Example: averageOutsidePercentile(servers.*.cpu, 95)
    """
    measure.check_percent("averageOutsidePercentile", n)
    averages = series.measure(lambda block: measure.aggregate("average", block))
    return series.keep(_outside(averages[:, None], n)[:, 0])


@function("removeBetweenPercentile", group="Filter Series", params=_NUMBER)
def remove_between_percentile(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series of which any datapoint is not between the (100-n)-th and the n-th percentile of its time.

    Missing datapoints do not count (graphite-web fails on them).

    Example: removeBetweenPercentile(servers.*.cpu, 95)
    """
    measure.check_percent("removeBetweenPercentile", n)
    if not series:
        return series
    return series.keep(np.any(_outside(series.on_one_grid().values, n), axis=1))


@function(
    "removeEmptySeries", group="Filter Series", params=[SERIES, Param("xFilesFactor", "float")], each=True
)
def remove_empty_series(
    context: Context, series: SeriesList, x_files_factor: float | None = None
) -> SeriesList:
    """The series that have any datapoint, or of whose points the part `xFilesFactor` is known.

    Example: removeEmptySeries(servers.*.cpu, 0.5)
    """

    return _with_enough(series, lambda values: ~np.isnan(values), x_files_factor)


@function(
    "removeZeroSeries", group="Filter Series", params=[SERIES, Param("xFilesFactor", "float")], each=True
)
def remove_zero_series(
    context: Context, series: SeriesList, x_files_factor: float | None = None
) -> SeriesList:
    """The series that have any datapoint other than 0, or of whose points the part `xFilesFactor` is known and
    not 0.

    Example: removeZeroSeries(odd.*)
    """
    return _with_enough(series, lambda values: ~np.isnan(values) & (values != 0), x_files_factor)


@function("unique", group="Filter Series", params=[SERIES_LISTS])
def unique(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The series of all lists without those whose name was there before.

    Example: unique(servers.web1.cpu, servers.*.cpu)
    """
    series = SeriesList.concat(lists)
    first: dict[str, int] = {}
    for i, name in enumerate(series.names):
        first.setdefault(name, i)
    return series.pick(list(first.values()))


@function(
    "join",
    group="Filter Series",
    params=[
        Param("seriesA", "seriesList", required=True),
        Param("seriesB", "seriesList", required=True),
        Param("type", "string", default="AND", options=(*_JOINS, *map(str.lower, _JOINS))),
    ],
)
def join(context: Context, first: SeriesList, second: SeriesList, how: str = "AND") -> SeriesList:
    """Two lists as sets of names. `AND`: the first list's series that the second has too; `SUB`: those that it
    has not; `OR`: the first list, and what only the second has; `XOR`: what only one of them has.

    Example: join(servers.*.cpu, servers.web*.cpu, "SUB")
    """
    ours, theirs = set(first.names), set(second.names)
    shared, alone, other = _JOINS[how.upper()]
    kept = first.keep([shared if name in theirs else alone for name in first.names])
    return SeriesList.concat([kept, second.keep([other and name not in ours for name in second.names])])


@function("grep", group="Filter Series", params=_PATTERN, each=True)
def grep(context: Context, series: SeriesList, pattern: str) -> SeriesList:
    """The series in whose name a regular expression is found.

    Example: grep(servers.*.cpu, "web[12]")
    """
    context.may_wait()
    search = patterns.compile("grep", "pattern", pattern).search
    return series.keep([search(name) is not None for name in series.names])


@function("exclude", group="Filter Series", params=_PATTERN, each=True)
def exclude(context: Context, series: SeriesList, pattern: str) -> SeriesList:
    """The series in whose name a regular expression is not found.

    Example: exclude(servers.*.cpu, "web[12]")
    """
    context.may_wait()
    search = patterns.compile("exclude", "pattern", pattern).search
    return series.keep([search(name) is None for name in series.names])


@function(
    "useSeriesAbove",
    "aboveSeries",
    group="Filter Series",
    params=[
        SERIES,
        Param("value", "float", required=True),
        Param("search", "string", required=True),
        Param("replace", "string", required=True),
    ],
)
def use_series_above(
    context: Querying, series: SeriesList, value: float, search: str, replace: str
) -> SeriesList:
    """For each series whose maximum is above a number, another one: its name with a pattern replaced.

    Missing datapoints do not count (graphite-web fails on them).

    Example: useSeriesAbove(servers.*.requests, 10, "requests", "cpu")
    """
    context.may_wait()
    pattern = patterns.compile("useSeriesAbove", "search", search)
    above = maximum_above(context, series, value)
    found = [context.evaluate_text(pattern.sub(replace, name)) for name in above.names]
    return SeriesList.concat(found)


def _with_enough(
    series: SeriesList, counts: Callable[[Matrix], npt.NDArray[np.bool_]], part: float | None
) -> SeriesList:
    """The series of whose points at least this part counts, and any at all."""

    def counted(block: Block) -> npt.NDArray[np.float64]:
        found = np.count_nonzero(counts(block.values), axis=1)
        return np.where(found > 0, found / max(block.values.shape[1], 1), -1.0)

    return series.keep(series.measure(counted) >= max(part or 0.0, 0.0))


def _outside(values: Matrix, n: float) -> npt.NDArray[np.bool_]:
    """Which values are known and not between the two percentiles of their column: bool, as values."""
    n = max(n, 100 - n)
    low, high = measure.percentile(values.T, 100 - n), measure.percentile(values.T, n)
    between = (low < values) & (values < high)
    return ~between & ~np.isnan(values)
