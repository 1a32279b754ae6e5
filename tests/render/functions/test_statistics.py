from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions.statistics import ks_p_values
from tests.render.functions.asking import ask, of_rows, values
from tests.render.memory import MemorySource

N = None
NAN = math.nan
Row = list[float | None]


@st.composite
def two_rows(draw: st.DrawFn) -> tuple[Row, Row]:
    value = st.one_of(st.none(), st.integers(-9, 9).map(float))
    points = draw(st.integers(1, 14))
    row = st.lists(value, min_size=points, max_size=points)
    return draw(row), draw(row)


def correlation(first: Sequence[float | None], second: Sequence[float | None]) -> float:
    """The plain twin, of the points that both have."""
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    a, b = [pair[0] for pair in both], [pair[1] for pair in both]
    return statistics.correlation(a, b) if len(set(a)) > 1 and len(set(b)) > 1 else NAN


# --- pearson ---


@given(two_rows(), st.integers(1, 16))
def test_each_window_is_correlated(pair: tuple[Row, Row], window: int) -> None:
    first, second = pair
    (found,) = of_rows(f"pearson(a.0, a.1, {window})", first, second)
    expected = [
        correlation(first[i + 1 - window : i + 1], second[i + 1 - window : i + 1]) if i + 1 >= window else NAN
        for i in range(len(first))
    ]
    np.testing.assert_allclose(found.values, expected, atol=1e-12)


def test_a_known_correlation_is_found() -> None:
    # carbonapi's own expectation
    (found,) = of_rows("pearson(a.0,a.1,6)", [43, 21, 25, 42, 57, 59], [99, 65, 79, 75, 87, 81])
    assert found.name == "pearson(a.0,a.1,6)"
    np.testing.assert_allclose(found.values, [*[NAN] * 5, 0.5298089018901744])


def test_what_does_not_vary_has_no_correlation_whatever_its_rounding() -> None:
    (found,) = of_rows("pearson(a.0, a.1, 3)", [0.1] * 9, [float(i) for i in range(9)])
    assert np.isnan(found.values).all()


def test_long_windows_are_looked_at_in_parts() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(size=(2, 3000)).round(3)
    (found,) = of_rows("pearson(a.0, a.1, 1000)", first.tolist(), second.tolist())
    for at in (999, 1500, 2999):
        some = slice(at - 999, at + 1)
        assert found.values[at] == pytest.approx(np.corrcoef(first[some], second[some])[0, 1])


def test_series_of_different_steps_meet_on_one_grid(golden_source: MemorySource) -> None:
    (found,) = ask(golden_source, "pearson(fine.f1, coarse.c1, 3)")
    assert found.step == 300


@pytest.mark.parametrize("function", ["pearson", "ksTest2"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("a.*, a.0, 3", "seriesList: takes exactly 1 series, not 2"),
        ("a.0, no.such, 3", "otherSeries: takes exactly 1 series, not 0"),
        ("a.0, a.1, 0", "windowSize: takes a number of points, 1 or more, not 0"),
    ],
)
def test_two_series_and_a_window_are_needed(function: str, arguments: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        of_rows(f"{function}({arguments})", [1.0], [2.0])


# --- ksTest2 ---


def apart(first: list[float], second: list[float]) -> float:
    """The plain twin: how far the two distributions are apart at most."""
    return max(
        abs(sum(v <= at for v in first) / len(first) - sum(v <= at for v in second) / len(second))
        for at in [*first, *second]
    )


def beyond(z: float) -> float:
    """Kolmogorov's distribution, by its slow series alone."""
    return (
        min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * z * z) for k in range(1, 400)))
        if z > 0.05
        else 1.0
    )


@given(two_rows(), st.integers(1, 16))
def test_each_window_is_tested(pair: tuple[Row, Row], window: int) -> None:
    (found,) = of_rows(f"ksTest2(a.0, a.1, {window})", *pair)
    for i, got in enumerate(found.values):
        first, second = ([v for v in row[max(i + 1 - window, 0) : i + 1] if v is not None] for row in pair)
        if i + 1 < window or not first or not second:
            assert math.isnan(got)
        else:
            size = len(first) * len(second) / (len(first) + len(second))
            assert got == pytest.approx(beyond(math.sqrt(size) * apart(first, second)), abs=1e-9)


SAMPLE = [0.61, 0.29, 0.06, 0.59, -1.73, -0.74, 0.51, -0.56, 0.39, 1.64, 0.05, -0.06, 0.64, -0.82, 0.37]


@pytest.mark.parametrize(
    ("other", "expected"),
    [  # by scipy 1.x: special.kolmogorov(sqrt(n·m / (n + m)) · stats.ks_2samp(…).statistic)
        ([1.36, 1.2, 2.01, 0.85, -0.23, 2.56, 1.81, 0.77, 1.13, 0.12, 2.2, 1.9, 0.99, 1.5, 0.4], 0.0006276552632203251),
        ([0.5, 0.7, 0.1, -0.4, -1.2, 0.9, 0.2, 0.33, 0.71, 1.1, 0.02, -0.3, 0.44, -0.9, 0.36], 0.9250856809941739),
        (SAMPLE, 1.0),
    ],
)  # fmt: skip
def test_p_values_are_those_of_other_programs(other: list[float], expected: float) -> None:
    found = ks_p_values(np.array([SAMPLE]), np.array([other]))
    assert found[0] == pytest.approx(expected, rel=1e-9)


def test_the_long_name_is_printed() -> None:
    assert of_rows("ksTest2(a.0, a.1, 1)", [1], [2]).names == ["kolmogorovSmirnovTest2(a.0,a.1,1)"]


# --- pearsonClosest ---

SHAPES: list[Row] = [
    [0, 0, 0, 0, 0, 0],
    [3, 4, 5, 6, 7, 8],
    [4, 4, 5, 5, 6, 6],
    [4, 4, 5, 5, 6, 6],
    [4, 7, 7, 7, 7, 1],
    [8, 7, 6, 5, 4, 3],
]


@pytest.mark.parametrize(
    ("call", "names"),
    [  # the first three are carbonapi's own expectations, there without an order
        ("pearsonClosest(a.2, a.{0,1,2,3,4}, 2)", ["a.2", "a.3"]),
        ("pearsonClosest(a.2, a.{0,1,2,3,4}, 3)", ["a.2", "a.3", "a.1"]),
        ("pearsonClosest(a.1, a.{0,1,2}, 1, direction='abs')", ["a.1"]),
        ("pearsonClosest(a.1, a.*, 2, 'neg')", ["a.5", "a.4"]),
        ("pearsonClosest(a.1, a.*, 9, 'pos')", ["a.1", "a.2", "a.3"]),
        ("pearsonClosest(a.1, a.*, 9)", ["a.1", "a.5", "a.2", "a.3", "a.4"]),
        ("pearsonClosest(a.1, a.*, 0)", []),
        ("pearsonClosest(a.0, a.*, 9)", []),
        ("pearsonClosest(a.0, no.such, 9)", []),
    ],
)
def test_the_series_that_move_most_alike_are_found(call: str, names: list[str]) -> None:
    assert of_rows(call, *SHAPES).names == names


def test_gaps_do_not_count_and_the_series_stay_as_they_are() -> None:
    gap: Row = [3, N, 5, 6, 7, 8]
    found = of_rows("pearsonClosest(a.0, a.{1,2}, 1)", [3, 4, 5, 6, 7, 8], gap, [4, 4, 5, 5, 6, 6])
    assert found.names == ["a.1"]
    assert values(found) == [gap]


@given(st.lists(st.lists(st.integers(-9, 9).map(float), min_size=5, max_size=5), min_size=1, max_size=5))
def test_the_closest_are_those_of_the_plain_twin(table: list[list[float]]) -> None:
    found = of_rows("pearsonClosest(a.0, a.*, 9)", *table)
    close = {f"a.{i}": abs(correlation(table[0], row)) for i, row in enumerate(table)}
    known = {name: value for name, value in close.items() if not math.isnan(value)}
    assert sorted(found.names) == sorted(known)
    ranked = [known[name] for name in found.names]
    assert ranked == pytest.approx(sorted(ranked, reverse=True))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("pearsonClosest(a.*, a.0, 1)", "series: takes exactly 1 series, not 2"),
        ("pearsonClosest(a.0, a.*, -1)", "n: takes a number of series, 0 or more, not -1"),
        ("pearsonClosest(a.0, a.*, 1, 'up')", "direction: 'up' is not one of abs, pos, neg"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(call: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        of_rows(call, [1.0], [2.0])
