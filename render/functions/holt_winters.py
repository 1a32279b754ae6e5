"""graphite-web's Holt-Winters: what is expected of a series after the days before it. Group Calculate.

Smoothing is graphite-web's: 0.1 for the level, 0.0035 for the trend, 0.1 for the season; so are its rules for gaps.
Departures: everything comes from one reading, so that all series have one step; a season has at least two points;
and what lies ahead of now is expected too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from render.errors import ArgumentError
from render.functions import graph
from render.functions.ahead import reaching
from render.functions.bands import side_by_side
from render.functions.context import Context
from render.functions.forecast_kernels import holt_winters
from render.functions.registry import SERIES, Param, function
from render.functions.window import cut, positive_interval, preview_points
from render.series import Block, Matrix, SeriesList, Tags
from render.timespec import parse_interval

_SUGGESTED = {"bootstrapInterval": ("7d", "30d"), "seasonality": ("1d", "7d")}
_BOOTSTRAP = Param("bootstrapInterval", "interval", default="7d", suggestions=_SUGGESTED["bootstrapInterval"])
_SEASONALITY = Param("seasonality", "interval", default="1d", suggestions=_SUGGESTED["seasonality"])
_DELTA = Param("delta", "float", default=3)
# the first two are also what the bands are called
_BAND_TAGS = (
    "holtWintersConfidenceLower",
    "holtWintersConfidenceUpper",
    "holtWintersForecast",
    "holtWintersDeviation",
)
_ROWS_AT_ONCE = 64  # between looks at the clock


def _earlier(arguments: dict[str, Any], step: int) -> int:
    return abs(parse_interval(arguments["bootstrapInterval"]))


_holt_winters = partial(function, group="Calculate", earlier=_earlier)
_banded = partial(_holt_winters, params=[SERIES, _DELTA, _BOOTSTRAP, _SEASONALITY])


@_holt_winters("holtWintersForecast", params=[SERIES, _BOOTSTRAP, _SEASONALITY])
def holt_winters_forecast(
    context: Context, series: SeriesList, bootstrap: str = "7d", seasonality: str = "1d"
) -> SeriesList:
    """Each point as it is expected after those before it, at the same time of day (or other `seasonality`) most of all.

    Expectations are learnt from as much data before the window as `bootstrapInterval` says. If `until` lies ahead
    of now, so does the answer. After a gap graphite-web's rules, which these are, begin anew: for series with
    gaps, and for bands that widen with time, take forecast().

    Example: holtWintersForecast(servers.web1.cpu, "4h", "1h")
    """

    def expected(block: Block) -> Block:
        predictions, _ = _analysed(context, block, seasonality)
        tags = block.tags.plus(holtWintersForecast="1", holtWintersDeviation="1")
        names = [f"holtWintersForecast({name})" for name in block.names]
        return _shown(context, block.with_(predictions, options=None), bootstrap).renamed(names, tags)

    return series.map(partial(_ahead, context, "holtWintersForecast")).map(expected)


@_banded("holtWintersConfidenceBands")
def holt_winters_confidence_bands(
    context: Context, series: SeriesList, delta: float = 3, bootstrap: str = "7d", seasonality: str = "1d"
) -> SeriesList:
    """Two series to each: what is expected, less and plus `delta` times what the error was a season ago.

    See holtWintersForecast.

    Example: holtWintersConfidenceBands(servers.web1.cpu, 3, "4h", "1h")
    """
    return _bands(context, "holtWintersConfidenceBands", series, delta, bootstrap, seasonality)


@_banded("holtWintersAberration")
def holt_winters_aberration(
    context: Context, series: SeriesList, delta: float = 3, bootstrap: str = "7d", seasonality: str = "1d"
) -> SeriesList:
    """How far each point lies above (positive) or below (negative) the band of holtWintersConfidenceBands.

    0 within the band, and where the datapoint or the band is missing.

    Example: holtWintersAberration(servers.web1.cpu, 3, "4h", "1h")
    """

    def outside(block: Block) -> Block:
        predictions, deviations = _analysed(context, block, seasonality)
        off = block.values - predictions
        width = delta * deviations
        beyond = np.where(off > width, off - width, np.where(off < -width, off + width, 0.0))
        tags = block.tags.plus(holtWintersAberration="1")
        names = [f"holtWintersAberration({name})" for name in block.names]
        return _shown(context, block.with_(beyond, options=None), bootstrap).renamed(names, tags)

    with np.errstate(all="ignore"):
        return series.map(outside)


@_banded("holtWintersConfidenceArea")
def holt_winters_confidence_area(
    context: Context, series: SeriesList, delta: float = 3, bootstrap: str = "7d", seasonality: str = "1d"
) -> SeriesList:
    """The area between the bands of holtWintersConfidenceBands, of one series.

    Example: holtWintersConfidenceArea(servers.web1.cpu, 3, "4h", "1h")
    """
    if len(series) > 1:
        raise ArgumentError("holtWintersConfidenceArea", "seriesList", f"takes one series, not {len(series)}")
    if not series:
        return series
    name = f"holtWintersConfidenceArea({series.expressions[0]})"
    bands = _bands(context, "holtWintersConfidenceArea", series, delta, bootstrap, seasonality)
    tags = bands.tags[1] | {"holtWintersConfidenceArea": "1"}
    area = graph.area_between(context, bands)
    return area.map(lambda block: block.renamed([name], Tags([tags])))


def _bands(
    context: Context, name: str, series: SeriesList, delta: float, bootstrap: str, seasonality: str
) -> SeriesList:
    def both(block: Block) -> list[Block]:
        predictions, deviations = _analysed(context, block, seasonality)
        tags = block.tags.plus(**dict.fromkeys(_BAND_TAGS, "1"))
        made = []
        for sign, tag in zip((-1, 1), _BAND_TAGS, strict=False):
            names = [f"{tag}({name})" for name in block.names]
            values = predictions + sign * delta * deviations
            made.append(_shown(context, block.with_(values, names=names, tags=tags, options=None), bootstrap))
        return made

    with np.errstate(all="ignore"):
        return side_by_side(series.map(partial(_ahead, context, name)), both)


def _ahead(context: Context, name: str, block: Block) -> Block:
    return reaching(context, name, block)


def _analysed(context: Context, block: Block, seasonality: str) -> tuple[Matrix, Matrix]:
    """What is expected at each point of a block, and how far off that has been: predictions, deviations."""
    # a season of one point is none, and graphite-web fails there; carbonapi and its newer versions take two, too
    season = max(positive_interval("holtWinters", "seasonality", seasonality) // block.step, 2)
    values = np.ascontiguousarray(block.values)
    predictions, deviations = np.empty_like(values), np.empty_like(values)
    for at in range(0, len(values), _ROWS_AT_ONCE):
        context.check()
        rows = slice(at, at + _ROWS_AT_ONCE)
        ahead = context.until > context.now
        holt_winters(values[rows], season, ahead, predictions[rows], deviations[rows])
    return predictions, deviations


def _shown(context: Context, block: Block, bootstrap: str) -> Block:
    """The block without what was read only to learn from."""
    return cut(block, preview_points(context, block, abs(parse_interval(bootstrap))))
