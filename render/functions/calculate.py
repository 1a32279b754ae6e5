"""Functions that compute over windows of points or whole series: group Calculate."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from render.errors import ArgumentError
from render.functions import kernels, measure
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.functions.special import line
from render.functions.transform import rounded
from render.functions.window import cut, preview_points
from render.series import Block, Matrix, SeriesList, Tags
from render.timespec import parse_interval
from storage import consolidation
from storage.consolidation import Reduced

_WINDOW = Param(
    "windowSize",
    "intOrInterval",
    required=True,
    suggestions=(5, 7, 10, "1min", "5min", "10min", "30min", "1hour"),
)
_XFF = Param("xFilesFactor", "float")


def _window_seconds(arguments: dict[str, Any], step: int) -> int:
    """How much earlier data a window needs: the window itself, its points counted in the coarsest step."""
    size: int | str = arguments["windowSize"]
    return abs(parse_interval(size)) if isinstance(size, str) else max(size, 0) * step


_moving = partial(
    function, group="Calculate", params=[SERIES, _WINDOW, _XFF], earlier=_window_seconds, each=True
)


@function(
    "movingWindow",
    group="Calculate",
    params=[SERIES, _WINDOW, Param("func", "aggFunc", default="average"), _XFF],
    earlier=_window_seconds,
    each=True,
)
def moving_window(
    context: Context,
    series: SeriesList,
    window_size: int | str,
    func: str = "average",
    x_files_factor: float | None = None,
) -> SeriesList:
    """An aggregation of the last `windowSize` points at each point, itself included.

    The window is a number of points or a time such as `5min`. Missing datapoints are left out; there is no
    answer where known / points is below `xFilesFactor`.

    Example: movingWindow(servers.web1.cpu, 5, "median")
    """
    name = f"moving{func.capitalize()}"
    seconds = _checked_seconds(name, window_size, series)

    def moved(block: Block) -> Block:
        points = window_size if isinstance(window_size, int) else seconds // block.step
        reduced = _windows(func, block.values, points)
        least = block.x_files_factor if x_files_factor is None else x_files_factor
        enough = (reduced.known > 0) & (reduced.known / points >= least) if points else False
        return block.with_(np.where(enough, reduced.values, np.nan))

    def cut_back(block: Block) -> Block:
        return cut(moved(block), preview_points(context, block, seconds))

    argument = f",{_shown(window_size)}"
    out = series.map(cut_back)
    return each(out, name, lambda block: block.values, argument, fresh=True, **{name: window_size})


@_moving("movingAverage")
def moving_average(
    context: Context, series: SeriesList, window_size: int | str, x_files_factor: float | None = None
) -> SeriesList:
    """The average of the last `windowSize` points at each point; see movingWindow.

    Example: movingAverage(servers.web1.cpu, "10min")
    """
    return moving_window(context, series, window_size, "average", x_files_factor)


@_moving("movingSum")
def moving_sum(
    context: Context, series: SeriesList, window_size: int | str, x_files_factor: float | None = None
) -> SeriesList:
    """The sum of the last `windowSize` points at each point; see movingWindow.

    Example: movingSum(servers.web1.requests, 60)
    """
    return moving_window(context, series, window_size, "sum", x_files_factor)


@_moving("movingMin")
def moving_min(
    context: Context, series: SeriesList, window_size: int | str, x_files_factor: float | None = None
) -> SeriesList:
    """The least of the last `windowSize` points at each point; see movingWindow.

    Example: movingMin(servers.web1.cpu, "10min")
    """
    return moving_window(context, series, window_size, "min", x_files_factor)


@_moving("movingMax")
def moving_max(
    context: Context, series: SeriesList, window_size: int | str, x_files_factor: float | None = None
) -> SeriesList:
    """The greatest of the last `windowSize` points at each point; see movingWindow.

    Example: movingMax(servers.web1.cpu, "10min")
    """
    return moving_window(context, series, window_size, "max", x_files_factor)


@_moving("movingMedian")
def moving_median(
    context: Context, series: SeriesList, window_size: int | str, x_files_factor: float | None = None
) -> SeriesList:
    """The median of the last `windowSize` points at each point; see movingWindow.

    Example: movingMedian(servers.web1.cpu, 5)
    """
    return moving_window(context, series, window_size, "median", x_files_factor)


@function(
    "exponentialMovingAverage",
    group="Calculate",
    params=[SERIES, _WINDOW],
    earlier=_window_seconds,
    each=True,
)
def exponential_moving_average(context: Context, series: SeriesList, window_size: int | str) -> SeriesList:
    """An average in which a datapoint weighs 2 / (N + 1) and all before it the rest, rounded to six decimals.

    N is the number of points, or of seconds if `windowSize` is a time. As in graphite-web the first point is
    the plain average of the window before, so that a value stands one step after its datapoint.

    Example: exponentialMovingAverage(servers.web1.cpu, 10)
    """
    name = "exponentialMovingAverage"
    seconds = _checked_seconds(name, window_size, series)
    constant = 2.0 / ((seconds if isinstance(window_size, str) else window_size) + 1)

    def averaged(block: Block) -> Block:
        seeds = preview_points(context, block, seconds)
        out = np.empty((len(block), block.values.shape[1] - seeds + 1))
        kernels.exponential(block.values, seeds, constant, out)
        return cut(block, seeds).with_(rounded(out, 6), fixed_end=block.end)

    argument = f",{_shown(window_size)}"
    out = series.map(averaged)
    return each(out, name, lambda block: block.values, argument, fresh=True, **{name: window_size})


@function(
    "stdev",
    group="Calculate",
    params=[
        SERIES,
        Param("points", "integer", required=True),
        Param("windowTolerance", "float", default=0.1),
    ],
    each=True,
)
def stdev(context: Context, series: SeriesList, points: int, window_tolerance: float = 0.1) -> SeriesList:
    """The standard deviation of the last `points` points at each point; windows at the begin are shorter.

    Missing datapoints are left out; there is no answer where known / points is below `windowTolerance`.

    Example: stdev(servers.web1.cpu, 30)
    """
    if points < 1:
        raise ArgumentError("stdev", "points", f"takes 1 or more, not {points}")

    def deviation(block: Block) -> Matrix:
        reduced = _windows("stddev", block.values, points)
        return np.where(reduced.known / points >= window_tolerance, reduced.values, np.nan)

    return each(series, "stdev", deviation, f",{points}", fresh=True, stdev=points)


@function("nPercentile", group="Calculate", params=[SERIES, Param("n", "float", required=True)], each=True)
def n_percentile(context: Context, series: SeriesList, n: float) -> SeriesList:
    """A level line at each series' own n-th percentile; series without any datapoint are left out.

    It is a datapoint that is there; percentileOverTime() lies between two, and can do so for each interval.

    Example: nPercentile(servers.*.cpu, 95)
    """
    measure.check_percent("nPercentile", n, above_zero=True)

    def level(block: Block) -> Matrix:
        points = (block.end - block.start) // block.step
        return np.repeat(measure.percentile(block.values, n)[:, None], points, axis=1)

    known = series.measure(lambda block: np.any(~np.isnan(block.values), axis=1).astype(float)) > 0
    return each(series.keep(known), "nPercentile", level, f", {n:g}", fresh=True, nPercentile=n)


@function(
    "aggregateLine",
    group="Calculate",
    params=[SERIES, Param("func", "aggFunc", default="average"), Param("keepStep", "boolean", default=False)],
)
def aggregate_line(
    context: Context, series: SeriesList, func: str = "average", keep_step: bool = False
) -> SeriesList:
    """A level line at each series' own aggregation: three points, or as many as the series with `keepStep`.

    Example: aggregateLine(servers.*.cpu, "max")
    """

    def level(block: Block) -> Block:
        numbers = measure.aggregate(func, block)
        shown: list[float | None] = [None if n != n else n for n in numbers.tolist()]
        names = [
            f"aggregateLine({name}, {number if number is None else format(number, 'g')})"
            for name, number in zip(block.names, shown, strict=True)
        ]
        if keep_step:
            values = np.repeat(numbers[:, None], block.values.shape[1], axis=1)
            return block.with_(values, options=None).renamed(names)
        whole = consolidation.canonical(func) == "count"
        own = [{"name": str(int(n) if whole and n is not None else n)} for n in shown]
        return line(context, numbers, names, names, Tags(own))

    return series.map(level)


def _checked_seconds(name: str, window_size: int | str, series: SeriesList) -> int:
    """The window in seconds, points counted in the coarsest step; raises ArgumentError if it has none."""
    step = max((block.step for block in series.blocks), default=1)
    seconds = _window_seconds({"windowSize": window_size}, step)
    if not seconds:
        raise ArgumentError(name, "windowSize", f"takes more than 0 points or seconds, not {window_size}")
    return seconds


def _shown(window_size: int | str) -> str:
    return f'"{window_size}"' if isinstance(window_size, str) else str(window_size)


def _windows(func: str, values: Matrix, points: int) -> Reduced:
    """The aggregation of the `points` points up to and with each point, and how many of them are known."""
    func = consolidation.canonical(func)
    out, known = np.full_like(values, np.nan), np.zeros(values.shape, np.int64)
    if points == 0 or values.size == 0:
        return Reduced(out, known)
    if func in ("average", "avg_zero", "sum", "count"):
        kernels.moving_fold(kernels.SUM, values, points, out, known)
        if func == "count":
            return Reduced(known.astype(np.float64), known)
        return Reduced(out if func == "sum" else out / np.maximum(known, 1), known)
    if func in _FOLDS:
        kernels.moving_fold(_FOLDS[func], values, points, out, known)
        return Reduced(out, known)
    if func == "range":
        low = np.empty_like(out)
        kernels.moving_fold(kernels.MIN, values, points, low, known)
        kernels.moving_fold(kernels.MAX, values, points, out, known)
        return Reduced(out - low, known)
    if func == "stddev":
        kernels.moving_deviation(values, points, out, known)
        return Reduced(out, known)
    if func == "median" or func[1:2].isdigit():
        fraction = 0.5 if func == "median" else float(func[1:]) / 100
        kernels.moving_quantile(values, points, fraction, out, known)
        return Reduced(out, known)
    return _each_window(func, values, points)


_FOLDS = {"max": kernels.MAX, "min": kernels.MIN, "multiply": kernels.PRODUCT}


def _each_window(func: str, values: Matrix, points: int) -> Reduced:
    """As `_windows`, of any aggregation: each window by itself."""
    points = min(points, values.shape[1])
    out, known = np.empty_like(values), np.empty(values.shape, np.int64)
    for i, row in enumerate(values):
        padded = np.concatenate((np.full(points - 1, np.nan), row))
        reduced = consolidation.rows(func, np.lib.stride_tricks.sliding_window_view(padded, points))
        out[i], known[i] = reduced
    return Reduced(out, known)
