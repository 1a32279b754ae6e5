"""The line protocol, sans-IO: `metric value timestamp\\n`, bytes in, columns out.

Blanks are spaces or tabs, any number of them; lines may end in \\r\\n; a timestamp of -1, or none at all, is now. What
cannot be read is counted under its reason and skipped; a line that never ends is skipped to its newline in bounded
memory. Numbers are what Python's float() takes (1e3, 1_000; not 0x10), as in carbon; unlike carbon no line closes the
connection, an infinite value is refused, and so is a timestamp that must be milliseconds.
"""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

from carbon import kernels
from carbon.errors import BadFrame
from carbon.kernels import LATEST, REASONS, SAMPLE_BYTES, TIMESTAMP, Reject, count_reject, count_rejects
from carbon.names import Integers, NameTable
from carbon.protocols.reader import Batch
from carbon.stats import Stats

LINE_BYTES_MAX = 65_536  # carbon closes the connection at 16,384; VictoriaMetrics takes 256 KiB
_HTTP = re.compile(rb"[A-Z]{3,10} [^\n]{1,9000} HTTP/1\.[01]\r?\n")  # how a browser would send a page's lines
_OF_HTTP = "a request of HTTP"
_TOO_LONG = "line too long"
_SHORTEST = 4  # bytes of a line: "a 1\n"
_UNASKED = np.empty((0, 3), np.int64)


class Refusals:
    """What was refused of one body: counts by reason, and the first lines as (start, stop, reason)."""

    def __init__(self, lines_max: int) -> None:
        self.lines_max = lines_max
        self.counts: Counter[str] = Counter()
        self.lines: list[tuple[int, int, str]] = []

    def add(self, start: int, stop: int, reason: int) -> None:
        self.lines.append((start, stop, kernels.words(reason)))


class LineReader:
    """Reads one stream. `feed` may be called with any split of it."""

    sample = b"a 1 1\n"

    def __init__(self, names: NameTable, stats: Stats, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._names, self._stats = names, stats
        self._line_bytes_max = line_bytes_max
        self._rest = b""
        self._skipping = self._begun = False
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
        if not self._begun and b"\n" in data:
            self._begun = True
            if _HTTP.match(data):
                raise BadFrame(_OF_HTTP)
        stop = data.rfind(b"\n") + 1
        self._rest = data[stop:]
        if len(self._rest) > self._line_bytes_max:
            self._stats.reject(_TOO_LONG, sample=self._rest[:200])
            self._rest, self._skipping = b"", True
        return self._read(data, stop, now) if stop else None

    def whole(self, data: bytes, now: int, refusals: Refusals | None = None) -> Batch | None:
        """The datapoints of a datagram or a body, whose last line need not end."""
        return self._read(data + b"\n", len(data) + 1, now, refusals)

    def _read(self, data: bytes, stop: int, now: int, refusals: Refusals | None = None) -> Batch | None:
        text = np.frombuffer(data, np.uint8)
        lines = min(int(np.count_nonzero(text[:stop] == kernels.NEWLINE)), stop // _SHORTEST + 1)
        names = self._names
        names.reserve(lines, stop)
        ids, timestamps = np.empty(lines, np.int32), np.empty(lines, np.int64)
        bits, odd = np.empty(lines, np.uint64), np.empty((2 * lines, 4), np.int64)
        rejected, samples = np.zeros(REASONS, np.int64), np.zeros((REASONS, 2), np.int64)
        bad = _UNASKED if refusals is None else np.zeros((refusals.lines_max, 3), np.int64)
        table = names.interned
        n, strange, count, self._last = kernels.read_lines(
            text, stop, now, table.arrays, len(table), names.names_max, names.successor, self._last,
            ids, timestamps, bits, odd, rejected, samples, bad,
        )  # fmt: skip
        table.commit(count)
        count_rejects(self._stats, text, rejected, samples)
        if refusals is not None:
            _note(refusals, rejected, bad)
        batch = Batch(ids[:n], timestamps[:n], bits[:n].view(np.float64))
        if strange:
            batch = self._read_odd(data, batch, odd[:strange], now, refusals)
        return batch if len(batch.ids) else None

    def _read_odd(
        self, data: bytes, batch: Batch, odd: Integers, now: int, refusals: Refusals | None
    ) -> Batch:
        """Read the numbers that the kernel left to Python's float(); drop the lines whose are none."""
        good = np.ones(len(batch.ids), np.bool_)
        for at, field, start, stop in odd.tolist():
            reject, value = _number(data[start:stop], field)
            if reject is not Reject.NONE:
                if good[at]:
                    count_reject(self._stats, reject, 1, data[start : min(stop, start + SAMPLE_BYTES)])
                    if refusals is not None:
                        refusals.counts[reject.words] += 1
                        refusals.add(data.rfind(b"\n", 0, start) + 1, data.find(b"\n", start), reject)
                good[at] = False
            elif field == TIMESTAMP:
                batch.timestamps[at] = now if value == -1 else math.floor(value)
            else:
                batch.values[at] = value
        return Batch(batch.ids[good], batch.timestamps[good], batch.values[good])


def _note(refusals: Refusals, rejected: Integers, bad: Integers) -> None:
    for reason in np.flatnonzero(rejected).tolist():
        refusals.counts[kernels.words(reason)] += int(rejected[reason])
    for reason, start, stop in bad[bad[:, 0] > 0].tolist():
        refusals.add(start, stop, reason)


def _number(text: bytes, field: int) -> tuple[Reject, float]:
    try:
        value = float(text)
    except ValueError:
        return (Reject.TIMESTAMP if field == TIMESTAMP else Reject.VALUE), 0.0
    if field == TIMESTAMP:
        return (Reject.NONE, value) if abs(value) < LATEST else (Reject.TIMESTAMP, 0.0)
    if math.isnan(value):
        return Reject.NAN, 0.0
    return (Reject.INFINITE, 0.0) if math.isinf(value) else (Reject.NONE, value)
