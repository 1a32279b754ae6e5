"""What a view gives, and the views' common ways to give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from render.config import DEFAULT_HTTP, DEFAULT_LIMITS, Http, Limits
from render.errors import RenderError
from render.extras import NO_EXTRAS, Extras
from render.request import Params
from render.source import Source

if TYPE_CHECKING:
    from render.api.cache import Cache

NOT_CACHED: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-cache", "Pragma": "no-cache"})


@dataclass(frozen=True)
class House:
    """What the views work with."""

    source: Source
    limits: Limits = DEFAULT_LIMITS
    http: Http = DEFAULT_HTTP
    started: int = 0  # epoch seconds
    extras: Extras = NO_EXTRAS
    cache: Cache | None = None  # of what /render answers
    cancelled: Callable[[], bool] = lambda: False  # whether nobody waits for the answer any more
    # has another process answer, if the request is known to be heavy
    elsewhere: Callable[[Params, int], Response] | None = None
    # lets the series of canonical paths go, for /tags/delSeries; None = that is not allowed over HTTP
    delete: Callable[[Sequence[str]], None] | None = None
    not_ready: Callable[[], Sequence[str]] = lambda: ()  # why nobody should ask now


@dataclass(frozen=True)
class Response:
    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    rest: Iterator[bytes] | None = None  # what follows the body, made while it is sent
    reuse: Sequence[Any] | None = None  # how the cache may give it again (cache.Reuse)
    account: Mapping[str, Any] | None = None  # what it has cost, for the log and the counters

    def chunks(self) -> Iterator[bytes]:
        """All of it."""
        yield self.body
        yield from self.rest or ()


View: TypeAlias = Callable[[Params, House, int], Response]


def json_response(
    value: object,
    *,
    pretty: bool = False,
    jsonp: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] = NOT_CACHED,
) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 if pretty else None)
    return Response(*called(body, "application/json", jsonp), status=status, headers=headers)


def called(body: bytes, content_type: str, jsonp: str | None) -> tuple[bytes, str]:
    """Body and content type, as a call of the jsonp callback if there is one (Parameters.jsonp checks it)."""
    return (body, content_type) if jsonp is None else (b"%s(%s)" % (jsonp.encode(), body), "text/javascript")


def error_response(error: RenderError) -> Response:
    return failure(str(error), error.status, **error.details())


def failure(
    message: str, status: int, *, headers: Mapping[str, str] = NOT_CACHED, **details: Any
) -> Response:
    """`{"error": message, …}`."""
    return json_response({"error": message, **details}, status=status, headers=headers)
