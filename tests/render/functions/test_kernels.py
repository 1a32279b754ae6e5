"""Every kernel against a plain twin that looks at one window, gap or point at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from render.functions import kernels
from tests.effort import tries

Matrix = npt.NDArray[np.float64]
NAN = math.nan

cold = settings(deadline=None)  # the first call compiles

tame = st.one_of(st.just(NAN), st.integers(-9, 9).map(lambda n: n / 4), st.floats(-1e6, 1e6))
wild = st.one_of(tame, st.sampled_from([math.inf, -math.inf, 1e300, -1e300, 1e-300, 0.0, -0.0, 1e16, -1e16]))
windows = st.integers(1, 12)


def matrices(cell: st.SearchStrategy[float], most: int = 30) -> st.SearchStrategy[Matrix]:
    def of(points: int) -> st.SearchStrategy[Matrix]:
        row = st.lists(cell, min_size=points, max_size=points)
        rows = st.lists(row, min_size=1, max_size=3)
        return rows.map(lambda rows: np.array(rows, np.float64).reshape(len(rows), points))

    return st.integers(0, most).flatmap(of)


def known_windows(values: Matrix, window: int) -> list[list[list[float]]]:
    """The known values of each window, by row and point."""
    return [
        [[v for v in row[max(i + 1 - window, 0) : i + 1] if v == v] for i in range(len(row))]
        for row in values.tolist()
    ]


def each_window(values: Matrix, window: int, number: Callable[[list[float]], float]) -> Matrix:
    rows = [[number(w) if w else NAN for w in row] for row in known_windows(values, window)]
    return np.array(rows, np.float64).reshape(values.shape)


def counts(values: Matrix, window: int) -> npt.NDArray[np.int64]:
    rows = [[len(w) for w in row] for row in known_windows(values, window)]
    return np.array(rows, np.int64).reshape(values.shape)


def folded(code: int, values: Matrix, window: int) -> tuple[Matrix, npt.NDArray[np.int64]]:
    out, known = np.empty_like(values), np.empty(values.shape, np.int64)
    kernels.moving_fold(code, values, window, out, known)
    return out, known


@cold
@given(matrices(wild), windows)
def test_moving_extremes_are_those_of_each_window(values: Matrix, window: int) -> None:
    for code, number in ((kernels.MAX, max), (kernels.MIN, min)):
        out, known = folded(code, values, window)
        np.testing.assert_array_equal(out, each_window(values, window, number))
        np.testing.assert_array_equal(known, counts(values, window))


@cold
@given(matrices(wild), windows)
def test_a_moving_sum_is_as_near_as_its_own_window_allows(values: Matrix, window: int) -> None:
    """What left the window leaves no error: the bound is made of the window's own magnitudes."""
    out, known = folded(kernels.SUM, values, window)
    np.testing.assert_array_equal(known, counts(values, window))
    for row, sums in zip(known_windows(values, window), out.tolist(), strict=True):
        for inside, got in zip(row, sums, strict=True):
            if not inside:
                assert math.isnan(got)
            elif all(map(math.isfinite, inside)) and abs(total := sum(map(abs, inside))) < 1e308:
                assert abs(got - math.fsum(inside)) <= 1e-14 * total
            elif not {math.inf, -math.inf} <= set(inside) and math.isinf(sum(inside)):
                assert got == sum(inside)


@cold
@given(matrices(tame), windows)
def test_a_moving_product_is_that_of_each_window(values: Matrix, window: int) -> None:
    out, _ = folded(kernels.PRODUCT, values, window)
    np.testing.assert_allclose(out, each_window(values, window, math.prod), rtol=1e-12, atol=1e-300)


def deviation(inside: list[float]) -> float:
    mean = math.fsum(inside) / len(inside)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in inside) / len(inside))


@cold
@given(matrices(tame), windows)
def test_a_moving_deviation_is_that_of_each_window(values: Matrix, window: int) -> None:
    out, known = np.empty_like(values), np.empty(values.shape, np.int64)
    kernels.moving_deviation(values, window, out, known)
    np.testing.assert_array_equal(known, counts(values, window))
    largest = float(np.max(np.abs(values), initial=0.0, where=~np.isnan(values)))
    twin = each_window(values, window, deviation)
    np.testing.assert_allclose(out, twin, rtol=1e-9, atol=1e-12 * largest + 1e-150)


def test_a_moving_deviation_of_equal_values_is_nothing_at_all() -> None:
    values = np.full((1, 50), 0.1)
    out, known = np.empty_like(values), np.empty(values.shape, np.int64)
    kernels.moving_deviation(values, 7, out, known)
    assert np.all(out == 0.0)


def quantile(inside: list[float], fraction: float) -> float:
    ordered = sorted(inside)
    rank = (len(ordered) - 1) * fraction
    below = int(rank)
    part = rank - below
    if part == 0:
        return ordered[below]
    return ordered[below] * (1.0 - part) + ordered[below + 1] * part


@cold
@given(matrices(wild), windows | st.integers(13, 40), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_a_moving_quantile_is_that_of_each_window(values: Matrix, window: int, fraction: float) -> None:
    quantiles_are_those_of_each_window(values, window, fraction)


@pytest.mark.parametrize("window", [15, 16, 17, kernels.SWEPT_POINTS, kernels.SWEPT_POINTS + 1])
@pytest.mark.parametrize("kind", ["noise", "walk", "level", "sawtooth", "gaps", "infinite"])
def test_a_moving_quantile_is_so_whichever_way_the_window_is_kept(kind: str, window: int) -> None:
    dice = np.random.default_rng(window)
    values = dice.normal(size=(2, kernels.SWEPT_POINTS + 90))
    if kind == "walk":
        values = values.cumsum(axis=1)
    elif kind == "level":
        values = np.round(values / 2)
    elif kind == "sawtooth":
        values[:] = np.arange(values.shape[1]) % 7
    elif kind == "gaps":
        values[dice.random(values.shape) < 0.6] = NAN
    elif kind == "infinite":
        values[dice.random(values.shape) < 0.2] = math.inf
        values[dice.random(values.shape) < 0.2] = -math.inf
    quantiles_are_those_of_each_window(values, window, 0.5 if kind == "infinite" else 0.3)


def quantiles_are_those_of_each_window(values: Matrix, window: int, fraction: float) -> None:
    out, known = np.empty_like(values), np.empty(values.shape, np.int64)
    kernels.moving_quantile(values, window, fraction, out, known)
    twin = each_window(values, window, lambda inside: quantile(inside, fraction))
    np.testing.assert_array_equal(out, twin)
    np.testing.assert_array_equal(known, counts(values, window))


@cold
@given(matrices(wild), st.integers(-1, 31), st.booleans())
def test_gaps_are_filled_whole_or_not_at_all(values: Matrix, limit: int, linear: bool) -> None:
    out = np.empty_like(values)
    kernels.fill_gaps(values, limit, linear, out)
    np.testing.assert_array_equal(
        out, np.array([filled(row, limit, linear) for row in values.tolist()]).reshape(out.shape)
    )


def filled(row: list[float], limit: int, linear: bool) -> list[float]:
    out = list(row)
    for i, value in enumerate(row):
        if value == value:
            continue
        before = max((j for j in range(i) if row[j] == row[j]), default=None)
        after = min((j for j in range(i, len(row)) if row[j] == row[j]), default=None)
        gap = (len(row) if after is None else after) - (-1 if before is None else before) - 1
        if before is None or gap > limit or (linear and after is None):
            continue
        out[i] = row[before]
        if linear and after is not None:
            out[i] = row[before] + (i - before) * (row[after] - row[before]) / (gap + 1)
    return out


@cold
@given(matrices(wild))
def test_a_change_is_a_value_other_than_the_known_one_before(values: Matrix) -> None:
    out = np.empty_like(values)
    kernels.changes(values, out)
    for row, marks in zip(values.tolist(), out.tolist(), strict=True):
        for i, value in enumerate(row):
            before = [v for v in row[:i] if v == v]
            assert marks[i] == float(value == value and bool(before) and before[-1] != value)


def grown(row: list[float], least: float | None, most: float | None) -> list[float]:
    """graphite-web's rule, with a gap taken as what it is."""
    out, before = [], NAN
    for value in row:
        if (most is not None and value > most) or (least is not None and value < least):
            value = NAN
        if value >= before or not value < before:
            out.append(value - before)
        elif most is not None:
            out.append(most + 1 + value - before - (least or 0))
        else:
            out.append(NAN if least is None else value - least)
        before = value
    return out


@cold
@given(
    matrices(tame),
    st.one_of(st.none(), st.integers(-9, 0).map(float)),
    st.one_of(st.none(), st.integers(0, 9).map(float)),
)
def test_a_counter_grows_wraps_or_is_reset(values: Matrix, least: float | None, most: float | None) -> None:
    out = np.empty_like(values)
    fallen = kernels.WRAPPED if most is not None else kernels.UNKNOWN if least is None else kernels.RESET
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    kernels.growth(values, low, high, fallen, out)
    twin = np.array([grown(row, least, most) for row in values.tolist()]).reshape(out.shape)
    np.testing.assert_array_equal(out, twin)


@cold
@given(matrices(tame), st.data())
def test_an_integral_is_the_sum_since_the_last_reset(values: Matrix, data: st.DataObject) -> None:
    points = values.shape[1]
    resets = np.array(data.draw(st.lists(st.booleans(), min_size=points, max_size=points)), bool)
    out = np.empty_like(values)
    kernels.integrate(values, resets, out)
    for row, sums in zip(values.tolist(), out.tolist(), strict=True):
        for i in range(points):
            since = max((j for j in range(i + 1) if resets[j]), default=0)
            assert sums[i] == pytest.approx(sum(v for v in row[since : i + 1] if v == v), abs=1e-6)


@cold
@given(matrices(tame), st.integers(0, 30), st.floats(0, 1))
def test_an_exponential_average_weighs_each_value_against_all_before(
    values: Matrix, seeds: int, constant: float
) -> None:
    assume(seeds <= values.shape[1])
    out = np.empty((len(values), values.shape[1] - seeds + 1))
    kernels.exponential(values, seeds, constant, out)
    for row, got in zip(values.tolist(), out.tolist(), strict=True):
        known = [v for v in row[:seeds] if v == v]
        level = sum(known) / len(known) if known else 0.0
        twin = [level]
        for value in row[seeds:]:
            level = constant * value + (1 - constant) * level if value == value else level
            twin.append(level if value == value else NAN)
        np.testing.assert_allclose(got, twin, rtol=1e-12)


@cold
@given(
    matrices(tame, most=12), st.integers(1, 20), st.integers(0, 30), st.integers(1, 30), st.integers(1, 20)
)
def test_hits_lie_in_the_bucket_of_their_second(
    values: Matrix, step: int, lead: int, interval: int, buckets: int
) -> None:
    out = np.empty((len(values), buckets))
    kernels.spread(values, step, lead, interval, out)
    for row, got in zip(values.tolist(), out.tolist(), strict=True):
        hits: dict[int, float] = {}
        for i, value in enumerate(row):
            for second in range(lead + i * step, lead + (i + 1) * step):
                if value == value:
                    hits[second // interval] = hits.get(second // interval, 0.0) + value
        for bucket, number in enumerate(got):
            assert number == pytest.approx(hits.get(bucket, NAN), nan_ok=True, rel=1e-9, abs=1e-6)


halves = st.builds(lambda n, digits: (n + 0.5) / 10**digits, st.integers(-(10**6), 10**6), st.integers(0, 9))


@settings(max_examples=tries(300), deadline=None)
@given(st.lists(st.one_of(wild, halves, st.floats()), max_size=20), st.integers(-4, 12))
def test_rounding_is_pythons(values: list[float], digits: int) -> None:
    row = np.array([values])
    out = np.empty_like(row)
    kernels.round_decimals(row, digits, out)
    twin = [round(value, digits) if math.isfinite(value) else value for value in values]
    np.testing.assert_array_equal(out[0], np.array(twin, np.float64))
