"""Times and intervals against literal answers, those of graphite-web 1.1.10 unless a test says otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import InvalidTime
from render.timespec import EPOCH_MAX, EPOCH_MIN, TEXT_CHARS_MAX, parse_interval, parse_time, zone

NOW = 1_700_000_000.75  # Tuesday 2023-11-14 22:13:20.75 UTC
NEW_YORK = ZoneInfo("America/New_York")
UNIT_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, "mon": 2_592_000, "y": 31_536_000}

Answer = TypeVar("Answer")

SCRAPS = st.sampled_from(
    [*UNIT_S, *"0123456789", *"+-:/_, .@", "now", "noon", "midnight", "am", "pm", "today", "yesterday", "jan",
     "feb", "sat", "2024", "20240101", "9999", "9" * 20, "1/2/", "m", "\u0660", "\u0130", "\x00"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(SCRAPS, max_size=12).map("".join))
OFFSETS = st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(sorted(UNIT_S))), min_size=1, max_size=5)
ZONES = st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"])

TIMES = {
    "": 1700000000, "now": 1700000000, "NOW": 1700000000, " n o w ": 1700000000, "now-": 1700000000,
    "-": 1700000000, "-1h": 1699996400, "now-1h": 1699996400, "now+1h": 1700003600, "-1d2h": 1699906400,
    "-1d, 2h": 1699906400, "- 1 d": 1699913600, "-1hour30min": 1699994600, "+1weeks": 1700604800,
    "-2mon": 1694816000, "-1y": 1668464000, "-100y": -1453600000,
    "-1year2months3weeks4days5hours6minutes7seconds": 1661101633, "1700000000": 1700000000, "123": 123,
    "0": 0, "19000101": 19000101, "19010101": -2177452800, "20241301": 20241301, "20240132": 20240132,
    "00000101": 101, "20240101": 1704067200, "2024_01_01": 1704067200, "today": 1699920000,
    "today-1d": 1699833600, "today+9h": 1699952400, "yesterday": 1699833600, "tomorrow": 1700006400,
    "noon-1h": 1699959600, "noon": 1699963200, "teatime": 1699977600, "midnight": 1699920000,
    "noon tomorrow": 1700049600, "teatime yesterday": 1699891200, "midnight_20240101": 1704067200,
    "20240101-1d": 1703980800, "10:30 20231112 - 3h": 1699774200, "04:37_20150822": 1440218220,
    "11:59pm_20240101": 1704153540, "6pm today": 1699984800, "6pmtoday": 1699984800, "3:00 am": 1699930800,
    "9:5": 1699952700, "0am": 1699920000, "0pm": 1699963200, "monday-7d": 1699228800, "mon": 1699833600,
    "tuesday": 1699920000, "wednesday": 1699401600, "SUN": 1699747200, "9am sat": 1699693200,
    "jan1": 1672531200, "january 1": 1672531200, "dec 31": 1703980800, "noon feb28": 1677585600,
    "1/2/2024": 1704153600, "1/2/24": 1704153600, "1/2/69": 3124310400, "1/2/70": 86400,
    "1/2/1950": 2524694400, "1/2/100": 946771200, "noon 11/14/23": 1699963200,
}  # fmt: skip

# text → a part of what the message says
NO_TIMES = {
    "1h": "write -1h", "1h30min": "write -1h30min", "-1m": "1min for minutes", "-1M": "1min for minutes",
    "-1": "needs its unit", "-1.5h": "whole numbers", "-1h-30min": "one sign", "-1h+30min": "one sign",
    "2024-01-01": "write 20240101", "2024-1-5": "write 20240105",
    "2024-01-01T10:30": "write 10:30_20240101", "2024-01-01 10:30:00": "write 10:30_20240101",
    "2024-01-01T00:00:00Z": "write 00:00_20240101", "2024-01-01T00:00:00+02:00": "write 00:00_20240101",
    "noon+yesterday": "%2B", "1700000000.5": "without a fraction", "@1700000000": "without the @",
    "@1700000000.5": "without the @", "1700000000000": "not milliseconds", "24:00": "00:00 to 23:59",
    "9:60": "00:00 to 23:59", "last week": "write epoch seconds, now", "now/d": "write epoch seconds, now",
    "1700000000-1h": "epoch seconds", "jan": "epoch seconds", "9:": "epoch seconds", ":30": "epoch seconds",
    "1/2": "epoch seconds", "today noon": "epoch seconds", "--1d": "whole numbers", "-h": "whole numbers",
    "-1x": "whole numbers", "feb30": "no such date", "feb29": "no such date", "20240231": "no such date",
    "20240001": "no such date", "13/1/2024": "no such date", "0/1/2024": "no such date",
    "noon 00000101": "no such date", "-5000y": "years 1 to 9999", "+9000y": "years 1 to 9999",
    "-99999999999999999999999999y": "years 1 to 9999", "noon 00010101": "years 1 to 9999",
    "noon 99991231": "years 1 to 9999",
}  # fmt: skip


def or_invalid(parse: Callable[[], Answer]) -> Answer | InvalidTime:
    try:
        return parse()
    except InvalidTime as error:
        return error


@given(text=TEXTS, name=ZONES)
def test_any_text_is_a_time_within_the_years_or_invalid(text: str, name: str) -> None:
    seconds = or_invalid(lambda: parse_time(text, NOW, ZoneInfo(name)))
    if isinstance(seconds, InvalidTime):
        assert seconds.reason
    else:
        assert type(seconds) is int
        assert EPOCH_MIN <= seconds <= EPOCH_MAX
        assert 1 <= datetime.fromtimestamp(seconds, ZoneInfo("Pacific/Kiritimati")).year <= 9999


@given(text=TEXTS)
def test_any_text_is_an_interval_or_invalid(text: str) -> None:
    seconds = or_invalid(lambda: parse_interval(text))
    assert seconds.reason if isinstance(seconds, InvalidTime) else abs(seconds) <= EPOCH_MAX


@given(terms=OFFSETS, sign=st.sampled_from("+-"), name=ZONES)
def test_an_offset_is_the_sum_of_its_terms_in_absolute_seconds(
    terms: list[tuple[int, str]], sign: str, name: str
) -> None:
    text = sign + "".join(f"{number}{unit}" for number, unit in terms)
    seconds = sum(number * UNIT_S[unit] for number, unit in terms) * (-1 if sign == "-" else 1)
    assert parse_interval(text) == seconds
    if EPOCH_MIN <= NOW + seconds <= EPOCH_MAX:
        assert parse_time(text, NOW, ZoneInfo(name)) == math.floor(NOW) + seconds
    if EPOCH_MIN <= 1_720_000_000 + seconds <= EPOCH_MAX:
        noon = int(datetime(2024, 7, 3, 12, tzinfo=ZoneInfo(name)).timestamp())
        assert parse_time("12:00_20240703" + text, NOW, ZoneInfo(name)) == noon + seconds


@given(wall=st.datetimes(datetime(1950, 1, 1), datetime(2037, 12, 31)), name=ZONES)
def test_a_clock_and_a_date_are_wall_time_in_the_zone(wall: datetime, name: str) -> None:
    wall = wall.replace(second=0, microsecond=0)
    seconds = parse_time(f"{wall:%H:%M_%Y%m%d}", NOW, ZoneInfo(name))
    shown = datetime.fromtimestamp(seconds, ZoneInfo(name)).replace(tzinfo=None)
    # a wall time in the gap of a change to summer time comes out after it
    assert shown == wall or timedelta(0) < shown - wall <= timedelta(hours=1)


@given(hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_am_and_pm_are_those_of_the_twelve_hour_clock(hour: int, minute: int) -> None:
    clock = datetime(2000, 1, 1, hour, minute)
    expected = parse_time(f"{clock:%H:%M}", NOW, UTC)
    assert parse_time(f"{clock:%I:%M%p}", NOW, UTC) == expected
    assert parse_time(f"{clock:%I%p}", NOW, UTC) == expected - minute * 60


@pytest.mark.parametrize(("text", "seconds"), TIMES.items())
def test_a_time_is_what_graphite_web_takes_it_for(text: str, seconds: int) -> None:
    assert parse_time(text, NOW, UTC) == seconds
    assert parse_time(text.upper(), NOW, UTC) == seconds


@pytest.mark.parametrize(("text", "says"), NO_TIMES.items())
def test_what_is_no_time_says_what_to_write_instead(text: str, says: str) -> None:
    with pytest.raises(InvalidTime) as caught:
        parse_time(text, NOW, UTC)
    assert says in caught.value.reason
    assert caught.value.text == text


@pytest.mark.parametrize("text", ["13am", "13pm", "13:30pm", "sat 9am", "jan 5 2024", "jan 2024", "9am noon"])
def test_what_graphite_web_reads_as_something_else_is_invalid(text: str) -> None:
    with pytest.raises(InvalidTime):
        parse_time(text, NOW, UTC)


def test_the_advice_for_a_wrong_time_can_be_followed() -> None:
    assert parse_time("10:30_20240101", NOW, UTC) == 1704105000
    assert parse_time("9am_sat", NOW, UTC) == parse_time("9am sat", NOW, UTC)
    assert parse_time("noon_yesterday", NOW, UTC) == parse_time("noon yesterday", NOW, UTC)


@pytest.mark.parametrize(
    ("text", "name", "seconds"),
    [
        ("midnight", "America/New_York", 1699938000),
        ("yesterday", "America/New_York", 1699851600),
        ("20231105", "America/New_York", 1699156800),
        ("20231105+1d", "America/New_York", 1699156800 + 86400),  # 23:00 of the same day: it has 25 hours
        ("02:30_20240310", "America/New_York", 1710055800),  # never: the clocks go from 2 to 3
        ("01:30_20241103", "America/New_York", 1730615400),  # twice: the later one
        ("00:00_20181104", "America/Sao_Paulo", 1541300400),  # a day that begins at 01:00
        ("noon", "Australia/Lord_Howe", 1700010000),  # half an hour of summer time; a day ahead of UTC
    ],
)
def test_days_and_clocks_follow_the_zone(text: str, name: str, seconds: int) -> None:
    assert parse_time(text, NOW, zone(name)) == seconds


def test_today_is_the_zones_day() -> None:
    assert parse_time("today", NOW, NEW_YORK) == 1699938000
    assert parse_time("today", NOW, ZoneInfo("Asia/Tokyo")) == 1699974000  # there the 15th has begun


def test_seconds_are_rounded_down() -> None:
    assert parse_time("now", -0.5, UTC) == -1
    assert parse_time("-1s", 10.9, UTC) == 9


def test_a_text_too_long_is_invalid_and_not_repeated_whole() -> None:
    for parse in (parse_interval, lambda text: parse_time(text, NOW, UTC)):
        with pytest.raises(InvalidTime, match=str(TEXT_CHARS_MAX)) as caught:
            parse("1" * 1_000_000)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 3600), ("-1d", -86400), ("+1h", 3600), ("5min", 300), ("1h30min", 5400), ("1week2d", 777600),
        ("1hours30minutes", 5400), ("2mon", 5184000), ("1y", 31536000), ("0s", 0), ("90s", 90),
    ],
)  # fmt: skip
def test_an_interval_is_signed_seconds(text: str, seconds: int) -> None:
    assert parse_interval(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1m", "1min for minutes"), ("90", "90s for seconds"), ("-5", "-5s for seconds"), ("1 h", "1h30min"),
        ("1.5h", "whole numbers"), ("1H", "no capitals"), ("1Min", "no capitals"), ("", "1h30min"),
        ("-", "1h30min"), ("h", "1h30min"), ("1h2", "1h30min"), ("-1h-1d", "1h30min"), ("1x", "1h30min"),
        ("1h\n", "1h30min"), ("99999999999999y", "at most"),
    ],
)  # fmt: skip
def test_what_is_no_interval_says_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(InvalidTime) as caught:
        parse_interval(text)
    assert says in caught.value.reason


@given(name=st.text() | st.sampled_from(["America", "../UTC", "/etc/passwd", "zone.tab", "U\0C", "a" * 999]))
def test_any_text_is_a_zone_or_invalid(name: str) -> None:
    found = or_invalid(lambda: zone(name))
    if isinstance(found, InvalidTime):
        assert "Europe/Berlin" in found.reason
    else:
        assert found.utcoffset(datetime(2024, 1, 1)) is not None


def test_a_zone_has_its_iana_name() -> None:
    assert zone("Europe/Berlin").utcoffset(datetime(2024, 7, 1)) == timedelta(hours=2)
    with pytest.raises(InvalidTime):
        zone("Europe/Atlantis")
