"""Functions that look at another time: timeShift and its kin, of group Transform."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from functools import partial
from typing import NamedTuple

import numpy as np

from render.errors import ArgumentError
from render.functions.context import Context, Expression
from render.functions.nodes import path_of
from render.functions.registry import SERIES, Param, function
from render.series import Block, SeriesList
from render.timespec import parse_interval, parse_time

_INTERVALS = ("1h", "6h", "12h", "1d", "2d", "7d", "14d", "30d")
_HOUR = 3600
_VERSION = re.compile(r"([0-9]{1,18})_([0-9]{1,18})")
SHIFTS_MAX = 400  # a year of days; each is a query of its own


@function(
    "timeShift",
    group="Transform",
    params=[
        SERIES,
        Param("timeShift", "interval", required=True, suggestions=_INTERVALS),
        Param("resetEnd", "boolean", default=True),
        Param("alignDst", "boolean", default=False),
    ],
    lazy=True,
)
def time_shift(
    context: Context, expression: Expression, shift: str, reset_end: bool = True, align_dst: bool = False
) -> SeriesList:
    """The series of another time, drawn over the request's: `1d` or `-1d` is the day before, `+1d` after.

    With `alignDst`, a shift between summer and winter time compares equal times of day. `resetEnd` changes
    nothing: a series ends with its last point.

    Example: timeShift(servers.web1.cpu, "1d")
    """
    shift = backwards(shift)
    seconds = parse_interval(shift)
    if align_dst:
        seconds += _across_dst(context, seconds)

    def shifted(block: Block) -> Block:
        names = [f'timeShift({name}, "{shift}")' for name in block.names]
        tags = block.tags.plus(timeShift=shift)
        return moved(context, block, seconds).with_(names=names, tags=tags)

    return expression.shifted(seconds).map(shifted)


@function(
    "timeStack",
    group="Transform",
    params=[
        SERIES,
        Param("timeShiftUnit", "interval", default="1d", suggestions=_INTERVALS),
        Param("timeShiftStart", "integer", default=0),
        Param("timeShiftEnd", "integer", default=7),
    ],
    lazy=True,
)
def time_stack(
    context: Context, expression: Expression, unit: str = "1d", first: int = 0, end: int = 7
) -> SeriesList:
    """The series of several times, drawn over the request's: the unit times first, first + 1 … end - 1.

    Example: timeStack(servers.web1.cpu, "1d", 0, 3)
    """
    if end - first > SHIFTS_MAX:
        raise ArgumentError(
            "timeStack", "timeShiftEnd", f"takes at most {SHIFTS_MAX} shifts, not {end - first}"
        )
    unit = backwards(unit)
    stack = []
    for times in range(first, end):
        seconds = parse_interval(unit) * times

        def shifted(block: Block, times: int = times, seconds: int = seconds) -> Block:
            names = [f"timeShift({name}, {unit}, {times})" for name in block.names]
            tags = block.tags.plus(timeShiftUnit=unit, timeShift=str(times))
            return moved(context, block, seconds).renamed(names, tags)

        found = expression.shifted(seconds)
        stack.append(found.map(shifted))
    return SeriesList.concat(stack)


@function(
    "timeSlice",
    group="Transform",
    params=[
        SERIES,
        Param("startSliceAt", "date", required=True),
        Param("endSliceAt", "date", default="now"),
    ],
    each=True,
)
def time_slice(
    context: Context, series: SeriesList, start_slice_at: str, end_slice_at: str = "now"
) -> SeriesList:
    """Only the datapoints from one time to another, both included; the rest of the window is empty.

    Each datapoint counts with its own time, and `now` is the request's. (graphite-web counts from the
    request's start, up to a step too early, and takes the server's clock.)

    Example: timeSlice(servers.web1.cpu, "-30min", "-10min")
    """
    begin, end = (parse_time(at, context.now, context.zone) for at in (start_slice_at, end_slice_at))

    def sliced(block: Block) -> Block:
        at = block.start + block.step * np.arange(block.values.shape[1])
        values = np.where((at >= begin) & (at <= end), block.values, np.nan)
        names = [f"timeSlice({name}, {begin}, {end})" for name in block.names]
        return block.with_(
            values, names=names, tags=block.tags.plus(timeSliceStart=str(begin), timeSliceEnd=str(end))
        )

    return series.map(sliced)


@function(
    "timeShiftByMetric",
    group="Transform",
    params=[
        SERIES,
        Param("markSource", "seriesList", required=True),
        Param("versionRankIndex", "node", required=True),
    ],
)
def time_shift_by_metric(context: Context, series: SeriesList, marks: SeriesList, rank: int) -> SeriesList:
    """Series of several versions of a program, moved so that their releases come together: each version's later by
    as much as the newest one's release came after its own.

    A mark is a series whose last node has a version such as `65_4`, and whose last datapoint is its release;
    of 65_0 and 65_4 the latter counts. Node `versionRankIndex` of a series is its version, `65_4` or only `65`.
    Series without a version that is marked go. (In carbonapi 6 stands for 65_4, too.)

    Example: timeShiftByMetric(servers.web*.cpu, aliasSub(servers.web*.requests, ".requests", "_0"), 1)
    """
    if not series:
        return series
    released = _releases(marks)
    if len(released) < 2:
        takes = f"takes marks such as mark.65_4 of two major versions or more, not of {len(released)}"
        raise ArgumentError("timeShiftByMetric", "markSource", takes)
    newest = next(iter(released.values())).at
    shift_of = {node: newest - mark.at for mark in released.values() for node in (mark.name, mark.major)}
    places: dict[int, list[int]] = {}
    for i, name in enumerate(series.names):
        nodes = path_of(name).split(".")
        shift = shift_of.get(nodes[rank]) if -len(nodes) <= rank < len(nodes) else None
        if shift is not None:
            places.setdefault(shift, []).append(i)

    def shifted(block: Block, seconds: int) -> Block:
        end = None if block.fixed_end is None else block.fixed_end + seconds
        names = [f"timeShiftByMetric({name})" for name in block.names]
        return block.with_(start=block.start + seconds, fixed_end=end).renamed(names)

    parts = [series.pick(at).map(partial(shifted, seconds=seconds)) for seconds, at in places.items()]
    order = np.argsort([i for at in places.values() for i in at], kind="stable")
    return SeriesList.concat(parts).pick(order)


class _Release(NamedTuple):
    name: str  # of the mark, such as v65_4
    major: str  # its begin, v65
    at: int  # epoch seconds


def _releases(marks: SeriesList) -> dict[int, _Release]:
    """The last minor version of each major one that has a mark with a datapoint, the newest first."""
    found: dict[tuple[int, int], _Release] = {}
    for mark in marks:
        name = path_of(mark.name).rpartition(".")[2]
        version = _VERSION.search(name)
        known = np.flatnonzero(~np.isnan(mark.values))
        if version is not None and len(known):
            at = mark.start + int(known[-1]) * mark.step
            found.setdefault((int(version[1]), int(version[2])), _Release(name, name[: version.end(1)], at))
    last: dict[int, _Release] = {}
    for major, minor in sorted(found, reverse=True):
        last.setdefault(major, found[major, minor])
    return last


def backwards(shift: str) -> str:
    """A shift without a sign looks back."""
    return f"-{shift}" if shift[:1].isdigit() else shift


def moved(context: Context, block: Block, seconds: int) -> Block:
    """A block that was fetched `seconds` off, drawn over the request's own window.

    Whole steps stay as they are; otherwise its points move, less than a step, so that they fall on the grid
    that the series has at the request's own time.
    """
    if block.fixed_end is not None:  # made up for its window, not fetched: on no grid
        return block.with_(start=block.start - seconds, fixed_end=block.fixed_end - seconds)
    start = context.window[0]
    first = start + 1 + (block.start - start - 1) % block.step
    behind = block.start - (start + seconds) - 1
    return block.with_(start=first + behind // block.step * block.step)


def _across_dst(context: Context, seconds: int) -> int:
    """The seconds to add so that a shift from summer into winter time, or back, keeps the time of day."""
    here = [_is_dst(at, context.zone) for at in (context.start, context.until)]
    there = [_is_dst(at + seconds, context.zone) for at in (context.start, context.until)]
    if all(here) and not any(there):
        return _HOUR
    if not any(here) and all(there):
        return -_HOUR
    return 0


def _is_dst(moment: int, zone: tzinfo) -> bool:
    return bool(datetime.fromtimestamp(moment, zone).dst())
