"""A destination's client: a bounded queue in front of a connection that comes back, and a spool beside it.

Where a chunk goes, when it is offered:

connected                             the queue, and from there the connection as fast as that takes it
not connected (a try has failed)      the spool
the queue is full                     the spool
no spool, or it refuses               the queue up to its hard limit, with `on_full` called (flow control): who offers
                                      is to hold back until `on_room`; or dropped and counted, without flow control
the queue is beyond its hard limit    dropped and counted

Live chunks go before spooled ones, which fill what is left up to a rate. So an old datapoint may come after a new one
of its name; those that came live stay in their order.

What is delivered. TCP has no receipt: when a connection is lost, all that the peer's system has not acknowledged is
sent again, and the last of what it has (see window.py); so are chunks from the spool whose arrival is not known. A
datapoint may arrive twice, and is counted as sent once. Lost, and not countable, is what a peer's program dies with
when more than `Keep` says lay unread in its system. Everything else that does not go out is counted: fullQueueDrops,
droppedAtStop. What is in the queue of a relay that is killed is lost; what is in its spool is not.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from carbon.relay.connection import Clock, Connect, ConnectionFactory, Link
from carbon.relay.destination import Destination
from carbon.relay.encode import Chunk
from carbon.relay.spool import Place, Spool
from carbon.relay.window import Keep, Window

_log = logging.getLogger(__name__)

TICK_S = 0.1


@dataclass(frozen=True)
class Limits:
    """Of one destination."""

    queue_max: int = 200_000  # datapoints, some 12 MB; carbon: 10,000, carbon-c-relay: 25,000
    low_share: float = 0.8  # of that: there is room again; carbon's QUEUE_LOW_WATERMARK_PCT
    hard_share: float = 1.25  # of that: dropped in any case; carbon's MAX_QUEUE_SIZE_HARD_PCT
    flow_control: bool = True  # carbon's USE_FLOW_CONTROL
    retry_first_s: float = 0.5
    retry_max_s: float = 10.0  # carbon: 5
    jitter: float = 0.2  # of each pause, so that relays do not come back together
    steady_s: float = 5.0  # a connection that held so long is a good one
    stalled_s: float = 60.0  # nothing was taken, though something waits: reset; carbon-c-relay: 0.6 s
    spool_bytes_s: float = 8e6  # sent from the spool beside what comes live: 150,000 datapoints a second
    keep: Keep = field(default_factory=Keep)


@dataclass
class Counters:
    """Since the start. The first are carbon's; datapoints unless said otherwise."""

    attempted: int = 0  # offered to the destination
    sent: int = 0
    batches: int = 0  # chunks written
    queue_max: int = 0  # the longest queue since it was asked for
    full_drops: int = 0
    until_ready: int = 0  # offered while the connection took nothing
    until_connected: int = 0  # offered while there was no connection
    slow_resets: int = 0  # connections
    spooled: int = 0
    unspooled: int = 0  # sent from the spool
    resent: int = 0  # written again, as a connection was lost
    dropped_at_stop: int = 0
    connects: int = 0
    failures: int = 0  # tries to connect, connections lost


def _nothing() -> None:
    pass


@dataclass(eq=False)
class Client:
    """One destination's. `on_full` and `on_room` alternate; `uniform` gives random numbers from 0 to 1."""

    destination: Destination
    connect: Connect
    clock: Clock
    limits: Limits = Limits()  # frozen
    spool: Spool | None = None
    on_full: Callable[[], None] = _nothing
    on_room: Callable[[], None] = _nothing
    uniform: Callable[[], float] = random.random
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.queued = 0  # datapoints
        self.full = False
        self._queue: deque[Chunk] = deque()
        self._window = Window(self.limits.keep)
        self._connection: Link | None = None
        self._down = False  # since a try has failed
        self._pause_s = self.limits.retry_first_s
        self._since = self._moved = self.clock.seconds()  # connected; something was taken
        self._settled_at = 0  # bytes written, when it was last looked at
        self._credit = 0.0  # bytes of the spool that may go now
        self._attempt: Deferred[Any] | None = None
        self._retry: Any = None
        clock: Any = self.clock
        self._tick = LoopingCall(self._guarded_tick)
        self._tick.clock = clock
        self._stopping: Deferred[None] | None = None
        self._deadline = 0.0
        self._ended = False

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def settled(self) -> bool:
        """Whether nothing waits here: all that was offered was dropped, spooled, or is known to have arrived."""
        return not self._queue and self._window.arrived

    def start(self) -> None:
        self._tick.start(TICK_S, now=False)
        self._try()

    # --- in ---

    def offer(self, chunk: Chunk, *, urgent: bool = False) -> bool:
        """Have a chunk sent; False = it was dropped, and counted.

        `urgent`: before all others, even if the queue is full, as a relay's own counters should be; up to twice the
        hard limit.
        """
        counters = self.counters
        counters.attempted += chunk.points
        if self._ended:
            counters.dropped_at_stop += chunk.points
            return False
        if self._connection is None:
            counters.until_connected += chunk.points
        elif self._connection.paused:
            counters.until_ready += chunk.points
        if not (self._take_first(chunk) if urgent else self._take(chunk)):
            counters.full_drops += chunk.points
            return False
        self._flush()
        return True

    def _take(self, chunk: Chunk) -> bool:
        """Put a chunk where it belongs (see above); False = nowhere."""
        too_much = self.queued + chunk.points > self.limits.queue_max and self.queued > 0
        if (too_much or self._down) and self._spool(chunk):
            return True
        if too_much:
            self._set_full()
            if not self.limits.flow_control or self.queued >= self.limits.queue_max * self.limits.hard_share:
                return False
        self._queue.append(chunk)
        self._queued(chunk.points)
        return True

    def _take_first(self, chunk: Chunk) -> bool:
        if self._down and self._spool(chunk):
            return True
        if self.queued >= 2 * self.limits.queue_max * self.limits.hard_share:
            return False
        self._put_first([chunk])
        return True

    def _spool(self, chunk: Chunk) -> bool:
        if self.spool is None or not self.spool.append(chunk):
            return False
        self.counters.spooled += chunk.points
        return True

    def _put_first(self, chunks: list[Chunk]) -> None:
        self._queue.extendleft(reversed(chunks))
        self._queued(sum(chunk.points for chunk in chunks))

    def _queued(self, more: int) -> None:
        self.queued += more
        self.counters.queue_max = max(self.counters.queue_max, self.queued)

    def _set_full(self) -> None:
        if not self.full:
            self.full = True
            _log.warning("%s: %d datapoints wait, the queue is full", self.destination.text, self.queued)
            self.on_full()

    def _see_room(self) -> None:
        if self.full and self.queued <= self.limits.queue_max * self.limits.low_share:
            self.full = False
            _log.info("%s: the queue has room again", self.destination.text)
            self.on_room()

    # --- out ---

    def _flush(self) -> None:
        """Write until the connection has enough: live chunks, then spooled ones."""
        connection = self._connection
        if connection is None:
            return
        while self._queue and not connection.paused:
            chunk = self._queue.popleft()
            self.queued -= chunk.points
            self._write(connection, chunk, None)
        if self.spool is not None and self._stopping is None:
            self._flush_spool(connection, self.spool)
        if self._window.nbytes > 2 * self.limits.keep.last_bytes + 4 * self._window.largest:
            self._settle()
        self._see_room()

    def _flush_spool(self, connection: Link, spool: Spool) -> None:
        while self._credit > 0 and not connection.paused:
            found = spool.next()
            if found is None:
                return
            chunk, place = found
            self._credit -= len(chunk.data)
            self.counters.unspooled += chunk.points
            self._write(connection, chunk, place)

    def _write(self, connection: Link, chunk: Chunk, place: Place | None) -> None:
        self._window.add(chunk, place, self.clock.seconds())
        self.counters.sent += chunk.points
        self.counters.batches += 1
        connection.write(chunk.data)

    def _settle(self) -> None:
        """Forget what has arrived."""
        connection = self._connection
        if connection is None:
            return
        before = self._window.acknowledged
        window = self._window
        quiet, self._settled_at = self._settled_at == window.written, window.written
        waiting = connection.waiting(window.written, window.largest, quiet=quiet)
        place = self._window.settle(waiting, self.clock.seconds())
        if place is not None and self.spool is not None:
            self.spool.done(place)
        if self._window.acknowledged > before or self._window.arrived:
            self._moved = self.clock.seconds()

    def _guarded_tick(self) -> None:
        try:
            self._do_tick()
        except Exception:
            _log.exception("%s: a tick failed; the next one comes", self.destination.text)

    def _do_tick(self) -> None:
        now, limits = self.clock.seconds(), self.limits
        self._credit = min(self._credit + limits.spool_bytes_s * TICK_S, limits.spool_bytes_s)
        self._settle()
        if self._connection is not None:
            if now - self._since >= limits.steady_s:
                self._pause_s = limits.retry_first_s
            if now - self._moved >= limits.stalled_s:
                self._reset()
        self._flush()
        if self._stopping is not None:
            self._try_to_end()

    def _reset(self) -> None:
        """The peer has taken nothing for too long: try another connection."""
        _log.warning(
            "%s took nothing for %.0f s: connecting anew", self.destination.text, self.limits.stalled_s
        )
        self.counters.slow_resets += 1
        self._moved = self.clock.seconds()
        if self._connection is not None:
            self._connection.abort()

    # --- a connection comes and goes: an Owner ---

    def _try(self) -> None:
        self._retry = None
        self._attempt = self.connect(ConnectionFactory(self, self.clock))
        self._attempt.addErrback(self._failed)

    def made(self, connection: Link) -> None:
        """Connected, with the handshake done if there is one."""
        self._connection, self._down = connection, False
        self._since = self._moved = self.clock.seconds()
        self._settled_at = 0
        self.counters.connects += 1
        _log.info("%s: connected", self.destination.text)
        self._flush()

    def ready(self) -> None:
        """The connection takes more."""
        self._moved = self.clock.seconds()
        self._flush()

    def lost(self, connection: Link, why: str) -> None:
        """Have all sent again that may not have arrived."""
        if self._ended:
            return
        if connection is not self._connection:  # it never was: no handshake
            self._not_made(why)
            return
        self._window.settle(self._window.written - self._window.acknowledged, self.clock.seconds())
        sent = self._window.take() if self._stopping is None else self._window.take_unacknowledged()
        self._connection = None
        again = [one.chunk for one in sent if one.place is None]
        self.counters.resent += sum(one.chunk.points for one in sent)
        self._put_first(again)
        if self.spool is not None:
            self.spool.rewind()
        _log.warning("%s: connection lost (%s)", self.destination.text, why)
        self._wait()

    def _failed(self, failure: Failure) -> None:
        self._not_made(failure.getErrorMessage())

    def _not_made(self, why: str) -> None:
        if not self._ended:
            level = logging.DEBUG if self._down else logging.WARNING
            _log.log(level, "%s: no connection (%s)", self.destination.text, why)
            self._wait()

    def _wait(self) -> None:
        """There is no connection: spool what waits, and try again after a while."""
        self.counters.failures += 1
        self._down = True
        self._spool_queue()
        self._see_room()
        if self._stopping is not None:
            self._try_to_end()
            return
        pause = self._pause_s * (1 + self.limits.jitter * (2 * self.uniform() - 1))
        self._pause_s = min(self._pause_s * 2, self.limits.retry_max_s)
        self._retry = self.clock.callLater(pause, self._try)

    def _spool_queue(self) -> None:
        while self._queue and self._spool(self._queue[0]):
            self.queued -= self._queue.popleft().points

    # --- what is known of it ---

    def totals(self) -> dict[str, int]:
        """Counters since the start, by carbon's names and, below them, by ours."""
        counters, spool = self.counters, self.spool
        return {
            "attemptedRelays": counters.attempted,
            "sent": counters.sent,
            "batchesSent": counters.batches,
            "fullQueueDrops": counters.full_drops,
            "queuedUntilReady": counters.until_ready,
            "queuedUntilConnected": counters.until_connected,
            "slowConnectionReset": counters.slow_resets,
            "resent": counters.resent,
            "spooled": counters.spooled,
            "unspooled": counters.unspooled,
            "spoolRefused": spool.refused.total() if spool is not None else 0,
            "spoolDamaged": spool.damaged.total() if spool is not None else 0,
            "droppedAtStop": counters.dropped_at_stop,
            "connects": counters.connects,
            "failures": counters.failures,
        }

    def gauges(self) -> dict[str, int]:
        """As it is now; the longest queue is that since it was asked for."""
        longest, self.counters.queue_max = self.counters.queue_max, self.queued
        return {
            "relayMaxQueueLength": longest,
            "queueLength": self.queued,
            "spoolBytes": self.spool.nbytes if self.spool is not None else 0,
            "connected": int(self.connected),
        }

    # --- the end ---

    def stop(self, within_s: float) -> Deferred[None]:
        """Send what waits until it has arrived, for so many seconds at most; spool the rest, or drop and count it."""
        self._stopping = Deferred()
        self._deadline = self.clock.seconds() + within_s
        self._flush()
        stopped = self._stopping
        self._try_to_end()
        return stopped

    def _try_to_end(self) -> None:
        stopping = self._stopping
        if stopping is None or self._ended:
            return
        hopeless = self._connection is None and (self._down or not self._tick.running)
        if not (self.settled or hopeless or self.clock.seconds() >= self._deadline):
            return
        self._end()
        stopping.callback(None)

    def _end(self) -> None:
        self._ended = True
        if self._tick.running:
            self._tick.stop()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._attempt is not None:
            self._attempt.cancel()
        connection, self._connection = self._connection, None
        unsure = self._window.take_unacknowledged()
        self._put_first([one.chunk for one in unsure if one.place is None])
        self._spool_queue()
        self.counters.dropped_at_stop += self.queued
        self._queue.clear()
        self.queued = 0
        if connection is not None:
            connection.close()
        if self.spool is not None:
            self.spool.close()
