"""Series → curves: points merged until there is about one a pixel, areas stacked, each with how it is drawn.

Where points merge, they do so by their series' own aggregation, as the JSON answer's do; the lowest and the highest
value of what was averaged stay beside it, so that a peak of one point is seen in a picture of a year.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from render.errors import ParameterError, TooMuch
from render.graph import colors
from render.graph.colors import Color
from render.graph.look import Look
from render.graph.options import Options
from render.series import Series, SeriesList
from storage import consolidation

Values = npt.NDArray[np.float64]
POINTS_MAX = 500_000  # of all curves of a picture: some seconds of drawing
_GRID_MAX = 50_000_000  # of all series of a stack before they merge, 8 bytes each
_LEVEL_POINTS = 3  # a constant line has so many: it is no part of a stack
_SPREAD = {"average", "avg_zero", "median", "last", "first"}  # what hides extremes when points merge


@dataclass(frozen=True, eq=False)
class Curve:
    """One series to be drawn. Arrays are float64 (points,); NaN = no data."""

    name: str
    color: Color
    times: Values  # epoch seconds
    values: Values
    step: float  # seconds that a point stands for
    width: float
    dash: float = 0.0
    right: bool = False  # against the axis on the right
    infinite: bool = False  # lines over the whole height where the value is above 0
    hidden: bool = False  # not drawn, but what the next area stands on
    fill: float | None = None  # opacity of the area below; None = a line alone
    base: Values | None = None  # what the area stands on; None = zero
    spread: tuple[Values, Values] | None = None  # lowest and highest of what each point was merged from

    @property
    def empty(self) -> bool:
        return not bool(np.isfinite(self.values).any())

    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest value that is drawn; inf, -inf if there is none."""
        parts = [self.values, *(self.spread or ())]
        if self.fill is not None:
            parts.append(np.zeros(1) if self.base is None else self.base)
        laid = np.concatenate(parts)
        laid = laid[np.isfinite(laid)]
        if self.infinite or self.empty or not len(laid):
            return math.inf, -math.inf
        return float(laid.min()), float(laid.max())


class Window(NamedTuple):
    start: int  # epoch seconds
    until: int  # after start


def window(series: SeriesList, options: Options) -> Window | None:
    """From the first point to the last; None if there are no points."""
    blocks = [block for block in series.blocks if block.values.size]
    if not blocks:
        return None
    start = min(block.start for block in blocks)
    whole = options.line_mode == "staircase" or all(block.values.shape[1] == 1 for block in blocks)
    ends = [block.start + (block.values.shape[1] - (not whole)) * block.step for block in blocks]
    return Window(start, max(*ends, start + 1))


def curves(series: SeriesList, options: Options, look: Look, span: Window, pixels: float) -> list[Curve]:
    """A curve a series, in the list's order, for a picture in which the window is so many pixels wide.

    Raises TooMuch, and ParameterError for a colour that a target names and that is none.
    """
    seconds = (span.until - span.start) / max(1.0, pixels) * options.min_x_step
    listed = [one for one in series if len(one.values)]
    points = sum(-(-len(one.values) // _size(one.step, seconds)) for one in listed)
    if points > POINTS_MAX:
        raise TooMuch(
            f"the picture has {points:,} points in {len(listed):,} series, at most {POINTS_MAX:,}: "
            "make it narrower, or ask for fewer series"
        )
    stacked = _stackable(listed, options)
    level = options.line_mode == "staircase"
    laid = dict(_stack(series, listed, stacked, seconds, level)) if stacked else {}
    two = any("secondYAxis" in one.options for one in listed)
    palette = look.colors()
    drawn = []
    for i, one in enumerate(listed):
        curve = laid[i] if i in laid else _single(one, seconds, level)
        drawn.append(_styled(curve, one.options, options, palette, two))
    return _filled(drawn, [one.options for one in listed], set(stacked), options)


# --- points ---


def _size(step: int, seconds: float) -> int:
    """How many points merge into one so that points are so many seconds apart."""
    return max(1, math.ceil(seconds / step - 1e-9))


def _single(one: Series, seconds: float, level: bool) -> Curve:
    size = min(_size(one.step, seconds), len(one.values))
    values, times = _merged(one.values[None], [one.consolidation], one, size, level)
    spread = None
    if size > 1 and consolidation.canonical(one.consolidation) in _SPREAD:
        low, high = (_merged(one.values[None], [method], one, size, level)[0][0] for method in ("min", "max"))
        known = np.isnan(values[0])
        spread = np.where(known, np.nan, low), np.where(known, np.nan, high)
    return Curve(
        one.name, colors.NAMES["black"], times, values[0], one.step * size, 1.0,
        right="secondYAxis" in one.options, infinite="drawAsInfinite" in one.options, spread=spread,
    )  # fmt: skip


class _Grid(NamedTuple):
    start: int
    step: int
    x_files_factor: float


def _merged(
    values: Values, methods: Sequence[str], grid: Series | _Grid, size: int, level: bool
) -> tuple[Values, Values]:
    """Rows of values with each `size` points merged, each row by its method, and the merged points' times.

    Runs begin at multiples of their seconds, so that a picture of a moving window does not flicker; a run is no
    longer than the row, as it is filled up to its begin. Its time is its begin if it is drawn as a level line, else
    its middle.
    """
    lead = grid.start // grid.step % size
    padded = np.pad(values, ((0, 0), (lead, 0)), constant_values=np.nan) if lead else values
    out = np.empty((len(values), -(-padded.shape[1] // size)))
    for method in set(methods):
        mine = [i for i, one in enumerate(methods) if one == method]
        out[mine] = consolidation.buckets(method, padded[mine], size, grid.x_files_factor)
    places = np.arange(out.shape[1]) * size - lead + (0.0 if level else (size - 1) / 2)
    return out, grid.start + np.clip(places, 0, values.shape[1] - 1) * grid.step


def _stackable(listed: Sequence[Series], options: Options) -> list[int]:
    """Which series areaMode=stacked lays on each other."""
    if options.area_mode != "stacked" or not listed:
        return []
    most = max(len(one.values) for one in listed)
    return [
        i
        for i, one in enumerate(listed)
        if "drawAsInfinite" not in one.options and (len(one.values) > _LEVEL_POINTS or most <= _LEVEL_POINTS)
    ]


def _stack(
    series: SeriesList, listed: Sequence[Series], which: Sequence[int], seconds: float, level: bool
) -> Iterator[tuple[int, Curve]]:
    """Each series on the sum of those before it; the two axes have a stack each."""
    with_points = [i for i, one in enumerate(series) if len(one.values)]
    picked = series.pick([with_points[i] for i in which])
    step = math.lcm(*(one.step for one in picked.blocks))
    reach = max(one.end for one in picked.blocks) - min(one.start for one in picked.blocks)
    if (points := reach // step * len(picked)) > _GRID_MAX:
        raise TooMuch(
            f"the stack has {points:,} points on one grid, at most {_GRID_MAX:,}: ask for less time"
        )
    block = picked.on_one_grid()
    size = min(_size(block.step, seconds), block.values.shape[1])
    grid = _Grid(block.start, block.step, block.x_files_factor)
    values, times = _merged(block.values, block.consolidations, grid, size, level)
    sums = {False: np.zeros(len(times)), True: np.zeros(len(times))}
    for i, row in zip(which, values, strict=True):
        right = "secondYAxis" in listed[i].options
        base, top = sums[right], sums[right] + np.where(np.isfinite(row), row, 0)
        sums[right] = top
        top = np.where(np.isfinite(row), top, np.nan)
        yield i, Curve(
            listed[i].name, colors.NAMES["black"], times, top, block.step * size, 1.0, right=right, base=base
        )  # fmt: skip


# --- looks ---


def _styled(
    curve: Curve, own: Mapping[str, object], options: Options, palette: Iterator[Color], two: bool
) -> Curve:
    """Colour, width and dashes: the axis' own, the series' own, the request's."""
    side = (options.right_width, options.right_color, options.right_dashed)
    if not curve.right:
        side = (options.left_width, options.left_color, options.left_dashed)
    width, color, dash = side if two else (None, None, None)
    if color is None:
        color = _color(own["color"]) if own.get("color") else next(palette)
    alpha = _own_number(own, "alpha", 0, 1)
    width = _first(width, _own_number(own, "lineWidth", 0.1, 100), options.line_width)
    dash = _first(dash, _own_number(own, "dashed", 0, 1000), 0.0)
    values = curve.values
    if options.draw_null_as_zero and not curve.infinite:
        values = np.where(np.isnan(values), 0.0 if curve.base is None else curve.base, values)
    return replace(
        curve,
        color=color if alpha is None else color._replace(alpha=alpha),
        width=width,
        dash=dash,
        values=values,
        hidden=bool(own.get("invisible")),
    )


def _color(text: object) -> Color:
    try:
        return colors.parse(str(text))
    except ValueError as error:
        raise ParameterError({"target": str(error)}) from None


def _own_number(own: Mapping[str, object], name: str, low: float, high: float) -> float | None:
    """A number that a function has set, brought into its bounds."""
    value = own.get(name)
    if not isinstance(value, int | float):
        return None
    return min(max(float(value), low), high)


def _first(*numbers: float | None) -> float:
    return next(number for number in numbers if number is not None)


def _filled(
    drawn: Sequence[Curve], own: Sequence[Mapping[str, object]], stacked: set[int], options: Options
) -> list[Curve]:
    """The curves with their areas: areaMode's, and those that functions ask for (areaBetween, stacked)."""
    out = []
    tops: dict[object, Curve | None] = {}  # by stack: the curve that its next area stands on
    for i, curve in enumerate(drawn):
        if "stacked" in own[i]:
            below = tops.get(own[i]["stacked"])
            between = below is not None and below.hidden
            fill = _first(options.area_alpha, _own_number(own[i], "alpha", 0, 1), 0.35 if between else 0.8)
            base = None if below is None else _at(curve.times, below)
            changed = replace(curve, fill=fill, base=base, spread=None)
            tops[own[i]["stacked"]] = None if between else curve
        elif i in stacked:
            changed = replace(curve, fill=_first(options.area_alpha, 0.8))
        elif not curve.infinite and (options.area_mode == "all" or (options.area_mode == "first" and i == 0)):
            changed = replace(curve, fill=_first(options.area_alpha, 0.3), spread=None)
        else:
            changed = curve
        out.append(changed)
    return out


def _at(times: Values, curve: Curve) -> Values:
    """A curve's values at other times; zero where it has none."""
    if np.array_equal(times, curve.times):
        return np.where(np.isfinite(curve.values), curve.values, 0.0)
    known = np.isfinite(curve.values)
    if not known.any():
        return np.zeros(len(times))
    return np.interp(times, curve.times[known], curve.values[known], left=0.0, right=0.0)
