"""Service levels: which part of the time a series is as it should be, and what may still go wrong. Of carbonapi."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from render.functions.context import Context, Expression
from render.functions.registry import SERIES, Param, function
from render.functions.window import check_points, cut, positive_interval
from render.series import Block, Matrix, SeriesList

_METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "above": operator.gt,
    "aboveOrEqual": operator.ge,
    "below": operator.lt,
    "belowOrEqual": operator.le,
}
_PARAMS = [
    SERIES,
    Param("interval", "interval", required=True, suggestions=("10min", "1h", "1d")),
    Param("method", "string", required=True, options=tuple(_METHODS)),
    Param("value", "float", required=True),
]


@function("slo", group="Transform", params=_PARAMS, lazy=True)
def slo(context: Context, expression: Expression, interval: str, method: str, value: float) -> SeriesList:
    """Which part of the datapoints of each interval is above a value, or as `method` says: 0.999 is 99.9 %.

    Intervals are counted from the window's begin; the last may be shorter. Missing datapoints do not count,
    an interval without any has no answer, and one shorter than the step neither. If the interval is longer
    than the window, one that ends with it is answered, for which earlier data is read: a dashboard of six
    hours can show the level of 30 days.

    Example: slo(servers.*.cpu, "10min", "below", 10)
    """

    def levels(met: _Met) -> Matrix:
        return met.part

    argument = f", {interval}, {method}, {value:g}"
    return _answered(context, "slo", expression, interval, (_METHODS[method], value), levels, argument)


@function(
    "sloErrorBudget",
    group="Transform",
    params=[*_PARAMS, Param("objective", "float", required=True, suggestions=(0.99, 0.999, 0.9999))],
    lazy=True,
)
def slo_error_budget(
    context: Context, expression: Expression, interval: str, method: str, value: float, objective: float
) -> SeriesList:
    """How many seconds of each interval may still be missed if the part `objective` of it is to be met: below 0 it
    is missed already. What is met, and which intervals there are: see slo().

    Example: sloErrorBudget(servers.*.cpu, "10min", "below", 10, 0.99)
    """

    def budgets(met: _Met) -> Matrix:
        return (met.part - objective) * met.seconds

    argument = f", {interval}, {method}, {value:g}, {objective:g}"
    test = (_METHODS[method], value)
    return _answered(context, "sloErrorBudget", expression, interval, test, budgets, argument)


class _Met(NamedTuple):
    part: Matrix  # (series, intervals): of the known points those that are as they should be, NaN if none is known
    seconds: npt.NDArray[np.float64]  # (intervals,): how long each is; the last one, as far as it has points


def _answered(
    context: Context,
    name: str,
    expression: Expression,
    interval: str,
    test: tuple[Callable[[Any, Any], Any], float],
    answer: Callable[[_Met], Matrix],
    argument: str,
) -> SeriesList:
    """`answer` for each series of the window, or of the interval that ends with it where that is longer."""
    seconds = positive_interval(name, "interval", interval)
    begin = min(context.start, context.until - seconds)

    def one(block: Block) -> Block:
        context.check()
        names = [f"{name}({old}{argument})" for old in block.names]
        start = context.start + 1 + (block.start - context.start - 1) % block.step
        if block.step > seconds:
            span = block.values.shape[1] * block.step - (start - block.start)
            intervals = max(-(-span // seconds), 1)
            check_points(name, "interval", intervals, series=len(block))
            values = np.full((len(block), intervals), np.nan)
        else:
            if begin < context.start:  # one interval: no more points, as summarize() may give
                block = cut(block, max(block.values.shape[1] + -seconds // block.step, 0))
            values = answer(_met(block, seconds, test))
        return block.with_(values, start=start, step=seconds, fixed_end=None).renamed(names)

    with np.errstate(all="ignore"):
        return expression.evaluate(start=begin, until=context.until).map(one)


def _met(block: Block, seconds: int, test: tuple[Callable[[Any, Any], Any], float]) -> _Met:
    """What is met in each interval of so many seconds, not less than a step, from the block's first point on."""
    points = block.values.shape[1]
    interval = np.arange(points) * block.step // seconds
    first = np.flatnonzero(np.diff(interval, prepend=-1))
    if not points:
        return _Met(np.empty((len(block), 0)), np.empty(0))
    method, value = test
    known = np.add.reduceat(~np.isnan(block.values), first, axis=1, dtype=np.int64)
    met = np.add.reduceat(method(block.values, value), first, axis=1, dtype=np.int64)
    length = np.full(len(first), float(seconds))
    left = (points - first[-1]) * block.step
    if points * block.step < len(first) * seconds:
        length[-1] = left
    return _Met(np.where(known > 0, met / known, np.nan), length)
