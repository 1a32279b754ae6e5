"""What every protocol's reader is, sans-IO: bytes in, columns of datapoints out; what is refused is counted by reason.

A reader is made for one stream (a connection) and fed any split of it. Its kernel writes rows, a datapoint each, whose
names are spans of the text; the name table turns the spans into ids. What kernels leave aside is read in Python.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from carbon.errors import BadFrame
from carbon.kernels import LATEST, READ, REASONS, SAMPLE_BYTES, Reject, count_reject, count_rejects
from carbon.names import Bytes, Ids, Integers, NameTable
from carbon.stats import Stats
from storage.intern import lay

Floats = npt.NDArray[np.float64]

NUMBER_BYTES_MAX = 32  # of a number in a text; repr() of a float needs 24
BAD_MAX = 100_000  # items of a stream that are no datapoints, beyond those that are: then it is rubbish
TOO_MUCH_BAD = "too many bad items"
_ODD_BYTES_MIN = 6  # of a datapoint with a number in a text; where there may be more of them Python is asked
_AT_ONCE = 1024  # names of 4 KiB at most, or rows made Python's


class Batch(NamedTuple):
    """Columns of datapoints: name ids, epoch seconds, values."""

    ids: Ids
    timestamps: Integers
    values: Floats


class Reader(Protocol):
    """Reads one stream."""

    def feed(self, data: bytes, now: int) -> Batch | None:
        """The datapoints that `data`, which may end anywhere, completes; None if there is none.

        Raises BadFrame when the stream cannot go on; its `batch` has the datapoints of what came before.
        """
        ...


class Sampled(Protocol):
    """A class of readers, with the bytes of a datapoint."""

    sample: bytes

    def __call__(self, names: NameTable, stats: Stats) -> Reader: ...


def warm_up(reader: Sampled) -> None:
    """Have a reader's kernels compiled or loaded (after an update that is seconds), before a client waits for that."""
    stats = Stats()
    reader(NameTable(None, stats), stats).feed(reader.sample, 0)


class Rows(NamedTuple):
    """What a kernel writes: a row a datapoint, its name a span of the text; and what it refused."""

    starts: Integers
    stops: Integers
    timestamps: Integers
    values: Floats
    rejected: Integers  # (reasons,) counts
    samples: Integers  # (reasons, 2: start, stop) of a name
    odd: Integers  # (n, 3: row, state of the timestamp, of the value): numbers for Python to read, see kernels.add_row
    strange: Integers  # (1,) how many of them


def rows_for(size: int, *, odd_bytes_min: int = _ODD_BYTES_MIN) -> Rows:
    """Room for the rows of a text of `size` bytes, two a row; pages that are never written take no memory."""
    most = size // 2 + 1
    return Rows(
        np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float64),
        np.zeros(REASONS, np.int64), np.zeros((REASONS, 2), np.int64),
        np.empty((size // odd_bytes_min + 1, 3), np.int64), np.zeros(1, np.int64),
    )  # fmt: skip


def missing(data: bytes, at: int) -> int:
    """How many bytes a frame of a 4-byte big-endian length lacks at least, that begins at `at` and is not whole."""
    if len(data) < at + 4:
        return at + 4 - len(data)
    return at + 4 + int.from_bytes(data[at : at + 4], "big") - len(data)


class FrameReader(ABC):
    """A stream of frames, or of objects, that must be whole to be read: keeps the one that is not."""

    sample: bytes

    def __init__(self, names: NameTable, stats: Stats) -> None:
        self._names, self._stats = names, stats
        self._rest = bytearray()
        self._wanted = 0  # bytes of `_rest` below which looking at it again is useless
        self._broken: str | None = None
        self._bad = 0  # items that were none, less those that were good since

    def feed(self, data: bytes, now: int) -> Batch | None:
        """As Reader says; after a BadFrame every later call raises it again."""
        if self._broken is not None:
            raise BadFrame(self._broken)
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return None
            data = bytes(self._rest)
        batches: list[Batch] = []
        try:
            at, missing = self._read(data, now, batches)
        except BadFrame as bad:
            self._broken, self._rest = bad.reason, bytearray()
            bad.batch = joined(batches)
            raise
        self._rest = bytearray(data[at:])
        self._wanted = len(self._rest) + missing
        return joined(batches)

    @abstractmethod
    def _read(self, data: bytes, now: int, batches: list[Batch]) -> tuple[int, int]:
        """Add what the whole frames hold; gives (where the one that is not whole begins, at least how many bytes it
        lacks). Raises BadFrame.
        """

    def _gather(self, text: Bytes, rows: Rows, n: int, now: int, batches: list[Batch]) -> None:
        """Add the first n rows, whose names are in the text, count what the kernel refused, and empty the rows."""
        count_rejects(self._stats, text, rows.rejected, rows.samples)
        self._bad = max(0, self._bad + int(rows.rejected.sum()) - n)
        rows.rejected[:] = 0
        if self._bad > BAD_MAX:
            raise BadFrame(TOO_MUCH_BAD)
        which: slice | npt.NDArray[np.intp] = slice(n)
        if rows.strange[0]:
            which = self._read_odd(text, rows, n, now)
        starts = rows.starts[which]
        if len(starts):
            ids = self._names.ids_of_spans(text, starts, rows.stops[which])
            # copies: the rows are written again, and keep the memory of all that there could have been
            _add(batches, ids, rows.timestamps[which].copy(), rows.values[which].copy())

    def _read_odd(self, text: Bytes, rows: Rows, n: int, now: int) -> npt.NDArray[np.intp]:
        """Read the numbers that the kernel left to Python's float(); gives which of n rows are datapoints."""
        good, data = np.ones(n, np.bool_), text.data
        refused: Counter[Reject] = Counter()
        odd = rows.odd[: rows.strange[0]]
        rows.strange[0] = 0
        for at in range(0, len(odd), _AT_ONCE):
            for row, when_state, value_state in odd[at : at + _AT_ONCE].tolist():
                when = 0.0 if when_state == READ else number(_span(data, when_state))
                value = float(rows.values[row]) if value_state == READ else number(_span(data, value_state))
                reason = fault_of(when, value)
                if reason is not Reject.NONE or when is None:
                    good[row] = False
                    refused[reason] += 1
                    continue
                rows.values[row] = value
                if when_state != READ:
                    rows.timestamps[row] = now if when == -1 else math.floor(when)
        if refused:
            first = int(np.argmin(good))
            name = data[rows.starts[first] : rows.stops[first]][:SAMPLE_BYTES]
            for reason, count in refused.items():
                count_reject(self._stats, reason, count, bytes(name))
        return np.flatnonzero(good)

    def _take(self, items: Iterable[object], now: int, batches: list[Batch]) -> None:
        """Add the datapoints of Python objects; count the items that are none."""
        names: list[bytes] = []
        numbers: list[tuple[float, float]] = []
        for item in items:
            found = datapoint(item)
            if isinstance(found, Reject):
                count_reject(self._stats, found, 1, _name_of(item))
                continue
            names.append(found[0])
            numbers.append(found[1:])
        whens, values = np.array(numbers, np.float64).reshape(-1, 2).T
        self._add_named(names, whens, values.copy(), now, batches)

    def _add_named(
        self, names: Sequence[bytes], whens: Floats, values: Floats, now: int, batches: list[Batch]
    ) -> None:
        """Add datapoints whose numbers are known to be good; a timestamp of -1 is now."""
        timestamps = np.where(whens == -1, now, np.floor(whens)).astype(np.int64)
        for at in range(0, len(names), _AT_ONCE):
            some = slice(at, at + _AT_ONCE)
            _add(batches, self._names.ids_of_spans(*lay(names[some])), timestamps[some], values[some])


def _add(batches: list[Batch], ids: Ids, timestamps: Integers, values: Floats) -> None:
    good = ids >= 0
    if not good.all():
        ids, timestamps, values = ids[good], timestamps[good], values[good]
    if len(ids):
        batches.append(Batch(ids, timestamps, values))


def _span(data: memoryview, state: int) -> bytes:
    return bytes(data[state >> 32 : state & 0xFFFFFFFF])


def joined(batches: Sequence[Batch]) -> Batch | None:
    """The batches as one, in their order; None if there is no datapoint."""
    if len(batches) <= 1:
        return batches[0] if batches else None
    return Batch(*(np.concatenate(columns) for columns in zip(*batches, strict=True)))


# --- items as Python objects: a name (bytes) and two numbers, as carbon takes them ---

_SEQUENCES = frozenset([list, tuple])


def datapoint(item: Any) -> tuple[bytes, float, float] | Reject:
    """An item's name, timestamp and value, or why it is no datapoint; looks no deeper.

    Inner lists are as good as tuples; numbers may be texts (statsd and Dropwizard send '12.00').
    """
    if type(item) not in _SEQUENCES or len(item) != 2:
        return Reject.ITEM
    name, point = item
    if type(point) not in _SEQUENCES or len(point) != 2:
        return Reject.ITEM
    if type(name) is not bytes or not name:
        return Reject.NAME
    timestamp, value = number(point[0]), number(point[1])
    reason = fault_of(timestamp, value)
    if reason is not Reject.NONE or timestamp is None or value is None:
        return reason
    return name, timestamp, value


def fault_of(timestamp: float | None, value: float | None) -> Reject:
    """Why two numbers, None where there is none, are no timestamp and value; NONE if they are."""
    if timestamp is None or not abs(timestamp) < LATEST:
        return Reject.TIMESTAMP
    if value is None:
        return Reject.VALUE
    if math.isfinite(value):
        return Reject.NONE
    return Reject.NAN if math.isnan(value) else Reject.INFINITE


def number(thing: object) -> float | None:
    """A number, or the number that a text says; None if it is neither."""
    if isinstance(thing, (float, int)):
        return float(thing)
    if not isinstance(thing, bytes) or len(thing) > NUMBER_BYTES_MAX:
        return None
    try:
        return float(thing)
    except ValueError:
        return None


def _name_of(item: Any) -> bytes:
    """What to show of an item that was refused: nothing else of it has a bound."""
    first = item[0] if type(item) in _SEQUENCES and item else b""
    return first[:SAMPLE_BYTES] if isinstance(first, bytes) else b""
