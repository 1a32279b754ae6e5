"""How many series a second are read, a day of minutes each: one alone, and ten thousand at once?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import whisper

from benchmarks.measure import Row, seconds
from benchmarks.peers import WHISPER
from benchmarks.workbench import Workbench, fill_store, fill_whisper, make_day
from storage.store import Store

_FILES = 200


def rows(bench: Workbench) -> Iterator[Row]:
    day = make_day(bench.size(10_000))
    fill_store(bench.folder / "fetch", day)
    files = fill_whisper(bench.folder / "fetch-whisper", day, _FILES)

    def read_files() -> list[list[float | None]]:
        return [whisper.fetch(str(file), day.start, day.now, now=day.now)[1] for file in files]

    store = Store(bench.folder / "fetch", writable=False)
    found = dict(zip(*store.find_series("*.*.*.requests.p99"), strict=True))
    series = np.array([found[name] for name in day.names], np.int32)

    def read(
        some: np.ndarray[tuple[int], np.dtype[np.int32]],
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        (part,) = store.fetch(some, day.start, day.now, day.now)
        return part.values

    np.testing.assert_array_equal(read(series[:_FILES]), np.array(read_files(), np.float64))
    theirs = _FILES / seconds(read_files, runs=3)
    one = 1 / seconds(lambda: read(series[:1]), runs=101)
    many = len(series) / seconds(lambda: read(series), runs=7)
    store.close()
    peer = f"{WHISPER} fetch, {_FILES} files"
    yield Row("fetch: one series, 24 h", one, "series/s", peer, theirs, times=10)
    yield Row(f"fetch: {len(series):,} series, 24 h", many, "series/s", peer, theirs, times=50)


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["fetch", *sys.argv[1:]]))
