"""Where every listener's datapoints meet: rules, then the store, the relay and the aggregator; what is refused is
counted by reason.

    received = committed + only_aggregated + only_relayed + waiting + those of `rejected` that were refused here

and what was sent is what was received and what a reader has rejected.

While the disk is full, batches wait in the backlog and are stored in their order when there is room again: to append
a batch once more does no harm. When the disk fails the intake is read-only until the process is started again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np

from carbon.backlog import BUFFER_BYTES, FULL, Backlog
from carbon.gates import Gates
from carbon.names import Ids, Integers, NameTable, Refusal
from carbon.protocols.reader import Batch, Floats
from carbon.ruled import Fed, Ruled
from carbon.stats import Stats
from storage.room import Floor, Room, is_failing, is_full, os_error, room
from storage.store import Dropped

_log = logging.getLogger(__name__)

_DROPPED = {
    "too_old": "timestamp older than the longest archive",
    "too_far_ahead": "timestamp too far in the future",
    "not_a_number": "value is NaN",
}
_NONE_DROPPED = Dropped(0, 0, 0)
_NONE_REFUSED: Sequence[Refusal] = ()
_SLICE_S = 0.05  # of the reactor's time at once, for what waits
_REMIND_S = 600.0
_LOOK_S = 1.0  # between two looks at how late datapoints are


class Held(Enum):
    """Why nothing is stored."""

    FULL = "full"  # goes on by itself
    FAILED = "failed"  # until the next start


AGGREGATOR = "aggregator"  # as a listener: what comes from it has gone through the rules
OURSELVES = "self"  # as a listener: our own measurements
_ENDING, _FAILING = "the receiver ends", "the disk fails"


class Sink(Protocol):
    """What the intake needs of the store."""

    @property
    def folder(self) -> Path: ...

    def append(self, series: Ids, timestamps: Integers, values: Floats, now: int) -> Dropped: ...

    def distrust(self) -> None: ...


class Elsewhere:
    """No store: all is relayed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the spool

    def append(self, series: Ids, timestamps: Integers, values: Floats, now: int) -> Dropped:
        raise AssertionError("no name has a series without a store")

    def distrust(self) -> None:
        pass


class Onward(Protocol):
    """What the intake needs of the relay."""

    def send(
        self, routes: Ids, ids: Ids, timestamps: Integers, values: Floats, *, urgent: bool = False
    ) -> None: ...


def _nothing() -> None:
    pass


def _datapoints(refusals: Sequence[Refusal]) -> int:
    return sum(refusal.datapoints for refusal in refusals)


class Intake:
    """The pipeline's end. `now` gives epoch seconds, `clock` seconds that never go back."""

    def __init__(
        self,
        store: Sink,
        names: NameTable,
        stats: Stats,
        now: Callable[[], float] = time.time,
        *,
        sync: Callable[[], None] | None = None,
        mend: Callable[[], None] = _nothing,
        floor: Floor = Floor(0),  # noqa: B008  # frozen
        measure: Callable[[Path], Room] = room,
        buffer_bytes: int = BUFFER_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`names` are those that are stored and relayed.

        `sync` waits for the disk after every batch; `mend` does again what an error left undone in the store.
        """
        self._store, self.names, self._stats, self.now = store, names, stats, now
        self._sync, self._mend = sync, mend
        self._floor, self._measure, self._clock = floor, measure, clock
        self.gates = Gates()
        self.backlog = Backlog(buffer_bytes, stats, self.gates)
        self.ruled: Ruled | None = None
        self.relay: Onward | None = None
        self.feed: Callable[[Fed], None] | None = None
        self.held: Held | None = None
        self._cause: OSError | None = None  # None = the floor was passed, nothing went wrong
        self._since = self._counted = self._said = 0.0
        self._waited = 0  # datapoints, since the hold began
        self._looked = 0.0  # when the lag was looked at

    # --- datapoints ---

    def accept(self, batch: Batch | None, listener: str, source: str = "") -> None:
        """Take a batch's datapoints, or have them wait; `source` is the sender's address."""
        if batch is None:
            return
        self._stats.received[listener] += len(batch.ids)
        self._stats.sources.add(source, datapoints=len(batch.ids))
        if self.held is not None:
            self._wait(batch, listener, source)
            return
        try:
            self._take(batch, listener, source)
        except (OSError, sqlite3.OperationalError) as error:
            self.trouble(error)
            self._wait(batch, listener, source)

    def _take(self, batch: Batch, listener: str, source: str) -> None:
        """Counted, relayed and aggregated when it is stored, as a batch that cannot be comes again."""
        came, stats = len(batch.ids), self._stats
        fed, by_rules, by_names, dropped = None, _NONE_REFUSED, _NONE_REFUSED, _NONE_DROPPED
        began = time.perf_counter()
        if self.ruled is not None and listener != AGGREGATOR:
            batch, fed, by_rules = self.ruled.apply(batch)
        stored = batch
        started = time.perf_counter()
        series = self.names.series_of(batch.ids, source)
        without = series < 0
        if without.any():
            by_names = self.names.refusals(batch.ids[without])
            kept = ~without
            stored = Batch(batch.ids[kept], batch.timestamps[kept], batch.values[kept])
            series = series[kept]
        if len(series):
            dropped = self._store.append(series, stored.timestamps, stored.values, int(self.now()))
            if self._sync is not None:
                self._sync()
        done = time.perf_counter()
        stats.update_s += done - started
        if done - self._looked >= _LOOK_S and len(series):
            self._looked = done
            stats.lag_s = max(0.0, self.now() - int(stored.timestamps.max()))
        stats.stage_s["rules"] += started - began
        stats.stage_s["store"] += done - started
        stats.updates += 1
        stats.committed += len(series) - dropped.total
        if len(series) < came:
            stats.only_aggregated += came - len(batch.ids) - _datapoints(by_rules)
            stats.only_relayed += len(batch.ids) - len(series) - _datapoints(by_names)
            self._count([*by_rules, *by_names], listener, source)
        if dropped.total:
            for reason, count in dropped._asdict().items():
                stats.reject(_DROPPED[reason], count, source=source, listener=listener)
        self._pass_on(batch, fed, listener)
        stats.stage_s["relay"] += time.perf_counter() - done

    def _pass_on(self, batch: Batch, fed: Fed | None, listener: str) -> None:
        if self.relay is not None and len(batch.ids):
            self.relay.send(self.names.routes[batch.ids], *batch, urgent=listener == OURSELVES)
        if fed is not None and self.feed is not None:
            self.feed(fed)

    def _count(self, refusals: Sequence[Refusal], listener: str, source: str) -> None:
        for why, datapoints, sample in refusals:
            self._stats.reject(why, datapoints, sample=sample, source=source, listener=listener)

    def refuse(self, refusals: Sequence[Refusal], listener: str) -> None:
        """Count what has come and cannot be taken."""
        self._stats.received[listener] += _datapoints(refusals)
        self._count(refusals, listener, "")

    def accept_columns(
        self, names: Sequence[bytes], timestamps: Sequence[float], values: Sequence[float], listener: str
    ) -> None:
        """Store datapoints whose names came as Python objects; a timestamp of -1 is now."""
        if not names:
            return
        ids = (self.names if self.ruled is None else self.ruled.incoming).ids_of(names)
        when = np.array(timestamps, np.float64)
        when[when == -1] = self.now()
        good = ids >= 0
        floor = np.floor(when).astype(np.int64)
        self.accept(Batch(ids[good], floor[good], np.array(values, np.float64)[good]), listener)

    def accept_values(self, values: Mapping[str, float], listener: str) -> None:
        """Store values of now: our own measurements."""
        names = [name.encode() for name in values]
        self.accept_columns(names, [self.now()] * len(names), list(values.values()), listener)

    # --- a disk that is full or fails ---

    def attempt(self, work: Callable[[], object]) -> bool:
        """Do work on the store unless nothing is stored now; False if it was not done."""
        if self.held is not None:
            return False
        try:
            work()
        except (OSError, sqlite3.OperationalError) as error:
            self.trouble(error)
            return False
        return True

    def watch(self) -> None:
        """Hold before the disk is full."""
        if self.held is None:
            try:
                if self._floor.passed(self._measure(self._store.folder)):
                    self._hold(None)
            except OSError as error:
                self.trouble(error)

    def trouble(self, error: OSError | sqlite3.OperationalError) -> None:
        """Work on the store has met an error: hold until there is room, or for good if the disk fails."""
        cause = os_error(error)
        if is_failing(cause):
            self._fail(cause)
        elif self.held is None:
            self._hold(cause)
        else:
            self._cause = cause

    def retry(self, *, floor: bool = True) -> bool:
        """Go on if there is room, with what waits first; True if this was a slice of it and more is to follow.

        `floor`: leave free what is to be; False takes all that the disk gives.
        """
        if self.held is None:
            return False
        self._count_time()
        if self.held is Held.FAILED:
            self._remind()
            return False
        try:
            if floor and not self._floor.cleared(self._measure(self._store.folder)):
                return False
            if self._cause is not None:
                self._mend()
                self._cause = None
            deadline = self._clock() + _SLICE_S
            while len(self.backlog):
                if self._clock() >= deadline:
                    return True
                self.backlog.take_first(self._take)
        except (OSError, sqlite3.OperationalError) as error:
            self.trouble(error)
            return False
        self._go_on()
        return False

    def end(self) -> None:
        """Read no more: what a stream has from here on is for the next receiver."""
        self.gates.hold(_ENDING)

    def give_up(self) -> None:
        """The process ends: what waits is lost, counted and told."""
        lost = self.backlog.drop()
        if lost:
            _log.error("%d datapoints that waited for %s are lost", lost, self._store.folder)

    def _wait(self, batch: Batch, listener: str, source: str) -> None:
        self._waited += len(batch.ids)
        self.backlog.add(batch, listener, source)

    def _hold(self, cause: OSError | None) -> None:
        self.held, self._cause = Held.FULL, cause
        self._since = self._counted = self._clock()
        self._waited = 0
        _log.error(
            "%s: data waits, at most %d bytes of it; make room, it goes on by itself",
            self._words(cause),
            self.backlog.bytes_max,
        )

    def _words(self, cause: OSError | None) -> str:
        folder = self._store.folder
        if cause is not None and not is_full(cause):
            return f"{folder} cannot be written ({cause.strerror})"
        try:
            return f"the disk of {folder} is full: {self._measure(folder)}"
        except OSError as error:
            return f"the disk of {folder} is full ({error.strerror})"

    def _go_on(self) -> None:
        self.held = None
        self.gates.release(FULL)
        _log.warning(
            "%s is written again after %.1f s; %d datapoints waited",
            self._store.folder,
            self._clock() - self._since,
            self._waited,
        )

    def _fail(self, cause: OSError) -> None:
        """Store nothing from now on. What the kernel could not write it has forgotten, and a retry would succeed
        without having written it; so all since the last sync is in doubt, and only a new start knows what is there.
        """
        if self.held is Held.FAILED:
            return
        self.held, self._cause = Held.FAILED, cause
        self._counted = self._clock()
        self._stats.read_only = True
        self._stats.errors += 1
        self._store.distrust()
        self.gates.hold(_FAILING)
        self._tell_failed()

    def _tell_failed(self) -> None:
        self._said = self._clock()
        _log.critical(
            "the disk of %s fails (%s): the receiver is read-only and holds senders back; what came since the last "
            "sync may be lost. Check the disk (dmesg, smartctl) and start Plumbago again",
            self._store.folder,
            self._cause,
        )

    def _remind(self) -> None:
        if self._clock() - self._said >= _REMIND_S:
            self._tell_failed()

    def _count_time(self) -> None:
        before, self._counted = self._counted, self._clock()
        self._stats.stalled_s += self._counted - before
