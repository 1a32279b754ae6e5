"""/metrics: which metrics there are – find (a tree's level), expand (globs → paths) and index.json (all)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson

from render.api import carbonapi
from render.api.nodes import CLUSTER, JSON, Asked, Found, treejson
from render.api.response import NOT_CACHED, House, Response, called, json_response
from render.errors import TooHeavy
from render.formats import FORMATS
from render.request import Parameters, Params, one_of, read_times
from render.source import Nodes

_TREE = "treejson"
_ALL = (_TREE, *JSON, *CLUSTER, *carbonapi.V2, carbonapi.V3)


def find(params: Params, house: House, now: int) -> Response:
    """The nodes that match `query`. Times are checked, but filter nothing, as in graphite-web.

    Raises ParameterError and InvalidGlob.
    """
    if Parameters(params).last("format") in (*carbonapi.V2, carbonapi.V3):
        return carbonapi.find(params, house, now)
    # -1 is graphite-web's "no time"
    timeless = [end for end in ("from", "until") if params.get(end, [""])[-1:] == ["-1"]]
    given = Parameters({name: values for name, values in params.items() if name not in timeless})
    query = given.last("query")
    if not query:
        given.wrong("query", "is missing: a glob such as servers.*")
    form = given.read("format", one_of(_ALL), _TREE)
    leaves_only, wildcards = given.flag("leavesOnly"), given.flag("wildcards")
    given.flag("local")  # all that is found is
    variants = given.flag("automatic_variants")
    position = given.read("position", _position, -1)
    now = read_times(given, now).now
    pretty, jsonp = given.pretty(), given.jsonp()
    given.check()

    if form == _TREE:
        prefix = query[: query.rfind(".") + 1]  # globs kept
        body, headers = _tree(query, prefix, house, wildcards=wildcards, leaves_only=leaves_only)
    else:
        asked = Asked(wildcards, position, house.source.retentions_s, now)
        pattern = _completing(query, variants=variants) if form == "completer" else query
        body, headers = _nodes(pattern, form, asked, house, leaves_only=leaves_only)
    if form in CLUSTER:
        return Response(body, FORMATS[form].content_type, headers=headers)
    if pretty:
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    return Response(*called(body, "application/json", jsonp), headers=headers)


def _tree(
    query: str, prefix: str, house: House, *, wildcards: bool, leaves_only: bool
) -> tuple[bytes, Mapping[str, str]]:
    most = house.http.found_max
    last = house.source.find_last(query)
    body, more = treejson(last, prefix, most, wildcards=wildcards, leaves_only=leaves_only)
    return body, _truncated(most) if more else NOT_CACHED


def _nodes(
    pattern: str, form: str, asked: Asked, house: House, *, leaves_only: bool
) -> tuple[bytes, Mapping[str, str]]:
    """The body, and the headers, which tell when there were more."""
    most = house.http.found_max
    nodes = _light(house.source.find(pattern), house)
    body = (JSON.get(form) or CLUSTER[form])(Found.of(nodes, most, leaves_only=leaves_only), asked)
    return body, _truncated(most) if len(nodes.paths) > most else NOT_CACHED


def _light(nodes: Nodes, house: House) -> Nodes:
    """The nodes; raises TooHeavy if a worker should tell them."""
    if house.limits.light is not None and len(nodes.series) > house.limits.light.nodes:
        raise TooHeavy
    return nodes


def expand(params: Params, house: House, now: int) -> Response:
    """The paths that match any `query`, or those of each (groupByExpr=1). Raises as `find`."""
    given = Parameters(params)
    grouped, leaves_only = given.flag("groupByExpr"), given.flag("leavesOnly")
    given.flag("local")
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


def get_metadata(params: Params, house: House, now: int) -> Response:
    """How each `metric` is aggregated, by name, or an error for it: graphite-web asks carbon, and that only."""
    given = Parameters(params)
    given.read("key", one_of(("aggregationMethod",)), "aggregationMethod")
    if not given.last("key"):
        given.wrong("key", "is missing: aggregationMethod")
    metrics = given.every("metric")
    if len(metrics) > house.http.found_max:
        given.wrong("metric", f"{len(metrics)} are asked for; at most {house.http.found_max}")
    pretty, jsonp = given.pretty(), given.jsonp()
    given.check()
    answer = {metric: _aggregation(metric, house) for metric in dict.fromkeys(metrics)}
    return json_response(answer, pretty=pretty, jsonp=jsonp)


def _aggregation(metric: str, house: House) -> object:
    paths, series = house.source.find_series(metric)
    if paths != [metric]:
        return {"error": "no such metric"}
    return house.source.consolidations(series)[0]


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


def _truncated(nodes_max: int) -> dict[str, str]:
    return {**NOT_CACHED, "X-Plumbago-Truncated": str(nodes_max)}
