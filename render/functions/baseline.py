"""What is usual at this time: the median of other days or weeks, and how far from it a series is. Of carbonapi."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions import aggregation
from render.functions.arithmetic import ratio
from render.functions.context import Context, Expression
from render.functions.nodes import members
from render.functions.registry import SERIES, Param, function
from render.functions.timeshift import SHIFTS_MAX, backwards, moved
from render.series import Block, SeriesList
from render.timespec import parse_interval

_PARAMS = [
    SERIES,
    Param("timeShiftUnit", "interval", default="1d", suggestions=("1h", "6h", "12h", "1d", "2d", "7d", "14d", "30d")),
    Param("timeShiftStart", "integer", default=0),
    Param("timeShiftEnd", "integer", default=7),
    Param("maxAbsentPercent", "float"),
    Param("minAvg", "float"),
]  # fmt: skip


@function("baseline", group="Calculate", params=_PARAMS, lazy=True)
def baseline(
    context: Context,
    expression: Expression,
    unit: str = "1d",
    first: int = 0,
    end: int = 7,
    max_absent_percent: float | None = None,
    min_average: float | None = None,
) -> SeriesList:
    """What is usual for each series at this time: at each point the median of what it was the unit times first,
    first + 1 … end - 1 before. The window itself, which would be 0 times, does not count.

    Series go whose baseline misses more than `maxAbsentPercent` of its points, or whose average is below
    `minAvg`.

    Example: baseline(servers.web1.cpu, "1h", 1, 4)
    """
    usual = _usual(context, "baseline", expression, unit, first, end)
    kept = usual.keep(_worth_it(usual, max_absent_percent, min_average))
    return kept.map(lambda block: block.renamed([f"baseline({name})" for name in block.names]))


@function("baselineAberration", group="Calculate", params=_PARAMS, lazy=True)
def baseline_aberration(
    context: Context,
    expression: Expression,
    unit: str = "1d",
    first: int = 0,
    end: int = 7,
    max_absent_percent: float | None = None,
    min_average: float | None = None,
) -> SeriesList:
    """Each series divided by what is usual for it at this time, its baseline(): 1.1 is 10 % above it.

    Missing where the baseline is 0 (carbonapi answers 0 there) or either is missing.

    Example: baselineAberration(servers.web1.mem, "1h", 1, 4)
    """
    usual = _usual(context, "baselineAberration", expression, unit, first, end)
    current = expression.shifted(0)
    place = {name: i for i, name in enumerate(current.names)}
    known = np.array([name in place for name in usual.names], dtype=bool)
    usual = usual.keep(known & _worth_it(usual, max_absent_percent, min_average))
    now = current.pick([place[name] for name in usual.names])

    def compared(block: Block, to: Block) -> Block:
        values = ratio(block.values, to.values)
        return block.with_(values).renamed([f"baselineAberration({name})" for name in block.names])

    return SeriesList(compared(a, b) for a, b in aggregation.pairs(now, usual))


def _usual(
    context: Context, name: str, expression: Expression, unit: str, first: int, end: int
) -> SeriesList:
    """The median of the shifted windows, under the series' names."""
    if end - first > SHIFTS_MAX:
        raise ArgumentError(name, "timeShiftEnd", f"takes at most {SHIFTS_MAX} shifts, not {end - first}")
    windows = []
    for seconds in (parse_interval(backwards(unit)) * times for times in range(first, end) if times):
        found = expression.shifted(seconds)
        windows.append(found.map(partial(_moved, context, seconds)))
    series = SeriesList.concat(windows)
    return aggregation.aggregate_groups(series, members(series.names), "median", check=context.check)


def _moved(context: Context, seconds: int, block: Block) -> Block:
    return moved(context, block, seconds)


def _worth_it(
    usual: SeriesList, max_absent_percent: float | None, min_average: float | None
) -> npt.NDArray[np.bool_]:
    """Which baselines have enough points, and are high enough; what is not asked for does not count."""

    def absent(block: Block) -> npt.NDArray[np.float64]:
        return 100.0 * np.isnan(block.values).mean(axis=1) if block.values.shape[1] else np.zeros(len(block))

    kept = np.ones(len(usual), dtype=bool)
    if max_absent_percent is not None:
        kept &= usual.measure(absent) <= max_absent_percent
    if min_average is not None:
        kept &= ~(
            usual.measure(lambda block: aggregation.reduce("average", block.values.T, 0.0)) < min_average
        )
    return kept
