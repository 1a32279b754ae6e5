from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError
from tests.effort import tries
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.series import START
from tests.render.memory import MemorySource

Row = list[float | None]
VALUES = st.one_of(st.none(), st.integers(-9, 9).map(float), st.floats(-100, 100))
NUMBERS = st.floats(allow_nan=False)


@st.composite
def matrices(draw: st.DrawFn) -> list[Row]:
    points = draw(st.integers(1, 6))
    return draw(st.lists(st.lists(VALUES, min_size=points, max_size=points), min_size=1, max_size=5))


def until(rows: list[Row]) -> int:
    return START + 60 * len(rows[0])


# --- percentileOverTime ---


@given(matrices(), st.one_of(st.sampled_from([0.0, 50.0, 95.0, 99.9, 100.0]), st.floats(0, 100)))
def test_a_level_lies_at_each_series_own_percentile(rows: list[Row], n: float) -> None:
    found = ask(holding(*rows), f"percentileOverTime(a.*,{n:.6f})", until=until(rows))
    for row, got in zip(rows, values(found), strict=True):
        known = [value for value in row if value is not None]
        twin = pytest.approx(np.percentile(known, round(n, 6)), abs=1e-9) if known else None
        assert got == [twin] * len(row)


@given(matrices(), st.sampled_from(["p5", "p50", "p95", "p99.9"]), st.integers(1, 400))
def test_by_interval_it_is_what_summarize_gives_by_that_percentile(
    rows: list[Row], func: str, seconds: int
) -> None:
    source = holding(*rows)
    ours = ask(source, f"percentileOverTime(a.*,{func[1:]},'{seconds}s')", until=until(rows))
    theirs = ask(source, f"summarize(a.*,'{seconds}s','{func}')", until=until(rows))
    after = (until(rows) + 60) % seconds == 0  # then summarize() has one more, always without a value
    assert values(ours) == [row[: len(row) - after] for row in values(theirs)]
    assert [(one.start, one.step) for one in ours] == [(one.start, one.step) for one in theirs]


def test_a_percentile_of_too_few_points_is_none() -> None:
    source = holding([1.0, None, None, None])
    target = "percentileOverTime(setXFilesFactor(a.0,{}),50)"
    assert values(ask(source, target.format(0.25), until=START + 240)) == [[1.0] * 4]
    assert values(ask(source, target.format(0.26), until=START + 240)) == [[None] * 4]


# --- histogram ---


def counted(column: Row, bounds: list[float]) -> list[float | None]:
    """How many values lie in each bucket, and beyond: the plain twin."""
    known = [value for value in column if value is not None]
    edges = [-math.inf, *bounds, math.inf]
    if not known:
        return [None] * (len(bounds) + 1)
    inside = [float(sum(low < v <= high for v in known)) for low, high in pairwise(edges)]
    inside[0] += known.count(-math.inf)
    return list(inside)


BOUNDS = st.lists(st.integers(-10, 10).map(float), min_size=1, max_size=5, unique=True).map(sorted)


@given(matrices(), BOUNDS)
def test_each_value_counts_in_the_bucket_that_it_lies_in(rows: list[Row], bounds: list[float]) -> None:
    target = f"histogram(a.*,{','.join(f'{bound:g}' for bound in bounds)})"
    found = ask(holding(*rows), target, until=until(rows))
    assert found.names == [*(f"{bound:g}" for bound in bounds), "+Inf"]
    columns = [list(column) for column in zip(*rows, strict=True)]
    assert values(found) == [list(row) for row in zip(*(counted(c, bounds) for c in columns), strict=True)]


@given(matrices(), BOUNDS)
def test_cumulative_buckets_count_all_below_too(rows: list[Row], bounds: list[float]) -> None:
    source, text = holding(*rows), ",".join(f"{bound:g}" for bound in bounds)
    plain = ask(source, f"histogram(a.*,{text})", until=until(rows)).blocks[0].values
    summed = ask(source, f"histogram(a.*,{text},cumulative=true)", until=until(rows)).blocks[0].values
    np.testing.assert_array_equal(summed, np.cumsum(plain, axis=0))


@given(matrices(), st.sampled_from([60, 120, 300, 3600]))
def test_by_interval_all_its_points_count(rows: list[Row], seconds: int) -> None:
    found = ask(holding(*rows), f"histogram(a.*,0,interval='{seconds}s')", until=until(rows))
    by_interval: dict[int, Row] = {}
    for i in range(len(rows[0])):
        at = START + 60 * (i + 1)
        by_interval.setdefault(at - at % seconds, []).extend(row[i] for row in rows)
    for one, bucket in zip(found, (0, 1), strict=True):
        got = dict(zip(range(one.start, one.end, one.step), values(found)[bucket], strict=True))
        assert got == {at: counted(column, [0.0])[bucket] for at, column in by_interval.items()}


@pytest.mark.filterwarnings("error")
@settings(max_examples=tries(300))
@given(
    st.lists(NUMBERS, min_size=1, max_size=8),
    st.integers(1, 30),
    st.sampled_from(["linear", "exponential"]),
)
def test_buckets_laid_over_any_values_are_few_ascending_and_lose_none(
    column: list[float], buckets: int, scale: str
) -> None:
    source = holding(*[[value] for value in column])
    found = ask(source, f"histogram(a.*,buckets={buckets},scale='{scale}')", until=START + 60)
    assert sum(one.values[0] for one in found) == len(column)
    bounds = [float(name) for name in found.names]
    assert bounds == sorted(set(bounds))
    finite = [bound for bound in bounds if bound < math.inf]
    assert len(finite) <= buckets + 2  # one that begins before the values, and 0
    assert values(found) == [[count] for count in counted(list(column), finite)][: len(found)]


def test_bounds_are_round_and_stay_where_they_are_while_values_wander() -> None:
    first = ask(holding([0.013], [0.87]), "histogram(a.*,buckets=10)", until=START + 60).names
    later = ask(holding([0.094], [0.93]), "histogram(a.*,buckets=10)", until=START + 60).names
    assert first == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]
    assert later == [*first, "1"]


def test_exponential_bounds_are_powers_of_two() -> None:
    source = holding([0.3], [900.0], [0.0], [-7.0])
    found = ask(source, "histogram(a.*,scale='exponential',buckets=13)", until=START + 60)
    powers = ["0.5", "1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024"]
    assert found.names == ["0", *powers]
    assert values(found)[:2] == [[2.0], [1.0]]


def test_a_buckets_bounds_are_its_tags_and_its_points_merge_into_sums() -> None:
    found = ask(holding([5.0]), "histogram(a.0,1,10)", until=START + 60)
    assert found.tags == [
        {"name": "histogram", "le": "1"},
        {"name": "histogram", "le": "10", "gt": "1"},
        {"name": "histogram", "le": "+Inf", "gt": "10"},
    ]
    assert found.blocks[0].consolidations == ["sum"] * 3
    assert {one.expression for one in found} == {"histogram(a.0)"}


def test_series_of_several_steps_are_counted_by_interval_each_with_its_own_points() -> None:
    source = holding([1.0] * 5)
    source.add("a.1", START, 300, [5.0, 5.0])
    found = ask(source, "histogram(a.*,2,interval='10min')", until=START + 300)
    assert np.nansum(found.blocks[0].values, axis=1).tolist() == [5.0, 1.0]


def test_nothing_gives_no_buckets_and_missing_values_no_counts() -> None:
    assert not ask(MemorySource(), "histogram(nothing.here,1)")
    assert values(ask(holding([None]), "histogram(a.0,1)", until=START + 60)) == [[None], [None]]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("histogram(a.0,buckets=0)", "buckets: takes 1 to 200, not 0"),
        ("histogram(a.0,buckets=201)", "buckets: takes 1 to 200, not 201"),
        ("histogram(a.0,5,5)", "bounds: takes finite numbers, each above the one before, not 5, 5"),
        ("histogram(a.0,1,inf)", "bounds: takes finite numbers"),
        ("histogram(a.0,scale='log')", "scale: 'log' is not one of linear, exponential"),
        ("histogram(a.0,interval='0s')", "interval: takes an interval of more than 0 seconds"),
        ("percentileOverTime(a.0,101)", "n: takes a percentage, 0 to 100, not 101"),
        ("percentileOverTime(a.0,50,'0s')", "interval: takes an interval of more than 0 seconds"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(holding([1.0]), target)
