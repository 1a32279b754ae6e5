"""Datagrams: all that wait are read together, whose they are is known, and nothing of them is lost or mixed up."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.config import Kind, Listener
from carbon.datagrams import AT_ONCE, DatagramReader, Datagrams
from carbon.limits import Sources
from carbon.listen import NOT_ALLOWED, TOO_FAST
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.protocols.reader import Batch
from carbon.stats import Stats
from tests.carbon.memory import MemorySeries
from tests.effort import tries

NOW = 1_700_000_000


def bound(host: str = "127.0.0.1") -> socket.socket:
    at = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    at.bind((host, 0))
    at.setblocking(False)
    return at


def send(to: socket.socket, *datagrams: bytes, source: str = "127.0.0.1") -> None:
    with bound(source) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, to.getsockname())


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with bound() as at:
        yield at


def test_nothing_waits(listening: socket.socket) -> None:
    assert DatagramReader(listening, by_source=False).read() == []
    assert DatagramReader(listening, by_source=True).read() == []


@given(st.lists(st.binary(max_size=300), max_size=40))
@settings(max_examples=tries(50))
def test_datagrams_come_in_order_each_with_a_newline_behind(datagrams: list[bytes]) -> None:
    with bound() as listening:
        send(listening, *datagrams)
        for arrived in DatagramReader(listening, by_source=False).read():
            assert arrived.source == "127.0.0.1"
            assert arrived.datagrams == len(datagrams)
            assert arrived.text == b"".join(datagram + b"\n" for datagram in datagrams)


def test_the_largest_datagram_comes_whole(listening: socket.socket) -> None:
    send(listening, b"x" * 65_507, b"y")
    (arrived,) = DatagramReader(listening, by_source=False).read()
    assert arrived.text == b"x" * 65_507 + b"\ny\n"


def test_more_than_are_read_at_once_come_the_next_time(listening: socket.socket) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    lines = [b"%d" % i for i in range(AT_ONCE + 7)]
    reader = DatagramReader(listening, by_source=False)
    send(listening, *lines[: AT_ONCE // 2])
    send(listening, *lines[AT_ONCE // 2 :])
    first, second = reader.read() + reader.read()
    assert (first.datagrams, second.datagrams) == (AT_ONCE, 7)
    assert (first.text + second.text).split() == lines


def test_of_several_addresses_each_has_its_own_if_it_is_asked_for(listening: socket.socket) -> None:
    for source, line in (("127.0.0.2", b"a"), ("127.0.0.3", b"b"), ("127.0.0.2", b"c")):
        send(listening, line, source=source)
    by_source = {each.source: each.text for each in DatagramReader(listening, by_source=True).read()}
    assert by_source == {"127.0.0.2": b"a\nc\n", "127.0.0.3": b"b\n"}
    for source, line in (("127.0.0.2", b"a"), ("127.0.0.3", b"b")):
        send(listening, line, source=source)
    assert DatagramReader(listening, by_source=False).read() == [("", b"a\nb\n", 2)]


def test_an_address_of_version_6_is_told(listening: socket.socket) -> None:
    with bound("::1") as six:
        send(six, b"a", source="::1")
        assert DatagramReader(six, by_source=True).read() == [("::1", b"a\n", 1)]


class House:
    """A listener whose lines are read into a table."""

    def __init__(self, at: socket.socket, *, allow: str | None = None, rate: int | None = None) -> None:
        self.stats, self.seconds, self.taken = Stats(), 0.0, list[tuple[int, str]]()
        reader = LineReader(NameTable(MemorySeries(), self.stats), self.stats)
        networks = (ipaddress.ip_network(allow),) if allow else ()
        self.datagrams = Datagrams(
            Listener("udp", kind=Kind.UDP, allow=networks),
            at,
            lambda text: reader.whole(text, NOW),
            self._accept,
            self.stats,
            rates=Sources(rate, lambda: self.seconds) if rate else None,
        )

    def _accept(self, batch: Batch | None, source: str) -> None:
        self.taken.append((0 if batch is None else len(batch.ids), source))


def test_lines_are_taken_and_all_that_waits_at_the_end(listening: socket.socket) -> None:
    house = House(listening)
    send(listening, b"a 1 1\nb 2 2", b"c 3 3\n", b"bad")
    house.datagrams.doRead()
    assert house.taken == [(3, "127.0.0.1")]
    assert house.stats.rejected.total() == 1
    send(listening, b"d 1 1")
    house.datagrams.drain()
    assert house.taken[1:] == [(1, "127.0.0.1")]


def test_who_is_not_allowed_is_counted_by_datagrams(listening: socket.socket) -> None:
    house = House(listening, allow="127.0.0.8/30")
    send(listening, b"a 1 1", b"b 1 1", source="127.0.0.2")
    send(listening, b"c 1 1", source="127.0.0.9")
    house.datagrams.doRead()
    assert house.taken == [(1, "127.0.0.9")]
    assert house.stats.rejected[NOT_ALLOWED] == 2


def test_who_sends_too_much_is_dropped_until_the_debt_is_paid(listening: socket.socket) -> None:
    house = House(listening, rate=2)
    send(listening, b"a 1 1\nb 1 1\nc 1 1\nd 1 1\n")
    house.datagrams.doRead()
    send(listening, b"e 1 1\nf 1 1\n", b"\n")
    send(listening, b"g 1 1", source="127.0.0.2")
    house.datagrams.doRead()
    assert house.taken == [(4, "127.0.0.1"), (1, "127.0.0.2")]
    assert house.stats.rejected[TOO_FAST] == 2
    house.seconds = 1.5
    send(listening, b"h 1 1")
    house.datagrams.doRead()
    assert house.taken[2:] == [(1, "127.0.0.1")]
