"""How fast, and for how much CPU, are metric lines relayed to three destinations by consistent hashing?

100,000 names that are known, 20 rounds of them over four TCP connections, to three sinks on loopback that count lines.
The same to carbon-c-relay (Debian) with carbon_ch and to carbon-relay (PyPI), which is given fewer. Time runs until the
last line is in a sink, CPU is the relay's own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from benchmarks.lines import Lines, Taken, make_lines
from benchmarks.measure import Row
from benchmarks.peers import ROOT
from benchmarks.workbench import STEP_S, Workbench, names, now_in_steps

_C_RELAY = "carbon-c-relay 3"
_CARBON = "carbon-relay 1.1.10"
_SINKS = 3
_START_S = 180.0
_TAKEN_S = 600.0


def rows(bench: Workbench) -> Iterator[Row]:
    size, peers_size = (bench.size(100_000), 20), (bench.size(10_000), 10)
    folder = bench.folder / "relay"
    folder.mkdir()
    ours = _relayed(_ours, *size)
    c_relay = (
        _relayed(lambda ports: _c_relay(folder, ports), *size) if shutil.which("carbon-c-relay") else None
    )
    python = bench.peers.python
    carbon = _relayed(lambda ports: _carbon_relay(python, folder, ports), *peers_size) if python else None
    smaller = f"{_CARBON}, {peers_size[0]:,} × {peers_size[1]}"
    what = "relay: names known, to three"
    for peer, theirs in ((_C_RELAY, c_relay), (smaller, carbon)):
        yield Row(what, ours.per_s, "points/s", peer, theirs and theirs.per_s)
        yield Row(what, ours.cpu_s_a_million, "CPU-s a million", peer, theirs and theirs.cpu_s_a_million)


class Sinks:
    """Three destinations that count lines."""

    def __init__(self, opened: ExitStack) -> None:
        listening = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(_SINKS)]
        self.ports = [each.getsockname()[1] for each in listening]
        self._counts = [0] * _SINKS
        for number, each in enumerate(listening):
            threading.Thread(target=self._accept, args=(number, each), daemon=True).start()

    @property
    def count(self) -> int:
        return sum(self._counts)

    def _accept(self, number: int, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            while data := connection.recv(1 << 20):
                self._counts[number] += data.count(b"\n")


class Relaying:
    """A relay's process and the port that it takes lines on."""

    def __init__(self, process: psutil.Popen, port: int) -> None:
        self.process, self.port = process, port

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


def _relayed(start: Callable[[list[int]], Relaying], series: int, rounds: int) -> Taken:
    paths = names(series)
    with ExitStack() as opened:
        sinks = Sinks(opened)
        relay = start(sinks.ports)
        opened.callback(relay.process.wait, 30)
        opened.callback(relay.process.terminate)
        times = [now_in_steps() - STEP_S * ago for ago in range(rounds, -1, -1)]
        _send(relay, sinks, make_lines(paths, times[:1]))
        lines = make_lines(paths, times[1:])
        cpu, started = relay.cpu_s(), time.perf_counter()
        _send(relay, sinks, lines)
        return Taken(lines.points, time.perf_counter() - started, relay.cpu_s() - cpu)


def _send(relay: Relaying, sinks: Sinks, lines: Lines) -> None:
    """Send lines, until all are in the sinks; raises TimeoutError."""
    wanted = sinks.count + lines.points
    with _connections(relay.port, len(lines.buffers)) as connections:
        threads = [
            threading.Thread(target=connection.sendall, args=(buffer,))
            for connection, buffer in zip(connections, lines.buffers, strict=True)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _TAKEN_S
        while sinks.count < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted - sinks.count} lines were not relayed after {_TAKEN_S:.0f} s")
            time.sleep(0.005)
        for thread in threads:
            thread.join()


@contextmanager
def _connections(port: int, how_many: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_TAKEN_S))
            for _ in range(how_many)
        ]


# --- relays ---


def _ours(ports: list[int]) -> Relaying:
    command = [sys.executable, "-m", "benchmarks.relay_process", *map(str, ports)]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return Relaying(process, int(process.stdout.readline()))


def _c_relay(folder: Path, ports: list[int]) -> Relaying:
    port, config = _free_port(), folder / "c-relay.conf"
    nodes = " ".join(f"127.0.0.1:{port}={chr(97 + i)}" for i, port in enumerate(ports))
    config.write_text(
        f"listen type linemode 127.0.0.1:{port} proto tcp;\n"
        f"cluster three carbon_ch replication 1 {nodes};\nmatch * send to three stop;\n"
    )
    # with the usual queue it drops what does not fit
    command = ["carbon-c-relay", "-f", str(config), "-s", "-q", "4000000", "-H", "bench"]
    return _when_up(command, port)


_CONFIG = """[relay]
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_PORT = 0
RELAY_METHOD = consistent-hashing
DESTINATIONS = {destinations}
DESTINATION_PROTOCOL = line
MAX_QUEUE_SIZE = 10000000
MAX_DATAPOINTS_PER_MESSAGE = 500
CARBON_METRIC_INTERVAL = 0
LOG_LISTENER_CONN_SUCCESS = False
"""


def _carbon_relay(python: Path, folder: Path, ports: list[int]) -> Relaying:
    port, conf = _free_port(), folder / "conf"
    conf.mkdir()
    destinations = ", ".join(f"127.0.0.1:{port}:{chr(97 + i)}" for i, port in enumerate(ports))
    (conf / "carbon.conf").write_text(_CONFIG.format(line=port, destinations=destinations))
    (conf / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1m:1d\n")
    command = [str(python), str(python.with_name("carbon-relay.py")), f"--config={conf}/carbon.conf"]
    command += [f"--pidfile={folder}/pid", f"--logdir={folder}", "--nodaemon", "start"]
    return _when_up(command, port, environment={**os.environ, "GRAPHITE_ROOT": str(folder)})


def _when_up(command: list[str], port: int, *, environment: dict[str, str] | None = None) -> Relaying:
    process = psutil.Popen(
        command, cwd="/", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return Relaying(process, port)
        except ConnectionRefusedError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"{command[0]} did not start (status {process.wait()})")


def _free_port() -> int:
    """A port that was free a moment ago: the peers take numbers only."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])
