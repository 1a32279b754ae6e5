from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import measure

ROWS = st.integers(1, 9).flatmap(
    lambda points: st.lists(
        st.lists(
            st.one_of(
                st.just(math.nan), st.integers(-9, 9).map(float), st.sampled_from([math.inf, -math.inf])
            ),
            min_size=points,
            max_size=points,
        ),
        min_size=1,
        max_size=9,
    )
)


def percentile(row: list[float], n: float) -> float:
    """graphite-web's rule, in its own words: a rank among N + 1, rounded up."""
    ordered = sorted(value for value in row if value == value)
    if not ordered:
        return math.nan
    rank = math.ceil(n / 100.0 * (len(ordered) + 1))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


@given(ROWS, st.one_of(st.sampled_from([0.0, 50.0, 95.0, 100.0]), st.floats(0, 100)))
def test_a_percentile_is_the_known_value_of_that_rank(rows: list[list[float]], n: float) -> None:
    found = measure.percentile(np.array(rows), n)
    np.testing.assert_array_equal(found, [percentile(row, n) for row in rows])


def test_rows_of_many_different_gaps_have_each_their_rank() -> None:
    values = np.tile(np.arange(20.0), (12, 1))
    for i, row in enumerate(values):
        row[: i + 1] = np.nan
    found = measure.percentile(values, 40.0)
    np.testing.assert_array_equal(found, [percentile(row, 40.0) for row in values.tolist()])


def test_no_points_have_no_percentile() -> None:
    np.testing.assert_array_equal(measure.percentile(np.empty((2, 0)), 50.0), [np.nan, np.nan])


@pytest.mark.parametrize("n", [math.inf, -0.1, 100.1])
def test_a_percentage_lies_between_0_and_100(n: float) -> None:
    with pytest.raises(ArgumentError):
        measure.check_percent("f", n)
