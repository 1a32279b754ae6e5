"""Selecting a column's percentile gives what sorting the column gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.functions.column_percentile import SELECTED_ROWS, percentile_columns
from render.series import Matrix
from storage.consolidation import Row
from tests.effort import tries

KINDS = ("plain", "few", "level", "gaps", "none", "infinite", "sorted", "periodic")


def column(kind: str, rows: int, dice: np.random.Generator) -> Row:
    values: Row = dice.normal(size=rows)
    if kind == "few":
        return dice.integers(0, 3, rows).astype(np.float64)
    if kind == "level":
        return np.full(rows, 2.5)
    if kind == "gaps":
        return np.where(dice.random(rows) < 0.999, np.nan, values)
    if kind == "none":
        return np.full(rows, np.nan)
    if kind == "infinite":
        return np.where(dice.random(rows) < 0.8, values, np.where(dice.random(rows) < 0.5, np.inf, -np.inf))
    if kind == "sorted":
        return np.sort(values)
    if kind == "periodic":
        return np.mod(np.arange(rows, dtype=np.float64), 7.0)
    return values


def twin(values: Matrix, n: float) -> list[float]:
    """The value of rank ⌈n/100·(N+1)⌉ of each column's N known ones."""
    found = []
    for one in values.T:
        known = sorted(one[~np.isnan(one)].tolist())
        at = min(max(int(np.ceil(n / 100.0 * (len(known) + 1))), 1), max(len(known), 1)) - 1
        found.append(known[at] if known else np.nan)
    return found


@given(
    rows=st.sampled_from([1, 2, SELECTED_ROWS - 1, SELECTED_ROWS, SELECTED_ROWS + 777]),
    n=st.sampled_from([0.01, 1, 50, 95, 99.9, 100]) | st.floats(0.001, 100),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=tries(40))
def test_the_percentile_is_that_of_the_sorted_column(rows: int, n: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    values = np.stack([column(kind, rows, dice) for kind in KINDS], axis=1)
    np.testing.assert_array_equal(percentile_columns(values, n, False), twin(values, n))


@pytest.mark.parametrize("n", [0.01, 33.3, 50, 95, 100])
def test_between_two_values_it_is_on_the_line_whichever_way_they_are_found(n: float) -> None:
    values = np.random.default_rng(3).normal(size=(SELECTED_ROWS, 5))
    once = percentile_columns(values, n, True)
    fewer = np.concatenate([percentile_columns(values[:, [i]], n, True) for i in range(5)])
    np.testing.assert_array_equal(once, fewer)
    rank = n / 100 * (SELECTED_ROWS + 1)
    at = int(np.clip(np.floor(rank), 1, SELECTED_ROWS))
    above = min(at, SELECTED_ROWS - 1) if rank >= 1 else 0
    ordered = np.sort(values, axis=0)
    expected = ordered[at - 1] + (rank - np.floor(rank)) * (ordered[above] - ordered[at - 1])
    np.testing.assert_allclose(once, expected)
