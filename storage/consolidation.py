"""The one table of aggregations: many values → one. Storage, rollup and render all use it.

A matrix is float64 (k, n) with NaN for "no data". `columns` reduces axis 0 (series → one series,
slots → one coarse slot), `rows` axis 1 (a whole series → a number), `buckets` runs of points along
axis 1. Missing values are skipped, but for avg_zero (counts them as 0) and multiply (any missing →
missing). Nothing known → NaN. The meanings are those of graphite-web 1.1.10 and whisper 1.1.10.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import kernels
from storage.errors import UnknownAggregation

Matrix = npt.NDArray[np.float64]
Row = npt.NDArray[np.float64]

_CODES = {
    "average": kernels.AVERAGE,
    "avg_zero": kernels.AVG_ZERO,
    "sum": kernels.SUM,
    "count": kernels.COUNT,
    "last": kernels.LAST,
    "first": kernels.FIRST,
    "max": kernels.MAX,
    "min": kernels.MIN,
    "range": kernels.RANGE,
    "diff": kernels.DIFF,
    "multiply": kernels.MULTIPLY,
    "stddev": kernels.STDDEV,
    "absmax": kernels.ABSMAX,
    "absmin": kernels.ABSMIN,
}
_ALIASES = {
    "avg": "average",
    "total": "sum",
    "current": "last",
    "rangeOf": "range",
    "maximum": "max",
    "minimum": "min",
}
_PERCENTILE = re.compile(r"p(?:\d{1,2}|\d{0,2}\.\d+|100(?:\.0+)?)\Z", re.ASCII)

# What whisper can roll up with, in the order of its file format (code 1 first).
WHISPER_METHODS = ("average", "sum", "last", "max", "min", "avg_zero", "absmax", "absmin")
NAMES = (*_CODES, "median", *_ALIASES)
_ROWS_AT_ONCE = 64  # a strided column of so many rows stays in the first-level cache


class Reduced(NamedTuple):
    values: Row  # float64 (n,), NaN where nothing is known
    known: npt.NDArray[np.int64]  # int64 (n,), how many values there were


def canonical(name: str) -> str:
    """The aggregation's own name: `avg` → `average`; raises UnknownAggregation, naming the nearest."""
    name = _ALIASES.get(name, name)
    if name in _CODES or is_percentile(name):
        return name
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f", perhaps {near[0]!r}" if near else ""
    raise UnknownAggregation(f"no aggregation {name!r}{hint}; there are {', '.join(NAMES)}, p50 … p99.9")


def is_percentile(name: str) -> bool:
    """Whether it is `median` or `p95`."""
    return name == "median" or _PERCENTILE.match(name) is not None


def columns(name: str, values: Matrix) -> Reduced:
    """Reduce axis 0 of values (k, n) → n values and how many each was made of."""
    name = canonical(name)
    out = np.empty(values.shape[1])
    known = np.empty(values.shape[1], np.int64)
    if name in _CODES:
        kernels.reduce_columns(_CODES[name], values, out, known)
        return Reduced(out, known)
    percent = 50.0 if name == "median" else float(name[1:])
    return _quantile_columns(values, percent / 100)


def rows(name: str, values: Matrix) -> Reduced:
    """Reduce axis 1 of values (k, n) → k values and how many each was made of."""
    name = canonical(name)
    if name not in _CODES:
        return columns(name, values.T)
    out = np.empty(len(values))
    known = np.empty(len(values), np.int64)
    for at in range(0, len(values), _ROWS_AT_ONCE):
        part = slice(at, at + _ROWS_AT_ONCE)
        kernels.reduce_columns(_CODES[name], values[part].T, out[part], known[part])
    return Reduced(out, known)


def buckets(name: str, values: Matrix, size: int, x_files_factor: float = 0.0) -> Matrix:
    """Reduce each run of `size` points → float64 (series, ceil(points / size)).

    A bucket counts only if known / size ≥ x_files_factor, the last one too when it is partial: what is beyond
    its points is missing for the factor, but not for the aggregation (avg_zero divides by the points there are).
    """
    series, points = values.shape
    if size == 1:
        return values
    whole, left = divmod(points, size)
    parts = [(values[:, : whole * size].reshape(series * whole, size), whole)] if whole else []
    parts += [(np.ascontiguousarray(values[:, whole * size :]), 1)] if left else []
    out = np.empty((series, whole + (left > 0)))
    for i, (runs, count) in enumerate(parts):
        reduced = rows(name, runs)
        kept = np.where(reduced.known / size >= x_files_factor, reduced.values, np.nan)
        out[:, i * whole : i * whole + count] = kept.reshape(series, count)
    return out


def _quantile_columns(values: Matrix, fraction: float) -> Reduced:
    """The quantile over the known values of each column, linear between ranks (N-1)·fraction."""
    known = np.count_nonzero(~np.isnan(values), axis=0)
    if len(values) == 0:
        return Reduced(np.full(values.shape[1], np.nan), known)
    ordered = np.sort(values, axis=0)  # NaN sorts last
    rank = np.maximum(known - 1, 0) * fraction
    below = rank.astype(np.int64)
    above = np.minimum(below + 1, np.maximum(known - 1, 0))
    at = np.arange(values.shape[1])
    low, high = ordered[below, at], ordered[above, at]
    part = rank - below
    with np.errstate(invalid="ignore"):
        out = np.where(part == 0, low, low * (1 - part) + high * part)
    out[known == 0] = np.nan
    return Reduced(out, known)
