"""Graphite's words for time: "-1d", "noon yesterday", "04:37_20150822" → epoch seconds; "1h30min" → seconds.

    time      := all digits: YYYYMMDD if that can be a date after 1900, else epoch seconds
               | [now | [clock] [day]] [('+' | '-') (whole number, unit)*]     one sign for the whole offset
    clock     := H:MM[am|pm] | Ham | Hpm | noon | midnight | teatime (16:00)   00:00 if it is left out
    day       := today | yesterday | tomorrow | M/D/Y | YYYYMMDD | month and its day, such as jan5 (this year)
               | a weekday, such as mon (the last one, today included)         today if it is left out
    unit      := s… | min… | h… | d… | w… | mon… (30 days) | y… (365 days)     by their beginnings

Case, spaces, `_` and `,` do not matter. A clock and a day are wall time in the zone; offsets are seconds,
across changes of summer time too. Of a wall time that comes twice or never, the later reading counts, as in
graphite-web (standard time).

Departures from graphite-web 1.1.10: 12am is 00:00 and 12pm is 12:00 (inverted there), and what it reads as
something else than was written (13pm, `sat 9am`, `jan 5 2024`, `9am noon`) is InvalidTime.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from render.errors import InvalidTime

TEXT_CHARS_MAX = 100  # "11:59pm september 30 - 1years 2months 3weeks …" is half of it
# The years 1 to 9999, which datetime can hold, without a day at each end: it must hold them in every zone.
EPOCH_MIN, EPOCH_MAX = -62_135_510_400, 253_402_214_400

_UNIT_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, "mon": 30 * 86_400, "y": 365 * 86_400}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # datetime.weekday() counts so
_DAYS = {"": 0, "today": 0, "yesterday": -1, "tomorrow": 1}
_HOURS = {"noon": 12, "midnight": 0, "teatime": 16}

_TERM = re.compile(r"([0-9]+)(s|min|h|d|w|mon|y)[a-z]*")
_INTERVAL = re.compile(rf"([+-]?)((?:{_TERM.pattern})+)")
_IGNORED = re.compile(r"[\s_,]+")
_DIGITS = re.compile(r"[0-9]+")
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_SLASHED = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{1,4})")
_MONTH_DAY = re.compile(rf"({'|'.join(_MONTHS)})[a-z]*([0-9]{{1,2}})")
_WEEKDAY = re.compile(rf"({'|'.join(_WEEKDAYS)})[a-z]*")
_CLOCK = re.compile(
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}|[0-9]\Z)(?P<half>am|pm)?|(?P<whole>am|pm))"
    r"|(?P<word>noon|midnight|teatime)"
)


def parse_time(text: str, now: int | float, zone: tzinfo) -> int:
    """Epoch seconds, rounded down, of a time in Graphite's words; `now` likewise. Raises InvalidTime."""
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidTime(text[:32] + "…", f"a time has at most {TEXT_CHARS_MAX} characters")
    spec = _IGNORED.sub("", text.lower())
    try:
        seconds = _read(spec, now, zone)
    except InvalidTime as error:
        raise InvalidTime(text, _advice(spec) or error.reason) from None
    except (ValueError, OverflowError) as error:  # datetime's words for 30 February or the year 10000
        raise InvalidTime(text, f"there is no such date: {error}") from None
    if not EPOCH_MIN <= seconds <= EPOCH_MAX:
        milliseconds = ", and times are in seconds, not milliseconds" if _DIGITS.fullmatch(spec) else ""
        raise InvalidTime(text, f"times lie in the years 1 to 9999{milliseconds}")
    return seconds


def parse_interval(text: str) -> int:
    """Signed seconds of a function's interval: "1h", "-1d", "1h30min". Raises InvalidTime."""
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidTime(text[:32] + "…", f"an interval has at most {TEXT_CHARS_MAX} characters")
    found = _INTERVAL.fullmatch(text)
    if found is None:
        reason = "an interval is whole numbers with units s, min, h, d, w, mon, y, no capitals: 1h30min, -1d"
        raise InvalidTime(text, _unit_advice(text) or reason)
    seconds = _offset_s(found[1], found[2])
    if abs(seconds) > EPOCH_MAX:
        raise InvalidTime(text, f"an interval has at most {EPOCH_MAX} seconds")
    return seconds


def zone(name: str) -> tzinfo:
    """The zone with a name of the IANA data base, such as "Europe/Berlin" or "UTC". Raises InvalidTime."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, a path or NUL in it, a folder such as "America"
        raise InvalidTime(name[:64], "no such time zone; write one such as UTC or Europe/Berlin") from None


def _read(spec: str, now: int | float, zone: tzinfo) -> int:
    """Epoch seconds of a text in lower case without spaces, not yet checked for being in range."""
    if _DIGITS.fullmatch(spec) and not _can_be_date(spec):
        return int(spec)
    sign = "+" if "+" in spec else "-"
    reference, found, offset = spec.partition(sign)
    seconds = _offset_s(sign, offset) if found else 0
    if reference in ("", "now"):
        return math.floor(now + seconds)
    return _reference(reference, now, zone) + seconds


def _can_be_date(digits: str) -> bool:
    return len(digits) == 8 and int(digits[:4]) > 1900 and int(digits[4:6]) < 13 and int(digits[6:]) < 32


def _offset_s(sign: str, terms: str) -> int:
    """Signed seconds of "1d2h" and so on; a sign alone is 0, as in graphite-web."""
    seconds, at = 0, 0
    while at < len(terms):
        term = _TERM.match(terms, at)
        if term is None:
            raise InvalidTime(
                terms, "an offset is whole numbers with units s, min, h, d, w, mon, y: -1h30min"
            )
        seconds += int(term[1]) * _UNIT_S[term[2]]
        at = term.end()
    return -seconds if sign == "-" else seconds


def _reference(text: str, now: int | float, zone: tzinfo) -> int:
    """Epoch seconds of a clock, a day or both."""
    hour, minute, day = 0, 0, text
    if clock := _CLOCK.match(text):
        hour, minute = _clock(clock)
        day = text[clock.end() :]
    today = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return _epoch(_day(day, today).replace(hour=hour, minute=minute), zone)


def _clock(found: re.Match[str]) -> tuple[int, int]:
    if found["word"]:
        return _HOURS[found["word"]], 0
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    half = found["half"] or found["whole"]
    if hour > (12 if half else 23) or minute > 59:
        allowed = "00:00 to 23:59, or hours 1 to 12 before am and pm"
        raise InvalidTime(found[0], f"a time of day is {allowed}")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return hour, minute


def _day(text: str, today: datetime) -> datetime:
    """Midnight of a day; ValueError if the calendar does not have it."""
    if text in _DAYS:
        return today + timedelta(days=_DAYS[text])
    if date := _DATE.fullmatch(text):
        return datetime(int(date[1]), int(date[2]), int(date[3]))
    if date := _SLASHED.fullmatch(text):
        return datetime(_full_year(int(date[3])), int(date[1]), int(date[2]))
    if date := _MONTH_DAY.fullmatch(text):
        return datetime(today.year, _MONTHS.index(date[1]) + 1, int(date[2]))
    if weekday := _WEEKDAY.fullmatch(text):
        return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(weekday[1])) % 7)
    raise InvalidTime(text, _ALLOWED)


def _full_year(year: int) -> int:
    """The year of M/D/Y: 70 is 1970, 69 is 2069, and so is 1969, as in graphite-web."""
    year += 1900 if year < 1900 else 0
    return year + (100 if year < 1970 else 0)


def _epoch(wall: datetime, zone: tzinfo) -> int:
    """Epoch seconds of wall time in a zone; the later one if the clocks were changed then."""
    return max(math.floor(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))


# --- what to write instead ---

_ALLOWED = (
    "write epoch seconds, now, YYYYMMDD, HH:MM_YYYYMMDD, M/D/YYYY, a day such as today or monday, "
    "or an offset such as -1h, -30min or today-1d"
)
_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})t?([0-9]{2}:[0-9]{2})?.*", re.DOTALL)
_MISTAKES = (
    (re.compile(r"[^+-]*[+-][^+-]+[+-].*"), "an offset has one sign for all of it: write -1h30min"),
    (
        re.compile(r"[a-z]+\+[a-z]+"),
        "in a URL + is a space and %2B is +: write noon+yesterday or noon_yesterday",
    ),
    (re.compile(r"@.*"), "write epoch seconds without the @"),
    (re.compile(r"[0-9]+\.[0-9]+"), "write epoch seconds without a fraction"),
    (
        re.compile(rf"(?:{'|'.join(_WEEKDAYS)})[a-z]*[0-9].*"),
        "a time of day comes before the day: write 9am_sat",
    ),
    (
        re.compile(rf"(?:{'|'.join(_MONTHS)})[a-z]*[0-9]{{3,}}"),
        "a month and its day are of this year: write 20240105 for one of another year",
    ),
)
_MINUTE = re.compile(r"(?<![0-9])([0-9]+)m(?![a-z])")


def _advice(spec: str) -> str:
    """What to write instead of a frequent mistake; "" if it is none of them."""
    if iso := _ISO.fullmatch(spec):
        clock = f"{iso[4]}_" if iso[4] else ""
        return f"write {clock}{iso[1]}{iso[2]:0>2}{iso[3]:0>2}, which is in the request's time zone"
    if unit := _unit_advice(spec):
        return unit
    if _INTERVAL.fullmatch(spec):
        return f"an offset begins with its sign: write -{spec} for what was, +{spec} for what will be"
    return next((advice for mistake, advice in _MISTAKES if mistake.fullmatch(spec)), "")


def _unit_advice(text: str) -> str:
    lower = text.lower()
    if minute := _MINUTE.search(lower):
        return f"m is no unit: write {minute[1]}min for minutes or {minute[1]}mon for months"
    if re.search(r"[0-9]\.[0-9]+[a-z]", lower):
        return "an offset has whole numbers only: write 90min for 1.5h"
    if re.fullmatch(r"[+-]?[0-9]+", lower):
        return f"a number needs its unit, one of s, min, h, d, w, mon and y: write {text}s for seconds"
    return ""
