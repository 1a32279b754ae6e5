"""Where series are going: straight lines through them, and when they reach a value. Group Calculate."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions.ahead import reaching
from render.functions.bands import quantile, side_by_side, split
from render.functions.context import Context, Expression
from render.functions.each import each
from render.functions.lines import Lines, crossings, fit, moving, robust
from render.functions.registry import SERIES, Param, function
from render.functions.window import cut, positive_interval, preview_points
from render.series import Block, SeriesList, Tags
from render.timespec import parse_interval, parse_time

_DAY = 86_400
_LIKELY = 95  # the band that is reckoned where none is asked for
_VALUES_AT_ONCE = 200_000  # some 50 ms between looks at the clock


@function(
    "linearRegression",
    group="Calculate",
    params=[SERIES, Param("startSourceAt", "date"), Param("endSourceAt", "date")],
    lazy=True,
)
def linear_regression(
    context: Context,
    expression: Expression,
    start_source_at: str | None = None,
    end_source_at: str | None = None,
) -> SeriesList:
    """The straight line of least squares through the datapoints from `startSourceAt` to `endSourceAt`.

    Both are the window's own unless they are given, and relative times are the request's. If `until` lies
    ahead of now, so does the line. Series with less than two datapoints are left out. A line through what comes
    and goes with the time of day depends on when it begins: take whole days, or forecast(…, "seasonal").

    Example: linearRegression(disk.a.used)
    Example: linearRegression(disk.*.used, "-4h", "now")
    """
    begin, end = (
        given if at is None else parse_time(at, context.now, context.zone)
        for at, given in ((start_source_at, context.start), (end_source_at, context.until))
    )
    if begin > end:
        reason = f"takes a time after startSourceAt ({begin}), not {end_source_at!r} ({end})"
        raise ArgumentError("linearRegression", "endSourceAt", reason)
    sources = expression.evaluate(start=begin, until=end)
    drawn = _window(context, expression, sources)
    lines = _lines(context, sources)
    which = _sources(sources.names, drawn.names)
    there = np.array([at >= 0 and lines[at, 0] == lines[at, 0] for at in which], bool)
    drawn, lines = drawn.keep(there), lines[which[there]]
    argument = f", {begin}, {end}"
    laid = [
        block.with_(_values(block, mine))
        for block, mine in zip(drawn.blocks, split(drawn, lines), strict=True)
    ]
    return each(
        SeriesList(laid, drawn.order),
        "linearRegression",
        lambda block: block.values,
        argument,
        fresh=True,
        linearRegressions=argument.removeprefix(", "),
    )


@function(
    "trend",
    group="Calculate",
    params=[SERIES, Param("method", "string", default="robust", options=("robust", "leastSquares"))],
)
def trend(context: Context, series: SeriesList, method: str = "robust") -> SeriesList:
    """The straight line that each series follows over the window, and on up to `until` if that lies ahead of now.

    `robust` is Theil and Sen's: the median of all slopes from point to point, which a quarter of wild datapoints
    cannot turn (of series of more than 128 points, those between 128 medians). `leastSquares` uses each datapoint
    and is surer where none is wild. The tag `trendPerDay` is what a series gains in a day. For a line with a band take
    forecastBands(), for one through another time linearRegression().

    Example: trend(disk.*.used)
    Example: aliasByTags(trend(servers.*.mem, "leastSquares"), "name", "trendPerDay")
    """
    through = robust if method == "robust" else fit

    def drawn(block: Block) -> Block:
        line = through(block.values, context.check)
        reached = reaching(context, "trend", block)
        values = line.at(np.arange(reached.values.shape[1], dtype=np.float64))
        daily = (line.slope * (_DAY / block.step)).tolist()
        own = [
            {
                **block.tags[i],
                "trend": method,
                **({} if per_day != per_day else {"trendPerDay": f"{per_day:g}"}),
            }
            for i, per_day in enumerate(daily)
        ]
        return reached.with_(values, options=None).renamed(
            [f"trend({name})" for name in block.names], Tags(own)
        )

    with np.errstate(all="ignore"):
        return series.map(drawn)


_REACHED = [
    SERIES,
    Param("threshold", "float", required=True),
    Param("history", "interval", default="7d", suggestions=("1d", "7d", "30d")),
    Param("side", "string", default="above", options=("above", "below")),
]


def _history(arguments: dict[str, Any], step: int) -> int:
    return abs(parse_interval(arguments["history"]))


_reach = partial(function, group="Calculate", earlier=_history)


@_reach("timeToReach", params=_REACHED)
def time_to_reach(
    context: Context, series: SeriesList, threshold: float, history: str = "7d", side: str = "above"
) -> SeriesList:
    """The seconds until each series is at or above a threshold (or, by `side`, `below`), as known at each point.

    A straight line goes through the datapoints of the last `history` up to each point; the answer is when that line
    is at the threshold: 0 if it is there, no value if it never will be, or if less is known than xFilesFactor asks.
    So the last value is what an alert compares ("full in less than three days"), and on a dashboard the
    curve falls by a day a day when all goes steadily, and steeper when it does not. Free space that
    runs out is `timeToReach(disk.free, 0, "7d", "below")`.

    The line knows no season and no limits: let `history` be whole days of what has days, and short enough that
    what was long ago counts no more. What is cleaned now and then reaches its threshold in no straight line.

    Example: timeToReach(disk.a.used, 90, "4h")
    """
    quantile_ = quantile("timeToReach", _LIKELY)

    def answer(block: Block) -> list[Block]:
        return [_reached(context, block, threshold, history, side, quantile_, "timeToReach")[1]]

    with np.errstate(all="ignore"):
        return side_by_side(series, answer)


@_reach("timeToReachBands", params=[*_REACHED, Param("band", "float", default=95, suggestions=(80, 95, 99))])
def time_to_reach_bands(
    context: Context,
    series: SeriesList,
    threshold: float,
    history: str = "7d",
    side: str = "above",
    band: float = 95,
) -> SeriesList:
    """Two series to each: the seconds at the earliest and at the latest; see timeToReach.

    timeToReachLower(…) and timeToReachUpper(…) are when the edges of the line's band are at the threshold, in which
    it lies with a probability of `band` percent. No latest is the normal case where a trend is not sure.

    Example: timeToReachBands(disk.a.used, 90, "4h")
    """
    quantile_ = quantile("timeToReachBands", band)

    def answer(block: Block) -> list[Block]:
        earliest, _, latest = _reached(
            context, block, threshold, history, side, quantile_, "timeToReachBands"
        )
        return [earliest, latest]

    with np.errstate(all="ignore"):
        return side_by_side(series, answer)


def _reached(
    context: Context,
    block: Block,
    threshold: float,
    history: str,
    side: str,
    normal: float,
    name: str,
) -> list[Block]:
    """The seconds at the earliest, by the line, and at the latest, each over the request's window."""
    seconds = positive_interval(name, "history", history.removeprefix("-"))
    window = max(seconds // block.step, 1)
    sign = 1.0 if side == "above" else -1.0
    points, before = block.values.shape[1], preview_points(context, block, seconds)
    places = np.arange(before, points, dtype=np.float64)
    found = np.empty((3, len(block), len(places)))
    rows = max(1, _VALUES_AT_ONCE // max(1, points))
    for at in range(0, len(block), rows):
        context.check()
        lines = moving(sign * block.values[at : at + rows], window)
        shown = Lines(*(column[:, before:] for column in lines))
        answer = np.stack(crossings(shown, places, sign * threshold, normal))
        enough = shown.known >= block.x_files_factor * window
        found[:, at : at + rows] = np.where(enough, answer * block.step, np.nan)
    argument = f"{threshold:g}" + ("" if side == "above" else ',"below"')
    tags = block.tags.plus(timeToReach=f"{threshold:g}")
    return [
        cut(block, before)
        .with_(values, options=None)
        .renamed([f"{called}({old},{argument})" for old in block.names], tags)
        for called, values in zip(("timeToReachLower", "timeToReach", "timeToReachUpper"), found, strict=True)
    ]


def _window(context: Context, expression: Expression, sources: SeriesList) -> SeriesList:
    """The series over the request's window up to its `until`; made of the sources' grids if it begins after now."""
    if context.start < context.now:
        inside = expression.evaluate(start=context.start, until=context.until)
    else:
        inside = sources
    reached = inside.map(partial(reaching, context, "linearRegression"))
    if context.start < context.now:
        return reached
    return reached.map(lambda block: cut(block, max((context.start - block.start) // block.step + 1, 0)))


def _lines(context: Context, series: SeriesList) -> npt.NDArray[np.float64]:
    """Slope a second, level and the time (epoch seconds) that has it, of each series in the list's order."""
    rows = [np.empty((0, 3))]
    for block in series.blocks:
        line: Lines = fit(block.values, context.check)
        rows.append(
            np.stack((line.slope / block.step, line.level, block.start + line.centre * block.step), axis=1)
        )
    return np.concatenate(rows)[series.order]


def _values(block: Block, lines: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The lines (slope, level, centre) at the block's own times."""
    at = block.start + block.step * np.arange(block.values.shape[1])
    slope, level, centre = lines[:, :, None].swapaxes(0, 1)
    return np.asarray(level + slope * (at - centre))


def _sources(sources: list[str], names: list[str]) -> npt.NDArray[np.intp]:
    """Which source is each name's: the one of that name, else the one in its place; -1 = none.

    What a list holds may depend on the window, as highest()'s does; so may a name, as aggregateLine()'s does.
    """
    places = {name: i for i, name in reversed(list(enumerate(sources)))}
    in_place = len(sources) == len(names) and not any(name in places for name in names)
    return np.array([i if in_place else places.get(name, -1) for i, name in enumerate(names)], np.intp)
