from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from tests.render.functions.asking import ask, of_rows, values
from tests.render.memory import MemorySource

N = None
Rows = list[list[float | None]]


@st.composite
def matrices(draw: st.DrawFn) -> Rows:
    points = draw(st.integers(1, 6))
    value = st.one_of(st.none(), st.integers(-12, 12).map(lambda n: n / 4))
    return draw(st.lists(st.lists(value, min_size=points, max_size=points), min_size=1, max_size=5))


# --- countValues ---


@given(matrices())
def test_each_whole_part_is_counted_point_by_point(rows: Rows) -> None:
    found = of_rows("countValues(a.*, 99)", *rows)
    wholes = sorted({int(value) for row in rows for value in row if value is not None})
    assert found.names == [str(whole) for whole in wholes]
    for whole, one in zip(wholes, found, strict=True):
        columns = zip(*rows, strict=True)
        counted = [sum(value is not None and int(value) == whole for value in column) for column in columns]
        assert one.values.tolist() == counted


# carbonapi's own expectations
ROWS: Rows = [[1, 2, 3, 4, 5], [2, 2, 4, 5, 6], [N, 1, 1, 1, 1]]
COUNTED = {
    "1": [1, 1, 1, 1, 1],
    "2": [1, 2, 0, 0, 0],
    "3": [0, 0, 1, 0, 0],
    "4": [0, 0, 1, 1, 0],
    "5": [0, 0, 0, 1, 1],
    "6": [0, 0, 0, 0, 1],
}


@pytest.mark.parametrize("limit", ["", ", 7", ", valuesLimit=6"])
def test_values_up_to_the_limit_are_counted(limit: str) -> None:
    found = of_rows(f"countValues(a.*{limit})", *ROWS)
    assert dict(zip(found.names, values(found), strict=True)) == COUNTED


def test_more_values_than_the_limit_are_one_series_of_zeros() -> None:
    found = of_rows("countValues(a.*, 5)", *ROWS)
    assert found.names == ["valuesLimitReached"]
    assert values(found) == [[0, 0, 0, 0, 0]]
    with pytest.raises(ArgumentError, match="valuesLimit: takes a number of 1 or more, not 0"):
        of_rows("countValues(a.*, 0)", *ROWS)


def test_values_that_no_integer_holds_are_counted_too() -> None:
    found = of_rows("countValues(a.*)", [1e300, -0.5], [1e300, 0.5])
    assert dict(zip(found.names, values(found), strict=True)) == {"0": [0, 2], "1e+300": [2, 0]}
    assert of_rows("countValues(a.*)", [N]).names == []


# --- heatMap ---


def test_neighbours_by_their_first_points_are_subtracted() -> None:
    # carbonapi's own expectation
    rows: Rows = [[1, 2, 3, 4, 5, 6], [2, N, 20, 8, 10, 7], [10, N, 3, 17, 10, 90]]
    found = of_rows("heatMap(a.{2,0,1})", *rows)
    assert found.names == ["heatMap(a.1,a.0)", "heatMap(a.2,a.1)"]
    assert values(found) == [[1, N, 17, 4, 5, 1], [8, N, -17, 9, 0, 83]]


def test_only_five_points_that_all_have_order_the_series() -> None:
    rows: Rows = [[N, 2, 2, 2, 2, 2, 0], [0, 1, 1, 1, 1, 1, 99]]
    assert of_rows("heatMap(a.*)", *rows).names == ["heatMap(a.0,a.1)"]
    assert of_rows("heatMap(a.*)", [N, 5], [1, N]).names == ["heatMap(a.1,a.0)"]  # none: as they are
    assert of_rows("heatMap(a.0)", [1]).names == []


# --- tukeyAbove, tukeyBelow ---

BASE: Rows = [
    [21, 17, 20, 20, 10, 29],
    [20, 18, 21, 19, 20, 20],
    [19, 19, 21, 17, 23, 20],
    [18, 20, 22, 14, 26, 20],
    [17, 21, 8, 30, 18, 28],
]
LATER: Rows = [[20] * 4 + row for row in BASE]
EARLIER: Rows = [row + [20] * 4 for row in BASE]


@pytest.mark.parametrize(
    ("call", "rows", "names"),
    [  # carbonapi's own expectations, there without an order
        ("tukeyAbove(a.*, 1.5, 5)", BASE, {"a.0", "a.3", "a.4"}),
        ("tukeyAbove(a.*, 3, 5)", BASE, {"a.4"}),
        ("tukeyAbove(a.*, 1.5, 5, 6)", LATER, {"a.0", "a.3", "a.4"}),
        ("tukeyAbove(a.*, 1.5, 5, '6min')", LATER, {"a.0", "a.3", "a.4"}),
        ("tukeyBelow(a.*, 1.5, 5)", BASE, {"a.0", "a.4"}),
        ("tukeyBelow(a.*, 1.5, 5, -4)", EARLIER, {"a.0", "a.4"}),
        ("tukeyBelow(a.*, 1.5, 5, '-4min')", EARLIER, {"a.0", "a.4"}),
        ("tukeyBelow(a.*, 3, 5)", BASE, {"a.4"}),
        ("tukeyAbove(a.*, 1.5, 5, 99)", BASE, {"a.0", "a.3", "a.4"}),
        ("tukeyAbove(no.such, 1.5, 5)", BASE, set()),
        ("tukeyAbove(a.*, 1.5, 5)", [[N, N]], set()),
    ],
)
def test_series_with_points_far_out_are_found(call: str, rows: Rows, names: set[str]) -> None:
    assert set(of_rows(call, *rows).names) == names


@given(matrices(), st.sampled_from([0.5, 1.0, 1.5]), st.integers(1, 5), st.sampled_from(["Above", "Below"]))
def test_the_n_with_most_points_beyond_the_fence_come_first(
    rows: Rows, basis: float, n: int, side: str
) -> None:
    known = sorted(value for row in rows for value in row if value is not None)
    low, high = (known[int(part * len(known))] if known else 0 for part in (0.25, 0.75))
    beyond = basis * (high - low)

    def far_out(value: float | None) -> bool:
        if value is None:
            return False
        return value >= high + beyond if side == "Above" else value <= low - beyond

    counts = {f"a.{i}": sum(map(far_out, row)) for i, row in enumerate(rows)}
    expected = [name for name in sorted(counts, key=lambda name: -counts[name]) if counts[name]]
    assert of_rows(f"tukey{side}(a.*, {basis}, {n})", *rows).names == expected[:n]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("tukeyAbove(a.*, 0, 1)", "basis: takes a number above 0, not 0"),
        ("tukeyBelow(a.*, 1, 0)", "n: takes a number of series, 1 or more, not 0"),
        ("tukeyBelow(a.*, 1, 1, 'x')", "interval: takes a number of points or an interval"),
    ],
)
def test_a_fence_that_cannot_be_is_refused(call: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        of_rows(call, [1.0])


def test_series_of_different_steps_are_compared_and_stay_as_they_are(golden_source: MemorySource) -> None:
    found = ask(golden_source, "tukeyAbove({fine,coarse}.*, 0.01, 2)")
    for one in found:
        (alone,) = ask(golden_source, one.name)
        np.testing.assert_array_equal(one.values, alone.values)
    assert len(found) == 2
