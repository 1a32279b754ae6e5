"""Twisted web around the API: URL → view on a thread. The only file of this wing with a reactor.

A request is parsed and answered on one of a few threads (kernels work without the interpreter's lock),
so that the reactor only moves bytes. What is beyond config.Http's bounds is refused before it costs anything.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.threads import blockingCallFromThread, deferToThreadPool
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web import http, server
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from zope.interface import implementer

from render import api
from render.access import Asker, Door, Knock, NoKeys, policy
from render.api.cache import Cache
from render.api.openapi import COUNTERS_TYPE
from render.api.response import NOT_CACHED, failure
from render.config import DEFAULT_ACCESS, DEFAULT_HTTP, DEFAULT_LIMITS, Http, Limits, Scope
from render.desk import Ask, Desk, work
from render.errors import Refused, TooHeavy
from render.extras import NO_EXTRAS, Extras
from render.leaving import SOON_S, Leaving
from render.observer import Observer
from render.readiness import EVERY_S, Check, Readiness, store_fault, writer_fault
from render.source import SharedStore
from render.statistics import GONE, Exposition, Live, Note, Report
from render.tls import ServerTLS, server_tls
from render.warm import is_compiled, warm_up
from render.workers import Workers
from storage.ask import tell
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.store import Store

OPEN = Door(DEFAULT_ACCESS, NoKeys(), local=True)  # without tokens, to its own host only
_LENGTH_CHARS_MAX = 100
_LOG = logging.getLogger(__name__)
_END_S = SOON_S + 0.15  # after a signal, though a thread hold what the end waits for
_REPORT_SOON_S = 1.0
_REPORT_AGAIN_S = 10.0  # where nobody wants to be told of us


def serve(
    store: Store,
    listening: socket.socket,
    *,
    limits: Limits = DEFAULT_LIMITS,
    bounds: Http = DEFAULT_HTTP,
    door: Door = OPEN,
    extras: Extras = NO_EXTRAS,
    cache: Cache | None = None,
    delete: Callable[[Sequence[str]], None] | None = None,
    worker_count: int = 0,
    own_fds: Sequence[int] = (),
    has_receiver: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests on a listening socket, which is taken over, until SIGTERM or SIGINT; or SIGQUIT, see Leaving.

    `own_fds` are what of the caller's the workers must not hold open; `has_receiver`: it is not ready without one.
    """
    tls = server_tls(bounds)
    started = int(time.time())
    house = api.House(
        SharedStore(store), limits, bounds, started=started, extras=extras, cache=cache, delete=delete
    )
    is_warm = is_compiled()
    if is_warm:
        warm_up(house)
    workers = Workers(
        worker_count, partial(work, house), partial(_apart, house, [listening.fileno(), *own_fds])
    )
    from twisted.internet import reactor as installed  # installs it, so not before it is needed

    reactor: Any = installed  # which interfaces it has is decided when it is installed
    pools = Pools(
        _pool(bounds.running_max, "request"), _pool(workers.count, "heavy") if workers.count else None
    )
    readiness = _readiness(store, house, has_receiver)
    site = Site(Desk(replace(house, not_ready=readiness.reasons), workers), reactor, pools, door)
    readiness.also(faults(site))
    listening.setblocking(False)
    port = reactor.adoptStreamPort(listening.fileno(), listening.family, _secured(site, tls))
    listening.close()
    reactor.callWhenRunning(_obey_signals, reactor, site, port.stopListening)
    reactor.callWhenRunning(on_ready)
    if not is_warm:
        reactor.callWhenRunning(Thread(target=warm_up, args=(house,), daemon=True).start)
    reporter = Reporter(reactor, site.report, partial(tell, store.folder), _pool(1, "report"))
    reporter.start(until=lambda: site.is_leaving)
    reactor.run()
    site.observer.close()


def _readiness(store: Store, house: api.House, has_receiver: bool) -> Readiness:
    """It is looked at from now on."""
    checks = [partial(store_fault, store.folder, house.source)]
    if has_receiver:
        checks.append(partial(writer_fault, store.folder))
    readiness = Readiness(checks)
    readiness.look()

    def go_on() -> None:
        while True:
            time.sleep(EVERY_S)
            try:
                readiness.look()
            except Exception:
                _LOG.exception("whether the server is ready is not known")

    Thread(target=go_on, name="readiness", daemon=True).start()
    return readiness


def faults(site: Site) -> Sequence[Check]:
    """What is seen at once."""
    page, bounds = site.page, site.house.http
    most = bounds.running_max + bounds.waiting_max
    return (
        lambda: "the server is about to end" if site.is_leaving else "",
        lambda: f"{most} requests are being worked on or wait" if page.pending - page.heavy >= most else "",
        lambda: "" if page.desk.workers.can_start else "no worker can be started",
    )


def _obey_signals(reactor: Any, site: Site, deaf: Callable[[], object]) -> None:
    """SIGTERM and SIGINT: end soon. SIGQUIT: end gently, another has our place; it is nginx' word for that, too."""
    in_time = _clockwork(_END_S)

    def over() -> None:
        in_time()
        reactor.stop()

    def soon(*_: object) -> None:
        in_time()
        reactor.callFromThread(leaving.soon)

    leaving = site.leaving = Leaving(reactor, site.channels, deaf, over)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, soon)
    signal.signal(signal.SIGQUIT, lambda *_: reactor.callFromThread(leaving.gently, site.house.http.idle_s))


def _clockwork(seconds: float) -> Callable[[], None]:
    """Gives what, once called, has the process end after so many seconds, whatever holds its other threads up.

    What does is a log that nobody reads: who writes to a full pipe waits, holding the lock that all others want. So
    this takes no lock, and may be called by a signal's handler.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)  # it is called more than once

    def wait() -> None:
        os.read(told, 1)
        time.sleep(seconds)
        os._exit(0)

    Thread(target=wait, name="clockwork", daemon=True).start()

    def wind() -> None:
        with suppress(BlockingIOError):
            os.write(tell, b"!")

    return wind


def _secured(site: Site, tls: ServerTLS | None) -> Any:
    if tls is None:
        return site
    factory: Any = site
    # it is a context factory of the old kind, which needs no more than getContext
    return TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=factory)  # type: ignore[arg-type]


def _apart(house: api.House, own_fds: Sequence[int]) -> None:
    """In the process that workers are forked of: let go what is the server's."""
    for fd in own_fds:
        os.close(fd)
    house.source.after_fork()


class _DaemonPool(ThreadPool):
    """Threads that the process does not wait for when it is to end: they only read."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # noqa: N815  # only ever called


def _pool(threads: int, name: str) -> ThreadPool:
    pool = _DaemonPool(1, threads, name)
    pool.start()
    return pool


class Request(server.Request):
    """A request whose body is refused before it is read if it is too long or of unknown length."""

    channel: Any  # the HTTPChannel, whose site and transport are set when it is connected
    content: Any  # a file
    form_type = ""
    _refused = False

    @cached_property
    def note(self) -> Note:
        """Begins when it is first asked for, at the latest when all is written: some requests Twisted answers."""
        return Note(_number(self), _client(self), self.method.decode("ascii", "replace"), self.uri)

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        """The headers are complete; the body is not read yet (None = its length is not told)."""
        self.form_type = next(iter(_texts(self.requestHeaders, "content-type")), "")
        # without it Twisted leaves the form alone, which would cost the reactor's thread
        self.requestHeaders.removeHeader("content-type")
        most = self.channel.site.house.http.body_bytes_max
        if length is None:
            self._refuse(b"411 Length Required", "a body needs a Content-Length")
        elif length > most:
            self._refuse(b"413 Payload Too Large", f"the body has {length} bytes; at most {most}")
        super().gotLength(length)

    def process(self) -> None:
        """All of the request is there, if it was not refused before."""
        if not self._refused:
            super().process()

    def _refuse(self, status: bytes, reason: str) -> None:
        """Answer and close the connection; what of the body is there already is thrown away."""
        self._refused = True
        # Twisted has not given us these yet
        self.method, self.uri = getattr(self.channel, "_command", b""), getattr(self.channel, "_path", b"")
        self.requestHeaders.removeHeader("expect")  # or Twisted would ask for the body
        answer = failure(reason, int(status[:3]))
        head = (
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n" % status
        )
        self.channel.transport.write(
            head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(answer.body) + answer.body
        )
        self.channel.site.ended(self.note, answer.status, len(answer.body))
        self.channel.loseConnection()


class Channel(http.HTTPChannel):
    """A connection, one of so many: its idle time is that in which no request becomes whole."""

    site: Any  # the Site, once it is made
    _counted = False

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        if self.site.connections >= self.site.house.http.connections_max:
            cast(Any, self.transport).abortConnection()
            return
        self._counted = True
        self.site.connections += 1
        self.site.channels.add(self)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Not HTTPChannel's: there a byte now and then keeps a connection for ever."""
        LineReceiver.dataReceived(self, data)

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802  # Twisted's name
        """Not a length of thousands of digits, of which Twisted would make a number and Python refuses to."""
        name, _, value = line.partition(b":")
        too_long = name.strip().lower() == b"content-length" and len(value) > _LENGTH_CHARS_MAX
        return bool(super().headerReceived(b"Content-Length: -" if too_long else line))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  # Twisted's name
        if self._counted:
            self.site.connections -= 1
        self.site.channels.discard(self)
        super().connectionLost(reason)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:  # noqa: N802
        """An answer begins: the last on this connection if the server is about to end."""
        if self.site.is_leaving:
            headers.setRawHeaders(b"Connection", [b"close"])
            self.persistent = False
        super().writeHeaders(version, code, reason, headers)

    def requestDone(self, request: http.Request) -> None:  # noqa: N802  # Twisted's name
        super().requestDone(request)
        if self.site.is_leaving_soon and not self.requests:
            self.loseConnection()  # its answer began before

    @property
    def is_busy(self) -> bool:
        """See leaving.Connection."""
        return bool(self.requests) or bool(getattr(self.transport, "disconnecting", False))


class Site(server.Site):
    """The HTTP server's connections; each request goes to the one Page."""

    protocol = Channel  # type: ignore[assignment]  # without HTTP/2, which needs the one that chooses

    def __init__(self, desk: Desk, reactor: Any, pools: Pools, door: Door = OPEN) -> None:
        self.observer = Observer(desk.house.http, desk.clock)
        exposition = Exposition(self.observer.statistics, self.live)
        self.page = Page(desk, reactor, pools, door, exposition.text, self.ended)
        super().__init__(self.page, Request, timeout=desk.house.http.idle_s, reactor=reactor)
        self.house, self.connections = desk.house, 0
        self.channels: set[Channel] = set()
        self.leaving: Leaving | None = None  # how it ends, where it is a process
        self.report = Report(self.observer.statistics, self.live)

    @property
    def is_leaving(self) -> bool:
        return self.leaving is not None and self.leaving.has_begun

    @property
    def is_leaving_soon(self) -> bool:
        return self.leaving is not None and self.leaving.is_soon

    def log(self, request: http.Request) -> None:
        """All of the answer is written."""
        assert isinstance(request, Request)
        self.ended(request.note, request.code, request.sentLength)

    def ended(self, note: Note, status: int, sent: int) -> None:
        """A request has ended, with so many bytes of a body; each once."""
        note.end(status, sent)
        self.observer.ended(note)

    def live(self) -> Live:
        """What is counted as it is now."""
        page, workers, cache = self.page, self.page.desk.workers, self.house.cache
        light, bounds = page.pending - page.heavy, self.house.http
        in_work = min(light, bounds.running_max) + min(page.heavy, workers.count)
        return Live(
            self.connections,
            in_work,
            page.pending - in_work,
            page.heavy,
            len(self.house.source),
            self.house.source.refreshes,
            workers.started,
            workers.lost,
            None if cache is None else cache.statistics(),
            self.observer.dropped,
        )


@dataclass(eq=False)
class Pools:
    """The threads: those that answer, and one a worker that waits for it."""

    light: ThreadPool
    heavy: ThreadPool | None = None


@dataclass(eq=False)
class Page(Resource):
    """All paths. Counts the requests that are worked on or wait for a thread."""

    desk: Desk
    reactor: Any
    pools: Pools
    door: Door
    counters: Callable[[], bytes]  # Prometheus' text
    ended: Callable[[Note, int, int], None]
    pending: int = field(default=0, init=False)
    heavy: int = field(default=0, init=False)  # of these, those that are a worker's or wait for one
    isLeaf = True  # noqa: N815  # Twisted's name

    def __post_init__(self) -> None:
        super().__init__()

    def render(self, request: Request) -> int | bytes:
        number, knock = request.note.number, _knock(request)
        request.setHeader("X-Request-Id", number)
        request.setHeader("Server", "plumbago")  # not Twisted's version
        try:
            if knock.method == "OPTIONS" and knock.header("access-control-request-method"):
                return _write(request, api.Response(b"", status=204, headers=self.door.preflight(knock)))
            for name, value in self.door.shared_with(knock).items():
                request.setHeader(name, value)
            asker = self.door.asker(knock, int(self.desk.clock()))
            request.note.name = asker.name
            return self._answer_of(request, knock, asker, number)
        except Refused as error:
            return _write(request, api.refused(error))

    def _answer_of(self, request: Request, knock: Knock, asker: Asker, number: str) -> int | bytes:
        """Raises Refused if who asks may not, which does not depend on what there is."""
        path = unquote(request.path.decode("ascii", "replace"), errors="replace")
        route, method = api.route(path), knock.method
        query = request.uri.partition(b"?")[2]
        request.note.route = api.name_of(path, method, query)
        needed = Scope.READ if route is None else route.scope(method)
        self.door.admit(knock, asker, needed, changes=route is not None and route.is_change(method))
        if route is None:
            return _write(request, api.not_found(path))
        if method not in route.methods:
            return _write(request, api.wrong_method(method, route))
        if request.note.route == api.COUNTERS:
            return _write(request, api.Response(self.counters(), COUNTERS_TYPE, headers=NOT_CACHED))
        if route.at_once:
            return _write(request, api.respond(route.view, {}, self.desk.house, int(self.desk.clock())))
        bounds = self.desk.house.http
        if self.pending - self.heavy >= bounds.running_max + bounds.waiting_max:
            return _write(request, _busy(f"{self.pending} requests are being worked on or wait"))
        # who may not change things may still ask, so only a POST has a body
        body = request.content.read() if method == "POST" else b""
        ask = Ask(
            number, method, path, route, query, body, request.form_type,
            knock.header("accept-encoding"), knock.header("if-none-match"),
        )  # fmt: skip
        Deferred.fromCoroutine(self._respond(request, ask)).addErrback(_not_written)
        return server.NOT_DONE_YET

    async def _respond(self, request: Request, ask: Ask) -> None:
        gone = Event()
        request.notifyFinish().addErrback(lambda _: gone.set())
        self.pending += 1
        try:
            response = await self._response(request, ask, gone)
        except Exception:
            response = self._broken(request, ask)
        finally:
            self.pending -= 1
        if response is not None and not gone.is_set():
            request.write(_write(request, response))
            request.finish()
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

    def _broken(self, request: Request, ask: Ask) -> api.Response:
        """A fault of ours: the log has it under the request's id, and the client only the id."""
        _LOG.exception("request %s failed: %r", ask.number, request.uri[:200])
        return failure(
            "internal error: the server's log has it under this request's id", 500, request=ask.number
        )


class Reporter:
    """Has the process that has the store record what we count, as often as that one says; if there is one."""

    def __init__(
        self, reactor: Any, report: Report, tell: Callable[[Mapping[str, float]], float], pool: ThreadPool
    ) -> None:
        """`tell` may block; it gives the seconds until it is to be called again, 0 = nothing is wanted."""
        self._reactor, self._report, self._tell, self._pool = reactor, report, tell, pool
        self._every_s = 0.0
        self._is_over: Callable[[], bool] = lambda: False

    def start(self, until: Callable[[], bool] = lambda: False) -> None:
        """`until`: whether to tell no more, as another process that has taken our place does."""
        self._is_over = until
        self._reactor.callLater(_REPORT_SOON_S, self._begin)

    def _begin(self) -> None:
        if not self._is_over():
            done = Deferred.fromCoroutine(self._go_on()).addErrback(_not_reported)
            done.addBoth(lambda _: self._reactor.callLater(self._every_s or _REPORT_AGAIN_S, self._begin))

    async def _go_on(self) -> None:
        values = self._report.take() if self._every_s else {}
        try:
            every_s = await deferToThreadPool(self._reactor, self._pool, self._tell, values)
        except (StorageError, OSError, ValueError) as error:
            _LOG.debug("nobody records what is counted: %s", error)  # what was counted is told the next time
        else:
            self._report.taken()
            self._every_s = every_s


def _busy(words: str) -> api.Response:
    return failure(f"{words}; ask again later", 429, headers={"Retry-After": "1"})


def _not_reported(error: Failure) -> None:
    _LOG.error("what is counted could not be told: %s", error)


def _not_written(error: Failure) -> None:
    _LOG.error("an answer could not be written: %s", error)


@implementer(IPushProducer)
class Outflow:
    """An answer that is written while it is made, by a thread, as fast as the client takes it."""

    def __init__(self, reactor: Any, request: Request, gone: Event, idle_s: float) -> None:
        self._reactor, self._request, self._gone, self._idle_s = reactor, request, gone, idle_s
        self._flows = Event()

    def send(self, response: api.Response) -> None:
        """On a thread: all of it. What goes wrong ends the connection, as the answer has begun."""
        chunks = response.rest
        assert chunks is not None
        self._do(self._begin, response)
        whole = False
        try:
            for chunk in chunks:
                if not self._flows.wait(self._idle_s) or self._gone.is_set():
                    break
                self._do(self._request.write, chunk)
            else:
                whole = True
        except Exception:
            _LOG.exception("an answer broke off: %r", self._request.uri[:200])
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
            self._do(self._end, whole)

    def _do(self, call: Callable[..., object], *arguments: object) -> None:
        """Not before the reactor has done it is the next chunk made: they would wait there without a bound."""
        blockingCallFromThread(self._reactor, self._unless_gone, call, *arguments)

    def _unless_gone(self, call: Callable[..., object], *arguments: object) -> None:
        if not self._gone.is_set():
            call(*arguments)

    def _begin(self, response: api.Response) -> None:
        body = _write(self._request, response, length=None)
        self._request.registerProducer(self, streaming=True)
        if body:
            self._request.write(body)
        self._flows.set()

    def _end(self, whole: bool) -> None:
        self._request.unregisterProducer()
        if whole:
            self._request.finish()
        else:
            self._request.channel.transport.abortConnection()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's names
        self._flows.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._flows.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._gone.set()
        self._flows.set()


_NUMBER = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")


def _number(request: Request) -> str:
    """The id by which a client or a proxy knows the request, else one of ours."""
    given = request.getHeader(b"x-request-id") or b""
    return given.decode() if _NUMBER.fullmatch(given) else secrets.token_hex(8)


def _client(request: Request) -> str:
    """The address of the connection; "" for a Unix socket."""
    return str(getattr(request.getClientAddress(), "host", ""))


def _knock(request: Request) -> Knock:
    return Knock(
        request.method.decode("ascii", "replace"),
        _client(request),
        partial(_texts, request.requestHeaders),
        request.clientproto.decode("ascii", "replace"),
    )


_WITHOUT_BODY = (204, 304)


def _texts(headers: Headers, name: str) -> Sequence[str]:
    """A header's values; Twisted asked for texts raises UnicodeDecodeError for what is no UTF-8."""
    return [value.decode(errors="replace") for value in headers.getRawHeaders(name.encode(), ())]


def _write(request: Request, response: api.Response, length: int | None = -1) -> bytes:
    """Set the response's head on the request; gives its body. `length` None = more follows, nobody knows how much."""
    request.setResponseCode(response.status)
    length = len(response.body) if length == -1 else length
    if response.status in _WITHOUT_BODY:
        length = None
    headers = {
        "Content-Type": response.content_type,
        **({} if length is None else {"Content-Length": str(length)}),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": policy(response.content_type),
        "Referrer-Policy": "same-origin",
        **response.headers,
    }
    for name, value in headers.items():
        if name == "Vary":
            request.responseHeaders.addRawHeader(name, value)  # beside that of the origin
        else:
            request.setHeader(name, value)
    return response.body
