"""Functions that merge points into intervals: summarize and its kin, of group Transform."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from render.functions import kernels
from render.functions.context import Context, Expression
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.functions.window import check_points, floor_to, positive_interval
from render.series import Block, Matrix, SeriesList
from storage import consolidation
from storage.consolidation import Reduced

_INTERVALS = ("10min", "1h", "1d")
_INTERVAL = Param("intervalString", "interval", required=True, suggestions=_INTERVALS)
_FUNC = Param("func", "aggFunc", default="sum")
_UNITS = ("years", "months", "weeks", "days", "hours", "minutes", "seconds")
_SHORT = 16  # rows of as many points are reduced as columns: 90 s of 60 s data, 10,000 series: a quarter
_FIRST = 1 << 24  # more points than a series has
_WEEKS = tuple(f"weeks{day}" for day in range(1, 8))


@function(
    "summarize",
    group="Transform",
    params=[SERIES, _INTERVAL, _FUNC, Param("alignToFrom", "boolean", default=False)],
    each=True,
)
def summarize(
    context: Context, series: SeriesList, interval_string: str, func: str = "sum", align_to_from: bool = False
) -> SeriesList:
    """The datapoints of each interval merged into one, by default their sum: right for counts. A level, such as
    memory or a load, needs "avg", "max" or "last".

    Intervals begin at multiples of their length since 1970, or at each series' begin with `alignToFrom`.

    Example: summarize(servers.web1.requests, "10min", "max")
    """
    interval = positive_interval("summarize", "intervalString", interval_string)
    ending = ", true" if align_to_from else ""

    def merged(block: Block) -> Block:
        start, end = block.start, block.end
        if not align_to_from:
            start, end = start - start % interval, end - end % interval + interval
        values = merge("summarize", block, func, interval, start, end)
        names = [f'summarize({name}, "{interval_string}", "{func}"{ending})' for name in block.names]
        tags = block.tags.plus(summarize=interval_string, summarizeFunction=func)
        return _regridded(block, values, start, interval).renamed(names, tags)

    return series.map(merged)


@function(
    "smartSummarize",
    group="Transform",
    params=[
        SERIES,
        _INTERVAL,
        _FUNC,
        Param("alignTo", "string", options=(None, *_UNITS, *_WEEKS, True, False)),
    ],
    lazy=True,
)
def smart_summarize(
    context: Context,
    expression: Expression,
    interval_string: str,
    func: str = "sum",
    align_to: str | bool | None = None,
) -> SeriesList:
    """The datapoints of each interval merged into one, by default their sum, from the series' begin on.

    With `alignTo` (`years` … `seconds`; `weeks3` for weeks from Wednesday on) the window begins earlier, with
    that unit. `true` and `false` are from old dashboards and mean nothing.

    Example: smartSummarize(servers.web1.requests, "1h", "sum", "hours")
    """
    interval = positive_interval("smartSummarize", "intervalString", interval_string)
    start = context.start
    if isinstance(align_to, str):
        unit, weekday = align_to.rstrip("1234567"), align_to[-1]
        start = floor_to(start, context.zone, unit, weekday=int(weekday) if weekday.isdigit() else 1)

    def merged(block: Block) -> Block:
        values = merge("smartSummarize", block, func, interval, block.start, block.end)
        names = [f'smartSummarize({name}, "{interval_string}", "{func}")' for name in block.names]
        tags = block.tags.plus(smartSummarize=interval_string, smartSummarizeFunction=func)
        return _regridded(block, values, block.start, interval).renamed(names, tags)

    return expression.evaluate(start=start, until=context.until).map(merged)


@function(
    "hitcount",
    group="Transform",
    params=[SERIES, _INTERVAL, Param("alignToInterval", "boolean", default=False)],
    lazy=True,
)
def hitcount(
    context: Context, expression: Expression, interval_string: str, align_to_interval: bool = False
) -> SeriesList:
    """How many hits each interval had, if datapoints are hits a second: value times seconds, summed.

    Intervals end where the series ends; a datapoint that lies in two is divided. With `alignToInterval` the
    window begins with the minute, hour or day instead.

    Example: hitcount(servers.web1.requests, "10min")
    """
    interval = positive_interval("hitcount", "intervalString", interval_string)
    start = context.start
    if align_to_interval:
        unit = (
            "days"
            if interval >= 86400
            else "hours"
            if interval >= 3600
            else "minutes"
            if interval >= 60
            else ""
        )
        start = floor_to(start, context.zone, unit) if unit else start

    def counted(block: Block) -> Block:
        end = block.end
        if align_to_interval:
            end = block.start + (end - block.start) // interval * interval + interval
        buckets = -((block.start - end) // interval)
        check_points("hitcount", "intervalString", buckets, series=len(block))
        begin = end - buckets * interval
        values = np.empty((len(block), buckets))
        kernels.spread(_until_end(block), block.step, block.start - begin, interval, values)
        ending = ", true" if align_to_interval else ""
        names = [f'hitcount({name}, "{interval_string}"{ending})' for name in block.names]
        return _regridded(block, values, begin, interval).renamed(
            names, block.tags.plus(hitcount=interval_string)
        )

    return expression.evaluate(start=start, until=context.until).map(counted)


@function("compressPeriodicGaps", group="Transform", params=[SERIES], each=True)
def compress_periodic_gaps(context: Context, series: SeriesList) -> SeriesList:
    """Series that have a datapoint only every k-th step, with that longer step; others as they are.

    k is judged by the first three datapoints. (graphite-web passes over zeros and the very first point.)

    Example: compressPeriodicGaps(servers.web1.cpu)
    """
    named = each(series, "compressPeriodicGaps", lambda block: block.values)
    codes = named.measure(_periods)
    parts, places = [], []
    for code in dict.fromkeys(codes.tolist()):
        at = np.flatnonzero(codes == code)
        first, gap = divmod(int(code), _FIRST)
        parts.append(named.pick(at).map(partial(_compressed, first, gap)) if gap else named.pick(at))
        places.append(at)
    return SeriesList.concat(parts).pick(np.argsort(np.concatenate(places))) if parts else named


def merge(function_: str, block: Block, func: str, interval: int, start: int, end: int) -> Matrix:
    """The points of each interval merged, float64 (series, intervals from start until end or just after).

    An interval counts if known / (interval / step) reaches the block's x_files_factor, at the edges too.
    """
    count = -((start - end) // interval)
    check_points(function_, "intervalString", count, series=len(block))
    values = _until_end(block)
    # the first point of each interval, and one after the last
    edges = -((block.start - start - interval * np.arange(count + 1)) // block.step)
    edges = np.clip(edges, 0, values.shape[1])
    out = np.full((len(block), count), np.nan)
    sizes = np.diff(edges)
    for size in np.unique(sizes[sizes > 0]):  # the edges' two and at most two between
        at = np.flatnonzero(sizes == size)
        if at[-1] - at[0] + 1 == len(at):
            points = values[:, edges[at[0]] : edges[at[-1]] + size]
        else:
            points = values[:, edges[at][:, None] + np.arange(size)]
        reduced = _rows(func, points.reshape(-1, size))
        enough = (reduced.known > 0) & (reduced.known / (interval / block.step) >= block.x_files_factor)
        out[:, at] = np.where(enough, reduced.values, np.nan).reshape(len(block), len(at))
    return out


def _periods(block: Block) -> npt.NDArray[np.float64]:
    """For each series its first datapoint · _FIRST + the points from one to the next; 0 if irregular."""
    known = ~np.isnan(block.values)
    points = known.shape[1]
    if points < 4:
        return np.zeros(len(block))
    row = np.arange(len(block))
    first = known.argmax(axis=1)
    rest = known.copy()
    rest[row, first] = False
    second = rest.argmax(axis=1)
    gap = second - first
    third = second + gap
    inside = (gap > 1) & (third <= points - 2)
    third = np.where(inside, third, 1)
    periodic = inside & known[row, third] & ~known[row, third - 1] & ~known[row, third + 1]
    return np.where(periodic, first * float(_FIRST) + gap, 0.0)


def _compressed(first: int, gap: int, block: Block) -> Block:
    start, interval = block.start + first * block.step, gap * block.step
    values = merge("compressPeriodicGaps", block, "last", interval, start, block.end)
    return _regridded(block, values, start, interval)


def _rows(func: str, values: Matrix) -> Reduced:
    """consolidation.rows(), also quick where there are millions of rows of a few points."""
    if values.shape[1] > _SHORT:
        return consolidation.rows(func, values)
    return consolidation.columns(func, np.ascontiguousarray(values.T))


def _until_end(block: Block) -> Matrix:
    """The values but for a line's last point, which lies at its end."""
    return block.values[:, : -((block.start - block.end) // block.step)]


def _regridded(block: Block, values: Matrix, start: int, step: int) -> Block:
    return block.with_(values, start=start, step=step, fixed_end=None, options=None)
