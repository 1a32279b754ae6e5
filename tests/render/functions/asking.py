"""How the tests of function families ask: a target over the golden window, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from render.plan import render
from render.series import SeriesList
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource


def ask(source: MemorySource, target: str, **more: Any) -> SeriesList:
    return render(source, [target], **{"start": START, "until": UNTIL, "now": NOW, "zone": UTC, **more})[0]


def values(found: SeriesList) -> list[list[float | None]]:
    """The datapoints of each series, None where there is none."""
    return [[None if v != v else v for v in one.values.tolist()] for one in found]


def holding(*rows: Sequence[float | None], step: int = 60) -> MemorySource:
    """Series a.0, a.1 … whose first point is the first in the golden window."""
    source = MemorySource()
    for i, row in enumerate(rows):
        source.add(f"a.{i}", START - START % step + step, step, row)
    return source
