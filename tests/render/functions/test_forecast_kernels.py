"""The kernels against plain twins that keep every state in a list."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from render.functions import forecast_kernels as kernels
from tests.effort import tries

Matrix = npt.NDArray[np.float64]
NAN = math.nan
cells = st.one_of(st.just(NAN), st.integers(-40, 40).map(lambda n: n / 4))


def rows(most: int = 40) -> st.SearchStrategy[list[float]]:
    return st.lists(cells, min_size=1, max_size=most)


def holt_winters(row: list[float], season: int) -> tuple[list[float], list[float]]:
    """graphite-web's rules, one point after the other."""
    predictions, deviations, seasonals = [], [], []
    level, trend, expected = NAN, 0.0, NAN
    for i, v in enumerate(row):
        if v != v:
            predictions.append(expected)
            deviations.append(0.0)
            seasonals.append(0.0)
            level, trend, expected = NAN, 0.0, NAN
            continue
        if i == 0:
            expected = v
        predictions.append(expected)
        before = v if math.isnan(level) else level
        ago = seasonals[i - season] if i >= season else 0.0
        level = 0.1 * (v - ago) + 0.9 * (before + trend)
        trend = 0.0035 * (level - before) + 0.9965 * trend
        seasonals.append(0.1 * (v - level) + 0.9 * ago)
        error = abs(v - (0.0 if math.isnan(expected) else expected))
        deviations.append(0.1 * error + 0.9 * (deviations[i - season] if i >= season else 0.0))
        expected = level + trend + (seasonals[i + 1 - season] if i + 1 >= season else 0.0)
    return predictions, deviations


@given(rows(), st.integers(2, 9))
def test_graphites_holt_winters_is_that_of_the_twin(row: list[float], season: int) -> None:
    values = np.array([row, row])
    predictions, deviations = np.empty_like(values), np.empty_like(values)
    kernels.holt_winters(values, season, False, predictions, deviations)
    expected, off = holt_winters(row, season)
    for r in range(2):
        np.testing.assert_allclose(predictions[r], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(deviations[r], off, rtol=1e-12, atol=1e-12)


@given(rows(), st.integers(2, 9), st.integers(1, 30))
def test_what_is_ahead_changes_nothing_up_to_the_last_value(
    row: list[float], season: int, ahead: int
) -> None:
    known = max((i + 1 for i, v in enumerate(row) if v == v), default=0)
    values = np.array([row[:known] + [NAN] * ahead])
    predictions, deviations = np.empty_like(values), np.empty_like(values)
    kernels.holt_winters(values, season, True, predictions, deviations)
    expected, off = holt_winters([*row[:known], NAN], season)
    if known:
        np.testing.assert_allclose(predictions[0, : known + 1], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(deviations[0, :known], off[:known], rtol=1e-12, atol=1e-12)
        assert not np.any(np.isnan(predictions[0, known:]))
    else:
        assert np.all(np.isnan(predictions))


def seasonal(
    values: Matrix, season: int, *tries: tuple[float, float, float]
) -> tuple[Matrix, Matrix, Matrix]:
    predictions, deviations = np.full_like(values, NAN), np.full_like(values, NAN)
    freedom = np.zeros(len(values))
    kernels.seasonal_forecast(values, season, np.array(tries), predictions, deviations, freedom)
    return predictions, deviations, freedom


CALM = (0.0, 0.0, 0.0)


@settings(max_examples=tries(40))
@given(
    st.integers(1, 7),
    st.floats(-5, 5),
    st.sets(st.integers(0, 49), max_size=15),
    st.randoms(use_true_random=False),
)
def test_a_line_with_a_season_is_foreseen_exactly_through_any_gaps(season, slope, missing, random) -> None:  # type: ignore[no-untyped-def]
    shape = [random.uniform(-9, 9) for _ in range(season)]
    truth = np.array([7 + slope * i + shape[i % season] for i in range(60)])
    values = truth.copy()
    values[50:] = NAN
    values[list(missing)] = NAN
    for guesses in ([CALM], [CALM, (0.3, 0.1, 0.0), (NAN, NAN, 0.2)]):
        predictions, deviations, _ = seasonal(values[None], season, *guesses)
        np.testing.assert_allclose(predictions[0], truth, atol=1e-8)
        assert np.nanmax(deviations) < 1e-6


@given(rows(60), st.integers(1, 6))
def test_calm_smoothing_is_least_squares_with_a_value_for_each_time_of_the_season(
    row: list[float], season: int
) -> None:
    values = np.array(row)
    known = np.flatnonzero(~np.isnan(values))
    predictions, _, freedom = seasonal(values[None], season, CALM)
    phases = np.unique(known % season)
    if len(known) < 1.5 * len(phases) + 3 or known[-1] - known[0] < 1.5 * season:
        assert np.all(np.isnan(predictions))
        assert freedom[0] == 0
        return
    model = np.column_stack([known, *[(known % season == p).astype(float) for p in phases]])
    fitted = np.linalg.lstsq(model, values[known], rcond=None)[0]
    expected = np.full(len(values), NAN)
    for i in range(len(values)):
        if i % season in phases:
            expected[i] = fitted[0] * i + fitted[1 + list(phases).index(i % season)]
    # errors resemble their neighbours, which a prediction makes use of: take that out of those with no neighbour before
    alone = [i for i in range(len(values)) if i == 0 or np.all(np.isnan(values[:i]))]
    np.testing.assert_allclose(predictions[0, alone], expected[alone], atol=1e-6)
    assert np.array_equal(np.isnan(predictions[0]), np.isnan(expected))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.9), st.integers(1, 5))
def test_deviations_are_those_of_many_futures(
    alpha: float, beta: float, gamma: float, phi: float, season: int
) -> None:
    """The width h points ahead is what an innovation of 1 at each point before adds up to."""
    ahead = 12
    wide = np.empty(ahead + 2)
    kernels._widths(season, alpha, beta, gamma, phi, wide)
    for h in range(1, ahead + 1):
        total = 0.0
        for when in range(h):  # an innovation at `when`, seen at h - 1
            level = trend = 0.0
            shape = [0.0] * season
            error, seen = 0.0, 0.0
            for i in range(h):
                level += trend
                error = phi * error + (1.0 if i == when else 0.0)
                seen = level + shape[i % season] + error
                level += alpha * error
                trend += alpha * beta * error
                shape[i % season] += gamma * (1 - alpha) * error
            total += seen**2
        assert math.isclose(wide[h], total, rel_tol=1e-9)


def follow(row: list[float], shape: list[float], start: tuple[float, float], how: list[float]) -> list[float]:
    """What additive Holt-Winters expects at each point, of classical parameters and errors that are alike by phi."""
    alpha, beta, gamma, phi = how
    (level, trend), shape, error, out = start, list(shape), 0.0, []
    for i, v in enumerate(row):
        p = i % len(shape)
        error *= phi
        out.append(level + trend + shape[p] + error)
        if math.isnan(v):
            level += trend
            continue
        error = v - (level + trend + shape[p])
        before, level = level, alpha * (v - shape[p]) + (1 - alpha) * (level + trend)
        trend = beta * (level - before) + (1 - beta) * trend
        shape[p] = gamma * (v - level) + (1 - gamma) * shape[p]
    return out


fractions = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@given(
    rows(30),
    st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=5),
    st.tuples(st.floats(-9, 9), st.floats(-1, 1)),
    st.lists(fractions, min_size=4, max_size=4),
)
def test_what_is_expected_is_that_of_the_twin(
    row: list[float], shape: list[float], start: tuple[float, float], how: list[float]
) -> None:
    expected = np.empty(len(row))
    alpha, beta, gamma, phi = how
    values, begin, season = np.array(row), np.array(start), np.array(shape)
    kernels._follow(values, len(shape), begin, alpha, beta, gamma, phi, season, expected)
    np.testing.assert_allclose(expected, follow(row, shape, start, how), rtol=1e-9, atol=1e-9)


def test_a_deviation_is_of_what_comes_and_of_what_was_estimated() -> None:
    row = np.array([1.0, NAN, NAN, 2.0, 3.0])
    wide = np.array([0.0, 1.0, 4.0, 9.0, 16.0, 25.0])
    for alpha, places in (
        (0.5, [1, 1, 2, 3, 1]),
        (0.0, [-2, -1, 0, 1, 2]),
    ):  # from the last value; from the centre
        spread = np.full(5, NAN)
        kernels._spread(row, 0.75, 0.5, alpha, 0.25, 2.0, 10.0, wide, np.zeros(5), spread)
        for i, ahead in enumerate([1, 1, 2, 3, 1]):
            # 0.75 / (1 - 0.5²) is the variance of errors that are alike by 0.5, which count for 3 times less
            estimated = 1.0 * (0.25 + 3 * places[i] ** 2 / 10.0)
            assert math.isclose(spread[i] ** 2, 0.75 * ahead**2 + estimated)


def test_deviations_grow_from_the_last_value_on_and_begin_anew_after_a_gap() -> None:
    random = np.random.default_rng(3)
    values = np.cumsum(random.normal(size=200))
    values[100:110] = NAN
    values[180:] = NAN
    _, deviations, _ = seasonal(values[None], 4, (0.8, 0.1, 0.1))
    assert np.all(np.diff(deviations[0, 100:111]) > 0)
    assert np.all(np.diff(deviations[0, 180:]) > 0)
    assert deviations[0, 120] == deviations[0, 99]


def test_of_smoothings_that_is_taken_which_would_have_foreseen_best() -> None:
    random = np.random.default_rng(4)
    wandering = (np.cumsum(random.normal(size=400)) * 0.5 + random.normal(size=400))[None]
    chosen, _, _ = seasonal(wandering, 1, CALM, (0.4, 0.0, 0.0), (0.9, 0.5, 0.0))
    np.testing.assert_array_equal(chosen, seasonal(wandering, 1, (0.4, 0.0, 0.0))[0])
    alone, _, _ = seasonal(wandering, 1, CALM, (0.9, 0.5, 0.0))
    assert np.any(alone != chosen)
    noise = np.random.default_rng(5).normal(size=(1, 300))
    calm, _, _ = seasonal(noise, 1, CALM, (0.8, 0.0, 0.0))
    np.testing.assert_array_equal(calm, seasonal(noise, 1, CALM)[0])
