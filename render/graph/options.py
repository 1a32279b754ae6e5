"""The drawing parameters of a request: each checked, under graphite-web's names.

A parameter that is empty or `default` counts as not given. Departures from graphite-web 1.1.10: what cannot be is an
error instead of being ignored (or of failing in the middle of drawing), and sizes have bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from render.graph import colors
from render.graph.colors import Color
from render.graph.scale import UNITS
from render.graph.templates import TEMPLATES
from render.graph.text import FAMILIES

WIDTH_MAX, HEIGHT_MAX, SIDE_MIN = 4000, 3000, 16  # pixels; graphite-web: any
TEXT_CHARS_MAX = 1000  # of a title
COLORS_MAX = 100  # of colorList
AT_DATA = "max"  # yMax=max: the axis ends at the highest value instead of at a round one


class Limits(NamedTuple):
    """What a request says of one y axis; None = as the data have it."""

    minimum: float | None = None
    maximum: float | str | None = None  # a number, or AT_DATA
    limit: float | None = None  # the axis' end may not lie above it
    step: float | None = None  # from label to label


@dataclass(frozen=True)
class Options:
    """How to draw. None = as it fits, or as the template has it."""

    graph_type: str = "line"
    pie_mode: str = "average"
    template: str = "default"
    width: int = 330
    height: int = 250
    margin: int = 10
    bgcolor: Color | None = None
    fgcolor: Color | None = None
    major_grid_line_color: Color | None = None
    minor_grid_line_color: Color | None = None
    color_list: tuple[Color, ...] | None = None
    font_name: str = "sans"
    font_size: float = 11.0
    font_bold: bool = False
    font_italic: bool = False
    title: str = ""
    vtitle: str = ""
    vtitle_right: str = ""
    hide_legend: bool | None = None
    hide_null_from_legend: bool = False
    unique_legend: bool = False
    hide_axes: bool = False
    hide_x_axis: bool = False
    hide_y_axis: bool = False
    hide_grid: bool = False
    graph_only: bool = False
    # lines
    line_mode: str = "slope"
    connected_limit: float = math.inf  # points that may be missing before a connected line ends
    line_width: float = 1.2
    area_mode: str = "none"
    area_alpha: float | None = None
    draw_null_as_zero: bool = False
    min_x_step: float = 1.0  # pixels from point to point; where there were less, points merge
    left_width: float | None = None
    left_color: Color | None = None
    left_dashed: float | None = None
    right_width: float | None = None
    right_color: Color | None = None
    right_dashed: float | None = None
    # axes
    y_axis_side: str = "left"
    y_unit_system: str = "si"
    y_divisors: tuple[int, ...] = (4, 5, 6)
    minor_y: int = 1  # grid lines between two labels
    log_base: float | None = None
    y_min: float | None = None
    y_max: float | str | None = None
    y_limit: float | None = None
    y_step: float | None = None
    y_min_left: float | None = None
    y_max_left: float | str | None = None
    y_limit_left: float | None = None
    y_step_left: float | None = None
    y_min_right: float | None = None
    y_max_right: float | str | None = None
    y_limit_right: float | None = None
    y_step_right: float | None = None
    x_format: str | None = None  # of strftime
    # pies
    value_labels: str = "percent"
    value_labels_min: float = 5.0
    value_labels_color: Color | None = None
    pie_labels: str = "horizontal"

    @property
    def left(self) -> Limits:
        return Limits(
            self.y_min if self.y_min_left is None else self.y_min_left,
            self.y_max if self.y_max_left is None else self.y_max_left,
            self.y_limit if self.y_limit_left is None else self.y_limit_left,
            self.y_step if self.y_step_left is None else self.y_step_left,
        )

    @property
    def only(self) -> Limits:
        """Of the axis when there is no second one."""
        return Limits(self.y_min, self.y_max, self.y_limit, self.y_step)

    @property
    def right(self) -> Limits:
        return Limits(self.y_min_right, self.y_max_right, self.y_limit_right, self.y_step_right)


DEFAULT = Options()


class Given(Protocol):
    """A request's parameters; render.request.Parameters is one."""

    def last(self, name: str) -> str: ...

    def read(self, name: str, convert: Callable[[str], Any], default: Any) -> Any:
        """The value converted; the default if it is not given, or wrong, which is remembered."""
        ...

    def wrong(self, name: str, reason: str) -> None: ...


def read(given: Given) -> Options:
    """What is given; what is wrong is remembered by `given`."""
    values: dict[str, Any] = {}
    for name, convert in PARAMETERS.items():
        if given.last(name) not in ("", "default"):
            value = given.read(name, convert, None)
            if value is not None:
                values[_field(name)] = value
    for old, new in _OLDER.items():
        if (value := values.pop(old, None)) is not None:
            values.setdefault(new, value)
    options = Options(**values)
    for side in ("", "_left", "_right"):
        low, high = getattr(options, f"y_min{side}"), getattr(options, f"y_max{side}")
        if low is not None and isinstance(high, float) and low >= high:
            name = f"yMin{side.removeprefix('_').title()}"
            given.wrong(name, f"{low:g} is not less than {name.replace('Min', 'Max')}, which is {high:g}")
    return options


def _field(name: str) -> str:
    """`yMinLeft` → `y_min_left`."""
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


# --- text → value; ValueError says what is allowed ---


def _number(low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"{_shown(text)} is no number from {low:g} to {high:g}")
        return number

    return convert


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{_shown(text)} is no whole number from {low} to {high}")
        return int(text)

    return convert


_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def _flag(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{_shown(text)} is not one of {', '.join(_TRUE + _FALSE)}")
    return text.lower() in _TRUE


def _one_of(*names: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{_shown(text)} is not one of {', '.join(names)}")
        return text.lower()

    return convert


def _text(most: int) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if len(text) > most:
            raise ValueError(f"has {len(text)} characters; at most {most}")
        return text

    return convert


_STRFTIME = re.compile(r"(?:[^%]|%-?[aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%])*")


def _time_format(text: str) -> str:
    """Widths (`%999999999d`), which C libraries know, would be a way to ask for gigabytes."""
    if len(text) > 64 or not _STRFTIME.fullmatch(text) or not text.isprintable():
        raise ValueError(f"{_shown(text)} is no strftime format of at most 64 characters such as %H:%M")
    return text


def _colors(text: str) -> tuple[Color, ...]:
    names = [name for name in text.split(",") if name.strip()]
    if not 1 <= len(names) <= COLORS_MAX:
        raise ValueError(f"takes 1 to {COLORS_MAX} colours with commas between, not {len(names)}")
    return tuple(map(colors.parse, names))


def _divisors(text: str) -> tuple[int, ...]:
    convert = _whole(1, 50)
    parts = text.split(",")
    if len(parts) > 20:
        raise ValueError(f"takes at most 20 numbers with commas between, not {len(parts)}")
    return tuple(convert(part.strip()) for part in parts)


def _dash(text: str) -> float:
    """Pixels of a dash; graphite-web takes `true` for 1, of which nothing can be seen."""
    if text.lower() in ("true", "yes", "on"):
        return 5.0
    return 0.0 if text.lower() in ("false", "no", "off") else _number(0, 1000)(text)


def _maximum(text: str) -> float | str:
    return AT_DATA if text.lower() == AT_DATA else _VALUE(text)


def _log_base(text: str) -> float:
    return math.e if text.lower() == "e" else _number(1.1, 1e6)(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")


_VALUE = _number(-1e300, 1e300)
_STEP = _number(1e-300, 1e300)
_WIDTH = _number(0.1, 100)
_TITLE = _text(TEXT_CHARS_MAX)
_OLDER = {"min": "y_min", "max": "y_max", "thickness": "line_width"}
PARAMETERS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "graphType": _one_of("line", "pie"),
        "pieMode": _one_of("average", "maximum", "minimum"),
        "template": _one_of(*TEMPLATES),
        "width": _whole(SIDE_MIN, WIDTH_MAX),
        "height": _whole(SIDE_MIN, HEIGHT_MAX),
        "margin": _whole(0, 1000),
        **dict.fromkeys(
            ("bgcolor", "fgcolor", "majorGridLineColor", "minorGridLineColor", "leftColor", "rightColor"),
            colors.parse,
        ),
        "colorList": _colors,
        "fontName": _one_of(*FAMILIES),
        "fontSize": _number(4, 200),
        **dict.fromkeys(
            ("fontBold", "fontItalic", "hideLegend", "hideNullFromLegend", "uniqueLegend", "hideAxes"), _flag
        ),
        **dict.fromkeys(("hideXAxis", "hideYAxis", "hideGrid", "graphOnly", "drawNullAsZero"), _flag),
        **dict.fromkeys(("title", "vtitle", "vtitleRight"), _TITLE),
        "lineMode": _one_of("slope", "staircase", "connected"),
        "connectedLimit": _number(0, math.inf),
        **dict.fromkeys(("lineWidth", "thickness", "leftWidth", "rightWidth"), _WIDTH),
        **dict.fromkeys(("leftDashed", "rightDashed"), _dash),
        "areaMode": _one_of("none", "first", "all", "stacked"),
        "areaAlpha": _number(0, 1),
        "minXStep": _number(0.1, 1000),
        "yAxisSide": _one_of("left", "right"),
        "yUnitSystem": _one_of(*UNITS),
        "yDivisors": _divisors,
        "minorY": _whole(0, 20),
        "logBase": _log_base,
        **dict.fromkeys(("yMin", "min", "yMinLeft", "yMinRight"), _VALUE),
        **dict.fromkeys(("yMax", "max", "yMaxLeft", "yMaxRight"), _maximum),
        **dict.fromkeys(("yLimit", "yLimitLeft", "yLimitRight"), _VALUE),
        **dict.fromkeys(("yStep", "yStepLeft", "yStepRight"), _STEP),
        "xFormat": _time_format,
        "valueLabels": _one_of("none", "number", "percent"),
        "valueLabelsMin": _number(0, 1e300),
        "valueLabelsColor": colors.parse,
        "pieLabels": _one_of("horizontal", "rotated"),
    }
)
