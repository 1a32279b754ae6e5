"""The receiver put together: sockets → listeners → intake → store. The only file of this wing that sees all.

Beside the listeners run: the rollup of coarser archives, the reload of changed rules, the report about ourselves
(carbon.agents.<host>.*) and, if wanted, the collector of this host.
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from carbon.backlog import BUFFER_BYTES
from carbon.collect import INTERVAL_S, HostCollector
from carbon.control import JobQueue, listen
from carbon.intake import Held, Intake
from carbon.listen import Datagrams, StreamFactory, line_streams, pickle_streams
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.stats import Report, Stats, node
from storage.durable import Sync
from storage.errors import StorageError
from storage.jobs import SyncFailed
from storage.ring import Ring
from storage.room import Floor
from storage.schema import Rules
from storage.store import Store

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed

ROLL_UP_S = 0.25  # how far the coarser archives may be behind the finest
PACKS_AT_ONCE = 8  # two milliseconds each: a tenth of the time at most, when there is a backlog
SEALS_AT_ONCE = 16  # half a millisecond each; a million series are 2,000 lanes an archive: half a minute
REPORT_S = 60  # carbon's CARBON_METRIC_INTERVAL
RELOAD_S = 10  # carbon looks at its rules every 60 s
SYNC_S = (
    5.0  # what a power cut may cost; VictoriaMetrics: 5 to 10 s, Prometheus: up to its segment, carbon: never
)
EXPIRE_S = 3600.0
RETRY_S = 1.0  # while the disk is full
_LAST_SYNC_S = 0.5
_LAST_RETRY_S = 0.5  # on SIGTERM: what waits may take what room there is
_DRAIN_S = 0.9  # on SIGTERM: what is under way may still arrive for so long
_QUIET_S = 0.1  # … but when nothing came for so long, nothing is under way


class Receiver:
    """Everything the receiver runs. `sockets` by listener: "line" and "pickle" listen, "udp" is bound."""

    def __init__(
        self,
        store: Store,
        config: Path | None,
        sockets: Mapping[str, socket.socket],
        *,
        collect_host: bool,
        sync_s: float | None = SYNC_S,
        floor: Floor = Floor(),  # noqa: B008  # frozen
        buffer_bytes: int = BUFFER_BYTES,
        migrate: str = "off",
        now: Callable[[], float] = time.time,
    ) -> None:
        """`sync_s`: seconds between syncs, 0 = after every batch, None = left to the kernel.

        Where less than `floor` is free, up to buffer_bytes of datapoints wait. `migrate`: what becomes by itself of
        series whose rules have changed: "lossless" moves those that lose nothing, "all" moves all, "off" none.
        """
        self._store, self._config = store, config
        self.stats = Stats()
        self._names = NameTable(store, self.stats)
        self._sync_s, self._syncing = sync_s, False
        self._retrying = False
        self._intake = Intake(
            store,
            self._names,
            self.stats,
            now,
            sync=store.sync if sync_s == 0 else None,
            mend=lambda: mend(store),
            floor=floor,
            buffer_bytes=buffer_bytes,
        )
        self._factories: dict[str, StreamFactory] = {
            "line": line_streams(self._names, self._intake, self.stats),
            "pickle": pickle_streams(self._intake, self.stats),
        }
        self._intake.backlog.gates.extend(self._factories.values())
        self._datagrams = Datagrams(self._names, self._intake, self.stats)
        self._sockets = sockets
        self._collect_host = collect_host
        self._jobs = JobQueue(store, reactor, now, failed=self._job_failed)
        self._migrate = migrate
        self._ports: list[Any] = []
        self._stop_control: Callable[[], None] = lambda: None
        self._calls: list[LoopingCall] = []

    def start(self) -> None:
        """Listen; from here on what arrives is stored."""
        host = node(socket.gethostname())
        self._intake.watch()
        self._warm_up(f"carbon.agents.{host}.starts")
        for name, factory in self._factories.items():
            if name in self._sockets:
                at = self._sockets[name]
                at.setblocking(False)
                self._ports.append(reactor.adoptStreamPort(at.fileno(), at.family, factory))
        if "udp" in self._sockets:
            at = self._sockets["udp"]
            at.setblocking(False)
            at.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._ports.append(reactor.adoptDatagramPort(at.fileno(), at.family, self._datagrams, 65535))
        self._every(ROLL_UP_S, self._tend)
        self._every(RETRY_S, self._retry)
        if self._sync_s:
            self._every(self._sync_s, self._sync)
        self._every(RELOAD_S, self.reload)
        self._stop_control = listen(reactor, self._store.folder, self._jobs)
        self._do_migrate()
        self._every(EXPIRE_S, self._do_expire)
        report = Report(self.stats)
        self._every(REPORT_S, lambda: self._take(f"carbon.agents.{host}.", report.take()))
        if self._collect_host:
            collector = HostCollector(host)
            self._every(INTERVAL_S, lambda: self._take("", collector.measure()), at_once=True)

    def _warm_up(self, name: str) -> None:
        """Record this start the way that lines go, so that all kernels are compiled or loaded before a client waits."""
        line = LineReader(self._names, self.stats).whole(f"{name} 1 -1".encode(), int(self._intake.now()))
        self._intake.accept(line, "self")
        self._intake.attempt(self._store.roll_up)

    def _tend(self) -> None:
        self._intake.watch()
        self._intake.attempt(self._roll_and_seal)

    def _roll_and_seal(self) -> None:
        self._store.roll_up()
        self._store.seal_ahead(SEALS_AT_ONCE)
        self._store.pack_some(int(self._intake.now()), PACKS_AT_ONCE)
        if not self._sync_s:
            self._store.sync()

    def _retry(self) -> None:
        """Go on where the disk was full, in slices between which the reactor does the rest of its work."""
        if not self._retrying and self._intake.retry():
            self._retrying = True
            reactor.callLater(0, self._retry_on)

    def _retry_on(self) -> None:
        self._retrying = False
        self._retry()

    def _sync(self) -> None:
        """Sync in a thread: the disk may take its time, datapoints must not wait for it. A full disk is synced too."""
        if self._syncing or self._intake.held is Held.FAILED:
            return
        syncs = self._begin_sync()
        if syncs:
            self._syncing = True
            done = deferToThread(self._store.run_sync, syncs)
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
        self.stats.errors += 1
        error = failure.value
        if isinstance(error, (OSError, sqlite3.OperationalError)):
            self._intake.trouble(error)
        else:
            _log.error("a sync failed: %s", failure.getTraceback())

    def _every(self, seconds: float, work: Callable[[], object], *, at_once: bool = False) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception:
                self.stats.errors += 1
                _log.exception("%s failed; it is tried again in %s s", work, seconds)

        call = LoopingCall(guarded)
        call.start(seconds, now=at_once)
        self._calls.append(call)

    def _take(self, prefix: str, values: Mapping[str, float]) -> None:
        self._intake.accept_values({prefix + name: value for name, value in values.items()}, "self")

    def reload(self) -> None:
        """Take changed rules files; wrong ones leave the rules in force as they are."""
        if not self._store.rules.changed():
            return
        try:
            self._store.rules = Rules.load(self._config)
        except StorageError as error:
            self.stats.errors += 1
            _log.error("the rules stay as they were: %s", error)
        else:
            _log.info("rules reloaded from %s", self._config)
            self._do_migrate()

    # --- jobs that nobody asked for ---

    def _do_migrate(self) -> None:
        if self._migrate != "off":
            self._do("migrate", {"lossy": self._migrate == "all"})

    def _do_expire(self) -> None:
        self._do("expire", {})

    def _do(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Add a job; one that is under way may have begun by other rules, one that waits is as good."""
        if not self._jobs.waits(name):
            self._jobs.add(name, arguments)

    def _job_failed(self, error: OSError) -> None:
        """A job met an error: if it is the store's disk, what datapoints do then holds for it too."""
        if isinstance(error, SyncFailed) or error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._intake.trouble(error)

    def stop(self) -> Deferred[None]:
        """Read what senders have already sent, then store all and close."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        heard, deadline = time.monotonic(), time.monotonic() + _DRAIN_S
        before = -1
        while time.monotonic() < deadline:
            count = self.stats.received.total() + self.stats.rejected.total()
            if count != before:
                before, heard = count, time.monotonic()
            if time.monotonic() - heard > _QUIET_S:
                break
            await _pause(0.02)
        self._jobs.close()
        self._stop_control()
        for port in self._ports:
            port.stopListening()
        for call in self._calls:
            call.stop()
        self._datagrams.read()
        await self._last_retry()
        self._intake.backlog.pause()  # what a stream has from here on is for the next receiver
        self._intake.attempt(self._store.roll_up)
        self._intake.give_up()
        await self._last_sync()

    async def _last_retry(self) -> None:
        """Store what waits for room, from the floor too: it would be lost."""
        deadline = time.monotonic() + _LAST_RETRY_S
        while self._intake.retry(floor=False) and time.monotonic() < deadline:
            await _pause(0)

    async def _last_sync(self) -> None:
        """Sync and close; if the disk is too slow for that, leave it to the kernel: only a power cut could lose it."""
        if self._intake.held is not Held.FAILED:
            syncs = self._begin_sync()
            errors: list[OSError | sqlite3.OperationalError] = []
            running = Thread(target=self._run_last_sync, args=(syncs, errors), daemon=True)
            running.start()
            deadline = time.monotonic() + _LAST_SYNC_S
            while running.is_alive() and time.monotonic() < deadline:
                await _pause(0.01)
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

    @property
    def status(self) -> int:
        """The process's exit status: not 0 when the disk has failed."""
        return int(self.stats.read_only)


def mend(store: Store) -> None:
    """Do again what an error has cut short: what was to be rolled up or sealed is so still."""
    store.roll_up()
    store.seal_ahead(SEALS_AT_ONCE)


def _log_failure(failure: Failure) -> None:
    _log.error("stopping failed: %s", failure.getTraceback())


def _pause(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


def run(receiver: Receiver, on_ready: Callable[[], None]) -> int:
    """Run until SIGTERM or SIGINT; what was received is stored before it returns. Gives the exit status."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            receiver.stop().addErrback(_log_failure).addCallback(lambda _: reactor.stop())

    def on_signal(*_: object) -> None:
        reactor.callFromThread(stop)

    def started() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        receiver.start()
        on_ready()

    reactor.callWhenRunning(started)
    reactor.run(installSignalHandlers=False)
    return receiver.status
