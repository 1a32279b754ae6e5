"""The HTTP API: a table from path to view; view(params, house, now) → Response. No sockets here.

`/render`, `/metrics/find` (also `/metrics`), `/metrics/expand`, `/metrics/index.json`, `/metrics/get-metadata`,
`/metrics` without a query (our counters), `/functions`, `/functions/<name>`, `/complete`, `/tags` and `/events` and
what is below them, `/version`, `/health`, `/health/live`, `/health/ready`; carbonapi's `/info` and
`/_internal/capabilities`; `/openapi.json`, which describes them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from render import access
from render.api import carbonapi, events, functions, health, metrics, openapi, render, tags
from render.api.response import NOT_CACHED, House, Response, View, error_response, failure
from render.config import Scope
from render.errors import Refused, RenderError, TooHeavy
from render.request import Params
from storage.errors import InvalidGlob, InvalidName, UnknownAggregation


@dataclass(frozen=True)
class Route:
    view: View
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    at_once: bool = False  # so cheap that it needs no thread and does not wait for one
    is_open: bool = False  # says nothing of what is stored: whoever reaches the server may ask
    changes: bool = False  # a POST changes something, though one can GET as well
    admin: bool = False  # and what it changes cannot be taken back
    heavy: bool = False  # always a worker's
    may_be_quick: bool = False  # may be answered in the reactor's thread: it waits for nobody
    keeps: bool = False  # looks among its former answers before it has a worker answer

    def is_change(self, method: str) -> bool:
        return access.is_change(method, () if self.changes else self.methods)

    def scope(self, method: str) -> Scope:
        """What one who asks so must be allowed to."""
        if self.is_open:
            return Scope.NONE
        if not self.is_change(method):
            return Scope.READ
        return Scope.ADMIN if self.admin else Scope.WRITE


COUNTERS = "/metrics"
NOWHERE = "none"
_READ = ("GET", "HEAD")
_NAMED = ("/functions/{name}", "/events/{id}", "/tags/{tag}")
_CHANGE = ("POST",)
_WITH_SLASH = {  # these may end in one
    "/render": Route(render.view, keeps=True, may_be_quick=True),
    "/metrics": Route(metrics.find, may_be_quick=True),
    "/metrics/find": Route(metrics.find, may_be_quick=True),
    "/metrics/expand": Route(metrics.expand, may_be_quick=True),
    "/metrics/get-metadata": Route(metrics.get_metadata),
    "/info": Route(carbonapi.info),
    "/_internal/capabilities": Route(carbonapi.capabilities),
    "/functions": Route(functions.functions, _READ, may_be_quick=True),
    "/complete": Route(functions.complete),
    "/tags": Route(tags.tags, _READ),
    "/events": Route(events.events, changes=True),
    "/events/get_data": Route(events.get_data),
    "/version": Route(health.version, _READ, at_once=True),
    "/health": Route(health.health, _READ, at_once=True),
    "/health/live": Route(health.live, _READ, at_once=True, is_open=True),
    "/health/ready": Route(health.ready, _READ, at_once=True, is_open=True),
}
ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        **_WITH_SLASH,
        **{f"{path}/": route for path, route in _WITH_SLASH.items()},
        "/openapi.json": Route(openapi.view, _READ, at_once=True, is_open=True),
        "/metrics/index.json": Route(metrics.index, heavy=True),
        "/tags/findSeries": Route(tags.find_series),
        "/tags/autoComplete/tags": Route(tags.complete_tags),
        "/tags/autoComplete/values": Route(tags.complete_values),
        "/tags/tagSeries": Route(tags.tag_series, _CHANGE),
        "/tags/tagMultiSeries": Route(tags.tag_multi_series, _CHANGE),
        "/tags/delSeries": Route(tags.delete_series, _CHANGE, admin=True),
    }
)


def route(path: str) -> Route | None:
    """What answers a path (percent-decoded); None = nothing is there."""
    found = ROUTES.get(path)
    if found is None and path.startswith("/functions/"):
        return Route(functions.function(path.removeprefix("/functions/")), _READ)
    if found is None and path.startswith("/events/"):
        return Route(events.event(path.removeprefix("/events/")), _READ)
    if found is None and path.startswith("/tags/"):
        return Route(tags.tag(path.removeprefix("/tags/")), _READ)
    return found


def name_of(path: str, method: str, query: bytes) -> str:
    """The name of what answers, one of few: a path without its last slash, or such as /tags/{tag}, or NOWHERE.

    Find's other name is COUNTERS' too: Prometheus asks there, with no `query`, which find must have.
    """
    if path in ROUTES:
        name = path.removesuffix("/")
        return name if name != COUNTERS or (method in _READ and not _has_query(query)) else "/metrics/find"
    return next((name for name in _NAMED if path.startswith(name.partition("{")[0])), NOWHERE)


def _has_query(query: bytes) -> bool:
    return any(unquote_to_bytes(each.partition(b"=")[0]) == b"query" for each in query.split(b"&"))


def respond(view: View, params: Params, house: House, now: int) -> Response:
    """The view's response, or what is wrong with the request. TooHeavy is raised; all else that is is our fault."""
    try:
        return view(params, house, now)
    except TooHeavy:
        raise
    except Refused as error:
        return refused(error)
    except RenderError as error:
        return error_response(error)
    except (InvalidGlob, InvalidName, UnknownAggregation) as error:
        return failure(str(error), 400)


def refused(error: Refused) -> Response:
    return failure(str(error), error.status, headers=error.headers)


def not_found(path: str) -> Response:
    return failure(f"nothing is at {path[:200]!r}", 404, paths=[p for p in ROUTES if not p.endswith("/")])


def wrong_method(method: str, route: Route) -> Response:
    allowed = ", ".join(route.methods)
    return failure(
        f"{method[:20]!r} is not allowed here", 405, headers={**NOT_CACHED, "Allow": allowed}, allowed=allowed
    )


__all__ = [
    "COUNTERS", "NOWHERE", "ROUTES", "House", "Response", "Route", "name_of", "not_found", "refused", "respond",
    "route", "wrong_method",
]  # fmt: skip
