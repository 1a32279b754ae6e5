"""SeriesList: what a target evaluates to. Matrices by grid, with a column of names, tags and so on.

A Block is a float64 matrix (series, points) on one grid (start, step), NaN = no data; row i belongs to
`names[i]`, `expressions[i]` and so on. A SeriesList is blocks and the order in which their series are listed:
series functions work on whole blocks and keep the order, or take a new order without touching a value.
Nothing is changed in place: functions give new blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import consolidation

Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Tags:
    """The tags of a block's series: parsed from each one's metric path, then what functions added to all.

    `own` is, for each series, a metric path still to be parsed (text) or a mapping.
    """

    own: Sequence[str | Mapping[str, str]]
    added: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, i: int) -> dict[str, str]:
        own = self.own[i]
        return {**(parse_tags(own) if isinstance(own, str) else own), **self.added}

    def __len__(self) -> int:
        return len(self.own)

    def pick(self, indices: Iterable[int]) -> Tags:
        return Tags([self.own[i] for i in indices], self.added)

    def plus(self, **added: str) -> Tags:
        return Tags(self.own, {**self.added, **added})

    def all(self) -> list[dict[str, str]]:
        return [self[i] for i in range(len(self))]


def parse_tags(path: str) -> dict[str, str]:
    """`a.b;t=v` → {"name": "a.b", "t": "v"}; a plain path is its own name."""
    name, *pairs = path.split(";")
    tags = {"name": name}
    for pair in pairs:
        tag, _, value = pair.partition("=")
        tags[tag] = value
    return tags


class Series(NamedTuple):
    """One series of a list, as an output format sees it."""

    name: str
    expression: str
    tags: dict[str, str]
    values: npt.NDArray[np.float64]  # (points,)
    start: int
    step: int
    end: int
    consolidation: str
    x_files_factor: float
    points_per_value: int
    options: Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Block:
    """Series that share one grid; all columns have as many entries as `values` has rows."""

    values: Matrix
    start: int  # epoch seconds of the first point
    step: int  # seconds from point to point
    names: Sequence[str]  # what the answer calls each series
    expressions: Sequence[str]  # graphite's pathExpression: what an outer function prints for it
    tags: Tags
    consolidations: Sequence[str]  # how points merge when there are too many: an aggregation's name
    x_files_factor: float = 0.0
    points_per_value: int = 1
    fixed_end: int | None = None  # graphite's lines of three points end at until, not after it
    options: Sequence[Mapping[str, object]] | None = (
        None  # for drawing: colour, dashes …; one mapping a series
    )

    @property
    def end(self) -> int:
        """Epoch seconds after the last point's interval."""
        return self.start + self.values.shape[1] * self.step if self.fixed_end is None else self.fixed_end

    def __len__(self) -> int:
        return len(self.values)

    def with_(self, values: Matrix | None = None, **columns: object) -> Block:
        """This block with other values or columns: `block.with_(block.values * 2, names=…)`."""
        changes: dict[str, object] = dict(columns)
        if values is not None:
            changes["values"] = values
        return replace(self, **changes)  # type: ignore[arg-type]  # checked by the dataclass's constructor

    def renamed(self, names: Sequence[str], tags: Tags | None = None) -> Block:
        """A function's usual outcome: the new name is also what outer functions print."""
        return replace(self, names=names, expressions=names, tags=tags or self.tags)

    def pick(self, indices: Iterable[int]) -> Block:
        at = list(indices)
        return replace(
            self,
            values=self.values[at],
            names=[self.names[i] for i in at],
            expressions=[self.expressions[i] for i in at],
            tags=self.tags.pick(at),
            consolidations=[self.consolidations[i] for i in at],
            options=None if self.options is None else [self.options[i] for i in at],
        )


class SeriesList:
    """Blocks, and the order of their series: `order` indexes the blocks' series laid end to end."""

    def __init__(self, blocks: Iterable[Block] = (), order: Indices | None = None) -> None:
        self.blocks = tuple(block for block in blocks)
        self._order = order

    def __len__(self) -> int:
        return sum(map(len, self.blocks)) if self._order is None else len(self._order)

    def __bool__(self) -> bool:
        return len(self) > 0

    @property
    def order(self) -> Indices:
        return np.arange(len(self)) if self._order is None else self._order

    def _column(self, of: Callable[[Block], Sequence[str]]) -> list[str]:
        laid = [item for block in self.blocks for item in of(block)]
        return laid if self._order is None else [laid[i] for i in self._order]

    @cached_property
    def names(self) -> list[str]:
        return self._column(lambda block: block.names)

    @cached_property
    def expressions(self) -> list[str]:
        return self._column(lambda block: block.expressions)

    @cached_property
    def tags(self) -> list[dict[str, str]]:
        laid = [tags for block in self.blocks for tags in block.tags.all()]
        return laid if self._order is None else [laid[i] for i in self._order]

    def __iter__(self) -> Iterator[Series]:
        laid = [(block, i) for block in self.blocks for i in range(len(block))]
        for at in self.order:
            block, i = laid[at]
            yield Series(
                block.names[i], block.expressions[i], block.tags[i], block.values[i], block.start, block.step,
                block.end, block.consolidations[i], block.x_files_factor, block.points_per_value,
                {} if block.options is None else block.options[i],
            )  # fmt: skip

    # --- the ways in which functions make new lists ---

    def map(self, change: Callable[[Block], Block]) -> SeriesList:
        """Change each block, series for series; the order stays."""
        return SeriesList([change(block) for block in self.blocks], self._order)

    def measure(self, number: Callable[[Block], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        """One number a series, in the list's order: float64 (series,)."""
        if not self.blocks:
            return np.empty(0)
        laid = np.concatenate([number(block) for block in self.blocks])
        return laid if self._order is None else laid[self._order]

    def pick(self, indices: Sequence[int] | Indices) -> SeriesList:
        """These of the list's series, in this order; blocks of which nothing is left go."""
        chosen = self.order[np.asarray(indices, dtype=np.intp)]
        blocks, order, at = [], np.empty(len(chosen), np.intp), 0
        taken = 0
        for block in self.blocks:
            inside = (chosen >= at) & (chosen < at + len(block))
            mine = chosen[inside] - at
            if len(mine):
                order[inside] = np.arange(taken, taken + len(mine))
                whole = len(mine) == len(block) and bool(np.all(np.diff(mine) == 1))
                blocks.append(block if whole else block.pick(mine))
                taken += len(mine)
            at += len(block)
        in_order = bool(np.all(np.diff(order) == 1)) if len(order) > 1 else True
        return SeriesList(blocks, None if in_order else order)

    def keep(self, mask: npt.NDArray[np.bool_] | Sequence[bool]) -> SeriesList:
        return self.pick(np.flatnonzero(np.asarray(mask, dtype=bool)))

    def groups(self, keys: Sequence[str]) -> dict[str, SeriesList]:
        """The series by key (one key a series, in the list's order), keys first seen first."""
        members: dict[str, list[int]] = {}
        for i, key in enumerate(keys):
            members.setdefault(key, []).append(i)
        return {key: self.pick(indices) for key, indices in members.items()}

    @staticmethod
    def concat(lists: Iterable[SeriesList]) -> SeriesList:
        lists = [one for one in lists if one]
        if len(lists) == 1:
            return lists[0]
        blocks = [block for one in lists for block in one.blocks]
        if all(one._order is None for one in lists):
            return SeriesList(blocks)
        order, at = [], 0
        for one in lists:
            order.append(one.order + at)
            at += sum(map(len, one.blocks))
        return SeriesList(blocks, np.concatenate(order))

    def on_one_grid(self) -> Block:
        """All series, in the list's order, as one block: the step is the least common multiple of the steps.

        A series with a finer step is consolidated by its own aggregation. Points are aligned by their time
        (graphite-web cuts buckets from each series' own start and pairs them by position); the grid reaches
        from the first bucket that any series has to the last. Raises ValueError on an empty list.
        """
        blocks = self.blocks
        if not blocks:
            raise ValueError("an empty list has no grid")
        if len(blocks) == 1 and self._order is None:
            return blocks[0]
        step = math.lcm(*{block.step for block in blocks})
        starts = {block.start for block in blocks}
        same = len({block.step for block in blocks}) == 1
        if same and len({(b.start - blocks[0].start) % step for b in blocks}) == 1:
            start = min(starts)
        else:
            start = min(s - s % step for s in starts)
        points = max(-(-(b.start + b.values.shape[1] * b.step - start) // step) for b in blocks)
        values = np.full((sum(map(len, blocks)), points), np.nan)
        at = 0
        for block in blocks:
            _place(block, values[at : at + len(block)], start, step)
            at += len(block)
        merged = Block(
            values,
            start,
            step,
            [n for b in blocks for n in b.names],
            [e for b in blocks for e in b.expressions],
            Tags([tags for b in blocks for tags in _own(b.tags)]),
            [c for b in blocks for c in b.consolidations],
            max(b.x_files_factor for b in blocks),
            options=None
            if all(b.options is None for b in blocks)
            else [o for b in blocks for o in (b.options or [{}] * len(b))],
        )
        return merged if self._order is None else merged.pick(self._order)


def _own(tags: Tags) -> list[str | Mapping[str, str]]:
    return list(tags.own) if not tags.added else list(tags.all())


def _place(block: Block, into: Matrix, start: int, step: int) -> None:
    """Consolidate a block's points into the grid (start, step) of `into` (series, points)."""
    if block.step == step and (block.start - start) % step == 0:
        at = (block.start - start) // step
        into[:, at : at + block.values.shape[1]] = block.values
        return
    size = step // block.step
    lead = -(-((block.start - start) % step) // block.step)
    values = np.pad(block.values, ((0, 0), (lead, 0)), constant_values=np.nan) if lead else block.values
    at = (block.start - start) // step
    by_method: dict[str, list[int]] = {}
    for i, method in enumerate(block.consolidations):
        by_method.setdefault(method, []).append(i)
    for method, mine in by_method.items():
        merged = consolidation.buckets(method, values[mine], size, block.x_files_factor)
        into[mine, at : at + merged.shape[1]] = merged
