"""Line graphs: title above, y axes beside, x axis and legend below, and what is left for the curves.

What does not fit goes: first the legend, then the axes' titles, the title, and the labels, so that a picture of
64 × 64 pixels is the curves alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

import numpy as np

from render.graph import look as looks
from render.graph.colors import Color
from render.graph.curves import Curve, Window, curves, window
from render.graph.legend import Entry, Legend, legend
from render.graph.look import Look
from render.graph.options import AT_DATA, Limits, Options
from render.graph.scale import Scale, Wish, scale
from render.graph.shapes import Box, Group, Path, Picture, Points, Shape, Text, line
from render.graph.text import cut, width
from render.graph.timeaxis import TimeAxis, time_axis
from render.series import SeriesList

LEGEND_ENTRIES_MAX = 10  # more series have no legend unless it is asked for, as graphite-web has it
_LEGEND_PART = 0.45  # of the height that a legend may take
_AXIS_PX = 40  # about what a y axis takes
_DOT_PX = 4.0  # of a point without neighbours, if there are few: one as thin as a line is overlooked


def draw(series: SeriesList, options: Options, zone: tzinfo) -> Picture:
    """Raises ParameterError and TooMuch."""
    look = looks.look(options)
    span = window(series, options)
    if span is None:
        return looks.no_data(options, look)
    if options.graph_only:
        options = replace(options, hide_legend=True, hide_axes=True, hide_grid=True, margin=0)
        options = replace(options, title="", vtitle="", vtitle_right="")
    sides = 0 if options.hide_axes or options.hide_y_axis else _AXIS_PX
    pixels = max(options.width - 2 * options.margin - sides, options.width * 0.6)
    drawn = curves(series, options, look, span, pixels)
    layout = _layout(drawn, options, look)
    shapes: list[Shape] = [looks.ground(options, look)]
    shapes += _Drawing(layout, span, drawn, zone).shapes()
    return Picture(options.width, options.height, shapes)


# --- layout ---


@dataclass(frozen=True)
class Layout:
    """Where everything is."""

    options: Options
    look: Look
    margin: float
    plot: Box
    left: Scale | None  # None = no series has this axis
    right: Scale | None
    labels: bool  # of the y axes
    times: bool  # labels of the x axis
    title: bool
    side_titles: bool
    legend: Legend

    def roomy(self) -> bool:
        """Whether the curves have enough of the picture."""
        wide, high = self.plot.width, self.plot.height
        enough = wide >= max(40, self.options.width * 0.4) and high >= max(24, self.options.height * 0.35)
        return enough and (not self.labels or all(map(self._apart, filter(None, (self.left, self.right)))))

    def _apart(self, axis: Scale) -> bool:
        """Whether no two labels of an axis lie on each other."""
        places = axis.place(np.array([tick.value for tick in axis.ticks])) * self.plot.height
        return bool((np.diff(places) >= self.look.font.size).all())


def _layout(drawn: Sequence[Curve], options: Options, look: Look) -> Layout:
    """The first layout that leaves the curves enough room, with less and less around them."""
    axes = not options.hide_axes
    everything = {
        "entries": _entries(drawn, options),
        "side_titles": True,
        "title": bool(options.title),
        "labels": axes and not options.hide_y_axis,
        "times": axes and not options.hide_x_axis,
    }
    without: list[dict[str, object]] = [
        {},
        {"entries": []},
        {"side_titles": False},
        {"title": False},
        {"times": False},
        {"labels": False},
    ]
    for less in without:
        everything.update(less)
        layout = _try(drawn, options, look, **everything)  # type: ignore[arg-type]  # as named above
        if layout.roomy():
            break
    return layout


def _try(
    drawn: Sequence[Curve],
    options: Options,
    look: Look,
    *,
    entries: Sequence[Entry],
    side_titles: bool,
    title: bool,
    labels: bool,
    times: bool,
) -> Layout:
    font, size = look.font, look.font.size
    margin = min(float(options.margin), 0.06 * min(options.width, options.height))
    margin = float(options.margin) if labels or times else margin
    inner = Box(margin, margin, options.width - margin, options.height - margin)
    shown = legend(entries, inner.width, options.height * _LEGEND_PART, font)
    top = inner.top + (look.title.line + size * 0.4 if title else 0.0)
    top += size * 0.4 if labels else 0.0  # half of the uppermost label
    bottom = inner.bottom - (shown.height + size * 0.5 if shown.rows else 0.0)
    bottom -= size * 1.7 if times else (size * 0.65 if labels else 0.0)  # half of the lowest label
    left, right = (_scale(drawn, options, look, side, bottom - top) for side in (False, True))
    room = {False: 0.0, True: 0.0}
    for side, axis in ((False, left), (True, right)):
        if axis is not None and labels:
            room[_on_right(options, side, right)] += _label_width(axis, look) + size * 0.6
    if side_titles:
        room[_on_right(options, False, right)] += font.line if options.vtitle else 0.0
        room[True] += font.line if right is not None and options.vtitle_right else 0.0
    plot = Box(round(inner.left + room[False]), round(top), round(inner.right - room[True]), round(bottom))
    return Layout(options, look, margin, plot, left, right, labels, times, title, side_titles, shown)


def _on_right(options: Options, right: bool, second: Scale | None) -> bool:
    """Whether an axis' labels stand on the right; with two axes each has its own side."""
    return right or (second is None and options.y_axis_side == "right")


def _label_width(axis: Scale, look: Look) -> float:
    return max((width(tick.label, look.font) for tick in axis.ticks), default=0.0)


def _scale(drawn: Sequence[Curve], options: Options, look: Look, right: bool, height: float) -> Scale | None:
    mine = [curve for curve in drawn if curve.right == right]
    two = any(curve.right for curve in drawn)
    if not mine and (right or two):
        return None
    extremes = [curve.extremes() for curve in mine]
    low = min((low for low, _ in extremes), default=math.inf)
    high = max((high for _, high in extremes), default=-math.inf)
    if low > high:
        low, high = 0.0, 1.0
    limits: Limits = options.right if right else (options.left if two else options.only)
    at_data = limits.maximum == AT_DATA
    wish = Wish(
        limits.minimum,
        limits.maximum if isinstance(limits.maximum, float) else None,
        at_data,
        limits.limit,
        limits.step,
        options.y_unit_system,
        options.y_divisors,
        options.log_base,
        max(2, int(height / (look.font.size * 1.8)) + 1),
    )
    return scale(low, high, wish)


def _entries(drawn: Sequence[Curve], options: Options) -> list[Entry]:
    hidden = len(drawn) > LEGEND_ENTRIES_MAX if options.hide_legend is None else options.hide_legend
    if hidden:
        return []
    entries, seen = [], set()
    two = any(curve.right for curve in drawn) and any(not curve.right for curve in drawn)
    for curve in drawn:
        name = curve.name + (" (right)" if two and curve.right else "")
        left_out = curve.hidden or not curve.name or (options.unique_legend and name in seen)
        if not left_out and not (options.hide_null_from_legend and curve.empty):
            seen.add(name)
            entries.append(Entry(name, curve.color, curve.dash, curve.fill is not None))
    return entries


# --- shapes ---


@dataclass(frozen=True)
class _Drawing:
    """A layout with what is to be drawn into it."""

    layout: Layout
    window: Window
    curves: Sequence[Curve]
    zone: tzinfo

    def shapes(self) -> list[Shape]:
        layout = self.layout
        axis = self._time_axis()
        shapes: list[Shape] = []
        if not layout.options.hide_axes and not layout.options.hide_grid:
            shapes += self._grid(axis)
        shapes += self._curves()
        shapes += self._axes(axis)
        if layout.title:
            room = layout.options.width - 2 * layout.margin
            shapes += looks.title(layout.options, layout.look, layout.margin, room)
        if layout.side_titles:
            shapes += self._side_titles()
        top = layout.options.height - layout.margin - layout.legend.height
        shapes += layout.legend.shapes(layout.margin, top, layout.look.foreground)
        return shapes

    def _time_axis(self) -> TimeAxis:
        return time_axis(
            self.window.start,
            self.window.until,
            self.zone,
            room=self.layout.plot.width,
            measure=lambda text: width(text, self.layout.look.font),
            x_format=self.layout.options.x_format,
            beyond=(self.layout.plot.left - 1, self.layout.options.width - self.layout.plot.right - 1),
        )

    def _x(self, at: float) -> float:
        """Where a time is."""
        plot, span = self.layout.plot, self.window
        return plot.left + (at - span.start) / (span.until - span.start) * plot.width

    def _y(self, value: float, axis: Scale) -> float:
        plot = self.layout.plot
        return plot.bottom - float(axis.place(np.array([value]))[0]) * plot.height

    def _grid(self, axis: TimeAxis) -> list[Shape]:
        """Lines at the labels of the x axis and of the left y axis, and finer ones between."""
        plot, look = self.layout.plot, self.layout.look
        values = self.layout.left or self.layout.right
        assert values is not None  # one axis there is
        count = self.layout.options.minor_y
        most = plot.height / 4  # lines closer than 4 pixels are a grey area
        minor = [] if (len(values.ticks) - 1) * count > most else values.minor(count)
        finer = [*map(self._upright, axis.minor), *(self._level(self._y(v, values)) for v in minor)]
        labelled = [*(self._upright(tick.at) for tick in axis.ticks)]
        labelled += [self._level(self._y(tick.value, values)) for tick in values.ticks]
        lines = ((finer, look.minor), (labelled, look.major))
        return [Path(pieces, color, sharp=True) for pieces, color in lines if pieces]

    def _upright(self, at: float) -> Points:
        x = math.floor(self._x(at)) + 0.5
        return line(x, self.layout.plot.top, x, self.layout.plot.bottom)

    def _level(self, y: float) -> Points:
        y = math.floor(y) + 0.5
        return line(self.layout.plot.left, y, self.layout.plot.right, y)

    # --- curves ---

    def _curves(self) -> list[Shape]:
        """Areas below lines, lines over the whole height below both."""
        shown = [curve for curve in self.curves if not curve.hidden and not curve.empty]
        infinite = [self._group(curve, [self._infinite(curve)]) for curve in shown if curve.infinite]
        areas = [self._group(curve, [self._area(curve)]) for curve in shown if curve.fill is not None]
        lines = [self._group(curve, self._line(curve)) for curve in shown if not curve.infinite]
        return [*infinite, *areas, *lines]

    def _group(self, curve: Curve, shapes: Sequence[Path]) -> Group:
        """Under the series' name; cut at the plot's edges only if it goes beyond them, as cutting takes time."""
        plot, room = self.layout.plot, max(curve.width, _DOT_PX)
        wide = Box(plot.left - room, plot.top - room, plot.right + room, plot.bottom + room)
        kept = [shape for shape in shapes if shape.pieces]
        beyond = any(
            bool((piece < wide[:2]).any() or (piece > wide[2:]).any())
            for path in kept
            for piece in path.pieces
        )
        return Group(kept, curve.name, plot if beyond else None)

    def _axis(self, curve: Curve) -> Scale:
        axis = self.layout.right if curve.right else self.layout.left
        assert axis is not None  # an axis that has a curve is there
        return axis

    def _points(self, times: Points, values: Points, curve: Curve) -> Points:
        """Pixels (points, 2); NaN where there is nothing to draw. Far outside of the picture is as good as beyond."""
        plot, span = self.layout.plot, self.window
        x = plot.left + (times - span.start) / (span.until - span.start) * plot.width
        with np.errstate(all="ignore"):
            part = np.where(np.isfinite(values), self._axis(curve).place(values), np.nan)
        y = plot.bottom - np.clip(part, -4, 5) * plot.height
        return np.stack((x, y), axis=1)

    def _line(self, curve: Curve) -> list[Path]:
        paths = []
        if curve.spread is not None:
            paths.append(Path(self._between(curve, *curve.spread), fill=_faded(curve, 0.22)))
        pieces = self._pieces(curve, curve.values)
        lines, dots = [p for p in pieces if len(p) > 1], [p for p in pieces if len(p) == 1]
        paths.append(Path(lines, curve.color, curve.width, curve.dash))
        if dots:
            thick = min(_DOT_PX, self.layout.plot.width / len(dots) / 2)
            paths.append(Path(dots, curve.color, max(curve.width, thick)))
        return paths

    def _area(self, curve: Curve) -> Path:
        base = np.zeros(len(curve.values)) if curve.base is None else curve.base
        return Path(self._between(curve, base, curve.values), fill=_faded(curve, curve.fill or 0.0))

    def _between(self, curve: Curve, lower: Points, upper: Points) -> list[Points]:
        """The areas between two lines, where both are known."""
        axis = self._axis(curve)
        known = np.isfinite(lower) & np.isfinite(upper)
        if axis.base is not None:  # a logarithm has no zero to stand on
            known &= upper > 0
            lower = np.maximum(lower, axis.low)
        edges = (self._pieces(curve, np.where(known, edge, np.nan)) for edge in (upper, lower))
        return _closed(*edges)

    def _infinite(self, curve: Curve) -> Path:
        plot = self.layout.plot
        with np.errstate(invalid="ignore"):
            xs = self._points(curve.times, curve.values, curve)[curve.values > 0, 0]
        return Path(
            [line(x, plot.top, x, plot.bottom) for x in xs], curve.color, curve.width, curve.dash, sharp=True
        )

    def _pieces(self, curve: Curve, values: Points) -> list[Points]:
        """The lines through values, cut where data is missing."""
        points = self._points(curve.times, values, curve)
        known = ~np.isnan(points[:, 1])
        mode = self.layout.options.line_mode
        at = np.flatnonzero(known)
        if not len(at):
            return []
        allowed = self.layout.options.connected_limit if mode == "connected" else 0
        cuts = np.flatnonzero(np.diff(at) - 1 > allowed) + 1
        pieces = [points[part] for part in np.split(at, cuts)]
        if mode == "staircase" or len(values) == 1:
            step = curve.step / (self.window.until - self.window.start) * self.layout.plot.width
            return [_stairs(piece, step) for piece in pieces]
        return pieces

    # --- axes ---

    def _axes(self, axis: TimeAxis) -> list[Shape]:
        layout, plot = self.layout, self.layout.plot
        shapes: list[Shape] = []
        if not layout.options.hide_axes:
            edge = math.floor(plot.bottom) + 0.5
            shapes.append(Path([line(plot.left, edge, plot.right, edge)], layout.look.faint, sharp=True))
        if layout.times:
            shapes += self._times(axis)
        if layout.labels:
            for right, values in ((False, layout.left), (True, layout.right)):
                if values is not None:
                    shapes += self._labels(values, _on_right(layout.options, right, layout.right))
        return shapes

    def _times(self, axis: TimeAxis) -> list[Shape]:
        """Labels of the x axis."""
        look, plot = self.layout.look, self.layout.plot
        y = plot.bottom + look.font.size * 1.4
        return [
            Text(self._x(tick.at), y, tick.label, look.font, look.foreground, "middle")
            for tick in axis.ticks
            if tick.label
        ]

    def _labels(self, axis: Scale, right: bool) -> list[Shape]:
        look, plot = self.layout.look, self.layout.plot
        x = plot.right + look.font.size * 0.6 if right else plot.left - look.font.size * 0.6
        return [
            Text(
                x, self._y(tick.value, axis) + look.font.size * 0.36, tick.label, look.font, look.foreground,
                "start" if right else "end",
            )
            for tick in axis.ticks
        ]  # fmt: skip

    def _side_titles(self) -> list[Shape]:
        """What the y axes show, read upwards on the left and downwards on the right."""
        options, second = self.layout.options, self.layout.right
        shapes = []
        if options.vtitle:
            shapes += self._side_title(options.vtitle, right=_on_right(options, False, second))
        if options.vtitle_right and second is not None:
            shapes += self._side_title(options.vtitle_right, right=True)
        return shapes

    def _side_title(self, title: str, *, right: bool) -> list[Shape]:
        layout, font = self.layout, self.layout.look.font
        said = cut(title, layout.plot.height, font)
        if not said:
            return []
        middle = (layout.plot.top + layout.plot.bottom) / 2
        ascent = font.ascent
        x = layout.options.width - layout.margin - ascent if right else layout.margin + ascent
        return [Text(x, middle, said, font, layout.look.foreground, "middle", 90.0 if right else -90.0)]


def _faded(curve: Curve, part: float) -> Color:
    return curve.color._replace(alpha=curve.color.alpha * part)


def _closed(upper: Sequence[Points], lower: Sequence[Points]) -> list[Points]:
    """Areas between pieces and those below them, which are as many and as long."""
    return [np.concatenate((a, b[::-1])) for a, b in zip(upper, lower, strict=True) if len(a) > 1]


def _stairs(piece: Points, step: float) -> Points:
    """Each point as a level line of its step."""
    x = np.append(piece[:, 0], piece[-1, 0] + step)
    return np.stack((np.repeat(x, 2)[1:-1], np.repeat(piece[:, 1], 2)), axis=1)
