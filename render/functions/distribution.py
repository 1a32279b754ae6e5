"""How values are distributed: percentileOverTime over each series' points, histogram over all values.

Both are of group Calculate. percentileOfSeries and nPercentile are graphite-web's and stand with its others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions.aggregation import joined
from render.functions.context import Context
from render.functions.each import each
from render.functions.measure import check_percent
from render.functions.registry import SERIES, Param, function
from render.functions.summarize import merge
from render.functions.window import check_points, positive_interval
from render.series import Block, Matrix, SeriesList, Tags
from storage import consolidation

Bounds: TypeAlias = npt.NDArray[np.float64]  # upper bounds of buckets, ascending

_INTERVALS = ("10min", "1h", "1d")
_BUCKETS_MAX = (
    200  # of a histogram: each is a series. Grafana draws about as many rows; Prometheus warns at 100
)
_MULTIPLES_MAX = 10**9  # of a bucket's width that its bounds may be: beyond, twelve digits do not show them
_EXPONENTS = tuple(2.0**i for i in range(-3, 12))
_VALUES_AT_ONCE = 1 << 22  # sorted into buckets at a time, so that the copies stay small


@function(
    "percentileOverTime",
    group="Calculate",
    params=[
        SERIES,
        Param("n", "float", required=True),
        Param("interval", "interval", suggestions=_INTERVALS),
    ],
    each=True,
)
def percentile_over_time(
    context: Context, series: SeriesList, n: float, interval: str | None = None
) -> SeriesList:
    """The n-th percentile (0 to 100) of each series' own datapoints: of all in the window, as a level line,
    or of those in each `interval`.

    It lies on the straight line between the two nearest datapoints, as `p95` does where an aggregation is
    taken. Intervals begin at multiples of their length since 1970, as summarize()'s do. percentileOfSeries()
    goes the other way, over all series at each point.

    Example: percentileOverTime(servers.*.cpu, 95)
    Example: percentileOverTime(servers.*.cpu, 99.9, "10min")
    """
    check_percent("percentileOverTime", n)
    func = _quantile(abs(n))  # -0 is 0
    if interval is None:

        def level(block: Block) -> Matrix:
            points = block.values.shape[1]
            reduced = consolidation.rows(func, block.values)
            enough = reduced.known >= block.x_files_factor * points
            return np.repeat(np.where(enough, reduced.values, np.nan)[:, None], points, axis=1)

        return each(series, "percentileOverTime", level, f",{n:g}", percentileOverTime=n)
    seconds = positive_interval("percentileOverTime", "interval", interval)

    def merged(block: Block) -> Block:
        start = block.start - block.start % seconds
        values = merge("percentileOverTime", block, func, seconds, start, block.end)
        names = [f'percentileOverTime({name},{n:g},"{interval}")' for name in block.names]
        tags = block.tags.plus(percentileOverTime=str(n))
        return block.with_(values, start=start, step=seconds, fixed_end=None).renamed(names, tags)

    return series.map(merged)


@function(
    "histogram",
    group="Calculate",
    params=[
        SERIES,
        Param("bounds", "float", multiple=True),
        Param("buckets", "integer", default=20),
        Param("scale", "string", default="linear", options=("linear", "exponential")),
        Param("interval", "interval", suggestions=_INTERVALS),
        Param("cumulative", "boolean", default=False),
    ],
)
def histogram(
    context: Context,
    series: SeriesList,
    given: Sequence[float],
    buckets: int,
    scale: str,
    interval: str | None,
    cumulative: bool,
) -> SeriesList:
    """How many of the series' values lie in each range, at each point or in each `interval`: a heat map.

    A series is a bucket, called by its upper bound; it counts the values above the bucket before and up to its
    own bound, which also stand as the tags `gt` and `le`. Buckets end at `bounds`, ascending, and `+Inf` takes
    what is beyond. Without bounds they are laid over the values that there are, at most about `buckets` of
    them: at round numbers, all equally wide, or with `scale="exponential"` at powers of 2 (or roots of it), and
    one of `0` for what is not above it. So bounds do not wander while the window moves on, as long as the range
    of the values stays similar; a dashboard is best served with bounds of its own. With `cumulative` a bucket
    counts all values up to its bound, as those of Prometheus do.

    There is no count at a point where no series has a value. In Grafana choose a heat map whose data are
    buckets already (calculate from data: no).

    Example: histogram(servers.*.cpu, 0, 10, 20, 50)
    Example: histogram(servers.*.cpu, buckets=10, interval="10min")
    Example: histogram(servers.*.mem, buckets=8, scale="exponential")
    """
    bounds = np.array(given, dtype=np.float64)
    _check_bounds(bounds, buckets)
    if interval is None and series:
        series = SeriesList([series.on_one_grid()])
    if not given:
        bounds = _laid(series, buckets, scale)
    grid = _grid(series, positive_interval("histogram", "interval", interval) if interval else None)
    if not grid.points:
        return SeriesList()
    check_points("histogram", "buckets", grid.points, series=len(bounds) + 1)
    counts = np.zeros((len(bounds) + 1, grid.points))
    for block in series.blocks:
        _count(block, grid, bounds, counts, context.check)
    block = _buckets(counts, bounds, grid, beyond=bool(given), cumulative=cumulative)
    expression = f"histogram({joined(name for block in series.blocks for name in block.expressions)})"
    return SeriesList([block.with_(expressions=[expression] * len(block))])


def _quantile(n: float) -> str:
    """The aggregation's name; the table of them ends below p100."""
    text = f"p{n:.9f}"
    return "max" if text.startswith("p100") else text


class _Grid(NamedTuple):
    """The points that values are counted at."""

    start: int  # epoch seconds
    step: int
    points: int


def _grid(series: SeriesList, interval: int | None) -> _Grid:
    """That of the series, which have one, or intervals that all of them lie in; no points if there are none."""
    blocks = [block for block in series.blocks if block.values.size]
    if not blocks:
        return _Grid(0, 1, 0)
    step = blocks[0].step if interval is None else interval
    start = min(block.start for block in blocks)
    start -= 0 if interval is None else start % step
    end = max(block.start + block.values.shape[1] * block.step for block in blocks)
    return _Grid(start, step, -((start - end) // step))


def _count(block: Block, grid: _Grid, bounds: Bounds, counts: Matrix, check: Callable[[], None]) -> None:
    """Add to counts (buckets, points) how many of the block's values lie in each."""
    points = block.values.shape[1]
    at = (block.start - grid.start + block.step * np.arange(points)) // grid.step
    rows = max(1, _VALUES_AT_ONCE // max(points, 1))
    for first in range(0, len(block), rows):
        check()
        values = block.values[first : first + rows]
        known = ~np.isnan(values)
        buckets = np.searchsorted(bounds, values[known])
        places = buckets * grid.points + np.broadcast_to(at, values.shape)[known]
        counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)


def _buckets(counts: Matrix, bounds: Bounds, grid: _Grid, *, beyond: bool, cumulative: bool) -> Block:
    """Counts (buckets, points) as series; the last bucket goes unless something is in it, or `beyond`."""
    known = counts.sum(axis=0) > 0
    texts = [
        *(f"{bound:g}" if float(f"{bound:g}") == bound else repr(bound) for bound in bounds.tolist()),
        "+Inf",
    ]
    if not beyond and not counts[-1].any() and len(counts) > 1:
        counts, texts = counts[:-1], texts[:-1]
    if cumulative:
        counts = np.cumsum(counts, axis=0)
    tags: list[dict[str, str]] = [{"name": "histogram", "le": text} for text in texts]
    for own, before in zip(tags[1:], texts, strict=False):
        own["gt"] = before
    values = np.where(known, counts, np.nan)
    methods = ["sum"] * len(texts)
    return Block(values, grid.start, grid.step, texts, texts, Tags(tags), methods)


def _check_bounds(bounds: Bounds, buckets: int) -> None:
    if not 1 <= buckets <= _BUCKETS_MAX:
        raise ArgumentError("histogram", "buckets", f"takes 1 to {_BUCKETS_MAX}, not {buckets}")
    if not np.all(np.isfinite(bounds)) or not np.all(np.diff(bounds) > 0):
        shown = ", ".join(f"{bound:g}" for bound in bounds)
        raise ArgumentError(
            "histogram", "bounds", f"takes finite numbers, each above the one before, not {shown}"
        )


def _laid(series: SeriesList, buckets: int, scale: str) -> Bounds:
    """Bounds that hold all finite values, and of `exponential` also 0 if any is not above it."""
    exponential = scale == "exponential"
    spans = [span for block in series.blocks if (span := _span(block.values, above_zero=exponential))]
    bounds = np.empty(0)
    if spans:
        low, high = min(low for low, _ in spans), max(high for _, high in spans)
        bounds = (_exponential if exponential else _linear)(low, high, buckets)
    if exponential and any(bool(np.any(block.values <= 0)) for block in series.blocks):
        return np.concatenate(([0.0], bounds))
    return bounds


def _span(values: Matrix, *, above_zero: bool) -> tuple[float, float] | None:
    """The least and the greatest finite value."""
    wanted = np.isfinite(values) & (values > 0) if above_zero else np.isfinite(values)
    if not wanted.any():
        return None
    low = np.min(values, where=wanted, initial=math.inf)
    return float(low), float(np.max(values, where=wanted, initial=-math.inf))


def _linear(low: float, high: float, buckets: int) -> Bounds:
    """Multiples of a round width, from the first not below `low` to the first not below `high`."""
    plain = high / buckets - low / buckets
    if plain <= 0.0:
        return np.array([high])
    width = _round_width(plain)
    if (
        max(abs(low), abs(high)) > width * _MULTIPLES_MAX
    ):  # so close for their size that nothing round lies between
        return np.unique(high - plain * np.arange(buckets)[::-1])
    multiples = np.arange(math.ceil(low / width), math.ceil(high / width) + 1)
    with np.errstate(over="ignore"):
        bounds = multiples * width
    # the last may be beyond the largest number: +Inf takes what it would; + 0.0 gives 0, not -0
    return np.array([float(f"{bound:.12g}") + 0.0 for bound in bounds if np.isfinite(bound)])


def _round_width(plain: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, not below `plain`."""
    ten = 10.0 ** math.floor(math.log10(plain))
    return next((times * ten for times in (1, 2, 2.5, 5, 10) if plain <= times * ten < math.inf), plain)


def _exponential(low: float, high: float, buckets: int) -> Bounds:
    """Powers of 2^(1/8), 2^(1/4) … 2, 4, 16 …: of the first that needs no more than so many buckets."""
    for exponent in _EXPONENTS:
        first, last = (math.ceil(math.log2(value) / exponent) for value in (low, high))
        if last - first < buckets:
            break
    with np.errstate(over="ignore"):
        bounds = 2.0 ** (np.arange(first, last + 1) * exponent)
    # roots of 2 have no last digit; what is beyond the largest number goes to +Inf
    return np.array([bound if exponent >= 1 else float(f"{bound:.6g}") for bound in bounds if bound < np.inf])
