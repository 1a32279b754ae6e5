"""Series as signals: spectra and back, smoothing and fitting. Of carbonapi.

A spectrum is shown as a series: its i-th point is the i-th frequency, whatever time it stands at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions import kernels
from render.functions.aggregation import pairs
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, Param, function
from render.functions.window import check_points
from render.series import Block, Matrix, SeriesList, Tags
from render.timespec import parse_interval

T = TypeVar("T")
Spectrum = npt.NDArray[np.complex128]

_MODES = {"abs": ("abs",), "phase": ("phase",), "both": ("abs", "phase"), "all": ("abs", "phase")}
_PARTS: dict[str, Callable[[Spectrum], Matrix]] = {"abs": np.abs, "phase": np.angle}
_DEGREE_MAX = 10  # beyond it a fit follows the noise, and the basis takes more than the data


@function(
    "fft",
    group="Transform",
    params=[SERIES, Param("mode", "string", default="both", options=(*_MODES, ""))],
)
def fft(context: Context, series: SeriesList, mode: str = "both") -> SeriesList:
    """The frequencies of each series: how strong each is (`abs`) and where in its turn it begins (`phase`, -π to
    π), or both as two series. Point i is i turns in the window, and the second half mirrors the first.

    A missing value counts as 0 (in carbonapi one leaves no spectrum at all): fill gaps before, such as with
    interpolate().

    Example: fft(servers.web1.cpu, "abs")
    """
    wanted = _MODES[mode or "both"]

    def parts(block: Block) -> Block:
        context.check()
        with np.errstate(all="ignore"):
            spectrum = _spectrum(_without_gaps(block.values))
            found = np.stack([_PARTS[part](spectrum) for part in wanted], axis=1)
        names = [f"fft({name},{part})" for name in block.names for part in wanted]
        return _repeated(block, len(wanted)).with_(found.reshape(len(names), -1)).renamed(names)

    of_each = series.order[:, None] * len(wanted) + np.arange(len(wanted))
    return SeriesList([parts(block) for block in series.blocks], of_each.ravel())


@function("ifft", group="Transform", params=[SERIES, Param("phaseSeriesList", "seriesList")])
def ifft(context: Context, series: SeriesList, phases: SeriesList | None = None) -> SeriesList:
    """The series whose frequencies these are: strengths, and phases paired with them in order; where there are no
    phases all are 0.

    A missing value counts as 0, so that what lowPass() leaves is a smoother series. (carbonapi answers with
    magnitudes, which turns what is below 0 into what is above.)

    Example: ifft(fft(servers.web1.cpu, "abs"), fft(servers.web1.cpu, "phase"))
    Example: ifft(lowPass(fft(servers.web1.cpu, "abs"), 20), fft(servers.web1.cpu, "phase"))
    """
    phases = phases or SeriesList()
    paired = min(len(series), len(phases))
    with_phase = [
        _inverse(context, strengths, turned)
        for strengths, turned in pairs(series.pick(np.arange(paired)), phases.pick(np.arange(paired)))
    ]
    alone = series.pick(np.arange(paired, len(series)))
    return SeriesList.concat([SeriesList(with_phase), alone.map(lambda block: _inverse(context, block))])


@function("lowPass", "lpf", group="Transform", params=[SERIES, Param("cutPercent", "float", required=True)])
def low_pass(context: Context, series: SeriesList, cut_percent: float) -> SeriesList:
    """The first and the last points only, together `cutPercent` of all: of a spectrum the slow frequencies. What
    ifft() makes of it is smoother.

    Example: lowPass(fft(servers.web1.cpu, "abs"), 20)
    """
    if not 0 <= cut_percent <= 100:
        raise ArgumentError("lowPass", "cutPercent", f"takes a percentage, 0 to 100, not {cut_percent:g}")

    def ends(block: Block) -> Matrix:
        points = block.values.shape[1]
        kept = int(cut_percent / 200 * points)
        out = block.values.copy()
        out[:, kept : points - kept] = np.nan
        return out

    return each(series, "lowPass", ends, f",{cut_percent:g}")


@function(
    "exponentialWeightedMovingAverage",
    "ewma",
    group="Calculate",
    params=[SERIES, Param("alpha", "float", required=True, suggestions=(0.1, 0.5, 0.7))],
    each=True,
)
def ewma(context: Context, series: SeriesList, alpha: float) -> SeriesList:
    """An average in which each datapoint weighs `alpha`, more than 0 and at most 1, and all before it the rest.
    It begins with the first datapoint; a missing one stays missing and changes nothing.

    exponentialMovingAverage() takes a number of points or a time instead, and reads earlier data.

    Example: exponentialWeightedMovingAverage(servers.web1.cpu, 0.1)
    """
    if not 0 < alpha <= 1:
        raise ArgumentError("ewma", "alpha", f"takes a number above 0 and at most 1, not {alpha:g}")

    def averaged(block: Block) -> Matrix:
        values = block.values
        if not values.size:
            return values
        begun = values.copy()
        first = np.argmax(~np.isnan(values), axis=1)
        begun[:, 0] = values[np.arange(len(values)), first]  # the kernel begins with a known first point
        out = np.empty_like(values)
        kernels.exponential(begun, 1, alpha, out)
        return np.where(np.isnan(values), np.nan, out)

    return each(series, "ewma", averaged, f",{alpha:g}")


@function(
    "polyfit",
    group="Transform",
    params=[SERIES, Param("degree", "integer", default=1), Param("offset", "interval", default="0d")],
)
def polyfit(context: Context, series: SeriesList, degree: int = 1, offset: str = "0d") -> SeriesList:
    """The polynomial nearest to each series' datapoints by least squares: a straight line of degree 1, a parabola
    of degree 2, up to 10. With `offset`, it goes on so much longer than the series.

    A series that has not more datapoints than the degree has none here.

    Example: polyfit(servers.web1.mem, 2)
    Example: polyfit(servers.web1.mem, 1, "10min")
    """
    if not 1 <= degree <= _DEGREE_MAX:
        raise ArgumentError("polyfit", "degree", f"takes a whole number of 1 to {_DEGREE_MAX}, not {degree}")
    seconds = parse_interval(offset)
    if seconds < 0:
        raise ArgumentError("polyfit", "offset", f"takes an interval of 0 or more, not {offset!r}")

    def fitted(block: Block) -> Matrix:
        points = block.values.shape[1] + seconds // block.step
        check_points("polyfit", "offset", points, series=len(block))
        return _fit(block.values, degree, points, context.check)

    argument = f",{degree},'{offset}'" if seconds else f",{degree}" if degree > 1 else ""
    return each(series, "polyfit", fitted, argument)


def _spectrum(values: Matrix) -> Spectrum:
    """The discrete Fourier transform of each row."""
    return np.fft.fft(values, axis=1) if values.size else values.astype(np.complex128)


def _inverse(context: Context, strengths: Block, phases: Block | None = None) -> Block:
    """Each row of strengths, with the same row of phases, as the series that it is the spectrum of."""
    context.check()
    values = _without_gaps(strengths.values)
    names = [f"ifft({name})" for name in strengths.names]
    with np.errstate(all="ignore"):
        spectrum: Spectrum = values.astype(np.complex128)
        if phases is not None:
            spectrum *= np.exp(1j * _without_gaps(phases.values))
            names = [f"ifft({a},{p})" for a, p in zip(strengths.names, phases.names, strict=True)]
        out = np.fft.ifft(spectrum, axis=1).real if values.size else values
    return strengths.with_(np.ascontiguousarray(out)).renamed(names)


def _without_gaps(values: Matrix) -> Matrix:
    return np.where(np.isnan(values), 0.0, values)


def _repeated(block: Block, times: int) -> Block:
    """The block's columns with each series so many times; the values are still as they were."""
    return block.with_(
        names=_times(block.names, times),
        expressions=_times(block.expressions, times),
        tags=Tags(_times(block.tags.own, times), block.tags.added),
        consolidations=_times(block.consolidations, times),
        options=None if block.options is None else _times(block.options, times),
    )


def _times(column: Sequence[T], times: int) -> list[T]:
    return list(chain.from_iterable([item] * times for item in column))


def _fit(values: Matrix, degree: int, points: int, check: Callable[[], None]) -> Matrix:
    """The polynomials nearest to the rows of values, at `points` points; NaN where too few are known.

    Rows that have the same gaps are fitted together. Chebyshev's polynomials over the values' own range: with
    powers of the index the equations of degree 10 would be beyond a float.
    """
    known = ~np.isnan(values)
    at = 2.0 * np.arange(points) / max(values.shape[1] - 1, 1) - 1.0
    basis = np.polynomial.chebyshev.chebvander(at, degree)
    out = np.full((len(values), points), np.nan)
    for rows in _alike(known):
        check()
        mask = known[rows[0]]
        if np.count_nonzero(mask) <= degree:
            continue
        factors = np.linalg.lstsq(basis[: len(mask)][mask], values[rows][:, mask].T, rcond=None)[0]
        out[rows] = (basis @ factors).T
    return out


def _alike(known: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """The rows of a mask grouped: those that are equal."""
    if not known.size:
        return []
    _, group = np.unique(np.packbits(known, axis=1), axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
