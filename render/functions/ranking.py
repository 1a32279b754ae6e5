"""topk and bottomk: the series that matter, and all others as one. Group Filter Series."""

from __future__ import annotations

from functools import partial

import numpy as np

from render.errors import ArgumentError
from render.functions import aggregation, measure
from render.functions.context import Context
from render.functions.registry import SERIES, Param, function
from render.series import Block, SeriesList, Tags

_OTHERS = "others"

_choosing = partial(
    function,
    group="Filter Series",
    params=[
        SERIES,
        Param("n", "integer", required=True),
        Param("by", "aggFunc", default="average"),
        Param(_OTHERS, "boolean", default=False),
        Param("fold", "aggFunc", default="sum"),
    ],
)


@_choosing("topk")
def topk(
    context: Context, series: SeriesList, n: int, by: str = "average", others: bool = False, fold: str = "sum"
) -> SeriesList:
    """The n series with the highest aggregation over the whole window, highest first; `by` is average, max,
    last, p95 or any other.

    With `others=true` the rest stand behind as one series called `others`, their sum or what `fold` says, so
    that a stacked graph of the ten busiest still shows the whole. Series without datapoints are never among
    the n. (highest() does the same without `others`; PromQL's topk() chooses anew at each point, so that more
    than n series are shown.)

    Example: topk(servers.*.cpu, 3, "max")
    Example: topk(servers.*.requests, 2, others=true)
    """
    return _chosen("topk", series, n, -_numbers(series, by), others, fold)


@_choosing("bottomk")
def bottomk(
    context: Context, series: SeriesList, n: int, by: str = "average", others: bool = False, fold: str = "sum"
) -> SeriesList:
    """The n series with the lowest aggregation over the whole window, lowest first; as topk() otherwise.

    Series without datapoints are never among the n (lowest() puts them before all).

    Example: bottomk(servers.*.mem, 2, "min")
    """
    return _chosen("bottomk", series, n, _numbers(series, by), others, fold)


def _numbers(series: SeriesList, by: str) -> measure.Row:
    """What the series are compared by, in the list's order; NaN, which sorts last, without datapoints."""
    known = series.measure(lambda block: np.any(~np.isnan(block.values), axis=1).astype(np.float64))
    return np.where(known > 0, series.measure(lambda block: measure.aggregate(by, block)), np.nan)


def _chosen(name: str, series: SeriesList, n: int, ranks: measure.Row, others: bool, fold: str) -> SeriesList:
    """The n series of the lowest ranks and, if asked for, those of the other ranks as one; NaN is no rank."""
    if n < 1:
        raise ArgumentError(name, "n", f"takes 1 series or more, not {n}")
    order = np.argsort(ranks, kind="stable")[: np.count_nonzero(~np.isnan(ranks))]
    chosen = series.pick(order[:n])
    if not others or len(order) <= n:
        return chosen
    return SeriesList.concat([chosen, _folded(series.pick(np.sort(order[n:])), fold)])


def _folded(series: SeriesList, fold: str) -> SeriesList:
    def called(block: Block) -> Block:
        tags = Tags([{**block.tags[0], "name": _OTHERS}])
        return block.renamed([_OTHERS], tags)

    return aggregation.aggregate(series, fold).map(called)
