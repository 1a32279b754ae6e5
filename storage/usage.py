"""Which branches of the tree of names take the space: a ring file's bytes on the disk, shared out among its series."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from storage.events import FILE as EVENTS_FILE
from storage.format import SHARD_ROWS
from storage.register import Series
from storage.shard import Shard
from storage.store import Store

NO_SERIES = "(no series)"  # the files of shards whose series are all gone
EVENTS = "(events)"


class Branch(NamedTuple):
    path: str
    series: int
    bytes: float  # on the disk


def usage(store: Store, glob: str | None = None, depth: int | None = None) -> list[Branch]:
    """The branches of `depth` nodes, the largest first; None = one more than the glob's nodes.

    Without a glob they sum up to the ring files and the events. Tags do not count as nodes.
    """
    depth = depth or (0 if glob is None else glob.count(".") + 1) + 1
    names, series = _series(store, glob)
    each = _bytes_each(store)
    found: dict[str, tuple[int, float]] = {}
    for name, shard in zip(names, (series // SHARD_ROWS).tolist(), strict=True):
        parts = name.partition(";")[0].split(".")
        branch = ".".join(parts[:depth]) + ("." if len(parts) > depth else "")
        count, before = found.get(branch, (0, 0.0))
        found[branch] = count + 1, before + each[shard]
    branches = [Branch(path, count, size) for path, (count, size) in found.items()]
    rest = sum(_on_disk(shard) for shard in store.shards() if int(shard.folder.name) not in each)
    if glob is None and rest:
        branches.append(Branch(NO_SERIES, 0, rest))
    events = store.folder / EVENTS_FILE
    if glob is None and events.exists():
        branches.append(Branch(EVENTS, 0, _allocated(events)))
    return sorted(branches, key=lambda branch: (-branch.bytes, branch.path))


def _series(store: Store, glob: str | None) -> tuple[list[str], Series]:
    """All series, or those that match the glob and those below."""
    if glob is None:
        ids, series = store.living(0, store.seen)
        return store.names_of(ids), series
    (names, series), (below, under) = store.find_series(glob), store.find_series(f"{glob}.**")
    return names + below, np.concatenate((series, under))


def _bytes_each(store: Store) -> dict[int, float]:
    """Of each shard, by its number, a series' part of its files."""
    numbers, counts = np.unique(store.living(0, store.seen)[1] // SHARD_ROWS, return_counts=True)
    of_each = zip(numbers.tolist(), counts.tolist(), strict=True)
    return {number: _on_disk(store.shard_of(number * SHARD_ROWS)) / count for number, count in of_each}


def _on_disk(shard: Shard) -> int:
    return sum(_allocated(ring.path) for ring in shard.every_ring())


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512
