"""serve --receivers: readers before one writer, as processes. Whoever of them is killed, what was sent comes out."""

from __future__ import annotations

import gzip
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority, client_context
from tests.e2e.receiver import metrics, pickled, stored
from tests.e2e.server import Server, eventually

pytestmark = pytest.mark.timeout(180)

SENDING_S = 3.0
NAMES = 2_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "data", "--receivers", "2")
    yield running
    running.stop()


def children(server: Server, command: str) -> list[int]:
    """The processes that run a command."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(server.process.pid)], capture_output=True, text=True
    )
    found = (line.split(None, 1) for line in listing.stdout.splitlines())
    return [int(pid) for pid, arguments in found if f"plumbago {command} " in arguments]


class Sender:
    """Sends rounds of lines, the values and one name its number, and connects again when it must; knows when it sent
    each."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server, self._prefix = server, prefix
        self.rounds: list[float] = []  # when each was sent
        self.connections = 0
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over:
            try:
                with socket.create_connection(("127.0.0.1", self._server.line), timeout=30) as connection:
                    self.connections += 1
                    while not self._over:
                        connection.sendall(self._round(len(self.rounds) + 1))
                        self.rounds.append(time.monotonic())
            except ConnectionError:
                continue

    def _round(self, value: int) -> bytes:
        now = int(time.time())
        lines = "".join(f"{self._prefix}.{i} {value} {now}\n" for i in range(NAMES))
        return f"{lines}{self._prefix}.round{value} 1 {now}\n".encode()

    def lost(self, found: Collection[str], since: float, until: float) -> list[int]:
        """The rounds that were sent in that time and are not found."""
        sent = (number for number, at in enumerate(self.rounds, 1) if since <= at <= until)
        return [number for number in sent if f"{self._prefix}.round{number}" not in found]

    def end(self) -> None:
        self._over = True
        self._thread.join(60)
        assert not self._thread.is_alive()


def wait_for_another(server: Server, command: str, killed: list[int]) -> None:
    count = {"receive": 1, "read": 2}[command]

    def is_back() -> bool:
        running = children(server, command)
        return len(running) == count and not set(killed) & set(running)

    eventually(is_back, 30)


def wait_for_rounds(senders: list[Sender]) -> None:
    """Until each has sent more."""
    before = [len(sender.rounds) for sender in senders]
    eventually(lambda: all(len(one.rounds) > n for one, n in zip(senders, before, strict=True)), 30)


def test_every_protocol_comes_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("server")
    (tmp_path / "plumbago.toml").write_text(
        f'receivers = 2\n[listener.secure]\nport = 0\ntls-certificate = "{pair.certificate}"\n'
        f'tls-key = "{pair.key}"\n'
    )
    server = Server(tmp_path / "data", "--config", str(tmp_path))
    try:
        assert len(children(server, "read")) == 2
        now = int(time.time())
        server.send(f"r.line 1 {now}\nbad\n".encode())
        server.send(gzip.compress(f"r.gzip 2 {now}\n".encode()))
        server.send_udp(f"r.udp 4 {now}".encode())
        server.send(pickled([("r.pickle", (now, 8.0))]), server.pickle)
        context = client_context(authority.certificate)
        plain = socket.create_connection(("127.0.0.1", server.ports["secure"]), timeout=5)
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(f"r.tls 16 {now}\n".encode())
            eventually(lambda: len(server.values("r.*")) == 5)
        assert server.values("sumSeries(r.*)") == {"sumSeries(r.*)": [31.0]}

        def told() -> bool:
            found = metrics(server.ports["admin"])
            reasons = {name for name in found if "not three fields" in name}
            return bool(reasons) and found['received_datapoints_total{listener="secure"}'] == 1

        eventually(told)
    finally:
        server.stop()


def test_connections_are_spread_over_the_readers(server: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", server.line)) for _ in range(20)]
    eventually(lambda: metrics(server.ports["admin"])["connections"] == 20)
    counts = [len(os.listdir(f"/proc/{pid}/fd")) for pid in children(server, "read")]
    assert abs(counts[0] - counts[1]) <= 8
    for each in held:
        each.close()
    eventually(lambda: metrics(server.ports["admin"])["connections"] == 0)


def test_sigterm_loses_nothing_that_was_sent(tmp_path: Path) -> None:
    server, now = Server(tmp_path / "data", "--receivers", "2"), int(time.time())
    server.send("".join(f"m.{i:05} {i} {now}\n" for i in range(10_000)).encode())
    status, seconds, errors = server.stop()
    assert (status, errors) == (0, "")
    assert seconds < 2.5
    found = stored(tmp_path / "data", tmp_path)
    assert sum(name.startswith("m.") for name in found) == 10_000


def test_a_killed_writer_costs_nothing_and_no_connection(server: Server, tmp_path: Path) -> None:
    senders = [Sender(server, f"w{i}") for i in range(2)]
    eventually(lambda: all(sender.rounds for sender in senders))
    for _ in range(2):
        (writer,) = children(server, "receive")
        os.kill(writer, signal.SIGKILL)
        wait_for_another(server, "receive", [writer])
        wait_for_rounds(senders)
    for sender in senders:
        sender.end()
    assert [sender.connections for sender in senders] == [1, 1]

    def all_there() -> bool:
        found = stored(tmp_path / "data", tmp_path)
        last = [found.get(f"w{i}.{n}", [0.0])[-1] for i in range(2) for n in range(NAMES)]
        lost = [sender.lost(found, 0, math.inf) for sender in senders]
        return lost == [[], []] and last == [
            float(len(sender.rounds)) for sender in senders for _ in range(NAMES)
        ]

    eventually(all_there, 30)


def test_a_killed_reader_costs_less_than_the_last_second(server: Server, tmp_path: Path) -> None:
    senders = [Sender(server, f"k{i}") for i in range(4)]
    eventually(lambda: all(s.rounds and time.monotonic() - s.rounds[0] > 2.5 for s in senders))
    killed, at = children(server, "read")[0], time.monotonic()
    os.kill(killed, signal.SIGKILL)
    wait_for_another(server, "read", [killed])
    back = time.monotonic()
    wait_for_rounds(senders)
    for sender in senders:
        sender.end()
    assert len(senders) < sum(sender.connections for sender in senders) < 2 * len(senders)

    def all_there() -> bool:
        found = stored(tmp_path / "data", tmp_path)
        return not any(s.lost(found, 0, at - 1) or s.lost(found, back, math.inf) for s in senders)

    eventually(all_there, 30)


def test_what_was_sent_is_stored_or_rejected(server: Server) -> None:
    before = metrics(server.ports["admin"])
    now = int(time.time())
    lines = [f"o.{i} {i} {now - i % 10}\n" for i in range(20_000)]
    for i in range(0, len(lines), 100):
        lines[i] = f"o.{i} {i} {now} too many\n"
        lines[i + 1] = f"o.{i} 1 1000\n"
        lines[i + 2] = f"o..{i} 1 {now}\n"
        lines[i + 3] = f"o.{i} nan {now}\n"
    body = "".join(lines).encode()
    sent = [0] * 4

    def send(which: int) -> None:
        over = time.monotonic() + SENDING_S
        with socket.create_connection(("127.0.0.1", server.line), timeout=30) as connection:
            while time.monotonic() < over:
                connection.sendall(body)
                sent[which] += len(lines)

    threads = [threading.Thread(target=send, args=(i,), daemon=True) for i in range(len(sent))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    def accounted() -> bool:
        told = {name: n - before.get(name, 0.0) for name, n in metrics(server.ports["admin"]).items()}
        rejected = sum(n for name, n in told.items() if name.startswith("rejected_total"))
        own = told.get('received_datapoints_total{listener="self"}', 0.0)
        return sum(sent) + own == told["committed_datapoints_total"] + rejected

    assert sum(sent) > 100_000
    eventually(accounted, 30)


def test_rules_are_the_writers(tmp_path: Path) -> None:
    (tmp_path / "blacklist.conf").write_text("\\.debug\\.\n")
    (tmp_path / "rewrite-rules.conf").write_text("[pre]\n^old\\. = app.\n")
    (tmp_path / "aggregation-rules.conf").write_text("total.<what> (1) = sum app.*.<what>\n")
    server = Server(tmp_path / "data", "--config", str(tmp_path), "--receivers", "1")
    try:
        now = int(time.time())
        names = ["app.web1.hits", "old.web2.hits", "app.debug.hits"]
        server.send("".join(f"{name} 3 {now}\n" for name in names).encode())
        eventually(lambda: len(server.values("app.*.hits")) == 2)
        eventually(lambda: server.values("total.hits").get("total.hits"), 15)
        assert server.values("app.debug.*") == {}
    finally:
        server.stop()


def test_receive_alone_says_whose_option_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plumbago", "receive", "--receivers", "2", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--receivers is for `plumbago serve`" in done.stderr
