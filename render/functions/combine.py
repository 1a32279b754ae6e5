"""Functions that make few series of many, or pair series up: group Combine.

Series of different steps meet on the least common multiple of their steps, aligned by time (graphite-web
pairs them by position).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from render.errors import ArgumentError
from render.functions import aggregation, short_forms
from render.functions.aggregation import aggregate_groups, fresh, joined, pairs, together
from render.functions.column_percentile import percentile_columns
from render.functions.fold import Fold, fold_of
from render.functions.nodes import list_keys, members
from render.functions.registry import AGGREGATIONS, REGISTRY, SERIES, SERIES_LISTS, Param, function
from render.series import Block, Matrix, SeriesList, Tags, parse_tags
from render.target import DEFAULT_LIMITS
from storage.consolidation import Row

if TYPE_CHECKING:
    from render.functions.context import Context

_COMBINE = "Combine"
# sumSeries as an aggregation is allowed here, hence not the type aggFunc
_FUNC = Param("func", "aggOrSeriesFunc", required=True, suggestions=AGGREGATIONS)
_CALLBACK = Param("callback", "aggOrSeriesFunc", required=True, suggestions=AGGREGATIONS)
_FACTOR = Param("xFilesFactor", "float")
_PAIR = (
    Param("seriesListFirstPos", "seriesList", required=True),
    Param("seriesListSecondPos", "seriesList", required=True),
)
_UNPAIRED = (Param("default", "float"), Param("matching", "boolean"))
_POSITIONS = Param("position", "node", multiple=True)
_NODES = Param("nodes", "nodeOrTag", multiple=True)
_PAIRS_AT_ONCE = 64  # more do not fit the processor's cache
# what groupByNode's callback means when it is one of these functions: the same as aggregate() with
_AGGREGATES = {
    **short_forms.FUNCS,
    "averageSeries": "average",
    "avg": "average",
    "diffSeries": "diff",
    "maxSeries": "max",
    "minSeries": "min",
    "rangeOfSeries": "rangeOf",
    "stddevSeries": "stddev",
    "sum": "sum",
    "sumSeries": "sum",
}


# --- all series into one ---


@function(
    "aggregate",
    group=_COMBINE,
    params=[SERIES, _FUNC, _FACTOR],
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
        values = _power(values, exponents)
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


# --- groups of series into one each ---


@function(
    "groupByNode",
    group=_COMBINE,
    params=[
        SERIES,
        Param("nodeNum", "nodeOrTag", required=True),
        Param("callback", "aggOrSeriesFunc", default="average", suggestions=AGGREGATIONS),
    ],
    fold=lambda given: _grouping(given["callback"], [given["nodeNum"]]),
)
def group_by_node(context: Context, series: SeriesList, node: int | str, callback: str) -> SeriesList:
    """One series for each value of a node (counted from 0, negative from the end) or tag, made by `callback`: an
    aggregation, or a function that takes one list, of which the first series counts.

    Example: groupByNode(servers.*.*, 2, "sum")
    """
    return _grouped(context, "groupByNode", series, list_keys(series, [node]), callback)


@function(
    "groupByNodes",
    group=_COMBINE,
    params=[SERIES, _CALLBACK, _NODES],
    fold=lambda given: _grouping(given["callback"], given["nodes"]),
)
def group_by_nodes(
    context: Context, series: SeriesList, callback: str, nodes: Sequence[int | str]
) -> SeriesList:
    """One series for each combination of nodes (counted from 0, negative from the end) or tags, made by
    `callback`.

    Example: groupByNodes(servers.*.*, "sum", 0, 2)
    """
    return _grouped(context, "groupByNodes", series, list_keys(series, nodes), callback)


@function(
    "groupByTags",
    group=_COMBINE,
    params=[SERIES, _CALLBACK, Param("tags", "tag", required=True, multiple=True)],
)
def group_by_tags(context: Context, series: SeriesList, callback: str, tags: Sequence[str]) -> SeriesList:
    """One series for each combination of tags, made by `callback`. Its name is that of the series if they
    share it, or the callback, and the tags.

    Example: groupByTags(seriesByTag("name=load"), "sum", "dc")
    """
    keys = _tag_keys(series, callback, tags)
    made = _grouped(context, "groupByTags", series, keys, callback)
    return made.map(
        lambda block: block.renamed(block.names, Tags([parse_tags(name) for name in block.names]))
    )


@function(
    "aggregateWithWildcards",
    group=_COMBINE,
    params=[SERIES, _FUNC, _POSITIONS],
    fold=lambda given: _without(given["func"], given["position"]),
)
def aggregate_with_wildcards(
    context: Context, series: SeriesList, func: str, positions: Sequence[int]
) -> SeriesList:
    """One series for all whose names are equal but for the nodes at `position`, called by what is left of the
    name.

    Example: aggregateWithWildcards(servers.*.cpu, "sum", 1)
    """
    shown = aggregation.label("aggregateWithWildcards", func)
    return aggregate_groups(series, members(_names_without(series, positions)), shown, check=context.check)


@function(
    "sumSeriesWithWildcards",
    group=_COMBINE,
    params=[SERIES, _POSITIONS],
    aggregator=True,
    fold=lambda given: _without("sum", given["position"]),
)
def sum_series_with_wildcards(context: Context, series: SeriesList, positions: Sequence[int]) -> SeriesList:
    """The sum of all series whose names are equal but for the nodes at `position`.

    Example: sumSeriesWithWildcards(servers.*.*, 1)
    """
    return aggregate_with_wildcards(context, series, "sum", positions)


@function(
    "averageSeriesWithWildcards",
    group=_COMBINE,
    params=[SERIES, _POSITIONS],
    aggregator=True,
    fold=lambda given: _without("average", given["position"]),
)
def average_series_with_wildcards(
    context: Context, series: SeriesList, positions: Sequence[int]
) -> SeriesList:
    """The average of all series whose names are equal but for the nodes at `position`.

    Example: averageSeriesWithWildcards(servers.*.*, 1)
    """
    return aggregate_with_wildcards(context, series, "average", positions)


@function("multiplySeriesWithWildcards", group=_COMBINE, params=[SERIES, _POSITIONS], aggregator=True)
def multiply_series_with_wildcards(
    context: Context, series: SeriesList, positions: Sequence[int]
) -> SeriesList:
    """The product of all series whose names are equal but for the nodes at `position`; missing where one of
    them is.

    Example: multiplySeriesWithWildcards(servers.*.*, 1)
    """
    return aggregate_with_wildcards(context, series, "multiply", positions)


@function(
    "applyByNode",
    group=_COMBINE,
    params=[
        SERIES,
        Param("nodeNum", "node", required=True),
        Param("templateFunction", "string", required=True),
        Param("newName", "string"),
    ],
)
def apply_by_node(
    context: Context, series: SeriesList, node: int, template: str, new_name: str | None
) -> SeriesList:
    """For each different beginning of the series' names, up to the node `nodeNum`: the target
    `templateFunction` with every % replaced by it, called `newName` if given, in which % is replaced too.

    Example: applyByNode(disk.{a,b}.used, 1, "asPercent(%.used,%.total)", "%.percent")
    """
    prefixes = sorted({".".join(name.split(".")[: node + 1]) for name in series.names})
    return SeriesList.concat(_applied(context, template, prefix, new_name) for prefix in prefixes)


# --- map and reduce ---


@function(
    "mapSeries",
    "map",
    group=_COMBINE,
    params=[SERIES, Param("mapNodes", "nodeOrTag", required=True, multiple=True)],
)
def map_series(context: Context, series: SeriesList, nodes: Sequence[int | str]) -> SeriesList:
    """The series ordered by nodes or tags, for reduceSeries().

    Example: reduceSeries(mapSeries(disk.{a,b}.*, 1), "asPercent", 2, "used", "total")
    """
    # a list of lists in graphite-web; reduceSeries goes through them as through one
    places = [i for at in members(list_keys(series, nodes)).values() for i in at]
    return SeriesList(series.blocks, series.order[np.array(places, dtype=np.intp)])


@function(
    "reduceSeries",
    "reduce",
    group=_COMBINE,
    params=[
        Param("seriesLists", "seriesLists", required=True),
        Param("reduceFunction", "string", required=True),
        Param("reduceNode", "node", required=True),
        Param("reduceMatchers", "string", required=True, multiple=True),
    ],
)
def reduce_series(
    context: Context, series: SeriesList, reduce_function: str, node: int, matchers: Sequence[str]
) -> SeriesList:
    """For the series that differ only from node `reduceNode` on: `reduceFunction` of those whose node is the
    first matcher, the second and so on; called `<nodes before>.reduce.<function>`.

    Example: reduceSeries(mapSeries(disk.{a,b}.*, 1), "asPercent", 2, "used", "total")
    """
    made = []
    for key, places in _matched(series, reduce_function, node, matchers).items():
        missing = [matcher for matcher, place in zip(matchers, places, strict=True) if place is None]
        if missing:
            raise ArgumentError(
                "reduceSeries", "reduceMatchers", f"no series of {key!r} has the node {missing[0]!r}"
            )
        lists = [series.pick([place]) for place in places if place is not None]
        made.append(_first("reduceSeries", reduce_function, context.call(reduce_function, *lists), key))
    return SeriesList.concat(made)


# --- pairs of series ---


@function("aggregateSeriesLists", group=_COMBINE, params=[*_PAIR, _FUNC, _FACTOR])
def aggregate_series_lists(
    context: Context, first: SeriesList, second: SeriesList, func: str, x_files_factor: float | None
) -> SeriesList:
    """The first series of both lists aggregated, the second of both, and so on; the lists are equally long.

    Example: aggregateSeriesLists(disk.{a,b}.used, disk.{a,b}.total, "diff")
    """
    _check_lengths("aggregateSeriesLists", "seriesListSecondPos", first, second)
    shown = aggregation.label("aggregateSeriesLists", func)
    return SeriesList(_aggregated_pair(a, b, shown, x_files_factor) for a, b in pairs(first, second))


@function("sumSeriesLists", group=_COMBINE, params=[*_PAIR, *_UNPAIRED], aggregator=True)
def sum_series_lists(
    context: Context,
    first: SeriesList,
    second: SeriesList,
    default: float | None = None,
    matching: bool | None = None,
) -> SeriesList:
    """The sums of the first series of both lists, the second of both, and so on; the lists are equally long.

    With a `default`, they need not be: series are paired by name, and the number stands for a series that is
    not there, also for all of an empty list; one series alone in the second list pairs with each of the first.
    With `matching`, series are paired by name in any case, and without a `default` those that have no partner
    go. These two are carbonapi's.

    Example: sumSeriesLists(servers.{web1,web2}.cpu, servers.{web1,web2}.mem)
    """
    first, second = _partners("sumSeriesLists", "seriesListSecondPos", first, second, default, matching)
    return aggregate_series_lists(context, first, second, "sum", None)


@function("diffSeriesLists", group=_COMBINE, params=[*_PAIR, *_UNPAIRED], aggregator=True)
def diff_series_lists(
    context: Context,
    first: SeriesList,
    second: SeriesList,
    default: float | None = None,
    matching: bool | None = None,
) -> SeriesList:
    """The differences of the first series of both lists, the second of both, and so on; the lists are equally
    long, or paired as sumSeriesLists() does it with a `default` or `matching`.

    Example: diffSeriesLists(disk.{a,b}.total, disk.{a,b}.used)
    """
    first, second = _partners("diffSeriesLists", "seriesListSecondPos", first, second, default, matching)
    return aggregate_series_lists(context, first, second, "diff", None)


@function("multiplySeriesLists", group=_COMBINE, params=[*_PAIR, *_UNPAIRED], aggregator=True)
def multiply_series_lists(
    context: Context,
    first: SeriesList,
    second: SeriesList,
    default: float | None = None,
    matching: bool | None = None,
) -> SeriesList:
    """The products of the first series of both lists, the second of both, and so on; the lists are equally
    long, or paired as sumSeriesLists() does it with a `default` or `matching`.

    Example: multiplySeriesLists(servers.{web1,web2}.cpu, servers.{web1,web2}.mem)
    """
    first, second = _partners("multiplySeriesLists", "seriesListSecondPos", first, second, default, matching)
    return aggregate_series_lists(context, first, second, "multiply", None)


@function(
    "divideSeries",
    group=_COMBINE,
    params=[
        Param("dividendSeriesList", "seriesList", required=True),
        Param("divisorSeries", "seriesList", required=True),
    ],
)
def divide_series(context: Context, dividends: SeriesList, divisor: SeriesList) -> SeriesList:
    """Each series divided by one; missing where that is 0 or missing, everywhere if there is none.

    Example: divideSeries(disk.*.used, disk.a.total)
    """
    if len(divisor) > 1:
        raise ArgumentError("divideSeries", "divisorSeries", f"takes exactly 1 series, not {len(divisor)}")
    if not divisor:
        return dividends.map(_undivided)
    return dividends.map(lambda block: _quotient("divideSeries", *together(SeriesList([block]), divisor)))


@function(
    "divideSeriesLists",
    group=_COMBINE,
    params=[
        Param("dividendSeriesList", "seriesList", required=True),
        Param("divisorSeriesList", "seriesList", required=True),
        *_UNPAIRED,
    ],
)
def divide_series_lists(
    context: Context,
    dividends: SeriesList,
    divisors: SeriesList,
    default: float | None = None,
    matching: bool | None = None,
) -> SeriesList:
    """The first series of the first list divided by the first of the second, and so on; the lists are equally
    long, or paired as sumSeriesLists() does it with a `default` or `matching`.

    Example: divideSeriesLists(disk.{a,b}.used, disk.{a,b}.total)
    """
    dividends, divisors = _partners(
        "divideSeriesLists", "divisorSeriesList", dividends, divisors, default, matching
    )
    return SeriesList(_quotient("divideSeries", a, b) for a, b in pairs(dividends, divisors))


@function("powSeriesLists", group=_COMBINE, params=[*_PAIR, *_UNPAIRED])
def pow_series_lists(
    context: Context,
    first: SeriesList,
    second: SeriesList,
    default: float | None = None,
    matching: bool | None = None,
) -> SeriesList:
    """The first series of the first list to the power of the first of the second, and so on; missing where one
    is or where that is no number. The lists are equally long, or paired as sumSeriesLists() does it with a
    `default` or `matching`.

    Example: powSeriesLists(servers.{web1,web2}.cpu, odd.{tiny,zero})
    """
    first, second = _partners("powSeriesLists", "seriesListSecondPos", first, second, default, matching)
    return SeriesList(_powers(a, b) for a, b in pairs(first, second))


@function("asPercent", "pct", group=_COMBINE, params=[SERIES, Param("total", "any"), _NODES], aggregator=True)
def as_percent(context: Context, series: SeriesList, total: object, nodes: Sequence[int | str]) -> SeriesList:
    """Each series as a percentage of a total: of the sum of all (none given), of a number, of one series, or
    of a list that is as long, paired by name. With `nodes`, of the total series (or of the sum of the series)
    that agree in these nodes or tags.

    Example: asPercent(disk.*.used, disk.*.total, 1)
    """
    if not series:
        return SeriesList()
    if nodes:
        return _percent_by_nodes(context, series, total, nodes)
    if total is None:
        block = series.on_one_grid()
        line = aggregation.reduce("sum", block.values, 0.0)
        return SeriesList([_percent(block, line, f"sumSeries({joined(block.expressions)})")])
    if isinstance(total, SeriesList):
        return _percent_of_series(series, total)
    if isinstance(total, (int, float)) and not isinstance(total, bool):
        line, text = np.array([float(total)]), str(total)
        return series.map(lambda block: _percent(block, line, text))
    raise ArgumentError("asPercent", "total", f"takes a number or a series list, not {total!r}")


@function(
    "weightedAverage",
    group=_COMBINE,
    params=[
        Param("seriesListAvg", "seriesList", required=True),
        Param("seriesListWeight", "seriesList", required=True),
        _NODES,
    ],
)
def weighted_average(
    context: Context, averages: SeriesList, weights: SeriesList, nodes: Sequence[int | str]
) -> SeriesList:
    """The average of series by the weights that agree with them in `nodes`, divided by the sum of all
    weights.

    Example: weightedAverage(servers.*.cpu, servers.*.mem, 1)
    """
    _check_lengths("weightedAverage", "seriesListWeight", averages, weights)
    weight_of = dict(zip(list_keys(weights, nodes), range(len(weights)), strict=True))  # the last of equals
    average_of = dict(zip(list_keys(averages, nodes), range(len(averages)), strict=True))
    paired = [(at, weight_of[key]) for key, at in average_of.items() if key in weight_of]
    if not paired:
        return SeriesList()
    values, weighing = together(averages, weights)
    left, right = map(list, zip(*paired, strict=True))
    factor = max(values.x_files_factor, weighing.x_files_factor)
    with np.errstate(all="ignore"):
        weighted = values.values[left] * weighing.values[right]
    products = aggregation.reduce("sum", weighted, factor)
    line = _ratio(products, aggregation.reduce("sum", weighing.values, factor))
    texts = [aggregation.cut_join(sorted(set(block.expressions))) for block in (values, weighing)]
    name = f"weightedAverage({texts[0]}, {texts[1]}, {','.join(map(str, nodes))})"
    return SeriesList([fresh(values, line[np.newaxis], [name])])


# --- how ---


def _applied(context: Context, template: str, prefix: str, new_name: str | None) -> SeriesList:
    """applyByNode() for one prefix, which is what outer functions print."""
    called = _filled("newName", new_name, prefix) if new_name else None

    def renamed(block: Block) -> Block:
        names = block.names if called is None else [called] * len(block)
        return block.with_(names=names, expressions=[prefix] * len(block))

    return context.evaluate_text(_filled("templateFunction", template, prefix)).map(renamed)


def _filled(argument: str, text: str, prefix: str) -> str:
    chars = len(text) + text.count("%") * len(prefix)
    if chars > DEFAULT_LIMITS.target_chars_max:
        reason = f"has {chars} characters with each % replaced; at most {DEFAULT_LIMITS.target_chars_max}"
        raise ArgumentError("applyByNode", argument, reason)
    return text.replace("%", prefix)


def _zero(context: Context) -> SeriesList:
    """countSeries() of nothing at all: graphite's line of three points."""
    step = max((context.until - context.start) // 2, 1)
    tags = Tags([{"name": "0"}])
    line = Block(np.zeros((1, 3)), context.start, step, ["0"], ["countSeries()"], tags, ["average"])
    return SeriesList([line.with_(x_files_factor=context.x_files_factor or 0.0, fixed_end=context.until)])


def _power(base: Row, exponent: Row) -> Row:
    """base ** exponent where both are there and the outcome is a number that a float holds."""
    with np.errstate(all="ignore"):
        out = np.power(base, exponent)
    # inf where math.pow raises (overflow, 0 to a negative power); 1 for nan ** 0 and 1 ** nan
    invented = np.isinf(out) & np.isfinite(base) & np.isfinite(exponent)
    return np.where(invented | np.isnan(base) | np.isnan(exponent), np.nan, out)


def _names_without(series: SeriesList, positions: Sequence[int]) -> list[str]:
    """The series' names without the nodes at these positions."""
    away = frozenset(positions)
    return [
        ".".join(part for i, part in enumerate(name.split(".")) if i not in away) for name in series.names
    ]


def _without(func: str, positions: Sequence[int]) -> Fold | None:
    return fold_of(func, lambda series: _names_without(series, positions))


def _grouping(callback: str, nodes: Sequence[int | str]) -> Fold | None:
    if callback in REGISTRY.functions and callback not in _AGGREGATES:
        return None
    return fold_of(_AGGREGATES.get(callback, callback), lambda series: list_keys(series, nodes))


def _grouped(
    context: Context, function: str, series: SeriesList, keys: Sequence[str], callback: str
) -> SeriesList:
    """One series a key, made by an aggregation or by the first that a function gives."""
    groups = members(keys)
    func = _AGGREGATES.get(callback)
    if func is None and callback not in REGISTRY.functions:
        func = aggregation.label(function, callback)
    if func is not None:
        return aggregate_groups(series, groups, func, check=context.check)
    return SeriesList.concat(
        _first(function, callback, context.call(callback, series.pick(at)), key) for key, at in groups.items()
    )


def _first(function: str, callback: str, made: SeriesList, name: str) -> SeriesList:
    """The first series that a callback has made, under another name."""
    if not made:
        raise ArgumentError(function, callback, f"gives no series for {name!r}")
    return made.pick([0]).map(lambda block: block.with_(names=[name]))


def _tag_keys(series: SeriesList, callback: str, tags: Sequence[str]) -> list[str]:
    """`name;tag=value;…` for each series, the tags in order. Raises ArgumentError if one lacks a tag."""
    owns = series.tags
    names = {own.get("name", "") for own in owns}
    common = names.pop() if len(names) == 1 else callback
    wanted = sorted(set(tags) - {"name"})
    keys = []
    for own, name in zip(owns, series.names, strict=True):
        lacking = next((tag for tag in tags if not own.get(tag)), None)
        if lacking is not None:
            raise ArgumentError("groupByTags", "tags", f"{name!r} has no tag {lacking!r}")
        head = own["name"] if "name" in tags else common
        keys.append(";".join([head, *(f"{tag}={own[tag]}" for tag in wanted)]))
    return keys


def _matched(
    series: SeriesList, reduce_function: str, node: int, matchers: Sequence[str]
) -> dict[str, list[int | None]]:
    """Under each output's name the places of the series whose node is the first matcher, the second and so
    on.
    """
    found: dict[str, list[int | None]] = {}
    for place, name in enumerate(series.names):
        parts = name.split(".")
        if not -len(parts) <= node < len(parts):
            raise ArgumentError("reduceSeries", "reduceNode", f"{name!r} has no node {node}")
        if parts[node] in matchers:
            key = ".".join(parts[:node]) + ".reduce." + reduce_function
            found.setdefault(key, [None] * len(matchers))[matchers.index(parts[node])] = place
    return found


def _check_lengths(function: str, parameter: str, first: SeriesList, second: SeriesList) -> None:
    if len(first) != len(second):
        raise ArgumentError(
            function, parameter, f"takes as many series as the first list, {len(first)}, not {len(second)}"
        )


def _partners(
    function: str,
    parameter: str,
    first: SeriesList,
    second: SeriesList,
    default: float | None,
    matching: bool | None,
) -> tuple[SeriesList, SeriesList]:
    """Both lists, equally long: the i-th series are a pair. A number may stand for what is not there.

    Without `default` and `matching` this is graphite-web's rule. Raises ArgumentError if the lengths differ.
    """
    if default is not None and not first:
        return _flat(second, default), second
    if default is not None and len(second) == 1 and not matching:
        return first, second.pick([0] * len(first))
    if not matching and (default is None or len(first) == len(second)):
        _check_lengths(function, parameter, first, second)
        return first, second
    place = {name: i for i, name in enumerate(second.names)}  # the last of equals
    if default is None:
        first = first.keep([name in place for name in first.names])
    there = SeriesList.concat([second, _flat(first, default or 0.0)])
    return first, there.pick([place.get(name, len(second) + i) for i, name in enumerate(first.names)])


def _flat(series: SeriesList, value: float) -> SeriesList:
    """A number as series: one on the grid of each."""

    def line(block: Block) -> Block:
        return fresh(block, np.broadcast_to(value, block.values.shape), [f"{value:g}"] * len(block))

    return series.map(line)


def _powers(bases: Block, exponents: Block) -> Block:
    names = [f"powSeries({a},{b})" for a, b in zip(bases.names, exponents.names, strict=True)]
    return fresh(bases, _power(bases.values, exponents.values), names)


def _aggregated_pair(first: Block, second: Block, func: str, x_files_factor: float | None) -> Block:
    """Row i of both blocks aggregated. The names are made of the series' names, what outer functions print is
    not.
    """
    factor = max(first.x_files_factor, second.x_files_factor) if x_files_factor is None else x_files_factor
    values = np.empty_like(first.values)
    for at in range(0, len(first), _PAIRS_AT_ONCE):
        some = slice(at, at + _PAIRS_AT_ONCE)
        both = np.stack((first.values[some], second.values[some]))
        values[some] = aggregation.reduce(func, both.reshape(2, -1), factor).reshape(both.shape[1:])
    names = [f"{func}Series({a},{b})" for a, b in zip(first.names, second.names, strict=True)]
    expressions = [
        f"{func}Series({joined(both)})" for both in zip(first.expressions, second.expressions, strict=True)
    ]
    tags = [
        aggregation.described(aggregation.shared_tags(first.tags[i], second.tags[i]), expression, func)
        for i, expression in enumerate(expressions)
    ]
    methods = [
        aggregation.consolidation_of(func, both)
        for both in zip(first.consolidations, second.consolidations, strict=True)
    ]
    return Block(
        values, first.start, first.step, names, expressions, Tags(tags), methods,
        x_files_factor=factor,
    )  # fmt: skip


def _undivided(block: Block) -> Block:
    """divideSeries() without a divisor."""
    names = [f"divideSeries({name},MISSING)" for name in block.names]
    return block.with_(np.full_like(block.values, np.nan)).renamed(names)


def _quotient(function: str, dividends: Block, divisors: Block) -> Block:
    """Row by row, or all rows by one."""
    by = divisors.names if len(divisors) == len(dividends) else [divisors.names[0]] * len(dividends)
    names = [f"{function}({a},{b})" for a, b in zip(dividends.names, by, strict=True)]
    return fresh(dividends, _ratio(dividends.values, divisors.values), names)


def _ratio(dividends: Matrix, divisors: Matrix) -> Matrix:
    """NaN where the divisor is 0; the divisors may be one row or number for all."""
    with np.errstate(all="ignore"):
        out: Matrix = dividends / divisors
    np.copyto(out, np.nan, where=divisors == 0)
    return out


def _percentage(parts: Matrix, totals: Matrix) -> Matrix:
    out = _ratio(parts, totals)
    out *= 100.0
    return out


def _percent(block: Block, total: Matrix, text: str) -> Block:
    """All rows as percentages of one line (points,) or number (1,)."""
    return fresh(
        block, _ratio(block.values, total) * 100.0, [f"asPercent({name},{text})" for name in block.names]
    )


def _percent_of_series(series: SeriesList, total: SeriesList) -> SeriesList:
    """Of one series, or of a list as long, paired in the order of their names."""
    if len(total) == len(series):
        by_name = [one.pick(sorted(range(len(one)), key=one.names.__getitem__)) for one in (series, total)]
        return SeriesList(_percent_pair(a, b) for a, b in pairs(*by_name))
    if len(total) != 1:
        takes = f"a number, one series or as many as the first list, {len(series)}"
        raise ArgumentError("asPercent", "total", f"takes {takes}, not {len(total)}")

    def percent(block: Block) -> Block:
        first, line = together(SeriesList([block]), total)
        return _percent(first, line.values[0], total.names[0])

    return series.map(percent)


def _percent_pair(series: Block, total: Block) -> Block:
    names = [f"asPercent({a},{b})" for a, b in zip(series.names, total.names, strict=True)]
    return fresh(series, _percentage(series.values, total.values), names)


def _percent_by_nodes(
    context: Context, series: SeriesList, total: object, nodes: Sequence[int | str]
) -> SeriesList:
    """Of the total with the same key. A key that only one side has gives a series without values."""
    if total is not None and not isinstance(total, SeriesList):
        raise ArgumentError("asPercent", "total", f"takes a series list or none beside nodes, not {total!r}")
    totals = series if total is None else total
    left = right = series.on_one_grid()
    if total is not None and totals:
        left, right = together(series, totals)
    mine, theirs = members(list_keys(series, nodes)), members(list_keys(totals, nodes))
    rows = list(map(np.array, theirs.values()))
    sums = aggregation.reduce_groups("sum", right.values, rows, 0.0, context.check)
    texts = {key: _total_text(right, at) for key, at in theirs.items()}
    lines = dict(zip(theirs, sums, strict=True))
    alone = [key for key in theirs if key not in mine]
    values = np.full((len(series) + len(alone), left.values.shape[1]), np.nan)
    names: list[str] = []
    for key, at in mine.items():
        if key in lines:
            values[len(names) : len(names) + len(at)] = _percentage(left.values[at], lines[key])
        names += [f"asPercent({left.names[i]},{texts.get(key, 'MISSING')})" for i in at]
    names += [f"asPercent(MISSING,{texts[key]})" for key in alone]
    return SeriesList([fresh(left, values, names)])


def _total_text(block: Block, rows: Sequence[int]) -> str:
    if len(rows) == 1:
        return block.names[rows[0]]
    return f"sumSeries({joined(block.expressions[i] for i in rows)})"
