"""Aggregates of series that come in parts: what a part adds is kept, its series are let go.

    fold = Fold("sum", keys)
    for part in parts:
        fold.add(part)
    fold.done()

gives what `aggregate_groups` (or `aggregate`) gives of all parts together, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from render.functions import aggregation
from render.functions.nodes import members
from render.series import Block, SeriesList, Tags
from storage import consolidation
from storage.consolidation import Row

Known = npt.NDArray[np.int64]
Merge = Callable[["_State", "_State"], list[Row]]


class _State(NamedTuple):
    """What is known of some series of a group: `columns` as their aggregation's row of _TABLE names them."""

    columns: list[Row]
    known: Known  # values at each point
    series: int


class _Way(NamedTuple):
    """How an aggregation is put together of parts."""

    columns: Sequence[str]  # aggregations of a part
    merge: Merge  # where both have values
    finish: Callable[[_State], Row]


def _first(state: _State) -> Row:
    return state.columns[0]


def _each(*ufuncs: Callable[[Row, Row], Row]) -> Merge:
    return lambda a, b: [f(x, y) for f, x, y in zip(ufuncs, a.columns, b.columns, strict=True)]


def _spread(a: _State, b: _State) -> list[Row]:
    """Averages and standard deviations of two parts → of both (Chan, Golub and LeVeque)."""
    total = a.known + b.known
    apart = b.columns[0] - a.columns[0]
    average = a.columns[0] + apart * b.known / total
    squares = a.columns[1] ** 2 * a.known + b.columns[1] ** 2 * b.known + apart**2 * a.known * b.known / total
    return [average, np.sqrt(squares / total)]


_TABLE = {
    "sum": _Way(["sum"], _each(np.add), _first),
    "average": _Way(["sum"], _each(np.add), lambda all_: all_.columns[0] / all_.known),
    "count": _Way(["count"], _each(np.add), _first),
    "min": _Way(["min"], _each(np.minimum), _first),
    "max": _Way(["max"], _each(np.maximum), _first),
    "range": _Way(["min", "max"], _each(np.minimum, np.maximum), lambda all_: all_.columns[1] - all_.columns[0]),
    "last": _Way(["last"], lambda _, b: b.columns, _first),
    # the first value less the rest, hence less the sum of what comes later
    "diff": _Way(["diff", "sum"], lambda a, b: [a.columns[0] - b.columns[1], a.columns[1]], _first),
    "stddev": _Way(["average", "stddev"], _spread, lambda all_: all_.columns[1]),
}  # fmt: skip


def fold_of(
    func: str, keys: Callable[[SeriesList], list[str]] | None = None, x_files_factor: float | None = None
) -> Fold | None:
    """None if the aggregation cannot be put together of parts: medians and percentiles, and avg_zero and multiply,
    which look at what is missing, are not.
    """
    shown = func.removesuffix("Series")
    known = shown in consolidation.NAMES and consolidation.canonical(shown) in _TABLE
    return Fold(shown, keys, x_files_factor) if known else None


class Fold:
    """`func` is an aggregation as outputs' names show it. `keys`: each series' group; None = all are one series,
    called `sumSeries(…)`.
    """

    def __init__(
        self,
        func: str,
        keys: Callable[[SeriesList], list[str]] | None = None,
        x_files_factor: float | None = None,
    ) -> None:
        self._func, self._keys, self._factor = func, keys, x_files_factor
        self._way = _TABLE[consolidation.canonical(func)]
        self._groups: dict[str, _Group] = {}
        self._grids: set[tuple[int, int, int]] = set()
        self._carried = 0.0  # the xFilesFactor that the series carry

    def add(self, part: SeriesList) -> None:
        for block in part.blocks:
            self._grids.add((block.start, block.step, block.values.shape[1]))
            self._carried = max(self._carried, block.x_files_factor)
        if len(self._grids) != 1:
            return
        block = part.on_one_grid()
        keys = [""] * len(block) if self._keys is None else self._keys(part)
        for key, rows in members(keys).items():
            found = self._reduced(block, rows)
            group = self._groups.setdefault(key, _Group())
            group.state = found if group.state is None else self._merged(group.state, found)
            group.describe(block, rows)

    def done(self) -> SeriesList | None:
        """The aggregates, keys first seen first; None if the parts have no common grid, as then all must be held."""
        if len(self._grids) > 1:
            return None
        if not self._groups:
            return SeriesList()
        ((start, step, _),) = self._grids
        factor = self._carried if self._factor is None else self._factor
        groups = list(self._groups.values())
        expressions = [f"{self._func}Series({aggregation.joined(group.expressions)})" for group in groups]
        names = expressions if self._keys is None else list(self._groups)
        tags = [
            aggregation.described(group.tags or {}, expression, self._func)
            for group, expression in zip(groups, expressions, strict=True)
        ]
        methods = [aggregation.consolidation_of(self._func, group.methods) for group in groups]
        values = np.stack([self._finished(group, factor) for group in groups])
        return SeriesList(
            [Block(values, start, step, names, expressions, Tags(tags), methods, x_files_factor=factor)]
        )

    def _reduced(self, block: Block, rows: Sequence[int]) -> _State:
        values = block.values if len(rows) == len(block) else block.values[rows]
        reduced = [consolidation.columns(name, values) for name in self._way.columns]
        return _State([one.values for one in reduced], reduced[0].known, len(rows))

    def _merged(self, a: _State, b: _State) -> _State:
        with np.errstate(all="ignore"):
            both = self._way.merge(a, b)
        columns = [
            np.where(b.known == 0, x, np.where(a.known == 0, y, merged))
            for x, y, merged in zip(a.columns, b.columns, both, strict=True)
        ]
        return _State(columns, a.known + b.known, a.series + b.series)

    def _finished(self, group: _Group, factor: float) -> Row:
        assert group.state is not None
        with np.errstate(all="ignore"):
            values = self._way.finish(group.state)
        if factor <= 0:
            return values
        return np.where(group.state.known / group.state.series >= factor, values, np.nan)


class _Group:
    """A group's outcome so far, and what describes it."""

    def __init__(self) -> None:
        self.state: _State | None = None
        self.expressions: dict[str, None] = {}
        self.tags: dict[str, str] | None = None  # that all have
        self.methods: set[str] = set()
        self._chars = 0

    def describe(self, block: Block, rows: Sequence[int]) -> None:
        self.methods.update(block.consolidations[i] for i in rows)
        if self.tags is None or self.tags:
            common = aggregation.common_tags(block.tags, rows)
            self.tags = common if self.tags is None else aggregation.shared_tags(self.tags, common)
        if self._chars <= aggregation.EXPRESSION_CHARS_MAX:
            self.expressions.update(dict.fromkeys(block.expressions[i] for i in rows))
            self._chars = sum(map(len, self.expressions))
