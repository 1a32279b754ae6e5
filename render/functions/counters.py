"""Functions of counters, which only grow until they begin again: rate and increase, of group Transform.

graphite-web's perSecond and nonNegativeDerivative answer as they do there; these lose nothing to a gap or a
restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from render.errors import ArgumentError
from render.functions import counter_kernels, kernels
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.functions.window import cut, positive_interval, preview_points
from render.series import Block, Matrix, SeriesList
from render.timespec import parse_interval

_INTERVALS = ("1min", "5min", "10min", "1h", "1d")


def _seconds(arguments: dict[str, Any], step: int) -> int:
    return abs(parse_interval(arguments["interval"])) if arguments["interval"] else 0


_counting = partial(
    function,
    group="Transform",
    params=[SERIES, Param("interval", "interval", suggestions=_INTERVALS), Param("maxValue", "float")],
    earlier=_seconds,
    # of a counter's points the last is what it stood at; an average would be a number that it never had
    asks_for=lambda arguments: "last",
    each=True,
)


@_counting("rate")
def rate(
    context: Context, series: SeriesList, interval: str | None = None, max_value: float | None = None
) -> SeriesList:
    """How fast a counter grows, a second: requests a second of a count of requests, bytes a second of a count
    of bytes.

    A counter that falls has begun again at 0, and what it has counted since is its growth (perSecond has no
    value there). With `maxValue`, the highest value that the counter can have, it may also have passed that
    and gone on from 0: so it is taken if it has then grown by less than half of it. After a gap the growth is
    divided by the time since the last datapoint, so that a gap adds no peak. The window's first datapoint has
    nothing to be compared with and gives none.

    With `interval` each point tells the rate of the time before it, which is smoother, and the window is read
    from that much earlier: `rate(x, "5min")` is what PromQL calls `rate(x[5m])`. It is counted in whole
    steps, rounded up.

    Example: rate(servers.*.requests)
    Example: sumSeries(rate(servers.*.requests, "5min"))
    """

    def a_second(growth: _Growth, block: Block) -> Matrix:
        with np.errstate(all="ignore"):
            return growth.grown / (growth.steps * block.step)

    return _counted("rate", context, series, interval, max_value, a_second)


@_counting("increase")
def increase(
    context: Context, series: SeriesList, interval: str | None = None, max_value: float | None = None
) -> SeriesList:
    """By how much a counter has grown since the datapoint before or, with `interval`, in the time before each
    point.

    Restarts, `maxValue` and gaps are taken as rate() does. Points merge into sums where there are more than
    are shown, unless an `interval` makes them overlap. The growth is what was counted, never stretched to the
    whole of the interval as PromQL's increase() is: a count of whole things stays whole.

    Example: increase(servers.web1.requests)
    Example: increase(servers.web1.requests, "1h")
    """

    def in_all(growth: _Growth, block: Block) -> Matrix:
        return growth.grown

    made = _counted("increase", context, series, interval, max_value, in_all)
    if interval:
        return made
    return made.map(lambda block: block.with_(consolidations=["sum"] * len(block)))


class _Growth(NamedTuple):
    """Of each series at each point; NaN where it is not known."""

    grown: Matrix
    steps: Matrix  # the time in which it has grown so much


def _counted(
    name: str,
    context: Context,
    series: SeriesList,
    interval: str | None,
    max_value: float | None,
    answer: Callable[[_Growth, Block], Matrix],
) -> SeriesList:
    """Each series by what `answer(growth, block)` makes of its growth."""
    if max_value is not None and max_value <= 0:
        raise ArgumentError(name, "maxValue", f"takes a number above 0, not {max_value:g}")
    seconds = positive_interval(name, "interval", interval) if interval else 0

    def counted(block: Block) -> Block:
        growth = _growth(block, math.inf if max_value is None else max_value)
        if seconds:
            points = -(-seconds // block.step)
            growth = _Growth(_moving_sum(growth.grown, points), _moving_sum(growth.steps, points))
        made = block.with_(answer(growth, block), consolidations=["average"] * len(block))
        return cut(made, preview_points(context, block, seconds)) if seconds else made

    argument = f',"{interval}"' if interval else ""
    shown = interval or 1
    return each(series.map(counted), name, lambda b: b.values, argument, fresh=False, **{name: shown})


def _growth(block: Block, high: float) -> _Growth:
    growth = _Growth(np.empty_like(block.values), np.empty_like(block.values))
    counter_kernels.increases(block.values, high, *growth)
    return growth


def _moving_sum(values: Matrix, points: int) -> Matrix:
    out = np.full_like(values, np.nan)
    kernels.moving_fold(kernels.SUM, values, points, out, np.empty(values.shape, np.int64))
    return out
