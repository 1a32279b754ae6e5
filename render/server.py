"""Twisted web around the API: URL → view on a thread. The only file of this wing with a reactor.

A request is parsed and answered on one of a few threads (kernels work without the interpreter's lock),
so that the reactor only moves bytes. What is beyond config.Http's bounds is refused before it costs anything.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from twisted.internet.protocol import connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web import http, server
from twisted.web.resource import Resource

from render import api
from render.access import Asker, Door, Knock, NoKeys, policy
from render.api.response import error_response, failure
from render.config import DEFAULT_ACCESS, DEFAULT_HTTP, DEFAULT_LIMITS, Http, Limits, Scope
from render.errors import Refused, RenderError
from render.extras import NO_EXTRAS, Extras
from render.request import read_params
from render.source import SharedStore
from render.tls import ServerTLS, server_tls

if TYPE_CHECKING:
    from storage.store import Store

OPEN = Door(DEFAULT_ACCESS, NoKeys(), local=True)  # without tokens, to its own host only
_LOG = logging.getLogger(__name__)


def serve(
    store: Store,
    listening: socket.socket,
    *,
    limits: Limits = DEFAULT_LIMITS,
    bounds: Http = DEFAULT_HTTP,
    door: Door = OPEN,
    extras: Extras = NO_EXTRAS,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests on a listening socket, which is taken over, until SIGTERM or SIGINT."""
    from twisted.internet import reactor as installed  # installs it, so not before it is needed

    tls = server_tls(bounds)
    reactor: Any = installed  # which interfaces it has is decided when it is installed
    house = api.House(SharedStore(store), limits, bounds, started=int(time.time()), extras=extras)
    _warm_up(house)
    pool = _DaemonPool(1, bounds.running_max, "request")
    pool.start()
    listening.setblocking(False)
    reactor.adoptStreamPort(
        listening.fileno(), listening.family, _secured(Site(house, reactor, pool, door), tls)
    )
    listening.close()
    reactor.callWhenRunning(on_ready)
    reactor.run()


def _secured(site: Site, tls: ServerTLS | None) -> Any:
    if tls is None:
        return site
    factory: Any = site
    # it is a context factory of the old kind, which needs no more than getContext
    return TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=factory)  # type: ignore[arg-type]


def _warm_up(house: api.House) -> None:
    """Have kernels compiled, or loaded, and tags made ready before the first client waits for them."""
    now = int(time.time())
    for maximum in ("1", "100000"):
        params = {"target": ["constantLine(1)"], "format": ["json"], "maxDataPoints": [maximum]}
        api.respond(api.ROUTES["/render"].view, params, house, now)
    api.respond(api.ROUTES["/render"].view, {"target": ["constantLine(1)"]}, house, now)  # png, and its fonts
    api.respond(api.ROUTES["/tags/findSeries"].view, {"expr": ["name=~a$"]}, house, now)


class _DaemonPool(ThreadPool):
    """Threads that the process does not wait for when it is to end: they only read."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # noqa: N815  # only ever called


class Request(server.Request):
    """A request whose body is refused before it is read if it is too long or of unknown length."""

    channel: Any  # the HTTPChannel, whose site and transport are set when it is connected
    content: Any  # a file
    form_type = ""
    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        """The headers are complete; the body is not read yet (None = its length is not told)."""
        header = self.requestHeaders.getRawHeaders("content-type", [""])
        self.form_type = header[0]
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
        self.requestHeaders.removeHeader("expect")  # or Twisted would ask for the body
        answer = failure(reason, int(status[:3]))
        head = (
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n" % status
        )
        self.channel.transport.write(
            head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(answer.body) + answer.body
        )
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
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Not HTTPChannel's: there a byte now and then keeps a connection for ever."""
        LineReceiver.dataReceived(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  # Twisted's name
        if self._counted:
            self.site.connections -= 1
        super().connectionLost(reason)


class Site(server.Site):
    """The HTTP server's connections; each request goes to the one Page."""

    protocol = Channel  # type: ignore[assignment]  # without HTTP/2, which needs the one that chooses

    def __init__(self, house: api.House, reactor: Any, pool: ThreadPool, door: Door = OPEN) -> None:
        page = Page(house, reactor, pool, door)
        super().__init__(page, Request, timeout=house.http.idle_s, reactor=reactor)
        self.house, self.connections = house, 0

    def log(self, request: http.Request) -> None:
        """No line a request: what clients send is not for the log."""


@dataclass(eq=False)
class Page(Resource):
    """All paths. Counts the requests that are worked on or wait for a thread."""

    house: api.House
    reactor: Any
    pool: ThreadPool
    door: Door
    clock: Callable[[], float] = time.time
    pending: int = field(default=0, init=False)
    isLeaf = True  # noqa: N815  # Twisted's name

    def __post_init__(self) -> None:
        super().__init__()

    def render(self, request: Request) -> int | bytes:
        knock = _knock(request)
        try:
            if knock.method == "OPTIONS" and knock.header("access-control-request-method"):
                return _write(request, api.Response(b"", status=204, headers=self.door.preflight(knock)))
            for name, value in self.door.shared_with(knock).items():
                request.setHeader(name, value)
            return self._answer_of(request, knock, self.door.asker(knock, int(self.clock())))
        except Refused as error:
            return _write(request, api.refused(error))

    def _answer_of(self, request: Request, knock: Knock, asker: Asker) -> int | bytes:
        """Raises Refused if who asks may not, which does not depend on what there is."""
        path = unquote(request.path.decode("ascii", "replace"), errors="replace")
        route, method = api.route(path), knock.method
        needed = Scope.READ if route is None else route.scope(method)
        self.door.admit(knock, asker, needed, changes=route is not None and route.is_change(method))
        if route is None:
            return _write(request, api.not_found(path))
        if method not in route.methods:
            return _write(request, api.wrong_method(method, route))
        if route.at_once:
            return _write(request, api.respond(route.view, {}, self.house, int(self.clock())))
        bounds = self.house.http
        if self.pending >= bounds.running_max + bounds.waiting_max:
            busy = f"{self.pending} requests are being worked on or wait; ask again later"
            return _write(request, failure(busy, 429, headers={"Retry-After": "1"}))
        self._start(request, route)
        return server.NOT_DONE_YET

    def _start(self, request: Request, route: api.Route) -> None:
        self.pending += 1
        gone = Event()
        request.notifyFinish().addErrback(lambda _: gone.set())
        # who may not change things may still ask, so only a POST has a body
        body = request.content.read() if request.method == b"POST" else b""
        work = partial(self._answer, request.uri.partition(b"?")[2], body, request.form_type)
        done = deferToThreadPool(self.reactor, self.pool, work, route, gone)
        done.addErrback(self._broken, request)
        done.addCallback(self._finish, request, gone)
        done.addErrback(lambda error: _LOG.error("an answer could not be written: %s", error))

    def _answer(
        self, query: bytes, body: bytes, form_type: str, route: api.Route, gone: Event
    ) -> api.Response:
        """On a thread of the pool."""
        if gone.is_set():
            return api.Response(b"")
        try:
            params = read_params(query, body, form_type, fields_max=self.house.http.fields_max)
        except RenderError as error:
            return error_response(error)
        self.house.source.refresh()
        house = replace(self.house, cancelled=gone.is_set)
        return api.respond(route.view, params, house, int(self.clock()))

    def _broken(self, error: Failure, request: Request) -> api.Response:
        """A fault of ours: the log has it under an id, and the client only the id."""
        number = secrets.token_hex(8)
        _LOG.error("request %s failed: %r\n%s", number, request.uri[:200], error.getTraceback())
        return failure("internal error: the server's log has it under this request's id", 500, request=number)

    def _finish(self, response: api.Response, request: Request, gone: Event) -> None:
        self.pending -= 1
        if not gone.is_set():
            request.write(_write(request, response))
            request.finish()


def _knock(request: Request) -> Knock:
    raw = request.requestHeaders.getRawHeaders
    return Knock(
        request.method.decode("ascii", "replace"),
        str(getattr(request.getClientAddress(), "host", "")),
        lambda name: raw(name, ()),
        request.clientproto.decode("ascii", "replace"),
    )


def _write(request: Request, response: api.Response) -> bytes:
    """Set the response's head on the request; gives its body."""
    request.setResponseCode(response.status)
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": policy(response.content_type),
        "Referrer-Policy": "same-origin",
        **response.headers,
    }
    for name, value in headers.items():
        request.setHeader(name, value)
    return response.body
