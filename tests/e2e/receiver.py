"""A `plumbago receive` or `relay` of its own for a test, without the renderer; its admin port says what it counts."""

from __future__ import annotations

import pickle
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from storage.schema import Rules
from storage.store import Store

READY_S = 90.0  # the first start ever compiles the kernels
_PORT = re.compile(r"(\w+)=\S*:(\d+)")
_SAMPLE = re.compile(r"plumbago_(\S+?)(\{.*\})? (\S+)")


class Receiver:
    def __init__(self, folder: Path, *options: str, command: str = "receive", ports: str = "0") -> None:
        """`folder` has data, the config and the log; `ports`: the line port, if it is to be a certain one."""
        self.data, self.config, self.log = folder / "data", folder / "config", folder / "log"
        self.config.mkdir(parents=True, exist_ok=True)
        arguments = [command, "--data", str(self.data), "--config", str(self.config), "--line-port", ports]
        arguments += ["--pickle-port", "0", "--admin-port", "0", *options]
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "plumbago", *arguments],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], READY_S)[0], "no ready line in time"
        ready = self.process.stdout.readline()
        assert ready.startswith("plumbago ready "), self.log.read_text()[-2000:]
        self.ports = {name: int(port) for name, port in _PORT.findall(ready)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def send(self, *lines: str) -> None:
        with socket.create_connection(("127.0.0.1", self.ports["line"]), timeout=10) as connection:
            connection.sendall("".join(line + "\n" for line in lines).encode())

    def metrics(self) -> dict[str, float]:
        return metrics(self.ports["admin"])

    def total(self, family: str) -> float:
        """The sum over all labels."""
        return sum(value for name, value in self.metrics().items() if name.partition("{")[0] == family)

    def own_memory(self) -> int:
        """Bytes of anonymous memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0]) << 10

    def stored(self) -> dict[str, list[float]]:
        """The newest hour of every series, as another process reads it."""
        return stored(self.data, self.config)


def metrics(admin_port: int) -> dict[str, float]:
    """What /metrics says, by name and labels, without `plumbago_`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=20) as answer:
        found = map(_SAMPLE.match, answer.read().decode().splitlines())
    return {one[1] + (one[2] or ""): float(one[3]) for one in found if one}


def stored(data: Path, config: Path) -> dict[str, list[float]]:
    """The newest hour of every series of a store."""
    now = int(time.time())
    store = Store(data, Rules.load(config), writable=False)
    try:
        names, series = store.find_series("**")
        found: dict[str, list[float]] = {}
        for part in store.fetch(series, now - 3600, now + 60, now):
            for row, values in zip(part.positions.tolist(), part.values, strict=True):
                found[names[row]] = values[~np.isnan(values)].tolist()
        return found
    finally:
        store.close()


@contextmanager
def receivers(folder: Path, count: int) -> Iterator[Sequence[Receiver]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Receiver(folder / f"receiver{i}")) for i in range(count)]


def pickled(points: Sequence[tuple[str, tuple[int, float]]]) -> bytes:
    body = pickle.dumps(points, protocol=2)
    return struct.pack("!L", len(body)) + body
