"""A reader's connection to the writer: it comes back when the writer does, and not when the reader ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from carbon.forward import Forward, ReaderStats
from carbon.names import NameTable
from carbon.protocols.columns import encode_taken
from carbon.protocols.reader import Batch
from carbon.reading import WriterLink, WriterLinks


class Connector:
    """Counts attempts."""

    def __init__(self) -> None:
        self.attempts = 0

    def connect(self) -> None:
        self.attempts += 1

    def stopConnecting(self) -> None:  # noqa: N802  # Twisted's name
        self.attempts = -1


class House:
    def __init__(self) -> None:
        stats = ReaderStats()
        names = NameTable(None, stats)
        names.ids_of([b"a"])
        self.forward = Forward(names, stats, lambda: 0.0)
        self.links, self.connector, self.clock = WriterLinks(self.forward), Connector(), Clock()
        self.links.clock = self.clock  # type: ignore[assignment]  # None to mypy

    def connect(self) -> tuple[WriterLink, StringTransport]:
        link, transport = self.links.buildProtocol(None), StringTransport()  # type: ignore[no-untyped-call]
        link.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's
        return link, transport

    def lose(self, link: WriterLink) -> None:
        reason: Any = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's
        link.connectionLost(reason)
        self.links.clientConnectionLost(self.connector, reason)  # type: ignore[no-untyped-call]  # Twisted's

    def accept(self) -> None:
        self.forward.accept(Batch(np.zeros(3, np.int32), np.zeros(3, np.int64), np.zeros(3)), "line")


def test_a_writer_that_was_away_is_connected_to_within_a_second() -> None:
    house = House()
    for _ in range(10):
        link, _ = house.connect()
        house.lose(link)
        house.clock.advance(0.2)
    assert house.connector.attempts == 10
    reason: Any = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted's
    for _ in range(10):
        house.links.clientConnectionFailed(house.connector, reason)  # type: ignore[no-untyped-call]  # Twisted's
        house.clock.advance(1.5)
    assert house.connector.attempts == 20


def test_what_the_writer_has_taken_is_let_go_of() -> None:
    house = House()
    link, transport = house.connect()
    house.accept()
    assert transport.value()  # type: ignore[no-untyped-call]  # Twisted's
    data = encode_taken(1)
    link.dataReceived(data[:3])
    assert house.forward.datapoints == 3
    link.dataReceived(data[3:])
    assert house.forward.empty


def test_a_reader_that_ends_hangs_up_for_good() -> None:
    house = House()
    link, transport = house.connect()
    house.links.end()
    assert transport.disconnecting
    house.lose(link)
    house.clock.advance(10)
    assert house.connector.attempts == 0
