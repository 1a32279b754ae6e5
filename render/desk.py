"""What a thread does with a request: parameters read, the view's answer, how it goes over. Knows no sockets.

A request is tried beside the others first, with what a light one may cost; if it turns out to be heavy, TooHeavy is
raised and a thread that may wait gives it to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from render import api
from render.api.cache import Cache
from render.api.response import View, error_response
from render.config import Limits
from render.errors import RenderError, TooHeavy
from render.request import Params, read_params
from render.transfer import sent
from render.workers import Question, Workers

_ENDS = ("from", "until")
_SILENT_S = 15.0  # how much later than its deadline a worker must have said something


class Ask(NamedTuple):
    """A request, as a thread needs it."""

    number: str  # its id
    method: str
    path: str
    route: api.Route
    query: bytes
    body: bytes = b""
    form_type: str = ""
    accepted: Sequence[str] = ()  # Accept-Encoding
    known: Sequence[str] = ()  # If-None-Match


@dataclass(frozen=True)
class Desk:
    house: api.House
    workers: Workers
    clock: Callable[[], float] = time.time

    def answer(self, ask: Ask, gone: Callable[[], bool]) -> api.Response:
        """Raises TooHeavy if a worker has to."""
        if ask.route.heavy and self.workers.count:
            raise TooHeavy
        return self._answer(ask, replace(self.house, cancelled=gone, limits=self._light))

    def answer_by_worker(self, ask: Ask, gone: Callable[[], bool]) -> api.Response:
        seconds = self.house.limits.duration_s + _SILENT_S

        def elsewhere(params: Params, now: int) -> api.Response:
            return self.workers.ask(Question(ask.path, params, ask.body, now), gone, seconds)

        house = replace(self.house, cancelled=gone, elsewhere=elsewhere)
        return self._answer(
            ask, house, None if ask.route.keeps else lambda params, _, now: elsewhere(params, now)
        )

    def _answer(self, ask: Ask, house: api.House, view: View | None = None) -> api.Response:
        try:
            params = read_params(ask.query, ask.body, ask.form_type, fields_max=house.http.fields_max)
        except RenderError as error:
            return error_response(error)
        house.source.refresh()
        response = api.respond(view or ask.route.view, params, house, int(self.clock()))
        if response.account is None:  # it has failed, or costs nothing to speak of
            asked = {"targets": params.get("target", []), "window": [params.get(end) for end in _ENDS]}
            response = replace(response, account=asked)
        return sent(response, ask.accepted, ask.known if ask.method != "POST" else ())

    @cached_property
    def _light(self) -> Limits:
        if not self.workers.count:
            return self.house.limits
        return replace(self.house.limits, light=self.house.http.light)


def work(house: api.House, question: Question, cancelled: Callable[[], bool]) -> api.Response:
    """What a worker does."""
    house.source.refresh()
    route = api.route(question.path)
    assert route is not None  # the server has found it
    # the server keeps answers, a worker says how
    cache = Cache(replace(house.cache.bounds, bytes_max=0)) if house.cache is not None else None
    here = replace(house, cancelled=cancelled, cache=cache)
    return api.respond(route.view, question.params, here, question.now)
