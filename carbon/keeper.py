"""What the receiver does for its store: roll up, seal, pack, sync, go on after a full disk, and jobs."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from carbon.control import JobQueue, Told, listen, nobody_told
from carbon.every import Timers, pause
from carbon.intake import Held, Intake
from carbon.stats import Stats, snapshot
from storage.durable import Sync
from storage.jobs import SyncFailed
from storage.ring import Ring
from storage.store import Store

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed

ROLL_UP_S = 0.25  # how far the coarser archives may be behind the finest
PACKS_AT_ONCE = 8  # two milliseconds each: a tenth of the time at most, when there is a backlog
SEALS_AT_ONCE = 16  # half a millisecond each; a million series are 2,000 lanes an archive: half a minute
SYNC_S = (
    5.0  # what a power cut may cost; VictoriaMetrics: 5 to 10 s, Prometheus: up to its segment, carbon: never
)
EXPIRE_S = 3600.0
RETRY_S = 1.0  # while the disk is full
_LAST_SYNC_S = 0.5
_LAST_RETRY_S = 0.5  # on SIGTERM: what waits may take what room there is


class Keeper:
    def __init__(
        self,
        store: Store,
        intake: Intake,
        stats: Stats,
        timers: Timers,
        *,
        sync_s: float | None,
        migrate: str,
        now: Callable[[], float],
        told: Told = nobody_told,
        clock: Any = reactor,
        in_thread: Callable[..., Deferred[None]] = deferToThread,
    ) -> None:
        """`sync_s`: seconds between syncs, 0 = after every batch, None = left to the kernel.

        `migrate`: what becomes by itself of series whose rules have changed: "lossless" moves those that lose nothing,
        "all" moves all, "off" none. `told` takes what other processes of ours have measured.
        """
        self._store, self._intake, self._stats, self._timers = store, intake, stats, timers
        self._sync_s, self._migrate = sync_s, migrate
        self._told, self._clock, self._in_thread = told, clock, in_thread
        self._syncing = self._retrying = False
        self.jobs = JobQueue(store, clock, now, failed=self._job_failed)
        self._stop_control: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._timers.every(ROLL_UP_S, self._tend)
        self._timers.every(RETRY_S, self._retry)
        if self._sync_s:
            self._timers.every(self._sync_s, self._sync)
        self._stop_control = listen(
            self._clock,
            self._store.folder,
            self.jobs,
            {"stats": lambda: snapshot(self._stats)},
            self._told,
        )
        self.migrate()
        self._timers.every(EXPIRE_S, self._expire)

    def stop_jobs(self) -> None:
        self.jobs.close()
        self._stop_control()

    async def close(self) -> None:
        """Store what waits, sync, close: nothing comes in any more."""
        self._intake.attempt(self._store.roll_up)
        self._intake.give_up()
        await self._last_sync()

    # --- rollup, seals, packing ---

    def _tend(self) -> None:
        self._intake.watch()
        self._intake.attempt(self._roll_and_seal)

    def _roll_and_seal(self) -> None:
        self._store.roll_up()
        self._store.seal_ahead(SEALS_AT_ONCE)
        self._store.pack_some(int(self._intake.now()), PACKS_AT_ONCE)
        if not self._sync_s:
            self._store.sync()

    # --- a full disk ---

    def _retry(self) -> None:
        """Go on where the disk was full, in slices between which the reactor does the rest of its work."""
        if not self._retrying and self._intake.retry():
            self._retrying = True
            self._clock.callLater(0, self._retry_on)

    def _retry_on(self) -> None:
        self._retrying = False
        self._retry()

    async def last_retry(self) -> None:
        """Store what waits for room, from the floor too: it would be lost."""
        deadline = time.monotonic() + _LAST_RETRY_S
        while self._intake.retry(floor=False) and time.monotonic() < deadline:
            await pause(0, self._clock)

    # --- syncs ---

    def _sync(self) -> None:
        """Sync in a thread: the disk may take its time, datapoints must not wait for it. A full disk is synced too."""
        if self._syncing or self._intake.held is Held.FAILED:
            return
        syncs = self._begin_sync()
        if syncs:
            self._syncing = True
            done = self._in_thread(self._store.run_sync, syncs)
            done.addCallback(lambda _: self._store.end_sync(syncs))
            done.addErrback(self._sync_failed)
            done.addBoth(lambda _: setattr(self, "_syncing", False))

    def _begin_sync(self) -> list[tuple[Ring, Sync]]:
        try:
            return self._store.begin_sync()
        except OSError as error:
            self._intake.trouble(error)
            return []

    def _sync_failed(self, failure: Failure) -> None:
        """The disk refused: from here on nothing is stored, as the next sync would not bring what this one did not."""
        error = failure.value
        if isinstance(error, (OSError, sqlite3.OperationalError)):
            self._intake.trouble(error)
        else:
            self._stats.errors += 1
            _log.error("a sync failed: %s", failure.getTraceback())

    async def _last_sync(self) -> None:
        """Sync and close; if the disk is too slow for that, leave it to the kernel: only a power cut could lose it."""
        if self._intake.held is not Held.FAILED:
            syncs = self._begin_sync()
            errors: list[OSError | sqlite3.OperationalError] = []
            running = Thread(target=self._run_last_sync, args=(syncs, errors), daemon=True)
            running.start()
            deadline = time.monotonic() + _LAST_SYNC_S
            while running.is_alive() and time.monotonic() < deadline:
                await pause(0.01, self._clock)
            for error in errors:
                self._intake.trouble(error)
            if not running.is_alive() and not errors:
                self._store.end_sync(syncs)
                self._intake.attempt(self._store.closed_clean)
        self._store.close(synced=True)

    def _run_last_sync(
        self, syncs: list[tuple[Ring, Sync]], errors: list[OSError | sqlite3.OperationalError]
    ) -> None:
        try:
            self._store.run_sync(syncs)
        except (OSError, sqlite3.OperationalError) as error:
            errors.append(error)

    # --- jobs that nobody asked for ---

    def migrate(self) -> None:
        """Give series what the rules say now, as far as it is done by itself."""
        if self._migrate != "off":
            self._do("migrate", {"lossy": self._migrate == "all"})

    def _expire(self) -> None:
        self._do("expire", {})

    def _do(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Add a job; one that is under way may have begun by other rules, one that waits is as good."""
        if not self.jobs.waits(name):
            self.jobs.add(name, arguments)

    def _job_failed(self, error: OSError) -> None:
        """A job met an error: if it is the store's disk, what datapoints do then holds for it too."""
        if isinstance(error, SyncFailed) or error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._intake.trouble(error)


def mend(store: Store) -> None:
    """Do again what an error has cut short: what was to be rolled up or sealed is so still."""
    store.roll_up()
    store.seal_ahead(SEALS_AT_ONCE)
