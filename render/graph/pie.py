"""Pie graphs: each series is a slice as large as its average, highest or lowest value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from render.errors import ParameterError
from render.graph import look as looks
from render.graph.colors import NAMES, Color, parse
from render.graph.legend import Entry, legend
from render.graph.look import Look
from render.graph.options import Options
from render.graph.scale import labels
from render.graph.shapes import Box, Group, Path, Picture, Points, Shape, Text
from render.graph.text import width
from render.series import Block, SeriesList, Tags
from storage import consolidation

SLICES_MAX = 100  # the others are one slice: nobody can tell them apart
_LITERAL = re.compile(r"(.+):([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)", re.DOTALL)
_METHODS = {"average": "average", "maximum": "max", "minimum": "min"}


@dataclass(frozen=True)
class Slice:
    name: str
    value: float
    part: float  # of all, 0 … 1
    color: Color


def draw(series: SeriesList, options: Options) -> Picture:
    """Raises ParameterError."""
    look = looks.look(options)
    slices = _slices(series, options, look)
    if not slices:
        return looks.no_data(options, look)
    margin = min(float(options.margin), 0.1 * min(options.width, options.height))
    box = Box(margin, margin, options.width - margin, options.height - margin)
    shapes: list[Shape] = [looks.ground(options, look)]
    head = look.title.line + look.font.size * 0.4
    if options.title and not options.graph_only and box.height > 3 * head:
        shapes += looks.title(options, look, box.top, box.width)
        box = box._replace(top=box.top + head)
    if not (options.hide_legend or options.graph_only):
        names = [Entry(_described(one, options), one.color, area=True) for one in slices]
        shown = legend(names, box.width, box.height * 0.4, look.font)
        shapes += shown.shapes(box.left, box.bottom - shown.height, look.foreground)
        box = box._replace(bottom=box.bottom - shown.height - (look.font.size * 0.6 if shown.rows else 0))
    return Picture(options.width, options.height, [*shapes, *_pie(slices, box, options, look)])


def literal(target: str) -> SeriesList | None:
    """The one series of one point that `name:value` is; None for any other target."""
    found = _LITERAL.fullmatch(target)
    if found is None:
        return None
    name = [found[1]]
    return SeriesList([Block(np.array([[float(found[2])]]), 0, 1, name, name, Tags(name), ["average"])])


def _slices(series: SeriesList, options: Options, look: Look) -> list[Slice]:
    """What is above zero, in the series' order; more than SLICES_MAX are cut to the largest and the rest."""
    values = series.measure(lambda block: consolidation.rows(_METHODS[options.pie_mode], block.values).values)
    palette = look.colors()
    own = [one.options.get("color") for one in series]
    colors = [_color(color) if color else next(palette) for color in own]
    known = [i for i, value in enumerate(values) if 0 < value < math.inf]
    largest_first = sorted(known, key=lambda i: -values[i])
    kept, others = sorted(largest_first[:SLICES_MAX]), largest_first[SLICES_MAX:]
    rest = sum(float(values[i]) for i in others)
    total = sum(float(values[i]) for i in kept) + rest
    if not 0 < total < math.inf:
        return []
    names = series.names
    slices = [Slice(names[i], float(values[i]), float(values[i]) / total, colors[i]) for i in kept]
    return [*slices, Slice("others", rest, rest / total, look.faint)] if rest else slices


def _color(text: object) -> Color:
    try:
        return parse(str(text))
    except ValueError as error:
        raise ParameterError({"target": str(error)}) from None


def _described(one: Slice, options: Options) -> str:
    """Its name and its value, which a narrow slice has no room for."""
    return one.name if options.value_labels == "none" else f"{one.name}  {_value(one, options)}"


def _value(one: Slice, options: Options) -> str:
    if options.value_labels == "percent":
        return f"{one.part:.1%}" if one.part < 0.9995 else f"{one.part:.0%}"
    rounded = float(f"{one.value:.4g}")
    return labels([rounded], rounded, options.y_unit_system)[0]


def _pie(slices: Sequence[Slice], box: Box, options: Options, look: Look) -> list[Shape]:
    """Slices from the top on, clockwise, with a thin line between them, and the labels that fit into them."""
    radius = max(2.0, min(box.width, box.height) / 2)
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    alpha = 1.0 if options.area_alpha is None else options.area_alpha
    gap = look.background if len(slices) > 1 else None
    shapes: list[Shape] = []
    texts: list[Shape] = []
    for one, begin, end in _angles(slices):
        fill = one.color._replace(alpha=one.color.alpha * alpha)
        points = _sector(x, y, radius, begin, end)
        shapes.append(Group([Path([points], gap, 1.0 if radius > 20 else 0.5, fill=fill)], one.name))
        measured = one.part * 100 if options.value_labels == "percent" else one.value
        if options.value_labels != "none" and measured >= options.value_labels_min:
            texts += _label(one, x, y, radius, (begin, end), options, look)
    return [*shapes, *texts]


def _angles(slices: Sequence[Slice]) -> Iterator[tuple[Slice, float, float]]:
    """Where each begins and ends: radians, clockwise from the right."""
    begin = -math.pi / 2
    for one in slices:
        yield one, begin, begin + 2 * math.pi * one.part
        begin += 2 * math.pi * one.part


def _sector(x: float, y: float, radius: float, begin: float, end: float) -> Points:
    """The middle and points on the arc, so close that it is round."""
    count = max(2, math.ceil((end - begin) / (2 * math.acos(max(0.0, 1 - 0.05 / radius)))) + 1)
    angles = np.linspace(begin, end, count)
    arc = np.stack((x + radius * np.cos(angles), y + radius * np.sin(angles)), axis=1)
    return arc if end - begin > 2 * math.pi - 1e-9 else np.concatenate(([[x, y]], arc))


def _label(
    one: Slice, x: float, y: float, radius: float, span: tuple[float, float], options: Options, look: Look
) -> list[Shape]:
    """The value inside of its slice; nothing if it does not fit there."""
    said, middle = _value(one, options), sum(span) / 2
    ground = one.color.mixed(look.background, 1 - (options.area_alpha or 1.0))
    black, white = NAMES["black"], NAMES["white"]
    readable = black if ground.contrast(black) >= ground.contrast(white) else white
    color = options.value_labels_color or readable
    turn = math.degrees(middle) if options.pie_labels == "rotated" else 0.0
    if math.cos(middle) < 0 and turn:
        turn -= 180
    wide, high = width(said, look.font) / 2 + 2, look.font.size / 2 + 1
    for part in (0.62, 0.72, 0.5) if one.part < 0.9999 else (0.0,):
        at = radius * part
        cx, cy = at * math.cos(middle), at * math.sin(middle)
        if _inside(cx, cy, wide, high, math.radians(turn), radius, span):
            down = look.font.size * 0.36
            angle = math.radians(turn)
            place = x + cx - down * math.sin(angle), y + cy + down * math.cos(angle)
            return [Text(*place, said, look.font, color, "middle", turn)]
    return []


def _inside(
    cx: float, cy: float, wide: float, high: float, turn: float, radius: float, span: tuple[float, float]
) -> bool:
    """Whether a turned box around a point (from the pie's middle) lies in the sector."""
    begin, end = span
    whole = end - begin > 2 * math.pi - 1e-9
    for dx, dy in ((-wide, -high), (wide, -high), (-wide, high), (wide, high), (-wide, 0), (wide, 0)):
        px = cx + dx * math.cos(turn) - dy * math.sin(turn)
        py = cy + dx * math.sin(turn) + dy * math.cos(turn)
        inside = (math.atan2(py, px) - begin) % (2 * math.pi) <= end - begin
        if math.hypot(px, py) > radius - 1 or not (inside or whole):
            return False
    return True
