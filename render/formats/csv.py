r"""`name,2023-11-14 22:09:00,56.0\r\n`, a line a datapoint: graphite-web's csv. Time is in the asked zone.

A missing value is an empty cell. A name is quoted where csv asks for it and not changed otherwise: a
spreadsheet may take one that begins with `=` as a formula.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime, tzinfo
from functools import cache

import numpy as np
import numpy.typing as npt

from render.formats import kernels
from render.formats.numbers import text
from render.formats.presentation import Presentation
from render.series import Series, SeriesList

Bytes = npt.NDArray[np.uint8]


def encode(series: SeriesList, how: Presentation) -> bytes:
    @cache  # series that share a grid share its times
    def times(start: int, step: int, points: int) -> Bytes:
        texts = [f"{_time(start + i * step, how.zone)},".encode() for i in range(points)]
        return np.array(texts, dtype="S").view(np.uint8).reshape(points, -1)

    some = [one for one in series if len(one.values)]
    return b"".join(_lines(one, times(one.start, one.step, len(one.values))) for one in some)


def _lines(one: Series, times: Bytes) -> bytes:
    numbers = np.frombuffer(text(one.values) + b",", np.uint8)
    name = np.frombuffer(_cell(one.name) + b",", np.uint8)
    points, width = times.shape
    out = np.empty(len(numbers) + points * (len(name) + width + len("\r\n")), np.uint8)
    written = kernels.write_csv(numbers, name, times, out)
    return out[:written].tobytes()


def _cell(name: str) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow([name, ""])
    return line.getvalue()[: -len(",\r\n")].encode(errors="replace")


def _time(timestamp: int, zone: tzinfo) -> str:
    """`2023-11-14 22:09:00`; the last second of the year 9999 for what datetime's calendar does not have."""
    try:
        at = datetime.fromtimestamp(timestamp, zone).replace(tzinfo=None)
    except (OverflowError, ValueError):
        at = datetime.max
    return at.isoformat(" ", "seconds")
