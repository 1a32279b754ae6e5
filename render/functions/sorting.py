"""Functions that order series: group Sorting. Equal ones keep the order that they had."""

from __future__ import annotations

import re

import numpy as np

from render.functions import measure
from render.functions.context import Context
from render.functions.registry import SERIES, Param, function
from render.series import SeriesList

_REVERSE = Param("reverse", "boolean", default=False)


@function("sortBy", group="Sorting", params=[SERIES, Param("func", "aggFunc", default="average"), _REVERSE])
def sort_by(context: Context, series: SeriesList, func: str = "average", reverse: bool = False) -> SeriesList:
    """The series by an aggregation, lowest first or, with `reverse`, highest; none known is the lowest.

    Example: sortBy(servers.*.cpu, "max", true)
    """
    ranks = measure.ranking(func, series)
    return series.pick(np.argsort(-ranks if reverse else ranks, kind="stable"))


@function(
    "sortByName", group="Sorting", params=[SERIES, Param("natural", "boolean", default=False), _REVERSE]
)
def sort_by_name(
    context: Context, series: SeriesList, natural: bool = False, reverse: bool = False
) -> SeriesList:
    """The series by name; with `natural`, web9 comes before web10.

    Example: sortByName(servers.*.cpu, true)
    """
    keys = series.names
    if natural:
        keys = [re.sub(r"\d+", lambda digits: f"{int(digits[0]):010}", name) for name in keys]
    return series.pick(sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse))


@function("sortByTotal", group="Sorting", params=[SERIES])
def sort_by_total(context: Context, series: SeriesList) -> SeriesList:
    """The series by their sum, highest first.

    Example: sortByTotal(servers.*.requests)
    """
    return sort_by(context, series, "sum", reverse=True)


@function("sortByMaxima", group="Sorting", params=[SERIES])
def sort_by_maxima(context: Context, series: SeriesList) -> SeriesList:
    """The series by their maximum, highest first; sortBy(…, "max", true) by a shorter name.

    Example: sortByMaxima(servers.*.cpu)
    """
    return sort_by(context, series, "max", reverse=True)


@function("sortByMinima", group="Sorting", params=[SERIES])
def sort_by_minima(context: Context, series: SeriesList) -> SeriesList:
    """The series by their minimum, lowest first, without those that are never above 0.

    Example: sortByMinima(servers.*.cpu)
    """
    above = series.measure(lambda block: measure.aggregate("max", block)) > 0
    return sort_by(context, series.keep(above), "min")
