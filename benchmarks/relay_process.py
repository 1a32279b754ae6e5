"""A relay in a process of its own: lines on a TCP port → three destinations by consistent hashing.

`python -m benchmarks.relay_process PORT PORT…` prints the port that it listens on.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from twisted.internet import reactor as installed
from twisted.internet.protocol import Factory, Protocol

from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.protocols.reader import Batch
from carbon.relay.client import Limits
from carbon.relay.destination import Destination
from carbon.relay.encode import Format
from carbon.relay.relay import Relay, RelayOptions, connector
from carbon.relay.router import Method, Router
from carbon.stats import Stats
from storage.register import Moved

reactor: Any = installed


class NoStore:
    """What a name table asks of a store; a relay has none, and never asks for a name's series."""

    moves = 0

    def moved(self, since: int) -> Moved:
        raise NotImplementedError

    def known(self, text: Any, starts: Any, stops: Any) -> Any:
        raise NotImplementedError

    def series_of(self, text: Any, starts: Any, stops: Any) -> Any:
        raise NotImplementedError

    def why_refused(self, name: str) -> str:
        raise NotImplementedError


class Stream(Protocol):
    """A connection that lines come over."""

    transport: Any  # of TCP: more than ITransport says

    def __init__(self, streams: Streams) -> None:
        self._streams, self._lines = streams, LineReader(streams.names, streams.stats)

    def connectionMade(self) -> None:  # noqa: N802
        self._streams.open.add(self)
        self.transport.bufferSize = 1 << 18

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        batch = self._lines.feed(data, 0)
        if batch is not None:
            self._streams.relayed(batch)

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802
        self._streams.open.discard(self)


class Streams(Factory):
    """Lines of all connections to the relay, which holds them back when a queue is full."""

    noisy = False

    def __init__(self, ports: list[int]) -> None:
        destinations = [Destination("127.0.0.1", port, chr(97 + i)) for i, port in enumerate(ports)]
        self.stats = Stats()
        self.names = NameTable(NoStore(), self.stats)
        self.open: set[Stream] = set()
        self._router = Router(Method.CONSISTENT, destinations)
        self._routes = np.empty(0, np.int32)
        options = RelayOptions(Format.LINE, limits=Limits(queue_max=500_000))
        self.relay = Relay(
            self._router, self.names.interned, options, reactor, connector(reactor, options),
            on_full=self._pause, on_room=self._resume,
        )  # fmt: skip

    def _pause(self) -> None:
        for stream in self.open:
            stream.transport.pauseProducing()

    def _resume(self) -> None:
        for stream in self.open:
            stream.transport.resumeProducing()

    def buildProtocol(self, addr: object) -> Stream:  # noqa: N802
        return Stream(self)

    def relayed(self, batch: Batch) -> None:
        self._route_new_names()
        self.relay.send(self._routes[batch.ids], batch.ids, batch.timestamps, batch.values)

    def _route_new_names(self) -> None:
        known, names = len(self._routes), self.names.interned
        if len(names) > known:
            new = names.names(np.arange(known, len(names)))
            routes = self._router.route_ids([name.encode() for name in new])
            self._routes = np.concatenate((self._routes, routes))


def main(ports: list[int]) -> None:
    streams = Streams(ports)
    streams.relay.start()
    port = reactor.listenTCP(0, streams, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]])
