from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ParameterError
from render.graph.options import PARAMETERS, Limits, read
from render.request import Parameters, parse_render
from render.series import SeriesList
from tests.render.graph.drawing import NAN, START, block, draw_svg, options, wave

# what each parameter is tried with, and beside what
LINE: dict[str, tuple[str, dict[str, str]]] = {
    "width": ("400", {}),
    "height": ("300", {}),
    "margin": ("25", {}),
    "bgcolor": ("000000", {}),
    "fgcolor": ("red", {}),
    "fontName": ("mono", {}),
    "fontSize": ("14", {}),
    "fontBold": ("true", {}),
    "fontItalic": ("true", {}),
    "colorList": ("red,00ff00", {}),
    "template": ("dark", {}),
    "yAxisSide": ("right", {"only": "left"}),
    "title": ("A title", {}),
    "vtitle": ("load", {}),
    "vtitleRight": ("bytes", {}),
    "lineMode": ("staircase", {}),
    "connectedLimit": ("1", {"lineMode": "connected"}),
    "lineWidth": ("3", {}),
    "thickness": ("3", {}),
    "hideLegend": ("true", {}),
    "hideNullFromLegend": ("true", {}),
    "uniqueLegend": ("true", {}),
    "hideAxes": ("true", {}),
    "hideXAxis": ("true", {}),
    "hideYAxis": ("true", {}),
    "hideGrid": ("true", {}),
    "graphOnly": ("true", {}),
    "minXStep": ("8", {}),
    "majorGridLineColor": ("red", {}),
    "minorGridLineColor": ("red", {}),
    "minorY": ("3", {}),
    "min": ("-40", {"only": "left"}),
    "max": ("400", {"only": "left"}),
    "yMin": ("-40", {"only": "left"}),
    "yMax": ("max", {"only": "left"}),
    "yLimit": ("30", {"only": "left"}),
    "yStep": ("9", {"only": "left"}),
    "yMinLeft": ("-40", {}),
    "yMinRight": ("-40", {}),
    "yMaxLeft": ("400", {}),
    "yMaxRight": ("4e9", {}),
    "yLimitLeft": ("30", {}),
    "yLimitRight": ("30", {}),
    "yStepLeft": ("9", {}),
    "yStepRight": ("700", {}),
    "yDivisors": ("2", {}),
    "yUnitSystem": ("binary", {}),
    "logBase": ("10", {}),
    "areaMode": ("all", {}),
    "areaAlpha": ("0.77", {"areaMode": "all"}),
    "drawNullAsZero": ("true", {}),
    "xFormat": ("%H", {}),
    "leftWidth": ("4", {}),
    "leftColor": ("red", {}),
    "leftDashed": ("7", {}),
    "rightWidth": ("4", {}),
    "rightColor": ("red", {}),
    "rightDashed": ("true", {}),
}
PIE: dict[str, tuple[str, dict[str, str]]] = {
    "pieMode": ("maximum", {}),
    "valueLabels": ("number", {}),
    "valueLabelsMin": ("99.5", {}),
    "valueLabelsColor": ("red", {}),
    "pieLabels": ("rotated", {}),
    "graphType": ("line", {}),
    "areaAlpha": ("0.5", {}),
    "hideLegend": ("true", {}),
    "title": ("A title", {}),
}
# graphite-web's drawing parameters, and those of its core that change a picture: outputFormat is the request's
# format, tz its zone
ELSEWHERE = {"outputFormat", "tz"}


def several() -> SeriesList:
    """A gap, two of the same name, one of missing points alone, one on the right."""
    left, right = wave(600), wave(600, 1000, 9000, 2)
    left[100:140] = [NAN] * 40
    rows = [left, wave(600, 20, 30), [NAN] * 600, right]
    own: list[dict[str, object]] = [{}, {}, {}, {"secondYAxis": True}]
    return SeriesList([block(rows, names=["a", "a", "none", "b"], options=own)])


def left_only() -> SeriesList:
    return SeriesList([block([wave(600, 10, 47)])])


@pytest.mark.parametrize("name", LINE)
def test_each_parameter_of_line_graphs_changes_the_picture(name: str) -> None:
    value, beside = LINE[name]
    beside = dict(beside)
    series = left_only() if beside.pop("only", None) else several()
    assert draw_svg(series, **{**beside, name: value}) != draw_svg(series, **beside)


@pytest.mark.parametrize("name", PIE)
def test_each_parameter_of_pies_changes_the_picture(name: str) -> None:
    value, beside = PIE[name]
    given = {"graphType": "pie", **beside, name: value}
    assert draw_svg(several(), **given) != draw_svg(several(), graphType="pie", **beside)


def test_every_parameter_has_been_tried() -> None:
    assert set(LINE) | set(PIE) == set(PARAMETERS)
    graphites = (set(PARAMETERS) | ELSEWHERE) - {"graphType"}
    assert len(graphites) == 65  # the 63 that only draw, pieMode and tz


def test_the_zone_and_the_output_format_are_the_requests() -> None:
    assert draw_svg(several(), ZoneInfo("Asia/Tokyo")) != draw_svg(several())
    assert parse_render({"outputFormat": ["svg"]}, START).format == "svg"
    assert parse_render({"outputFormat": ["svg"], "format": ["png"]}, START).format == "png"


BAD = {
    "width": ["0", "15", "4001", "1e3", "-5", "x", "9" * 5000],
    "height": ["3001", "2.5"],
    "margin": ["-1"],
    "bgcolor": ["nope", "url(http://x)", "12"],
    "colorList": [",", "red,nope", ",".join(["red"] * 101)],
    "fontName": ["Comic Sans", "../x", "a'b"],
    "fontSize": ["0", "nan", "inf", "1e9"],
    "fontBold": ["perhaps"],
    "template": ["nope"],
    "lineMode": ["wavy"],
    "areaMode": ["some"],
    "areaAlpha": ["2", "-1", "nan"],
    "lineWidth": ["0", "101", "nan"],
    "yMin": ["x", "inf", "nan", "-1e400"],
    "yMax": ["x", "inf", "nan"],
    "yStep": ["0", "-1"],
    "yDivisors": ["0", "a", "4,,5", ",".join("1" * 21)],
    "yUnitSystem": ["imperial"],
    "logBase": ["1", "0", "-2", "nan"],
    "minorY": ["21", "-1"],
    "minXStep": ["0", "nan"],
    "xFormat": ["%9999999999d", "%", "%Q", "a\nb", "x" * 65, "\ud800"],
    "valueLabels": ["all"],
    "title": ["x" * 1001],
    "graphType": ["bar"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_what_cannot_be_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        options(**{name: text})
    assert list(caught.value.errors) == [name]
    assert len(caught.value.errors[name]) < 500


@given(st.sampled_from(list(PARAMETERS)), st.text(max_size=12))
def test_any_text_is_a_value_or_is_refused(name: str, text: str) -> None:
    given_ = Parameters({name: [text]})
    read(given_)
    assert list(given_.errors) in ([], [name])


def test_an_axis_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ParameterError, match="yMinLeft: 5 is not less than yMaxLeft, which is 5"):
        options(yMinLeft="5", yMaxLeft="5")


def test_empty_and_default_count_as_not_given() -> None:
    assert options(width="", yMin="default", title="") == options()


def test_older_names_give_way_to_newer_ones() -> None:
    assert options(min="1", max="2", thickness="3").only == Limits(1.0, 2.0)
    assert options(min="1", yMin="0", thickness="3", lineWidth="4").y_min == 0
    assert options(thickness="3", lineWidth="4").line_width == 4


def test_parameters_of_drawing_are_looked_at_only_for_pictures() -> None:
    assert parse_render({"format": ["json"], "width": ["no"]}, START).format == "json"
    with pytest.raises(ParameterError, match="width: 'no' is no whole number from 16 to 4000"):
        parse_render({"format": ["svg"], "width": ["no"]}, START)
