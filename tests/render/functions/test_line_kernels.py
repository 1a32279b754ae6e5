"""The kernels against plain twins: numpy over the known points of one row, or of one window."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from render.functions import line_kernels
from render.functions.lines import Lines
from tests.effort import tries

NAN = math.nan
Row = npt.NDArray[np.float64]
numbers = st.one_of(st.integers(-40, 40).map(lambda n: n / 4), st.floats(-1e3, 1e3))
cells = st.one_of(numbers, numbers, numbers, st.just(NAN))
rows = st.integers(0, 30).flatmap(
    lambda points: st.lists(cells, min_size=points, max_size=points).map(
        lambda row: np.array(row, np.float64)
    )
)


def least_squares(row: Row, first: int = 0) -> list[float]:
    """The fields of Lines of a row whose first point has the place `first`."""
    at = np.flatnonzero(~np.isnan(row))
    if len(at) < 2:
        return [NAN, NAN, NAN, len(at), NAN, NAN, 0.0]
    x, y = at + float(first), row[at]
    slope = np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2)
    line = [x.mean(), y.mean(), slope, len(at), float(np.sum((x - x.mean()) ** 2))]
    if len(at) < 3:
        return [*line, NAN, 0.0]
    rest = y - y.mean() - slope * (x - x.mean())
    squares = float(np.sum(rest**2))
    pairs = [i for i in range(1, len(at)) if at[i] == at[i - 1] + 1]
    alike = 0.0
    if 2 * len(pairs) >= len(at) and squares > 0:
        steps = np.mean([(rest[i] - rest[i - 1]) ** 2 for i in pairs])
        alike = float(np.clip(1 - steps / (2 * squares / len(at)), 0, 0.99))
    return [*line, squares / (len(at) - 2), alike]


def same(ours: Row, plain: list[float], scale: float) -> None:
    fields = dict(zip(Lines._fields, zip(ours, plain, strict=True), strict=True))
    tolerance = 1e-9 * (1 + scale)
    for name, (mine, other) in fields.items():
        if name == "apart" and math.isnan(other):
            continue
        if name == "correlation" and plain[5] < 1e-6 * scale**2:
            continue  # what is left of a perfect fit is rounding
        least = {"variance": tolerance * (1 + scale), "correlation": 1e-6}.get(name, tolerance)
        assert (math.isnan(mine) and math.isnan(other)) or math.isclose(
            mine, other, rel_tol=1e-6, abs_tol=least
        ), name


def largest(row: Row) -> float:
    return float(np.max(np.abs(row), initial=0.0, where=~np.isnan(row)))


@given(rows)
def test_least_squares_are_those_of_the_twin(row: Row) -> None:
    out = np.empty((2, 7))
    line_kernels.least_squares(np.stack([row, row]), out)
    same(out[0], least_squares(row), largest(row))
    np.testing.assert_array_equal(out[0], out[1])


@given(rows, st.integers(1, 12))
def test_moving_least_squares_are_those_of_each_window_by_itself(row: Row, window: int) -> None:
    out = np.empty((1, len(row), 7))
    line_kernels.moving_least_squares(row[None], window, out)
    for i in range(len(row)):
        first = max(i + 1 - window, 0)
        same(out[0, i], least_squares(row[first : i + 1], first), largest(row))


@given(st.integers(8, 40), st.sets(st.integers(0, 79), max_size=15))
def test_neighbours_resemble_each_other_across_the_blocks_that_are_joined(
    window: int, gaps: set[int]
) -> None:
    row = np.sin(np.arange(80) * 0.7)
    row[list(gaps)] = NAN
    out = np.empty((1, len(row), 7))
    line_kernels.moving_least_squares(row[None], window, out)
    for i in range(window, len(row)):
        plain = least_squares(row[i + 1 - window : i + 1], i + 1 - window)
        assert math.isclose(out[0, i, 6], plain[6], abs_tol=1e-9)


def test_what_has_left_the_window_leaves_nothing_behind() -> None:
    row = np.array([1e300, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    out = np.empty((1, len(row), 7))
    line_kernels.moving_least_squares(row[None], 3, out)
    np.testing.assert_allclose(out[0, 3:, 2], 1.0)


@settings(max_examples=tries(50))
@given(rows)
def test_theil_and_sen_take_the_median_of_all_slopes(row: Row) -> None:
    out = np.full((1, 7), NAN)
    line_kernels.theil_sen(row[None], out)
    at = np.flatnonzero(~np.isnan(row))
    assert out[0, 3] == len(at)
    if len(at) < 2:
        assert np.all(np.isnan(out[0, :3]))
        return
    slope = np.median([(row[j] - row[i]) / (j - i) for i, j in itertools.combinations(at, 2)])
    level = np.median(row[at] - slope * (at - at.mean()))
    np.testing.assert_allclose(out[0, :3], [at.mean(), level, slope], rtol=1e-9, atol=1e-9)


def test_many_points_are_cut_into_runs_that_each_give_their_median() -> None:
    random = np.random.default_rng(7)
    row = 3.0 + 0.5 * np.arange(5000) + random.normal(size=5000)
    row[random.choice(5000, 1000, replace=False)] = 1e6
    row[random.choice(5000, 500, replace=False)] = NAN
    out = np.full((1, 7), NAN)
    line_kernels.theil_sen(row[None], out)
    centre, level, slope = out[0, :3]
    assert math.isclose(slope, 0.5, rel_tol=1e-3)
    assert math.isclose(level - slope * centre, 3.0, abs_tol=5.0)  # all that is wild lies above


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_the_median_is_numpys(numbers: list[int]) -> None:
    assert line_kernels._median(np.array(numbers, np.float64)) == np.median(numbers)
