from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from render.graph.timeaxis import TimeAxis, time_axis

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Asuncion",
)
zones = st.sampled_from(ZONES).map(ZoneInfo)
starts = st.integers(0, 4_000_000_000)
spans = st.one_of(st.integers(1, 400), st.integers(400, 10 * 86_400), st.integers(10 * 86_400, 3_000_000_000))


def axis(
    start: int, until: int, zone: str = "UTC", room: float = 700, x_format: str | None = None
) -> TimeAxis:
    return time_axis(start, until, ZoneInfo(zone), room=room, measure=measure, x_format=x_format)


def measure(text: str) -> float:
    return 6.0 * len(text)


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def labels(of: TimeAxis) -> list[str]:
    return [tick.label for tick in of.ticks]


@given(starts, spans, zones, st.floats(30, 4000))
@example(at("2024-03-31", "Europe/Berlin"), 86_400, ZoneInfo("Europe/Berlin"), 700.0)
@example(at("2024-10-27", "Europe/Berlin"), 86_400, ZoneInfo("Europe/Berlin"), 700.0)
@example(at("2024-04-06T12:00", "Australia/Lord_Howe"), 86_400, ZoneInfo("Australia/Lord_Howe"), 700.0)
def test_times_rise_lie_in_the_window_are_round_and_apart(
    start: int, span: int, zone: ZoneInfo, room: float
) -> None:
    made = time_axis(start, start + span, zone, room=room, measure=measure)
    times = [tick.at for tick in made.ticks]
    for listed in (times, list(made.minor)):
        assert listed == sorted(set(listed))
        assert all(start <= one <= start + span for one in listed)
    assert not set(times) & set(made.minor)
    for before, after in pairwise(made.ticks):
        distance = (after.at - before.at) / span * room
        assert distance > (measure(before.label) + measure(after.label)) / 2
    assert all(is_round(tick.at, tick.label, zone) for tick in made.ticks)


def is_round(time: int, label: str, zone: ZoneInfo) -> bool:
    """Whether what the label says is what the zone's clock shows then, to the second."""
    local = datetime.fromtimestamp(time, zone)
    clock = label.split()[-1]
    if ":" in clock:
        shown = local.strftime("%H:%M:%S" if clock.count(":") == 2 else "%H:%M")
        return clock == shown and (clock.count(":") == 2 or local.second == 0)
    # a day's first instant: where clocks leave midnight out, it is later
    before = datetime.fromtimestamp(time - 1, zone)
    return before.date() < local.date()


def test_a_window_with_room_has_labels() -> None:
    for span in (1, 60, 3600, 86_400, 7 * 86_400, 365 * 86_400, 90 * 365 * 86_400):
        assert 2 <= len(axis(at("1975-05-03T10:20:30"), at("1975-05-03T10:20:30") + span).ticks) <= 40


def test_a_day_begins_with_its_date() -> None:
    made = axis(at("2023-11-14T18:00"), at("2023-11-15T06:00"))
    assert labels(made) == [f"{h}:00" for h in range(18, 24)] + ["15 Nov"] + [f"0{h}:00" for h in range(1, 7)]


def test_without_midnight_the_first_label_that_has_room_tells_the_day() -> None:
    assert labels(axis(at("2023-11-14T10:00"), at("2023-11-14T12:00")))[:2] == ["14 Nov 10:00", "10:15"]
    narrow = time_axis(
        at("2023-11-14T10:00"), at("2023-11-14T12:00"), ZoneInfo("UTC"),
        room=700, measure=measure, beyond=(0, 0),
    )  # fmt: skip
    assert labels(narrow)[:2] == ["", "14 Nov 10:15"]
    assert labels(narrow)[-1] == ""


def test_an_hour_that_is_left_out_has_no_label() -> None:
    made = axis(
        at("2024-03-31T00:00", "Europe/Berlin"), at("2024-03-31T06:00", "Europe/Berlin"), "Europe/Berlin"
    )
    hours = [label for label in labels(made) if label.endswith(":00")]
    assert hours == ["01:00", "03:00", "04:00", "05:00", "06:00"]


def test_an_hour_that_comes_twice_has_two_labels() -> None:
    made = axis(
        at("2024-10-27T00:00", "Europe/Berlin"), at("2024-10-27T05:00", "Europe/Berlin"), "Europe/Berlin"
    )
    hours = [label for label in labels(made) if label.endswith(":00")]
    assert hours == ["01:00", "02:00", "02:00", "03:00", "04:00", "05:00"]


def test_days_keep_their_midnights_over_a_change_of_clocks() -> None:
    made = axis(at("2024-10-24", "Europe/Berlin"), at("2024-10-31", "Europe/Berlin"), "Europe/Berlin", 450)
    assert labels(made) == [f"{day} Oct" for day in range(24, 32)]
    steps = {b.at - a.at for a, b in pairwise(made.ticks)}
    assert steps == {86_400, 90_000}


def test_a_day_without_midnight_begins_when_it_does() -> None:
    zone = "America/Asuncion"  # 2023-10-01 began at 01:00 there
    made = axis(at("2023-09-29", zone), at("2023-10-04", zone), zone, 300)
    ((first,),) = [[tick.at] for tick in made.ticks if tick.label == "1 Oct"]
    assert datetime.fromtimestamp(first, ZoneInfo(zone)).hour == 1


@pytest.mark.parametrize(
    ("start", "until", "expected"),
    [
        ("2020-01-01", "2021-01-01", ["2020", "Feb", "Mar"]),
        ("1971-01-01", "2020-01-01", ["1975", "1980", "1985"]),
        ("2023-11-14T10:00:00", "2023-11-14T10:00:40", ["14 Nov 10:00:00", "10:00:05", "10:00:10"]),
    ],
)
def test_long_and_short_windows_have_labels_of_their_own(start: str, until: str, expected: list[str]) -> None:
    assert labels(axis(at(start), at(until)))[:3] == expected


def test_a_format_says_what_all_labels_are() -> None:
    assert labels(axis(at("2023-11-14T22:00"), at("2023-11-15T02:00"), x_format="%d|%H"))[:1] == ["14|22"]


def test_the_ends_of_the_calendar_have_no_labels_instead_of_an_error() -> None:
    assert axis(253_402_300_000, 253_402_400_000) == TimeAxis()
    assert axis(-62_135_596_800, -62_135_590_000, "America/New_York") == TimeAxis()


def test_lines_between_labels_hold_the_labels_times_in_their_step() -> None:
    made = axis(at("2023-11-14T12:00"), at("2023-11-15T12:00"))
    lines = sorted([*made.minor, *(tick.at for tick in made.ticks)])
    assert len({b - a for a, b in pairwise(lines)}) == 1
    assert made.minor


def test_there_are_no_lines_between_labels_that_would_miss_a_label() -> None:
    weeks = axis(at("2023-09-01"), at("2023-10-31"), room=480)
    assert labels(weeks)[:2] == ["4 Sep", "11 Sep"]
    assert weeks.minor == ()  # days are too close, and every second day is not always a Monday
