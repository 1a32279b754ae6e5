"""What is done with a request: parameters read, the view's answer, how it goes over. Knows no sockets.

A request is tried where it costs least: at once in the reactor's thread, if it is kept or known to be quick; in a
thread beside the others, with what a light one may cost. Where it turns out to cost more, TooHeavy is raised and the
next tries, at last a thread that may wait and gives it to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from render import api
from render.api.cache import key_of as cache_key
from render.api.response import View, error_response
from render.config import Limits
from render.errand import Errand, done, packed
from render.errors import RenderError, TooHeavy
from render.quick import LIGHT, TEXT_BYTES_MAX, Luck, Quick, key_of
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


class Known(NamedTuple):
    """A request that has been quick before."""

    key: int
    params: Params
    now: int  # epoch seconds


@dataclass(frozen=True)
class Desk:
    house: api.House
    workers: Workers
    clock: Callable[[], float] = time.time
    quick: Quick = field(default_factory=Quick)
    luck: Luck = field(default_factory=Luck)  # of those that an assistant might answer

    def answer_at_once(self, ask: Ask, *, makes: bool = True) -> api.Response | Known:
        """In the reactor's thread: what is kept, and what was quick before; without `makes` that is only told.

        Raises TooHeavy if another has to answer.
        """
        if not ask.route.may_be_quick or len(ask.query) + len(ask.body) > TEXT_BYTES_MAX:
            raise TooHeavy
        if not self.house.source.is_current:
            raise TooHeavy
        params, now = self._params(ask), int(self.clock())
        if isinstance(params, api.Response):
            return params
        known = Known(key_of(ask.path, ask.accepted, params, now), params, now)
        is_quick = self.quick.has(known.key)
        if makes and is_quick:
            return self._made_at_once(ask, known)
        looks = ask.route.keeps and (not is_quick or self.luck.says())
        try:
            response = self._sent(ask, self._viewed(ask, params, now, self._kept if looks else None))
        except TooHeavy:
            if is_quick:
                return known
            raise
        self.luck.was_good()
        return response

    def _made_at_once(self, ask: Ask, known: Known) -> api.Response:
        try:
            return self._sent(ask, self._viewed(ask, known.params, known.now, self._at_once))
        except TooHeavy as heavy:
            self._was_heavy(known, heavy)
            raise

    def errand(self, ask: Ask, known: Known) -> bytes:
        """What to ask an assistant."""
        tags = ask.known if ask.method != "POST" else ()
        return packed(Errand(ask.path, known.params, ask.body, known.now, ask.accepted, tags))

    def assisted(self, ask: Ask, known: Known, message: bytes) -> api.Response:
        """What it has answered. Raises TooHeavy."""
        try:
            over, made = done(message)
        except TooHeavy as heavy:
            self._was_heavy(known, heavy)
            raise
        if made is not None and self.house.cache is not None:
            self.house.cache.keep(cache_key(ask.path, known.params, self.house.source), made)
        return over if over.account is not None else replace(over, account=_asked(known.params))

    def _was_heavy(self, known: Known, heavy: TooHeavy) -> None:
        if not heavy.late:  # how long it takes a thread tells better than how long it has taken here
            self.quick.was_not(known.key)

    def answer(self, ask: Ask, gone: Callable[[], bool]) -> api.Response:
        """Raises TooHeavy if a worker has to."""
        if ask.route.heavy and self.workers.count:
            raise TooHeavy
        return self._answer(ask, replace(self.house, cancelled=gone, limits=self._light), learns=True)

    def answer_by_worker(self, ask: Ask, gone: Callable[[], bool]) -> api.Response:
        seconds = self.house.limits.duration_s + _SILENT_S

        def elsewhere(params: Params, now: int) -> api.Response:
            return self.workers.ask(Question(ask.path, params, ask.body, now), gone, seconds)

        house = replace(self.house, cancelled=gone, elsewhere=elsewhere)
        return self._answer(
            ask, house, None if ask.route.keeps else lambda params, _, now: elsewhere(params, now)
        )

    def _answer(
        self, ask: Ask, house: api.House, view: View | None = None, *, learns: bool = False
    ) -> api.Response:
        """`learns`: whether it is quick."""
        params, now = self._params(ask), int(self.clock())
        if isinstance(params, api.Response):
            return params
        began, spent = time.perf_counter(), time.thread_time()
        house.source.refresh()
        response = self._sent(ask, self._viewed(ask, params, now, house, view))
        is_made = response.account is None or response.account.get("cache") != "hit"
        if learns and is_made and ask.route.may_be_quick and response.rest is None:
            key = key_of(ask.path, ask.accepted, params, now)
            self.quick.took(key, time.thread_time() - spent, time.perf_counter() - began)
        return response

    @staticmethod
    def _viewed(
        ask: Ask, params: Params, now: int, house: api.House | None, view: View | None = None
    ) -> api.Response:
        """Without a house for it, it is too heavy."""
        if house is None:
            raise TooHeavy
        response = api.respond(view or ask.route.view, params, house, now)
        # without an account it has failed, or costs nothing to speak of
        return response if response.account is not None else replace(response, account=_asked(params))

    @staticmethod
    def _sent(ask: Ask, response: api.Response) -> api.Response:
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


def _asked(params: Params) -> Mapping[str, Any]:
    """For the log."""
    return {"targets": params.get("target", []), "window": [params.get(end) for end in _ENDS]}


def work(house: api.House, question: Question, cancelled: Callable[[], bool]) -> api.Response:
    """What a worker does."""
    house.source.refresh()
    route = api.route(question.path)
    assert route is not None  # the server has found it
    cache = house.cache.of_another_process() if house.cache is not None else None
    here = replace(house, cancelled=cancelled, cache=cache)
    return api.respond(route.view, question.params, here, question.now)
