from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.graph.pie import literal
from render.graph.shapes import Box, Group, Path
from render.series import SeriesList
from tests.render.graph.drawing import NAN, block, draw

values = st.lists(st.one_of(st.floats(), st.floats(0, 100), st.just(NAN)), min_size=1, max_size=130)


def pie(*parts: float) -> SeriesList:
    return SeriesList([block([[part] for part in parts])])


def slices(listed: SeriesList, **params: str) -> list[Path]:
    shapes = draw(listed, graphType="pie", **params).shapes
    return [path for one in shapes if isinstance(one, Group) for path in one.shapes if isinstance(path, Path)]


def texts(listed: SeriesList, **params: str) -> list[str]:
    return [text.text for text in draw(listed, graphType="pie", **params).texts()]


def area(path: Path) -> float:
    x, y = path.pieces[0].T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


@given(values, st.integers(16, 900), st.integers(16, 900), st.sampled_from(["horizontal", "rotated"]))
def test_any_values_are_slices_whose_labels_lie_within_them(
    parts: list[float], width: int, height: int, labels: str
) -> None:
    picture = draw(
        pie(*parts),
        graphType="pie",
        width=str(width),
        height=str(height),
        pieLabels=labels,
        valueLabelsMin="0",
    )
    edge = Box(-1, -1, width + 1, height + 1)
    shown = [text.box for text in picture.texts()]
    assert all(box.within(edge) for box in shown)
    if labels == "horizontal":  # a turned text's box is larger than the text
        assert not any(a.overlaps(b) for a, b in combinations(shown, 2))


@given(st.lists(st.floats(1, 100), min_size=2, max_size=8))
def test_slices_are_as_large_as_their_parts(parts: list[float]) -> None:
    areas = [area(path) for path in slices(pie(*parts), hideLegend="true", width="600", height="600")]
    assert areas == pytest.approx([part / sum(parts) * sum(areas) for part in parts], rel=0.03)


@pytest.mark.parametrize(("mode", "part"), [("average", "25.0%"), ("maximum", "40.0%"), ("minimum", "14.3%")])
def test_a_series_counts_with_what_the_mode_says(mode: str, part: str) -> None:
    listed = SeriesList([block([[1.0, 4.0, NAN, 1.0], [6.0, 6.0, 6.0, NAN]])])
    assert texts(listed, pieMode=mode, hideLegend="true")[0] == part


def test_what_is_not_above_zero_is_no_slice() -> None:
    assert len(slices(pie(1, 0, -5, NAN, float("inf"), 3))) == 2
    assert texts(pie(0, -1, NAN)) == ["No data"]
    assert texts(pie(1.7e308, 1.7e308)) == ["No data"]  # their sum is no number


def test_labels_say_the_part_or_the_value_or_nothing() -> None:
    assert texts(pie(30, 10)) == ["s0  75.0%", "s1  25.0%", "75.0%", "25.0%"]
    assert texts(pie(3000, 1000), valueLabels="number") == ["s0  3000", "s1  1000", "3000", "1000"]
    assert texts(pie(30, 10), valueLabels="none") == ["s0", "s1"]
    assert texts(pie(30, 10), valueLabelsMin="50", hideLegend="true") == ["75.0%"]


def test_labels_can_be_read_on_their_slice() -> None:
    listed = SeriesList([block([[1.0], [1.0]], options=[{"color": "ffff00"}, {"color": "000080"}])])
    labels = [text for text in draw(listed, graphType="pie").texts() if text.text == "50.0%"]
    assert [text.color.hex for text in labels] == ["#000000", "#ffffff"]


def test_one_slice_is_the_whole() -> None:
    (whole,) = slices(pie(7))
    assert whole.stroke is None
    assert "100%" in texts(pie(7))


def test_many_slices_are_the_largest_and_the_rest() -> None:
    assert len(slices(pie(*range(1, 201)))) == 101
    names = [one.title for one in draw(pie(*range(1, 201)), graphType="pie").shapes if isinstance(one, Group)]
    assert names[-1] == "others"
    assert "s199" in names


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [("apples:12", "apples", 12.0), ("a:b:-1.5e3", "a:b", -1500.0), ("x y:.5", "x y", 0.5)],
)
def test_a_name_with_a_number_is_a_slice_of_its_own(target: str, name: str, value: float) -> None:
    made = literal(target)
    assert made is not None
    assert (made.names, made.blocks[0].values.tolist()) == ([name], [[value]])


@pytest.mark.parametrize("target", ["a.b", "a:b", ":5", "a:nan", "a:1_0", "scale(a.b,5)", "a:٣"])
def test_any_other_target_is_none(target: str) -> None:
    assert literal(target) is None
