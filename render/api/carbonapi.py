"""carbonapi's questions that are no forms: messages of carbonapi_v3_pb as bodies, /info, and what we can do.

carbonapi takes us for a go-carbon. It asks for metrics by name; functions are evaluated as well if it sends some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from render import protobuf as wire
from render.api.response import NOT_CACHED, House, Response, failure, json_response
from render.errors import ParameterError, TooMuch
from render.formats import protobuf
from render.formats.presentation import Presentation
from render.plan import render
from render.request import Parameters, Params, RenderRequest, one_of
from render.series import SeriesList
from render.timespec import EPOCH_MAX, EPOCH_MIN
from storage.schema import Schema

T = TypeVar("T")

V2, V3 = ("carbonapi_v2_pb", "protobuf", "protobuf3"), "carbonapi_v3_pb"
_PROTOCOLS = ("carbonapi_v3_pb", "carbonapi_v2_pb", "graphite-web-pickle-1.1", "msgpack")
_NAMES_MAX = 1000  # of /info


def capabilities(params: Params, house: House, now: int) -> Response:
    """What we speak, for a carbonapi that finds out by itself (protocol: auto): the first is the one to take."""
    given = Parameters(params)
    form = given.read("format", one_of((V3, "json")), V3)
    given.check()
    if form == V3:
        body = protobuf.capabilities(_PROTOCOLS, "plumbago")
        return Response(body, protobuf.V3_TYPE, headers=NOT_CACHED)
    return json_response(
        {
            "supportedProtocols": _PROTOCOLS,
            "name": "plumbago",
            "highPrecisionTimestamps": False,
            "supportFilteringFunctions": False,
            "likeSplittedRequests": True,
            "supportStreaming": False,
        }
    )


def fetch(body: bytes, request: RenderRequest, house: House) -> bytes:
    """The answer to a MultiFetchRequest, each of whose names has a window of its own. Raises RenderError."""
    fetches = read(body, protobuf.read_fetches)
    if len(fetches) > house.limits.targets_max:
        raise TooMuch(f"{len(fetches)} targets in a request; at most {house.limits.targets_max}")
    windows: dict[tuple[int, int], list[protobuf.Fetch]] = {}
    for one in fetches:
        if not EPOCH_MIN <= one.start < one.until <= EPOCH_MAX:
            raise ParameterError({"body": f"{one.name!r}: the window {one.start} to {one.until} is none"})
        windows.setdefault((one.start, one.until), []).append(one)
    return b"".join([_fetched(window, some, request, house) for window, some in windows.items()])


def _fetched(
    window: tuple[int, int], fetches: Sequence[protobuf.Fetch], request: RenderRequest, house: House
) -> bytes:
    start, until = window
    lists = render(
        house.source,
        [one.name for one in fetches],
        start=start,
        until=until,
        now=request.now,
        zone=request.zone,
        limits=house.limits,
        extras=house.extras,
        cancelled=house.cancelled,
    )
    how = Presentation(window=window)
    named = [_as_asked(series, one) for series, one in zip(lists, fetches, strict=True)]
    return b"".join([protobuf.encode_v3(series, how) for series in named])


def _as_asked(series: SeriesList, one: protobuf.Fetch) -> SeriesList:
    """carbonapi sorts answers by the expression that it has sent, of which the name may be a part."""
    if one.path_expression == one.name:
        return series
    return series.map(lambda block: block.with_(expressions=[one.path_expression] * len(block)))


def read(body: bytes, reader: Callable[[bytes], T]) -> T:
    """What a body says; raises ParameterError."""
    try:
        return reader(body)
    except ValueError as error:
        raise ParameterError({"body": f"is no message of carbonapi_v3_pb: {error}"}) from None


def find(params: Params, house: House, now: int) -> Response:
    """The nodes that match each `query`, or each of a body, in a message. Raises RenderError and InvalidGlob."""
    given = Parameters(params)
    form = given.read("format", one_of((*V2, V3)), V3)
    queries = list(given.every("query"))
    if not queries and form == V3 and given.body:
        queries = read(given.body, protobuf.read_names)
    if not queries or not queries[-1]:
        given.wrong("query", "is missing: a glob such as servers.*")
    if len(queries) > _NAMES_MAX:
        given.wrong("query", f"{len(queries)} are asked for; at most {_NAMES_MAX}")
    given.check()
    if form in V2:
        body, left = _globbed(queries[-1], house, house.http.found_max)
        return Response(body, protobuf.V2_TYPE, headers=_headers(left, house))
    found, left = [], house.http.found_max
    for query in queries:
        body, left = _globbed(query, house, left)
        found.append(wire.message(1, body))
    return Response(b"".join(found), protobuf.V3_TYPE, headers=_headers(left, house))


def _globbed(query: str, house: House, most: int) -> tuple[bytes, int]:
    """A GlobResponse of at most so many nodes, and how many more there may be; below 0, that were left out."""
    nodes = house.source.find(query)
    matches = []
    for path, series, branch in zip(
        nodes.paths[: max(0, most)], nodes.series.tolist(), nodes.branch.tolist(), strict=False
    ):
        if branch:
            matches.append((path, False))
        if series >= 0:
            matches.append((path, True))
    return protobuf.globbed(query, matches), most - len(nodes.paths)


def _headers(left: int, house: House) -> Mapping[str, str]:
    return NOT_CACHED if left >= 0 else {**NOT_CACHED, "X-Plumbago-Truncated": str(house.http.found_max)}


def info(params: Params, house: House, now: int) -> Response:
    """How the metric `target` is kept: its archives and aggregation; of several, in carbonapi_v3_pb, each."""
    given = Parameters(params)
    form = given.read("format", one_of(("json", *V2, V3)), "json")
    names = list(given.every("target")[-1:])
    if not names and form == V3 and given.body:
        names = read(given.body, protobuf.read_names)
    if not names:
        given.wrong("target", "is missing: a metric's path")
    if len(names) > _NAMES_MAX:
        given.wrong("target", f"{len(names)} are asked for; at most {_NAMES_MAX}")
    pretty = given.pretty()
    given.check()
    known = {name: schema for name in names if (schema := _schema(name, house)) is not None}
    if not known:
        return failure(f"there is no metric {names[0][:200]!r}", 404)
    if form == V3:
        body = b"".join([wire.message(1, protobuf.described(*one)) for one in known.items()])
        return Response(body, protobuf.V3_TYPE, headers=NOT_CACHED)
    ((name, schema),) = known.items()
    if form in V2:
        return Response(protobuf.described(name, schema), protobuf.V2_TYPE, headers=NOT_CACHED)
    return json_response(_shown(name, schema), pretty=pretty)


def _schema(name: str, house: House) -> Schema | None:
    paths, series = house.source.find_series(name)
    return house.source.schema(int(series[0])) if paths == [name] else None


def _shown(name: str, schema: Schema) -> dict[str, Any]:
    archives = schema.retention.archives
    return {
        "name": name,
        "aggregationMethod": schema.method,
        "maxRetention": schema.retention.longest,
        "xFilesFactor": schema.x_files_factor,
        "retentions": [{"secondsPerPoint": one.step, "numberOfPoints": one.points} for one in archives],
    }
