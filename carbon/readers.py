"""The writer's end of parallel receive: readers connect to a socket of the data folder, what they send is taken in.

A batch goes the way that a listener's goes: rules, store, relay, aggregates. One that was taken is said to be, and what
comes while nothing may be taken is left in the socket, so that the readers hold their senders back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from carbon.control import listen_in
from carbon.errors import BadFrame
from carbon.inward import Takes
from carbon.kernels import Reject
from carbon.names import NameTable
from carbon.protocols.columns import Arrived, ColumnsReader, Event, Gauges, Refused, encode_taken
from carbon.stats import Stats

_log = logging.getLogger(__name__)

SOCKET = "readers"
_READ_BYTES = 1 << 20
_NO_GAUGES = Gauges(0, 0, 0)
_FAILED = "taking it failed, as the log says"


class Readers(Factory):
    """The readers that are connected; a Gate."""

    noisy = False

    def __init__(self, names: NameTable, intake: Takes, stats: Stats) -> None:
        self._names, self._intake, self._stats = names, intake, stats
        self._links: set[ReaderLink] = set()
        self.held = False

    def listen(self, reactor: Any, data: Path) -> Callable[[], None]:
        """From here on readers are heard; gives what stops that. Raises OSError."""
        empty = np.empty(0, np.int64)  # so that no sender waits until the kernel is loaded
        self._names.ids_of_spans(np.frombuffer(b"", np.uint8), empty, empty)
        self._intake.gates.append(self)
        try:
            return listen_in(reactor, data, SOCKET, self)
        except CannotListenError as error:
            raise OSError(f"{data / SOCKET} cannot be made ({error.socketError})") from error

    def buildProtocol(self, addr: IAddress | None) -> ReaderLink:  # noqa: N802  # Twisted's name
        return ReaderLink(self, ColumnsReader(self._names))

    @property
    def connected(self) -> bool:
        """Whether any is."""
        return bool(self._links)

    def add(self, link: ReaderLink) -> None:
        self._links.add(link)
        if self.held:
            link.transport.pauseProducing()

    def remove(self, link: ReaderLink) -> None:
        self._links.discard(link)

    def pause(self) -> None:
        self.held = True
        for link in self._links:
            link.transport.pauseProducing()

    def resume(self) -> None:
        self.held = False
        for link in self._links:
            link.transport.resumeProducing()

    def take(self, event: Event) -> None:
        """Take in datapoints or rejects. What fails is counted and not asked for again: it would fail again."""
        try:
            if isinstance(event, Arrived):
                self._take_batch(event)
            elif isinstance(event, Refused):
                self._count(event)
        except Exception:
            self._stats.errors += 1
            _log.exception("what came from a reader was not taken")
            if isinstance(event, Arrived):
                self._stats.reject(_FAILED, len(event.batch.ids), listener=event.listener)

    def _take_batch(self, arrived: Arrived) -> None:
        batch, listener, source, refused = arrived
        if refused:
            self._stats.reject(Reject.TOO_MANY_NAMES.words, refused, source=source, listener=listener)
        if len(batch.ids):
            self._intake.accept(batch, listener, source)

    def _count(self, refused: Refused) -> None:
        listener, reason, source, sample, datapoints = refused
        if listener or source or sample:
            self._stats.reject(reason, datapoints, sample=sample, source=source, listener=listener)
        else:  # what is not worth a line in the log
            self._stats.rejected[reason] += datapoints

    def gauge(self, before: Gauges, now: Gauges) -> None:
        """A reader's connections are ours."""
        self._stats.connections += now.connections - before.connections
        self._stats.paused += now.paused - before.paused
        self._stats.udp_drops = max(self._stats.udp_drops, now.udp_drops)  # all have the same sockets

    def refuse(self, bad: BadFrame) -> None:
        self._stats.errors += 1
        _log.error("a reader sent %s: its connection is closed", bad.reason)


class ReaderLink(Protocol):
    """A reader's connection."""

    transport: Any  # of a Unix connection: more than ITransport says

    def __init__(self, readers: Readers, columns: ColumnsReader) -> None:
        self._readers, self._columns = readers, columns
        self._gauges = _NO_GAUGES

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        self.transport.bufferSize = _READ_BYTES
        self._readers.add(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        taken = 0
        try:
            for event in self._columns.feed(data):
                if isinstance(event, Gauges):
                    self._readers.gauge(self._gauges, event)
                    self._gauges = event
                else:
                    self._readers.take(event)
                taken += 1
        except BadFrame as bad:
            self._readers.refuse(bad)
            self.transport.abortConnection()
            return
        if taken:
            self.transport.write(encode_taken(taken))

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802  # Twisted's name
        self._readers.gauge(self._gauges, _NO_GAUGES)
        self._gauges = _NO_GAUGES
        self._readers.remove(self)
