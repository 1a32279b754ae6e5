"""Aggregations as functions: `max(a.*)` for `aggregate(a.*, "max")`, and `maxSeries(a.*)`. Of carbonapi.

Names that graphite-web has are not here and mean what they mean there: sum, avg, sumSeries, averageSeries,
countSeries and others of combine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from render.functions import aggregation
from render.functions.context import Context
from render.functions.fold import Fold, fold_of
from render.functions.registry import SERIES_LISTS, function
from render.series import SeriesList

_GIVES = {
    "average": "The average of all series",
    "avg": "The average of all series",
    "avg_zero": "The average of all series, of which a missing value counts as 0",
    "count": "How many of all series have a value",
    "current": "The value of the last series that has one",
    "diff": "The value of the first series that has one less all others",
    "first": "The value of the first series that has one",
    "last": "The value of the last series that has one",
    "max": "The largest value of all series",
    "median": "The median of all series",
    "min": "The smallest value of all series",
    "multiply": "The product of all series, missing where one of them is",
    "range": "The largest value of all series less the smallest",
    "rangeOf": "The largest value of all series less the smallest",
    "stddev": "The standard deviation of all series (of the population)",
    "total": "The sum of all series",
}
NAMES = (
    "average", "avg_zero", "count", "current", "diff", "first", "last", "max", "median", "min", "multiply", "range",
    "rangeOf", "stddev", "total", "avgSeries", "avg_zeroSeries", "currentSeries", "firstSeries", "lastSeries",
    "medianSeries", "rangeSeries", "totalSeries",
)  # fmt: skip
FUNCS = {name: name.removesuffix("Series") for name in NAMES}  # what each aggregates by


def _short_form(func: str) -> Callable[..., SeriesList]:
    def short_form(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
        return aggregation.aggregate(SeriesList.concat(lists), func)

    return short_form


def _folded(func: str, given: Mapping[str, object]) -> Fold | None:
    return fold_of(func)


for _name, _func in FUNCS.items():
    _run = _short_form(_func)
    _run.__doc__ = (
        f'{_GIVES[_func]}, point by point; short for aggregate() with "{_func}".\n\n'
        f"Example: {_name}(servers.*.cpu)"
    )
    function(_name, group="Combine", params=[SERIES_LISTS], aggregator=True, fold=partial(_folded, _func))(
        _run
    )
