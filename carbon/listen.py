"""Twisted around the readers: TCP and UDP listeners. What knows sockets is here and decides nothing.

What arrives is stored before more is read, so a sender that is too fast is held back by TCP instead of losing lines.
While the store takes nothing and its backlog is full, streams are paused: nothing of them is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from carbon.errors import BadFrame
from carbon.intake import Intake
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.protocols.pickle import Columns, PickleReader
from carbon.stats import Stats

reactor: Any = installed  # which interfaces it has is decided when it is installed

READ_BYTES = 1 << 18  # with Twisted's 64 KiB a line costs 189 ns in the reader instead of 147
CONNECTIONS_MAX = 5_000  # a listener; carbon: no limit
IDLE_S = 600  # carbon: none, and half-open connections stay for ever


class Stream(Protocol, TimeoutMixin):
    """One connection: every piece of data goes to `read`, which may raise BadFrame to have it closed."""

    transport: Any  # of a TCP connection: more than ITransport says

    def __init__(
        self,
        read: Callable[[bytes], None],
        stats: Stats,
        streams: set[Stream],
        born_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._read, self._stats, self._streams = read, stats, streams
        self._paused, self._born_paused = False, born_paused

    def connectionMade(self) -> None:  # noqa: N802
        if len(self._streams) >= CONNECTIONS_MAX:
            self._stats.reject("too many connections", source=str(self.transport.getPeer()))
            self.transport.abortConnection()
            return
        self._streams.add(self)
        self._stats.connections += 1
        self.transport.bufferSize = READ_BYTES
        self.setTimeout(IDLE_S)
        if self._born_paused():
            self.pause()

    def pause(self) -> None:
        """Read nothing, and do not take that for the peer's idleness."""
        if not self._paused:
            self._paused = True
            self._stats.paused += 1
            self.setTimeout(None)
            self.transport.pauseProducing()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._stats.paused -= 1
            self.setTimeout(IDLE_S)
            self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.resetTimeout()
        try:
            self._read(data)
        except BadFrame as error:
            self._stats.reject(error.reason, sample=data[:64], source=str(self.transport.getPeer()))
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        self.setTimeout(None)
        if self in self._streams:
            self._streams.discard(self)
            self._stats.connections -= 1
            self._stats.paused -= self._paused


class StreamFactory(Factory):
    """Makes a Stream, with a reader of its own, for each connection; holds them all back when it is told to."""

    noisy = False

    def __init__(self, reader: Callable[[], Callable[[bytes], None]], stats: Stats) -> None:
        self._reader, self._stats = reader, stats
        self._streams: set[Stream] = set()
        self._paused = False

    def buildProtocol(self, addr: IAddress | None) -> Stream:  # noqa: N802
        return Stream(self._reader(), self._stats, self._streams, lambda: self._paused)

    def pause(self) -> None:
        """Read nothing of any stream, of new ones neither."""
        self._paused = True
        for stream in self._streams:
            stream.pause()

    def resume(self) -> None:
        self._paused = False
        for stream in self._streams:
            stream.resume()


def line_streams(names: NameTable, intake: Intake, stats: Stats) -> StreamFactory:
    def reader() -> Callable[[bytes], None]:
        line = LineReader(names, stats)
        return lambda data: intake.accept(line.feed(data, int(intake.now())), "line")

    return StreamFactory(reader, stats)


def pickle_streams(intake: Intake, stats: Stats) -> StreamFactory:
    def reader() -> Callable[[bytes], None]:
        frames = PickleReader()

        def read(data: bytes) -> None:
            bad = None
            try:
                columns: Columns | BadFrame = frames.feed(data)
            except BadFrame as error:
                columns = bad = error  # it has what came before the bad frame
            intake.accept_columns(columns.names, columns.timestamps, columns.values, "pickle")
            for reason, count in frames.rejected.items():
                stats.reject(reason, count, source="pickle")
            frames.rejected.clear()
            if bad is not None:
                raise bad

        return read

    return StreamFactory(reader, stats)


class Datagrams(DatagramProtocol):
    """Lines in datagrams; those that wait in the socket are read together, so that the kernel's work is shared."""

    noisy = False

    def __init__(self, names: NameTable, intake: Intake, stats: Stats) -> None:
        self._reader, self._intake = LineReader(names, stats), intake
        self._waiting: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:  # noqa: N802
        if not self._waiting:
            reactor.callLater(0, self.read)
        self._waiting.append(datagram)

    def read(self) -> None:
        data, self._waiting = b"\n".join(self._waiting), []
        if data:
            self._intake.accept(self._reader.whole(data, int(self._intake.now())), "udp")
