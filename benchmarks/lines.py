"""Metric lines, and what it takes a receiver to take them in."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import NamedTuple, Protocol

from benchmarks.workbench import STEP_S

_TAKEN_S = 600.0
_POLL_S = 0.02
_SAMPLE = 200  # names whose newest datapoint says that all have come


class Lines(NamedTuple):
    """Metric lines ready to be sent: a buffer a connection, in agents' order."""

    buffers: list[bytes]
    points: int
    last: int  # the timestamp of the last round
    values: list[float]  # of each name in the last round


def make_lines(
    paths: list[str], timestamps: list[int], *, connections: int = 4, shuffled: bool = False
) -> Lines:
    """A line for each name and timestamp; each connection has names of its own, `shuffled`: in any order each round."""
    share = -(-len(paths) // connections)
    parts = [[path.encode() for path in paths[at : at + share]] for at in range(0, len(paths), share)]
    chance = random.Random(1) if shuffled else None
    buffers = [b"".join(_round(part, timestamp, chance) for timestamp in timestamps) for part in parts]
    last = [value for part in parts for value in islice(cycle(_values(timestamps[-1])), len(part))]
    return Lines(buffers, len(paths) * len(timestamps), timestamps[-1], last)


def _round(paths: list[bytes], timestamp: int, chance: random.Random | None = None) -> bytes:
    tails = [f" {value} {timestamp}\n".encode() for value in _values(timestamp)]
    lines = [path + tail for path, tail in zip(paths, cycle(tails), strict=False)]
    if chance is not None:
        chance.shuffle(lines)
    return b"".join(lines)


def _values(timestamp: int) -> list[float]:
    return [(i * 37 + timestamp // STEP_S) % 1000 / 8 for i in range(1000)]


class Receiver(Protocol):
    """What takes lines in: a Server or the peers' CarbonCache."""

    line_port: int
    pickle_port: int

    def has(self, names: list[str], timestamp: int, values: list[float]) -> bool: ...
    def settle(self, names: list[str]) -> None: ...
    def cpu_s(self) -> float: ...


class Taken(NamedTuple):
    """What it took to take lines in."""

    points: int
    wall_s: float  # until the last were queryable
    cpu_s: float  # until all work was done

    @property
    def per_s(self) -> float:
        return self.points / self.wall_s

    @property
    def cpu_s_a_million(self) -> float:
        return self.cpu_s / self.points * 1e6


def take(
    receiver: Receiver, names: list[str], lines: Lines, *, port: int | None = None, piece: int = 1 << 16
) -> Taken:
    """Send lines over as many connections as there are buffers, in writes of `piece` bytes, until a sample of the last
    is queryable.
    """
    some = sorted({*range(0, len(names), max(1, len(names) // _SAMPLE)), len(names) - 1})
    wanted = [names[i] for i in some], lines.last, [lines.values[i] for i in some]
    cpu, started = receiver.cpu_s(), time.perf_counter()
    with _sending(port or receiver.line_port, lines.buffers, piece):
        _wait_until(lambda: receiver.has(*wanted))
        wall = time.perf_counter() - started
    receiver.settle(names)
    return Taken(lines.points, wall, receiver.cpu_s() - cpu)


@contextlib.contextmanager
def _sending(port: int, buffers: list[bytes], piece: int) -> Iterator[None]:
    def send(buffer: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for at in range(0, len(buffer), piece):
                connection.sendall(buffer[at : at + piece])

    threads = [threading.Thread(target=send, args=(buffer,), daemon=True) for buffer in buffers]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def _wait_until(true: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + _TAKEN_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all datapoints were queryable after {_TAKEN_S:.0f} s")
        time.sleep(_POLL_S)
