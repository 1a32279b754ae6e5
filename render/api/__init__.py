"""The HTTP API: a table from path to view; view(params, house, now) → Response. No sockets here.

`/render`, `/metrics/find` (also `/metrics`), `/metrics/expand`, `/metrics/index.json`, `/functions`,
`/functions/<name>`, `/version`, `/health`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from render.api import functions, health, metrics, render
from render.api.response import NOT_CACHED, House, Response, View, error_response, failure
from render.errors import RenderError
from render.request import Params
from storage.errors import InvalidGlob, InvalidName, UnknownAggregation


@dataclass(frozen=True)
class Route:
    view: View
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    at_once: bool = False  # so cheap that it needs no thread and does not wait for one


_READ = ("GET", "HEAD")
_WITH_SLASH = {  # these may end in one
    "/render": Route(render.view),
    "/metrics": Route(metrics.find),
    "/metrics/find": Route(metrics.find),
    "/metrics/expand": Route(metrics.expand),
    "/functions": Route(functions.functions, _READ),
    "/version": Route(health.version, _READ, at_once=True),
    "/health": Route(health.health, _READ, at_once=True),
}
ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        **_WITH_SLASH,
        **{f"{path}/": route for path, route in _WITH_SLASH.items()},
        "/metrics/index.json": Route(metrics.index),
    }
)


def route(path: str) -> Route | None:
    """What answers a path (percent-decoded); None = nothing is there."""
    found = ROUTES.get(path)
    if found is None and path.startswith("/functions/"):
        return Route(functions.function(path.removeprefix("/functions/")), _READ)
    return found


def respond(view: View, params: Params, house: House, now: int) -> Response:
    """The view's response, or what is wrong with the request; anything else that is raised is our fault."""
    try:
        return view(params, house, now)
    except RenderError as error:
        return error_response(error)
    except (InvalidGlob, InvalidName, UnknownAggregation) as error:
        return failure(str(error), 400)


def not_found(path: str) -> Response:
    return failure(f"nothing is at {path[:200]!r}", 404, paths=[p for p in ROUTES if not p.endswith("/")])


def wrong_method(method: str, route: Route) -> Response:
    allowed = ", ".join(route.methods)
    return failure(
        f"{method[:20]!r} is not allowed here", 405, headers={**NOT_CACHED, "Allow": allowed}, allowed=allowed
    )


__all__ = ["ROUTES", "House", "Response", "Route", "not_found", "respond", "route", "wrong_method"]
