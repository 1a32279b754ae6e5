"""What do packed blocks cost and save: appending, reading, bytes on the disk?

A fleet's mix of series (kinds.py), a day of minutes, in two stores: one packs every block when it is sealed, which
is more than a server does (it packs what is a day old), the other none. Series are read in a server's order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import kinds
from benchmarks.measure import Row, pair_seconds
from benchmarks.peers import WHISPER
from benchmarks.workbench import STEP_S, Workbench, add_names, names, now_in_steps
from storage.store import Store

_MINUTES = 1440
_WHISPER_BYTES = 12
_TWIN = "not packed"


class Side(NamedTuple):
    points_a_cpu_s: float
    bytes_a_point: float
    store: Store  # to read from
    series: npt.NDArray[np.int32]
    now: int

    def read(self, some: npt.NDArray[np.int32]) -> None:
        self.store.fetch(some, self.now - _MINUTES * STEP_S, self.now, self.now)


def rows(bench: Workbench) -> Iterator[Row]:
    values = kinds.make_mix(bench.size(10_000), _MINUTES)
    packed, raw = (_side(bench.folder / f"pack-{after}", values, after) for after in (0, None))
    yield Row(
        "pack: append, seal, roll up",
        packed.points_a_cpu_s,
        "points/CPU-s",
        _TWIN,
        raw.points_a_cpu_s,
        times=0.8,
    )
    for count, runs in ((1, 1001), (len(values), 15)):
        some = packed.series[:count]
        ours, theirs = pair_seconds(partial(packed.read, some), partial(raw.read, some), runs=runs)
        what = "one series" if count == 1 else f"{count:,} series"
        yield Row(f"pack: fetch {what}, 24 h", count / ours, "series/s", _TWIN, count / theirs, times=0.5)
    yield Row("pack: on the disk", packed.bytes_a_point, "bytes/point", _TWIN, raw.bytes_a_point)
    whole = _WHISPER_BYTES * values.size / float((~np.isnan(values)).sum())
    yield Row("pack: on the disk", packed.bytes_a_point, "bytes/point", WHISPER, whole)
    packed.store.close()
    raw.store.close()


def _side(folder: Path, values: kinds.Matrix, pack_after: int | None) -> Side:
    """Written minute by minute; `bytes_a_point` is of sealed blocks, as heads are the same for both."""
    store = Store(folder, pack_after=pack_after)
    series = add_names(store, names(len(values)))
    now = now_in_steps()
    cpu = time.process_time()
    for i, column in enumerate(values.T):
        _minute(store, series, column, now - (_MINUTES - 1 - i) * STEP_S, now)
    cpu = time.process_time() - cpu
    ring = store.shard_of(int(series[0])).rings[0]
    heads = sum(2 * ring.geometry.unit_bytes for _ in range(ring.lanes))
    store.close()
    size = ring.path.stat().st_blocks * 512 - heads
    sealed = values[:, : _MINUTES // ring.geometry.block * ring.geometry.block]
    return Side(
        values.size / cpu,
        size / float((~np.isnan(sealed)).sum()),
        Store(folder, writable=False),
        series,
        now,
    )


def _minute(store: Store, series: npt.NDArray[np.int32], column: kinds.Matrix, at: int, now: int) -> None:
    known = ~np.isnan(column)
    store.append(series[known], np.full(int(known.sum()), at), column[known], now)
    if at // STEP_S % 4 == 0:
        store.roll_up()
        store.seal_ahead(16)
        store.sync()


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["pack", *sys.argv[1:]]))
