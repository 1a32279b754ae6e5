"""/openapi.json: the HTTP API described for programs, in OpenAPI 3.1. Its tests compare it with what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson

from render.api.health import GRAPHITE_VERSION
from render.api.response import House, Response
from render.formats import FORMATS
from render.request import Params

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_YES_OR_NO: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_NAMED: Schema = {"type": "object", "additionalProperties": True}
_FLAG: Schema = {"type": "integer", "enum": [0, 1]}
_ERROR: Schema = {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}
_NUMBER: Schema = {"type": ["number", "null"]}


def _object(**properties: Schema) -> Schema:
    """All of them are there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_WHOLE: Schema = {"type": "integer"}
_SERIES = _object(
    target=_TEXT,
    tags={"type": "object", "additionalProperties": _TEXT},
    datapoints=_list({"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}),
)
_EVENT = _object(when={"type": ["integer", "string"]}, what=_TEXT, data={}, tags=_TEXTS, id=_WHOLE)
_NEW_EVENT: Schema = {
    "type": "object",
    "properties": {
        "what": {"type": "string", "minLength": 1, "maxLength": 1000},
        "tags": {"anyOf": [_TEXTS, _TEXT], "description": "A list, or a text with spaces between."},
        "when": {"type": "number", "description": "Epoch seconds; now unless given."},
        "data": {"description": "Any JSON; it is answered as it was given."},
    },
    "required": ["what"],
}

# name → what it takes, and what it means; those that are lists may be given several times
_PARAMETERS: Mapping[str, tuple[Schema, str]] = {
    "target": (_TEXTS, "What to answer: a path, a glob, or functions of them."),
    "from": (_TEXT, "From when on, in Graphite's words or epoch seconds; -1d unless given."),
    "until": (_TEXT, "Until when; now unless given."),
    "now": (_TEXT, "The time that others are relative to."),
    "tz": (_TEXT, "The time zone, such as Europe/Berlin."),
    "format": ({"type": "string", "enum": list(FORMATS)}, "The form of the answer; png unless given."),
    "maxDataPoints": ({"type": "integer", "minimum": 1}, "Merge datapoints until there are no more (json)."),
    "noNullPoints": (_FLAG, "Leave missing datapoints out (json)."),
    "timestampFormat": ({"type": "string", "enum": ["s", "ms", "us", "ns"]}, "The unit of timestamps (json)."),
    "xFilesFactor": ({"type": "number", "minimum": 0, "maximum": 1}, "The part of points that must be known."),
    "cacheTimeout": ({"type": "integer", "minimum": 0}, "How many seconds the answer may be kept."),
    "noCache": (_FLAG, "Keep nothing."),
    "stitch": (_FLAG, "Of a long range, fine data where there are some and coarse ones before."),
    "explain": (_FLAG, "Answer what was done instead of what came of it."),
    "width": ({"type": "integer", "minimum": 16, "maximum": 4000}, "Pixels (pictures)."),
    "height": ({"type": "integer", "minimum": 16, "maximum": 3000}, "Pixels (pictures)."),
    "pretty": (_FLAG, "Indent the JSON."),
    "jsonp": (_TEXT, "A function of JavaScript to call with the answer."),
    "query": (_TEXT, "A glob such as servers.*"),
    "queries": (_TEXTS, "Globs such as servers.*"),
    "wildcards": (_FLAG, "Add a * to what is found."),
    "leavesOnly": (_FLAG, "Leave branches out."),
    "groupByExpr": (_FLAG, "Sort what is found by query."),
    "position": (_WHOLE, "Which node of each path (nodelist)."),
    "automatic_variants": (_FLAG, "Read a,b as {a,b} (completer)."),
    "local": (_FLAG, "Of no effect: all that is answered is this server's own."),
    "metric": (_TEXTS, "Paths of series."),
    "key": ({"type": "string", "enum": ["aggregationMethod"]}, "What to tell of each metric."),
    "expr": (_TEXTS, "Tag expressions such as name=cpu or host=~web."),
    "tag": (_TEXT, "A tag's name."),
    "tagPrefix": (_TEXT, "How tags begin."),
    "valuePrefix": (_TEXT, "How values begin."),
    "filter": (_TEXT, "A regular expression for the beginning."),
    "limit": ({"type": "integer", "minimum": 0}, "How many are answered at most."),
    "path": (_TEXTS, "Paths of series, such as cpu;host=web1."),
    "tags": (_TEXT, "Tags with spaces between."),
    "set": ({"type": "string", "enum": ["union", "intersection"]}, "Whether any tag is enough, or all are needed."),
    "search": (_TEXT, "A part of what happened, or of its data."),
    "grouped": (_FLAG, "Sort functions by group."),
    "group": (_TEXT, "Functions of this group only."),
    "name": (_TEXT, "A function's name."),
    "id": ({"type": "integer", "minimum": 1}, "An event's number."),
    "one target": (_TEXT, "A metric's path, or the text that is typed."),
    "find's format": (
        {"type": "string", "enum": ["treejson", "completer", "json", "nodelist", "pickle", "msgpack", "protobuf",
                                    "protobuf3", "carbonapi_v2_pb", "carbonapi_v3_pb"]},
        "The form of the answer; treejson unless given.",
    ),
    "info's format": (
        {"type": "string", "enum": ["json", "protobuf", "protobuf3", "carbonapi_v2_pb", "carbonapi_v3_pb"]},
        "The form of the answer; json unless given.",
    ),
    "speech's format": (
        {"type": "string", "enum": ["json", "carbonapi_v3_pb"]},
        "The form of the answer; carbonapi_v3_pb unless given.",
    ),
}  # fmt: skip
_SENT_AS = {
    "queries": "query",
    "one target": "target",
    "find's format": "format",
    "info's format": "format",
    "speech's format": "format",
}
_TIMES = "from until now tz"
_WRITTEN = "pretty jsonp"
_MESSAGES = ("application/x-protobuf", "application/x-carbonapi-v3-pb")
COUNTERS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text
_CLUSTER = ("application/pickle", "application/x-msgpack", *_MESSAGES)


class Operation(NamedTuple):
    """A path: its parameters with spaces between, ! behind those that are needed here."""

    summary: str
    parameters: Sequence[str]
    answer: Schema  # as JSON
    methods: str = "get post"
    others: Sequence[str] = ()  # content types of other answers
    body: Schema | None = None  # of the POST, as JSON; None = a form of the parameters
    path: str = ""  # the parameter that is part of the path


def _split(words: str, *more: str) -> list[str]:
    return [*words.split(), *more]


_DESCRIBED = _object(
    name=_TEXT, function=_TEXT, description=_TEXT, module=_TEXT, group=_TEXT, params=_list(_NAMED)
)
OPERATIONS: Mapping[str, Operation] = {
    "/render": Operation(
        "Datapoints of targets, or a picture of them.",
        _split(f"target format {_TIMES} maxDataPoints noNullPoints timestampFormat xFilesFactor cacheTimeout noCache "
               f"stitch explain local width height {_WRITTEN}"),
        {"anyOf": [_list(_SERIES), _list(_NAMED), _NAMED]},
        others=sorted({form.content_type for form in FORMATS.values()} - {"application/json"}),
    ),
    "/metrics/find": Operation(
        "The nodes that match a glob.",
        _split(f"query! {_TIMES} wildcards leavesOnly position automatic_variants local {_WRITTEN}", "find's format"),
        {"anyOf": [_list(_NAMED), _object(metrics=_list(_NAMED)), _object(nodes=_TEXTS)]},
        others=_CLUSTER,
    ),
    "/metrics": Operation(
        "The nodes that match a glob, as /metrics/find; without a query the server's own counters, for Prometheus.",
        _split(f"query {_TIMES} wildcards leavesOnly position automatic_variants local {_WRITTEN}", "find's format"),
        {"anyOf": [_list(_NAMED), _object(metrics=_list(_NAMED)), _object(nodes=_TEXTS)]},
        others=(*_CLUSTER, COUNTERS_TYPE),
    ),
    "/metrics/expand": Operation(
        "The paths that match globs.",
        _split(f"queries groupByExpr leavesOnly local {_WRITTEN}"),
        _object(results={"anyOf": [_TEXTS, {"type": "object", "additionalProperties": _TEXTS}]}),
    ),
    "/metrics/index.json": Operation("The paths of all series.", _split(f"local {_WRITTEN}"), _TEXTS),
    "/metrics/get-metadata": Operation(
        "How metrics are aggregated.", _split(f"metric key! {_WRITTEN}"), _NAMED
    ),
    "/info": Operation(
        "How a metric is kept.",
        _split("pretty", "one target!", "info's format"),
        _object(name=_TEXT, aggregationMethod=_TEXT, maxRetention=_WHOLE, xFilesFactor=_NUMBER,
                retentions=_list(_object(secondsPerPoint=_WHOLE, numberOfPoints=_WHOLE))),
        others=_MESSAGES,
    ),
    "/_internal/capabilities": Operation(
        "What carbonapi can speak with this server.",
        ["speech's format"],
        _object(supportedProtocols=_TEXTS, name=_TEXT),
        others=_MESSAGES[1:],
    ),
    "/functions": Operation(
        "The series functions.", _split("grouped group pretty"), _NAMED, methods="get"
    ),
    "/functions/{name}": Operation(
        "A series function.", ["pretty"], _DESCRIBED, methods="get", path="name"
    ),
    "/complete": Operation(
        "What may be typed next where a target ends.",
        _split("pretty", "one target"),
        _object(start=_WHOLE, words=_list(_NAMED), path={"type": ["string", "null"]}),
    ),
    "/tags": Operation("The tags.", _split("filter limit pretty"), _list(_object(tag=_TEXT)), methods="get"),
    "/tags/{tag}": Operation(
        "A tag's values, and how many series have each; null if none has the tag.",
        _split("filter limit pretty"),
        {"anyOf": [{"type": "null"}, _object(tag=_TEXT, values=_list(_object(count=_WHOLE, value=_TEXT)))]},
        methods="get",
        path="tag",
    ),
    "/tags/findSeries": Operation("The series that fulfil tag expressions.", _split("expr! pretty"), _TEXTS),
    "/tags/autoComplete/tags": Operation(
        "Tags that begin so, of the series that fulfil tag expressions.",
        _split("expr tagPrefix limit pretty"),
        _TEXTS,
    ),
    "/tags/autoComplete/values": Operation(
        "Values of a tag that begin so, of the series that fulfil tag expressions.",
        _split("tag! expr valuePrefix limit pretty"),
        _TEXTS,
    ),
    "/tags/tagSeries": Operation("A path as it is written here.", _split("path! pretty"), _TEXT, methods="post"),
    "/tags/tagMultiSeries": Operation(
        "Paths as they are written here.", _split("path! pretty"), _TEXTS, methods="post"
    ),
    "/tags/delSeries": Operation(
        "Deletes series, where that is allowed.", _split("path! pretty"), {"type": "boolean"}, methods="post"
    ),
    "/events": Operation(
        "What happened when; a POST adds an event.",
        _split("from until tags set search pretty jsonp"),
        {"anyOf": [_list(_EVENT), _EVENT]},
        body=_NEW_EVENT,
    ),
    "/events/get_data": Operation(
        "What happened when.", _split("from until tags set search pretty jsonp"), _list(_EVENT)
    ),
    "/events/{id}": Operation("An event.", ["pretty"], _EVENT, methods="get", path="id"),
    "/version": Operation("The version of graphite-web that this is like.", (), _TEXT, methods="get"),
    "/health": Operation(
        "How the server is.",
        (),
        _object(status=_TEXT, series=_WHOLE, uptime_s=_WHOLE, ready=_YES_OR_NO, reasons=_TEXTS),
        methods="get",
    ),
    "/health/live": Operation("Whether the server answers.", (), _object(live=_YES_OR_NO), methods="get"),
    "/health/ready": Operation(
        "Whether the server should be asked now; 503 with reasons if not.",
        (),
        _object(ready=_YES_OR_NO, reasons=_TEXTS),
        methods="get",
    ),
    "/openapi.json": Operation("This description.", (), _NAMED, methods="get"),
}  # fmt: skip
_ERRORS = {
    400: "A parameter, a target or a glob is wrong: the answer says which, and what is allowed.",
    401: "A token is needed.",
    403: "That is not allowed.",
    404: "There is no such thing.",
    411: "A body needs a Content-Length.",
    413: "It costs more than the limits allow: the answer has the numbers.",
    429: "Too many requests are waiting; ask again later.",
    500: "A fault of the server: its log has it under the id in the answer.",
    503: "It took too long, or something that is needed cannot be reached.",
}


def view(params: Params, house: House, now: int) -> Response:
    return Response(_body())


@cache
def _body() -> bytes:
    return orjson.dumps(document())


def document() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plumbago",
            "version": GRAPHITE_VERSION,
            "description": "Graphite's HTTP API. Parameters stand in the URL or in a form; others are ignored.",
        },
        "paths": {path: dict(_methods(path, one)) for path, one in OPERATIONS.items()},
        "components": {"schemas": {"Error": _ERROR}},
    }


def _methods(path: str, one: Operation) -> Iterable[tuple[str, dict[str, Any]]]:
    for method in one.methods.split():
        described: dict[str, Any] = {
            "operationId": f"{method}{path}",
            "summary": one.summary,
            "parameters": [],
            "responses": _responses(one),
        }
        if one.path:
            described["parameters"].append(_parameter(one.path, "path"))
        if method == "get":
            described["parameters"] += [_parameter(name, "query") for name in one.parameters]
        elif one.body is not None:
            described["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": one.body}},
            }
        else:
            described["requestBody"] = _form(one)
        yield method, described


def _parameter(name: str, place: str) -> dict[str, Any]:
    called, needed = name.removesuffix("!"), name.endswith("!") or place == "path"
    schema, words = _PARAMETERS[called]
    sent = _SENT_AS.get(called, called)
    return {"name": sent, "in": place, "required": needed, "schema": schema, "description": words}


def _form(one: Operation) -> dict[str, Any]:
    parameters = [_parameter(name, "form") for name in one.parameters]
    properties = {
        parameter["name"]: {**parameter["schema"], "description": parameter["description"]}
        for parameter in parameters
    }
    needed = [parameter["name"] for parameter in parameters if parameter["required"]]
    schema = {"type": "object", "properties": properties, "required": needed}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"required": bool(needed), "content": content}


def _responses(one: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": one.answer}}
    content |= {content_type: {} for content_type in one.others}
    if "jsonp" in one.parameters:
        content["text/javascript"] = {}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    failed = {str(status): {"description": words, "content": error} for status, words in _ERRORS.items()}
    return {"200": {"description": one.summary, "content": content}, **failed}
