from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from itertools import combinations
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from render.errors import ParameterError, TooMuch
from render.graph.colors import parse
from render.graph.shapes import Box, Group, Path, Picture, Rectangle
from render.series import SeriesList
from tests.effort import tries
from tests.render.formats.lists import series_lists
from tests.render.graph.drawing import NAN, START, block, draw, draw_svg, two_waves, wave

titles = st.sampled_from(["", "A title", "requests per second " * 9, "漢字", "<&>\"'"])
flags = st.sampled_from(["true", "false"])
params = st.fixed_dictionaries(
    {},
    optional={
        "width": st.integers(16, 4000).map(str),
        "height": st.integers(16, 3000).map(str),
        "margin": st.integers(0, 60).map(str),
        "fontSize": st.integers(4, 60).map(str),
        "fontName": st.sampled_from(["sans", "mono"]),
        "title": titles,
        "vtitle": titles,
        "vtitleRight": titles,
        "hideLegend": flags,
        "hideAxes": flags,
        "hideXAxis": flags,
        "hideYAxis": flags,
        "hideGrid": flags,
        "graphOnly": flags,
        "yAxisSide": st.sampled_from(["left", "right"]),
        "lineMode": st.sampled_from(["slope", "staircase", "connected"]),
        "areaMode": st.sampled_from(["none", "first", "all", "stacked"]),
        "logBase": st.sampled_from(["2", "e", "10"]),
        "yUnitSystem": st.sampled_from(["si", "binary", "sec", "msec", "none"]),
        "yDivisors": st.sampled_from(["1", "4,5,6", "50"]),
        "yMin": st.sampled_from(["-1e300", "0", "17.3"]),
        "yMaxRight": st.sampled_from(["max", "1e5"]),
        "yStep": st.sampled_from(["1e-9", "7"]),
        "minorY": st.sampled_from(["0", "20"]),
        "minXStep": st.sampled_from(["0.1", "30"]),
        "drawNullAsZero": flags,
        "uniqueLegend": flags,
        "xFormat": st.sampled_from(["%A %d %B %Y %H:%M:%S %Z", "x"]),
        "valueLabels": st.sampled_from(["none", "number", "percent"]),
        "pieLabels": st.sampled_from(["horizontal", "rotated"]),
    },
)
own_options: st.SearchStrategy[Mapping[str, object]] = st.fixed_dictionaries(
    {},
    optional={
        "secondYAxis": st.just(True),
        "drawAsInfinite": st.just(True),
        "stacked": st.just(True),
        "invisible": st.just(True),
        "alpha": st.sampled_from([0.0, 0.5, 7.0, -1.0]),
        "lineWidth": st.sampled_from([0.0, 3.0, 1e9]),
        "dashed": st.sampled_from([0, 5, -3, 10**9]),
        "color": st.sampled_from(["red", "00ff0080"]),
    },
)


@st.composite
def drawn_lists(draw_: st.DrawFn) -> SeriesList:
    listed = draw_(series_lists())
    return listed.map(lambda b: b.with_(options=[draw_(own_options) for _ in range(len(b))]))


def sound(picture: Picture) -> None:
    """No text lies on another or beyond the picture."""
    edge = Box(-1, -1, picture.width + 1, picture.height + 1)
    texts = picture.texts()
    assert [text.text for text in texts if not text.box.within(edge)] == []
    lying = [(a.text, b.text) for a, b in combinations(texts, 2) if a.box.overlaps(b.box)]
    assert lying == []


@settings(max_examples=tries(60))
@given(params)
@example({"width": "64", "height": "64"})
@example({"height": "87", "fontSize": "34"})
@example({"margin": "0", "fontSize": "56", "hideXAxis": "true"})
@example({"width": "100", "height": "64", "title": "A title", "vtitle": "load"})
@example({"width": "4000", "height": "3000", "fontSize": "60"})
def test_text_never_lies_on_text_or_beyond_the_picture(given_: dict[str, str]) -> None:
    left, right = wave(400, -3, 8e6), wave(400, 0, 0.03, 2)
    left[70:90] = [NAN] * 20
    rows = [left, wave(400, 5, 5e6), right]
    listed = SeriesList([block(rows, step=300, options=[{}, {}, {"secondYAxis": True}])])
    sound(draw(listed, **given_))
    sound(draw(SeriesList([block(rows[:2], step=300, names=["a" * 90, "b" * 90])]), **given_))


@settings(max_examples=tries(60))
@given(drawn_lists(), params, st.sampled_from(["line", "pie"]))
def test_any_series_are_a_picture(listed: SeriesList, given_: dict[str, str], kind: str) -> None:
    try:
        picture = draw(listed, graphType=kind, **given_)
    except TooMuch:  # a stack of seconds and decades
        return
    sound(picture)
    for path in picture.paths():
        assert all(np.isfinite(piece).all() and len(piece) for piece in path.pieces)


def group(picture: Picture, title: str) -> list[Path]:
    found = [shape for shape in picture.shapes if isinstance(shape, Group) and shape.title == title]
    return [path for one in found for path in one.shapes if isinstance(path, Path)]


def line(picture: Picture, title: str = "s0") -> Path:
    (path,) = [path for path in group(picture, title) if path.stroke is not None]
    return path


def lengths(picture: Picture, title: str = "s0") -> list[int]:
    """How many points each piece of a series' line has, the dots last."""
    return [len(piece) for path in group(picture, title) if path.stroke is not None for piece in path.pieces]


def texts(picture: Picture) -> list[str]:
    return [text.text for text in picture.texts()]


def one(values: list[float], **own: object) -> SeriesList:
    return SeriesList([block([values], options=[own])])


BARE = {"graphOnly": "true", "width": "101", "height": "100"}


def test_a_slope_goes_from_point_to_point() -> None:
    path = line(draw(one([0.0, 50.0, 100.0]), **BARE, yMin="0", yMax="100"))
    assert [piece.tolist() for piece in path.pieces] == [[[0, 100], [50.5, 50], [101, 0]]]


def test_a_staircase_is_level_for_the_whole_step() -> None:
    path = line(draw(one([0.0, 100.0]), **BARE, yMin="0", yMax="100", lineMode="staircase"))
    assert [piece.tolist() for piece in path.pieces] == [[[0, 100], [50.5, 100], [50.5, 0], [101, 0]]]


def test_missing_points_cut_a_line_and_a_single_point_is_a_dot() -> None:
    values = [1.0, 2.0, NAN, 3.0, NAN, NAN, 4.0, 5.0]
    assert lengths(draw(one(values))) == [2, 2, 1]
    assert 'stroke-linecap="round"' in draw_svg(one(values))


def test_a_few_dots_are_thicker_than_the_line_and_many_are_not() -> None:
    single = [NAN] * 50 + [42.0] + [NAN] * 50
    (dot,) = group(draw(one(single, dashed=5)), "s0")
    assert (dot.width, dot.dash) == (4.0, 0.0)
    (thick,) = group(draw(one(single, lineWidth=9.0)), "s0")
    assert thick.width == 9.0
    (dots,) = group(draw(one([1.0, NAN] * 200), **{**BARE, "width": "600"}), "s0")
    assert (len(dots.pieces), dots.width) == (200, 1.5)


@pytest.mark.parametrize(("limit", "expected"), [("0", [2, 2, 1]), ("1", [3, 2]), ("inf", [5])])
def test_connected_lines_go_over_as_many_missing_points_as_the_limit_says(
    limit: str, expected: list[int]
) -> None:
    values = [1.0, 2.0, NAN, 3.0, NAN, NAN, 4.0, 5.0]
    assert lengths(draw(one(values), lineMode="connected", connectedLimit=limit)) == expected


def test_missing_points_are_drawn_as_zero_if_that_is_asked() -> None:
    path = line(draw(one([100.0, NAN, 100.0]), **BARE, drawNullAsZero="true", yMin="0"))
    assert path.pieces[0][:, 1].tolist() == [0, 100, 0]


def test_infinity_is_no_point() -> None:
    assert lengths(draw(one([1.0, float("inf"), 2.0, 3.0]))) == [2, 1]


def test_a_series_of_a_moment_in_a_window_of_ages_costs_no_more_than_its_points() -> None:
    moments = [
        block([[1.0] * 10], start=start, step=1, names=[name])
        for start, name in ((0, "a"), (4 * 10**12, "b"))
    ]
    picture = draw(SeriesList(moments), width="16", minXStep="1000")
    assert (sum(lengths(picture, "a")), sum(lengths(picture, "b"))) == (2, 2)


def test_own_options_say_how_a_series_is_drawn() -> None:
    path = line(draw(one(wave(), color="ff8800", alpha=0.5, lineWidth=4.0, dashed=7)))
    assert (path.stroke, path.width, path.dash) == (parse("ff8800")._replace(alpha=0.5), 4.0, 7.0)


def test_the_axis_options_hold_only_if_there_are_two_axes() -> None:
    given_ = {"leftColor": "red", "leftWidth": "5", "leftDashed": "3", "rightColor": "blue"}
    assert line(draw(one(wave(), color="green"), **given_)).stroke == parse("green")
    both = SeriesList([block([wave(), wave()], options=[{"color": "green"}, {"secondYAxis": True}])])
    left, right = line(draw(both, **given_)), line(draw(both, **given_), "s1")
    assert (left.stroke, left.width, left.dash) == (parse("red"), 5.0, 3.0)
    assert (right.stroke, right.width, right.dash) == (parse("blue"), 1.2, 0.0)


def test_the_left_axis_limits_hold_only_if_there_are_two_axes() -> None:
    given_ = {"yMinLeft": "-40", "yMaxLeft": "400", "yStepLeft": "100", "yLimitLeft": "500"}
    assert draw_svg(one(wave()), **given_) == draw_svg(one(wave()))


def test_a_second_axis_has_its_own_labels_on_the_right() -> None:
    both = SeriesList([block([wave(), wave(120, 1e6, 8e6)], options=[{}, {"secondYAxis": True}])])
    labels = {text.text: text for text in draw(both, width="600").texts()}
    assert labels["40"].anchor == "end"
    assert labels["40"].x < 60
    assert labels["4 M"].anchor == "start"
    assert labels["4 M"].x > 540
    assert "s1 (right)" in labels


def test_a_line_over_the_whole_height_wherever_the_value_is_above_zero() -> None:
    path = line(draw(one([0.0, 1.0, NAN, -1.0, 0.5], drawAsInfinite=True), **BARE))
    assert [piece.tolist() for piece in path.pieces] == [[[25.25, 0], [25.25, 100]], [[101, 0], [101, 100]]]


def test_areas_stand_on_zero_and_the_axis_shows_it() -> None:
    for mode in ("first", "all"):
        area, path = group(draw(one([80.0, 100.0]), areaMode=mode, areaAlpha="0.5"), "s0")
        assert area.fill is not None
        assert path.stroke is not None
        assert area.fill.alpha == 0.5
        low = area.pieces[0][2:, 1]
        assert (
            low.min()
            == low.max()
            == max(text.y for text in draw(one([80.0, 100.0]), areaMode=mode).texts() if text.text == "0")
            - 11 * 0.36
        )
    assert [text for text in texts(draw(one([80.0, 100.0]))) if text == "0"] == []


def test_stacked_areas_stand_on_those_before_them() -> None:
    listed = SeriesList([block([[10.0, 20.0], [30.0, NAN], [60.0, 80.0]])])
    picture = draw(listed, **BARE, areaMode="stacked", yMin="0", yMax="100")
    assert line(picture, "s2").pieces[0][:, 1].tolist() == [0, 0]
    assert group(picture, "s2")[0].pieces[0].tolist() == [[0, 0], [101, 0], [101, 80], [0, 60]]
    assert line(picture, "s1").pieces[0][:, 1].tolist() == [60]


def test_a_constant_line_is_no_part_of_a_stack() -> None:
    level = block([[70.0] * 3], step=3600, names=["limit"])
    picture = draw(SeriesList([level, block([wave(120)])]), areaMode="stacked")
    assert [path.fill for path in group(picture, "limit")] == [None]


def test_the_area_between_two_series_is_all_that_is_filled() -> None:
    own = [{"stacked": True, "invisible": True}, {"stacked": True}]
    listed = SeriesList([block([[20.0, 40.0], [60.0, 90.0]], options=own)])
    picture = draw(listed, **BARE, yMin="0", yMax="100")
    assert group(picture, "s0") == []
    assert group(picture, "s1")[0].pieces[0].tolist() == [[0, 40], [101, 10], [101, 60], [0, 80]]


def test_areas_that_functions_stack_stand_on_their_own_stack() -> None:
    own: list[dict[str, object]] = [{"stacked": True}, {"stacked": "other"}, {"stacked": True}]
    picture = draw(
        SeriesList([block([[20.0] * 2, [90.0] * 2, [50.0] * 2], options=own)]), **BARE, yMin="0", yMax="100"
    )
    lowest = [float(group(picture, name)[0].pieces[0][2:, 1].max()) for name in ("s0", "s1", "s2")]
    assert lowest == [100, 100, 80]


def test_a_peak_of_one_point_is_seen_in_a_long_window() -> None:
    values = [10.0] * 10_000
    values[5000] = 900.0
    spread, _ = group(draw(one(values), width="300"), "s0")
    peak = min(piece[:, 1].min() for piece in spread.pieces)
    labels = {text.text: text.y for text in draw(one(values), width="300").texts()}
    assert labels["1000"] < peak < labels["800"]


def test_points_merge_by_their_own_aggregation_until_there_is_one_a_pixel() -> None:
    values = [float(i % 7) for i in range(5000)]
    for method, highest in (("sum", 5000 / 200 * 3 * 1.2), ("max", 6.0), ("min", 1.0)):
        listed = SeriesList([block([values], method=method)])
        (path,) = group(draw(listed, **{**BARE, "width": "200"}, yMin="0", yMax="1000"), "s0")
        assert sum(map(len, path.pieces)) <= 202
        assert 1000 - path.pieces[0][:, 1].min() * 10 <= highest


def test_a_tiny_picture_is_the_curves_alone() -> None:
    picture = draw(two_waves(), width="64", height="64", title="A title", vtitle="load")
    assert texts(picture) == []
    assert line(picture, "a.cpu").pieces[0][:, 0].max() > 55


def test_more_than_ten_series_have_no_legend_unless_it_is_asked_for() -> None:
    listed = SeriesList([block([wave()] * 11)])
    assert "s0" not in texts(draw(listed, height="600"))
    assert "s10" in texts(draw(listed, height="600", hideLegend="false"))


def test_names_and_missing_series_leave_the_legend_if_that_is_asked() -> None:
    listed = SeriesList([block([wave(), wave(), [NAN] * 120], names=["a", "a", "none"])])
    shown = [text for text in texts(draw(listed)) if text in ("a", "none")]
    assert shown == ["a", "a", "none"]
    shown = [
        text
        for text in texts(draw(listed, uniqueLegend="true", hideNullFromLegend="1"))
        if text in ("a", "none")
    ]
    assert shown == ["a"]


def test_nothing_to_show_says_so() -> None:
    assert texts(draw(SeriesList())) == ["No data"]
    assert texts(draw(SeriesList([block([[]])]))) == ["No data"]


def test_series_of_missing_points_have_axes() -> None:
    assert "0.2" in texts(draw(SeriesList([block([[NAN] * 100])]), height="400"))


def test_values_beyond_the_axis_are_cut_off_at_its_end() -> None:
    picture = draw(one([0.0, 1e300, 5.0]), yMax="10")
    (clipped,) = [shape for shape in picture.shapes if isinstance(shape, Group)]
    assert clipped.clip is not None
    assert np.abs(line(picture).pieces[0]).max() < 2000
    assert "clip-path" not in draw_svg(two_waves())


def test_a_target_that_names_no_colour_is_refused() -> None:
    with pytest.raises(ParameterError, match="'nope' is no colour"):
        draw(one(wave(), color="nope"))


def test_too_many_points_are_refused_with_the_numbers() -> None:
    listed = SeriesList([block([[1.0] * 2000] * 300)])
    with pytest.raises(TooMuch, match="600,000 points in 300 series, at most 500,000"):
        draw(listed, width="4000")


def test_the_background_is_the_first_thing() -> None:
    first = draw(two_waves(), bgcolor="123456").shapes[0]
    assert isinstance(first, Rectangle)
    assert first.fill == parse("123456")


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero() -> None:
    path, dot = group(draw(one([1.0, 0.0, 10.0, 100.0]), **BARE, logBase="10"), "s0")
    assert [piece[:, 1].tolist() for piece in path.pieces] == [pytest.approx([50, 0])]
    assert [piece[:, 1].tolist() for piece in dot.pieces] == [[100]]


def test_the_x_axis_is_the_zones() -> None:
    shown = texts(draw(one(wave(600)), ZoneInfo("Asia/Tokyo"), width="600"))
    assert "15 Nov 10:00" in shown
    assert "15 Nov" in texts(draw(one(wave(600)), UTC, width="600", margin="30"))
    assert START % 86_400 == 0
