"""CarbonLink: what graphite-web asks is answered as by carbon-cache; what no cache is asked closes the connection."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from carbon.carbonlink import (
    DATAPOINTS_MAX,
    NAMES_MAX,
    REQUEST_BYTES_MAX,
    Answers,
    Points,
    QueriesFactory,
    RequestReader,
    read_request,
)
from carbon.errors import BadFrame
from carbon.stats import Stats

NOW = 1_700_000_000


class Cache:
    """Datapoints by name; a Source."""

    def __init__(self, points: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        self.points = points
        self.asked: list[int] = []

    def newest(self, names: Sequence[str]) -> list[Points]:
        self.asked.append(len(names))
        return [
            (np.array([t for t, _ in found], np.int64), np.array([v for _, v in found], np.float64))
            for found in (self.points.get(name, ()) for name in names)
        ]

    def aggregation(self, name: str) -> str | None:
        return "average" if name in self.points else None


CACHE = Cache({"a.b": [(NOW, 1.5), (NOW + 60, -2.0)], "ü.c;t=v": [(NOW, 3.0)], "empty": []})


def answer(request: Mapping[str, Any], cache: Cache = CACHE, stats: Stats | None = None) -> Any:
    """What a client reads."""
    work = Answers(cache, stats or Stats()).answer(dict(request))
    while True:
        try:
            next(work)
        except StopIteration as end:
            return pickle.loads(end.value)


# --- requests ---

# the bytes of graphite-web 1.1.10 on Python 3.11 (protocols 0 to 5), and of Python 2 (0, 2)
QUERIES = {
    b"(dp0\nVtype\np1\nVcache-query\np2\nsVmetric\np3\nVa.b\np4\ns.",
    b"}q\x00(X\x04\x00\x00\x00typeq\x01X\x0b\x00\x00\x00cache-queryq\x02X\x06\x00\x00\x00metricq\x03"
    b"X\x03\x00\x00\x00a.bq\x04u.",
    b"\x80\x02}q\x00(X\x04\x00\x00\x00typeq\x01X\x0b\x00\x00\x00cache-queryq\x02X\x06\x00\x00\x00metricq\x03"
    b"X\x03\x00\x00\x00a.bq\x04u.",
    b"\x80\x03}q\x00(X\x04\x00\x00\x00typeq\x01X\x0b\x00\x00\x00cache-queryq\x02X\x06\x00\x00\x00metricq\x03"
    b"X\x03\x00\x00\x00a.bq\x04u.",
    b"\x80\x04\x95)\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x04type\x94\x8c\x0bcache-query\x94\x8c\x06metric\x94"
    b"\x8c\x03a.b\x94u.",
    b"\x80\x05\x95)\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x04type\x94\x8c\x0bcache-query\x94\x8c\x06metric\x94"
    b"\x8c\x03a.b\x94u.",
    b"(dp0\nS'metric'\np1\nS'a.b'\np2\nsS'type'\np3\nS'cache-query'\np4\ns.",
    b"\x80\x02}q\x00(U\x06metricq\x01U\x03a.bq\x02U\x04typeq\x03U\x0bcache-queryq\x04u.",
}
BULK = {
    b"(dp0\nVtype\np1\nVcache-query-bulk\np2\nsVmetrics\np3\n(lp4\nVa.b\np5\naV\xfc.c;t=v\np6\nag5\nas.",
    b"\x80\x02}q\x00(X\x04\x00\x00\x00typeq\x01X\x10\x00\x00\x00cache-query-bulkq\x02X\x07\x00\x00\x00metricsq\x03"
    b"]q\x04(X\x03\x00\x00\x00a.bq\x05X\x08\x00\x00\x00\xc3\xbc.c;t=vq\x06h\x05eu.",
    b"\x80\x05\x95@\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x04type\x94\x8c\x10cache-query-bulk\x94\x8c\x07metrics"
    b"\x94]\x94(\x8c\x03a.b\x94\x8c\x08\xc3\xbc.c;t=v\x94h\x05eu.",
}
PYTHON_2_LITERAL = b"(dp0\nS'type'\np1\nS'\\xc3\\xbc\\'\\\\\"'\np2\ns."
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
requests = st.dictionaries(texts, texts | st.lists(texts, max_size=8), max_size=8)


@pytest.mark.parametrize("data", sorted(QUERIES))
def test_the_requests_of_graphite_web_are_read(data: bytes) -> None:
    assert read_request(data) == {"type": "cache-query", "metric": "a.b"}


@pytest.mark.parametrize("data", sorted(BULK))
def test_its_bulk_requests_are_read(data: bytes) -> None:
    assert read_request(data) == {"type": "cache-query-bulk", "metrics": ["a.b", "ü.c;t=v", "a.b"]}


def test_a_literal_of_python_2_is_read_with_its_escapes_and_with_no_others() -> None:
    assert read_request(PYTHON_2_LITERAL) == pickle.loads(PYTHON_2_LITERAL, encoding="utf-8")
    with pytest.raises(BadFrame, match="malformed"):
        read_request(PYTHON_2_LITERAL.replace(b"\\xc3", b"\\G"))


@given(requests, st.integers(0, 5))
def test_what_a_pickler_writes_is_read_back(request: dict[str, Any], version: int) -> None:
    assert read_request(pickle.dumps(request, version)) == request
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in request.items()}
    assert read_request(pickle.dumps(tuples, version)) == request


@given(st.lists(requests, max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_requests_are_the_same_however_the_stream_is_split(
    wanted: list[dict[str, Any]], cuts: list[int]
) -> None:
    stream = b"".join(framed(pickle.dumps(request, 4)) for request in wanted)
    reader, found = RequestReader(), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
        reader.feed(stream[start:stop])
        while (request := reader.next()) is not None:
            found.append(request)
    assert found == wanted


@given(
    st.binary(max_size=80), st.sampled_from(sorted(QUERIES | BULK)), st.integers(0, 150), st.integers(0, 150)
)
def test_rubbish_is_a_bad_frame_and_nothing_else(rubbish: bytes, good: bytes, start: int, stop: int) -> None:
    for data in (rubbish, good[:start] + rubbish + good[stop:]):
        with suppress(BadFrame):
            assert all(isinstance(key, str) for key in read_request(data))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"type": os.system}),
        pickle.dumps({"type": b"x"}),
        pickle.dumps({"type": 1}),
        pickle.dumps({"type": None}),
        pickle.dumps({"type": ["a", ["b"]]}),
        pickle.dumps({1: "x"}),
        pickle.dumps(["type"]),
        pickle.dumps({f"k{i}": "x" for i in range(9)}),
        pickle.dumps({"type": "x" * 5000}),
        pickle.dumps({"type": "x" * 5000}, 0),
        pickle.dumps({"type": "x" * 50_000}, 0),
        pickle.dumps({"metrics": ["x"] * (NAMES_MAX + 1)}),
        pickle.dumps({"metrics": [f"m.{i}" for i in range(4 * NAMES_MAX)]}),
        pickle.dumps({"type": "x"})[:-1],
        pickle.dumps({"type": "x"}) + b".",
        b"}X\x01\x00\x00\x00x]q\x00h\x00as.",  # a list in itself
        b"}q\x00h\x00h\x00s.",  # a dict as its own key
        b"}r\xff\xff\xff\xff.."[:-1] + b".",
        b"((((((}.",
        b"X\xff\xff\xff\xffx.",
        b"\x8d" + b"\xff" * 8 + b".",
        b"(dp" + b"9" * 5000 + b"\n.",
        b"}\x8c\x01\xffX\x01\x00\x00\x00xs.",
        b"",
        b".",
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame, match="quer"):
        read_request(data)


def test_as_many_names_as_allowed_are_read_quickly_in_every_protocol() -> None:
    request = {
        "type": "cache-query-bulk",
        "metrics": [f"some.long.metric.name.{i}" for i in range(NAMES_MAX)],
    }
    for version in range(6):
        started = time.perf_counter()
        assert read_request(pickle.dumps(request, version)) == request
        assert time.perf_counter() - started < 1


def test_a_request_that_is_too_long_is_refused_before_it_comes() -> None:
    reader = RequestReader()
    reader.feed(struct.pack(">I", REQUEST_BYTES_MAX + 1))
    with pytest.raises(BadFrame, match="longer than 1048576 bytes"):
        reader.next()


# --- answers ---


def test_a_query_is_answered_with_the_newest_datapoints() -> None:
    found = answer({"type": "cache-query", "metric": "a.b"})
    assert found == {"datapoints": [(NOW, 1.5), (NOW + 60, -2.0)]}
    assert type(found["datapoints"][0][0]) is int
    assert answer({"type": "cache-query", "metric": "un.known"}) == {"datapoints": []}


def test_a_bulk_query_is_answered_by_name() -> None:
    asked = ["a.b", "un.known", "ü.c;t=v", "a.b"]
    assert answer({"type": "cache-query-bulk", "metrics": asked}) == {
        "datapointsByMetric": {"a.b": [(NOW, 1.5), (NOW + 60, -2.0)], "un.known": [], "ü.c;t=v": [(NOW, 3.0)]}
    }
    assert answer({"type": "cache-query-bulk", "metrics": []}) == {"datapointsByMetric": {}}


@given(st.lists(st.tuples(st.integers(-(1 << 40), 1 << 40), st.floats()), max_size=20))
def test_datapoints_are_read_back_as_they_are_but_what_is_no_number(points: list[tuple[int, float]]) -> None:
    found = answer({"type": "cache-query", "metric": "x"}, Cache({"x": points}))
    assert found == {"datapoints": [(t, v) for t, v in points if v == v]}


def test_metadata_are_told_and_not_changed() -> None:
    ask = {"type": "get-metadata", "metric": "a.b", "key": "aggregationMethod"}
    assert answer(ask) == {"value": "average"}
    assert "no such metric" in answer(ask | {"metric": "x"})["error"]
    assert answer(ask | {"key": "step"}) == {"error": 'Unsupported metadata key "step"'}
    change = {"type": "set-metadata", "metric": "a.b", "key": "aggregationMethod", "value": "sum"}
    assert "read-only" in answer(change)["error"]
    assert answer({"type": "dance"}) == {"error": 'Invalid request type "dance"'}


@pytest.mark.parametrize(
    "request_",
    [{}, {"type": ["x"]}, {"type": "cache-query"}, {"type": "cache-query-bulk", "metrics": "a"},
     {"type": "get-metadata", "metric": "a"}, {"type": "cache-query", "metric": ["a"]}],
)  # fmt: skip
def test_a_request_without_what_it_needs_is_a_bad_frame(request_: dict[str, Any]) -> None:
    with pytest.raises(BadFrame, match="query without a"):
        answer(request_)


def test_many_names_are_answered_in_slices_and_counted() -> None:
    cache, stats = Cache({}), Stats()
    names = [f"m.{i}" for i in range(1000)]
    work = Answers(cache, stats).answer({"type": "cache-query-bulk", "metrics": names})
    turns = sum(1 for _ in work)
    assert turns == 4
    assert cache.asked == [200] * 5
    answer({"type": "cache-query", "metric": "a"}, stats=stats)
    assert (stats.queries, stats.bulk_queries, stats.bulk_query_names) == (1, 1, 1000)


def test_an_answer_has_no_more_datapoints_than_it_may() -> None:
    class Large(Cache):
        def newest(self, names: Sequence[str]) -> list[Points]:
            self.asked.append(len(names))
            return [(np.zeros(3600, np.int64), np.zeros(3600))] * len(names)

    large = Large({})
    few = {"type": "cache-query-bulk", "metrics": [f"m.{i}" for i in range(DATAPOINTS_MAX // 3600)]}
    assert len(answer(few, large)["datapointsByMetric"]) == DATAPOINTS_MAX // 3600
    many = {"type": "cache-query-bulk", "metrics": [f"m.{i}" for i in range(NAMES_MAX)]}
    large.asked.clear()
    assert "ask for fewer metrics" in answer(many, large)["error"]
    assert len(large.asked) == 2


# --- the connection ---


def framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class Wire:
    """A transport: what is written, and whether anything is read."""

    def __init__(self) -> None:
        self.written, self.reads, self.aborted = b"", True, False
        self.producer: Any = None

    def getPeer(self) -> Any:  # noqa: N802
        return type("Peer", (), {"host": "10.0.0.9"})

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        self.producer = producer

    def writeSequence(self, parts: list[bytes]) -> None:  # noqa: N802
        self.written += b"".join(parts)

    def pauseProducing(self) -> None:  # noqa: N802
        self.reads = False

    def resumeProducing(self) -> None:  # noqa: N802
        self.reads = True

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True
        self.protocol.connectionLost()

    protocol: Any = None

    def answers(self) -> list[Any]:
        found, rest = [], self.written
        while rest:
            (size,) = struct.unpack_from(">I", rest)
            found.append(pickle.loads(rest[4 : 4 + size]))
            rest = rest[4 + size :]
        return found


class House:
    def __init__(self, cache: Cache = CACHE, **options: Any) -> None:
        self.clock, self.stats = Clock(), Stats()
        self.factory = QueriesFactory(Answers(cache, self.stats), self.stats, self.clock, **options)

    def connect(self) -> tuple[Any, Wire]:
        connection, wire = self.factory.buildProtocol(None), Wire()
        wire.protocol = connection
        connection.makeConnection(wire)  # type: ignore[no-untyped-call]  # Twisted's
        return connection, wire

    def turn(self) -> None:
        """All turns that are due."""
        self.clock.advance(0)


def test_requests_are_answered_in_their_order_and_nothing_is_read_meanwhile() -> None:
    house = House()
    connection, wire = house.connect()
    ask = [framed(pickle.dumps({"type": "cache-query", "metric": name})) for name in ("ü.c;t=v", "empty")]
    connection.dataReceived(b"".join(ask))
    assert not wire.reads
    house.turn()
    assert wire.answers() == [{"datapoints": [(NOW, 3.0)]}, {"datapoints": []}]
    assert wire.reads


def test_a_long_answer_leaves_turns_to_others() -> None:
    cache = Cache({})
    house = House(cache)
    names = [f"m.{i}" for i in range(2000)]
    first, wire = house.connect()
    other, other_wire = house.connect()
    first.dataReceived(framed(pickle.dumps({"type": "cache-query-bulk", "metrics": names})))
    other.dataReceived(framed(pickle.dumps({"type": "cache-query", "metric": "x"})))
    house.turn()
    assert cache.asked == [200, 1, *[200] * 9]
    assert other_wire.answers() == [{"datapoints": []}]
    assert len(wire.answers()[0]["datapointsByMetric"]) == 2000


def test_nothing_is_answered_to_who_does_not_read() -> None:
    house = House()
    connection, wire = house.connect()
    wire.producer.pauseProducing()
    connection.dataReceived(framed(pickle.dumps({"type": "cache-query", "metric": "a.b"})))
    house.turn()
    assert wire.written == b""
    wire.producer.resumeProducing()
    house.turn()
    assert len(wire.answers()) == 1


def test_nothing_is_asked_for_who_has_hung_up() -> None:
    house = House()
    connection, wire = house.connect()
    connection.dataReceived(framed(pickle.dumps({"type": "cache-query", "metric": "a.b"})))
    connection.connectionLost()
    house.turn()
    assert house.stats.queries == 0
    assert wire.written == b""
    assert not house.clock.getDelayedCalls()


def test_a_bad_request_closes_the_connection_and_is_counted_once() -> None:
    house = House()
    connection, wire = house.connect()
    connection.dataReceived(framed(pickle.dumps({"type": "cache-query"})) * 2)
    house.turn()
    assert wire.aborted
    assert dict(house.stats.rejected_by) == {("carbonlink", "query without a text as metric"): 1}
    assert not house.factory.connections
    assert not house.clock.getDelayedCalls()


def test_a_silent_connection_is_closed() -> None:
    house = House(idle_s=600)
    connection, wire = house.connect()
    house.clock.advance(599)
    connection.dataReceived(b"\0")
    house.clock.advance(599)
    assert not wire.aborted
    house.clock.advance(2)
    assert wire.aborted


def test_who_is_one_too_many_or_not_allowed_is_refused() -> None:
    house = House(connections_max=1)
    house.connect()
    assert house.connect()[1].aborted
    closed = House(admits=lambda address: address != "10.0.0.9")
    assert closed.connect()[1].aborted
    assert dict(closed.stats.rejected) == {"address not allowed": 1}


# --- graphite-web's own client ---

PEERS = os.environ.get("PLUMBAGO_PEERS")
CLIENT = """
import sys, django
django.setup()
from graphite.carbonlink import CarbonLinkPool
pool = CarbonLinkPool([("127.0.0.1", int(sys.argv[1]), "a")], 5)
found = [pool.query("a.b"), pool.query("un.known"), pool.get_metadata("a.b", "aggregationMethod")]
try:
    found.append(pool.set_metadata("a.b", "aggregationMethod", "sum"))
except Exception as error:
    found.append(type(error).__name__)
found.append(len(pool.query("long")))
found.append(len(pool.connections[("127.0.0.1", "a")]))
print(repr(found))
"""


@contextmanager
def served(factory: QueriesFactory, reactor: Any) -> Iterator[int]:
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    thread = Thread(target=lambda: reactor.run(installSignalHandlers=False))
    thread.start()
    try:
        yield port.getHost().port
    finally:
        reactor.callFromThread(reactor.stop)
        thread.join()


LONG = Cache({**CACHE.points, "long": [(NOW + i, float(i)) for i in range(100_000)]})


@pytest.mark.peer
@pytest.mark.skipif(PEERS is None, reason="PLUMBAGO_PEERS is not the folder of a venv with graphite-web")
@pytest.mark.parametrize("version", [-1, 2])
def test_graphite_webs_own_client_is_answered(tmp_path: Path, version: int) -> None:
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted's
    stats = Stats()
    settings = tmp_path / "asks.py"
    settings.write_text(
        f"from graphite.settings import *\nSECRET_KEY='x'\nLOG_DIR={str(tmp_path)!r}\n"
        f"CARBONLINK_PICKLE_PROTOCOL={version}\n"
    )
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "asks", "PYTHONPATH": str(tmp_path),
        "GRAPHITE_STORAGE_DIR": str(tmp_path), "GRAPHITE_LOG_DIR": str(tmp_path), "GRAPHITE_ROOT": str(tmp_path),
    }  # fmt: skip
    with served(QueriesFactory(Answers(LONG, stats), stats, reactor), reactor) as port:
        done = subprocess.run(
            [Path(PEERS or "") / "bin" / "python", "-c", CLIENT, str(port)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == [
        repr([[(NOW, 1.5), (NOW + 60, -2.0)], [], "average", "CarbonLinkRequestError", 100_000, 1])
    ], done.stderr
    assert not stats.rejected


def test_a_client_that_never_reads_is_held_back_and_others_are_answered() -> None:
    reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted's
    stats = Stats()
    ask = framed(pickle.dumps({"type": "cache-query", "metric": "long"}))
    with (
        served(QueriesFactory(Answers(LONG, stats), stats, reactor), reactor) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as deaf,
        socket.create_connection(("127.0.0.1", port), timeout=5) as other,
    ):
        deaf.sendall(ask * 200)  # 300 MB of answers
        other.sendall(framed(pickle.dumps({"type": "cache-query", "metric": "a.b"})))
        assert pickle.loads(other.recv(4096)[4:]) == {"datapoints": CACHE.points["a.b"]}
        before = -1
        while stats.queries != before:
            before = stats.queries
            other.sendall(framed(pickle.dumps({"type": "get-metadata", "metric": "a.b", "key": "step"})))
            assert other.recv(4096)
        assert stats.queries < 20
