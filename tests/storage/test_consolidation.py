"""Each aggregation against its plain twin, on nasty matrices."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from storage import consolidation
from storage.errors import UnknownAggregation

TWINS = {
    "average": lambda known, all_: sum(known) / len(known),
    "avg_zero": lambda known, all_: sum(known) / len(all_),
    "sum": lambda known, all_: sum(known),
    "count": lambda known, all_: len(known),
    "last": lambda known, all_: known[-1],
    "first": lambda known, all_: known[0],
    "max": lambda known, all_: max(known),
    "min": lambda known, all_: min(known),
    "range": lambda known, all_: max(known) - min(known),
    "diff": lambda known, all_: known[0] - sum(known[1:]),
    "multiply": lambda known, all_: math.prod(all_),
    "stddev": lambda known, all_: statistics.pstdev(known),
    "absmax": lambda known, all_: max(known, key=abs),
    "absmin": lambda known, all_: min(known, key=abs),
    "median": lambda known, all_: statistics.median(known),
}
ALIASES = {
    "avg": "average",
    "total": "sum",
    "current": "last",
    "rangeOf": "range",
    "maximum": "max",
    "minimum": "min",
}
Matrices = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.one_of(st.just(np.nan), st.integers(-1000, 1000).map(float), st.floats(-1e6, 1e6)),
)


def twin(name: str, column: np.ndarray) -> float:
    known = [v for v in column.tolist() if v == v]
    return TWINS[name](known, column.tolist()) if known else math.nan


@pytest.mark.parametrize("name", [*TWINS, *ALIASES])
@given(values=Matrices)
def test_columns_and_rows_are_what_the_plain_twin_says(name: str, values: np.ndarray) -> None:
    expected = [twin(ALIASES.get(name, name), column) for column in values.T]
    reduced = consolidation.columns(name, values)
    np.testing.assert_allclose(reduced.values, expected, rtol=1e-9, atol=1e-9)
    assert reduced.known.tolist() == (~np.isnan(values)).sum(axis=0).tolist()
    across = consolidation.rows(name, np.ascontiguousarray(values.T))
    np.testing.assert_allclose(across.values, expected, rtol=1e-9, atol=1e-9)


@given(values=Matrices, percent=st.sampled_from(["0", "50", "75", "95", "99", "99.9", ".5", "100", "100.0"]))
def test_percentiles_are_numpys_linear_ones(values: np.ndarray, percent: str) -> None:
    reduced = consolidation.columns(f"p{percent}", values)
    for j, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        expected = np.percentile(known, float(percent)) if len(known) else np.nan
        np.testing.assert_allclose(reduced.values[j], expected, rtol=1e-9, atol=1e-9)


@given(values=Matrices, size=st.integers(1, 5), xff=st.sampled_from([0.0, 0.5, 1.0]))
def test_buckets_are_runs_and_a_bucket_needs_enough_of_them(
    values: np.ndarray, size: int, xff: float
) -> None:
    out = consolidation.buckets("sum", values, size, xff)
    for row, got in zip(values, out, strict=True):
        for i, value in enumerate(got):
            run = row[i * size : (i + 1) * size]
            known = run[~np.isnan(run)]
            enough = len(known) and len(known) / size >= xff
            np.testing.assert_allclose(value, known.sum() if enough else np.nan)


def test_sums_run_in_row_order_as_python_adds() -> None:
    values = np.random.default_rng(1).random((1000, 3)) * 1e9
    assert consolidation.columns("sum", values).values.tolist() == [sum(c) for c in values.T.tolist()]


def test_no_rows_give_nothing_known() -> None:
    for name in TWINS:
        assert np.isnan(consolidation.columns(name, np.empty((0, 3))).values).all()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownAggregation, match="'average'"):
        consolidation.canonical("averge")


@pytest.mark.parametrize(
    "name", ["p", "p.", "p5.", "p101", "p100.1", "p-1", "p1e1", "p５", "50", "xp50", "p50x"]
)
def test_what_is_no_percentage_is_no_percentile(name: str) -> None:
    with pytest.raises(UnknownAggregation):
        consolidation.canonical(name)
