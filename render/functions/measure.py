"""One number a series: graphite-web's aggregations and percentiles of a whole series."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.series import Block, Matrix, SeriesList
from storage import consolidation

Row = npt.NDArray[np.float64]


def aggregate(func: str, block: Block) -> Row:
    """The aggregation of each series' points, float64 (series,); NaN where nothing is known.

    Without any known point `count` is 0 and, if there are points at all, `avg_zero` too.
    """
    reduced = consolidation.rows(func, block.values)
    if func == "count":
        return reduced.known.astype(np.float64)
    if func == "avg_zero" and block.values.shape[1]:
        return np.where(reduced.known == 0, 0.0, reduced.values)
    return reduced.values


def ranking(func: str, series: SeriesList) -> Row:
    """What sorting compares: each series' aggregation in the list's order, -inf where nothing is known."""
    numbers = series.measure(lambda block: aggregate(func, block))
    return np.where(np.isnan(numbers), -np.inf, numbers)


def percentile(values: Matrix, n: float) -> Row:
    """The n-th percentile (0 … 100) of each row's N known values: the one of rank ⌈n/100·(N+1)⌉.

    Ranks below the first give the first, above the last the last; a row without known values gives NaN.
    """
    known = np.count_nonzero(~np.isnan(values), axis=1)
    rank = np.ceil(n / 100.0 * (known + 1)).astype(np.int64)
    at = np.clip(rank, 1, np.maximum(known, 1)) - 1
    out = np.full(len(values), np.nan)
    if values.shape[1] == 0:
        return out
    ranks = np.unique(at[known > 0])
    if len(ranks) > 4:
        out[:] = np.sort(values, axis=1)[np.arange(len(values)), at]  # NaN sorts last: an empty row gives NaN
        return out
    for k in ranks:  # a selection is several times cheaper than sorting, and gaps are mostly shared
        mine = np.flatnonzero((at == k) & (known > 0))
        out[mine] = np.partition(values[mine], k, axis=1)[:, k]
    return out


def check_percent(function: str, n: float, *, above_zero: bool = False) -> None:
    """Raises ArgumentError unless 0 ≤ n ≤ 100, or 0 < n with above_zero."""
    if not math.isfinite(n) or n > 100 or n < 0 or (above_zero and n == 0):
        allowed = "more than 0 and at most 100" if above_zero else "0 to 100"
        raise ArgumentError(function, "n", f"takes a percentage, {allowed}, not {n:g}")
