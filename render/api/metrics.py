"""/metrics: which metrics there are – find (a tree's level), expand (globs → paths) and index.json (all)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from render.api.response import NOT_CACHED, House, Response, json_response
from render.request import Parameters, Params, one_of, read_times
from render.source import Nodes


class Node(NamedTuple):
    """A branch or a leaf; a path that is both is two of them, the branch first."""

    path: str
    name: str  # the path's last node
    is_leaf: bool
    series: int  # -1 = a branch


@dataclass(frozen=True)
class _Find:
    """What /metrics/find is asked for, as its formats need it."""

    query: str
    wildcards: bool
    position: int
    retention_s: Callable[[int], int]
    now: int

    @property
    def prefix(self) -> str:
        """The query up to its last dot, globs kept: what the nodes' ids begin with."""
        before, dot, _ = self.query.rpartition(".")
        return before + dot


def find(params: Params, house: House, now: int) -> Response:
    """The nodes that match `query`. Times are checked, but filter nothing, as in graphite-web.

    Raises ParameterError and InvalidGlob.
    """
    # -1 is graphite-web's "no time"
    timeless = [end for end in ("from", "until") if params.get(end, [""])[-1:] == ["-1"]]
    given = Parameters({name: values for name, values in params.items() if name not in timeless})
    query = given.last("query")
    if not query:
        given.wrong("query", "is missing: a glob such as servers.*")
    form = given.read("format", one_of(tuple(_FORMATS)), "treejson")
    leaves_only, wildcards = given.flag("leavesOnly"), given.flag("wildcards")
    variants = given.flag("automatic_variants")
    position = given.read("position", _position, -1)
    now = read_times(given, now).now
    pretty, jsonp = given.pretty(), given.jsonp()
    given.check()

    pattern = _completing(query, variants=variants) if form == "completer" else query
    nodes, headers = _nodes(house.source.find(pattern), house.http.found_max)
    if leaves_only:
        nodes = [node for node in nodes if node.is_leaf]
    nodes.sort(key=lambda node: node.name)
    asked = _Find(query, wildcards, position, house.source.retention_s, now)
    return json_response(_FORMATS[form](nodes, asked), pretty=pretty, jsonp=jsonp, headers=headers)


def expand(params: Params, house: House, now: int) -> Response:
    """The paths that match any `query`, or those of each (groupByExpr=1). Raises as `find`."""
    given = Parameters(params)
    grouped, leaves_only = given.flag("groupByExpr"), given.flag("leavesOnly")
    pretty, jsonp = given.pretty(), given.jsonp()
    given.check()

    left, headers = house.http.found_max, NOT_CACHED
    found: dict[str, list[str]] = {}
    for query in dict.fromkeys(given.every("query")):
        nodes = house.source.find(query) if query else None
        paths = [] if nodes is None else _paths(nodes, leaves_only)
        if len(paths) > left:
            headers = _truncated(house.http.found_max)
        found[query] = paths[:left]
        left -= len(found[query])
    results: object = found if grouped else sorted(set().union(*found.values()))
    return json_response({"results": results}, pretty=pretty, jsonp=jsonp, headers=headers)


def index(params: Params, house: House, now: int) -> Response:
    """The path of every series, sorted."""
    given = Parameters(params)
    pretty, jsonp = given.pretty(), given.jsonp()
    given.check()
    return json_response(house.source.all_paths(), pretty=pretty, jsonp=jsonp)


def _position(text: str) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 5:
        raise ValueError(f"{text[:64]!r} is no position of a node, such as 0 or -1")
    return int(text)


def _completing(query: str, *, variants: bool) -> str:
    """The glob for what was typed so far: `a.b` → `a.b*`, `a..` → `a*.*`; with variants `a,b` → `{a,b}`."""
    pattern = query.replace("..", "*.")
    pattern += "" if pattern.endswith("*") else "*"
    if variants:
        parts = pattern.split(".")
        pattern = ".".join(f"{{{part}}}" if "," in part and "{" not in part else part for part in parts)
    return pattern


def _paths(nodes: Nodes, leaves_only: bool) -> list[str]:
    if not leaves_only:
        return nodes.paths
    return [nodes.paths[i] for i in np.flatnonzero(nodes.series >= 0)]


def _nodes(found: Nodes, nodes_max: int) -> tuple[list[Node], Mapping[str, str]]:
    """Branches and leaves, and the headers, which tell when there were more."""
    nodes = []
    for path, series, branch in zip(
        found.paths[:nodes_max], found.series.tolist(), found.branch.tolist(), strict=False
    ):
        name = path.rpartition(".")[2]
        if branch:
            nodes.append(Node(path, name, False, -1))
        if series >= 0:
            nodes.append(Node(path, name, True, series))
    return nodes, _truncated(nodes_max) if len(found.paths) > nodes_max else NOT_CACHED


def _truncated(nodes_max: int) -> dict[str, str]:
    return {**NOT_CACHED, "X-Plumbago-Truncated": str(nodes_max)}


# --- the formats of find ---

_BRANCH = {"allowChildren": 1, "expandable": 1, "leaf": 0}
_LEAF = {"allowChildren": 0, "expandable": 0, "leaf": 1}


def _treejson(nodes: Sequence[Node], asked: _Find) -> list[dict[str, Any]]:
    """One entry a name, branches first; a name that is one anywhere is one. ids keep the query's globs."""
    branches = {node.name: None for node in nodes if not node.is_leaf}
    leaves = {node.name: None for node in nodes if node.is_leaf and node.name not in branches}
    entries = [{"text": name, "id": asked.prefix + name, **_BRANCH} for name in branches]
    entries += [{"text": name, "id": asked.prefix + name, **_LEAF} for name in leaves]
    if asked.wildcards and len(nodes) > 1:
        entries.insert(0, {"text": "*", "id": asked.prefix + "*", **(_BRANCH if branches else _LEAF)})
    return entries


def _completer(nodes: Sequence[Node], asked: _Find) -> dict[str, Any]:
    entries = [
        {
            "path": node.path if node.is_leaf else f"{node.path}.",
            "name": node.name,
            "is_leaf": str(int(node.is_leaf)),
        }
        for node in nodes
    ]
    if asked.wildcards and len(entries) > 1:
        entries.append({"name": "*"})
    return {"metrics": entries}


def _json(nodes: Sequence[Node], asked: _Find) -> list[dict[str, Any]]:
    return [_interval(node, asked) for node in sorted(nodes)]


def _interval(node: Node, asked: _Find) -> dict[str, Any]:
    if not node.is_leaf:
        return {"path": node.path, "is_leaf": False}
    interval = {"start": asked.now - asked.retention_s(node.series), "end": asked.now}
    return {"path": node.path, "is_leaf": True, "intervals": [interval]}


def _nodelist(nodes: Sequence[Node], asked: _Find) -> dict[str, Any]:
    """The nodes at a position of the paths; paths that are shorter have none."""
    at = asked.position
    split = (node.path.split(".") for node in nodes)
    return {"nodes": sorted({parts[at] for parts in split if -len(parts) <= at < len(parts)})}


_FORMATS: dict[str, Callable[[Sequence[Node], _Find], object]] = {
    "treejson": _treejson,
    "completer": _completer,
    "json": _json,
    "nodelist": _nodelist,
}
