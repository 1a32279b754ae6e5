from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import counter_kernels
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.series import START
from tests.render.memory import MemorySource

Row = list[float | None]
COUNTS = st.one_of(st.none(), st.integers(0, 50).map(float))
ROWS = st.lists(COUNTS, min_size=1, max_size=25)


def asked(row: Row, target: str, **more: int) -> Row:
    """The answer for a series of 60 s that lies in the whole window."""
    return values(ask(holding(row), target, until=START + 60 * len(row), **more))[0]


def growth(row: Row, high: float = math.inf) -> list[tuple[float, int] | None]:
    """By how much, and in how many steps, a counter has grown at each point: the plain twin."""
    out: list[tuple[float, int] | None] = []
    last: tuple[int, float] | None = None
    for i, value in enumerate(row):
        if value is None or last is None:
            out.append(None)
        else:
            more = value - last[1]
            if more < 0:
                wrapped = high - last[1] + value + 1
                more = wrapped if last[1] <= high and wrapped < high / 2 else value
            out.append((more, i - last[0]))
        last = last if value is None else (i, value)
    return out


@given(ROWS)
def test_a_rate_is_the_growth_since_the_last_datapoint_by_the_time_since_then(row: Row) -> None:
    expected = [None if one is None else pytest.approx(one[0] / (60 * one[1])) for one in growth(row)]
    assert asked(row, "rate(a.0)") == expected


@given(ROWS, st.integers(20, 60))
def test_an_increase_is_the_growth_itself_and_a_counter_may_pass_its_highest_value(
    row: Row, high: int
) -> None:
    expected = [None if one is None else one[0] for one in growth(row, high)]
    assert asked(row, f"increase(a.0,maxValue={high})") == expected


@given(ROWS, st.integers(1, 700))
def test_with_an_interval_all_growth_in_it_counts(row: Row, seconds: int) -> None:
    points = math.ceil(seconds / 60)
    twin = growth(row)
    increases, rates = asked(row, f"increase(a.0,'{seconds}s')"), asked(row, f"rate(a.0,'{seconds}s')")
    for i, (increase, rate) in enumerate(zip(increases, rates, strict=True)):
        inside = [one for one in twin[max(0, i + 1 - points) : i + 1] if one is not None]
        total, steps = sum(more for more, _ in inside), sum(steps for _, steps in inside)
        assert increase == (total if inside else None)
        assert rate == (pytest.approx(total / (60 * steps)) if inside else None)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30), st.data())
def test_no_growth_is_lost_or_made_up_by_restarts_and_gaps(steps: list[int], data: st.DataObject) -> None:
    """A counter that begins again, and of which points are missing, still adds up to what it has counted."""
    row: Row = []
    level = 0
    for step in steps:
        level += step
        row.append(float(level))
    first = row[0]
    assert first is not None
    gaps = data.draw(st.sets(st.integers(1, len(row) - 2))) if len(row) > 2 else set()
    gone = [None if i in gaps else value for i, value in enumerate(row)]
    assert sum(v for v in asked(gone, "increase(a.0)") if v is not None) == level - first
    at = data.draw(st.integers(1, len(row) - 1))
    before = row[at - 1]
    assert before is not None
    restarted = row[:at] + [None if v is None else v - before for v in row[at:]]
    lost = (
        before if steps[at] >= before else 0
    )  # it is beyond where it was by then: nobody can see the restart
    found = sum(v for v in asked(restarted, "increase(a.0)") if v is not None)
    assert found == level - first - lost


@given(ROWS, ROWS)
def test_a_series_has_the_same_growth_alone_as_among_others(one: Row, other: Row) -> None:
    both = MemorySource()
    both.add("a.0", START + 60, 60, one)
    both.add("a.1", START + 60, 60, other)
    alone = ask(holding(one), "rate(a.0,'3min')")
    assert values(ask(both, "rate(a.*,'3min')"))[0] == values(alone)[0]


def test_a_window_reaches_back_before_the_start() -> None:
    source = MemorySource()
    source.add("a", START - 600, 60, [10.0 * i for i in range(31)])
    assert values(ask(source, "increase(a)"))[0][:2] == [None, 10.0]
    assert values(ask(source, "increase(a,'5min')"))[0] == [50.0] * 20
    assert ask(source, "increase(a,'5min')").blocks[0].start == START + 60


def test_points_of_counts_merge_into_sums_and_those_of_rates_into_averages() -> None:
    found = {
        target: ask(holding([1.0]), target).blocks[0].consolidations[0]
        for target in ("increase(a.0)", "increase(a.0,'2min')", "rate(a.0)", "rate(a.0,'2min')")
    }
    assert list(found.values()) == ["sum", "average", "average", "average"]


def test_an_infinite_or_falling_below_zero_counter_gives_no_nonsense() -> None:
    found = asked([1.0, math.inf, 5.0, -3.0, 2.0], "increase(a.0)")
    assert found == [None, math.inf, 5.0, 0.0, 5.0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("rate(a.0,'0s')", "interval: takes an interval of more than 0 seconds"),
        ("rate(a.0,'-5min')", "interval: takes an interval of more than 0 seconds"),
        ("rate(a.0,5)", "interval: takes an interval such as '1h' or '5min', not 5"),
        ("increase(a.0,maxValue=0)", "maxValue: takes a number above 0, not 0"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(holding([1.0]), target)


def test_many_counters_in_one_matrix_grow_as_each_alone() -> None:
    rng = np.random.default_rng(3)
    rows = np.where(
        rng.random((40, 50)) < 0.2, np.nan, np.cumsum(rng.integers(0, 5, (40, 50)), axis=1) % 60.0
    )
    grown, steps = np.empty_like(rows), np.empty_like(rows)
    counter_kernels.increases(rows, math.inf, grown, steps)
    for row, mine, span in zip(rows, grown, steps, strict=True):
        twin = growth([None if v != v else v for v in row.tolist()])
        np.testing.assert_array_equal(mine, [math.nan if one is None else one[0] for one in twin])
        np.testing.assert_array_equal(span, [math.nan if one is None else one[1] for one in twin])
