"""How many lines a second does one core read, from bytes to columns, when agents send in the same order?

The twin is the loop that one would write: split, float, int and a dict of names.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.lines import make_lines
from benchmarks.measure import Row, cpu_seconds
from benchmarks.workbench import STEP_S, Workbench, names, now_in_steps
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.stats import Stats
from storage.register import Moved

_PIECE = 1 << 16
_ROUNDS = 10


def rows(bench: Workbench) -> Iterator[Row]:
    now = now_in_steps()
    lines = make_lines(
        names(bench.size(100_000)), [now - STEP_S * ago for ago in range(_ROUNDS)], connections=1
    )
    data = lines.buffers[0]
    pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
    reader = LineReader(NameTable(_Numbered(), Stats()), Stats())

    def read() -> None:
        for piece in pieces:
            reader.feed(piece, now)

    part = data[: data.index(b"\n", len(data) // _ROUNDS) + 1]
    ids: dict[bytes, int] = {}
    yield Row(
        "kernel: lines of names known → columns",
        lines.points / cpu_seconds(read),
        "lines/CPU-s",
        "plain loop (split, float, dict)",
        part.count(b"\n") / cpu_seconds(lambda: plain(part, ids), runs=3),
        limit=5e6,
    )


class _Numbered:
    """Gives each name the next series: what the table needs of a store."""

    moves = 0

    def __init__(self) -> None:
        self._count = 0

    def moved(self, since: int) -> Moved:
        nothing = np.empty(0, np.int32)
        return Moved(nothing, nothing, 0)

    def why_refused(self, name: str) -> str:
        return ""

    def known(
        self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int32]:
        return np.full(len(starts), -1, np.int32)

    def series_of(
        self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int32]:
        self._count += len(starts)
        return np.arange(self._count - len(starts), self._count, dtype=np.int32)


def plain(data: bytes, ids: dict[bytes, int]) -> tuple[list[int], list[int], list[float]]:
    series, timestamps, values = [], [], []
    for line in data.splitlines():
        name, value, timestamp = line.split()
        series.append(ids.setdefault(name, len(ids)))
        values.append(float(value))
        timestamps.append(int(timestamp))
    return series, timestamps, values


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["kernel", *sys.argv[1:]]))
