from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from tests.render.functions.asking import ask
from tests.render.golden.series import START
from tests.render.memory import MemorySource

N = None
Row = list[float | None]
HOURS = 4
POINTS = 3
value = st.one_of(st.none(), st.integers(-3, 3).map(float))
weeks = st.lists(st.lists(value, min_size=POINTS, max_size=POINTS), min_size=HOURS + 1, max_size=HOURS + 1)


def of_hours(**series: list[Row]) -> MemorySource:
    """For each series the first points of the window, of the hour before it, of two hours before it and so on."""
    source = MemorySource()
    for name, rows in series.items():
        points: Row = []
        for row in reversed(rows):
            points += [*row, *[None] * (60 - len(row))]
        source.add(f"a.{name}", START + 60 - 3600 * (len(rows) - 1), 60, points)
    return source


def usual(rows: Sequence[Sequence[float | None]]) -> list[float]:
    """The plain twin: the median of each point's column."""
    columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return [statistics.median(column) if column else np.nan for column in columns]


def asked(source: MemorySource, call: str) -> list[list[float]]:
    return [one.values.tolist() for one in ask(source, call, until=START + 60 * POINTS)]


@given(weeks, st.integers(-1, 2), st.integers(1, HOURS + 1))
def test_a_baseline_is_the_median_of_the_shifted_windows(rows: list[Row], first: int, end: int) -> None:
    shifts = [i for i in range(first, end) if i]
    windows = [rows[i] if i > 0 else [N] * POINTS for i in shifts]
    expected = usual(windows)
    found = asked(of_hours(x=rows), f"baseline(a.x, '1h', {first}, {end})")
    assert len(found) == (len(shifts) > 0)
    for row in found:
        np.testing.assert_array_equal(row, expected)
    ratio = asked(of_hours(x=rows), f"baselineAberration(a.x, '1h', {first}, {end})")
    for row in ratio:
        for now, usually, got in zip(rows[0], expected, row, strict=True):
            np.testing.assert_allclose(got, now / usually if now is not None and usually else np.nan)


def test_each_series_has_its_own_in_their_order() -> None:
    source = of_hours(x=[[1.0], [2.0], [4.0]], y=[[9.0], [3.0], [5.0]])
    found = ask(source, "baseline(sortByName(a.*, false, true), '1h', 1, 3)", until=START + 60)
    assert found.names == ["baseline(a.y)", "baseline(a.x)"]
    assert [one.values.tolist() for one in found] == [[4.0], [3.0]]
    assert {one.start for one in found} == {START + 60}
    ratio = ask(source, "baselineAberration(a.*, '1h', 1, 3)", until=START + 60)
    assert [(one.name, one.values.tolist()) for one in ratio] == [
        ("baselineAberration(a.x)", [1 / 3]),
        ("baselineAberration(a.y)", [9 / 4]),
    ]


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("", ["x", "y", "z"]),
        (", 34", ["x", "y"]),
        (", 33", ["x"]),
        (", maxAbsentPercent=0", ["x"]),
        (", minAvg=3", ["y", "z"]),
        (", 34, 3", ["y"]),
    ],
)
def test_baselines_with_gaps_or_too_low_go(more: str, names: list[str]) -> None:
    now: Row = [1.0, 1.0, 1.0]
    source = of_hours(x=[now, [1.0, 2.0, 3.0]], y=[now, [N, 4.0, 4.0]], z=[now, [N, N, N]])
    for function in ("baseline", "baselineAberration"):
        found = ask(source, f"{function}(a.*, '1h', 1, 2{more})", until=START + 180)
        assert found.names == [f"{function}(a.{name})" for name in names]


def test_a_sign_is_as_in_time_stack() -> None:
    source = of_hours(x=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert asked(source, "baseline(a.x, '-1h', 1, 2)") == asked(source, "baseline(a.x, '1h', 1, 2)")


def test_coarser_data_of_earlier_meets_the_window_by_its_time(golden_source: MemorySource) -> None:
    (found,) = ask(golden_source, "baselineAberration(group(fine.f1, coarse.c1), '1h', 1, 3)|limit(1)")
    assert found.step == 10
    assert not np.isnan(found.values).all()


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(ArgumentError, match="timeShiftEnd: takes at most 400 shifts, not 401"):
        ask(of_hours(x=[[1.0]]), "baseline(a.x, '1h', 0, 401)")
