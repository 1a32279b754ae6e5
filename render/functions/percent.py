"""Each series as a percentage of a total: asPercent, of group Combine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from render.errors import ArgumentError
from render.functions import aggregation
from render.functions.aggregation import fresh, joined, pairs, together
from render.functions.arithmetic import ratio
from render.functions.combine import NODES
from render.functions.nodes import list_keys, members
from render.functions.registry import SERIES, Param, function
from render.series import Block, Matrix, SeriesList

if TYPE_CHECKING:
    from render.functions.context import Context


@function("asPercent", "pct", group="Combine", params=[SERIES, Param("total", "any"), NODES], aggregator=True)
def as_percent(context: Context, series: SeriesList, total: object, nodes: Sequence[int | str]) -> SeriesList:
    """Each series as a percentage of a total: of the sum of all (none given), of a number, of one series, or
    of a list that is as long, paired by name. With `nodes`, of the total series (or of the sum of the series)
    that agree in these nodes or tags.

    Example: asPercent(disk.*.used, disk.*.total, 1)
    """
    if not series:
        return SeriesList()
    if nodes:
        return _percent_by_nodes(context, series, total, nodes)
    if total is None:
        block = series.on_one_grid()
        line = aggregation.reduce("sum", block.values, 0.0)
        return SeriesList([_percent(block, line, f"sumSeries({joined(block.expressions)})")])
    if isinstance(total, SeriesList):
        return _percent_of_series(series, total)
    if isinstance(total, (int, float)) and not isinstance(total, bool):
        line, text = np.array([float(total)]), str(total)
        return series.map(lambda block: _percent(block, line, text))
    raise ArgumentError("asPercent", "total", f"takes a number or a series list, not {total!r}")


def _percentage(parts: Matrix, totals: Matrix) -> Matrix:
    out = ratio(parts, totals)
    out *= 100.0
    return out


def _percent(block: Block, total: Matrix, text: str) -> Block:
    """All rows as percentages of one line (points,) or number (1,)."""
    return fresh(
        block, ratio(block.values, total) * 100.0, [f"asPercent({name},{text})" for name in block.names]
    )


def _percent_of_series(series: SeriesList, total: SeriesList) -> SeriesList:
    """Of one series, or of a list as long, paired in the order of their names."""
    if len(total) == len(series):
        by_name = [one.pick(sorted(range(len(one)), key=one.names.__getitem__)) for one in (series, total)]
        return SeriesList(_percent_pair(a, b) for a, b in pairs(*by_name))
    if len(total) != 1:
        takes = f"a number, one series or as many as the first list, {len(series)}"
        raise ArgumentError("asPercent", "total", f"takes {takes}, not {len(total)}")

    def percent(block: Block) -> Block:
        first, line = together(SeriesList([block]), total)
        return _percent(first, line.values[0], total.names[0])

    return series.map(percent)


def _percent_pair(series: Block, total: Block) -> Block:
    names = [f"asPercent({a},{b})" for a, b in zip(series.names, total.names, strict=True)]
    return fresh(series, _percentage(series.values, total.values), names)


def _percent_by_nodes(
    context: Context, series: SeriesList, total: object, nodes: Sequence[int | str]
) -> SeriesList:
    """Of the total with the same key. A key that only one side has gives a series without values."""
    if total is not None and not isinstance(total, SeriesList):
        raise ArgumentError("asPercent", "total", f"takes a series list or none beside nodes, not {total!r}")
    totals = series if total is None else total
    left = right = series.on_one_grid()
    if total is not None and totals:
        left, right = together(series, totals)
    mine, theirs = members(list_keys(series, nodes)), members(list_keys(totals, nodes))
    rows = list(map(np.array, theirs.values()))
    sums = aggregation.reduce_groups("sum", right.values, rows, 0.0, context.check)
    texts = {key: _total_text(right, at) for key, at in theirs.items()}
    lines = dict(zip(theirs, sums, strict=True))
    alone = [key for key in theirs if key not in mine]
    values = np.full((len(series) + len(alone), left.values.shape[1]), np.nan)
    names: list[str] = []
    for key, at in mine.items():
        if key in lines:
            values[len(names) : len(names) + len(at)] = _percentage(left.values[at], lines[key])
        names += [f"asPercent({left.names[i]},{texts.get(key, 'MISSING')})" for i in at]
    names += [f"asPercent(MISSING,{texts[key]})" for key in alone]
    return SeriesList([fresh(left, values, names)])


def _total_text(block: Block, rows: Sequence[int]) -> str:
    if len(rows) == 1:
        return block.names[rows[0]]
    return f"sumSeries({joined(block.expressions[i] for i in rows)})"
