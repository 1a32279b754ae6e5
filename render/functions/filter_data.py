"""Functions that leave out datapoints: group Filter Data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from render.functions import measure
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.series import Block, Matrix, SeriesList, Tags

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
    return _by_percentile(series, "removeAbovePercentile", n, np.greater)


@function("removeBelowPercentile", group="Filter Data", params=_PARAMS, each=True)
def remove_below_percentile(context: Context, series: SeriesList, n: float) -> SeriesList:
    """The series without their datapoints below each one's own n-th percentile.

    Example: removeBelowPercentile(servers.web1.cpu, 5)
    """
    measure.check_percent("removeBelowPercentile", n, above_zero=True)
    return _by_percentile(series, "removeBelowPercentile", n, np.less)


def _by_percentile(series: SeriesList, name: str, n: float, beyond: np.ufunc) -> SeriesList:
    """Without the datapoints beyond each series' percentile; one that has none is not tagged with it."""

    def kept(block: Block) -> Block:
        level = measure.percentile(block.values, n)
        values = _without(block.values, beyond(block.values, level[:, None]))
        known = ~np.isnan(level)
        tags = block.tags.plus(nPercentile=str(n))
        if not known.all():
            tags = Tags([(tags if there else block.tags)[i] for i, there in enumerate(known.tolist())])
        return block.with_(values).renamed([f"{name}({old}, {n:g})" for old in block.names], tags)

    with np.errstate(all="ignore"):
        return series.map(kept)


def _without(values: Matrix, these: npt.NDArray[np.bool_]) -> Matrix:
    out = values.copy()
    np.copyto(out, np.nan, where=these)  # np.where() takes three times as long where they are scattered
    return out
