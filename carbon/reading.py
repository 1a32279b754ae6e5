"""A reader put together: sockets → listeners → names → columns to the writer. Several share the listening sockets.

What is stored, what the rules say and what is counted is the writer's; a reader has no files. It lets go of a sender's
data only when the writer has taken it, and holds senders back meanwhile. Each reader keeps the limits of its own
listeners (connections, datapoints a second of an address) by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ReconnectingClientFactory
from twisted.python.failure import Failure

from carbon.carbonlink import Answers
from carbon.config import Amqp, Kafka, Kind, Settings
from carbon.every import Timers, pause
from carbon.forward import Forward, ReaderStats
from carbon.names import NameTable
from carbon.newest import Nowhere
from carbon.protocols.columns import Gauges, TakenReader
from carbon.protocols.line import LineReader
from carbon.readers import SOCKET
from carbon.run import until_quiet
from carbon.sockets import Bound
from carbon.stats import Stats
from carbon.ways_in import Ways
from storage.ask import socket_address

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed

TELL_S = 0.25
WATCH_S = 1.0
_RETRY_S, _RETRY_MAX_S = 0.05, 1.0
_DRAIN_S = 0.5  # as the receiver's, but the writer must hear the end of it
_FLUSH_S = 0.3
_LOOK_S = 0.01
_ENDING = "the reader ends"


class WriterLink(Protocol):
    """The connection to the writer."""

    transport: Any  # of a Unix connection: more than ITransport says

    def __init__(self, forward: Forward) -> None:
        self._forward, self._taken = forward, TakenReader()

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        self._forward.connected_to(self.transport.write)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        if taken := self._taken.feed(data):
            self._forward.taken(taken)

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802  # Twisted's name
        self._forward.disconnected()


class WriterLinks(ReconnectingClientFactory):
    """Connects to the writer, and again when it was started again."""

    noisy = False
    initialDelay = _RETRY_S  # noqa: N815  # Twisted's name
    maxDelay = _RETRY_MAX_S  # type: ignore[assignment]  # noqa: N815  # Twisted's name; it takes a float

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.link: WriterLink | None = None

    def buildProtocol(self, addr: IAddress | None) -> WriterLink:  # noqa: N802  # Twisted's name
        self.resetDelay()  # type: ignore[no-untyped-call]  # Twisted's
        self.link = WriterLink(self._forward)
        return self.link

    def end(self) -> None:
        """Hang up, and do not connect again."""
        self.stopTrying()  # type: ignore[no-untyped-call]  # Twisted's
        if self.link is not None and self.link.transport is not None:
            self.link.transport.loseConnection()


class Inlet:
    """What listeners need of a pipeline: names of our own, and the way to the writer."""

    def __init__(self, incoming: NameTable, intake: Forward) -> None:
        self.incoming, self.intake = incoming, intake


class ReaderProcess:
    """Everything a reader runs. `bound`: its listeners, each with its socket, which it shares with others."""

    def __init__(
        self, bound: Sequence[Bound], settings: Settings, data: Path, *, now: Callable[[], float] = time.time
    ) -> None:
        """Raises InvalidConfig, and OSError for a data folder that cannot be opened."""
        self._data = data
        self.stats = ReaderStats()
        names = NameTable(None, self.stats, names_max=settings.limits.names_max)
        datagrams = {each.name for each in bound if each.listener.kind is Kind.UDP}
        self._forward = Forward(names, self.stats, now, datagrams=datagrams)
        self._links = WriterLinks(self._forward)
        self._timers = Timers(self.stats)
        self._opened = ExitStack()
        self._ways = Ways(
            replace(settings, amqp=Amqp(), kafka=Kafka()),  # brokers are the writer's
            bound,
            Inlet(names, self._forward),
            self.stats,
            answers=Answers(Nowhere(), self.stats),
            extra=(),
            shared=True,
        )

    def start(self) -> None:
        """Listen; from here on what arrives goes to the writer, whenever that is there."""
        warm_up = LineReader(NameTable(None, Stats()), Stats())
        warm_up.feed(b"a 0 1\n", 0)  # so that no sender waits for kernels
        address = self._opened.enter_context(socket_address(self._data, name=SOCKET))  # open to the end
        reactor.connectUNIX(address, self._links)
        self._ways.open()
        self._timers.every(TELL_S, self._tell)
        self._timers.every(WATCH_S, self._ways.watch)

    def _tell(self) -> None:
        self._forward.tell(Gauges(self.stats.connections, self.stats.paused, self.stats.udp_drops))

    def stop(self) -> Deferred[None]:
        """Read what senders have already sent, hand it to the writer and end."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await until_quiet(self._heard, _DRAIN_S, busy=lambda: False)
        await self._ways.close()
        self._forward.gates.hold(_ENDING)  # what streams have from here on is for the next reader
        self._timers.stop()
        self._tell()
        deadline = time.monotonic() + _FLUSH_S
        while not self._forward.empty and time.monotonic() < deadline:
            await pause(_LOOK_S)
        if lost := self._forward.datapoints:
            _log.error("%d datapoints are lost: the writer did not take them in time", lost)
        self._links.end()
        await pause(_LOOK_S)
        self._opened.close()

    def _heard(self) -> int:
        return self.stats.received.total() + self.stats.rejected.total()

    @property
    def status(self) -> int:
        return 0
