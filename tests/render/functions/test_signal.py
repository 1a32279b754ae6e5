from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError, TooMuch
from tests.render.functions.asking import ask, of_rows, values
from tests.render.memory import MemorySource

N = None
Row = list[float | None]
numbers = st.integers(-1000, 1000).map(lambda n: n / 8)
rows = st.lists(numbers, min_size=1, max_size=24)
gappy = st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=24)


# --- fft, ifft, lowPass ---


def transformed(row: Row) -> list[complex]:
    """The plain twin: the sum over all points for each frequency, a missing one as 0."""
    n = len(row)
    return [
        sum((value or 0.0) * cmath.exp(-2j * math.pi * k * i / n) for i, value in enumerate(row))
        for k in range(n)
    ]


@given(gappy)
def test_a_spectrum_is_the_sum_over_all_points_for_each_frequency(row: Row) -> None:
    strengths, phases = of_rows("fft(a.0)", row)
    expected = transformed(row)
    assert [strengths.name, phases.name] == ["fft(a.0,abs)", "fft(a.0,phase)"]
    np.testing.assert_allclose(strengths.values, np.abs(expected), atol=1e-9)
    turned = strengths.values * np.exp(1j * phases.values)
    np.testing.assert_allclose(turned, expected, atol=1e-9)


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
def test_a_spectrum_made_back_is_the_series(table: list[list[float]]) -> None:
    found = of_rows("ifft(fft(a.*, 'abs'), fft(a.*, 'phase'))", *table)
    for one, row in zip(found, table, strict=True):
        np.testing.assert_allclose(one.values, row, atol=1e-9)
    assert found.names[0] == "ifft(fft(a.0,abs),fft(a.0,phase))"


def test_modes_choose_and_series_keep_their_order(golden_source: MemorySource) -> None:
    both = ask(golden_source, "fft({coarse,fine}.*)")
    assert both.names == [
        f"fft({path},{part})"
        for path in ("coarse.c1", "coarse.c2", "fine.f1", "fine.f2")
        for part in ("abs", "phase")
    ]
    for mode in ("", "both", "all"):
        assert ask(golden_source, f"fft({{coarse,fine}}.*, '{mode}')").names == both.names
    for i, mode in enumerate(("abs", "phase")):
        part = ask(golden_source, f"fft(sortByName({{coarse,fine}}.*, false, true), '{mode}')")
        assert part.names == both.names[i::2][::-1]
        assert values(part) == values(both)[i::2][::-1]


def test_strengths_without_phases_are_all_in_turn() -> None:
    (found,) = of_rows("ifft(a.0)", [4, 0, N, 0])
    assert found.name == "ifft(a.0)"
    np.testing.assert_allclose(found.values, [1, 1, 1, 1])
    paired = of_rows("ifft(a.*, a.0)", [4, 0, 0, 0], [8, 0, 0, 0])
    assert paired.names == ["ifft(a.0,a.0)", "ifft(a.1)"]


def test_the_middle_of_a_spectrum_is_cut_out() -> None:
    # carbonapi's own expectation
    (found,) = of_rows("lowPass(a.0, 40)", list(range(10)))
    np.testing.assert_array_equal(found.values, [0, 1, *[math.nan] * 6, 8, 9])
    assert of_rows("lpf(a.0, 2.5)", [1]).names == ["lowPass(a.0,2.5)"]
    assert values(of_rows("lowPass(a.0, 100)", [1, 2, 3])) == [[1, N, 3]]
    assert values(of_rows("lowPass(a.0, 0)", [1, 2, 3])) == [[N, N, N]]
    for wrong in (-1, 101):
        with pytest.raises(ArgumentError, match="cutPercent: takes a percentage"):
            of_rows(f"lowPass(a.0, {wrong})", [1])


def test_slow_frequencies_make_a_smoother_series() -> None:
    points = np.arange(200)
    row = (10 * np.sin(points * 2 * np.pi / 100) + np.where(points % 2, 1.0, -1.0)).tolist()
    (found,) = of_rows("ifft(lowPass(fft(a.0,'abs'),10), fft(a.0,'phase'))", row)
    np.testing.assert_allclose(found.values, 10 * np.sin(points * 2 * np.pi / 100), atol=1e-9)


# --- ewma ---


def weighed(row: Row, alpha: float) -> Row:
    level: float | None = None
    found: Row = []
    for value in row:
        if value is not None:
            level = value if level is None else alpha * value + (1 - alpha) * level
        found.append(None if value is None else level)
    return found


@given(gappy, st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_an_average_weighs_the_latest_point_most(row: Row, alpha: float) -> None:
    (found,) = of_rows(f"ewma(a.0, {alpha})", row)
    np.testing.assert_allclose(found.values, np.array(weighed(row, alpha), np.float64), rtol=1e-12)


def test_the_average_begins_with_the_first_value() -> None:
    # carbonapi's own expectation
    found = of_rows("exponentialWeightedMovingAverage(a.0, 0.9)", [0, 1, 1, 1, N, 1, 1])
    np.testing.assert_allclose(found.blocks[0].values[0], [0, 0.9, 0.99, 0.999, np.nan, 0.9999, 0.99999])
    assert found.names == ["ewma(a.0,0.9)"]
    for wrong in ("0", "-1", "1.1"):
        with pytest.raises(ArgumentError, match="alpha: takes a number above 0 and at most 1"):
            of_rows(f"ewma(a.0, {wrong})", [1])


# --- polyfit ---

POINTS = [7.79, 7.7, 7.92, 5.25, 6.24, 7.25, 7.15, 8.56, 7.82, 8.52]


@pytest.mark.parametrize(
    ("call", "row", "expected"),
    [  # carbonapi's own expectations
        ("polyfit(a.0,3)", [N] * 5, [N] * 5),
        (
            "polyfit(a.0)",
            POINTS,
            [6.94763636364, 7.05260606061, 7.15757575758, 7.26254545455, 7.36751515152,
             7.47248484848, 7.57745454545, 7.68242424242, 7.78739393939, 7.89236363636],
        ),
        (
            "polyfit(a.0,2)",
            [*POINTS[:5], N, *POINTS[6:]],
            [7.9733096590909085, 7.364842329545457, 6.933910511363642, 6.680514204545464, 6.604653409090922,
             6.706328125000017, 6.985538352272748, 7.442284090909116, 8.07656534090912, 8.888382102272761],
        ),
        (
            "polyfit(a.0,3,'5min')",
            POINTS,
            [8.22944055944, 7.26958041958, 6.73364801865, 6.54653846154, 6.63314685315,
             6.91836829837, 7.3270979021, 7.78423076923, 8.21466200466, 8.54328671329,
             8.695, 8.5946969697, 8.16727272727, 7.33762237762, 6.03064102564],
        ),
    ],
)  # fmt: skip
def test_a_polynomial_is_fitted_and_goes_on(call: str, row: Row, expected: Row) -> None:
    (found,) = of_rows(call, row)
    assert found.name == call
    np.testing.assert_allclose(found.values, np.array(expected, np.float64))


@given(
    st.lists(st.integers(-9, 9), min_size=2, max_size=6),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.integers(0, 5),
)
def test_a_polynomial_with_gaps_is_found_again(factors: list[int], known: list[bool], more: int) -> None:
    degree = len(factors) - 1
    exact = [float(np.polynomial.polynomial.polyval(i / 12, factors)) for i in range(12 + more)]
    row = [value if there else None for value, there in zip(exact, known, strict=False)]
    full, gaps = of_rows(f"polyfit(a.*, {degree}, '{more}min')", exact[:12], row)
    np.testing.assert_allclose(full.values, exact, atol=1e-7)
    if sum(known) > degree:
        np.testing.assert_allclose(gaps.values, exact, atol=1e-5)
    else:
        assert np.isnan(gaps.values).all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (", 0", "degree: takes a whole number of 1 to 10, not 0"),
        (", 11", "degree: takes a whole number of 1 to 10, not 11"),
        (", 1, '-1h'", "offset: takes an interval of 0 or more, not '-1h'"),
        (", 1, '100y'", "offset: would make 52560001 points a series; at most 1000000"),
    ],
)
def test_a_polynomial_that_cannot_be_is_refused(more: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        of_rows(f"polyfit(a.0{more})", [1])


def test_series_that_together_have_too_many_points_are_refused() -> None:
    with pytest.raises(TooMuch, match="at most 100000000 in all"):
        of_rows("polyfit(a.*, 1, '690d')", *[[1.0]] * 101)
