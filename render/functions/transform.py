"""Functions that make another value of each value, or of each and its neighbours: group Transform."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions import kernels
from render.functions.aggregation import together
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.series import Block, Matrix, SeriesList, Tags
from render.timespec import parse_interval

_DECIMALS = 6  # what graphite-web rounds rates to


@function("absolute", group="Transform", params=[SERIES], each=True)
def absolute(context: Context, series: SeriesList) -> SeriesList:
    """The magnitude of each datapoint.

    Example: absolute(servers.web1.cpu)
    """
    return each(series, "absolute", lambda block: np.abs(block.values), absolute=1)


@function("add", group="Transform", params=[SERIES, Param("constant", "float", required=True)], each=True)
def add(context: Context, series: SeriesList, constant: float) -> SeriesList:
    """Each datapoint plus a constant. The name shows its whole part; `offset` shows six digits.

    Example: add(servers.web1.cpu, 10)
    """
    shown = f"{int(constant)}" if math.isfinite(constant) else f"{constant:g}"
    return each(series, "add", lambda block: block.values + constant, f",{shown}", add=constant)


@function("delay", group="Transform", params=[SERIES, Param("steps", "integer", required=True)], each=True)
def delay(context: Context, series: SeriesList, steps: int) -> SeriesList:
    """Each series moved by a number of points: later if positive, earlier if negative; the window stays.

    What is moved out of the window is gone, and what would come into it is missing: timeShift() reads it.
    0 steps leave the values as they are (graphite-web answers no points at all).

    Example: delay(servers.web1.cpu, 3)
    """

    def moved(block: Block) -> Matrix:
        out = np.full_like(block.values, np.nan)
        if steps >= 0:
            out[:, steps:] = block.values[:, : max(block.values.shape[1] - steps, 0)]
        else:
            out[:, : max(block.values.shape[1] + steps, 0)] = block.values[:, -steps:]
        return out

    return each(series, "delay", moved, f",{steps}", fresh=True, delay=steps)


@function("derivative", group="Transform", params=[SERIES], each=True)
def derivative(context: Context, series: SeriesList) -> SeriesList:
    """What each datapoint has changed since the one before it; missing where either is. For counters, which begin
    again now and then, there are rate() and increase().

    Example: derivative(servers.web1.requests)
    """
    return each(series, "derivative", lambda block: _difference(block.values), fresh=True, derivative=1)


@function("exp", group="Transform", params=[SERIES], each=True)
def exp(context: Context, series: SeriesList) -> SeriesList:
    """e to the power of each datapoint; missing where that is too large for a number.

    Example: exp(servers.web1.cpu)
    """
    return each(series, "exp", lambda block: _defined(block.values, np.exp(block.values)), exp="e")


@function("integral", group="Transform", params=[SERIES], each=True)
def integral(context: Context, series: SeriesList) -> SeriesList:
    """The sum of all datapoints since the window's begin; a missing one adds nothing and stays missing.

    Example: integral(servers.web1.requests)
    """

    def summed(block: Block) -> Matrix:
        out = np.empty_like(block.values)
        kernels.integrate(block.values, np.zeros(block.values.shape[1], bool), out)
        np.copyto(out, np.nan, where=np.isnan(block.values))
        return out

    return each(series, "integral", summed, fresh=True, integral=1)


@function(
    "integralByInterval",
    group="Transform",
    params=[SERIES, Param("intervalUnit", "string", required=True)],
    each=True,
)
def integral_by_interval(context: Context, series: SeriesList, interval_unit: str) -> SeriesList:
    """The sum of all datapoints since the interval's begin; intervals are counted from the request's start.

    Where a datapoint is missing the sum goes on as it was.

    Example: integralByInterval(servers.web1.requests, "10min")
    """
    seconds = abs(parse_interval(interval_unit))
    if not seconds:
        raise ArgumentError("integralByInterval", "intervalUnit", "takes an interval of more than 0 seconds")

    def summed(block: Block) -> Matrix:
        since = block.start - context.start + block.step * np.arange(block.values.shape[1])
        resets = since // seconds != (since - block.step) // seconds
        out = np.empty_like(block.values)
        kernels.integrate(block.values, resets, out)
        return out

    argument = f",'{interval_unit}'"
    return each(series, "integralByInterval", summed, argument, fresh=True, integralByInterval=interval_unit)


@function(
    "integralWithReset",
    group="Transform",
    params=[SERIES, Param("resettingSeries", "seriesList", required=True)],
)
def integral_with_reset(context: Context, series: SeriesList, resetting: SeriesList) -> SeriesList:
    """The sum of all datapoints since the resetting series was last not 0, where the sum is 0; a missing one adds
    nothing and stays missing.

    The resetting series is one, and resets also at points that are missing (not in carbonapi).

    Example: integralWithReset(servers.*.requests, odd.zero)
    """
    if len(resetting) != 1:
        raise ArgumentError(
            "integralWithReset", "resettingSeries", f"takes exactly 1 series, not {len(resetting)}"
        )

    def summed(block: Block) -> Block:
        values, resets = together(SeriesList([block]), resetting)
        at = ~np.isnan(resets.values[0]) & (resets.values[0] != 0)
        out = np.empty_like(values.values)
        kernels.integrate(np.where(at, 0.0, values.values), at, out)
        np.copyto(out, np.nan, where=np.isnan(values.values))
        names = [f"integralWithReset({name},{resetting.names[0]})" for name in values.names]
        return values.with_(out).renamed(names)

    with np.errstate(all="ignore"):
        return series.map(summed)


@function(
    "interpolate", group="Transform", params=[SERIES, Param("limit", "intOrInf", default=math.inf)], each=True
)
def interpolate(context: Context, series: SeriesList, limit: float = math.inf) -> SeriesList:
    """Gaps of at most `limit` points filled on the straight line across; those at the edges stay.

    Example: interpolate(servers.web1.cpu, 10)
    """
    return each(series, "interpolate", lambda block: _filled(block.values, limit, linear=True))


@function("invert", group="Transform", params=[SERIES], each=True)
def invert(context: Context, series: SeriesList) -> SeriesList:
    """1 divided by each datapoint; missing where that is 0.

    Example: invert(servers.web1.cpu)
    """
    return each(series, "invert", lambda block: _defined(block.values, 1.0 / block.values), invert=1)


@function("isNonNull", "isNotNull", group="Transform", params=[SERIES], each=True)
def is_non_null(context: Context, series: SeriesList) -> SeriesList:
    """1 where there is a datapoint, 0 where there is none: summed, how many hosts report.

    Example: isNonNull(servers.*.cpu)
    """
    return each(series, "isNonNull", lambda block: (~np.isnan(block.values)).astype(float), isNonNull=1)


@function(
    "keepLastValue",
    group="Transform",
    params=[SERIES, Param("limit", "intOrInf", default=math.inf)],
    each=True,
)
def keep_last_value(context: Context, series: SeriesList, limit: float = math.inf) -> SeriesList:
    """Gaps of at most `limit` points filled with the value before them; a longer gap stays whole.

    Example: keepLastValue(servers.web1.cpu, 10)
    """
    return each(series, "keepLastValue", lambda block: _filled(block.values, limit, linear=False))


@function(
    "log", "logarithm", group="Transform", params=[SERIES, Param("base", "integer", default=10)], each=True
)
def log(context: Context, series: SeriesList, base: int = 10) -> SeriesList:
    """The logarithm of each datapoint to a base; missing where the datapoint is not above 0.

    Example: log(servers.web1.requests, 2)
    """
    if base <= 0 or base == 1:
        raise ArgumentError("log", "base", f"takes a whole number above 0 other than 1, not {base}")

    def logarithm(block: Block) -> Matrix:
        out = np.log(block.values)
        out /= math.log(base)
        np.copyto(out, np.nan, where=block.values <= 0)
        return out

    return each(series, "log", logarithm, f", {base}", fresh=True, log=base)


@function("logit", group="Transform", params=[SERIES], each=True)
def logit(context: Context, series: SeriesList) -> SeriesList:
    """The natural logarithm of v / (1 - v); missing where v is not between 0 and 1.

    Example: logit(scale(servers.web1.cpu, 0.01))
    """

    def odds(block: Block) -> Matrix:
        ratio = block.values / (1.0 - block.values)
        return np.where((ratio > 0) & (ratio < np.inf), np.log(ratio), np.nan)

    return each(series, "logit", odds, logit="logit")


@function("minMax", group="Transform", params=[SERIES], each=True)
def min_max(context: Context, series: SeriesList) -> SeriesList:
    """Each series stretched to 0 … 1 between its own minimum and maximum; 0 where both are equal.

    Example: minMax(servers.web1.cpu)
    """

    def stretched(block: Block) -> Matrix:
        low = np.fmin.reduce(block.values, axis=1, keepdims=True, initial=np.inf)
        high = np.fmax.reduce(block.values, axis=1, keepdims=True, initial=-np.inf)
        out = block.values - low
        out /= np.where(low == high, 1.0, high - low)  # a level series is 0 by now
        return out

    return each(series, "minMax", stretched)


_RATE = [SERIES, Param("maxValue", "float"), Param("minValue", "float")]


@function("nonNegativeDerivative", group="Transform", params=_RATE, each=True)
def non_negative_derivative(
    context: Context, series: SeriesList, max_value: float | None = None, min_value: float | None = None
) -> SeriesList:
    """What a counter has grown since the datapoint before; missing where it fell.

    With `maxValue`, a counter that fell has passed it and begun again at `minValue` or 0; with `minValue`
    alone it was reset to that. Datapoints outside the two are left out. (graphite-web fails on gaps then.)
    increase() also counts what has come after a restart and what has come in a gap.

    Example: nonNegativeDerivative(servers.web1.requests)
    """
    return each(
        series,
        "nonNegativeDerivative",
        lambda block: _growth(block.values, max_value, min_value),
        fresh=True,
        nonNegativeDerivative=1,
    )


@function("offset", group="Transform", params=[SERIES, Param("factor", "float", required=True)], each=True)
def offset(context: Context, series: SeriesList, factor: float) -> SeriesList:
    """Each datapoint plus a constant.

    Example: offset(servers.web1.cpu, -1.5)
    """
    return each(series, "offset", lambda block: block.values + factor, f",{factor:g}", offset=factor)


@function("offsetToZero", group="Transform", params=[SERIES], each=True)
def offset_to_zero(context: Context, series: SeriesList) -> SeriesList:
    """Each series moved so that its minimum in the window is 0, to compare how they move.

    Example: offsetToZero(servers.web1.cpu)
    """

    def moved(block: Block) -> Block:
        low = np.fmin.reduce(block.values, axis=1, keepdims=True, initial=np.inf)
        known = low < np.inf
        shown = [
            str(number) if there else "None" for number, there in zip(low[:, 0].tolist(), known, strict=True)
        ]
        tags = Tags(_WithTag(block.tags, "offsetToZero", shown))
        names = [f"offsetToZero({name})" for name in block.names]
        return block.with_(block.values - np.where(known, low, 0.0)).renamed(names, tags)

    return series.map(moved)


@function("perSecond", group="Transform", params=_RATE, each=True)
def per_second(
    context: Context, series: SeriesList, max_value: float | None = None, min_value: float | None = None
) -> SeriesList:
    """What a counter has grown a second, rounded to six decimals; see nonNegativeDerivative(). There is no value
    after a gap or a restart: rate() has one.

    Example: perSecond(servers.web1.requests)
    """

    def rate(block: Block) -> Matrix:
        growth = _growth(block.values, max_value, min_value)
        growth /= block.step
        return rounded(growth, _DECIMALS)

    return each(series, "perSecond", rate, fresh=True, perSecond=1)


@function("pow", group="Transform", params=[SERIES, Param("factor", "float", required=True)], each=True)
def power(context: Context, series: SeriesList, factor: float) -> SeriesList:
    """Each datapoint to the power of a constant; missing where that is no number or too large.

    Example: pow(servers.web1.cpu, 2)
    """

    def raised(block: Block) -> Matrix:
        out = _defined(block.values, block.values**factor)
        return np.where(np.isnan(block.values), np.nan, out) if factor == 0 else out

    return each(series, "pow", raised, f",{factor:g}", pow=factor)


# no default: round(x) and round(x, 0) are called differently
@function("round", group="Transform", params=[SERIES, Param("precision", "integer")], each=True)
def round_(context: Context, series: SeriesList, precision: int | None = None) -> SeriesList:
    """Each datapoint rounded to a number of decimals, half to even; negative for tens, hundreds …

    Example: round(servers.web1.cpu, 1)
    """
    digits = precision or 0
    argument = "" if precision is None else f",{precision:g}"
    return each(series, "round", lambda block: rounded(block.values, digits), argument, round=digits)


@function(
    "scale",
    "scaleAfterTimestamp",
    group="Transform",
    params=[SERIES, Param("factor", "float", required=True), Param("timestamp", "integer", default=0)],
    each=True,
)
def scale(context: Context, series: SeriesList, factor: float, timestamp: int = 0) -> SeriesList:
    """Each datapoint times a constant; with `timestamp` (epoch seconds) only those of that time and later.

    Example: scale(servers.web1.cpu, 0.01)
    Example: scale(servers.web1.cpu, 8, 1600000800)
    """

    def scaled(block: Block) -> Matrix:
        before = min(max(-((block.start - timestamp) // block.step), 0), block.values.shape[1])
        if not before:
            return block.values * factor
        out = block.values.copy()
        out[:, before:] *= factor
        return out

    argument = f",{factor:g},{timestamp}" if timestamp else f",{factor:g}"
    return each(series, "scale", scaled, argument, scale=factor)


@function(
    "scaleToSeconds", group="Transform", params=[SERIES, Param("seconds", "float", required=True)], each=True
)
def scale_to_seconds(context: Context, series: SeriesList, seconds: float) -> SeriesList:
    """Each datapoint as what it would be per `seconds`, if it counts for its step; rounded to six decimals. So
    counts of each interval, as StatsD sends them, stay comparable whatever the step is.

    Example: scaleToSeconds(servers.web1.requests, 60)
    """

    def scaled(block: Block) -> Matrix:
        return rounded(block.values * (seconds / block.step), _DECIMALS)

    shown = f",{int(seconds)}" if math.isfinite(seconds) else f",{seconds:g}"
    return each(series, "scaleToSeconds", scaled, shown, scaleToSeconds=seconds)


@function("sigmoid", group="Transform", params=[SERIES], each=True)
def sigmoid(context: Context, series: SeriesList) -> SeriesList:
    """1 / (1 + e to the power of minus each datapoint).

    Example: sigmoid(servers.web1.cpu)
    """
    return each(series, "sigmoid", lambda block: 1.0 / (1.0 + np.exp(-block.values)), sigmoid="sigmoid")


@function("squareRoot", group="Transform", params=[SERIES], each=True)
def square_root(context: Context, series: SeriesList) -> SeriesList:
    """The square root of each datapoint; missing where that is below 0.

    Example: squareRoot(servers.web1.cpu)
    """
    return each(series, "squareRoot", lambda block: np.sqrt(block.values), squareRoot=1)


@function(
    "transformNull",
    group="Transform",
    params=[SERIES, Param("default", "float", default=0), Param("referenceSeries", "seriesList")],
)
def transform_null(
    context: Context, series: SeriesList, default: float = 0, reference: SeriesList | None = None
) -> SeriesList:
    """Missing datapoints replaced by a value: all, or those at whose time any reference series has one.

    Times are compared (graphite-web compares positions and appends points if the reference is longer).

    Example: transformNull(servers.*.cpu, -1)
    """
    if not reference:
        argument = f",{default:g}"
        return each(
            series, "transformNull", lambda b: _replaced(b.values, default), argument, transformNull=default
        )

    def replaced(block: Block) -> Matrix:
        return np.where(_any_known(reference, block), _replaced(block.values, default), block.values)

    argument = f",{default:g},referenceSeries"
    return each(series, "transformNull", replaced, argument, transformNull=default, referenceSeries=1)


def rounded(values: Matrix, digits: int) -> Matrix:
    """Rounded as Python's round() does it: by the exact value, and exactly half goes to even."""
    out = np.empty_like(values)
    kernels.round_decimals(values, digits, out)
    return out


def _difference(values: Matrix) -> Matrix:
    out = np.full_like(values, np.nan)
    np.subtract(values[:, 1:], values[:, :-1], out=out[:, 1:])
    return out


def _growth(values: Matrix, max_value: float | None, min_value: float | None) -> Matrix:
    """What counters have grown from point to point; see nonNegativeDerivative."""
    fallen = kernels.UNKNOWN if min_value is None else kernels.RESET
    if max_value is not None:
        fallen = kernels.WRAPPED
    low = -math.inf if min_value is None else min_value
    high = math.inf if max_value is None else max_value
    out = np.empty_like(values)
    kernels.growth(values, low, high, fallen, out)
    return out


def _defined(before: Matrix, after: Matrix) -> Matrix:
    """`after`, which is changed: what is infinite there but was not before is no number."""
    infinite = np.isinf(after)
    if infinite.any():
        np.copyto(after, np.nan, where=infinite & np.isfinite(before))
    return after


def _filled(values: Matrix, limit: float, *, linear: bool) -> Matrix:
    out = np.empty_like(values)
    kernels.fill_gaps(values, int(min(limit, values.shape[1])), linear, out)
    return out


def _replaced(values: Matrix, default: float) -> Matrix:
    return np.where(np.isnan(values), default, values)


def _any_known(reference: SeriesList, block: Block) -> npt.NDArray[np.bool_]:
    """At which of the block's points any reference series has a datapoint: bool (points,).

    A finer reference counts with all its points in the block's step, a coarser one with the point that covers
    it.
    """
    begin = block.start + block.step * np.arange(block.values.shape[1])
    found = np.zeros(len(begin), bool)
    for other in reference.blocks:
        known = np.concatenate(([0], np.cumsum(np.any(~np.isnan(other.values), axis=0))))
        first = (
            (begin - other.start) // other.step
            if other.step > block.step
            else -((other.start - begin) // other.step)
        )
        stop = -((other.start - begin - block.step) // other.step)
        first, stop = (np.clip(at, 0, len(known) - 1) for at in (first, np.maximum(stop, first + 1)))
        found |= known[stop] > known[first]
    return found


class _WithTag(Sequence[Mapping[str, str]]):
    """Tags with one more, whose value differs from series to series; made when they are asked for."""

    def __init__(self, tags: Tags, tag: str, values: Sequence[str]) -> None:
        self._tags, self._tag, self._values = tags, tag, values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, i: Any) -> Any:
        return {**self._tags[i], self._tag: self._values[i]}
