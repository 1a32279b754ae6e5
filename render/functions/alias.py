"""Functions that call series by another name: group Alias. What outer functions print stays."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from render import patterns
from render.errors import ArgumentError
from render.functions import measure
from render.functions.nodes import keys, path_of
from render.functions.registry import AGGREGATIONS, SERIES, Param, function
from render.series import Block, SeriesList
from storage import consolidation
from storage.errors import UnknownAggregation

if TYPE_CHECKING:
    from render.functions.context import Context

_ALIAS = "Alias"
_POSITIONS = Param("pos", "integer", multiple=True)
_SEARCH = Param("search", "string", required=True)
_REPLACE = Param("replace", "string", required=True)
_NEW_NAME = Param("newName", "string", required=True)
_PREFIXES = {
    "si": (("P", 1000.0**5), ("T", 1000.0**4), ("G", 1000.0**3), ("M", 1000.0**2), ("k", 1000.0)),
    "binary": (("Pi", 1024.0**5), ("Ti", 1024.0**4), ("Gi", 1024.0**3), ("Mi", 1024.0**2), ("Ki", 1024.0)),
}
# widths of more than two digits would be a way to ask for gigabytes
_FORMAT = re.compile(r"(?:[^%]|%%)*%[-+ #0]*\d{0,2}(?:\.\d{0,2})?[diouxXeEfFgGsra](?:[^%]|%%)*")


@function("alias", group=_ALIAS, params=[SERIES, _NEW_NAME])
def alias(context: Context, series: SeriesList, new_name: str) -> SeriesList:
    """All series under one name.

    Example: alias(servers.web1.cpu, "Load of web1")
    """
    return series.map(lambda block: block.with_(names=[new_name] * len(block)))


@function(
    "aliasByNode",
    group=_ALIAS,
    params=[SERIES, Param("nodes", "nodeOrTag", required=True, multiple=True)],
    each=True,
)
def alias_by_node(context: Context, series: SeriesList, nodes: Sequence[int | str]) -> SeriesList:
    """Each series called by nodes of its path (counted from 0, negative from the end) or tags, joined by
    dots.

    Example: aliasByNode(servers.*.cpu, 1, 2)
    """
    return series.map(lambda block: block.with_(names=keys(block, nodes)))


@function(
    "aliasByTags",
    group=_ALIAS,
    params=[SERIES, Param("tags", "nodeOrTag", required=True, multiple=True)],
    each=True,
)
def alias_by_tags(context: Context, series: SeriesList, tags: Sequence[int | str]) -> SeriesList:
    """Each series called by tags or nodes of its path, joined by dots; aliasByNode() by another name.

    Example: aliasByTags(seriesByTag("name=load"), "host", "name")
    """
    return alias_by_node(context, series, tags)


@function("aliasByMetric", group=_ALIAS, params=[SERIES], each=True)
def alias_by_metric(context: Context, series: SeriesList) -> SeriesList:
    """Each series called by the last node of its path, without functions.

    Example: aliasByMetric(scale(servers.web1.cpu, 10))
    """
    return series.map(lambda block: block.with_(names=[_last_node(name) for name in block.names]))


@function("aliasByBase64", group=_ALIAS, params=[SERIES, Param("nodeNum", "node")])
def alias_by_base64(context: Context, series: SeriesList, node: int | None = None) -> SeriesList:
    """Each series called by its name decoded from base64, or by its path with the node `nodeNum` decoded.

    Nodes are counted from 1 here, as in carbonapi, negative from the end. What is no base64 of UTF-8 text
    stays as it is.

    Example: aliasByBase64(alias(servers.web1.cpu, "bG9hZCBvZiB3ZWIx"))
    Example: aliasByBase64(alias(servers.web1.cpu, "servers.d2ViMQ==.cpu"), 2)
    """
    if node == 0:
        raise ArgumentError("aliasByBase64", "nodeNum", "takes a node's number, counted from 1, not 0")
    return series.map(lambda block: block.with_(names=[_decoded(name, node) for name in block.names]))


@function("aliasSub", group=_ALIAS, params=[SERIES, _SEARCH, _REPLACE], each=True)
def alias_sub(context: Context, series: SeriesList, search: str, replace: str) -> SeriesList:
    """Each series' name with all that matches a regular expression replaced; \\1 stands for the first group.

    Example: aliasSub(servers.*.cpu, "^.*web([0-9]).*$", "web server \\1")
    """
    if search != patterns.WHOLE:
        context.may_wait()
    pattern = patterns.compile("aliasSub", "search", search)
    return series.map(lambda block: block.with_(names=pattern.sub_all(replace, block.names, context.check)))


@function("aliasQuery", group=_ALIAS, params=[SERIES, _SEARCH, _REPLACE, _NEW_NAME])
def alias_query(context: Context, series: SeriesList, search: str, replace: str, new_name: str) -> SeriesList:
    """Each series called by the last value of another: its name with what matches `search` replaced is the
    target to ask, and `newName` is the name with a place for that number such as %d or %.2f.

    Example: aliasQuery(disk.{a,b}.used, "used", "total", "used of %g")
    """
    if not _FORMAT.fullmatch(new_name):
        raise ArgumentError(
            "aliasQuery", "newName", f"takes a text with one place such as %d, not {new_name!r}"
        )
    context.may_wait()
    pattern = patterns.compile("aliasQuery", "search", search)

    def answer(name: str) -> str:
        target = pattern.sub(replace, name)
        last = _last_value(context.evaluate_text(target))
        if last is None:
            raise ArgumentError("aliasQuery", "search", f"{target!r}, made of {name!r}, has no value")
        try:
            return new_name % last
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(
                "aliasQuery", "newName", f"{new_name!r} does not take {last:g}: {error}"
            ) from None

    return series.map(lambda block: block.with_(names=[answer(name) for name in block.names]))


@function(
    "legendValue",
    group=_ALIAS,
    params=[
        SERIES,
        Param("valuesTypes", "string", multiple=True, suggestions=(*AGGREGATIONS, "si", "binary")),
    ],
)
def legend_value(context: Context, series: SeriesList, types: Sequence[str]) -> SeriesList:
    """Aggregations of its points behind each series' name. With `si` or `binary` last: in columns, with
    prefixes.

    Example: legendValue(servers.*.cpu, "avg", "max", "si")
    """
    if not types:
        raise ArgumentError("legendValue", "valuesTypes", "takes aggregations such as 'avg'; none is given")
    system = types[-1] if types[-1] in _PREFIXES else None

    def called(block: Block) -> Block:
        names = block.names
        for func in types if system is None else types[:-1]:
            values = _values(func, block)
            if system is None:
                names = [f"{name} ({func}: {value})" for name, value in zip(names, values, strict=True)]
            else:
                shown = [_with_prefix(value, system) for value in values]
                names = [f"{name:<20}{func:<5}{value:<10}" for name, value in zip(names, shown, strict=True)]
        return block.with_(names=names)

    return series.map(called)


@function(
    "cactiStyle",
    group="Special",
    params=[SERIES, Param("system", "string", options=tuple(_PREFIXES)), Param("units", "string")],
)
def cacti_style(
    context: Context, series: SeriesList, system: str | None = None, units: str | None = None
) -> SeriesList:
    """The current, the greatest and the least value behind each series' name, in columns for a fixed-width font.

    With a `system` numbers have its prefixes; `units` stand behind them. Columns are as wide as the widest of the
    list, so put all that are to be aligned into one group().

    Example: cactiStyle(servers.*.cpu, "si", "b")
    """

    def shown(number: float) -> str:
        text = f"{number:.2f}" if system is None else _with_prefix(number, system)
        digits = text.rstrip("".join(prefix for prefix, _ in _PREFIXES[system])) if system else text
        return f"{digits} {text[len(digits) :]}{units}" if units else text

    widths = [max((len(name) for name in series.names), default=0)]
    for func in _CACTI.values():
        numbers = series.measure(partial(measure.aggregate, func)).tolist()
        # graphite-web measures whole numbers, and 3 for what is 0 or missing
        whole = [float(int(n)) if math.isfinite(n) and n else n if math.isinf(n) else 3.0 for n in numbers]
        widths.append(max((len(shown(n)) for n in whole), default=0) + 3)

    def called(block: Block) -> Block:
        names = [f"{name:<{widths[0]}}" for name in block.names]
        for (title, func), width in zip(_CACTI.items(), widths[1:], strict=True):
            texts = ["nan" if n != n else shown(n) for n in measure.aggregate(func, block).tolist()]
            names = [f"{name} {title}:{text:<{width}}" for name, text in zip(names, texts, strict=True)]
        return block.with_(names=[f"{name} " for name in names])

    return series.map(called)


_CACTI = {"Current": "last", "Max": "max", "Min": "min"}


@function("lower", "toLowerCase", group=_ALIAS, params=[SERIES, _POSITIONS], each=True)
def lower(context: Context, series: SeriesList, positions: Sequence[int]) -> SeriesList:
    """Each series' name in lower case, or only its characters at `pos` (from 0, negative from the end).

    Example: lower(servers.web1.cpu)
    """
    return series.map(lambda block: block.with_(names=_recased(block.names, str.lower, positions)))


@function("upper", "toUpperCase", group=_ALIAS, params=[SERIES, _POSITIONS], each=True)
def upper(context: Context, series: SeriesList, positions: Sequence[int]) -> SeriesList:
    """Each series' name in upper case, or only its characters at `pos` (from 0, negative from the end).

    Example: upper(servers.web1.cpu, 0)
    """
    return series.map(lambda block: block.with_(names=_recased(block.names, str.upper, positions)))


def _decoded(name: str, node: int | None) -> str:
    """A name, or one node of its path (from 1, or from the end), decoded; the name as it is if it cannot be."""
    parts = [name] if node is None else path_of(name).split(".")
    at = 0 if node is None else node - (node > 0)
    try:
        parts[at] = base64.b64decode(parts[at], validate=True).decode()
    except (IndexError, binascii.Error, ValueError):
        return name
    return ".".join(parts)


def _last_node(name: str) -> str:
    """From the last "(" to the first ")", its last node, up to a comma. No parser: that is how graphite-web
    does it.
    """
    begin, end = name.rfind("(") + 1, name.find(")")
    inner = name[begin:] if end < 0 else name[begin:end]
    return inner.rpartition(".")[2].partition(",")[0]


def _last_value(series: SeriesList) -> float | None:
    """The last value of the first series that there is."""
    if not series:
        return None
    block = series.pick([0]).blocks[0]
    value = float(consolidation.rows("last", block.values).values[0])
    return None if value != value else value


def _values(func: str, block: Block) -> list[float | int | str | None]:
    """An aggregation of each series as graphite-web prints it: counts whole, "(?)" for what is none."""
    try:
        func = consolidation.canonical(func)
    except UnknownAggregation:
        return ["(?)"] * len(block)
    numbers = measure.aggregate(func, block).tolist()
    if func == "count":
        return [int(number) for number in numbers]
    return [None if number != number else number for number in numbers]


def _with_prefix(value: float | int | str | None, system: str) -> str:
    """1234567 → 1.23M, and 15.00 for a number without prefix."""
    if value is None or isinstance(value, str):
        return str(value)
    large = (one for one in _PREFIXES[system] if abs(value) >= one[1])
    prefix, size = next(large, ("", 1.0))
    return f"{value / size:.2f}{prefix}"


def _recased(names: Sequence[str], case: Callable[[str], str], positions: Sequence[int]) -> list[str]:
    if not positions:
        return [case(name) for name in names]
    changed = []
    for name in names:
        letters = list(name)
        for at in positions:
            if -len(letters) <= at < len(letters):
                letters[at] = case(letters[at])
        changed.append("".join(letters))
    return changed
