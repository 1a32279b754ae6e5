"""Which series move as another does. Group Filter Series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions.bands import split
from render.functions.context import Context
from render.functions.registry import SERIES, Param, function
from render.series import Matrix, SeriesList, Tags
from render.timespec import parse_interval

Numbers = npt.NDArray[np.float64]

_COMMON_MIN = 5  # points; of fewer, any two series seem alike
_SHIFTS_MAX = 500  # to each side
_VALUES_AT_ONCE = 2_000_000  # 16 MB a matrix
# of a series' sum of squares, what is no more than rounding: a level line
_ROUNDING = 1e-20


@function(
    "correlate",
    group="Filter Series",
    params=[
        SERIES,
        Param("reference", "seriesList", required=True),
        Param("n", "integer", default=10),
        Param("lag", "interval", default="0s", suggestions=("0s", "10min", "1h")),
        Param("direction", "string", default="alike", options=("alike", "opposite", "either")),
    ],
)
def correlate(
    context: Context,
    series: SeriesList,
    reference: SeriesList,
    n: int = 10,
    lag: str = "0s",
    direction: str = "alike",
) -> SeriesList:
    """The `n` series that move most as the reference does, or `opposite`, or `either`; the closest first.

    The tag `correlation` is Pearson's coefficient, from -1 to 1, over the points that both have: at least five
    and a quarter of the reference's. With a `lag` series count that follow or precede by up to so much; the tag
    `correlationLag` has the seconds by which they follow (negative: precede). The reference itself is left out.

    For "what else moved when this did". The more series, the more are alike by chance alone, and two that both grow
    are always alike: compare derivative() of both then. What moves together need not have to do with each other.

    Example: correlate(servers.*.*, servers.web1.cpu, 3)
    Example: aliasByTags(correlate(servers.*.*, servers.web1.cpu, 3, "10min", "either"), "name", "correlation")
    """
    if n < 0:
        raise ArgumentError("correlate", "n", f"takes 0 or more, not {n}")
    if len(reference) != 1:
        raise ArgumentError("correlate", "reference", f"takes one series, not {len(reference)}")
    series = series.keep([name != reference.names[0] for name in series.names])
    if not series or not n:
        return SeriesList()
    grid = SeriesList.concat([series, reference]).on_one_grid()
    shifts = _shifts(abs(parse_interval(lag)), grid.step)
    coefficients, follows = _closest(context, grid.values, shifts, direction)
    measure = _closeness(coefficients, direction)
    best = np.argsort(-measure, kind="stable")[: min(n, len(series))]
    best = best[measure[best] > -np.inf]
    return _tagged(series.pick(best), coefficients[best], follows[best] * grid.step)


class _Correlations(NamedTuple):
    coefficients: Numbers  # (series,), NaN = too little in common
    follows: Numbers  # by how many points


def _shifts(lag_s: int, step: int) -> npt.NDArray[np.int64]:
    """The lags to look at in points, those nearer to 0 first."""
    most = lag_s // step
    if most > _SHIFTS_MAX:
        reason = f"is {most} points of {step} s; at most {_SHIFTS_MAX}"
        raise ArgumentError("correlate", "lag", reason)
    return np.array(sorted(range(-most, most + 1), key=lambda shift: (abs(shift), shift)), np.int64)


def _closest(
    context: Context, values: Matrix, shifts: npt.NDArray[np.int64], direction: str
) -> _Correlations:
    """The coefficient of each row but the last with that, at the lag where it is closest.

    All lags at once: a matrix of the reference moved by each, and five products with it. Rows and reference are
    moved to their mean and scaled first, so that nothing is lost between large sums.
    """
    reference = _scaled(values[-1:])[0]
    moved = np.stack([_moved(reference, int(shift)) for shift in shifts], axis=1)
    there = (~np.isnan(moved)).astype(np.float64)
    moved = np.nan_to_num(moved, nan=0.0)
    enough = np.maximum(_COMMON_MIN, 0.25 * np.count_nonzero(~np.isnan(reference)))
    best, follows = np.full(len(values) - 1, np.nan), np.zeros(len(values) - 1)
    rows = max(1, _VALUES_AT_ONCE // max(1, values.shape[1], len(shifts)))
    for at in range(0, len(best), rows):
        context.check()
        some = slice(at, min(at + rows, len(best)))
        found = _pearson(_scaled(values[some]), moved, there, enough)
        which = np.argmax(_closeness(found, direction), axis=1)
        best[some] = found[np.arange(len(found)), which]
        follows[some] = shifts[which]
    return _Correlations(best, follows)


def _closeness(coefficients: Matrix, direction: str) -> Matrix:
    """What the closest has most of; -inf where there is no coefficient."""
    signs = {"alike": coefficients, "opposite": -coefficients, "either": np.abs(coefficients)}
    return np.where(np.isnan(coefficients), -np.inf, signs[direction])


def _scaled(values: Matrix) -> Matrix:
    """Each row about its mean and with a largest value of 1; infinite values and level rows become missing."""
    values = np.where(np.isfinite(values), values, np.nan)
    largest = np.fmax.reduce(np.abs(values), axis=1, keepdims=True, initial=0.0)
    with np.errstate(all="ignore"):
        values = values / largest
        known = np.count_nonzero(~np.isnan(values), axis=1, keepdims=True)
        values = values - np.nansum(values, axis=1, keepdims=True) / known
        largest = np.fmax.reduce(np.abs(values), axis=1, keepdims=True, initial=0.0)
        return np.asarray(np.where(largest > 1e-12, values / largest, np.nan))


def _moved(row: Numbers, shift: int) -> Numbers:
    """The row `shift` points later; what moves in is missing."""
    out = np.full_like(row, np.nan)
    if abs(shift) < len(row):
        out[max(shift, 0) : len(row) + min(shift, 0)] = row[max(-shift, 0) : len(row) - max(shift, 0)]
    return out


def _pearson(rows: Matrix, moved: Matrix, there: Matrix, enough: float) -> Matrix:
    """Pearson's coefficient over the points that a row and a column of `moved` both have: (rows, lags)."""
    known = (~np.isnan(rows)).astype(np.float64)
    rows = np.nan_to_num(rows, nan=0.0)
    common = known @ there
    sum_x, sum_y = rows @ there, known @ moved
    with np.errstate(all="ignore"):
        along = rows @ moved - sum_x * sum_y / common
        x = (rows * rows) @ there - sum_x * sum_x / common
        y = known @ (moved * moved) - sum_y * sum_y / common
        found = along / np.sqrt(x * y)
        sure = (common >= enough) & (x > _ROUNDING * common) & (y > _ROUNDING * common)
        return np.asarray(np.where(sure, np.clip(found, -1.0, 1.0), np.nan))


def _tagged(series: SeriesList, coefficients: Numbers, lags: Numbers) -> SeriesList:
    blocks = []
    columns = (split(series, column) for column in (coefficients, lags))
    for block, mine, late in zip(series.blocks, *columns, strict=True):
        own = [
            {**block.tags[i], "correlation": f"{mine[i]:.4f}", "correlationLag": f"{late[i]:g}"}
            for i in range(len(block))
        ]
        blocks.append(block.with_(tags=Tags(own)))
    return SeriesList(blocks, series.order)
