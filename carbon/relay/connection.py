"""Twisted's side of a destination: how it is reached (TCP, TLS), and one connection to it. Decides nothing."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet import endpoints
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from carbon.errors import InvalidDestination
from carbon.relay.destination import Destination

CONNECT_S = 10
_BUFFER_BYTES = 1 << 18  # in Twisted, before it says that it is enough
_KEEPALIVE_S = (10, 30, 2)  # idle, between probes, how many: carbon's
_UNACKNOWLEDGED_S = 30  # after which the system gives a connection up
_BYTES_ACKED = struct.Struct("120xQ")  # in struct tcp_info
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

Connect = Callable[[Any], "Deferred[Any]"]  # a Twisted factory → its protocol, connected


class Clock(Protocol):
    """What a connection and its client need of a reactor."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...  # noqa: A002, N802


class Link(Protocol):
    """What a client needs of a connection."""

    @property
    def paused(self) -> bool:
        """Whether it has enough for now."""
        ...

    def write(self, data: bytes) -> None: ...

    def waiting(self, written: int, largest: int, *, quiet: bool) -> int:
        """How many of the bytes written are not known to have arrived in the peer's system.

        `largest`: of one write; `quiet`: nothing was written for some turns of the reactor.
        """
        ...

    def close(self) -> None:
        """When all is written."""
        ...

    def abort(self) -> None: ...


class Owner(Protocol):
    """Who is told of a connection."""

    def made(self, connection: Link) -> None: ...
    def lost(self, connection: Link, why: str) -> None: ...
    def ready(self) -> None: ...


@implementer(IHandshakeListener)
class Connection(TwistedProtocol):
    """One connection, a Link. It is made when its handshake is, if it is TLS. What the peer sends is thrown away."""

    transport: Any  # of TCP or TLS: more than ITransport says

    def __init__(self, owner: Owner, clock: Clock) -> None:
        self._owner, self._clock = owner, clock
        self.paused = False
        self._too_late: Any = None

    def connectionMade(self) -> None:  # noqa: N802
        below = getattr(self.transport, "transport", self.transport)
        self._encrypted = below is not self.transport
        self._socket: socket.socket = below.getHandle()
        below.bufferSize = _BUFFER_BYTES
        _keep_alive(self._socket)
        if self._encrypted:
            self._too_late = self._clock.callLater(CONNECT_S, self.abort)
        else:
            self._begin()

    def handshakeCompleted(self) -> None:  # noqa: N802
        self._in_time()
        self._begin()

    def _begin(self) -> None:
        self.transport.registerProducer(self, True)
        self._owner.made(self)

    def _in_time(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def waiting(self, written: int, largest: int, *, quiet: bool) -> int:
        """TCP knows it to the byte. Below TLS the system knows what it holds itself, and Twisted's buffers hold no more
        than what fills them and the write that did.
        """
        if not self._encrypted:
            return max(0, written - acknowledged(self._socket))
        held = unsent(self._socket)
        if quiet and not self.paused and held == 0:
            return 0
        return held + 2 * _BUFFER_BYTES + largest

    def close(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        self._too_late = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        self._in_time()
        self._owner.lost(self, reason.getErrorMessage() if reason is not None else "closed")

    # --- a producer: the transport says when too much is unsent ---

    def pauseProducing(self) -> None:  # noqa: N802
        self.paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        self.paused = False
        self._owner.ready()

    def stopProducing(self) -> None:  # noqa: N802
        self.paused = True


class ConnectionFactory(Factory):
    noisy = False

    def __init__(self, owner: Owner, clock: Clock) -> None:
        self._owner, self._clock = owner, clock

    def buildProtocol(self, addr: object) -> Connection:  # noqa: N802
        return Connection(self._owner, self._clock)


def acknowledged(below: socket.socket) -> int:
    """Bytes that the peer's system has acknowledged since the connection was made (TCP_INFO, Linux 4.1)."""
    answer = below.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    return max(0, int(_BYTES_ACKED.unpack(answer)[0]) - 1)  # the first is the SYN's


def unsent(below: socket.socket) -> int:
    """Bytes that the system holds for a socket and the peer's has not acknowledged (SIOCOUTQ)."""
    answer = fcntl.ioctl(below.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _keep_alive(below: socket.socket) -> None:
    """Notice within a minute or so that a host is gone."""
    below.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for option, value in zip(options, _KEEPALIVE_S, strict=True):
        below.setsockopt(socket.IPPROTO_TCP, option, value)
    below.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_S * 1000)


# --- how a destination is reached ---


def over_tcp(reactor: Any, destination: Destination) -> Connect:
    endpoint: Any = endpoints.HostnameEndpoint(reactor, destination.host, destination.port, timeout=CONNECT_S)
    connect: Connect = endpoint.connect
    return connect


def over_tls(reactor: Any, destination: Destination, authorities: Path | None) -> Connect:
    """Whose certificate must be of the destination's host and signed by an authority in a PEM file, None = by one that
    the system trusts. Raises InvalidDestination where the file is of no use, or Twisted's TLS is not installed.
    """
    try:
        from twisted.internet import ssl
    except ImportError as error:
        raise InvalidDestination(
            f"TLS to {destination.text!r} needs twisted[tls] ({error.name} is missing)"
        ) from error
    trusted: Any = None
    if authorities is not None:
        trusted = ssl.trustRootFromCertificates(_certificates(authorities))
    options = ssl.optionsForClientTLS(destination.host, trusted)
    below: Any = endpoints.HostnameEndpoint(reactor, destination.host, destination.port, timeout=CONNECT_S)
    endpoint: Any = endpoints.wrapClientTLS(options, below)
    connect: Connect = endpoint.connect
    return connect


def _certificates(path: Path) -> list[Any]:
    """The certificates of a PEM file; raises InvalidDestination."""
    from twisted.internet import ssl

    try:
        found = [ssl.Certificate.loadPEM(each) for each in _CERTIFICATE.findall(path.read_bytes())]
    except OSError as error:
        raise InvalidDestination(f"authorities of TLS: {path}: {error.strerror}") from error
    except Exception as error:  # pyOpenSSL's own, which has no name without it
        raise InvalidDestination(
            f"authorities of TLS: {path} has a certificate that cannot be read: {error}"
        ) from error
    if not found:
        raise InvalidDestination(f"authorities of TLS: {path} has no certificate (PEM)")
    return found
