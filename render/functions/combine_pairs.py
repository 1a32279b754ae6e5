"""Functions of pairs: each series of one list with its partner of another. Group Combine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from render.errors import ArgumentError
from render.functions import aggregation
from render.functions.aggregation import fresh, joined, pairs, together
from render.functions.arithmetic import power, ratio
from render.functions.combine import FACTOR, FUNC, NODES
from render.functions.nodes import list_keys
from render.functions.registry import Param, function
from render.series import Block, SeriesList, Tags

if TYPE_CHECKING:
    from render.functions.context import Context

_COMBINE = "Combine"
_PAIR = (
    Param("seriesListFirstPos", "seriesList", required=True),
    Param("seriesListSecondPos", "seriesList", required=True),
)
_UNPAIRED = (Param("default", "float"), Param("matching", "boolean"))
_PAIRS_AT_ONCE = 64  # more do not fit the processor's cache


@function("aggregateSeriesLists", group=_COMBINE, params=[*_PAIR, FUNC, FACTOR])
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


@function(
    "weightedAverage",
    group=_COMBINE,
    params=[
        Param("seriesListAvg", "seriesList", required=True),
        Param("seriesListWeight", "seriesList", required=True),
        NODES,
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
    line = ratio(products, aggregation.reduce("sum", weighing.values, factor))
    texts = [aggregation.cut_join(sorted(set(block.expressions))) for block in (values, weighing)]
    name = f"weightedAverage({texts[0]}, {texts[1]}, {','.join(map(str, nodes))})"
    return SeriesList([fresh(values, line[np.newaxis], [name])])


# --- how ---


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
    return fresh(bases, power(bases.values, exponents.values), names)


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
    return fresh(dividends, ratio(dividends.values, divisors.values), names)
