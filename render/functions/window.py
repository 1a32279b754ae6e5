"""Time in series functions: which intervals can be, a window cut back after widening."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from render.errors import ArgumentError, TooMuch
from render.functions.context import Context
from render.series import Block
from render.timespec import parse_interval

# of one series that a function makes up; 1 s a point is eleven days
POINTS_MAX = 1_000_000
VALUES_MAX = 100_000_000  # of series of one step, 8 bytes each; a request reads as many by default
_UNITS = ("seconds", "minutes", "hours", "days", "months", "years")


def positive_interval(function: str, argument: str, text: str) -> int:
    """The seconds of an interval; raises ArgumentError if they are not more than 0."""
    seconds = parse_interval(text)
    if seconds <= 0:
        raise ArgumentError(function, argument, f"takes an interval of more than 0 seconds, not {text!r}")
    return seconds


def check_points(function: str, argument: str, points: int, *, series: int = 1) -> None:
    """Raises ArgumentError or TooMuch if a function would make more points than POINTS_MAX or VALUES_MAX."""
    if points > POINTS_MAX:
        raise ArgumentError(function, argument, f"would make {points} points a series; at most {POINTS_MAX}")
    if points * series > VALUES_MAX:
        made = f"{argument} would make {points} points of each of {series} series"
        raise TooMuch(f"{function}(): {made}; at most {VALUES_MAX} in all")


def preview_points(context: Context, block: Block, seconds: int) -> int:
    """How many of a block's first points are there only because its window was widened by `seconds`.

    Points up to the request's start, but not more than the widening is long: a list that begins before the
    start by itself, such as summarize()'s, keeps doing so.
    """
    points: int = block.values.shape[1]
    before = max((context.window[0] - block.start) // block.step + 1, 0)
    drop = min(seconds // block.step, before)
    if seconds % block.step and drop < before:
        drop += 1
    return min(drop, points)


def cut(block: Block, points: int) -> Block:
    """The block without its first points."""
    return block.with_(block.values[:, points:], start=block.start + points * block.step)


def floor_to(moment: int, zone: tzinfo, unit: str, *, weekday: int = 1) -> int:
    """The begin of the unit that `moment` lies in, on the zone's clock; both epoch seconds.

    Units are seconds, minutes, hours, days, weeks, months and years; a week begins on `weekday` (1 = Monday).
    """
    local = datetime.fromtimestamp(moment, zone)
    if unit == "weeks":
        local -= timedelta(days=(local.isoweekday() - weekday) % 7)
        unit = "days"
    for field, finest in (("second", "minutes"), ("minute", "hours"), ("hour", "days")):
        if _UNITS.index(unit) >= _UNITS.index(finest):
            local = local.replace(**{field: 0})  # type: ignore[arg-type]  # replace() takes each as a keyword
    if unit in ("months", "years"):
        local = local.replace(day=1)
    if unit == "years":
        local = local.replace(month=1)
    return int(local.replace(microsecond=0).timestamp())
