"""Stitched ranges: fine data as it is, coarse data before it, and totals stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import stitch
from storage.schema import Rules
from storage.store import Store
from tests.effort import tries

NOW = 1_700_000_040
DAY = 86_400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two days of a value a minute: an hour of it by minutes, a day by five minutes, the rest by the hour."""
    folder = tmp_path_factory.mktemp("stitch")
    (folder / "storage-schemas.conf").write_text(
        "[short]\npattern = ^short\nretentions = 60s:1h\n"
        "[all]\npattern = .*\nretentions = 60s:1h,5m:1d,1h:30d\n"
    )
    (folder / "storage-aggregation.conf").write_text(
        "[sum]\npattern = sum$\nxFilesFactor = 0\naggregationMethod = sum\n"
        "[max]\npattern = max$\nxFilesFactor = 0\naggregationMethod = max\n"
    )
    made = Store(folder / "data", Rules.load(folder))
    series = made.create(["a.sum", "a.max", "a.mean", "short.mean"])
    for ago in range(2 * DAY // 60, -1, -1):
        at = NOW - 60 * ago
        made.append(series, np.full(4, at), np.full(4, at // 60 % 7 + 1.0), at)
    made.roll_up()
    return made


def values(store: Store, name: str, start: int, until: int) -> tuple[np.ndarray, np.ndarray]:
    """(times, values)"""
    _, series = store.find_series(name)
    (found,) = stitch.fetch(store, series, start, until, NOW)
    assert found.positions.tolist() == [0]
    grid = (found.start, found.step, found.values.shape[1], 1)
    assert stitch.grids(store, series, start, until, NOW) == [grid]
    return found.start + found.step * np.arange(found.values.shape[1]), found.values[0]


def test_fine_data_stands_where_there_is_some_and_coarse_data_before(store: Store) -> None:
    times, found = values(store, "a.max", NOW - 6 * 3600, NOW)
    assert (times[0], times[-1]) == (NOW - 6 * 3600 + 60, NOW)
    assert np.diff(times).tolist() == [60] * (len(times) - 1)
    fine = times > NOW - 3600
    assert found[fine].tolist() == (times[fine] // 60 % 7 + 1).tolist()
    coarse = found[(times >= NOW - 5 * 3600) & (times < NOW - 3700)]
    assert not np.isnan(coarse).any()
    (plain,) = store.fetch(store.find_series("a.max")[1], NOW - 6 * 3600, NOW, NOW)
    by_time = dict(
        zip((plain.start + 300 * np.arange(plain.values.shape[1])).tolist(), plain.values[0], strict=True)
    )
    for at, value in zip(times.tolist(), found.tolist(), strict=True):
        if at <= NOW - 3900 and at - at % 300 in by_time:
            assert value == by_time[at - at % 300]


@given(start=st.integers(NOW - 3 * DAY, NOW - 1), length=st.integers(1, 3 * DAY))
@settings(max_examples=tries(100))
def test_every_slot_is_what_the_finest_archive_that_has_it_says(
    store: Store, start: int, length: int
) -> None:
    until = min(NOW, start + length)
    times, found = values(store, "a.max", start, until)
    step = 60 if until > NOW - 3600 else 300 if until > NOW - DAY else 3600
    assert times[0] == start - start % step + step
    assert times[-1] >= until - step
    for at, value in list(zip(times.tolist(), found.tolist(), strict=True))[:: max(1, len(times) // 50)]:
        if at > NOW - 3600:
            assert value == at // 60 % 7 + 1
        elif step <= 300 and NOW - DAY + 300 <= at < NOW - 3600:
            minutes = np.arange(at // 300 * 5, at // 300 * 5 + 5)
            assert value == (minutes % 7 + 1).max()
        elif NOW - 2 * DAY + 3600 <= at < NOW - DAY - 300:
            assert value == 7


def test_totals_are_divided_so_that_sums_stay(store: Store) -> None:
    times, found = values(store, "a.sum", NOW - 4 * 3600, NOW)
    inside = times % 300 < 300
    for begin in range((NOW - 3 * 3600) // 300 * 300, (NOW - 2 * 3600) // 300 * 300, 300):
        slot = found[inside & (times >= begin) & (times < begin + 300)]
        assert slot.sum() == pytest.approx((np.arange(begin // 60, begin // 60 + 5) % 7 + 1).sum())


def test_a_window_within_the_finest_archive_is_as_without(store: Store) -> None:
    _, series = store.find_series("a.*")
    (plain,) = store.fetch(series, NOW - 1800, NOW, NOW)
    (found,) = stitch.fetch(store, series, NOW - 1800, NOW, NOW)
    assert (found.start, found.step) == (plain.start, plain.step)
    np.testing.assert_array_equal(found.values, plain.values)


def test_a_window_before_the_fine_archives_is_on_the_grid_of_what_has_it(store: Store) -> None:
    times, _ = values(store, "a.mean", NOW - 2 * DAY, NOW - DAY - 7200)
    assert set(np.diff(times).tolist()) == {3600}


def test_series_that_reach_back_differently_come_on_their_own_grids(store: Store) -> None:
    _, series = store.find_series("{a,short}.mean")
    found = stitch.fetch(store, series, NOW - DAY, NOW, NOW)
    assert sorted(part.values.shape for part in found) == [(1, 60), (1, 1440)]


@pytest.mark.parametrize("window", [(NOW + 60, NOW + 120), (0, 60)])
def test_a_window_that_no_archive_has_is_nothing(store: Store, window: tuple[int, int]) -> None:
    _, series = store.find_series("a.*")
    assert stitch.fetch(store, series, *window, NOW) == []
    assert stitch.grids(store, series, *window, NOW) == []
