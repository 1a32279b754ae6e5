"""What does it cost to keep a datapoint: CPU until it lies in both archives, and bytes written to the device?

A minute's datapoints of all series at a time. Once rolled up every fourth time and synced at the end, as when
much comes together; and once *live*, each minute rolled up and synced before the next, as a host with time to
spare does it: a page that is touched again is then written again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import whisper

from benchmarks.measure import Row, device_bytes
from benchmarks.peers import WHISPER
from benchmarks.workbench import RETENTION, STEP_S, Workbench, add_names, make_whisper, names, now_in_steps
from storage.store import Store

_TOGETHER = 4  # rounds between two rollups
_BLOCKS = 240  # rounds after which seals happen at their usual rate
_FILES = 20


class Side(NamedTuple):
    """A store or a tree of whisper files; `write` adds a datapoint of every series for each of the rounds."""

    write: Callable[[range], None]
    files: list[Path]
    series: int


class Cost(NamedTuple):
    points_a_cpu_s: float
    bytes_a_point: float


def rows(bench: Workbench) -> Iterator[Row]:
    first = now_in_steps() - 1000 * STEP_S
    store = Store(bench.folder / "storage")
    ours = _ours(store, names(bench.size(20_000)), first)
    cost(ours, range(_BLOCKS))
    burst = cost(ours, range(_BLOCKS, _BLOCKS + 400))
    live = cost(ours, range(_BLOCKS + 400, _BLOCKS + 520), live=True)
    store.close()
    twin = _whisper(bench.folder / "storage-whisper", first)
    cost(twin, range(_TOGETHER))
    twin_burst = cost(twin, range(_TOGETHER, _TOGETHER + 100))
    twin_live = cost(twin, range(_TOGETHER + 100, _TOGETHER + 130), live=True)

    peer = f"{WHISPER} update_many, {_FILES} files"
    yield Row(
        f"storage: append, seal, roll up ({RETENTION})", burst.points_a_cpu_s, "points/CPU-s", peer,
        twin_burst.points_a_cpu_s, limit=5e6,
    )  # fmt: skip
    what = "storage: written to the device"
    yield Row(what, burst.bytes_a_point, "bytes/point", peer, twin_burst.bytes_a_point, limit=24)
    yield Row(f"{what}, live", live.bytes_a_point, "bytes/point", peer, twin_live.bytes_a_point)


def _ours(store: Store, paths: list[str], first: int) -> Side:
    series = add_names(store, paths)
    values = np.random.default_rng(42).random((_TOGETHER, len(series)))
    now = now_in_steps()

    def write(rounds: range) -> None:
        for i in rounds:
            timestamps = np.full(len(series), first + i * STEP_S)
            store.append(series, timestamps, values[i % _TOGETHER], now)
        store.roll_up()

    rings = [ring.path for shard in store.shards() for ring in shard.rings]
    return Side(write, rings, len(series))


def _whisper(folder: Path, first: int) -> Side:
    files = [make_whisper(folder, name) for name in names(_FILES)]
    now = now_in_steps()

    def write(rounds: range) -> None:
        for file in files:
            whisper.update_many(str(file), [(first + i * STEP_S, i / 8) for i in rounds], now=now)

    return Side(write, files, len(files))


def cost(side: Side, rounds: range, *, live: bool = False) -> Cost:
    """Syncing is in the bytes but not in the CPU time."""
    sync(side.files)
    cpu, before = 0.0, device_bytes()
    together = 1 if live else _TOGETHER
    for at in range(rounds.start, rounds.stop, together):
        started = time.process_time()
        side.write(range(at, at + together))
        cpu += time.process_time() - started
        if live:
            sync(side.files)
    sync(side.files)
    points = len(rounds) * side.series
    return Cost(points / cpu, (device_bytes() - before) / points)


def sync(files: list[Path]) -> None:
    for file in files:
        opened = os.open(file, os.O_RDWR)
        os.fdatasync(opened)
        os.close(opened)


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["storage", *sys.argv[1:]]))
