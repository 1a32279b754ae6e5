"""Functions that leave out datapoints: group Filter Data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from render.functions import measure
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.series import Block, Matrix, SeriesList

_PARAMS = [SERIES, Param("n", "float", required=True)]


@function("removeAboveValue", group="Filter Data", params=_PARAMS, each=True)
def remove_above_value(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series without their datapoints above a number: what a broken sensor says is missing then.

    Example: removeAboveValue(servers.web1.cpu, 10)
    """
    return each(series, "removeAboveValue", lambda b: _without(b.values, b.values > n), f", {n:g}")


@function("removeBelowValue", group="Filter Data", params=_PARAMS, each=True)
def remove_below_value(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series without their datapoints below a number.

    Example: removeBelowValue(servers.web1.cpu, 0)
    """
    return each(series, "removeBelowValue", lambda b: _without(b.values, b.values < n), f", {n:g}")


@function("removeAbovePercentile", group="Filter Data", params=_PARAMS, each=True)
def remove_above_percentile(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series without their datapoints above each one's own n-th percentile: peaks go.

    Example: removeAbovePercentile(servers.web1.cpu, 95)
    """
    measure.check_percent("removeAbovePercentile", n, above_zero=True)

    def kept(block: Block) -> Matrix:
        most = measure.percentile(block.values, n)[:, None]
        return _without(block.values, block.values > most)

    return each(series, "removeAbovePercentile", kept, f", {n:g}", nPercentile=n)


@function("removeBelowPercentile", group="Filter Data", params=_PARAMS, each=True)
def remove_below_percentile(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series without their datapoints below each one's own n-th percentile.

    Example: removeBelowPercentile(servers.web1.cpu, 5)
    """
    measure.check_percent("removeBelowPercentile", n, above_zero=True)

    def kept(block: Block) -> Matrix:
        least = measure.percentile(block.values, n)[:, None]
        return _without(block.values, block.values < least)

    return each(series, "removeBelowPercentile", kept, f", {n:g}", nPercentile=n)


def _without(values: Matrix, these: npt.NDArray[np.bool_]) -> Matrix:
    out = values.copy()
    np.copyto(out, np.nan, where=these)  # np.where() takes three times as long where they are scattered
    return out
