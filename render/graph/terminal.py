"""A picture for the terminal: braille dots, two by four a character, with the axes that other pictures have."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from itertools import accumulate, pairwise

import click
import numpy as np
import numpy.typing as npt

from render.formats.table import Column
from render.graph.scale import Scale, Wish, scale
from render.graph.timeaxis import time_axis

_ACROSS, _DOWN = 2, 4  # dots of a character
_BRAILLE = 0x2800
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # by row and column
_COLORS = ("cyan", "yellow", "green", "magenta", "blue", "red", "white")
_NAMES_MAX = 12  # in the legend

Cells = npt.NDArray[np.int64]


def plot(columns: Sequence[Column], zone: tzinfo, width: int, height: int) -> str:
    """Lines of at most `width` columns, `height` of them with dots; "" if nothing is known.

    From the first point to the last, also of those that are missing: it is seen when data has ended.
    """
    known = [{at: v for at, v in column.values.items() if v is not None} for column in columns]
    values = [value for one in known for value in one.values()]
    if not values:
        return ""
    times = [at for column in columns for at in column.values]
    start, until = min(times), max(times)
    axis = scale(min(values), max(values), Wish(labels_max=max(2, height // 2)))
    side = max(len(tick.label) for tick in axis.ticks) + 1
    across = max(1, width - side - 1)
    marks, owners = np.zeros((height, across), np.int64), np.full((height, across), -1)
    for i, one in enumerate(known):
        for x, y in _dots(
            one, (start, max(until, start + 1)), axis, across * _ACROSS - 1, height * _DOWN - 1
        ):
            marks[y // _DOWN, x // _ACROSS] |= _BITS[y % _DOWN, x % _ACROSS]
            owners[y // _DOWN, x // _ACROSS] = i
    levels = _levels(np.array([tick.value for tick in axis.ticks]), axis, height * _DOWN - 1) // _DOWN
    labels = {int(row): tick.label for row, tick in zip(levels, axis.ticks, strict=True)}
    rows = [f"{labels.get(i, ''):>{side}}┤{_row(marks[i], owners[i])}" for i in range(height)]
    return "\n".join([*rows, *_foot((start, until), zone, side, across), *_legend(columns, width)])


def _dots(
    known: Mapping[int, float], window: tuple[int, int], axis: Scale, right: int, bottom: int
) -> Iterator[tuple[int, int]]:
    """The dots of a line through the points; y grows downwards."""
    times = sorted(known)
    start, until = window
    xs = (np.array(times) - start) / (until - start) * right
    ys = _levels(np.array([known[at] for at in times]), axis, bottom)
    gap = 1.5 * min((b - a for a, b in pairwise(times)), default=0)
    yield from zip(xs.astype(int).tolist(), ys.tolist(), strict=True)
    for i, (before, after) in enumerate(pairwise(times)):
        if after - before > gap:  # what is missing is not drawn
            continue
        count = int(max(xs[i + 1] - xs[i], abs(ys[i + 1] - ys[i]))) + 1
        line_x = np.linspace(xs[i], xs[i + 1], count + 1).astype(int)
        line_y = np.linspace(ys[i], ys[i + 1], count + 1).round().astype(int)
        yield from zip(line_x.tolist(), line_y.tolist(), strict=True)


def _levels(values: npt.NDArray[np.float64], axis: Scale, bottom: int) -> Cells:
    """The dots' rows, so that a label stands where its value is drawn."""
    return ((1 - axis.place(values)) * bottom).round().astype(np.int64)


def _row(marks: Cells, owners: Cells) -> str:
    """A row of characters, each in the colour of the series that was drawn last there."""
    return "".join(
        _painted(chr(_BRAILLE + int(mark)), int(owner)) if mark else " "
        for mark, owner in zip(marks, owners, strict=True)
    ).rstrip()


def _painted(text: str, series: int) -> str:
    return click.style(text, fg=_COLORS[series % len(_COLORS)])


def _foot(window: tuple[int, int], zone: tzinfo, side: int, across: int) -> list[str]:
    """The x axis and its labels."""
    start, until = window
    axis = time_axis(start, until, zone, room=across, measure=len, beyond=(side, 0))
    ruler, labels = ["─"] * across, [" "] * (side + 1 + across)
    for tick in axis.ticks:
        at = round((tick.at - start) / max(1, until - start) * (across - 1))
        ruler[at] = "┬"
        first = max(0, side + 1 + at - len(tick.label) // 2)
        labels[first : first + len(tick.label)] = tick.label
    return [" " * side + "└" + "".join(ruler), "".join(labels)[: side + 1 + across].rstrip()]


def _legend(columns: Sequence[Column], width: int) -> Iterator[str]:
    for i, column in enumerate(columns[:_NAMES_MAX]):
        name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in column.name)
        yield _painted("━━ ", i) + _end(name, width - 3)
    if len(columns) > _NAMES_MAX:
        yield f"… and {len(columns) - _NAMES_MAX} more"


def _end(name: str, room: int) -> str:
    """As much of a name's end as has room: it tells more than the begin."""
    if sum(map(_cells, name)) <= room:
        return name
    widths = accumulate(map(_cells, reversed(name)))
    kept = sum(1 for wide in widths if wide < room)
    return "…" + name[len(name) - kept :]


def _cells(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
