"""What is out of the ordinary: each datapoint against those before it. Group Calculate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions import anomaly_kernels
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.functions.window import cut, positive_interval, preview_points
from render.series import Block, Matrix, SeriesList
from render.timespec import parse_interval

SCORE_MAX = 100.0  # beyond it more says nothing more
_WINDOWS = {"zscore": "6h", "seasonal": "1h"}
_SEASONS_MAX = 400
_COMPARED_MAX = 100_000  # values that one is compared with
_STEPS_AT_ONCE = 2_000_000  # values moved in and out, between looks at the clock


def _earlier(arguments: dict[str, Any], step: int) -> int:
    """How many seconds before a datapoint the first of those lies that it is compared with."""
    window = abs(parse_interval(arguments["window"] or _WINDOWS[arguments["method"]]))
    if arguments["method"] == "zscore":
        return window
    seasons = min(max(int(arguments["seasons"]), 1), _SEASONS_MAX)
    return abs(parse_interval(arguments["season"])) * seasons + window // 2


@function(
    "anomaly",
    group="Calculate",
    params=[
        SERIES,
        Param("method", "string", default="zscore", options=tuple(_WINDOWS)),
        Param("window", "interval", suggestions=("1h", "6h", "1d")),
        Param("season", "interval", default="1d", suggestions=("1d", "7d")),
        Param("seasons", "integer", default=7),
        Param("leastSpread", "float", default=0),
    ],
    earlier=_earlier,
)
def anomaly(
    context: Context,
    series: SeriesList,
    method: str = "zscore",
    window: str | None = None,
    season: str = "1d",
    seasons: int = 7,
    least_spread: float = 0,
) -> SeriesList:
    """How far out of the ordinary each datapoint is, in standard deviations: above 3.5 or below -3.5 is rare.

    `zscore` compares it with the `window` before it (6h unless given): for what has no times of day, and for sudden
    jumps. `seasonal` compares it with the same time of the last `seasons` seasons, give or take half a `window` (1h):
    for what repeats by day (`1d`) or by week (`7d`, which reads `seasons` weeks).

    Middle and spread are medians, so that earlier anomalies do not hide new ones until they are half of all. The
    spread is `leastSpread` at least: what lies closer to the middle than that never counts as more than 1, which
    calms series that hardly ever change. Where nothing ever changed, any change is 100, the most there is. No value
    where less than five datapoints are known to compare with.

    Example: anomaly(servers.*.cpu, "zscore", "2h")
    Example: removeBelowValue(absolute(anomaly(servers.web1.cpu, "seasonal", "10min", "1h", 4)), 3.5)
    """
    window = window or _WINDOWS[method]
    how = _How(
        method,
        positive_interval("anomaly", "window", window.removeprefix("-")),
        positive_interval("anomaly", "season", season.removeprefix("-")),
        seasons,
    )
    if not 1 <= seasons <= _SEASONS_MAX:
        raise ArgumentError("anomaly", "seasons", f"takes 1 to {_SEASONS_MAX}, not {seasons}")
    if not 0 <= least_spread < np.inf:
        raise ArgumentError("anomaly", "leastSpread", f"takes 0 or more, not {least_spread:g}")
    seconds = _earlier({"method": method, "window": window, "season": season, "seasons": seasons}, 1)

    def scored(block: Block) -> Block:
        return cut(
            block.with_(_scores(context, block, how, least_spread)), preview_points(context, block, seconds)
        )

    argument = f',"{method}"'
    return each(series.map(scored), "anomaly", lambda b: b.values, argument, fresh=True, anomaly=method)


class _How(NamedTuple):
    method: str
    window_s: int
    season_s: int
    seasons: int

    def compared(self, step: int) -> tuple[npt.NDArray[np.int64], int]:
        """Of each run of points that one is compared with: how many points before it begins; and its length."""
        if self.method == "zscore":
            points = max(self.window_s // step, 1)
            return np.array([points], np.int64), points
        beside = self.window_s // 2 // step
        # a season that is no whole number of points is rounded each time, so that it does not drift
        before = np.round(np.arange(1, self.seasons + 1) * (self.season_s / step)).astype(np.int64)
        before = before[before > beside]  # what is compared lies before
        return before + beside, 2 * beside + 1


def _scores(context: Context, block: Block, how: _How, least: float) -> Matrix:
    backs, length = how.compared(block.step)
    if len(backs) * length > _COMPARED_MAX:
        reason = (
            f"compares each value with {len(backs) * length} of step {block.step} s; at most {_COMPARED_MAX}"
        )
        raise ArgumentError("anomaly", "window", reason)
    values = np.ascontiguousarray(block.values)
    out = np.full_like(values, np.nan)
    rows = max(1, _STEPS_AT_ONCE // max(1, values.shape[1] * max(1, len(backs))))
    for at in range(0, len(values), rows):
        context.check()
        some = slice(at, at + rows)
        anomaly_kernels.scores(values[some], backs, length, least, SCORE_MAX, out[some])
    return out
