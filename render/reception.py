"""From a request to its answer: who asks, what for, and where that is answered – at once, on a thread, by a worker.

A request is answered where that costs least (see desk.py); kernels work without the interpreter's lock, so that threads
do not hold up the reactor, which else only moves bytes. What is beyond config.Http's bounds is refused before it costs
anything.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from render import api
from render.access import Asker, Door, Knock
from render.api.openapi import COUNTERS_TYPE
from render.api.response import NOT_CACHED, failure
from render.assistants import Assistants, Lost
from render.config import Scope
from render.connections import Request, texts
from render.desk import Ask, Desk, Known
from render.errors import Refused, TooHeavy
from render.outflow import Outflow
from render.statistics import GONE, Note

_LOG = logging.getLogger(__name__)
_AT_ONCE_MAX = 4  # requests of one client that are answered before others have their turn
_CROWD, _CROWD_S = 4, 0.02  # requests that came in so many seconds, nearly each of another client's


@dataclass(eq=False)
class Pools:
    """The threads: those that answer, and one a worker that waits for it."""

    light: ThreadPool
    heavy: ThreadPool | None = None


@dataclass(eq=False)
class Reception:
    """Takes each request to what answers it. Counts those that are worked on or wait for a thread."""

    desk: Desk
    reactor: Any
    pools: Pools
    assistants: Assistants
    door: Door
    counters: Callable[[], bytes]  # Prometheus' text
    ended: Callable[[Note, int, int], None]
    pending: int = field(default=0, init=False)
    heavy: int = field(default=0, init=False)  # of these, those that are a worker's or wait for one
    _newest: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_CROWD), init=False)

    def take(self, request: Request) -> None:
        """In the reactor's thread; the answer is written at once or later."""
        try:
            response = self._received(request)
        except Refused as error:
            response = api.refused(error)
        except Exception:
            response = self._broken(request)
        if response is not None:
            request.answer(response)

    def _received(self, request: Request) -> api.Response | None:
        number, knock = request.note.number, _knock(request)
        request.setHeader("X-Request-Id", number)
        if knock.method == "OPTIONS" and knock.header("access-control-request-method"):
            return api.Response(b"", status=204, headers=self.door.preflight(knock))
        for name, value in self.door.shared_with(knock).items():
            request.setHeader(name, value)
        asker = self.door.asker(knock, int(self.desk.clock()))
        request.note.name = asker.name
        return self._answer_of(request, knock, asker, number)

    def _answer_of(self, request: Request, knock: Knock, asker: Asker, number: str) -> api.Response | None:
        """None = it comes later. Raises Refused if who asks may not, which does not depend on what there is."""
        path = request.path.decode("ascii", "replace")
        if "%" in path:
            path = unquote(path, errors="replace")
        route, method = api.route(path), knock.method
        query = request.uri.partition(b"?")[2]
        request.note.route = api.name_of(path, method, query)
        needed = Scope.READ if route is None else route.scope(method)
        self.door.admit(knock, asker, needed, changes=route is not None and route.is_change(method))
        if route is None:
            return api.not_found(path)
        if method not in route.methods:
            return api.wrong_method(method, route)
        if request.note.route == api.COUNTERS:
            return api.Response(self.counters(), COUNTERS_TYPE, headers=NOT_CACHED)
        if route.at_once:
            return api.respond(route.view, {}, self.desk.house, int(self.desk.clock()))
        # who may not change things may still ask, so only a POST has a body
        body = request.content.read() if method == "POST" else b""
        ask = Ask(
            number, method, path, route, query, body, request.form_type,
            knock.header("accept-encoding"), knock.header("if-none-match"),
        )  # fmt: skip
        return self._answered_at_once(request, ask)

    def _answered_at_once(self, request: Request, ask: Ask) -> api.Response | None:
        """None = it comes later."""
        assistant = self.assistants.free() if self._is_crowded(request) else None
        answer = None
        if request.channel.at_once < _AT_ONCE_MAX:
            request.channel.at_once += 1
            with suppress(TooHeavy):
                answer = self.desk.answer_at_once(ask, makes=assistant is None)
        if isinstance(answer, api.Response):
            request.note.made(answer.account)
            return answer
        bounds = self.desk.house.http
        if self.pending - self.heavy >= bounds.running_max + bounds.waiting_max:
            return _busy(f"{self.pending} requests are being worked on or wait")
        if answer is None or assistant is None:
            self._have_it_made(request, ask)
        else:
            self.pending += 1
            done = assistant.ask(self.desk.errand(ask, answer))
            done.addCallbacks(self._assisted, self._left_alone, (request, ask, answer), {}, (request, ask))
            done.addErrback(_not_written)
        return None

    def _assisted(self, message: bytes, request: Request, ask: Ask, known: Known) -> None:
        """Callbacks, not a coroutine, which costs a tenth of what all of it does."""
        self.pending -= 1
        try:
            response = self.desk.assisted(ask, known, message)
            request.note.made(response.account)
        except TooHeavy:
            self._have_it_made(request, ask)
            return
        except Exception:
            response = self._broken(request)
        if request.is_gone:
            self.ended(request.note, GONE, request.sentLength)
        else:
            request.answer(response)

    def _left_alone(self, failure: Failure, request: Request, ask: Ask) -> None:
        self.pending -= 1
        failure.trap(Lost)
        self._have_it_made(request, ask)

    def _have_it_made(self, request: Request, ask: Ask) -> None:
        """By a thread, which may give it to a worker."""
        if request.is_gone:
            self.ended(request.note, GONE, request.sentLength)
        else:
            Deferred.fromCoroutine(self._respond(request, ask)).addErrback(_not_written)

    def _is_crowded(self, request: Request) -> bool:
        """Whether others wait while the reactor's thread makes an answer."""
        now = time.perf_counter()
        self._newest.append((now, id(request.channel)))
        clients = {client for _, client in self._newest}
        return len(clients) >= _CROWD - 1 and now - self._newest[0][0] < _CROWD_S

    async def _respond(self, request: Request, ask: Ask) -> None:
        gone = Event()
        request.notifyFinish().addErrback(lambda _: gone.set())
        self.pending += 1
        try:
            response = await self._response(request, ask, gone)
        except Exception:
            response = self._broken(request)
        finally:
            self.pending -= 1
        if response is not None and not gone.is_set():
            request.answer(response)
        elif not request.note.status:  # and was not written to its end
            self.ended(request.note, GONE, request.sentLength)

    async def _response(self, request: Request, ask: Ask, gone: Event) -> api.Response | None:
        """None = it is written already."""
        work = partial(self._on_a_thread, self.desk.answer, request, ask, gone, time.perf_counter())
        try:
            return await deferToThreadPool(self.reactor, self.pools.light, work)
        except TooHeavy:
            pass
        most = self.desk.workers.count + self.desk.house.http.heavy_waiting_max
        if self.heavy >= most:
            return _busy(f"{self.heavy} heavy requests are being worked on or wait")
        self.heavy += 1
        request.note.worker = True
        asked = time.perf_counter()
        try:
            work = partial(self._on_a_thread, self.desk.answer_by_worker, request, ask, gone, asked)
            return await deferToThreadPool(self.reactor, self.pools.heavy or self.pools.light, work)
        finally:
            self.heavy -= 1

    def _on_a_thread(
        self,
        answer: Callable[[Ask, Callable[[], bool]], api.Response],
        request: Request,
        ask: Ask,
        gone: Event,
        asked: float,
    ) -> api.Response | None:
        """None = it was written while it was made. `asked`: when a thread was asked for."""
        request.note.waited_s += time.perf_counter() - asked
        if gone.is_set():
            return None
        response = answer(ask, gone.is_set)
        request.note.made(response.account)
        if response.rest is None:
            return response
        Outflow(self.reactor, request, gone, self.desk.house.http.idle_s).send(response)
        return None

    def _broken(self, request: Request) -> api.Response:
        """A fault of ours: the log has it under the request's id, and the client only the id."""
        _LOG.exception("request %s failed: %r", request.note.number, request.uri[:200])
        return failure(
            "internal error: the server's log has it under this request's id",
            500,
            request=request.note.number,
        )


def _busy(words: str) -> api.Response:
    return failure(f"{words}; ask again later", 429, headers={"Retry-After": "1"})


def _not_written(error: Failure) -> None:
    _LOG.error("an answer could not be written: %s", error)


def _knock(request: Request) -> Knock:
    return Knock(
        request.method.decode("ascii", "replace"),
        request.peer,
        partial(texts, request.requestHeaders),
        request.clientproto.decode("ascii", "replace"),
    )
