"""A source for windows that reach beyond now, and what is known of the series in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.render.golden.series import START
from tests.render.memory import Fetched, MemorySource

NOW = START


class UpToNow(MemorySource):
    """As a store: what it gives ends at now, and nothing is given of a window that begins there."""

    def fetch(
        self, series: npt.NDArray[np.int32], start: int, until: int, now: int, *others: Any, **named: Any
    ) -> list[Fetched]:
        return super().fetch(series, start, min(until, now), now, *others, **named) if start < now else []


def known(*rows: npt.NDArray[Any], step: int = 60) -> UpToNow:
    """Series a.000, a.001 … whose last point is the last before NOW, or on it."""
    source = UpToNow()
    for i, row in enumerate(rows):
        last = NOW - NOW % step
        source.add(f"a.{i:03d}", last - (len(row) - 1) * step, step, row.tolist())
    return source
