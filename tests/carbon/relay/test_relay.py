"""The relay: every datapoint goes to the destinations of its name's route, once to each, in its order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from carbon.relay.client import TICK_S, Limits
from carbon.relay.connection import Connect
from carbon.relay.destination import Destination
from carbon.relay.encode import Format
from carbon.relay.relay import Relay, RelayOptions
from carbon.relay.router import Method, Router
from storage.intern import Interned, lay
from tests.carbon.relay.links import FakePeer
from tests.carbon.relay.test_encode import read_frames, read_lines
from tests.carbon.relay.test_router import CLUSTER, TextRules
from tests.effort import tries

Point = tuple[int, int, float]  # number of a name, timestamp, value
Points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10**9), st.floats(-1e6, 1e6)), max_size=30)
NAMES = [f"servers.web{i}.load".encode() for i in range(10)]


class Bench:
    """A relay, its peers by destination, and what it told."""

    def __init__(self, router: Router, options: RelayOptions, *, data: Path | None = None) -> None:
        self.clock, self.router = Clock(), router
        self.names = Interned(seed=3)
        self.ids = self.names.add_all(*lay(NAMES))
        self.routes = router.route_ids(NAMES)
        self.peers: list[FakePeer] = []
        self.told: list[str] = []
        self.relay = Relay(
            router, self.names, options, self.clock, self._peer, data=data,
            on_full=lambda: self.told.append("full"), on_room=lambda: self.told.append("room"),
        )  # fmt: skip
        for peer, client in zip(self.peers, self.relay.clients, strict=True):
            peer.client = client

    def _peer(self, destination: Destination) -> Connect:
        self.peers.append(FakePeer(self.clock))
        self.peers[-1].up = True
        return self.peers[-1].connect

    def send(self, points: list[Point], *, urgent: bool = False) -> None:
        numbers = np.array([number for number, _, _ in points], np.int64)
        timestamps = np.array([timestamp for _, timestamp, _ in points], np.int64)
        values = np.array([value for _, _, value in points], np.float64)
        self.relay.send(self.routes[numbers], self.ids[numbers], timestamps, values, urgent=urgent)

    def got(self, number: int) -> bytes:
        return bytes(self.peers[number].link.data)


READERS = {Format.LINE: read_lines, Format.PICKLE: read_frames}


@given(Points, st.sampled_from(Format), st.integers(1, 3))
@settings(max_examples=tries(60))
def test_each_destination_has_the_datapoints_of_its_names(
    points: list[Point], form: Format, replicas: int
) -> None:
    bench = Bench(Router(Method.CONSISTENT, CLUSTER, replicas=replicas), RelayOptions(form))
    bench.relay.start()
    bench.send(points)
    routes = bench.router.routes(NAMES)
    for number in range(len(CLUSTER)):
        found = READERS[form](bench.got(number))
        wanted = [(NAMES[name], when, value) for name, when, value in points if number in routes[name]]
        assert sorted(found) == sorted(wanted)
        for name in NAMES:  # in the order of the name
            assert [each for each in found if each[0] == name] == [each for each in wanted if each[0] == name]
    sent = sum(client.counters.sent for client in bench.relay.clients)
    assert sent == sum(len(routes[name]) for name, _, _ in points)


def test_more_than_a_slice_is_sent_whole() -> None:
    bench = Bench(Router(Method.CONSTANT, CLUSTER[:2]), RelayOptions(Format.LINE))
    bench.relay.start()
    points = [(i % 10, i, float(i)) for i in range(20_000)]
    bench.send(points)
    wanted = [(NAMES[name], when, value) for name, when, value in points]
    assert read_lines(bench.got(0)) == read_lines(bench.got(1)) == wanted


def test_the_bytes_of_a_chunk_are_shared_by_its_destinations() -> None:
    bench = Bench(Router(Method.CONSTANT, CLUSTER[:2]), RelayOptions(Format.LINE))
    bench.send([(0, 1, 1.0)])
    first, second = (client._queue[0].data for client in bench.relay.clients)
    assert first is second


def test_datapoints_that_go_nowhere_are_counted() -> None:
    rules = TextRules({})
    bench = Bench(Router(Method.RULES, CLUSTER, rules=rules), RelayOptions())
    bench.send([(0, 1, 1.0), (1, 1, 1.0)])
    assert bench.relay.stats().totals["unroutedDatapoints"] == 2


def test_an_urgent_chunk_goes_first() -> None:
    bench = Bench(Router(Method.CONSTANT, CLUSTER[:1]), RelayOptions(Format.LINE))
    bench.send([(0, 1, 1.0)])
    bench.send([(1, 2, 2.0)], urgent=True)
    bench.relay.start()
    assert bench.got(0) == NAMES[1] + b" 2 2\n" + NAMES[0] + b" 1 1\n"


def test_a_pool_has_each_chunk_in_its_shortest_queue() -> None:
    pool = [Destination("h", 1, instance) for instance in "abc"]
    bench = Bench(Router(Method.CONSTANT, [*pool, Destination("h", 2)]), RelayOptions(pool=True))
    for i in range(9):
        bench.send([(0, i, 1.0)])
    assert [client.queued for client in bench.relay.clients] == [3, 3, 3, 9]


def test_who_sends_is_held_back_while_any_queue_is_full() -> None:
    bench = Bench(
        Router(Method.CONSTANT, CLUSTER[:3]), RelayOptions(limits=Limits(queue_max=5, low_share=0.5))
    )
    bench.relay.start()
    for number in (0, 1):
        bench.peers[number].link.paused = True
    bench.send([(0, i, 1.0) for i in range(5)])
    assert bench.told == []
    bench.send([(0, i, 1.0) for i in range(5)])
    assert bench.told == ["full"]
    bench.peers[0].link.take(1 << 20)
    assert bench.told == ["full"]
    bench.peers[1].link.take(1 << 20)
    assert bench.told == ["full", "room"]


def test_stopping_ends_when_all_destinations_have_all(tmp_path: Path) -> None:
    bench = Bench(Router(Method.CONSTANT, CLUSTER[:2]), RelayOptions(Format.LINE), data=tmp_path)
    bench.relay.start()
    bench.send([(0, 1, 1.0)])
    ended: list[None] = []
    bench.relay.stop(3).addCallback(ended.append)
    bench.peers[0].link.arrive()
    bench.peers[0].advance(TICK_S)
    assert ended == []
    bench.peers[1].advance(4)
    assert ended == [None]
    again = Bench(Router(Method.CONSTANT, CLUSTER[:2]), RelayOptions(Format.LINE), data=tmp_path)
    again.relay.start()
    again.peers[0].advance(TICK_S)
    assert (again.got(0), again.got(1)) == (b"", NAMES[0] + b" 1 1\n")


def test_a_spool_of_no_destination_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Router(Method.CONSTANT, CLUSTER[:2]), RelayOptions(Format.LINE), data=tmp_path)
    bench.send([(0, 1, 1.0)])
    bench.relay.stop()
    Bench(Router(Method.CONSTANT, CLUSTER[:1]), RelayOptions(Format.LINE), data=tmp_path)
    assert f"line {CLUSTER[1].text}" in caplog.text
    assert f"line {CLUSTER[0].text}" not in caplog.text


def test_counters_are_named_by_destination() -> None:
    bench = Bench(Router(Method.CONSTANT, CLUSTER[:2]), RelayOptions())
    bench.relay.start()
    bench.send([(0, 1, 1.0), (1, 1, 1.0)])
    totals, gauges = bench.relay.stats()
    assert totals["destinations.10_0_0_0:2004:a.sent"] == 2
    assert gauges["destinations.10_0_0_0:2005:b.connected"] == 1
