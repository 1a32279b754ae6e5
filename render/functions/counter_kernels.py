"""The numba kernel of counters: what they have grown since their last datapoint. Arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from storage.compiled import njit


@njit(nogil=True, cache=True)
def increases(values, high, grown, steps):  # type: ignore[no-untyped-def]
    """What counters have grown since the datapoint before, and how many steps ago that was: all float64.

    Both are NaN where there is no datapoint here or none before. A counter that fell has begun again at 0; or
    has passed `high` (inf: none does), if its growth is then less than half of that.
    """
    rows, points = values.shape
    for r in range(rows):
        last, before = -1, 0.0
        for i in range(points):
            v = values[r, i]
            grown[r, i], steps[r, i] = np.nan, np.nan
            if v != v:
                continue
            if last >= 0:
                more = v - before
                if more < 0.0:
                    wrapped = high - before + v + 1.0
                    more = wrapped if before <= high and wrapped < high / 2.0 else max(v, 0.0)
                grown[r, i], steps[r, i] = more, i - last
            last, before = i, v
