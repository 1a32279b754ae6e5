"""The writer's end: what readers send is taken in and said to be; gates, gauges, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from carbon.forward import Forward, ReaderStats
from carbon.gates import Gates
from carbon.names import NameTable
from carbon.protocols.columns import Gauges, TakenReader
from carbon.protocols.line import LineReader
from carbon.protocols.reader import Batch
from carbon.readers import ReaderLink, Readers
from carbon.reading import WriterLink
from carbon.stats import Stats


class Intake:
    def __init__(self, names: NameTable) -> None:
        self.gates, self.names = Gates(), names
        self.taken: list[tuple[str, str, list[str], list[float]]] = []
        self.fails: Callable[[], None] = lambda: None

    def now(self) -> float:
        return 0.0

    def accept(self, batch: Batch | None, listener: str, source: str = "") -> None:
        self.fails()
        assert batch is not None
        names = self.names.interned.names(batch.ids)
        self.taken.append((listener, source, names, batch.values.tolist()))


class House:
    """A writer, and readers in memory that are connected to it."""

    def __init__(self, names_max: int = 1000) -> None:
        self.stats = Stats()
        self.names = NameTable(None, self.stats, names_max=names_max)
        self.intake = Intake(self.names)
        self.readers = Readers(self.names, self.intake, self.stats)
        self.intake.gates.append(self.readers)

    def connect(self) -> Reader:
        return Reader(self)


class Reader:
    def __init__(self, house: House) -> None:
        self.stats = ReaderStats()
        self.names = NameTable(None, self.stats)
        self.forward = Forward(self.names, self.stats, lambda: 0.0)
        self.lines = LineReader(self.names, self.stats)
        self.ends: list[tuple[Any, StringTransport]] = []
        self.connect(house)

    def connect(self, house: House) -> None:
        self.link: ReaderLink = house.readers.buildProtocol(None)
        self.here: Any = WriterLink(self.forward)
        self.ends = []
        for end in (self.here, self.link):
            transport = StringTransport()  # type: ignore[no-untyped-call]  # Twisted's
            self.ends.append((end, transport))
            end.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's

    @property
    def is_read(self) -> bool:
        return str(self.ends[1][1].producerState) == "producing"

    def send(self, text: str, source: str = "1.1.1.1") -> None:
        self.forward.accept(self.lines.feed(text.encode(), 0), "line", source)

    def pump(self, piece: int = 1 << 20) -> None:
        """Carry what either end has written to the other, in pieces."""
        while True:
            pairs = list(zip(self.ends, reversed(self.ends), strict=True))
            moved = False
            for (_, out), (end, into) in pairs:
                data = out.value()  # type: ignore[no-untyped-call]  # Twisted's
                out.clear()  # type: ignore[no-untyped-call]  # Twisted's
                for at in range(0, len(data), piece):
                    moved = True
                    if not into.disconnecting:
                        end.dataReceived(data[at : at + piece])
            if not moved:
                return


@given(st.integers(1, 50))
def test_what_readers_read_is_taken_in_and_said_to_be(piece: int) -> None:
    house = House()
    one, other = house.connect(), house.connect()
    one.send("a 1 1\nb 2 1\n")
    other.send("b 3 1\nc 4 1\nbad\n", "2.2.2.2")
    other.forward.tell(Gauges(3, 1, 9))
    for reader in (one, other):
        reader.pump(piece)
        assert reader.forward.empty
    assert house.intake.taken == [
        ("line", "1.1.1.1", ["a", "b"], [1.0, 2.0]),
        ("line", "2.2.2.2", ["b", "c"], [3.0, 4.0]),
    ]
    assert house.stats.rejected == {"not three fields": 1}
    assert house.stats.newest_rejects[-1].sample == "b'bad'"
    assert (house.stats.connections, house.stats.paused, house.stats.udp_drops) == (3, 1, 9)


def test_the_connections_of_a_reader_that_is_gone_are_gone() -> None:
    house = House()
    reader, other = house.connect(), house.connect()
    for each, connections in ((reader, 3), (other, 2), (reader, 4)):
        each.forward.tell(Gauges(connections, 0, 0))
        each.pump()
    assert house.stats.connections == 6
    reader.link.connectionLost()
    assert house.stats.connections == 2
    assert house.readers.connected
    other.link.connectionLost()
    assert house.stats.connections == 0
    assert not house.readers.connected


def test_while_the_writer_may_take_nothing_readers_are_not_read() -> None:
    house = House()
    before = house.connect()
    house.intake.gates.hold("the buffer is full")
    after = house.connect()
    assert [before.is_read, after.is_read] == [False, False]
    house.intake.gates.release("the buffer is full")
    assert [before.is_read, after.is_read, house.connect().is_read] == [True] * 3


def test_a_new_writer_gets_what_the_last_one_had_not_taken() -> None:
    house, reader = House(), None
    reader = house.connect()
    reader.send("a 1 1\n")
    reader.pump()
    reader.send("b 2 1\na 3 1\n")
    reader.here.connectionLost()
    reader.send("c 4 1\n")
    again = House()
    reader.connect(again)
    reader.pump()
    assert again.intake.taken == [
        ("line", "1.1.1.1", ["b", "a"], [2.0, 3.0]),
        ("line", "1.1.1.1", ["c"], [4.0]),
    ]
    assert reader.forward.empty


def test_what_fails_is_counted_and_does_not_come_again(caplog: pytest.LogCaptureFixture) -> None:
    house = House()

    def fail() -> None:
        raise ZeroDivisionError

    house.intake.fails = fail
    reader = house.connect()
    reader.send("a 1 1\nb 1 1\n")
    reader.pump()
    assert reader.forward.empty
    assert (house.stats.errors, house.stats.rejected.total()) == (1, 2)
    assert "ZeroDivisionError" in caplog.text


def test_datapoints_without_room_for_their_names_are_rejected_each() -> None:
    house = House(names_max=1)
    reader = house.connect()
    for _ in range(3):
        reader.send("a 1 1\nb 2 1\nb 3 1\n")
    reader.pump()
    assert sum(len(values) for _, _, _, values in house.intake.taken) == 3
    assert house.stats.rejected == {"too many names": 6}


def test_a_bad_frame_closes_the_connection_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    reader = house.connect()
    reader.link.dataReceived(b"\xff" * 100)
    assert reader.ends[1][1].disconnecting
    assert house.stats.errors == 1
    assert "a reader sent another version of columns" in caplog.text
    assert TakenReader().feed(reader.ends[1][1].value()) == 0  # type: ignore[no-untyped-call]  # Twisted's


def test_a_socket_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    from twisted.internet import reactor

    (tmp_path / "readers").mkdir()
    with pytest.raises(OSError, match=f"{tmp_path}/readers cannot be made"):
        House().readers.listen(reactor, tmp_path)
