"""Many series into one: values, name and tags as graphite-web's aggregate() makes them; whole lists or by
group.

The xFilesFactor of a series list is what its series carry: the request's, or what setXFilesFactor() gave
them. A function's own argument goes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from render.errors import ArgumentError
from render.series import Block, Indices, Matrix, SeriesList, Tags, parse_tags
from storage import consolidation
from storage.errors import UnknownAggregation

# A name made of thousands of names helps nobody, and asPercent() repeats it for each of its series.
EXPRESSION_CHARS_MAX = 4096
# over time these of many series are what they are of one; counts, products and the like are not
_KEEPS_CONSOLIDATION = {"average", "avg_zero", "sum", "min", "max", "last", "median", "diff"}


def label(function: str, func: str) -> str:
    """An aggregation's name as an output's name shows it: `sumSeries` → `sum`. Raises ArgumentError."""
    shown = func.removesuffix("Series")
    try:
        consolidation.canonical(shown)
    except UnknownAggregation as error:
        raise ArgumentError(function, "func", str(error)) from None
    return shown


def aggregate(series: SeriesList, func: str, x_files_factor: float | None = None) -> SeriesList:
    """One series of all, point by point; an empty list of none."""
    if not series:
        return SeriesList()
    block = series.on_one_grid()
    name = f"{func}Series({joined(block.expressions)})"
    factor = block.x_files_factor if x_files_factor is None else x_files_factor
    values = reduce(func, block.values, factor)[np.newaxis]
    tags = described(_common(common_tags(part.tags, range(len(part))) for part in series.blocks), name, func)
    methods = [consolidation_of(func, block.consolidations)]
    return SeriesList(
        [Block(values, block.start, block.step, [name], [name], Tags([tags]), methods, x_files_factor=factor)]
    )


def aggregate_groups(
    series: SeriesList,
    groups: Mapping[str, Sequence[int]],
    func: str,
    *,
    check: Callable[[], None],
    x_files_factor: float | None = None,
) -> SeriesList:
    """One series a group, called by the group's key; `groups` has places in the list. Others print
    `sumSeries(…)`.

    Groups whose series share a grid stay on it; `check` is called for each group.
    """
    if not groups:
        return SeriesList()
    block = _one_block(series)
    if block is None:
        return SeriesList.concat(
            _called(aggregate(series.pick(at), func, x_files_factor), key)
            for key, at in _checked(groups, check)
        )
    order = series.order
    rows = [order[list(at)] for at in groups.values()]
    factor = block.x_files_factor if x_files_factor is None else x_files_factor
    values = reduce_groups(func, block.values, rows, factor, check)
    expressions, tags, methods = [], [], []
    for mine in rows:
        at = mine.tolist()
        name = f"{func}Series({joined(block.expressions[i] for i in at)})"
        expressions.append(name)
        tags.append(described(common_tags(block.tags, at), name, func))
        methods.append(consolidation_of(func, [block.consolidations[i] for i in at]))
    return SeriesList(
        [
            Block(
                values, block.start, block.step, list(groups), expressions, Tags(tags), methods,
                x_files_factor=factor,
            )
        ]
    )  # fmt: skip


def reduce(func: str, values: Matrix, x_files_factor: float) -> consolidation.Row:
    """Axis 0 of (series, points) reduced; a point counts only if known / series ≥ x_files_factor."""
    reduced = consolidation.columns(func, values)
    if x_files_factor <= 0:
        return reduced.values
    return np.where(reduced.known / len(values) >= x_files_factor, reduced.values, np.nan)


def reduce_groups(
    func: str,
    values: Matrix,
    groups: Sequence[Indices],
    x_files_factor: float,
    check: Callable[[], None],
) -> Matrix:
    """Rows of values (series, points) reduced by group → (groups, points)."""
    out = np.empty((len(groups), values.shape[1]))
    # one buffer for all: gathering into fresh memory costs more than reducing it
    buffer = np.empty((max(map(len, groups), default=0), values.shape[1]))
    for i, rows in enumerate(groups):
        check()
        out[i] = reduce(func, _taken(values, rows, buffer), x_files_factor)
    return out


def fresh(block: Block, values: Matrix, names: Sequence[str]) -> Block:
    """New series on a block's grid: their names are their only tags, and they consolidate to averages."""
    tags = Tags([{"name": name} for name in names])
    methods = ["average"] * len(names)
    return Block(
        values, block.start, block.step, names, names, tags, methods, x_files_factor=block.x_files_factor
    )


def joined(expressions: Iterable[str]) -> str:
    """Different expressions joined by commas, first seen first; cut with "…" after EXPRESSION_CHARS_MAX."""
    return cut_join(dict.fromkeys(expressions))


def cut_join(names: Iterable[str]) -> str:
    """Names joined by commas, cut with "…" between two of them after EXPRESSION_CHARS_MAX."""
    kept: list[str] = []
    length = 0
    for name in names:
        length += len(name) + 1
        if kept and length > EXPRESSION_CHARS_MAX:
            return ",".join(kept) + ",…"
        kept.append(name)
    return ",".join(kept)


def together(*lists: SeriesList) -> list[Block]:
    """Each list (none of them empty) as one block, all on one grid."""
    blocks = [one.on_one_grid() for one in lists]
    if len({(block.start, block.step, block.values.shape[1]) for block in blocks}) == 1:
        return blocks
    merged = SeriesList.concat(lists).on_one_grid()
    parts, at = [], 0
    for one in lists:
        parts.append(merged.pick(range(at, at + len(one))))
        at += len(one)
    return parts


def pairs(left: SeriesList, right: SeriesList) -> Iterator[tuple[Block, Block]]:
    """The i-th series of both lists side by side: blocks whose rows are pairs, each pair on its common grid.

    All in one if one grid will do, otherwise pair by pair.
    """
    if not left:
        return
    grids = {(b.start, b.step, b.values.shape[1]) for b in (*left.blocks, *right.blocks)}
    if len(grids) == 1:
        yield left.on_one_grid(), right.on_one_grid()
        return
    for i in range(len(left)):
        first, second = together(left.pick([i]), right.pick([i]))
        yield first, second


def shared_tags(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """The tags that both have with the same value."""
    return {tag: value for tag, value in first.items() if second.get(tag) == value}


def described(common: dict[str, str], name: str, func: str) -> dict[str, str]:
    """The tags of an aggregate: what its series have in common and how it was made."""
    return {"name": name, **common, "aggregatedBy": func}


def consolidation_of(func: str, methods: Iterable[str]) -> str:
    """How an aggregate's points merge: as those of all its series do, if that makes sense of it.

    graphite-web always averages, because there every series that was fetched does so.
    """
    different = set(methods)
    keeps = len(different) == 1 and consolidation.canonical(func) in _KEEPS_CONSOLIDATION
    return different.pop() if keeps else "average"


def _one_block(series: SeriesList) -> Block | None:
    """All series as they lie, as one block if they share a grid; its rows are in the blocks' order."""
    grids = {(block.start, block.step, block.values.shape[1]) for block in series.blocks}
    if len(grids) > 1:
        return None
    return SeriesList(series.blocks).on_one_grid()


def _checked(
    groups: Mapping[str, Sequence[int]], check: Callable[[], None]
) -> Iterator[tuple[str, Sequence[int]]]:
    for key, at in groups.items():
        check()
        yield key, at


def _called(series: SeriesList, name: str) -> SeriesList:
    return series.map(lambda block: block.with_(names=[name]))


def _taken(values: Matrix, rows: Indices, buffer: Matrix) -> Matrix:
    """values[rows], as a view if the rows follow one another."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and bool(np.all(np.diff(rows) == 1)):
        return values[first : last + 1]
    return np.take(values, rows, axis=0, out=buffer[: len(rows)], mode="clip")  # other modes copy once more


def common_tags(tags: Tags, rows: Iterable[int]) -> dict[str, str]:
    """The tags that these series have in common; stops looking when nothing is left."""
    own = _common(_parsed(tags.own[i]) for i in rows)
    return {**own, **tags.added}


def _common(of: Iterable[dict[str, str]]) -> dict[str, str]:
    each = iter(of)
    common = next(each)
    while common and (tags := next(each, None)) is not None:
        common = shared_tags(common, tags)
    return common


def _parsed(own: str | Mapping[str, str]) -> dict[str, str]:
    return parse_tags(own) if isinstance(own, str) else dict(own)
