"""A percentile of each column of a matrix: of many series at each time. Long columns are selected from, not sorted."""

from __future__ import annotations

import numpy as np

from render.functions import kernels
from render.series import Indices, Matrix
from storage.consolidation import Row

SELECTED_ROWS = 2048  # from so many on: sorting 10,000 rows of a day takes 300 ms, this a fifth
_SAMPLE = 512  # rows


def percentile_columns(values: Matrix, n: float, interpolate: bool) -> Row:
    """The n-th percentile of each column's known values, of rank n/100·(N+1), rounded up unless interpolated.

    Ranks below the first value give the first, above the last the last (graphite-web fails there with n = 100
    and `interpolate`).
    """
    low, high, part = _neighbours(values, n, interpolate)
    if not interpolate:
        return low
    with np.errstate(all="ignore"):
        out: Row = low + part * (high - low)
    return out


def _neighbours(values: Matrix, n: float, interpolate: bool) -> tuple[Row, Row, Row]:
    """Of each column the value of the percentile's rank, the next, and how far the percentile lies between."""
    if len(values) >= SELECTED_ROWS:
        return _selected(values, n, interpolate)
    ordered = np.sort(values, axis=0)  # NaN sorts last
    known = np.count_nonzero(~np.isnan(values), axis=0)
    at, part = _rank(known, n, interpolate)
    last = np.maximum(known, 1) - 1  # a column without values gives its first NaN
    columns = np.arange(values.shape[1])
    return ordered[np.clip(at, 0, last), columns], ordered[np.clip(at + 1, 0, last), columns], part


def _rank(known: Indices, n: float, interpolate: bool) -> tuple[Indices, Row]:
    """The place of the percentile's rank among so many sorted values, and what is beyond it; perhaps outside."""
    rank = (n / 100.0) * (known + 1)
    below = np.floor(rank) if interpolate else np.ceil(rank)
    return below.astype(np.intp) - 1, rank - below


def _selected(values: Matrix, n: float, interpolate: bool) -> tuple[Row, Row, Row]:
    """As _neighbours(), without sorting all: a sample says between which values the rank lies most probably, then
    only what lies there is sorted. Columns in which it does not are sorted whole.
    """
    rows, columns = values.shape
    dice = np.random.default_rng(
        rows
    )  # the same for the same rows; names in order have periods that steps may hit
    sample = np.sort(values[np.sort(dice.choice(rows, _SAMPLE, replace=False))], axis=0)
    drawn = np.count_nonzero(~np.isnan(sample), axis=0)
    # three deviations of a rank in the sample; a column that lies outside nevertheless is sorted whole
    spread = 3.0 * np.sqrt(drawn * (n / 100.0) * (1.0 - n / 100.0)) + 3.0
    middle, every = drawn * (n / 100.0), np.arange(columns)
    first, last = np.floor(middle - spread).astype(np.intp), np.ceil(middle + spread).astype(np.intp)
    least = np.where(first < 0, -np.inf, sample[np.clip(first, 0, _SAMPLE - 1), every])
    most = np.where(last >= drawn, np.inf, sample[np.clip(last, 0, _SAMPLE - 1), every])
    known, below, many = (np.zeros(columns, np.intp) for _ in range(3))
    inside = np.full((columns, rows // 4), np.nan)
    kernels.gather_between(values, least, most, known, below, inside, many)
    inside = inside[:, : max(int(many.max(initial=1)), 1)]
    inside.sort(axis=1)
    rank, part = _rank(known, n, interpolate)
    end = np.maximum(known, 1) - 1
    low, high = (np.clip(at, 0, end) - below for at in (rank, rank + 1))
    found = [inside[every, np.clip(at, 0, inside.shape[1] - 1)] for at in (low, high)]
    missed = np.flatnonzero((low < 0) | (high >= many) | (many > inside.shape[1]))
    if len(missed):
        rest = np.sort(values[:, missed], axis=0)
        for one, at in zip(found, (low, high), strict=True):
            one[missed] = rest[(at + below)[missed], np.arange(len(missed))]
    return found[0], found[1], part
