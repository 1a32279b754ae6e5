"""The ways in: for each listener its socket, its TLS and a reader of what comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet import reactor as installed

from carbon.admin import Admin, Site
from carbon.carbonlink import Answers, QueriesFactory
from carbon.config import Kind, Listener, Settings
from carbon.datagrams import Datagrams
from carbon.inward import Inward
from carbon.limits import Sources
from carbon.listen import Accept, Door, Streams, take_turns
from carbon.names import NameTable
from carbon.protocols.compressed import CompressedReader
from carbon.protocols.line import LineReader
from carbon.protocols.msgpack import MsgpackReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.protobuf import ProtobufReader
from carbon.protocols.reader import Batch, Reader
from carbon.protocols.token import TokenReader
from carbon.sockets import Bound
from carbon.sources.brokers import brokers
from carbon.stats import Extra, Stats, kernel_drops
from carbon.tls import server_options

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed

_READERS: dict[Kind, Callable[..., Reader]] = {
    Kind.LINE: LineReader,
    Kind.PICKLE: PickleReader,
    Kind.MSGPACK: MsgpackReader,
    Kind.PROTOBUF: ProtobufReader,
}


# a datapoint `a 0 1` of each protocol whose kernels are not those of lines, which are loaded at every start
_SAMPLES: dict[Kind, bytes] = {
    Kind.PICKLE: b"\0\0\0\x15\x80\x02]U\x01aK\x01G" + bytes(8) + b"\x86\x86a.",
    Kind.MSGPACK: b"\x92\xa1a\x92\x01\xcb" + bytes(8),
    Kind.PROTOBUF: b"\0\0\0\x12\x0a\x10\x0a\x01a\x12\x0b\x08\x01\x11" + bytes(8),
}


class Ways:
    def __init__(
        self,
        settings: Settings,
        bound: Sequence[Bound],
        pipeline: Inward,
        stats: Stats,
        *,
        answers: Answers,
        extra: Extra,
        shared: bool = False,
    ) -> None:
        """`answers`: CarbonLink's; `shared`: other processes accept on the same sockets.

        Raises InvalidConfig for a certificate that cannot be read.
        """
        self._shared = shared
        self._answers, self._extra = answers, extra
        self._bound, self._pipeline, self._stats = bound, pipeline, stats
        self._ports: list[Any] = []
        limit = settings.limits.datapoints_a_second_per_source
        self._rates = Sources(limit, stats.clock) if limit is not None else None
        self._tls = {each.name: server_options(each.listener) for each in bound}
        streams = [each.listener for each in bound if each.listener.kind is not Kind.UDP]
        self._factories = {each.name: self._factory(each) for each in streams}
        self._datagrams = [self._datagrams_of(each) for each in bound if each.listener.kind is Kind.UDP]
        self._broker_lines = LineReader(pipeline.incoming, stats)
        self._sources = brokers(settings, self._accept_lines, stats, reactor)
        for source in self._sources:
            pipeline.intake.gates.append(source)

    def open(self) -> None:
        """From here on what arrives is read; that kernels are compiled or loaded delays no sender."""
        for kind in {each.listener.kind for each in self._bound} & _SAMPLES.keys():
            _READERS[kind](NameTable(None, Stats()), Stats()).feed(_SAMPLES[kind], 0)
        for listener, at in self._bound:
            at.setblocking(False)
            if listener.kind is not Kind.UDP:
                factory = self._factories[listener.name]
                port = reactor.adoptStreamPort(at.fileno(), at.family, factory)
                self._ports.append(port)
                if self._shared:
                    take_turns(port, reactor, lambda: self._stats.connections)
        for datagrams in self._datagrams:
            datagrams.widen()
            reactor.addReader(datagrams)
        for source in self._sources:
            source.start()

    def watch(self) -> None:
        """Ask the kernel how many datagrams found its buffers full."""
        if self._datagrams:
            drops = [kernel_drops(each.socket) for each in self._bound if each.listener.kind is Kind.UDP]
            self._stats.udp_drops = sum(filter(None, drops))

    async def close(self) -> None:
        """Take no more connections; read the datagrams that are there."""
        for port in self._ports:
            port.stopListening()
        for datagrams in self._datagrams:
            reactor.removeReader(datagrams)
            datagrams.drain()
        for source in self._sources:
            await source.stop()

    def _factory(self, listener: Listener) -> Any:
        accept = partial(self._accept, listener.name)
        if listener.kind is Kind.ADMIN:
            admin = Admin(listener, self._pipeline, accept, self._stats, rates=self._rates, extra=self._extra)
            return self._behind_tls(listener, Site(admin, listener, reactor))
        if listener.kind is Kind.CARBONLINK:
            return self._behind_tls(listener, self._queries(listener))
        factory = self._streams(listener, accept)
        self._pipeline.intake.gates.append(factory)
        return self._behind_tls(listener, factory)

    def _datagrams_of(self, bound: Bound) -> Datagrams:
        reader = LineReader(self._pipeline.incoming, self._stats)
        return Datagrams(
            bound.listener,
            bound.socket,
            partial(self._read_whole, reader),
            partial(self._accept, bound.name),
            self._stats,
            rates=self._rates,
        )

    def _streams(self, listener: Listener, accept: Accept) -> Streams:
        make = _READERS[listener.kind]

        def reader() -> Reader:
            made: Reader = CompressedReader(make(self._pipeline.incoming, self._stats))
            return made if listener.digest is None else TokenReader(made, listener.digest)

        return Streams(listener, reader, accept, self._stats, self._pipeline.intake.now, rates=self._rates)

    def _queries(self, listener: Listener) -> QueriesFactory:
        return QueriesFactory(
            self._answers,
            self._stats,
            reactor,
            idle_s=listener.idle,
            connections_max=listener.connections_max,
            admits=Door(listener.allow).admits,
        )

    def _behind_tls(self, listener: Listener, factory: Any) -> Any:
        options = self._tls[listener.name]
        if options is None:
            return factory
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return TLSMemoryBIOFactory(options, False, factory)  # type: ignore[arg-type]  # it is one, for zope

    def _read_whole(self, reader: LineReader, data: bytes) -> Batch | None:
        return reader.whole(data, int(self._pipeline.intake.now()))

    def _accept_lines(self, name: str, lines: bytes) -> None:
        """A broker's: whole lines."""
        self._accept(name, self._read_whole(self._broker_lines, lines), "")

    def _accept(self, name: str, batch: Batch | None, source: str) -> None:
        self._pipeline.intake.accept(batch, name, source)
