"""The relay over real sockets: destinations that die, crawl, encrypt, or are carbon-c-relay and carbon."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.relay_program import name_of
from tests.e2e.server import eventually

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing tells the peer at once, and throws away what is unread


class Relay:
    """A relay program."""

    def __init__(
        self,
        *ports: int,
        method: str = "consistent-hashing",
        form: str = "line",
        data: Path | None = None,
        authorities: Path | None = None,
        keep: dict[str, float] | None = None,
        host: str = "127.0.0.1",
        **limits: Any,
    ) -> None:
        asked = {
            "method": method, "form": form, "data": str(data) if data else None, "limits": limits,
            "keep": keep or {}, "authorities": str(authorities) if authorities else None,
            "destinations": [f"{host}:{port}:{i}" for i, port in enumerate(ports)],
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.relay_program", json.dumps(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, *words: object) -> Counter[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, self.process.communicate()[1]
        return Counter(json.loads(answer))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Sink:
    """A destination that keeps the lines that it is sent. It can die, and come back on its port."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None, slow: bool = False) -> None:
        self._tls, self._slow = tls, slow
        self.lines: list[bytes] = []  # whole ones
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = port
        self.come_back()

    def come_back(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        self._run(self._accept, self._listening)

    def die(self) -> None:
        """As a program that is killed: what it has not read is gone."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            connection.close()
        self._open.clear()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def _run(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:  # the peer did not like our certificate
                continue
            self._open.append(connection)
            self._run(self._read, connection)

    def _read(self, connection: socket.socket) -> None:
        rest = b""
        pause = threading.Event()
        while True:
            try:
                data = connection.recv(1000 if self._slow else 1 << 16)
            except (OSError, ValueError):
                return
            if not data:
                return
            if self._slow:
                pause.wait(0.002)
            *lines, rest = (rest + data).split(b"\n")
            self.lines += lines

    def numbers(self) -> Counter[int]:
        """How often each datapoint has come; its line must be right."""
        found: Counter[int] = Counter()
        for line in list(self.lines):
            name, value, timestamp = line.decode().split()
            number = int(timestamp)
            assert (name, float(value)) == (name_of(number), number / 8), line
            found[number] += 1
        return found


@contextmanager
def sinks(count: int, **options: Any) -> Iterator[list[Sink]]:
    made = [Sink(**options) for _ in range(count)]
    yield made
    for sink in made:
        sink.die()


def all_numbers(some: list[Sink]) -> Counter[int]:
    return sum((sink.numbers() for sink in some), Counter())


def test_every_datapoint_comes_once_to_one_of_three() -> None:
    with sinks(3) as three, Relay(*(sink.port for sink in three)) as relay:
        for first in range(0, 50_000, 5000):
            relay.ask("send", first, 5000)
        last = relay.ask("stop", 10)
        eventually(lambda: sum(len(sink.lines) for sink in three) >= 50_000)
        assert all_numbers(three) == Counter(range(50_000))
        assert (last["sent"], last["attemptedRelays"], last["resent"]) == (50_000, 50_000, 0)
        assert all(len(sink.lines) > 10_000 for sink in three)


@pytest.mark.parametrize("spooled", [False, True])
def test_a_destination_that_dies_and_comes_back_misses_nothing(tmp_path: Path, spooled: bool) -> None:
    data = tmp_path if spooled else None
    with sinks(1) as (sink,), Relay(sink.port, data=data, queue_max=1_000_000) as relay:
        first = 0
        for _ in range(4):
            eventually(lambda: relay.ask("stats")["connected"] == 1)
            for _ in range(5):
                relay.ask("send", first, 4000)
                first += 4000
            sink.die()  # some of it may lie in its system, unread
            relay.ask("send", first, 4000)
            first += 4000
            eventually(lambda: relay.ask("stats")["connected"] == 0)
            relay.ask("send", first, 4000)
            first += 4000
            sink.come_back()
        eventually(lambda: set(sink.numbers()) == set(range(first)), 30)
        last = relay.ask("stop", 10)
        assert last["fullQueueDrops"] == last["droppedAtStop"] == 0
        assert last["failures"] >= 4
        assert (last["spooled"] > 0) == spooled
        assert last["spoolBytes"] == 0 or spooled


def test_a_slow_destination_holds_back_who_sends_and_misses_nothing() -> None:
    with sinks(1, slow=True) as (sink,), Relay(sink.port, queue_max=5000) as relay:
        first = 0
        while relay.ask("stats")["full"] == 0:
            relay.ask("send", first, 1000)
            first += 1000
            assert first < 2_000_000
        sink._slow = False
        eventually(lambda: relay.ask("stats")["room"] == 1, 30)
        last = relay.ask("stop", 20)
        eventually(lambda: len(sink.lines) >= first)
        assert sink.numbers() == Counter(range(first))
        assert last["fullQueueDrops"] == 0
        assert last["queuedUntilReady"] > 0


def test_what_is_dropped_without_flow_control_is_counted() -> None:
    with sinks(1, slow=True) as (sink,), Relay(sink.port, queue_max=5000, flow_control=False) as relay:
        first = 0
        while relay.ask("stats")["fullQueueDrops"] < 20_000:
            relay.ask("send", first, 1000)
            first += 1000
        sink._slow = False
        last = relay.ask("stop", 20)
        eventually(lambda: len(sink.lines) >= first - last["fullQueueDrops"])
        assert len(sink.numbers()) == first - last["fullQueueDrops"]
        assert last["full"] == 1 or last["full"] == last["room"]


def test_what_is_spooled_survives_a_kill(tmp_path: Path) -> None:
    with sinks(1) as (sink,):
        sink.die()
        with Relay(sink.port, data=tmp_path) as relay:
            eventually(lambda: relay.ask("stats")["failures"] > 0)
            for first in range(0, 100_000, 5000):
                spooled = relay.ask("send", first, 5000)["spooled"]
            assert spooled == 100_000
            os.kill(relay.process.pid, signal.SIGKILL)
        sink.come_back()
        with Relay(sink.port, data=tmp_path, keep={"seconds": 0.5}) as relay:
            relay.ask("send", 100_000, 10)
            eventually(lambda: len(sink.lines) >= 100_010, 30)
            assert sink.numbers() == Counter(range(100_010))
            eventually(lambda: relay.ask("stats")["spoolBytes"] == 0, 30)


# --- TLS ---


def make_certificate(folder: Path, *hosts: str) -> Path:
    """A PEM file of a key and a certificate of these hosts, which is its own authority."""
    pytest.importorskip("OpenSSL")
    pytest.importorskip("service_identity")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(1)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts if host[0].isalpha()]
    names += [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts if host[0].isdigit()]
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{hosts[0]}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "localhost", "127.0.0.1")


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_over_tls_every_datapoint_comes(certificate: Path, host: str) -> None:
    with (
        sinks(1, tls=server_tls(certificate)) as (sink,),
        Relay(sink.port, authorities=certificate, host=host) as relay,
    ):
        for first in range(0, 50_000, 5000):
            relay.ask("send", first, 5000)
        last = relay.ask("stop", 10)
        eventually(lambda: len(sink.lines) >= 50_000)
        assert sink.numbers() == Counter(range(50_000))
        assert last["droppedAtStop"] == 0


def test_over_tls_a_destination_that_dies_and_comes_back_misses_nothing(certificate: Path) -> None:
    with (
        sinks(1, tls=server_tls(certificate)) as (sink,),
        Relay(sink.port, authorities=certificate, host="localhost") as relay,
    ):
        for first in range(0, 60_000, 6000):
            relay.ask("send", first, 6000)
            if first == 30_000:
                eventually(lambda: len(sink.lines) > 20_000)
                sink.die()
                eventually(lambda: relay.ask("stats")["connected"] == 0)
                sink.come_back()
        eventually(lambda: set(sink.numbers()) == set(range(60_000)), 20)


def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    of_another = make_certificate(tmp_path, "graphite.example.net")
    with (
        sinks(1, tls=server_tls(of_another)) as (sink,),
        Relay(sink.port, authorities=of_another, host="localhost") as relay,
    ):
        relay.ask("send", 0, 10)
        eventually(lambda: relay.ask("stats")["failures"] > 1)
        last = relay.ask("stop", 1)
        assert (sink.lines, last["connects"], last["droppedAtStop"]) == ([], 0, 10)


def test_a_certificate_of_an_unknown_authority_is_refused(certificate: Path, tmp_path: Path) -> None:
    known = make_certificate(tmp_path, "another", "localhost")
    with (
        sinks(1, tls=server_tls(certificate)) as (sink,),
        Relay(sink.port, authorities=known, host="localhost") as relay,
    ):
        relay.ask("send", 0, 10)
        eventually(lambda: relay.ask("stats")["failures"] > 1)
        assert (sink.lines, relay.ask("stats")["connects"]) == ([], 0)


# --- Graphite's own programs ---


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


@contextmanager
def carbon_c_relay(folder: Path, sink: Sink) -> Iterator[int]:
    port, config = free_port(), folder / "relay.conf"
    config.write_text(
        f"listen type linemode 127.0.0.1:{port} proto tcp;\n"
        f"cluster sink forward 127.0.0.1:{sink.port};\nmatch * send to sink stop;\n"
    )
    command = ["carbon-c-relay", "-f", str(config), "-s", "-q", "100000", "-H", "test"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("carbon-c-relay") is None, reason="carbon-c-relay is not installed")
def test_carbon_c_relay_takes_every_datapoint(tmp_path: Path) -> None:
    with sinks(1) as (sink,), carbon_c_relay(tmp_path, sink) as port, Relay(port) as relay:
        for first in range(0, 30_000, 3000):
            relay.ask("send", first, 3000)
        relay.ask("stop", 10)
        eventually(lambda: len(sink.lines) >= 30_000, 20)
        assert sink.numbers() == Counter(range(30_000))


_CARBON = """[relay]
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle}
RELAY_METHOD = consistent-hashing
DESTINATIONS = 127.0.0.1:{sink}:a
DESTINATION_PROTOCOL = line
MAX_QUEUE_SIZE = 1000000
CARBON_METRIC_INTERVAL = 0
"""


@contextmanager
def carbon_relay(folder: Path, python: Path, sink: Sink) -> Iterator[dict[str, int]]:
    """PyPI's carbon-relay between us and a sink: its ports by protocol."""
    ports = {"line": free_port(), "pickle": free_port()}
    (folder / "conf").mkdir()
    (folder / "conf/carbon.conf").write_text(_CARBON.format(sink=sink.port, **ports))
    (folder / "conf/storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1m:1d\n")
    command = [str(python), str(python.with_name("carbon-relay.py")), f"--config={folder}/conf/carbon.conf"]
    command += [f"--pidfile={folder}/pid", f"--logdir={folder}", "--nodaemon", "start"]
    running = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "GRAPHITE_ROOT": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield ports
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.peer
@pytest.mark.skipif(
    "PLUMBAGO_PEERS" not in os.environ, reason="PLUMBAGO_PEERS names no environment with carbon"
)
@pytest.mark.parametrize("form", ["line", "pickle"])
def test_carbon_takes_every_datapoint(tmp_path: Path, form: str) -> None:
    python = Path(os.environ["PLUMBAGO_PEERS"]) / "bin/python"
    with (
        sinks(1) as (sink,),
        carbon_relay(tmp_path, python, sink) as ports,
        Relay(ports[form], form=form) as relay,
    ):
        for first in range(0, 20_000, 2000):
            relay.ask("send", first, 2000)
        eventually(lambda: len(sink.lines) >= 20_000, 60)
        assert sink.numbers() == Counter(range(20_000))
