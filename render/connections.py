"""HTTP's connections: Twisted's, with bounds on what may come and on how long that takes. They know no paths."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers

from render.access import policy
from render.api.response import Response, failure
from render.statistics import Note

_LENGTH_CHARS_MAX = 100
_SENT_BYTES = (
    1 << 20
)  # at a time, if the client takes so many: Twisted's 128 KiB are two dozen turns for 3 MB


class Request(http.Request):
    """A request whose body is refused before it is read if it is too long or of unknown length."""

    channel: Any  # the Channel, whose site and transport are set when it is connected
    content: Any  # a file
    form_type = ""
    head = b""  # of the answer: the lines that all answers of a kind have
    is_gone = False  # the client, before all was written
    _refused = False
    _note: Note | None = None

    @property
    def note(self) -> Note:
        """Begins when it is first asked for."""
        if self._note is None:
            self._note = self._new_note()
        return self._note

    def _new_note(self) -> Note:
        return Note(_number(self), self.peer, self.method.decode("ascii", "replace"), self.uri)

    @property
    def peer(self) -> str:
        """The address of the connection; "" for a Unix socket."""
        return str(getattr(self.getClientAddress(), "host", ""))

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        """The headers are complete; the body is not read yet (None = its length is not told)."""
        self.form_type = next(iter(texts(self.requestHeaders, "content-type")), "")
        most = self.channel.site.house.http.body_bytes_max
        if length is None:
            self._refuse(b"411 Length Required", "a body needs a Content-Length")
        elif length > most:
            self._refuse(b"413 Payload Too Large", f"the body has {length} bytes; at most {most}")
        super().gotLength(length)

    def parseCookies(self) -> None:  # noqa: N802  # Twisted's name
        """There are none that we know."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802  # Twisted's name
        """All of the request is there, if it was not refused before. Twisted's would read the form, in its thread."""
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        if not self._refused:
            self.channel.site.answer(self)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802  # Twisted's name
        self.is_gone = True
        super().connectionLost(reason)

    def answer(self, response: Response) -> None:
        """All of the answer."""
        self.begin(response, len(response.body))
        self.write(response.body)
        self.finish()

    def begin(self, response: Response, length: int | None) -> None:
        """Set the head of an answer whose body has so many bytes; None = nobody knows how many."""
        self.setResponseCode(response.status)
        self.head = _head(response.content_type, int(time.time()))
        if length is not None and response.status not in http.NO_BODY_CODES:
            self.setHeader("Content-Length", str(length))
        for name, value in response.headers.items():
            if name == "Vary":
                self.responseHeaders.addRawHeader(name, value)  # beside that of the origin
            else:
                self.setHeader(name, value)

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
    at_once = 0  # requests of those that were read together that the reactor's thread has answered
    _counted = False
    _host: Any = None

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        if self.site.connections >= self.site.house.http.connections_max:
            cast(Any, self.transport).abortConnection()
            return
        self._counted = True
        cast(Any, self.transport).SEND_LIMIT = _SENT_BYTES
        self.site.connections += 1
        self.site.channels.add(self)
        super().connectionMade()

    def getHost(self) -> Any:  # noqa: N802  # Twisted's name
        """Asked for with each request, and each time the kernel would be."""
        if self._host is None:
            self._host = cast(Any, self.transport).getHost()
        return self._host

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Not HTTPChannel's: there a byte now and then keeps a connection for ever."""
        self.at_once = 0
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
        lines = [
            b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values
        ]
        first = b"%s %s %s\r\n" % (version, code, reason)
        cast(Any, self.transport).write(b"".join([first, self.requests[0].head, *lines, b"\r\n"]))

    def requestDone(self, request: http.Request) -> None:  # noqa: N802  # Twisted's name
        super().requestDone(request)
        if self.site.is_leaving_soon and not self.requests:
            self.loseConnection()  # its answer began before

    @property
    def is_busy(self) -> bool:
        """See leaving.Connection."""
        return bool(self.requests) or bool(getattr(self.transport, "disconnecting", False))


_NUMBER = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")


def _number(request: Request) -> str:
    """The id by which a client or a proxy knows the request, else one of ours."""
    given = request.getHeader(b"x-request-id") or b""
    return given.decode() if _NUMBER.fullmatch(given) else secrets.token_hex(8)


def texts(headers: Headers, name: str) -> Sequence[str]:
    """A header's values; Twisted asked for texts raises UnicodeDecodeError for what is no UTF-8."""
    return [value.decode(errors="replace") for value in headers.getRawHeaders(name.encode(), ())]


@lru_cache(32)
def _head(content_type: str, now: int) -> bytes:
    """What answers of a type have in common, made once a second."""
    return (
        f"Server: plumbago\r\nContent-Type: {content_type}\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Security-Policy: {policy(content_type)}\r\nReferrer-Policy: same-origin\r\n"
    ).encode() + b"Date: %s\r\n" % http.datetimeToString(now)
