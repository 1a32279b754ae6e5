"""/functions: what series functions there are, from the registry, in graphite-web's shape; /complete: for editors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from render import completion
from render.api.response import House, Response, failure
from render.functions import REGISTRY
from render.functions.registry import AGGREGATIONS, Function, Param
from render.request import Parameters, Params

# JSON has no infinity; Grafana reads graphite-web's 1e9999.
# Until then a text that is no other's stands for it.
_INFINITY = "\0infinity"


def functions(params: Params, house: House, now: int) -> Response:
    """All functions by name, or by group and name (grouped=1), or one group's (group=); type=pie has none."""
    given = Parameters(params)
    group, grouped = given.last("group"), given.last("grouped").lower() in ("1", "true")
    pie = given.last("type") == "pie"
    found: dict[str, Any] = {}
    for name, function in sorted(REGISTRY.functions.items()):
        if pie or (given.has("group") and function.group != group):
            continue
        within = found.setdefault(function.group, {}) if grouped else found
        within[name] = _described(function)
    return _answer(found, given)


def function(name: str) -> Callable[[Params, House, int], Response]:
    """The view of one function."""

    def view(params: Params, house: House, now: int) -> Response:
        known = REGISTRY.functions.get(name)
        if known is None:
            near = REGISTRY.near(name)
            return failure(f"Function not found: {name}", 404, function=name, near=near)
        return _answer(_described(known), Parameters(params))

    return view


def complete(params: Params, house: House, now: int) -> Response:
    """What may be typed next where the text `target` ends: functions, parameters and values, and a path's begin.

    {"start": where the begun word begins, "words": [{"text", "kind", "about"}], "path": text or null}
    """
    given = Parameters(params)
    found = completion.complete(given.last("target"))
    words = [word._asdict() for word in found.words]
    return _answer({"start": found.start, "words": words, "path": found.path}, given)


def _described(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "function": function.signature,
        "description": function.description,
        "module": function.run.__module__,
        "group": function.group,
        "params": [_param(param) for param in function.params],
    }


def _param(param: Param) -> dict[str, Any]:
    """A parameter with those of its properties that say something."""
    options = sorted({*(param.options or ()), *_options_of_type(param.type)}, key=str)
    properties = {
        "required": param.required or None,
        "default": param.default,
        "multiple": param.multiple or None,
        "options": options or None,
        "suggestions": list(param.suggestions or ()) or None,
    }
    said = {key: _finite(value) for key, value in properties.items() if value is not None}
    return {"name": param.name, "type": param.type, **said}


def _options_of_type(type_: str) -> Iterable[str]:
    if type_ == "aggFunc":
        return AGGREGATIONS
    if type_ == "aggOrSeriesFunc":
        return [*AGGREGATIONS, *(name for name, known in REGISTRY.functions.items() if known.aggregator)]
    return ()


def _finite(value: object) -> object:
    return _INFINITY if value == math.inf else value


def _answer(value: object, given: Parameters) -> Response:
    pretty = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS if given.pretty() else 0
    body = orjson.dumps(value, option=pretty, default=str)
    return Response(body.replace(orjson.dumps(_INFINITY), b"1e9999"))
