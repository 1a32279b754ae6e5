"""`plumbago relay` as a process, before receivers of ours and carbon-c-relay, and behind it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.receiver import READY_S, Receiver, receivers
from tests.e2e.server import eventually
from tests.e2e.test_relay_peers import free_port

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

COUNT = 2000


def relay(
    folder: Path,
    *ports: int,
    protocol: str = "pickle",
    method: str = "consistent-hashing",
    replication: int = 1,
) -> Receiver:
    config = folder / "relay" / "config"
    config.mkdir(parents=True)
    destinations = ", ".join(f'"127.0.0.1:{port}:{chr(97 + i)}"' for i, port in enumerate(ports))
    (config / "plumbago.toml").write_text(
        f'[relay]\ndestinations = [{destinations}]\nmethod = "{method}"\nprotocol = "{protocol}"\n'
        f"replication = {replication}\ndiverse-replicas = false\n"
    )
    return Receiver(folder / "relay", command="relay")


def lines(first: int, count: int = COUNT) -> list[str]:
    now = int(time.time())
    return [f"relayed.n{i} {i} {now}" for i in range(first, first + count)]


def names_at(receiver: Receiver) -> set[str]:
    return {name for name in receiver.stored() if name.startswith("relayed.")}


def names(first: int, count: int = COUNT) -> set[str]:
    return {f"relayed.n{i}" for i in range(first, first + count)}


@pytest.mark.parametrize("replication", [1, 2])
def test_hashing_parts_or_doubles_names_between_two_receivers(tmp_path: Path, replication: int) -> None:
    with (
        receivers(tmp_path, 2) as two,
        relay(tmp_path, *(one.ports["pickle"] for one in two), replication=replication) as middle,
    ):
        middle.send(*lines(0))
        eventually(lambda: sum(len(names_at(one)) for one in two) == COUNT * replication, READY_S)
        first, second = map(names_at, two)
        assert first | second == names(0)
        assert len(first & second) == (COUNT if replication == 2 else 0)
        assert min(len(first), len(second)) > COUNT // 4
        told = middle.metrics()
        assert told["only_relayed_datapoints_total"] >= COUNT
        assert told["committed_datapoints_total"] == 0
        assert middle.stop() == 0


def test_a_destination_that_stops_and_comes_back_misses_nothing(tmp_path: Path) -> None:
    with (
        Receiver(tmp_path / "receiver") as receiver,
        relay(tmp_path, receiver.ports["line"], protocol="line", method="constant") as middle,
    ):
        middle.send(*lines(0))
        eventually(lambda: names_at(receiver) == names(0), 20)
        receiver.stop()
        middle.send(*lines(COUNT))
        eventually(lambda: middle.total("destination_spooled_total") >= COUNT, 20)
        middle.stop(signal.SIGKILL)
        port = str(receiver.ports["line"])
        with (
            Receiver(tmp_path / "receiver", ports=port) as again,
            Receiver(tmp_path / "relay", command="relay") as new,
        ):
            new.send(*lines(2 * COUNT))
            eventually(lambda: names_at(again) == names(0, 3 * COUNT), 30)


@contextmanager
def carbon_c_relay(folder: Path, to: int) -> Iterator[int]:
    port, config = free_port(), folder / "c-relay.conf"
    config.write_text(
        f"listen type linemode 127.0.0.1:{port} proto tcp;\n"
        f"cluster next forward 127.0.0.1:{to};\nmatch * send to next stop;\n"
    )
    command = ["carbon-c-relay", "-f", str(config), "-s", "-H", "test"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("carbon-c-relay") is None, reason="carbon-c-relay is not installed")
def test_between_carbon_c_relays_every_datapoint_comes_through(tmp_path: Path) -> None:
    with (
        Receiver(tmp_path / "receiver") as receiver,
        carbon_c_relay(tmp_path, receiver.ports["line"]) as behind,
        relay(tmp_path, behind, protocol="line", method="constant") as middle,
    ):
        (tmp_path / "before").mkdir()
        with carbon_c_relay(tmp_path / "before", middle.ports["line"]) as before:
            middle.ports["line"] = before
            eventually(lambda: _sent(middle), 10)
            eventually(lambda: names_at(receiver) == names(0), 30)


def _sent(receiver: Receiver) -> bool:
    """False while who is to listen has not begun."""
    try:
        receiver.send(*lines(0))
    except ConnectionRefusedError:
        return False
    return True
