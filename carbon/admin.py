"""The receiver over HTTP: POST /metrics/ingest takes lines, GET /metrics tells what was counted, GET /health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource

from carbon.config import Listener
from carbon.errors import BadFrame
from carbon.exposition import CONTENT_TYPE, exposition
from carbon.inward import Inward
from carbon.limits import Sources
from carbon.listen import NOT_ALLOWED, TOO_FAST, Accept, Door, Guests, source_of
from carbon.protocols.ingest import BODY_BYTES_MAX, TOO_LARGE, UNKNOWN_ENCODING, ingest
from carbon.protocols.token import WRONG_TOKEN, is_token
from carbon.stats import Extra, Stats

OF_A_PAGE = "sent by a web page"
_STATUS = {TOO_LARGE: 413, UNKNOWN_ENCODING: 415}
_JSON = "application/json"
_BEARER = b"Bearer "
IDLE_S = 60.0


class Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()


class Admin:
    """What is asked and answered; `admit` says why an address may not, "" if it may."""

    def __init__(
        self,
        listener: Listener,
        pipeline: Inward,
        accept: Accept,
        stats: Stats,
        *,
        rates: Sources | None = None,
        extra: Extra = (),
    ) -> None:
        self._digest, self._door = listener.digest, Door(listener.allow)
        self._pipeline, self._accept, self.stats = pipeline, accept, stats
        self._rates, self._extra = rates, extra
        self.routes: dict[str, tuple[str, Callable[[HttpRequest, str], Answer]]] = {
            "/metrics/ingest": ("POST", self._ingest),
            "/metrics": ("GET", self._metrics),
            "/health": ("GET", self._health),
        }

    def answer(self, request: HttpRequest, source: str) -> Answer:
        path = request.path.decode("utf-8", "replace") if request.path else "/"
        if not self._door.admits(source):
            self.stats.reject(NOT_ALLOWED, source=source)
            return _failure(403, "this address may not")
        token = request.getHeader(b"authorization") or b""
        if self._digest is not None and not (
            token.startswith(_BEARER) and is_token(token[len(_BEARER) :].strip(), self._digest)
        ):
            self.stats.reject(WRONG_TOKEN, source=source)
            return _failure(401, "a Bearer token is needed", ("WWW-Authenticate", "Bearer"))
        if path not in self.routes:
            return _failure(404, f"no such page; there are {', '.join(self.routes)}")
        method, view = self.routes[path]
        asked = request.method.decode("ascii", "replace")
        if asked != method and not (asked == "HEAD" and method == "GET"):
            return _failure(405, f"{path} is for {method}", ("Allow", method))
        if method == "POST" and _is_of_a_page(request):
            self.stats.reject(OF_A_PAGE, source=source)
            return _failure(403, OF_A_PAGE)
        return view(request, source)

    def _ingest(self, request: HttpRequest, source: str) -> Answer:
        if self._pipeline.intake.gates.held:
            why = ", ".join(sorted(self._pipeline.intake.gates.held))
            return _failure(503, f"nothing is taken now: {why}", ("Retry-After", "5"))
        if self._rates is not None and self._rates.of(source).charge(0) > 0:
            self.stats.reject(TOO_FAST, source=source)
            return _failure(429, TOO_FAST, ("Retry-After", "1"))
        body = request.content.read() if request.content is not None else b""
        encoding = (request.getHeader(b"content-encoding") or b"").decode("ascii", "replace")
        try:
            taken = ingest(
                body, encoding, self._pipeline.incoming, self.stats, int(self._pipeline.intake.now())
            )
        except BadFrame as error:
            self.stats.reject(error.reason, source=source)
            return _failure(_STATUS.get(error.reason, 400), error.reason)
        self._accept(taken.batch, source)
        if self._rates is not None and taken.batch is not None:
            self._rates.of(source).charge(len(taken.batch.ids))
        return Answer(200, orjson.dumps(taken.answer) + b"\n")

    def _metrics(self, request: HttpRequest, source: str) -> Answer:
        return Answer(200, exposition(self.stats, self._extra).encode(), CONTENT_TYPE)

    def _health(self, request: HttpRequest, source: str) -> Answer:
        """200 while datapoints are taken, 503 with the reasons while senders are held back."""
        why = sorted(self._pipeline.intake.gates.held)
        return Answer(503 if why else 200, orjson.dumps({"ready": not why, "held back": why}) + b"\n")


def _is_of_a_page(request: HttpRequest) -> bool:
    """Whether a browser sends it for a page, which needs nobody's leave for a text; programs name no origin."""
    site = request.getHeader(b"sec-fetch-site")
    return request.getHeader(b"origin") is not None or site not in (None, b"none")


def _failure(status: int, words: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, orjson.dumps({"error": words}) + b"\n", _JSON, headers)


class Request(server.Request):
    """A request whose body is refused before it is read if it is too long or of unknown length."""

    channel: Any  # the Channel, whose site is set when it is made
    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        # without its type Twisted leaves a form alone, which would cost time
        self.requestHeaders.removeHeader("content-type")
        if length is None:
            self._refuse(_failure(411, "a body needs a Content-Length"))
        elif length > BODY_BYTES_MAX:
            self._refuse(_failure(413, f"the body has {length} bytes; at most {BODY_BYTES_MAX}"))
        super().gotLength(length)

    def _refuse(self, answer: Answer) -> None:
        """Answer and close the connection; what of the body is there already is thrown away."""
        self._refused = True
        self.requestHeaders.removeHeader("expect")  # or Twisted would ask for the body
        head = (
            f"HTTP/1.1 {answer.status} Refused\r\nContent-Type: {_JSON}\r\nContent-Length: {len(answer.body)}"
        )
        self.channel.transport.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + answer.body)
        self.channel.loseConnection()

    def process(self) -> None:
        """All of the request is there."""
        if self._refused:
            return
        answer = self.channel.site.admin.answer(self, source_of(self.channel.transport))
        self.setResponseCode(answer.status)
        self.setHeader("content-type", answer.content_type)
        self.setHeader("x-content-type-options", "nosniff")
        self.setHeader("cache-control", "no-store")
        for name, value in answer.headers:
            self.setHeader(name, value)
        self.setHeader("content-length", str(len(answer.body)))
        if self.method != b"HEAD":
            self.write(answer.body)
        self.finish()


class Channel(HTTPChannel):
    """A connection, one of so many: what it is idle for is the time in which no request became whole."""

    site: Any  # the Site, once it is made
    transport: Any  # of a TCP connection: more than ITransport says
    _source = ""  # that of one that was let in

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        source = source_of(self.transport)
        if refusal := self.site.guests.refusal(source):
            self.site.admin.stats.reject(refusal, source=source)
            self.transport.abortConnection()
            return
        self._source = source
        self.site.guests.enter(source)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Not HTTPChannel's: there a byte now and then keeps a connection for ever."""
        LineReceiver.dataReceived(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  # Twisted's name
        if self._source:
            self.site.guests.leave(self._source)
        super().connectionLost(reason)


class Site(server.Site):
    protocol = Channel  # type: ignore[assignment]  # without HTTP/2, which needs the one that chooses

    def __init__(self, admin: Admin, listener: Listener, reactor: Any) -> None:
        super().__init__(Resource(), Request, timeout=listener.idle or IDLE_S, reactor=reactor)
        self.admin, self.guests = admin, Guests(listener)

    def log(self, request: HttpRequest) -> None:
        """No line a request: what clients send is not for the log."""
