"""Metric lines of a real RabbitMQ: taken once they are acknowledged, and again when they were not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pika = pytest.importorskip("pika", reason="pika is not installed")

from carbon.protocols.line import LineReader  # noqa: E402  # after what may skip all of this
from carbon.sources.amqp import Broker, Message, lines_of  # noqa: E402
from tests.carbon.protocols import streams  # noqa: E402

RABBIT = "/usr/lib/rabbitmq/bin"

# --- messages ---


@pytest.mark.parametrize(
    ("key", "body", "lines"),
    [
        ("a.b", b"1.5 10", b"a.b 1.5 10\n"),
        ("a.b", b"1 10\n2 20\r\n\n 3 30 ", b"a.b 1 10\na.b 2 20\na.b 3 30\n"),
        ("a.b", b"", b""),
        ("a.b", b"7", b"a.b 7\n"),
        ("ü", b"1 10", "ü 1 10\n".encode()),
    ],
)
def test_a_message_gives_its_values_to_the_metric_that_is_its_routing_key(
    key: str, body: bytes, lines: bytes
) -> None:
    assert lines_of(Message(key, body), name_in_body=False) == lines


def test_a_message_may_hold_whole_lines() -> None:
    message = Message("ignored", b"a.b 1 10\nc.d 2 20")
    assert lines_of(message, name_in_body=True) == b"a.b 1 10\nc.d 2 20\n"


@given(st.text(max_size=12), st.binary(max_size=40), st.booleans())
def test_no_message_runs_into_the_next(key: str, body: bytes, name_in_body: bool) -> None:
    data = lines_of(Message(key, body), name_in_body=name_in_body) + b"after 1 10\n"
    assert streams.read(LineReader, [data]).points[-1] == (b"after", 10, 1.0)


@given(st.text("a. \n\t\r", max_size=6), st.text("1 \n", max_size=12).map(str.encode))
def test_a_routing_key_that_is_no_name_says_no_other(key: str, body: bytes) -> None:
    names = {
        name
        for name, *_ in streams.read(LineReader, [lines_of(Message(key, body), name_in_body=False)]).points
    }
    assert names <= {key.encode()}


# --- a real broker ---

_READER = """
import json, sys
from twisted.internet import reactor
from carbon.sources.amqp import AmqpSource, Broker
from carbon.stats import Stats

failures = [int(sys.argv[2])]
def accept(data):
    if failures[0]:
        failures[0] -= 1
        raise RuntimeError("not now")
    sys.stdout.buffer.write(data)
    sys.stdout.flush()

broker = Broker(**json.loads(sys.argv[1]))
source = AmqpSource(broker, accept, Stats(), reactor)
source.start()
reactor.callLater(60, reactor.stop)
reactor.addSystemEventTrigger("before", "shutdown", source.stop)
reactor.run()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(ask: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


class Rabbit:
    """A RabbitMQ node of its own, in a folder, with an epmd of its own; nothing of either is left."""

    def __init__(self, folder: Path) -> None:
        self.port, epmd = free_port(), free_port()
        plugins = folder / "enabled_plugins"
        plugins.write_text("[].\n")
        config = folder / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\n")
        self._env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "RABBITMQ_NODENAME": f"plumbago{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins), "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"), "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }  # fmt: skip
        self._log = (folder / "out").open("wb")
        self._process = subprocess.Popen(
            [f"{RABBIT}/rabbitmq-server"],
            env=self._env,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        eventually(self._answers, 90)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pika.exceptions.AMQPError:
            assert self._process.poll() is None, "RabbitMQ has ended"
            return False
        return True

    def connect(self) -> Any:
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))

    def publish(self, *messages: tuple[str, bytes]) -> None:
        connection = self.connect()
        channel = connection.channel()
        channel.confirm_delivery()
        for key, body in messages:
            channel.basic_publish("graphite", key, body)
        connection.close()

    def stop(self) -> None:
        os.killpg(self._process.pid, 9)  # the shell's group: the node and its helpers
        self._process.wait(10)
        eventually(self._epmd_has_gone, 20)
        self._log.close()

    def _epmd_has_gone(self) -> bool:
        """It goes when it has noticed that the node has."""
        epmd = shutil.which("epmd") or "epmd"
        subprocess.run([epmd, "-kill"], env=self._env, capture_output=True)
        asked = subprocess.run([epmd, "-names"], env=self._env, capture_output=True)
        return asked.returncode != 0


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    if not Path(RABBIT, "rabbitmq-server").exists():
        pytest.skip("RabbitMQ is not installed")
    node = Rabbit(tmp_path_factory.mktemp("rabbit"))
    yield node
    node.stop()


class Reading:
    """A process that reads from a broker and writes what it takes."""

    def __init__(self, broker: Broker, folder: Path, *, failures: int = 0) -> None:
        self._out = folder / f"taken{time.monotonic_ns()}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _READER, json.dumps(asdict(broker)), str(failures)],
            stdout=self._out.open("wb"),
            cwd=Path(__file__).parents[3],
        )

    @property
    def taken(self) -> list[bytes]:
        return self._out.read_bytes().splitlines()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(20) == 0


def consumers(rabbit: Rabbit, queue: str) -> int:
    connection = rabbit.connect()
    try:
        return int(connection.channel().queue_declare(queue, passive=True).method.consumer_count)
    except pika.exceptions.ChannelClosedByBroker:
        return 0
    finally:
        connection.close()


@pytest.mark.peer
@pytest.mark.slow
def test_lines_are_taken_once_acknowledged_and_wait_while_nobody_reads(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    broker = Broker(
        host="127.0.0.1", port=rabbit.port, queue="metrics", patterns=("a.#", "b"), messages_max=10
    )
    reading = Reading(broker, tmp_path)
    eventually(lambda: consumers(rabbit, "metrics") == 1)
    rabbit.publish(("a.x", b"1 10"), ("b", b"2 20\n3 30"), ("c", b"4 40"), ("a", b"5 50"))
    eventually(lambda: len(reading.taken) == 4)
    assert reading.taken == [b"a.x 1 10", b"b 2 20", b"b 3 30", b"a 5 50"]
    reading.stop()

    rabbit.publish(*[("a.y", b"%d 10" % i) for i in range(100)])  # ten times what may be on the way
    reading = Reading(broker, tmp_path)
    eventually(lambda: len(reading.taken) == 100)
    assert reading.taken == [b"a.y %d 10" % i for i in range(100)]
    reading.stop()


@pytest.mark.peer
@pytest.mark.slow
def test_what_could_not_be_taken_comes_again(rabbit: Rabbit, tmp_path: Path) -> None:
    broker = Broker(host="127.0.0.1", port=rabbit.port, queue="again", name_in_body=True)
    reading = Reading(broker, tmp_path, failures=1)
    eventually(lambda: consumers(rabbit, "again") == 1)
    rabbit.publish(("any", b"a 1 10\nb 2 20"), ("any", b"c 3 30"))
    eventually(lambda: b"c 3 30" in reading.taken)
    assert set(reading.taken) >= {b"a 1 10", b"b 2 20", b"c 3 30"}
    reading.stop()


@pytest.mark.peer
@pytest.mark.slow
def test_a_connection_that_is_cut_is_made_again(rabbit: Rabbit, tmp_path: Path) -> None:
    broker = Broker(host="127.0.0.1", port=rabbit.port, queue="cut")
    reading = Reading(broker, tmp_path)
    eventually(lambda: consumers(rabbit, "cut") == 1)
    connection = rabbit.connect()
    connection.channel().queue_delete("cut")  # the broker cancels the consumer
    connection.close()
    eventually(lambda: consumers(rabbit, "cut") == 1)
    rabbit.publish(("a", b"1 10"))
    eventually(lambda: reading.taken == [b"a 1 10"])
    reading.stop()


def test_a_broker_that_hangs_up_is_asked_again_until_the_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        reading = Reading(Broker(host="127.0.0.1", port=server.getsockname()[1]), tmp_path)
        for _ in range(2):
            connection, _ = server.accept()
            connection.close()
        reading.stop()
