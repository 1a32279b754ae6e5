"""What was written to a connection and may not have arrived: it is sent again when the connection is lost (pure).

TCP says how much of the stream the peer's system has not acknowledged yet. What it has acknowledged lies in the peer's
memory, where its program may die before it reads it; so the last of that is kept for a while, too. Sent twice does a
store no harm: the same value falls into the same slot. An aggregator would count it twice: it is given a `keep` of
nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from carbon.relay.encode import Chunk
from carbon.relay.spool import Place


class Sent(NamedTuple):
    chunk: Chunk
    place: Place | None  # in the spool that it came from; None = it came as it happened
    end: int  # bytes of the stream up to and with it
    at: float  # when it was written, in seconds


@dataclass(frozen=True)
class Keep:
    """How much of what is acknowledged is kept: the last bytes, if they were written within so many seconds."""

    last_bytes: int = (
        1 << 20
    )  # a peer that keeps up has a few KiB unread; Linux lets at most 6 MiB wait there
    seconds: float = 10.0


class Window:
    """The chunks of one connection, oldest first."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._sent: deque[Sent] = deque()
        self.written = self.acknowledged = 0  # bytes of the stream
        self.largest = 0  # bytes of the largest chunk yet

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def nbytes(self) -> int:
        """Bytes of the stream since the oldest that is kept."""
        return self.written - (self._sent[0].end - len(self._sent[0].chunk.data)) if self._sent else 0

    @property
    def arrived(self) -> bool:
        """Whether all that was written is acknowledged."""
        return self.acknowledged >= self.written

    def add(self, chunk: Chunk, place: Place | None, now: float) -> None:
        """A chunk that is about to be written."""
        self.written += len(chunk.data)
        self.largest = max(self.largest, len(chunk.data))
        self._sent.append(Sent(chunk, place, self.written, now))

    def settle(self, waiting: int, now: float) -> Place | None:
        """At most `waiting` bytes are not acknowledged: forget what need not be kept.

        Gives the last place in the spool of what was forgotten, None = there was none.
        """
        self.acknowledged = max(self.acknowledged, self.written - waiting)
        place = None
        while self._sent and self._may_go(self._sent[0], now):
            place = self._sent.popleft().place or place
        return place

    def _may_go(self, sent: Sent, now: float) -> bool:
        if sent.end > self.acknowledged:
            return False
        return sent.end <= self.acknowledged - self._keep.last_bytes or sent.at <= now - self._keep.seconds

    def take(self) -> list[Sent]:
        """All that must be sent again; the window is that of a new connection then."""
        sent, self._sent = list(self._sent), deque()
        self.written = self.acknowledged = 0
        return sent

    def take_unacknowledged(self) -> list[Sent]:
        """Only what is surely not known to have arrived; the window is empty then."""
        acknowledged = self.acknowledged
        return [sent for sent in self.take() if sent.end > acknowledged]
