"""What is done with a request: parameters read, the view's answer, how it goes over. Knows no sockets.

A request is tried where it costs least: at once in the reactor's thread, if it is kept or known to be quick; in a
thread beside the others, with what a light one may cost. Where it turns out to cost more, TooHeavy is raised and the
next tries, at last a thread that may wait and gives it to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from render import api
from render.api.cache import Cache
from render.api.response import View, error_response
from render.config import Limits
from render.errors import RenderError, TooHeavy
from render.quick import LIGHT, TEXT_BYTES_MAX, Quick, key_of
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
    quick: Quick = field(default_factory=Quick)

    def answer_at_once(self, ask: Ask) -> api.Response:
        """In the reactor's thread: what is kept, and what was quick before. Raises TooHeavy if another has to."""
        if not ask.route.may_be_quick or len(ask.query) + len(ask.body) > TEXT_BYTES_MAX:
            raise TooHeavy
        if not self.house.source.is_current:
            raise TooHeavy
        params, now = self._params(ask), int(self.clock())
        if isinstance(params, api.Response):
            return params
        key = key_of(ask.path, ask.accepted, params, now)
        is_quick = self.quick.has(key)
        if not is_quick and not ask.route.keeps:
            raise TooHeavy
        try:
            return self._made(ask, params, now, self._at_once if is_quick else self._kept)
        except TooHeavy as heavy:
            if (
                is_quick and not heavy.late
            ):  # how long it takes a thread tells better than how long it took here
                self.quick.was_not(key)
            raise

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
        params, now = self._params(ask), int(self.clock())
        if isinstance(params, api.Response):
            return params
        began, spent = time.perf_counter(), time.thread_time()
        house.source.refresh()
        response = self._made(ask, params, now, house, view)
        if ask.route.may_be_quick and response.rest is None:
            key = key_of(ask.path, ask.accepted, params, now)
            self.quick.took(key, time.thread_time() - spent, time.perf_counter() - began)
        return response

    @staticmethod
    def _made(ask: Ask, params: Params, now: int, house: api.House, view: View | None = None) -> api.Response:
        response = api.respond(view or ask.route.view, params, house, now)
        if response.account is None:  # it has failed, or costs nothing to speak of
            asked = {"targets": params.get("target", []), "window": [params.get(end) for end in _ENDS]}
            response = replace(response, account=asked)
        return sent(response, ask.accepted, ask.known if ask.method != "POST" else ())

    def _params(self, ask: Ask) -> Params | api.Response:
        """What is asked, or what is wrong with how."""
        try:
            return read_params(ask.query, ask.body, ask.form_type, fields_max=self.house.http.fields_max)
        except RenderError as error:
            return error_response(error)

    @cached_property
    def _light(self) -> Limits:
        if not self.workers.count:
            return self.house.limits
        return replace(self.house.limits, light=self.house.http.light)

    @cached_property
    def _at_once(self) -> api.House:
        return replace(self.house, limits=replace(self.house.limits, light=LIGHT))

    @cached_property
    def _kept(self) -> api.House:
        """Gives what it has, and makes nothing."""

        def elsewhere(params: Params, now: int) -> api.Response:
            raise TooHeavy

        return replace(self._at_once, elsewhere=elsewhere)


def work(house: api.House, question: Question, cancelled: Callable[[], bool]) -> api.Response:
    """What a worker does."""
    house.source.refresh()
    route = api.route(question.path)
    assert route is not None  # the server has found it
    # the server keeps answers, a worker says how
    cache = Cache(replace(house.cache.bounds, bytes_max=0)) if house.cache is not None else None
    here = replace(house, cancelled=cancelled, cache=cache)
    return api.respond(route.view, question.params, here, question.now)
