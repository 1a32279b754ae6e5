from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError, TooMuch
from render.series import Series
from tests.render.functions.asking import ask, of_rows
from tests.render.golden.series import START, UNTIL
from tests.render.memory import MemorySource

N = None
Row = list[float | None]
METHODS = {
    "above": lambda value, limit: value > limit,
    "aboveOrEqual": lambda value, limit: value >= limit,
    "below": lambda value, limit: value < limit,
    "belowOrEqual": lambda value, limit: value <= limit,
}
NINETEEN: Row = [1, 1.5, 2, 3, 4, N, 0, 1, 1.5, 2.1, 1, 2, 3, 4, 5, 1, 2, 3, 4]


def one(call: str, row: Row, step: int) -> Series:
    (found,) = of_rows(call, row, step=step)
    return found


@given(
    st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float)), min_size=1, max_size=30),
    st.integers(60, 400),
    st.sampled_from(sorted(METHODS)),
)
def test_each_interval_tells_its_part_and_what_is_left_of_it(row: Row, seconds: int, method: str) -> None:
    until = START + 60 * len(row)
    seconds = min(seconds, 60 * len(row))
    found = one(f"slo(a.0, '{seconds}s', '{method}', 1)", row, 60)
    budget = one(f"sloErrorBudget(a.0, '{seconds}s', '{method}', 1, 0.75)", row, 60)
    inside: dict[int, Row] = {}
    for i, value in enumerate(row):
        inside.setdefault(i * 60 // seconds, []).append(value)
    parts, left = [], []
    for interval, values in sorted(inside.items()):
        known = [value for value in values if value is not None]
        part = sum(METHODS[method](value, 1) for value in known) / len(known) if known else np.nan
        length = seconds if START + (interval + 1) * seconds <= until else len(values) * 60
        parts.append(part)
        left.append((part - 0.75) * length)
    assert (found.start, found.step) == (START + 60, seconds)
    np.testing.assert_allclose(found.values, parts)
    np.testing.assert_allclose(budget.values, left)


@pytest.mark.parametrize(
    ("call", "row", "step", "expected"),
    [  # carbonapi's own expectations
        ("slo(a.0, '10s', 'above', 2)", [1, 2, 3, 4, 5, N, N, 6, 7, 0, 8], 5, [0, 1, 1, 1, 0.5, 1]),
        ("slo(a.0, '4s', 'below', 6)", [1, 2, 3, 4, 5, 6, 7, 8, 9], 5, [N] * 12),
        ("sloErrorBudget(a.0, '5s', 'aboveOrEqual', 2, 0.6)", NINETEEN, 1, [0, -1.75, 1, 0.6]),
        ("sloErrorBudget(a.0, '4s', 'aboveOrEqual', 2, 0.6)", NINETEEN, 5, [N] * 24),
    ],
)
def test_intervals_are_counted_from_the_first_point(call: str, row: Row, step: int, expected: Row) -> None:
    found = one(call, row, step)
    np.testing.assert_allclose(found.values, np.array(expected, np.float64), atol=1e-12)
    assert found.name == call.replace("'", "")


def test_an_interval_longer_than_the_window_ends_with_it(golden_source: MemorySource) -> None:
    (found,) = ask(golden_source, "slo(servers.web2.cpu, '2h', 'above', 0)")
    (whole,) = ask(golden_source, "servers.web2.cpu", start=UNTIL - 7200)
    known = whole.values[~np.isnan(whole.values)]
    assert found.values.tolist() == [np.mean(known > 0)]
    assert (found.start, found.step) == (START + 60, 7200)
    (budget,) = ask(golden_source, "sloErrorBudget(servers.web2.cpu, '7230s', 'above', 0, 0.5)")
    assert len(budget.values) == 1
    assert budget.step == 7230


def test_points_that_begin_before_the_interval_make_no_second_one(golden_source: MemorySource) -> None:
    target = "slo(summarize(servers.web1.cpu, '10min', 'avg'), '6600s', 'above', 0)"
    (found,) = ask(golden_source, target, start=START + 30, until=UNTIL + 30)
    assert len(found.values) == 1


def test_the_interval_that_is_read_earlier_is_bounded(golden_source: MemorySource) -> None:
    with pytest.raises(TooMuch, match="a window of"):
        ask(golden_source, "slo(servers.web1.cpu, '200y', 'above', 0)")
    with pytest.raises(ArgumentError, match="interval: would make"):
        ask(golden_source, "slo(coarse.c1, '1s', 'above', 0)", start=START - 2_000_000)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("slo(a.0, '0s', 'above', 1)", "interval: takes an interval of more than 0 seconds, not '0s'"),
        (
            "slo(a.0, '1h', 'over', 1)",
            "method: 'over' is not one of above, aboveOrEqual, below, belowOrEqual",
        ),
        ("slo(a.0, '1h', 'above')", "value: is missing"),
        ("sloErrorBudget(a.0, '1h', 'above', 1)", "objective: is missing"),
    ],
)
def test_a_level_that_cannot_be_is_refused(call: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        of_rows(call, [1.0])


def test_a_line_that_is_made_up_has_levels_too(golden_source: MemorySource) -> None:
    (found,) = ask(golden_source, "slo(constantLine(5), '10min', 'above', 3)")
    assert found.values.tolist()[:2] == [1.0, 1.0]
    assert found.end == found.start + len(found.values) * found.step
