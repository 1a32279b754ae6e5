from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.formats.consolidate import consolidated
from render.series import Series, SeriesList
from tests.render.formats.lists import START, block, blocks, cold, series_lists

NAN = math.nan
near = series_lists(blocks(st.integers(START - 500, START + 500)))


def plain(one: Series, max_data_points: int, seconds: int) -> tuple[int, int, list[float]]:
    """The twin, as graphite-web goes about it: start, step and values of one series."""
    numbers = one.values.tolist()
    start, size = one.start, 1
    if max_data_points == 1:
        size = max(1, len(numbers))
    elif max_data_points < seconds / one.step:
        size = math.ceil(seconds / one.step / max_data_points)
        run = size * one.step
        nudge = run + start % one.step - start % run
        start += nudge
        numbers = numbers[max(0, int(nudge / one.step) - 1) :]
    merged = [merge(one, numbers[at : at + size], size) for at in range(0, len(numbers), size)]
    return start, one.step * size, merged if size > 1 else numbers


def merge(one: Series, numbers: list[float], size: int) -> float:
    known = [number for number in numbers if not math.isnan(number)]
    if not known or len(known) / size < one.x_files_factor:
        return NAN
    match one.consolidation:
        case "sum":
            return sum(known)
        case "average":
            return sum(known) / len(known)
        case "avg_zero":
            return sum(known) / len(numbers)
        case "min":
            return min(known)
        case "max":
            return max(known)
        case "first":
            return known[0]
        case "last":
            return known[-1]
    raise AssertionError(one.consolidation)


@cold
@given(near, st.integers(1, 20))
def test_points_merge_as_in_a_loop_over_runs(series: SeriesList, max_data_points: int) -> None:
    merged = list(consolidated(series, max_data_points))
    whole = list(series)
    seconds = max((one.end for one in whole), default=0) - min((one.start for one in whole), default=0)
    for one, got in zip(whole, merged, strict=True):
        start, step, values = plain(one, max_data_points, seconds)
        assert (got.name, got.start, got.end) == (one.name, start, one.end)
        assert len(got.values) <= 1 or got.step == step
        np.testing.assert_allclose(got.values, values, rtol=1e-12)


def shown(rows: list[float], max_data_points: int, start: int = START) -> list[tuple[int, float]]:
    (one,) = consolidated(SeriesList([block([rows])]).map(lambda b: b.with_(start=start)), max_data_points)
    stamps = range(one.start, one.end + 1, one.step)
    return list(zip(stamps, one.values.tolist(), strict=False))


def test_ten_points_for_at_most_four_are_three_runs() -> None:
    start = 1_699_999_740  # a multiple of 180: the first run begins one run later, a point too early
    points = shown([float(i) for i in range(10)], 4, start)
    assert points == [(start + 180, 3.0), (start + 360, 6.0), (start + 540, 8.5)]


def test_runs_stay_the_same_while_the_window_moves_on() -> None:
    values = [float(i * i) for i in range(120)]
    first = shown(values[:100], 10)
    later = shown(values[1:101], 10, START + 60)
    assert set(later[:-1]) <= set(first) | {later[-1]}
    assert len(later) >= 8


def test_one_point_is_at_the_series_own_start() -> None:
    assert shown([1.0, 2.0, 6.0], 1) == [(START, 3.0)]


def test_enough_points_allowed_change_nothing() -> None:
    series = SeriesList([block([[1.0, 2.0, 3.0]])])
    assert consolidated(series, 3).blocks[0] is series.blocks[0]


def test_each_series_merges_by_its_own_aggregation() -> None:
    rows = [[1.0, 2.0, NAN, 4.0, 5.0, 6.0]] * 3
    series = SeriesList([block(rows, start=120, methods=["sum", "max", "avg"])])
    assert [one.values.tolist() for one in consolidated(series, 3)] == [
        [2.0, 9.0, 6.0],
        [2.0, 5.0, 6.0],
        [2.0, 4.5, 6.0],
    ]


def test_a_run_with_too_few_known_points_is_missing() -> None:
    series = SeriesList([block([[NAN, 1.0, NAN, NAN, 2.0, 3.0]], start=60, x_files_factor=0.6)])
    assert [str(value) for value in next(iter(consolidated(series, 3))).values] == ["nan", "nan", "2.5"]


@pytest.mark.parametrize("max_data_points", [1, 2, 10**15])
def test_an_empty_list_stays_one(max_data_points: int) -> None:
    assert len(consolidated(SeriesList(), max_data_points)) == 0
