from __future__ import annotations

import math

import numpy as np
import pytest

from render.functions.lines import Lines, crossings, fit, moving, robust


def nothing() -> None:
    pass


def test_a_line_says_what_it_went_through() -> None:
    line = fit(np.array([[1.0, math.nan, 5.0, 7.0], [4.0, 4.0, 4.0, 4.0]]), nothing)
    np.testing.assert_allclose(line.at(np.arange(-1.0, 6.0)), [[-1, 1, 3, 5, 7, 9, 11], [4] * 7])
    np.testing.assert_allclose(line.deviations(np.array([0.0, 50.0])), 0, atol=1e-6)


def test_rows_are_the_same_in_one_piece_and_in_many() -> None:
    values = np.random.default_rng(1).normal(size=(40, 60_000))
    calls: list[int] = []
    whole = fit(values, lambda: calls.append(1))
    assert len(calls) > 2
    for i in (0, 15, 16, 39):
        np.testing.assert_array_equal([c[i] for c in whole], [c[0] for c in fit(values[i : i + 1], nothing)])
    assert np.all(np.isfinite(robust(values, nothing).slope))


def test_deviations_grow_away_from_what_is_known() -> None:
    random = np.random.default_rng(2)
    line = fit(random.normal(size=(1, 100)), nothing)
    widths = line.deviations(np.arange(50.0, 500.0))[0]
    assert np.all(np.diff(widths) > 0)


def test_values_that_resemble_their_neighbours_count_for_less() -> None:
    random = np.random.default_rng(3)
    alike = np.zeros(2000)
    for i in range(1, 2000):
        alike[i] = 0.9 * alike[i - 1] + random.normal()
    line = fit(np.stack([alike, random.normal(size=2000)]), nothing)
    assert line.correlation[0] == pytest.approx(0.9, abs=0.05)
    assert line.correlation[1] == pytest.approx(0.0, abs=0.06)
    assert line.uncertainty[0] > 10 * line.variance[0]


def edges_by_trying(line: Lines, now: float, value: float, t: float) -> list[float]:
    """The first place of many at which the upper edge, the line, the lower edge is at the value."""
    places = np.arange(now, now + 4000, 0.01)
    away = np.sqrt(line.uncertainty[0] * (1 / line.known[0] + (places - line.centre[0]) ** 2 / line.apart[0]))
    found = []
    for sign in (1, 0, -1):
        there = line.at(places)[0] + sign * t * away >= value
        found.append(places[np.argmax(there)] - now if there.any() else math.nan)
    return found


@pytest.mark.parametrize("slope", [0.5, 0.05, 0.002, 0.0, -0.05])
@pytest.mark.parametrize("value", [-5.0, 3.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_crossings_are_where_trying_each_place_finds_them(slope: float, value: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = (slope * np.arange(300) + random.normal(size=300))[None]
    line = fit(values, nothing)
    normal = 2.0
    t = normal * (1 + 5 / (4 * 298))  # the first terms of Student's quantile
    found = crossings(line, np.array([299.0]), value, normal)
    for mine, other in zip(found, edges_by_trying(line, 299.0, value, t), strict=True):
        if math.isnan(other):
            assert math.isnan(mine[0]) or mine[0] > 3999
        else:
            assert mine[0] == pytest.approx(other, abs=0.05, rel=1e-3)


def test_a_line_that_is_there_has_reached_the_value_and_one_that_falls_never_will() -> None:
    found = crossings(
        fit(np.array([[1.0, 2.0, 3.1], [3.0, 2.0, 0.9]]), nothing), np.array([2.0, 2.0]), 3.0, 2.0
    )
    assert found.likely[0] == 0.0
    assert math.isnan(found.likely[1])


def test_two_points_make_no_prediction() -> None:
    found = crossings(fit(np.array([[1.0, math.nan, 2.0]]), nothing), np.array([2.0]), 9.0, 2.0)
    assert all(math.isnan(edge[0]) for edge in found)


def test_a_moving_line_ends_as_that_of_its_last_window() -> None:
    values = np.random.default_rng(4).normal(size=(3, 50))
    line, last = moving(values, 20), fit(values[:, 30:], nothing)
    np.testing.assert_allclose(line.slope[:, -1], last.slope)
    np.testing.assert_allclose(line.centre[:, -1], last.centre + 30)
