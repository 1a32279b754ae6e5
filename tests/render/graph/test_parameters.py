"""What each drawing parameter does to the shapes of a picture: one row each, as it is without and with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from render.api import House, respond
from render.api.render import view
from render.errors import ParameterError, TooMuch
from render.graph.options import PARAMETERS
from render.graph.shapes import Group, Path, Picture, Rectangle, Text
from render.request import parse_render
from render.series import SeriesList
from tests.effort import tries
from tests.render.api.store import NOW, MemoryStore
from tests.render.graph.drawing import NAN, START, block, draw
from tests.render.graph.test_line import drawn_lists, line, sound, texts
from tests.render.graph.test_options import BAD, LINE, PIE

Look = Callable[[Picture], object]


class Row(NamedTuple):
    """A parameter's value, what is looked at, and how that is without the parameter and with it."""

    value: str
    look: Look
    without: object
    with_: object
    beside: Mapping[str, str] = {}
    series: str = "one"


# --- what is looked at ---


def size(picture: Picture) -> object:
    return picture.width, picture.height


def ground(picture: Picture) -> object:
    first = picture.shapes[0]
    assert isinstance(first, Rectangle)
    return first.fill.hex


def said(text: str) -> Look:
    return lambda picture: texts(picture).count(text)


def turn(text: str) -> Look:
    """How a text is turned; None if it is not there."""
    return lambda picture: next((one.turn for one in picture.texts() if one.text == text), None)


def _numbers(picture: Picture) -> list[Text]:
    """Labels of the y axes."""
    return [
        one
        for one in picture.texts()
        if one.anchor != "middle" and re.fullmatch(r"-?[0-9.]+( [a-zA-Z]+)?", one.text)
    ]


def left_labels(picture: Picture) -> object:
    return [one.text for one in _numbers(picture) if one.anchor == "end"]


def right_labels(picture: Picture) -> object:
    return [one.text for one in _numbers(picture) if one.anchor == "start"]


def times(picture: Picture) -> object:
    """Labels of the x axis."""
    return [one.text for one in picture.texts() if one.anchor == "middle" and not one.turn][:2]


def legend_begin(picture: Picture) -> object:
    return next(one for one in picture.texts() if one.text == "a").x - 1.6 * 11


def of_text(what: str) -> Look:
    def look(picture: Picture) -> object:
        fonts = {(one.font.family, one.font.size, one.font.bold, one.font.italic) for one in picture.texts()}
        return {font[("family", "size", "bold", "italic").index(what)] for font in fonts}

    return look


def text_colors(picture: Picture) -> object:
    return {one.color.hex for one in picture.texts()}


def stroke(title: str) -> Look:
    """Colour, width and dashes of a series' line."""

    def look(picture: Picture) -> object:
        path = line(picture, title)
        assert path.stroke is not None
        return path.stroke.hex, path.width, path.dash

    return look


def strokes(picture: Picture) -> object:
    return [path.stroke.hex for path in map(lambda t: line(picture, t), "abc") if path.stroke]  # noqa: C417


def points(picture: Picture) -> object:
    """How many points the pieces of a line have."""
    return [len(piece) for piece in line(picture, "a").pieces]


def fills(picture: Picture) -> object:
    """The opacity of each area."""
    return [round(path.fill.alpha, 2) for path in picture.paths() if path.fill]


def grid(picture: Picture) -> list[Path]:
    """The grid's paths, the finer first: they come before the series."""
    first = next(i for i, shape in enumerate(picture.shapes) if isinstance(shape, Group))
    return [shape for shape in picture.shapes[:first] if isinstance(shape, Path)]


def grid_colors(picture: Picture) -> object:
    return [path.stroke.hex for path in grid(picture) if path.stroke]


def level_lines(picture: Picture) -> object:
    """How many level lines of the grid have no label."""
    return sum(bool(piece[0, 1] == piece[1, 1]) for piece in grid(picture)[0].pieces)


def sharp(picture: Picture) -> object:
    """How many paths of grid and axes there are: fine lines, lines at labels, the x axis."""
    return sum(path.sharp and not path.dash and path.width == 1 for path in picture.paths())


def around(picture: Picture) -> object:
    """Whether there are times, the labels of the y axis, and how many paths are grid and axes."""
    return any(":" in text for text in texts(picture)), left_labels(picture), sharp(picture)


def slices(picture: Picture) -> object:
    """The names of the larger slices, a line has none."""
    paths = {shape.title: shape.shapes[0] for shape in picture.shapes if isinstance(shape, Group)}
    return [
        name
        for name, path in paths.items()
        if isinstance(path, Path) and path.fill and len(path.pieces[0]) > 9
    ]


def slice_labels(picture: Picture) -> object:
    return [(one.text, round(one.turn)) for one in picture.texts() if one.anchor == "middle"]


# --- what is drawn ---

RISING = [float(i) for i in range(121)]
SERIES: dict[str, Callable[[], SeriesList]] = {
    "one": lambda: SeriesList([block([RISING], names=["a"])]),
    "gap": lambda: SeriesList([block([RISING[:40] + [NAN] * 5 + RISING[45:]], names=["a"])]),
    "three": lambda: SeriesList([block([RISING, RISING, RISING], names=["a", "b", "c"])]),
    "twins": lambda: SeriesList([block([RISING, RISING, [NAN] * 121], names=["a", "a", "none"])]),
    "two": lambda: SeriesList(
        [
            block(
                [RISING, [v * 100 for v in RISING]],
                names=["a", "b"],
                options=[{}, {"secondYAxis": True}],
            )
        ]
    ),
    "pie": lambda: SeriesList([block([[10.0, 10.0, 40.0], [30.0] * 3, [1.0] * 3], names=["a", "b", "c"])]),
}
TIMES = ["15 Nov", "00:20"]
TWENTIES = ["0", "20", "40", "60", "80", "100", "120"]
THOUSANDS = ["0", "2 k", "4 k", "6 k", "8 k", "10 k", "12 k"]
PLAIN = ("#0072b2", 1.2, 0.0)
SECOND = ("#d55e00", 1.2, 0.0)
PIE_SLICES = {"graphType": "pie", "hideLegend": "true"}
ROWS: dict[str, Row] = {
    "width": Row("400", size, (330, 250), (400, 250)),
    "height": Row("300", size, (330, 250), (330, 300)),
    "margin": Row("25", legend_begin, 10.0, 25.0),
    "bgcolor": Row("102030", ground, "#ffffff", "#102030"),
    "fgcolor": Row("ff0000", text_colors, {"#3b3f46"}, {"#ff0000"}),
    "template": Row("dark", ground, "#ffffff", "#111217"),
    "fontName": Row("mono", of_text("family"), {"Roboto"}, {"DejaVu Sans Mono"}),
    "fontSize": Row("14", of_text("size"), {11.0}, {14.0}),
    "fontBold": Row("true", of_text("bold"), {False}, {True}),
    "fontItalic": Row("true", of_text("italic"), {False}, {True}),
    "colorList": Row(
        "ff0000,00ff00",
        strokes,
        ["#0072b2", "#d55e00", "#10a092"],
        ["#ff0000", "#00ff00", "#ff0000"],
        series="three",
    ),
    "yAxisSide": Row("right", right_labels, [], TWENTIES),
    "title": Row("A title", turn("A title"), None, 0.0),
    "vtitle": Row("load", turn("load"), None, -90.0),
    "vtitleRight": Row("bytes", turn("bytes"), None, 90.0, series="two"),
    "lineMode": Row("staircase", points, [121], [242]),
    "connectedLimit": Row("4", points, [116], [40, 76], {"lineMode": "connected"}, "gap"),
    "lineWidth": Row("3", stroke("a"), PLAIN, ("#0072b2", 3.0, 0.0)),
    "thickness": Row("3", stroke("a"), PLAIN, ("#0072b2", 3.0, 0.0)),
    "hideLegend": Row("true", said("a"), 1, 0),
    "hideNullFromLegend": Row("true", said("none"), 1, 0, series="twins"),
    "uniqueLegend": Row("true", said("a"), 2, 1, series="twins"),
    "hideAxes": Row("true", around, (True, TWENTIES, 3), (False, [], 0)),
    "hideXAxis": Row("true", around, (True, TWENTIES, 3), (False, TWENTIES, 3)),
    "hideYAxis": Row("true", around, (True, TWENTIES, 3), (True, [], 3)),
    "hideGrid": Row("true", sharp, 3, 1),
    "graphOnly": Row("true", around, (True, TWENTIES, 3), (False, [], 0)),
    "minXStep": Row("30", points, [121], [9]),
    "majorGridLineColor": Row("ff0000", grid_colors, ["#eff0f3", "#d9dce1"], ["#eff0f3", "#ff0000"]),
    "minorGridLineColor": Row("ff0000", grid_colors, ["#eff0f3", "#d9dce1"], ["#ff0000", "#d9dce1"]),
    "minorY": Row("3", level_lines, 6, 18),
    "min": Row("-60", left_labels, TWENTIES, ["-50", "0", "50", "100", "150"]),
    "max": Row("40", left_labels, TWENTIES, ["0", "10", "20", "30", "40"]),
    "yMin": Row("-60", left_labels, TWENTIES, ["-50", "0", "50", "100", "150"]),
    "yMax": Row("40", left_labels, TWENTIES, ["0", "10", "20", "30", "40"]),
    "yLimit": Row("50", left_labels, TWENTIES, ["0", "10", "20", "30", "40", "50"]),
    "yStep": Row("60", left_labels, TWENTIES, ["0", "60", "120"]),
    "yMinLeft": Row("-60", left_labels, TWENTIES, ["-50", "0", "50", "100", "150"], series="two"),
    "yMaxLeft": Row("40", left_labels, TWENTIES, ["0", "10", "20", "30", "40"], series="two"),
    "yLimitLeft": Row("50", left_labels, TWENTIES, ["0", "10", "20", "30", "40", "50"], series="two"),
    "yStepLeft": Row("60", left_labels, TWENTIES, ["0", "60", "120"], series="two"),
    "yMinRight": Row("6000", right_labels, THOUSANDS, [f"{i} k" for i in range(6, 13)], series="two"),
    "yMaxRight": Row("4000", right_labels, THOUSANDS, ["0", "1000", "2000", "3000", "4000"], series="two"),
    "yLimitRight": Row("4000", right_labels, THOUSANDS, ["0", "1000", "2000", "3000", "4000"], series="two"),
    "yStepRight": Row("6000", right_labels, THOUSANDS, ["0", "6 k", "12 k"], series="two"),
    "yDivisors": Row("2", left_labels, TWENTIES, ["0", "100", "200"]),
    "yUnitSystem": Row("sec", left_labels, TWENTIES, ["0", "0.5 min", "1.0 min", "1.5 min", "2.0 min"]),
    "logBase": Row("10", left_labels, TWENTIES, ["1", "10", "100", "1000"], series="one"),
    "areaMode": Row("all", fills, [], [0.3]),
    "areaAlpha": Row("0.77", fills, [0.3], [0.77], {"areaMode": "all"}),
    "drawNullAsZero": Row("true", points, [40, 76], [121], series="gap"),
    "xFormat": Row("%H|%M", times, TIMES, ["00|00", "00|20"]),
    "leftWidth": Row("4", stroke("a"), PLAIN, ("#0072b2", 4.0, 0.0), series="two"),
    "leftColor": Row("ff0000", stroke("a"), PLAIN, ("#ff0000", 1.2, 0.0), series="two"),
    "leftDashed": Row("7", stroke("a"), PLAIN, ("#0072b2", 1.2, 7.0), series="two"),
    "rightWidth": Row("4", stroke("b"), SECOND, ("#d55e00", 4.0, 0.0), series="two"),
    "rightColor": Row("ff0000", stroke("b"), SECOND, ("#ff0000", 1.2, 0.0), series="two"),
    "rightDashed": Row("true", stroke("b"), SECOND, ("#d55e00", 1.2, 5.0), series="two"),
    "graphType": Row("pie", slices, [], ["a", "b"], {"graphOnly": "true"}, "pie"),
    "pieMode": Row("maximum", said("56.3%"), 0, 1, PIE_SLICES, "pie"),
    "valueLabels": Row(
        "number", slice_labels, [("39.2%", 0), ("58.8%", 0)], [("20", 0), ("30", 0)], PIE_SLICES, "pie"
    ),
    "valueLabelsMin": Row(
        "50", slice_labels, [("39.2%", 0), ("58.8%", 0)], [("58.8%", 0)], PIE_SLICES, "pie"
    ),
    "valueLabelsColor": Row("ff0000", text_colors, {"#ffffff", "#000000"}, {"#ff0000"}, PIE_SLICES, "pie"),
    "pieLabels": Row(
        "rotated",
        slice_labels,
        [("39.2%", 0), ("58.8%", 0)],
        [("39.2%", -19), ("58.8%", -23)],
        PIE_SLICES,
        "pie",
    ),
}


def shown(row: Row, zone: tzinfo = UTC, **params: str) -> object:
    return row.look(draw(SERIES[row.series](), zone, **row.beside, **params))


@pytest.mark.parametrize("name", ROWS)
def test_each_parameter_has_its_effect_on_the_shapes(name: str) -> None:
    row = ROWS[name]
    assert shown(row) == row.without
    assert shown(row, UTC, **{name: row.value}) == row.with_


def test_there_is_no_parameter_without_a_row() -> None:
    assert set(ROWS) == set(PARAMETERS)
    assert len(set(ROWS) - {"graphType", "pieMode"} | {"outputFormat"}) == 63


def test_the_zone_moves_the_labels_and_the_output_format_is_the_requests() -> None:
    assert times(draw(SERIES["one"](), ZoneInfo("Asia/Kathmandu"))) == ["15 Nov 06:00", "06:30"]
    assert parse_render({"tz": ["Asia/Kathmandu"]}, START).zone == ZoneInfo("Asia/Kathmandu")
    assert parse_render({"outputFormat": ["svg"]}, START).format == "svg"


# --- any of them, together ---

EDGES = (
    "0",
    "1",
    "-1",
    "0.1",
    "4",
    "16",
    "50",
    "100",
    "200",
    "3000",
    "4000",
    "1e300",
    "-1e300",
    "1e-300",
    "max",
    "e",
)
WORDS = (
    "true",
    "false",
    "x",
    "A title",
    "requests " * 90,
    "漢字\u0591",
    "<&>\"'",
    "00000000",
    "red,blue",
    "%A %d %B %Y",
)


def _accepted(name: str, text: str) -> bool:
    try:
        PARAMETERS[name](text)
    except ValueError:
        return False
    return True


POOL = {
    name: [row.value, *(LINE | PIE)[name][:1], *BAD.get(name, []), *EDGES, *WORDS]
    for name, row in ROWS.items()
}
VALID = {name: [text for text in texts_ if _accepted(name, text)] for name, texts_ in POOL.items()}


def several(values: Mapping[str, list[str]]) -> st.SearchStrategy[dict[str, str]]:
    """Up to ten parameters, each with one of its values."""
    some = st.lists(st.sampled_from(sorted(values)), max_size=10, unique=True)
    return some.flatmap(lambda names: st.fixed_dictionaries({n: st.sampled_from(values[n]) for n in names}))


@settings(
    max_examples=tries(150), phases=[Phase.explicit, Phase.generate]
)  # shrinking a picture takes minutes
@given(drawn_lists(), several(VALID), st.sampled_from([UTC, ZoneInfo("Asia/Kathmandu")]))
def test_any_parameters_and_any_series_are_a_sound_picture(
    listed: SeriesList, params: dict[str, str], zone: tzinfo
) -> None:
    try:
        picture = draw(listed, zone, **params)
    except (ParameterError, TooMuch) as error:
        assert re.search("yMin.* is not less than|the stack has", str(error))  # noqa: PT017 - or there is none
    else:
        sound(picture)


STORE = MemoryStore()
for name_, points_ in {"a.b": RISING, "a.c": [NAN] * 60 + [1e300, -5.0], "a.d": [7.0]}.items():
    STORE.add(name_, NOW - 7200, 60, points_)
HOUSE = House(STORE)


@settings(max_examples=tries(60))
@given(several(POOL), st.dictionaries(st.sampled_from(sorted(POOL)), st.text(max_size=9), max_size=1))
def test_any_request_is_answered_with_a_picture_or_what_is_wrong(
    params: dict[str, str], other: dict[str, str]
) -> None:
    asked = {"format": "svg", "from": "-2h", "width": "200", **params, **other}
    given_ = {name: [text] for name, text in asked.items()} | {"target": ["a.*", "secondYAxis(a.d)"]}
    answer = respond(view, given_, HOUSE, NOW)
    assert answer.status in (200, 400)
    assert answer.body[:4] == b"<svg" if answer.status == 200 else answer.body
