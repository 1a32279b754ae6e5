"""What every service must show, a call each: errorRate and apdex; its rate is in counters.py. Group Combine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from render.errors import ArgumentError
from render.functions.aggregation import joined, reduce_groups, shared_tags, together
from render.functions.context import Context
from render.functions.nodes import list_keys, members
from render.functions.registry import Param, function
from render.series import Block, Matrix, SeriesList, Tags

_NODES = Param("nodes", "nodeOrTag", multiple=True)
_IDLE = Param("idle", "float")
_NOBODY = "MISSING"


@function(
    "errorRate",
    group="Combine",
    params=[
        Param("errors", "seriesList", required=True),
        Param("total", "seriesList", required=True),
        _NODES,
        Param("missing", "float"),
        _IDLE,
    ],
)
def error_rate(
    context: Context,
    errors: SeriesList,
    total: SeriesList,
    nodes: Sequence[int | str],
    missing: float | None,
    idle: float | None,
) -> SeriesList:
    """Which part of all is wrong, in percent: errors · 100 / total, at each point.

    Both are counts of the same interval, or both rates: of counters that grow for ever take rate() first.

    Without `nodes`, each of the errors is divided by the one total, or each by that of as many totals whose
    place in the order of names is the same. With `nodes` (numbers of nodes, or tags) there is one series for
    each value of them, called by it: the sum of the errors that have it by the sum of such totals.

    There is no value where the total is 0, or `idle` if given; and none where errors or total are missing.
    Many programs send no errors while there are none: then `missing=0` takes missing errors for 0 wherever
    there is a total, also where all of a service's errors are missing.

    Example: errorRate(disk.a.used, disk.a.total)
    Example: errorRate(disk.*.used, disk.*.total, 1, missing=0, idle=0)
    """

    def percent(wrong: Matrix, all_: Matrix) -> Matrix:
        if missing is not None:
            wrong = np.where(np.isnan(wrong), missing, wrong)
        return _share(wrong, all_, 100.0, None if idle is None else idle / 100.0)

    return _answered("errorRate", context, {"errors": errors, "total": total}, nodes, percent)


@function(
    "apdex",
    group="Combine",
    params=[
        Param("satisfied", "seriesList", required=True),
        Param("tolerating", "seriesList", required=True),
        Param("total", "seriesList", required=True),
        _NODES,
        Param("cumulative", "boolean", default=False),
        _IDLE,
    ],
)
def apdex(
    context: Context,
    satisfied: SeriesList,
    tolerating: SeriesList,
    total: SeriesList,
    nodes: Sequence[int | str],
    cumulative: bool,
    idle: float | None,
) -> SeriesList:
    """How content the users are, from 0 to 1: (satisfied + tolerating / 2) / total, at each point.

    `satisfied` counts the requests that took no longer than they should, `tolerating` those that took longer,
    but not more than four times as long, `total` all. With `cumulative`, `tolerating` counts the satisfied
    ones too, as the buckets of a Prometheus histogram do. Series are paired as errorRate() pairs them, and
    `idle` stands where the total is 0.

    It needs counts. A series of average times cannot give it, as an average hides just the slow requests that
    it is about.

    Example: apdex(disk.a.used, servers.db1.cpu, disk.a.total)
    Example: apdex(disk.*.used, disk.*.used, disk.*.total, 1, cumulative=true, idle=1)
    """
    lists = {"satisfied": satisfied, "tolerating": tolerating, "total": total}

    def content(happy: Matrix, patient: Matrix, all_: Matrix) -> Matrix:
        with np.errstate(all="ignore"):
            return _share((happy + patient) / 2 if cumulative else happy + patient / 2, all_, 1.0, idle)

    return _answered("apdex", context, lists, nodes, content)


def _share(part: Matrix, all_: Matrix, scale: float, idle: float | None) -> Matrix:
    """part · scale / all; where all is 0 there is no share, or `idle` · scale."""
    with np.errstate(all="ignore"):
        out: Matrix = part * scale / all_
    np.copyto(out, np.nan if idle is None else idle * scale, where=all_ == 0)
    return out


class _Column(NamedTuple):
    """One of the lists, a row for each answer; or one row for all."""

    values: Matrix  # (answers, points) or (1, points)
    texts: Sequence[str]  # what the answers' names call it
    tags: Sequence[Mapping[str, str] | None]  # None where it has no series


def _answered(
    name: str,
    context: Context,
    lists: Mapping[str, SeriesList],
    nodes: Sequence[int | str],
    answer: Callable[..., Matrix],
) -> SeriesList:
    """One series for each pair (or triple) of the lists' series, of which the last may be one for all."""
    there = [series for series in lists.values() if series]
    if not there:
        return SeriesList()
    grid = together(*there)
    laid = iter(grid)
    blocks = {parameter: next(laid) if series else None for parameter, series in lists.items()}
    if nodes:
        keys, columns = _by_nodes(context, lists, blocks, nodes)
    else:
        keys, columns = [], _by_name(name, lists, blocks)
    expressions = [
        f"{name}({','.join(texts)})" for texts in zip(*(one.texts for one in columns), strict=True)
    ]
    common = [_common(tags) for tags in zip(*(one.tags for one in columns), strict=True)]
    names = keys or expressions
    tags = Tags([{**own, "name": called} for own, called in zip(common, names, strict=True)])
    values = answer(*(one.values for one in columns))
    start, step, factor = grid[0].start, grid[0].step, max(block.x_files_factor for block in grid)
    methods = ["average"] * len(names)
    return SeriesList([Block(values, start, step, names, expressions, tags, methods, x_files_factor=factor)])


def _by_name(
    function_: str, lists: Mapping[str, SeriesList], blocks: Mapping[str, Block | None]
) -> list[_Column]:
    """The series that have the same place in the order of names. Raises ArgumentError if one has no partner."""
    rows = max(map(len, lists.values()))
    last = len(lists) - 1
    columns = []
    for i, (parameter, block) in enumerate(blocks.items()):
        if block is None:
            columns.append(_nobody(blocks, rows))
        elif len(block) == rows:
            mine = block.pick(sorted(range(rows), key=block.names.__getitem__))
            columns.append(_Column(mine.values, mine.names, mine.tags.all()))
        elif len(block) == 1 and i == last:
            columns.append(_Column(block.values, [block.names[0]] * rows, [block.tags[0]] * rows))
        else:
            takes = f"takes {rows} series, as many as there are of the others, not {len(block)}"
            raise ArgumentError(function_, parameter, f"{takes}; or say by which nodes they belong together")
    return columns


def _by_nodes(
    context: Context,
    lists: Mapping[str, SeriesList],
    blocks: Mapping[str, Block | None],
    nodes: Sequence[int | str],
) -> tuple[list[str], list[_Column]]:
    """The sums of the series that agree in nodes, and the keys of these; keys first seen first."""
    groups = {parameter: members(list_keys(series, nodes)) for parameter, series in lists.items()}
    keys = list(dict.fromkeys(key for own in groups.values() for key in own))
    places = {key: i for i, key in enumerate(keys)}
    columns = []
    for parameter, block in blocks.items():
        own = groups[parameter]
        if block is None:
            columns.append(_nobody(blocks, len(keys)))
            continue
        rows = [np.array(at, dtype=np.intp) for at in own.values()]
        values = np.full((len(keys), block.values.shape[1]), np.nan)
        values[[places[key] for key in own]] = reduce_groups("sum", block.values, rows, 0.0, context.check)
        texts = [_text(block, own[key]) if key in own else _NOBODY for key in keys]
        tags = [_common([block.tags[i] for i in own[key]]) if key in own else None for key in keys]
        columns.append(_Column(values, texts, tags))
    return keys, columns


def _nobody(blocks: Mapping[str, Block | None], rows: int) -> _Column:
    points = next(block.values.shape[1] for block in blocks.values() if block is not None)
    return _Column(np.full((1, points), np.nan), [_NOBODY] * rows, [None] * rows)


def _text(block: Block, rows: Sequence[int]) -> str:
    return (
        block.names[rows[0]] if len(rows) == 1 else f"sumSeries({joined(block.expressions[i] for i in rows)})"
    )


def _common(of: Iterable[Mapping[str, str] | None]) -> dict[str, str]:
    """The tags that all have with the same value."""
    return functools.reduce(shared_tags, (dict(tags) for tags in of if tags is not None))
