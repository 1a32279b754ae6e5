"""A quick request that another process answers: as bytes to it, and its answer as bytes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # it has none

from render import api
from render.api.response import Response
from render.errors import TooHeavy
from render.quick import LIGHT
from render.request import Params, Sent
from render.transfer import sent

_SECONDS = 0.25  # nothing stands still meanwhile but this process


class Errand(NamedTuple):
    path: str
    params: Params
    body: bytes
    now: int  # epoch seconds
    accepted: Sequence[str]  # Accept-Encoding
    known: Sequence[str]  # If-None-Match


class Done(NamedTuple):
    over: Response  # as it goes over
    made: Response | None  # before it was compressed and such, if it may be given again


def packed(errand: Errand) -> bytes:
    message: bytes = msgpack.packb(errand)
    return message


def runner(house: api.House) -> Callable[[bytes], bytes]:
    """What the other process does with each message."""
    cache = house.cache.of_another_process() if house.cache is not None else None
    light = LIGHT._replace(seconds=_SECONDS)
    return partial(_run, replace(house, cache=cache, limits=replace(house.limits, light=light)))


def _run(house: api.House, message: bytes) -> bytes:
    path, values, body, now, accepted, known = msgpack.unpackb(message)
    params = Sent(values)
    params.body = body
    house.source.refresh()
    route = api.route(path)
    assert route is not None  # the server has found it
    try:
        made = api.respond(route.view, params, house, now)
    except TooHeavy as heavy:
        return bytes(msgpack.packb((heavy.late, None, None)))
    over = sent(made, accepted, known)
    told = None if made.reuse is None else _told(made, over.body)
    return bytes(msgpack.packb((None, _told(over), told)))


def _told(response: Response, there: bytes | None = None) -> tuple[object, ...]:
    """A response for msgpack; without its body if that is there already."""
    body = None if response.body == there else b"".join(response.chunks())
    head = response.content_type, response.status, dict(response.headers)
    return body, *head, response.reuse, response.account


def done(message: bytes) -> Done:
    """Raises TooHeavy, where it was."""
    late, over, made = msgpack.unpackb(message)
    if over is None:
        raise TooHeavy(late=late)
    response = _response(over)
    return Done(response, None if made is None else _response(made, there=response.body))


def _response(told: Sequence[Any], there: bytes = b"") -> Response:
    body, content_type, status, headers, reuse, account = told
    body = there if body is None else body
    return Response(body, content_type, status, headers, reuse=reuse, account=account)
