"""What is expected of a series ahead of now, and within which band. Group Calculate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions.ahead import reaching, read_history
from render.functions.bands import quantile, side_by_side, student
from render.functions.context import Context, Expression
from render.functions.forecast_kernels import seasonal_forecast
from render.functions.lines import fit
from render.functions.registry import SERIES, Param, function
from render.functions.window import positive_interval
from render.series import Block, Matrix, SeriesList

Numbers = npt.NDArray[np.float64]

METHODS = ("linear", "seasonal")
_METHOD = Param("method", "string", default="linear", options=METHODS)
_HISTORY = Param("history", "interval", default="30d", suggestions=("7d", "30d", "90d"))
_SEASON = Param("season", "interval", default="1d", suggestions=("1d", "7d"))
_BAND = Param("band", "float", default=95, suggestions=(80, 95, 99))
_SMOOTHING = [Param(name, "float") for name in ("alpha", "beta", "gamma")]
_ROWS_AT_ONCE = 16  # between looks at the clock; a row of 43,200 points takes some 10 ms

# What is tried where no smoothing is given, from calm to nervous. A trend that follows fast makes bands that
# widen beyond use within a day.
_LEVELS = (0.0, 0.02, 0.1, 0.3, 0.8)
_TRENDS = (0.0, 0.01, 0.1)
_SEASONS = (0.0, 0.05, 0.2, 0.5)


@function("forecast", group="Calculate", params=[SERIES, _METHOD, _HISTORY, _SEASON, *_SMOOTHING], lazy=True)
def forecast(
    context: Context,
    expression: Expression,
    method: str = "linear",
    history: str = "30d",
    season: str = "1d",
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
) -> SeriesList:
    """What is expected of each series, over the window and ahead of now up to `until` (such as `until=+7d`).

    It is learnt from the datapoints of the last `history` before now, or before `until` if that is earlier.

    `linear` is the straight line of least squares: for what grows or shrinks steadily, such as disks, over days to
    months. `seasonal` is Holt-Winters with a level, a trend and a season (`1d`, or `7d` where weekends differ):
    for what repeats, such as traffic, over a few seasons; each point is what was expected after all known ones
    before it. It wants two seasons of history at least, better five. How fast level, trend and season follow is
    chosen by what would have foreseen best, or given: `alpha`, `beta`, `gamma` from 0 (never) to 1 (at once).

    Missing datapoints are passed over. There is no value where too little is known. No method foresees what has
    not happened before: a release, a holiday, a disk that is cleaned when it is full.

    Example: forecast(disk.a.used, "linear", "4h")
    Example: forecast(servers.*.cpu, "seasonal", "6h", "1h")
    """
    how = _How("forecast", method, history, season, (alpha, beta, gamma))

    def line(foreseen: _Foreseen) -> list[Block]:
        return [_named("forecast", how, foreseen.block, foreseen.block.values)]

    return _forecast(context, expression, how, line)


@function(
    "forecastBands",
    group="Calculate",
    params=[SERIES, _METHOD, _HISTORY, _SEASON, _BAND, *_SMOOTHING],
    lazy=True,
)
def forecast_bands(
    context: Context,
    expression: Expression,
    method: str = "linear",
    history: str = "30d",
    season: str = "1d",
    band: float = 95,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
) -> SeriesList:
    """Two series to each: between them `band` percent of the datapoints are expected. See forecast.

    They are called forecastLower(…) and forecastUpper(…) and move apart the farther ahead they lie. With
    areaBetween() around they are an area. That datapoints resemble those before them is reckoned with; that
    the series may change its ways is not, so take the band for what is likely if all goes on as it did.
    A series that wanders (a random walk) is no line: over a quarter of the history ahead, `linear` at 95 held only
    73 to 82 percent of what came, `seasonal` some 5 more; take a wider band for such, as 99.

    Example: areaBetween(forecastBands(disk.a.used, "linear", "4h"))
    Example: forecastBands(servers.web1.cpu, "seasonal", "6h", "1h", 80)
    """
    how = _How("forecastBands", method, history, season, (alpha, beta, gamma))
    normal = quantile("forecastBands", band)

    def bounds(foreseen: _Foreseen) -> list[Block]:
        width = student(normal, foreseen.freedom)[:, None] * foreseen.deviations
        made = [
            _named(name, how, foreseen.block, foreseen.block.values + sign * width)
            for name, sign in (("forecastLower", -1), ("forecastUpper", 1))
        ]
        return [block.with_(tags=block.tags.plus(forecastBand=f"{band:g}")) for block in made]

    return _forecast(context, expression, how, bounds)


class _How(NamedTuple):
    """The arguments that both functions have."""

    function: str
    method: str
    history: str
    season: str
    smoothing: tuple[float | None, float | None, float | None]  # alpha, beta, gamma; None = to be chosen


class _Foreseen(NamedTuple):
    block: Block  # whose values are what is expected
    deviations: Matrix  # their standard deviations
    freedom: Numbers  # and the degrees of freedom of those; (series,)


def _forecast(
    context: Context, expression: Expression, how: _How, make: Callable[[_Foreseen], list[Block]]
) -> SeriesList:
    """What `make` makes of what is expected of each series, cut to the request's window."""
    seconds, season_s = (
        positive_interval(how.function, name, text)
        for name, text in (("history", how.history), ("season", how.season))
    )
    if how.method == "seasonal" and seconds < 2 * season_s:
        reason = f"takes two seasons of {how.season} at least, not {how.history!r}"
        raise ArgumentError(how.function, "history", reason)
    for name, number in zip(("alpha", "beta", "gamma"), how.smoothing, strict=True):
        if number is not None and not 0 <= number <= 1:
            raise ArgumentError(how.function, name, f"takes a number from 0 to 1, not {number:g}")
    history = read_history(context, expression, seconds)

    def made(block: Block) -> list[Block]:
        reached = reaching(context, how.function, block)
        before = max((history.end - seconds - block.start) // block.step + 1, 0)  # points before the history
        if how.method == "linear":
            foreseen = _linear(context, reached, before)
        else:
            foreseen = _seasonal(context, reached, before, season_s, how.smoothing)
        return [history.within(context, one) for one in make(foreseen)]

    with np.errstate(all="ignore"):
        return side_by_side(history.series, made)


def _linear(context: Context, block: Block, before: int) -> _Foreseen:
    """The line through what comes after the first `before` points; it is drawn through all."""
    line = fit(block.values[:, before:], context.check)
    places = np.arange(-before, block.values.shape[1] - before, dtype=np.float64)
    return _Foreseen(block.with_(line.at(places)), line.deviations(places), line.known - 2)


def _seasonal(
    context: Context, block: Block, before: int, season_s: int, smoothing: Sequence[float | None]
) -> _Foreseen:
    """Holt-Winters over what comes after the first `before` points, which have no value themselves."""
    values = np.ascontiguousarray(block.values[:, before:])
    season = min(max(round(season_s / block.step), 1), values.shape[1] + 1)  # longer ones are as unknown
    tries = _tries(*smoothing)
    expected, deviations = np.full_like(values, np.nan), np.full_like(values, np.nan)
    freedom = np.zeros(len(values))
    for at in range(0, len(values), _ROWS_AT_ONCE):
        context.check()
        rows = slice(at, at + _ROWS_AT_ONCE)
        outcome = expected[rows], deviations[rows], freedom[rows]
        seasonal_forecast(values[rows], season, tries, *outcome)
    unknown = ((0, 0), (before, 0))
    return _Foreseen(
        block.with_(np.pad(expected, unknown, constant_values=np.nan)),
        np.pad(deviations, unknown, constant_values=np.nan),
        freedom,
    )


def _tries(alpha: float | None, beta: float | None, gamma: float | None) -> Matrix:
    """Smoothing parameters to try, the calmest first: (tries, 3), NaN = the best so far.

    Level and trend together, then the season with the best of them: trying all with all takes three times as long.
    """
    levels = _LEVELS if alpha is None else (alpha,)
    trends = _TRENDS if beta is None else (beta,)
    first, *others = _SEASONS if gamma is None else (gamma,)
    tries = [(level, trend, first) for level in levels for trend in (trends if level else trends[:1])]
    return np.array(tries + [(np.nan, np.nan, other) for other in others])


def _named(name: str, how: _How, block: Block, values: Matrix) -> Block:
    names = [f'{name}({old},"{how.method}")' for old in block.names]
    return block.with_(values, options=None).renamed(names, block.tags.plus(forecast=how.method))
