"""Metric lines of Kafka, from the brokers that the client library makes for tests: real sockets, its own protocol."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from carbon.sources.kafka import Topics  # noqa: E402  # after what may skip all of this

_READER = """
import json, sys
from twisted.internet import reactor
from carbon.sources.kafka import KafkaSource, Topics
from carbon.stats import Stats

failures = [int(sys.argv[2])]
def accept(data):
    assert reactor.running
    if failures[0]:
        failures[0] -= 1
        raise RuntimeError("not now")
    sys.stdout.buffer.write(data)
    sys.stdout.flush()

def resume():
    sys.stdout.buffer.write(b"resumed\\n")
    source.resume()

topics = Topics(**json.loads(sys.argv[1]))
source = KafkaSource(topics, accept, Stats(), reactor)
reactor.callWhenRunning(source.start)
reactor.callLater(90, reactor.stop)
reactor.addSystemEventTrigger("before", "shutdown", source.stop)
if sys.argv[3]:
    reactor.callWhenRunning(source.pause)
    reactor.callLater(float(sys.argv[3]), resume)
reactor.run()
"""


def eventually(ask: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


# how long the brokers for tests wait for a member that has left
QUICK = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "topic.metadata.refresh.interval.ms": 500}


class Cluster:
    """Brokers inside a producer."""

    def __init__(self) -> None:
        self._producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none"})
        (broker,) = self._producer.list_topics(timeout=10).brokers.values()
        self.servers = f"{broker.host}:{broker.port}"

    def publish(self, topic: str, *messages: bytes) -> None:
        for message in messages:
            self._producer.produce(topic, message, partition=0)
        assert self._producer.flush(20) == 0


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


class Reading:
    """A process that reads topics and writes what it takes."""

    def __init__(self, topics: Topics, folder: Path, *, failures: int = 0, resume_s: str = "") -> None:
        self._out = folder / f"taken{time.monotonic_ns()}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _READER, json.dumps(asdict(topics)), str(failures), resume_s],
            stdout=self._out.open("wb"),
            cwd=Path(__file__).parents[3],
        )

    @property
    def taken(self) -> list[bytes]:
        return self._out.read_bytes().splitlines()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(20) == 0


@pytest.mark.slow
def test_lines_are_read_once_in_their_order_by_one_reader_after_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    topics = Topics(
        more=QUICK, servers=cluster.servers, topics=("metrics",), from_start=True, messages_max=100
    )
    sent = [b"a.b %d 10" % i for i in range(500)]
    cluster.publish("metrics", *sent[:300])
    reading = Reading(topics, tmp_path)
    eventually(lambda: len(reading.taken) == 300)
    reading.stop()
    first = reading.taken
    cluster.publish("metrics", b"\n".join(sent[300:400]), *sent[400:])
    reading = Reading(topics, tmp_path)
    eventually(lambda: len(reading.taken) == 200)
    reading.stop()
    assert first + reading.taken == sent


@pytest.mark.slow
def test_what_could_not_be_taken_is_read_again(cluster: Cluster, tmp_path: Path) -> None:
    cluster.publish("again", b"a 1 10", b"b 2 20")
    topics = Topics(more=QUICK, servers=cluster.servers, topics=("again",), group="again", from_start=True)
    reading = Reading(topics, tmp_path, failures=1)
    eventually(lambda: set(reading.taken) == {b"a 1 10", b"b 2 20"})
    reading.stop()


@pytest.mark.slow
def test_nothing_is_read_while_it_is_paused(cluster: Cluster, tmp_path: Path) -> None:
    topics = Topics(
        servers=cluster.servers, topics=("paused",), group="paused", from_start=True, messages_max=1
    )
    cluster.publish("paused", *[b"a %d 10" % i for i in range(50)])
    reading = Reading(topics, tmp_path, resume_s="6")
    eventually(lambda: len(reading.taken) == 51)
    assert reading.taken.index(b"resumed") <= 1  # one may have been on its way
    reading.stop()


def test_offsets_are_ours_to_commit_and_what_is_fetched_ahead_has_a_bound() -> None:
    library = Topics(servers="x:1", topics=("a",), buffer_kib=100, more={"client.id": "me"}).library()
    assert (library["enable.auto.commit"], library["enable.auto.offset.store"]) == (False, False)
    assert library["fetch.message.max.bytes"] <= library["queued.max.messages.kbytes"] * 1024
    assert library["client.id"] == "me"
    assert library["auto.offset.reset"] == "latest"
