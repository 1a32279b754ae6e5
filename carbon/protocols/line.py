"""The line protocol, sans-IO: `metric value timestamp\\n`, bytes in, columns out.

Blanks are spaces or tabs, any number of them; lines may end in \\r\\n; a timestamp of -1 is now. What cannot be
read is counted under its reason and skipped; a line that never ends is skipped to its newline in bounded memory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carbon import kernels
from carbon.kernels import REASONS, TIMESTAMP, Reject
from carbon.names import Ids, Integers, NameTable
from carbon.stats import Stats
from storage.naming import Fault

Floats = npt.NDArray[np.float64]

LINE_BYTES_MAX = 65_536  # carbon closes the connection at 16,384; VictoriaMetrics takes 256 KiB
_TOO_LONG = "line too long"
_SHORTEST = 6  # bytes of a line: "a 1 2\n"


class Batch(NamedTuple):
    """Columns of datapoints: name ids, epoch seconds, values."""

    ids: Ids
    timestamps: Integers
    values: Floats


class LineReader:
    """Reads one stream. `feed` may be called with any split of it."""

    def __init__(self, names: NameTable, stats: Stats, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._names, self._stats = names, stats
        self._line_bytes_max = line_bytes_max
        self._rest = b""
        self._skipping = False
        self._last = -1

    def feed(self, data: bytes, now: int) -> Batch | None:
        """The datapoints of the lines that `data` completes; None if there is none."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return None
            data, self._skipping = data[end + 1 :], False
        if self._rest:
            data = self._rest + data
        stop = data.rfind(b"\n") + 1
        self._rest = data[stop:]
        if len(self._rest) > self._line_bytes_max:
            self._stats.reject(_TOO_LONG, sample=self._rest[:200])
            self._rest, self._skipping = b"", True
        return self._read(data, stop, now) if stop else None

    def whole(self, data: bytes, now: int) -> Batch | None:
        """The datapoints of a datagram or a body, whose last line need not end."""
        return self._read(data + b"\n", len(data) + 1, now)

    def _read(self, data: bytes, stop: int, now: int) -> Batch | None:
        text = np.frombuffer(data, np.uint8)
        lines = min(int(np.count_nonzero(text[:stop] == kernels.NEWLINE)), stop // _SHORTEST + 1)
        names = self._names
        names.reserve(lines, stop)
        ids, timestamps = np.empty(lines, np.int32), np.empty(lines, np.int64)
        bits, odd = np.empty(lines, np.uint64), np.empty((2 * lines, 4), np.int64)
        rejected, samples = np.zeros(REASONS, np.int64), np.zeros((REASONS, 2), np.int64)
        table = names.interned
        n, strange, count, self._last = kernels.read_lines(
            text, stop, now, table.arrays, len(table), names.names_max, names.successor, self._last,
            ids, timestamps, bits, odd, rejected, samples,
        )  # fmt: skip
        table.commit(count)
        self._count_rejects(data, rejected, samples)
        batch = Batch(ids[:n], timestamps[:n], bits[:n].view(np.float64))
        if strange:
            batch = self._read_odd(data, batch, odd[:strange], now)
        return batch if len(batch.ids) else None

    def _count_rejects(self, data: bytes, rejected: Integers, samples: Integers) -> None:
        for reason in np.flatnonzero(rejected).tolist():
            words = Fault(reason).words if reason < len(Fault) else Reject(reason).words
            start, stop = samples[reason]
            self._stats.reject(words, int(rejected[reason]), sample=data[start:stop])

    def _read_odd(self, data: bytes, batch: Batch, odd: Integers, now: int) -> Batch:
        """Read the numbers that the kernel left to Python's float(); drop the lines whose are none."""
        good = np.ones(len(batch.ids), np.bool_)
        for at, field, start, stop in odd.tolist():
            reject, value = _number(data[start:stop], field)
            if reject is not Reject.NONE:
                if good[at]:
                    self._stats.reject(reject.words, sample=data[start:stop])
                good[at] = False
            elif field == TIMESTAMP:
                batch.timestamps[at] = now if value == -1 else math.floor(value)
            else:
                batch.values[at] = value
        return Batch(batch.ids[good], batch.timestamps[good], batch.values[good])


def _number(text: bytes, field: int) -> tuple[Reject, float]:
    try:
        value = float(text)
    except ValueError:
        return (Reject.TIMESTAMP if field == TIMESTAMP else Reject.VALUE), 0.0
    if field == TIMESTAMP:
        return (Reject.NONE, value) if abs(value) < 1e11 else (Reject.TIMESTAMP, 0.0)
    if math.isnan(value):
        return Reject.NAN, 0.0
    return (Reject.INFINITE, 0.0) if math.isinf(value) else (Reject.NONE, value)
