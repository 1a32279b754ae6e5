"""Shapes: what a picture is made of, before it is SVG or PDF. Pixels; y grows downwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from render.graph import text as texts
from render.graph.colors import Color
from render.graph.text import Font

Points: TypeAlias = npt.NDArray[np.float64]  # (n, 2): x, y


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def overlaps(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        across = self.left >= other.left and self.right <= other.right
        return across and self.top >= other.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Rectangle:
    box: Box
    fill: Color


@dataclass(frozen=True, eq=False)
class Path:
    """Lines through points, piece by piece; a piece of one point is a dot."""

    pieces: Sequence[Points]
    stroke: Color | None = None
    width: float = 1.0
    dash: float = 0.0  # pixels of a dash and of the gap after it; 0 = none
    fill: Color | None = None  # closes each piece
    sharp: bool = False  # straight ends and mitred corners, on whole pixels: grid and axes


@dataclass(frozen=True)
class Text:
    """`x`, `y` is the begin, middle or end (`anchor`) of the line that the text stands on."""

    x: float
    y: float
    text: str
    font: Font
    color: Color
    anchor: str = "start"  # start, middle, end
    turn: float = 0.0  # degrees, clockwise, around x, y

    @property
    def box(self) -> Box:
        """The box that holds the text, turned as it is; capitals' height above the line, descenders below."""
        wide = texts.width(self.text, self.font)
        left = {"start": 0.0, "middle": -wide / 2, "end": -wide}[self.anchor]
        top, bottom = -self.font.ascent, self.font.size * 0.22
        turned = [self._turned(x, y) for x in (left, left + wide) for y in (top, bottom)]
        xs, ys = [x for x, _ in turned], [y for _, y in turned]
        return Box(self.x + min(xs), self.y + min(ys), self.x + max(xs), self.y + max(ys))

    def _turned(self, x: float, y: float) -> tuple[float, float]:
        angle = math.radians(self.turn)
        return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


@dataclass(frozen=True, eq=False)
class Group:
    """Shapes that belong together: a series, say, under its name."""

    shapes: Sequence[Shape]
    title: str = ""
    clip: Box | None = None  # what lies outside is not shown


Shape: TypeAlias = Rectangle | Path | Text | Group


@dataclass(frozen=True, eq=False)
class Picture:
    width: int
    height: int
    shapes: Sequence[Shape]

    def texts(self) -> list[Text]:
        return [shape for shape in _flat(self.shapes) if isinstance(shape, Text)]

    def paths(self) -> list[Path]:
        return [shape for shape in _flat(self.shapes) if isinstance(shape, Path)]


def _flat(shapes: Sequence[Shape]) -> Iterator[Shape]:
    for shape in shapes:
        if isinstance(shape, Group):
            yield from _flat(shape.shapes)
        else:
            yield shape


def line(x1: float, y1: float, x2: float, y2: float) -> Points:
    return np.array([[x1, y1], [x2, y2]])
