"""Senders that know no limit, by every protocol at once: each datapoint is stored or counted, memory stays bounded."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.receiver import Receiver, pickled
from tests.e2e.server import eventually

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

SENDING_S = 5.0
NAMES = 20_000
MEMORY_MAX = 400 << 20


class Sender:
    """Sends as fast as the socket takes it; knows how many datapoints it has sent, and how long it was held up."""

    def __init__(self, connect: Callable[[], socket.socket], bodies: list[bytes], each: int) -> None:
        self._connect, self._bodies, self._each = connect, bodies, each
        self.sent = 0
        self.longest_s = 0.0
        self.failed: OSError | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        over = time.monotonic() + SENDING_S
        try:
            with self._connect() as connection:
                while time.monotonic() < over:
                    for body in self._bodies:
                        began = time.monotonic()
                        connection.sendall(body)
                        self.longest_s = max(self.longest_s, time.monotonic() - began)
                        self.sent += self._each
        except OSError as error:
            self.failed = error


def tcp(port: int) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=60)


def udp(port: int) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect(("127.0.0.1", port))
        return made

    return connect


def line_bodies(prefix: str, now: int, each: int, count: int = NAMES) -> list[bytes]:
    """Every hundredth line is none, every hundredth other is too old, has a bad name or no number."""
    lines = [f"{prefix}.{i} {i} {now - i % 10}\n" for i in range(count)]
    for i in range(0, count, 100):
        lines[i] = f"{prefix}.{i} {i} {now} too many\n"
        lines[i + 1] = f"{prefix}.{i} 1 1000\n"
        lines[i + 2] = f"{prefix}..{i} 1 {now}\n"
        lines[i + 3] = f"{prefix}.{i} nan {now}\n"
    return ["".join(lines[at : at + each]).encode() for at in range(0, count, each)]


def test_under_overload_each_datapoint_is_stored_or_counted(tmp_path: Path) -> None:
    now = int(time.time())
    with Receiver(tmp_path) as receiver:
        ours = receiver.metrics()
        ports = receiver.ports
        points = [(f"p.{i}", (now - i % 10, float(i))) for i in range(NAMES)]
        frames = [pickled(points[at : at + 500]) for at in range(0, NAMES, 500)]
        streams = [
            Sender(tcp(ports["line"]), line_bodies("a", now, 1000), 1000),
            Sender(tcp(ports["line"]), line_bodies("b", now, 1000), 1000),
            Sender(tcp(ports["pickle"]), frames, 500),
        ]
        datagrams = Sender(udp(ports["udp"]), line_bodies("u", now, 20), 20)
        before, most = receiver.own_memory(), 0
        for sender in (*streams, datagrams):
            sender.thread.start()
        while any(sender.thread.is_alive() for sender in (*streams, datagrams)):
            most = max(most, receiver.own_memory())
            streams[0].thread.join(0.1)
            assert receiver.process.poll() is None
        assert [sender.failed for sender in (*streams, datagrams)] == [None] * 4

        sent = sum(sender.sent for sender in (*streams, datagrams))
        dropped = [0.0]

        def accounted() -> bool:
            told = {name: value - ours.get(name, 0.0) for name, value in receiver.metrics().items()}
            rejected = sum(value for name, value in told.items() if name.startswith("rejected_total"))
            dropped[0] = told["udp_kernel_drops_total"] * 20
            # the receiver's own report may come meanwhile
            own = told.get('received_datapoints_total{listener="self"}', 0.0)
            waiting = told["waiting_datapoints"]
            return sent + own == told["committed_datapoints_total"] + rejected + dropped[0] + waiting

        eventually(accounted, 30)
        by_streams = sum(sender.sent for sender in streams)
        assert by_streams > 500_000
        assert dropped[0] <= datagrams.sent
        assert most - before < MEMORY_MAX
        assert most < 2 * MEMORY_MAX
        # what TCP cannot deliver waits in the sender, so streams lose nothing
        told = receiver.metrics()
        received = sum(told[f'received_datapoints_total{{listener="{name}"}}'] for name in ("line", "pickle"))
        good = streams[2].sent + (streams[0].sent + streams[1].sent) * 97 // 100
        assert received == good
        assert receiver.stop() == 0
