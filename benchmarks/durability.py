"""What does it cost never to lose a datapoint: bytes written to the device, and the time to start after a kill?

Bytes are those that the kernel counts for the processes (/proc/PID/io). Each round of datapoints is synced, and what
carbon-cache leaves to the kernel written, before the next: as it is when agents send once a minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from benchmarks.lines import Receiver, make_lines, take
from benchmarks.measure import Row, device_bytes
from benchmarks.peers import CARBON
from benchmarks.server import Server
from benchmarks.workbench import STEP_S, Workbench, add_names, names, now_in_steps, store_of_names
from storage.store import Store

_ROUNDS = 20
_SYNC_S = 0.3
_IDLE_TICKS = 200


class Writing(Receiver, Protocol):
    def written(self) -> int: ...


def rows(bench: Workbench) -> Iterator[Row]:
    yield _device(bench)
    yield _recovery(bench)
    yield Row(
        "durability: an idle store writes", _idle(bench.folder / "idle"), "bytes", "nothing", None, limit=0
    )


def _device(bench: Workbench) -> Row:
    paths = names(bench.size(50_000))
    with Server(bench.folder / "device", "--sync", str(_SYNC_S), "--no-collect-host") as server:
        ours = _bytes_a_point(server, paths)
    theirs, fewer = None, names(bench.size(2_000))
    cache = bench.peers.carbon_cache(bench.folder / "device-carbon")
    if cache is not None:
        with cache:
            theirs = _bytes_a_point(cache, fewer)
    peer = f"{CARBON}, {len(fewer):,} names"
    return Row("durability: written to the device", ours, "bytes/point", peer, theirs, times=20)


def _bytes_a_point(receiver: Writing, paths: list[str]) -> float:
    """After a first round, which makes series or files."""
    first = now_in_steps() - _ROUNDS * STEP_S
    _round(receiver, paths, first)
    before = receiver.written()
    for i in range(1, _ROUNDS + 1):
        _round(receiver, paths, first + i * STEP_S)
    return (receiver.written() - before) / (len(paths) * _ROUNDS)


def _round(receiver: Writing, paths: list[str], timestamp: int) -> None:
    take(receiver, paths, make_lines(paths, [timestamp]))
    time.sleep(2 * _SYNC_S)
    os.sync()  # in a minute the kernel would have written all that carbon leaves to it


def _recovery(bench: Workbench) -> Row:
    folder, paths = store_of_names(bench)
    server = Server(folder, "--no-collect-host")
    take(server, paths, make_lines(paths, [now_in_steps() - STEP_S, now_in_steps()]))
    server.kill()
    started = time.perf_counter()
    with Server(folder, "--no-collect-host") as again:
        ready = time.perf_counter() - started
        some = paths[:: max(1, len(paths) // 1000)]
        if not again.has(
            some, now_in_steps(), make_lines(paths, [now_in_steps()]).values[:: len(paths) // len(some)]
        ):
            raise AssertionError("datapoints that were queryable before the kill are not there")
    return Row(f"durability: {len(paths):,} series, ready after SIGKILL", ready, "s", "10 s", None, limit=10)


def _idle(folder: Path) -> float:
    """Bytes of a store that does all that a receiver does between datapoints, and gets none."""
    store = Store(folder, durable=True)
    add_names(store, names(1000))
    store.sync()
    before = device_bytes()
    for _ in range(_IDLE_TICKS):
        store.roll_up()
        store.seal_ahead(16)
        store.pack_some(int(time.time()), 16)
        store.sync()
    written = device_bytes() - before
    store.close()
    return float(written)


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["durability", *sys.argv[1:]]))
