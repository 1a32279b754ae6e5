"""Twisted around the readers: TCP, Unix and UDP listeners. What knows sockets is here and decides nothing.

What arrives is stored before more is read, so a sender that is too fast is held back by TCP instead of losing lines.
While the store takes nothing and its backlog is full, streams are paused: nothing of them is read.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from carbon.config import Listener, Network
from carbon.errors import BadFrame
from carbon.limits import Sources
from carbon.protocols.reader import Batch, Reader
from carbon.stats import Stats

reactor: Any = installed  # which interfaces it has is decided when it is installed

READ_BYTES = 1 << 18  # with Twisted's 64 KiB a line costs 189 ns in the reader instead of 147
TOO_MANY, TOO_MANY_OF_ONE = "too many connections", "too many connections of one address"
NOT_ALLOWED, TOO_FAST = "address not allowed", "too many datapoints of one address"
LOCAL = "local"  # the address of who comes by a Unix socket
_REMEMBERED = 10_000  # addresses that were looked up in the allow-list
_HELD, _IN_DEBT = "all are held back", "its address sent too much"
_PAID_S = 1e-3  # less is no debt: a timer is no more exact

Accept = Callable[[Batch | None, str], None]  # with the sender's address


class Door:
    """Whose datapoints a listener takes."""

    def __init__(self, allow: Sequence[Network]) -> None:
        self._allow = allow
        self._known: dict[str, bool] = {}

    def admits(self, address: str) -> bool:
        if not self._allow or address == LOCAL:
            return True
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            ip = ipaddress.ip_address(address.partition("%")[0])
            mapped = getattr(ip, "ipv4_mapped", None) or ip  # as a socket on :: has those of IPv4
            found = self._known[address] = any(ip in net or mapped in net for net in self._allow)
        return found


class Guests:
    """How many connections a listener has, of all and of each address; what is beyond is refused."""

    def __init__(self, listener: Listener) -> None:
        self._most, self._most_of_one = listener.connections_max, listener.connections_per_source_max
        self._of: Counter[str] = Counter()
        self._count = 0

    def refusal(self, source: str) -> str:
        """Why there may not be one more; "" if there may."""
        if self._count >= self._most:
            return TOO_MANY
        return TOO_MANY_OF_ONE if self._of[source] >= self._most_of_one else ""

    def enter(self, source: str) -> None:
        self._count += 1
        self._of[source] += 1

    def leave(self, source: str) -> None:
        self._count -= 1
        self._of[source] -= 1
        if not self._of[source]:
            del self._of[source]


def source_of(transport: Any) -> str:
    """The peer's address, LOCAL for one that has none."""
    return str(getattr(transport.getPeer(), "host", None) or LOCAL)


class Stream(Protocol, TimeoutMixin):
    """One connection: every piece of data goes to its reader, and what that reads is accepted."""

    transport: Any  # of a TCP connection: more than ITransport says

    def __init__(self, streams: Streams, reader: Reader) -> None:
        self._streams, self._reader = streams, reader
        self._holds: set[str] = set()
        self._source = LOCAL
        self._debt: Any = None  # the timer until it is paid

    def connectionMade(self) -> None:  # noqa: N802
        self._source = source_of(self.transport)
        if refusal := self._streams.refusal(self._source):
            self._streams.stats.reject(refusal, source=self._source)
            self.transport.abortConnection()
            return
        self._streams.add(self, self._source)
        self.transport.bufferSize = READ_BYTES
        self.setTimeout(self._streams.idle_s)
        if self._streams.held:
            self.hold(_HELD)
        self._pay(0)  # a new connection does not make debts forgotten

    def timeoutConnection(self) -> None:  # noqa: N802
        """It was silent for too long: with TLS, to close it in order would wait for its answer."""
        self.transport.abortConnection()

    def hold(self, reason: str) -> None:
        """Read nothing, and do not take that for the peer's idleness."""
        if not self._holds:
            self._streams.stats.paused += 1
            self.setTimeout(None)
            self.transport.pauseProducing()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        if reason in self._holds:
            self._holds.discard(reason)
            if not self._holds:
                self._streams.stats.paused -= 1
                self.setTimeout(self._streams.idle_s)
                self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self._holds:
            self.resetTimeout()
        bad: BadFrame | None = None
        began = time.perf_counter()
        try:
            batch = self._reader.feed(data, int(self._streams.now()))
        except BadFrame as error:
            batch, bad = error.batch, error
        self._streams.stats.stage_s["read"] += time.perf_counter() - began
        self._streams.accept(batch, self._source)
        if bad is not None:
            self._streams.stats.reject(bad.reason, sample=data[:64], source=self._source)
            self.transport.abortConnection()
        elif batch is not None:
            self._pay(len(batch.ids))

    def _pay(self, datapoints: int) -> None:
        """Wait until the address has no debt, which its other connections may have made, too."""
        owed = self._streams.owed(self._source, datapoints)
        self._forget_debt()
        if owed > _PAID_S:
            self.hold(_IN_DEBT)
            self._debt = self.callLater(owed, partial(self._pay, 0))
        else:
            self.release(_IN_DEBT)

    def _forget_debt(self) -> None:
        if self._debt is not None and self._debt.active():
            self._debt.cancel()
        self._debt = None

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        self.setTimeout(None)
        self._forget_debt()
        if self._streams.remove(self, self._source):
            self._streams.stats.paused -= bool(self._holds)
            self._holds.clear()


class Streams(Factory):
    """A listener's connections; holds them all back when it is told to."""

    noisy = False

    def __init__(
        self,
        listener: Listener,
        reader: Callable[[], Reader],
        accept: Accept,
        stats: Stats,
        now: Callable[[], float],
        *,
        rates: Sources | None = None,
    ) -> None:
        """`reader` makes one for each connection; `rates`: datapoints a second of each address."""
        self._reader, self._rates = reader, rates
        self.accept, self.stats, self.now = accept, stats, now
        self.held = False
        self.idle_s = listener.idle
        self._door, self._guests = Door(listener.allow), Guests(listener)
        self._streams: set[Stream] = set()

    def buildProtocol(self, addr: IAddress | None) -> Stream:  # noqa: N802
        return Stream(self, self._reader())

    def refusal(self, source: str) -> str:
        """Why a connection from an address is not taken; "" if it is."""
        if not self._door.admits(source):
            return NOT_ALLOWED
        return self._guests.refusal(source)

    def add(self, stream: Stream, source: str) -> None:
        self._streams.add(stream)
        self._guests.enter(source)
        self.stats.connections += 1

    def remove(self, stream: Stream, source: str) -> bool:
        """False if it was never taken."""
        if stream not in self._streams:
            return False
        self._streams.discard(stream)
        self._guests.leave(source)
        self.stats.connections -= 1
        return True

    def owed(self, source: str, datapoints: int) -> float:
        """Seconds for which an address that sent so much more is not read."""
        return self._rates.of(source).charge(datapoints) if self._rates is not None else 0.0

    def pause(self) -> None:
        """Read nothing of any stream, of new ones neither."""
        self.held = True
        for stream in self._streams:
            stream.hold(_HELD)

    def resume(self) -> None:
        self.held = False
        for stream in self._streams:
            stream.release(_HELD)


_TURN_S, _TURN_MAX_S = 1e-3, 20e-3  # how long another process may go first
_TURN_OF_ONE_S = 1e-4  # and so much longer for each connection
_AT_ONCE_SHARE = 50  # of the connections that there are, one in so many more is accepted at once


def take_turns(port: Any, clock: Any, connections: Callable[[], int]) -> None:
    """Have a Twisted port that shares its socket with other processes leave connections to whoever has fewer.

    The kernel wakes all processes, and Twisted accepts up to a hundred connections at once: all would be of one.
    """
    accept = port.doRead

    def turn() -> None:
        if port.connected and not port.disconnecting:
            port.numberAccepts = 1 + connections() // _AT_ONCE_SHARE
            accept()
            port.startReading()

    def do_read() -> None:
        have = connections()
        port.stopReading()
        clock.callLater(min(_TURN_MAX_S, _TURN_S + have * _TURN_OF_ONE_S) if have else 0, turn)

    port.doRead = do_read
