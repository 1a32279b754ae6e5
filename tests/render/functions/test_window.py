from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.functions.window import cut, floor_to, preview_points
from render.series import Block, Tags


def block(start: int, step: int, points: int) -> Block:
    values = np.arange(float(points))[None, :]
    return Block(values, start, step, ["a"], ["a"], Tags(["a"]), ["average"])


@given(st.integers(0, 10_000), st.integers(1, 400), st.integers(0, 5000))
def test_a_widened_window_cut_back_begins_where_the_window_does(start: int, step: int, seconds: int) -> None:
    """The first point of a window lies after its start, on the grid of the step."""
    context = SimpleNamespace(
        window=(start, start), start=start, until=start, now=start, zone=UTC, x_files_factor=None
    )
    begin = (start - seconds) // step * step + step
    first = start // step * step + step
    widened = block(begin, step, (first - begin) // step + 3)
    back = cut(widened, preview_points(context, widened, seconds))
    assert (back.start, back.values.shape[1]) == (first, 3)


def test_a_series_that_begins_before_the_start_by_itself_keeps_doing_so() -> None:
    context = SimpleNamespace(
        window=(1000, 2000), start=1000, until=2000, now=2000, zone=UTC, x_files_factor=None
    )
    summed = block(0, 600, 4)  # summarize() of a window from 400 on: 0, 600, 1200 …
    assert preview_points(context, summed, 600) == 1


def test_data_that_begins_late_is_not_cut() -> None:
    context = SimpleNamespace(
        window=(1000, 2000), start=1000, until=2000, now=2000, zone=UTC, x_files_factor=None
    )
    assert preview_points(context, block(1060, 60, 4), 600) == 0


@pytest.mark.parametrize(
    ("moment", "unit", "begin"),
    [
        ("2020-10-25T02:30:00+01:00", "hours", "2020-10-25T02:00:00+01:00"),  # the second time that it is two
        ("2020-10-25T02:30:00+02:00", "hours", "2020-10-25T02:00:00+02:00"),
        ("2020-10-25T12:30:00+01:00", "days", "2020-10-25T00:00:00+02:00"),
        ("2020-10-25T12:30:00+01:00", "weeks", "2020-10-19T00:00:00+02:00"),
        ("2020-11-25T12:30:00+01:00", "years", "2020-01-01T00:00:00+01:00"),
    ],
)
def test_units_begin_on_the_zones_clock(moment: str, unit: str, begin: str) -> None:
    at, then = (int(datetime.fromisoformat(text).timestamp()) for text in (moment, begin))
    assert floor_to(at, ZoneInfo("Europe/Berlin"), unit) == then


@pytest.mark.parametrize(("weekday", "day"), [(1, 7), (3, 9), (4, 3), (7, 6)])
def test_a_week_begins_on_the_last_day_of_that_name(weekday: int, day: int) -> None:
    wednesday = int(datetime(2020, 9, 9, 12, tzinfo=UTC).timestamp())
    begin = int(datetime(2020, 9, day, tzinfo=UTC).timestamp())
    assert floor_to(wednesday, UTC, "weeks", weekday=weekday) == begin
