"""The x axis: round times of the request's zone, as many as there is room for, and what they are called.

Times below a day are multiples of their step on the clock of the zone, also before and after it is changed: an hour
that the clock shows twice has two labels, one that it leaves out has none. Days begin when the zone's date changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

_DAY = 86_400
_YEAR = 366 * _DAY
_GAP = 1.6  # of a letter m: what lies between two labels at least
_MINOR_GAP_PX = 14.0  # grid lines without label are no closer


class Tick(NamedTuple):
    at: int  # epoch seconds
    label: str


@dataclass(frozen=True)
class TimeAxis:
    """Ticks from start to until, rising; one whose label has no room has none. Grid lines in between."""

    ticks: tuple[Tick, ...] = ()
    minor: tuple[int, ...] = ()


class Every(NamedTuple):
    """A distance between labels."""

    number: int
    unit: str  # s, d, w, mon, y
    seconds: int  # about


def _every(unit: str, seconds: int, *counts: int) -> list[Every]:
    return [Every(count, unit, count * seconds) for count in counts]


_STEPS = (
    *_every("s", 1, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1200, 1800),
    *_every("s", 3600, 1, 2, 3, 4, 6, 8, 12),
    *_every("d", _DAY, 1, 2),
    *_every("w", 7 * _DAY, 1, 2),
    *_every("mon", 30 * _DAY, 1, 2, 3, 6),
    *_every("y", _YEAR, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
# the steps below a day count their seconds
_STEPS = tuple(Every(step.seconds, "s", step.seconds) if step.unit == "s" else step for step in _STEPS)


def time_axis(
    start: int,
    until: int,
    zone: tzinfo,
    *,
    room: float,
    measure: Callable[[str], float],
    x_format: str | None = None,
    beyond: tuple[float, float] = (math.inf, math.inf),
) -> TimeAxis:
    """Labels for the window from start to until (epoch seconds), which is `room` pixels wide.

    `measure` gives a text's pixels; `x_format` is strftime's and says what all labels are; `beyond` is how many
    pixels labels may reach to the left and to the right of the window.
    """
    scale = room / max(1, until - start)

    def fits(tick: Tick) -> bool:
        at, half = (tick.at - start) * scale, measure(tick.label) / 2
        return half <= at + beyond[0] and at + half <= room + beyond[1]

    gap = _GAP * measure("m")
    for i, step in enumerate(_STEPS):
        if step.seconds * scale < measure("0") + gap:
            continue
        ticks = _labelled(step, list(_times(step, start, until, zone)), zone, x_format, fits)
        if _apart(ticks, scale, gap, measure):
            return TimeAxis(tuple(ticks), tuple(_between(i, ticks, start, until, zone, scale)))
    return TimeAxis()


def _apart(ticks: Sequence[Tick], scale: float, gap: float, measure: Callable[[str], float]) -> bool:
    """Whether no two labels, each in the middle of its time, come too close."""
    ticks = [tick for tick in ticks if tick.label]
    halves = [measure(tick.label) / 2 for tick in ticks]
    return all(
        (b.at - a.at) * scale >= half_a + half_b + gap
        for a, b, half_a, half_b in zip(ticks, ticks[1:], halves, halves[1:], strict=False)
    )


def _between(
    chosen: int, ticks: Sequence[Tick], start: int, until: int, zone: tzinfo, scale: float
) -> Iterator[int]:
    """The times of the finest step that is not too fine and that has all labels' times."""
    labelled = {tick.at for tick in ticks}
    for step in _STEPS[:chosen]:
        if step.seconds * scale >= _MINOR_GAP_PX:
            times = list(_times(step, start, until, zone))
            if labelled <= set(times):
                yield from (at for at in times if at not in labelled)
                return


def _labelled(
    step: Every, times: Sequence[int], zone: tzinfo, x_format: str | None, fits: Callable[[Tick], bool]
) -> list[Tick]:
    """A tick a time; where no label tells the date, the first that has room for it does."""
    local = [_local(at, zone) for at in times]
    if x_format is not None:
        ticks = [Tick(at, one.strftime(x_format)[:64]) for at, one in zip(times, local, strict=True)]
        return [tick if fits(tick) else Tick(tick.at, "") for tick in ticks]
    labels = [_label(step, one) for one in local]
    ticks = [Tick(at, label) for at, (label, _) in zip(times, labels, strict=True)]
    if not any(tells and fits(tick) for tick, (_, tells) in zip(ticks, labels, strict=True)):
        dated = [Tick(tick.at, f"{_day(one)} {tick.label}") for tick, one in zip(ticks, local, strict=True)]
        first = next((i for i, tick in enumerate(dated) if fits(tick)), len(dated))
        ticks[first : first + 1] = dated[first : first + 1]
    return [tick if fits(tick) else Tick(tick.at, "") for tick in ticks]


def _label(step: Every, local: datetime) -> tuple[str, bool]:
    """A time's label, and whether it tells the date: a day's begin has its date for a label."""
    if step.unit == "y":
        return str(local.year), True
    if step.unit == "mon":
        return (str(local.year) if local.month == 1 else f"{local:%b}"), True
    if step.unit in "dw" or (local.hour, local.minute, local.second) == (0, 0, 0):
        return _day(local), True
    return f"{local:%H:%M:%S}" if step.seconds < 60 else f"{local:%H:%M}", False


def _day(local: datetime) -> str:
    return f"{local.day} {local:%b}"


# --- times ---


def _times(step: Every, start: int, until: int, zone: tzinfo) -> Iterator[int]:
    """The step's times from start to until, rising."""
    try:
        if step.unit == "s":
            yield from _clock_times(step.number, start, until, zone)
        else:
            yield from (at for at in _dates(step, start, until, zone) if start <= at <= until)
    except (OverflowError, ValueError):  # beyond the calendar's years 1 to 9999
        return


def _clock_times(step: int, start: int, until: int, zone: tzinfo) -> Iterator[int]:
    """Multiples of a step that a day is a multiple of, as the zone's clock has them."""
    for begin, end, offset in _pieces(start, until, zone):
        first = begin + -(begin + offset) % step
        yield from range(first, end + 1, step)


def _pieces(start: int, until: int, zone: tzinfo) -> Iterator[tuple[int, int, int]]:
    """The window cut where the zone's offset from UTC changes: begin, end (the last second), offset."""
    begin, offset = start, _offset(start, zone)
    for at in [*range(start + _DAY, until, _DAY), until]:
        if (after := _offset(at, zone)) != offset:
            low, high = max(begin, at - _DAY), at  # the offset of low is the old one, of high the new one
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
            yield begin, high - 1, offset
            begin, offset = high, after
    yield begin, until, offset


def _dates(step: Every, start: int, until: int, zone: tzinfo) -> Iterator[int]:
    first, last = _local(start, zone).date(), _local(until, zone).date()
    return (_midnight(day, zone) for day in _DATES[step.unit](step.number, first, last))


def _days(count: int, first: date, last: date) -> Iterator[date]:
    """Every so many days; they are counted on through months."""
    begin = first.toordinal() + -first.toordinal() % count
    return (date.fromordinal(number) for number in range(begin, last.toordinal() + 1, count))


def _weeks(count: int, first: date, last: date) -> Iterator[date]:
    """Mondays."""
    week = -(-(first.toordinal() - 1) // 7)
    begin = (week + -week % count) * 7 + 1
    return (date.fromordinal(number) for number in range(begin, last.toordinal() + 1, 7 * count))


def _months(count: int, first: date, last: date) -> Iterator[date]:
    begin = first.year * 12 + first.month - 1
    numbers = range(begin + -begin % count, last.year * 12 + last.month, count)
    return (date(number // 12, number % 12 + 1, 1) for number in numbers)


def _years(count: int, first: date, last: date) -> Iterator[date]:
    begin = max(count, first.year + -first.year % count)
    return (date(year, 1, 1) for year in range(begin, last.year + 1, count))


_DATES: dict[str, Callable[[int, date, date], Iterator[date]]] = {
    "d": _days,
    "w": _weeks,
    "mon": _months,
    "y": _years,
}


def _midnight(day: date, zone: tzinfo) -> int:
    """Epoch seconds of a day's first instant, also where clocks leave midnight out."""
    wall = datetime.combine(day, time())
    return max(int(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))


def _local(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at, zone)


def _offset(at: int, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta()
    return int(offset.total_seconds())
