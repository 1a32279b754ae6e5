"""A reader's end of the way to the writer: what was read waits in columns, is sent, and is kept until it was taken.

Few frames are under way at once; what is read meanwhile is joined, each sender's by itself, so that a writer that has
much to do gets fewer and larger batches. When too much waits, streams are held back: nothing of theirs is dropped. The
rest of the room is for datagrams, which cannot wait; what finds none is dropped and counted.

When the connection ends, what was not known to be taken is sent again on the next one. The writer may have stored it:
to store a datapoint once more does no harm.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from carbon.gates import Gates
from carbon.kernels import SAMPLE_BYTES
from carbon.names import Bytes, Ids, Integers, NameTable
from carbon.protocols.columns import (
    DATAPOINTS_MAX,
    Gauges,
    Refused,
    encode_batch,
    encode_gauges,
    encode_names,
    encode_rejects,
)
from carbon.protocols.reader import Batch, joined
from carbon.stats import Stats

QUEUE_BYTES = 16 << 20  # 800,000 datapoints
_STREAMS_SHARE = (
    4  # streams are held back at one part in so many: what a reader that is killed can lose of theirs
)
_UNDER_WAY_MAX = 4  # frames
_BATCH_BYTES = 512  # what a batch costs beside its values
_UNTOLD_MAX = 1_000  # kinds of refused datapoints that wait to be told
_UNSENT = -1
WAITING = "the writer does not keep up"  # why streams are held back
DROPPED = "no room while the writer does not keep up"


@dataclass
class ReaderStats(Stats):
    """Counters of a reader: what is refused is told to the writer, which counts and logs it."""

    untold: dict[tuple[str, str, str], Refused] = field(default_factory=dict)
    _told: Counter[str] = field(default_factory=Counter)  # of `rejected`

    def reject(
        self, reason: str, count: int = 1, *, sample: bytes | str = b"", source: str = "", listener: str = ""
    ) -> None:
        if count <= 0:
            return
        self.rejected[reason] += count
        kind = (listener, reason, source)
        if kind not in self.untold and len(self.untold) >= _UNTOLD_MAX:
            kind = ("", reason, "")
        text = sample.encode("utf-8", "replace") if isinstance(sample, str) else bytes(sample)
        before = self.untold.get(kind, Refused(*kind, text[:SAMPLE_BYTES], 0))
        self.untold[kind] = before._replace(datapoints=before.datapoints + count)

    def take_untold(self) -> list[Refused]:
        """What was refused since the last call; without a sample what was only counted."""
        found, self.untold = list(self.untold.values()), {}
        quiet = self.rejected - self._told
        for one in found:
            quiet[one.reason] -= one.datapoints
        self._told = self.rejected.copy()
        return found + [Refused("", reason, "", b"", count) for reason, count in quiet.items() if count > 0]


class _Sent(NamedTuple):
    """Datapoints that are under way, their ids our own table's."""

    batch: Batch
    listener: str
    source: str


class Forward:
    """The datapoints' end in a reader: what listeners need of an intake. `now` gives epoch seconds."""

    def __init__(
        self,
        names: NameTable,
        stats: ReaderStats,
        now: Callable[[], float],
        *,
        datagrams: Collection[str] = (),
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """`datagrams`: the listeners whose senders cannot be held back."""
        self.now, self.gates = now, Gates()
        self._names, self._stats = names, stats
        self._datagrams, self._queue_bytes = datagrams, queue_bytes
        self._waiting: dict[tuple[str, str], list[Batch]] = {}  # by listener and source, first come first
        self._under_way: deque[_Sent | bytes] = deque()  # bytes: a frame without datapoints
        self._size = 0  # bytes that wait or are under way
        self._write: Callable[[bytes], object] | None = None
        self._numbers: Ids = np.empty(0, np.int32)  # of each id on this connection
        self._numbered = 0
        self._gauges: Gauges | None = None  # as told on this connection

    @property
    def empty(self) -> bool:
        """Whether all is taken."""
        return not self._waiting and not self._under_way

    @property
    def datapoints(self) -> int:
        """How many are not known to be taken."""
        waiting = sum(len(batch.ids) for batches in self._waiting.values() for batch in batches)
        return waiting + sum(len(each.batch.ids) for each in self._under_way if isinstance(each, _Sent))

    # --- from listeners ---

    def accept(self, batch: Batch | None, listener: str, source: str = "") -> None:
        """Send a batch's datapoints, or have them wait."""
        if batch is None or not len(batch.ids):
            return
        size = _size(batch)
        if self._size + size > self._queue_bytes and listener in self._datagrams:
            self._stats.reject(DROPPED, len(batch.ids), listener=listener)
            return
        self._stats.received[listener] += len(batch.ids)
        self._waiting.setdefault((listener, source), []).append(_kept(batch))
        self._size += size
        if self._size >= self._queue_bytes // _STREAMS_SHARE:
            self.gates.hold(WAITING)
        self._send()

    def tell(self, gauges: Gauges) -> None:
        """Send what else there is to tell, unless what was told before is still under way."""
        if self._write is None or any(isinstance(each, bytes) for each in self._under_way):
            return
        frames = [encode_rejects(each) for each in self._stats.take_untold()]
        if gauges != self._gauges:
            self._gauges = gauges
            frames.append(encode_gauges(gauges))
        for frame in frames:
            self._under_way.append(frame)
            self._write(frame)

    # --- the connection ---

    def connected_to(self, write: Callable[[bytes], object]) -> None:
        """There is a connection: all that was not taken goes over it, names first."""
        self._write = write
        self._numbers, self._numbered, self._gauges = np.empty(0, np.int32), 0, None
        for each in self._under_way:
            self._put(each, write)
        self._send()

    def disconnected(self) -> None:
        self._write = None

    def taken(self, frames: int) -> None:
        """The writer has taken so many more."""
        for _ in range(min(frames, len(self._under_way))):
            each = self._under_way.popleft()
            if isinstance(each, _Sent):
                self._size -= _size(each.batch)
        if self._size <= self._queue_bytes // _STREAMS_SHARE // 2:
            self.gates.release(WAITING)
        self._send()

    def _send(self) -> None:
        """Fill the way with what waits, a sender at a time."""
        if self._write is None:
            return
        while self._waiting and len(self._under_way) < _UNDER_WAY_MAX:
            (listener, source), batches = next(iter(self._waiting.items()))
            del self._waiting[listener, source]
            batch = joined(batches)
            assert batch is not None
            self._size -= sum(map(_size, batches))
            for part in _parts(batch):
                sent = _Sent(part, listener, source)
                self._under_way.append(sent)
                self._size += _size(part)
                self._put(sent, self._write)

    def _put(self, each: _Sent | bytes, write: Callable[[bytes], object]) -> None:
        if isinstance(each, bytes):
            write(each)
            return
        batch, listener, source = each
        numbers, news = self._numbered_as(batch.ids)
        for frame in news:
            write(frame)
        write(encode_batch(batch._replace(ids=numbers), listener, source))

    # --- names ---

    def _numbered_as(self, ids: Ids) -> tuple[Ids, Iterator[bytes]]:
        """The names' numbers on the connection, and frames of those that are new there."""
        known = len(self._names.interned)
        if known > len(self._numbers):
            more = np.full(max(known * 3 // 2, 1024) - len(self._numbers), _UNSENT, np.int32)
            self._numbers = np.concatenate((self._numbers, more))
        numbers = self._numbers[ids]
        if numbers.min() != _UNSENT:
            return numbers, iter(())
        new = np.unique(ids[numbers == _UNSENT])
        first = self._numbered
        self._numbered += len(new)
        self._numbers[new] = np.arange(first, self._numbered, dtype=np.int32)
        return self._numbers[ids], encode_names(first, *self._texts(new))

    def _texts(self, ids: Ids) -> tuple[Bytes, Integers]:
        """The names end to end, and their lengths."""
        table = self._names.interned
        starts = table.offsets[ids]
        lengths = table.offsets[ids + 1] - starts
        places = np.cumsum(lengths) - lengths  # of each in the new text
        at = np.repeat(starts - places, lengths)
        at += np.arange(len(at))
        return table.blob[at], lengths


def _parts(batch: Batch) -> Iterator[Batch]:
    """The batch in batches that a frame may have."""
    for at in range(0, len(batch.ids), DATAPOINTS_MAX):
        some = slice(at, at + DATAPOINTS_MAX)
        yield Batch(batch.ids[some], batch.timestamps[some], batch.values[some])


def _kept(batch: Batch) -> Batch:
    """The batch, as it may be kept: a view of few rows would keep all the rows that its reader had room for."""
    room = getattr(batch.ids.base, "nbytes", 0)
    if room <= 2 * batch.ids.nbytes:
        return batch
    return Batch(batch.ids.copy(), batch.timestamps.copy(), batch.values.copy())


def _size(batch: Batch) -> int:
    return sum(column.nbytes for column in batch) + _BATCH_BYTES
