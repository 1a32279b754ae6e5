"""Streams and datagrams: who is let in, what is held back, what is owed, and what a bad frame costs."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from carbon.config import Listener
from carbon.errors import BadFrame
from carbon.limits import Sources
from carbon.listen import (
    LOCAL,
    NOT_ALLOWED,
    TOO_MANY,
    TOO_MANY_OF_ONE,
    Door,
    Stream,
    Streams,
    take_turns,
)
from carbon.protocols.reader import Batch
from carbon.stats import Stats

IDLE_S = 600
ONE, OTHER = "10.0.0.1", "10.0.0.2"


def batch_of(count: int) -> Batch | None:
    return (
        Batch(np.arange(count, dtype=np.int32), np.zeros(count, np.int64), np.zeros(count)) if count else None
    )


class Words:
    """A reader: each byte is a datapoint; "!" is a bad frame."""

    def feed(self, data: bytes, now: int) -> Batch | None:
        before, bad, _ = data.partition(b"!")
        batch = batch_of(len(before))
        if bad:
            error = BadFrame("bad word")
            error.batch = batch
            raise error
        return batch


class House:
    """A listener of streams, and what it took: (source, datapoints)."""

    def __init__(self, *, rate: float | None = None, **given: Any) -> None:
        self.stats, self.clock = Stats(), Clock()
        self.taken: list[tuple[str, int]] = []
        self.rates = None if rate is None else Sources(rate, self.clock.seconds)
        self.listener = Listener("line", **{"idle": IDLE_S, **given})
        self.streams = Streams(
            self.listener, Words, self._accept, self.stats, self.clock.seconds, rates=self.rates
        )

    def _accept(self, batch: Batch | None, source: str) -> None:
        if batch is not None:
            self.taken.append((source, len(batch.ids)))

    def connect(self, source: str = ONE) -> Connection:
        return Connection(self, source)


class Connection:
    def __init__(self, house: House, source: str) -> None:
        address: Any = UNIXAddress(b"") if source == LOCAL else IPv4Address("TCP", source, 4711)
        if ":" in source:
            address = IPv6Address("TCP", source, 4711)
        self.stream: Stream = house.streams.buildProtocol(None)
        self.transport = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]  # Twisted's
        self.stream.callLater = house.clock.callLater  # type: ignore[method-assign,assignment]  # as TimeoutMixin says to
        self.stream.makeConnection(self.transport)  # type: ignore[no-untyped-call]  # Twisted's

    def send(self, data: bytes) -> None:
        self.stream.dataReceived(data)

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting)

    @property
    def is_read(self) -> Any:  # mypy takes a bool for one that stays as it is
        return str(self.transport.producerState) == "producing"


# --- held together ---


def test_pausing_holds_back_all_streams_and_new_ones() -> None:
    house = House()
    streams = [house.connect(), house.connect(OTHER)]
    house.streams.pause()
    streams.append(house.connect())
    assert [stream.is_read for stream in streams] == [False] * 3
    assert (house.stats.connections, house.stats.paused) == (3, 3)
    house.streams.resume()
    streams.append(house.connect())
    assert [stream.is_read for stream in streams] == [True] * 4
    assert (house.stats.connections, house.stats.paused) == (4, 0)


def test_a_paused_stream_that_goes_is_not_counted_as_paused() -> None:
    house = House()
    gone = house.connect()
    house.streams.pause()
    gone.stream.connectionLost()
    assert (house.stats.connections, house.stats.paused) == (0, 0)
    house.streams.resume()
    assert house.stats.paused == 0


def test_what_was_read_when_the_pause_came_is_still_taken() -> None:
    house = House()
    stream = house.connect()
    house.streams.pause()
    stream.send(b"abc")
    assert house.taken == [(ONE, 3)]


def test_a_pause_that_a_stream_itself_has_caused_holds_it_too() -> None:
    house = House()
    stream = house.connect()
    house.streams.accept = lambda batch, source: house.streams.pause()
    stream.send(b"x")
    assert not stream.is_read


# --- idle ---


def test_a_silent_stream_is_closed_without_waiting_for_its_answer() -> None:
    house = House()
    stream = house.connect()
    house.clock.advance(IDLE_S - 1)
    stream.send(b"x")
    house.clock.advance(IDLE_S - 1)
    assert not stream.closed
    house.clock.advance(2)
    assert stream.transport.disconnected


def test_a_paused_stream_is_not_idle_and_a_resumed_one_may_be() -> None:
    house = House()
    stream = house.connect()
    house.streams.pause()
    stream.send(b"x")
    house.clock.advance(10 * IDLE_S)
    assert not stream.closed
    house.streams.resume()
    house.clock.advance(IDLE_S - 1)
    assert not stream.closed
    house.clock.advance(2)
    assert stream.closed


def test_idle_off_closes_nothing() -> None:
    house = House(idle=None)
    stream = house.connect()
    house.clock.advance(1e9)
    assert not stream.closed


def test_a_connection_that_is_gone_leaves_no_timer() -> None:
    house = House(rate=10)
    stream = house.connect()
    stream.send(b"x" * 1000)
    stream.stream.connectionLost()
    assert house.clock.getDelayedCalls() == []


# --- who is let in ---

networks = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "192.168.7.7/32", "2001:db8::/32", "::1/128", "0.0.0.0/0", "fe80::/10"]
)
v4 = st.ip_addresses(v=4).map(str) | st.sampled_from(["10.1.2.3", "192.168.7.7", "10.255.255.255"])
v6 = st.ip_addresses(v=6).map(str) | st.sampled_from(["2001:db8::1", "::1", "fe80::1", "2001:db9::"])


@given(st.lists(networks, min_size=1, max_size=3), v4 | v6)
def test_an_address_is_admitted_that_lies_in_a_network(allow: list[str], address: str) -> None:
    door, found = Door([ip_network(each) for each in allow]), ip_address(address)
    expected = any(found in ip_network(each) for each in allow)
    if getattr(found, "ipv4_mapped", None) is None:
        assert [door.admits(address), door.admits(address)] == [expected, expected]


@given(st.lists(networks, min_size=1, max_size=3), v4)
def test_an_ipv4_address_is_the_same_in_an_ipv6_socket(allow: list[str], address: str) -> None:
    door = Door([ip_network(each) for each in allow])
    assert door.admits(f"::ffff:{address}") == door.admits(address)


def test_a_mapped_network_admits_mapped_addresses_and_a_zone_is_no_part_of_an_address() -> None:
    assert Door([ip_network("::ffff:10.0.0.0/104")]).admits("::ffff:10.1.2.3")
    assert Door([ip_network("fe80::/10")]).admits("fe80::1%eth0")


def test_a_door_without_a_list_admits_all_and_a_unix_socket_always() -> None:
    assert Door(()).admits(ONE)
    assert Door([ip_network("192.168.0.0/16")]).admits(LOCAL)


def test_a_door_remembers_a_bounded_number_of_addresses() -> None:
    door = Door([ip_network("10.0.0.0/30")])
    found = [door.admits(f"10.0.{i >> 8}.{i & 255}") for i in range(25_000)]
    assert sum(found) == 4
    assert len(door._known) <= 10_000


def reasons(house: House) -> dict[str, int]:
    return dict(house.stats.rejected)


def test_an_address_that_is_not_allowed_is_closed_and_counted() -> None:
    house = House(allow=(ip_network("10.0.0.2/32"), ip_network("::1/128")))
    found = [house.connect(source).closed for source in (ONE, OTHER, "::1", "::2", LOCAL)]
    assert found == [True, False, False, True, False]
    assert reasons(house) == {NOT_ALLOWED: 2}
    assert house.stats.connections == 3


def test_connections_are_bounded_and_a_place_that_is_left_is_free() -> None:
    house = House(connections_max=3)
    streams = [house.connect(f"10.0.0.{i}") for i in range(5)]
    assert [stream.closed for stream in streams] == [False, False, False, True, True]
    assert reasons(house) == {TOO_MANY: 2}
    for stream in streams[2:]:
        stream.stream.connectionLost()
    assert [house.connect().closed, house.connect().closed] == [False, True]
    assert house.stats.connections == 3


def test_connections_of_one_address_are_bounded() -> None:
    house = House(connections_per_source_max=2)
    streams = [house.connect(source) for source in (ONE, ONE, ONE, OTHER, OTHER, OTHER)]
    assert [stream.closed for stream in streams] == [False, False, True, False, False, True]
    assert reasons(house) == {TOO_MANY_OF_ONE: 2}
    streams[2].stream.connectionLost()
    assert house.connect().closed
    streams[0].stream.connectionLost()
    assert not house.connect().closed


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([ONE, OTHER, LOCAL])), max_size=60))
def test_whoever_comes_and_goes_the_counts_are_those_of_who_is_there(moves: list[tuple[bool, str]]) -> None:
    house = House(connections_max=4, connections_per_source_max=3)
    there: list[tuple[str, Connection]] = []
    for comes, source in moves:
        if comes:
            made = house.connect(source)
            of_one = sum(who == source for who, _ in there)
            assert made.closed == (len(there) >= 4 or of_one >= 3)
            if made.closed:
                made.stream.connectionLost()
            else:
                there.append((source, made))
        elif there:
            there.pop(0)[1].stream.connectionLost()
        assert house.stats.connections == len(there)


# --- what is owed ---


def test_a_source_that_sent_too_much_is_not_read_until_it_is_paid() -> None:
    house = House(rate=10)
    stream, other = house.connect(), house.connect(OTHER)
    stream.send(b"x" * 10)
    assert stream.is_read
    stream.send(b"x" * 25)
    assert (stream.is_read, other.is_read, house.stats.paused) == (False, True, 1)
    house.clock.advance(2.4)
    assert not stream.is_read
    house.clock.advance(0.2)
    assert (stream.is_read, house.stats.paused) == (True, 0)
    assert house.taken == [(ONE, 10), (ONE, 25)]


def test_a_debt_is_not_forgotten_by_connecting_again() -> None:
    house = House(rate=10)
    first = house.connect()
    first.send(b"x" * 110)
    first.stream.connectionLost()
    again = house.connect()
    assert not again.is_read
    house.clock.advance(10.1)
    assert again.is_read


def test_connections_of_one_address_pay_their_debt_together() -> None:
    house = House(rate=10)
    first, second = house.connect(), house.connect()
    first.send(b"x" * 60)
    second.send(b"x" * 50)
    house.clock.advance(5.1)
    assert (first.is_read, second.is_read) == (False, False)
    house.clock.advance(5)
    assert (first.is_read, second.is_read) == (True, True)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300)), min_size=20, max_size=60))
def test_in_the_long_run_an_address_gets_its_rate_and_no_more(sends: list[tuple[int, int]]) -> None:
    house = House(rate=100, idle=None)
    streams = [house.connect() for _ in range(3)]
    for which, count in sends:
        if streams[which].is_read:
            streams[which].send(b"x" * count)
        house.clock.advance(0.1)
    taken = sum(count for _, count in house.taken)
    assert taken <= 100 + 100 * 0.1 * len(sends) + 3 * 300  # what each may have sent last


def test_a_stream_in_debt_while_all_are_held_waits_for_both() -> None:
    house = House(rate=10)
    stream = house.connect()
    stream.send(b"x" * 20)
    house.streams.pause()
    house.clock.advance(5)
    assert (stream.is_read, house.stats.paused) == (False, 1)
    house.streams.resume()
    assert (stream.is_read, house.stats.paused) == (True, 0)


# --- bad frames ---


def test_a_bad_frame_keeps_what_came_before_it_and_closes_the_connection() -> None:
    house = House()
    stream, other = house.connect(), house.connect(OTHER)
    stream.send(b"abc!def")
    assert house.taken == [(ONE, 3)]
    assert stream.transport.disconnected
    assert reasons(house) == {"bad word": 1}
    (reject,) = house.stats.newest_rejects
    assert (reject.source, reject.sample) == (ONE, "b'abc!def'")
    other.send(b"ok")
    assert not other.closed


def test_a_bad_frame_at_once_takes_nothing() -> None:
    house = House()
    house.connect().send(b"!")
    assert house.taken == []


# --- datagrams ---


# --- a socket that several processes accept on ---


class Shared:
    """A listening socket with connections that wait, and a port of Twisted's on it for each process."""

    def __init__(self, waiting: int) -> None:
        self.clock, self.waiting = Clock(), waiting

    def port(self, *, have: int = 0) -> SharedPort:
        return SharedPort(self, have)


class SharedPort:
    connected, disconnecting = True, False
    numberAccepts = 100  # noqa: N815  # Twisted's name

    def __init__(self, shared: Shared, have: int) -> None:
        self.shared, self.have, self.reading = shared, have, True
        take_turns(self, shared.clock, lambda: self.have)

    def doRead(self) -> None:  # noqa: N802  # Twisted's name
        count = min(self.numberAccepts, self.shared.waiting)
        self.shared.waiting -= count
        self.have += count
        self.numberAccepts += 20

    def stopReading(self) -> None:  # noqa: N802  # Twisted's name
        self.reading = False

    def startReading(self) -> None:  # noqa: N802  # Twisted's name
        self.reading = True


def accept_all(shared: Shared, *ports: SharedPort) -> None:
    while shared.waiting:
        for port in ports:
            if port.reading:
                port.doRead()
        shared.clock.advance(1e-4)


def test_connections_that_come_together_are_spread_over_the_processes() -> None:
    shared = Shared(40)
    one, other = shared.port(), shared.port()
    accept_all(shared, one, other)
    assert (one.have, other.have) == (20, 20)


def test_the_first_connection_waits_for_nobody() -> None:
    port = Shared(1).port()
    port.doRead()
    port.shared.clock.advance(0)
    assert (port.have, port.reading) == (1, True)


def test_who_has_fewer_connections_gets_the_next() -> None:
    shared = Shared(50)
    many, few = shared.port(have=100), shared.port()
    accept_all(shared, many, few)
    assert few.have >= 30


def test_a_port_that_is_closed_accepts_no_more() -> None:
    shared = Shared(1)
    port = shared.port()
    port.doRead()
    port.disconnecting = True
    shared.clock.advance(1)
    assert (port.have, port.reading) == (0, False)
