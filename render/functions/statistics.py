"""Two series compared: how they move together, and whether they are spread alike. Of carbonapi."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions.aggregation import together
from render.functions.context import Context
from render.functions.registry import SERIES, Param, function
from render.series import Matrix, SeriesList

Row = npt.NDArray[np.float64]

_DIRECTIONS = ("abs", "pos", "neg")
_VALUES_AT_ONCE = 1 << 18  # of windows laid out side by side: 2 MB, and as much again a few times
_WINDOW = Param("windowSize", "integer", required=True)
_OTHER = Param("otherSeries", "seriesList", required=True)


@function("pearson", group="Transform", params=[SERIES, _OTHER, _WINDOW])
def pearson(context: Context, series: SeriesList, other: SeriesList, window: int) -> SeriesList:
    """How two series move together: Pearson's correlation of their last `windowSize` points at each point, 1 if
    one rises in a straight line with the other, -1 if it falls so, near 0 if neither.

    Points at which either is missing do not count, and there is no answer where one does not vary.

    Example: pearson(servers.web1.cpu, servers.web1.mem, 10)
    """
    return _over_windows(context, "pearson", series, other, window, correlations)


@function("kolmogorovSmirnovTest2", "ksTest2", group="Transform", params=[SERIES, _OTHER, _WINDOW])
def ks_test_2(context: Context, series: SeriesList, other: SeriesList, window: int) -> SeriesList:
    """How likely it is that values spread as differently as the last `windowSize` of two series do if both are
    drawn from the same distribution: Kolmogorov's and Smirnov's p-value at each point, near 0 where they
    differ for sure.

    Missing values do not count. carbonapi's first answer is one point later.

    Example: ksTest2(servers.web1.cpu, servers.web2.cpu, 10)
    """
    return _over_windows(context, "kolmogorovSmirnovTest2", series, other, window, ks_p_values)


@function(
    "pearsonClosest",
    group="Filter Series",
    params=[
        Param("series", "seriesList", required=True),
        SERIES,
        Param("n", "integer", required=True),
        Param("direction", "string", default="abs", options=_DIRECTIONS),
    ],
)
def pearson_closest(
    context: Context, reference: SeriesList, series: SeriesList, n: int, direction: str = "abs"
) -> SeriesList:
    """The n series that move most like one: by Pearson's correlation over the whole window, in either direction
    (`abs`), in the same (`pos`) or in the opposite one (`neg`); the closest first.

    Points at which either is missing do not count, and a series that does not vary is not like any.

    Example: pearsonClosest(servers.web1.cpu, servers.*.mem, 2)
    """
    _check_one("pearsonClosest", "series", reference)
    if n < 0:
        raise ArgumentError("pearsonClosest", "n", f"takes a number of series, 0 or more, not {n}")
    if not series:
        return series
    line, block = together(reference, series)
    found = _in_parts(context, block.values.shape, lambda some: correlations(line.values, block.values[some]))
    close = {"abs": np.abs(found), "pos": found, "neg": -found}[direction]
    order = np.argsort(-close, kind="stable")  # NaN sorts last
    return series.pick(order[: np.count_nonzero(close >= 0)][:n])


def correlations(first: Matrix, second: Matrix) -> Row:
    """Pearson's correlation of each pair of rows, over the points that both have; NaN where either does not vary.

    Both are (rows, points); the first may be one row for all.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    with np.errstate(all="ignore"):
        a, b = _deviations(first, known), _deviations(second, known)
        product = np.sum(a * b, axis=1)
        out = product / (np.sqrt(np.sum(a * a, axis=1)) * np.sqrt(np.sum(b * b, axis=1)))
    varied = _varies(first, known) & _varies(second, known)
    return np.where(varied, np.clip(out, -1.0, 1.0), np.nan)


def ks_p_values(first: Matrix, second: Matrix) -> Row:
    """The two-sample Kolmogorov-Smirnov test's p-value of each pair of rows, of their known values; NaN where one
    has none. By the limit for large samples, without correction for small ones, as R and Octave have it.
    """
    counts = [np.count_nonzero(~np.isnan(values), axis=1) for values in (first, second)]
    with np.errstate(all="ignore"):
        rises = [
            np.where(np.isnan(values), 0.0, sign / count[:, None])
            for values, count, sign in zip((first, second), counts, (1.0, -1.0), strict=True)
        ]
        both = np.concatenate((first, second), axis=1)
        order = np.argsort(both, axis=1)
        ordered = np.take_along_axis(both, order, axis=1)
        apart = np.abs(np.cumsum(np.take_along_axis(np.concatenate(rises, axis=1), order, axis=1), axis=1))
        # of equal values only the last tells how far the distributions are apart there
        apart[:, :-1][ordered[:, :-1] == ordered[:, 1:]] = 0.0
        size = counts[0] * counts[1] / (counts[0] + counts[1])
        out = _beyond(np.sqrt(size) * np.max(apart, axis=1, initial=0.0))
    return np.where((counts[0] > 0) & (counts[1] > 0), out, np.nan)


def _beyond(z: Row) -> Row:
    """How likely Kolmogorov's distribution is to be beyond z: two series for it, each where it is quick."""
    k = np.arange(1, 5)[:, None]
    odd = (2 * k - 1) ** 2
    near = 1.0 - np.sqrt(2 * np.pi) / z * np.sum(np.exp(-odd * np.pi**2 / (8 * z * z)), axis=0)
    far = 2.0 * np.sum((-1.0) ** (k - 1) * np.exp(-2.0 * k * k * z * z), axis=0)
    return np.where(z > 0, np.clip(np.where(z < 1.18, near, far), 0.0, 1.0), 1.0)


def _over_windows(
    context: Context,
    function: str,
    series: SeriesList,
    other: SeriesList,
    window: int,
    number: Callable[[Matrix, Matrix], Row],
) -> SeriesList:
    """`number` of the last `window` points of two series at each point; NaN where there are not so many."""
    if window < 1:
        raise ArgumentError(function, "windowSize", f"takes a number of points, 1 or more, not {window}")
    _check_one(function, "seriesList", series)
    _check_one(function, "otherSeries", other)
    first, second = together(series, other)
    out = np.full_like(first.values, np.nan)
    if window <= out.shape[1]:
        a, b = (
            np.lib.stride_tricks.sliding_window_view(block.values[0], window) for block in (first, second)
        )
        out[0, window - 1 :] = _in_parts(context, a.shape, lambda some: number(a[some], b[some]))
    names = [f"{function}({first.names[0]},{second.names[0]},{window})"]
    return SeriesList([first.with_(out).renamed(names)])


def _in_parts(context: Context, shape: tuple[int, ...], number: Callable[[slice], Row]) -> Row:
    """A number a row of so many, some rows at once: they take many times their space while it is computed."""
    rows, width = shape
    out = np.empty(rows)
    size = max(_VALUES_AT_ONCE // max(width, 1), 1)
    for at in range(0, rows, size):
        context.check()
        out[at : at + size] = number(slice(at, at + size))
    return out


def _deviations(values: Matrix, known: npt.NDArray[np.bool_]) -> Matrix:
    """How far the known values of each row are from their average, 0 where they do not count."""
    counted = np.where(known, values, 0.0)
    average = np.sum(counted, axis=1, keepdims=True) / np.count_nonzero(known, axis=1)[:, None]
    return np.where(known, values - average, 0.0)


def _varies(values: Matrix, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which rows have two different known values. Of equal ones the average may differ by a rounding."""
    most = np.max(np.where(known, values, -np.inf), axis=1, initial=-np.inf)
    least = np.min(np.where(known, values, np.inf), axis=1, initial=np.inf)
    varies: npt.NDArray[np.bool_] = most > least
    return varies


def _check_one(function: str, parameter: str, series: SeriesList) -> None:
    if len(series) != 1:
        raise ArgumentError(function, parameter, f"takes exactly 1 series, not {len(series)}")
