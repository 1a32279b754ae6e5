"""Functions that make one series of each group of series, by nodes or tags of their names: group Combine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from render.errors import ArgumentError
from render.functions import aggregation, short_forms
from render.functions.aggregation import aggregate_groups
from render.functions.combine import FUNC, NODES
from render.functions.fold import Fold, fold_of
from render.functions.nodes import list_keys, members
from render.functions.registry import AGGREGATIONS, REGISTRY, SERIES, Param, function
from render.series import Block, SeriesList, Tags, parse_tags
from render.target import DEFAULT_LIMITS

if TYPE_CHECKING:
    from render.functions.context import Context

_COMBINE = "Combine"
_CALLBACK = Param("callback", "aggOrSeriesFunc", required=True, suggestions=AGGREGATIONS)
_POSITIONS = Param("position", "node", multiple=True)
# what groupByNode's callback means when it is one of these functions: the same as aggregate() with
_AGGREGATES = {
    **short_forms.FUNCS,
    "averageSeries": "average",
    "avg": "average",
    "diffSeries": "diff",
    "maxSeries": "max",
    "minSeries": "min",
    "rangeOfSeries": "rangeOf",
    "stddevSeries": "stddev",
    "sum": "sum",
    "sumSeries": "sum",
}


@function(
    "groupByNode",
    group=_COMBINE,
    params=[
        SERIES,
        Param("nodeNum", "nodeOrTag", required=True),
        Param("callback", "aggOrSeriesFunc", default="average", suggestions=AGGREGATIONS),
    ],
    fold=lambda given: _grouping(given["callback"], [given["nodeNum"]]),
)
def group_by_node(context: Context, series: SeriesList, node: int | str, callback: str) -> SeriesList:
    """One series for each value of a node (counted from 0, negative from the end) or tag, made by `callback`: an
    aggregation, or a function that takes one list, of which the first series counts.

    Example: groupByNode(servers.*.*, 2, "sum")
    """
    return _grouped(context, "groupByNode", series, list_keys(series, [node]), callback)


@function(
    "groupByNodes",
    group=_COMBINE,
    params=[SERIES, _CALLBACK, NODES],
    fold=lambda given: _grouping(given["callback"], given["nodes"]),
)
def group_by_nodes(
    context: Context, series: SeriesList, callback: str, nodes: Sequence[int | str]
) -> SeriesList:
    """One series for each combination of nodes (counted from 0, negative from the end) or tags, made by
    `callback`.

    Example: groupByNodes(servers.*.*, "sum", 0, 2)
    """
    return _grouped(context, "groupByNodes", series, list_keys(series, nodes), callback)


@function(
    "groupByTags",
    group=_COMBINE,
    params=[SERIES, _CALLBACK, Param("tags", "tag", required=True, multiple=True)],
)
def group_by_tags(context: Context, series: SeriesList, callback: str, tags: Sequence[str]) -> SeriesList:
    """One series for each combination of tags, made by `callback`. Its name is that of the series if they
    share it, or the callback, and the tags.

    Example: groupByTags(seriesByTag("name=load"), "sum", "dc")
    """
    keys = _tag_keys(series, callback, tags)
    made = _grouped(context, "groupByTags", series, keys, callback)
    return made.map(
        lambda block: block.renamed(block.names, Tags([parse_tags(name) for name in block.names]))
    )


@function(
    "aggregateWithWildcards",
    group=_COMBINE,
    params=[SERIES, FUNC, _POSITIONS],
    fold=lambda given: _without(given["func"], given["position"]),
)
def aggregate_with_wildcards(
    context: Context, series: SeriesList, func: str, positions: Sequence[int]
) -> SeriesList:
    """One series for all whose names are equal but for the nodes at `position`, called by what is left of the
    name.

    Example: aggregateWithWildcards(servers.*.cpu, "sum", 1)
    """
    shown = aggregation.label("aggregateWithWildcards", func)
    return aggregate_groups(series, members(_names_without(series, positions)), shown, check=context.check)


@function(
    "sumSeriesWithWildcards",
    group=_COMBINE,
    params=[SERIES, _POSITIONS],
    aggregator=True,
    fold=lambda given: _without("sum", given["position"]),
)
def sum_series_with_wildcards(context: Context, series: SeriesList, positions: Sequence[int]) -> SeriesList:
    """The sum of all series whose names are equal but for the nodes at `position`.

    Example: sumSeriesWithWildcards(servers.*.*, 1)
    """
    return aggregate_with_wildcards(context, series, "sum", positions)


@function(
    "averageSeriesWithWildcards",
    group=_COMBINE,
    params=[SERIES, _POSITIONS],
    aggregator=True,
    fold=lambda given: _without("average", given["position"]),
)
def average_series_with_wildcards(
    context: Context, series: SeriesList, positions: Sequence[int]
) -> SeriesList:
    """The average of all series whose names are equal but for the nodes at `position`.

    Example: averageSeriesWithWildcards(servers.*.*, 1)
    """
    return aggregate_with_wildcards(context, series, "average", positions)


@function("multiplySeriesWithWildcards", group=_COMBINE, params=[SERIES, _POSITIONS], aggregator=True)
def multiply_series_with_wildcards(
    context: Context, series: SeriesList, positions: Sequence[int]
) -> SeriesList:
    """The product of all series whose names are equal but for the nodes at `position`; missing where one of
    them is.

    Example: multiplySeriesWithWildcards(servers.*.*, 1)
    """
    return aggregate_with_wildcards(context, series, "multiply", positions)


@function(
    "applyByNode",
    group=_COMBINE,
    params=[
        SERIES,
        Param("nodeNum", "node", required=True),
        Param("templateFunction", "string", required=True),
        Param("newName", "string"),
    ],
)
def apply_by_node(
    context: Context, series: SeriesList, node: int, template: str, new_name: str | None
) -> SeriesList:
    """For each different beginning of the series' names, up to the node `nodeNum`: the target
    `templateFunction` with every % replaced by it, called `newName` if given, in which % is replaced too.

    Example: applyByNode(disk.{a,b}.used, 1, "asPercent(%.used,%.total)", "%.percent")
    """
    prefixes = sorted({".".join(name.split(".")[: node + 1]) for name in series.names})
    return SeriesList.concat(_applied(context, template, prefix, new_name) for prefix in prefixes)


# --- map and reduce ---


@function(
    "mapSeries",
    "map",
    group=_COMBINE,
    params=[SERIES, Param("mapNodes", "nodeOrTag", required=True, multiple=True)],
)
def map_series(context: Context, series: SeriesList, nodes: Sequence[int | str]) -> SeriesList:
    """The series ordered by nodes or tags, for reduceSeries().

    Example: reduceSeries(mapSeries(disk.{a,b}.*, 1), "asPercent", 2, "used", "total")
    """
    # a list of lists in graphite-web; reduceSeries goes through them as through one
    places = [i for at in members(list_keys(series, nodes)).values() for i in at]
    return SeriesList(series.blocks, series.order[np.array(places, dtype=np.intp)])


@function(
    "reduceSeries",
    "reduce",
    group=_COMBINE,
    params=[
        Param("seriesLists", "seriesLists", required=True),
        Param("reduceFunction", "string", required=True),
        Param("reduceNode", "node", required=True),
        Param("reduceMatchers", "string", required=True, multiple=True),
    ],
)
def reduce_series(
    context: Context, series: SeriesList, reduce_function: str, node: int, matchers: Sequence[str]
) -> SeriesList:
    """For the series that differ only from node `reduceNode` on: `reduceFunction` of those whose node is the
    first matcher, the second and so on; called `<nodes before>.reduce.<function>`.

    Example: reduceSeries(mapSeries(disk.{a,b}.*, 1), "asPercent", 2, "used", "total")
    """
    made = []
    for key, places in _matched(series, reduce_function, node, matchers).items():
        missing = [matcher for matcher, place in zip(matchers, places, strict=True) if place is None]
        if missing:
            raise ArgumentError(
                "reduceSeries", "reduceMatchers", f"no series of {key!r} has the node {missing[0]!r}"
            )
        lists = [series.pick([place]) for place in places if place is not None]
        made.append(_first("reduceSeries", reduce_function, context.call(reduce_function, *lists), key))
    return SeriesList.concat(made)


# --- how ---


def _applied(context: Context, template: str, prefix: str, new_name: str | None) -> SeriesList:
    """applyByNode() for one prefix, which is what outer functions print."""
    called = _filled("newName", new_name, prefix) if new_name else None

    def renamed(block: Block) -> Block:
        names = block.names if called is None else [called] * len(block)
        return block.with_(names=names, expressions=[prefix] * len(block))

    return context.evaluate_text(_filled("templateFunction", template, prefix)).map(renamed)


def _filled(argument: str, text: str, prefix: str) -> str:
    chars = len(text) + text.count("%") * len(prefix)
    if chars > DEFAULT_LIMITS.target_chars_max:
        reason = f"has {chars} characters with each % replaced; at most {DEFAULT_LIMITS.target_chars_max}"
        raise ArgumentError("applyByNode", argument, reason)
    return text.replace("%", prefix)


def _names_without(series: SeriesList, positions: Sequence[int]) -> list[str]:
    """The series' names without the nodes at these positions."""
    away = frozenset(positions)
    return [
        ".".join(part for i, part in enumerate(name.split(".")) if i not in away) for name in series.names
    ]


def _without(func: str, positions: Sequence[int]) -> Fold | None:
    return fold_of(func, lambda series: _names_without(series, positions))


def _grouping(callback: str, nodes: Sequence[int | str]) -> Fold | None:
    if callback in REGISTRY.functions and callback not in _AGGREGATES:
        return None
    return fold_of(_AGGREGATES.get(callback, callback), lambda series: list_keys(series, nodes))


def _grouped(
    context: Context, function: str, series: SeriesList, keys: Sequence[str], callback: str
) -> SeriesList:
    """One series a key, made by an aggregation or by the first that a function gives."""
    groups = members(keys)
    func = _AGGREGATES.get(callback)
    if func is None and callback not in REGISTRY.functions:
        func = aggregation.label(function, callback)
    if func is not None:
        return aggregate_groups(series, groups, func, check=context.check)
    return SeriesList.concat(
        _first(function, callback, context.call(callback, series.pick(at)), key) for key, at in groups.items()
    )


def _first(function: str, callback: str, made: SeriesList, name: str) -> SeriesList:
    """The first series that a callback has made, under another name."""
    if not made:
        raise ArgumentError(function, callback, f"gives no series for {name!r}")
    return made.pick([0]).map(lambda block: block.with_(names=[name]))


def _tag_keys(series: SeriesList, callback: str, tags: Sequence[str]) -> list[str]:
    """`name;tag=value;…` for each series, the tags in order. Raises ArgumentError if one lacks a tag."""
    owns = series.tags
    names = {own.get("name", "") for own in owns}
    common = names.pop() if len(names) == 1 else callback
    wanted = sorted(set(tags) - {"name"})
    keys = []
    for own, name in zip(owns, series.names, strict=True):
        lacking = next((tag for tag in tags if not own.get(tag)), None)
        if lacking is not None:
            raise ArgumentError("groupByTags", "tags", f"{name!r} has no tag {lacking!r}")
        head = own["name"] if "name" in tags else common
        keys.append(";".join([head, *(f"{tag}={own[tag]}" for tag in wanted)]))
    return keys


def _matched(
    series: SeriesList, reduce_function: str, node: int, matchers: Sequence[str]
) -> dict[str, list[int | None]]:
    """Under each output's name the places of the series whose node is the first matcher, the second and so
    on.
    """
    found: dict[str, list[int | None]] = {}
    for place, name in enumerate(series.names):
        parts = name.split(".")
        if not -len(parts) <= node < len(parts):
            raise ArgumentError("reduceSeries", "reduceNode", f"{name!r} has no node {node}")
        if parts[node] in matchers:
            key = ".".join(parts[:node]) + ".reduce." + reduce_function
            found.setdefault(key, [None] * len(matchers))[matchers.index(parts[node])] = place
    return found
