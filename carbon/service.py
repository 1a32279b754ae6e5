"""The receiver put together: sockets → listeners → pipeline → store. The only file of this wing that sees all.

Beside the listeners run: what keeps the store, the reload of changed rules, aggregates that are due, the report about
ourselves (carbon.agents.<host>.*) and, if wanted, the collector of this host.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from carbon.backlog import BUFFER_BYTES
from carbon.carbonlink import Answers
from carbon.collect import INTERVAL_S, HostCollector
from carbon.config import Kind, Settings
from carbon.every import Timers
from carbon.intake import Elsewhere, Intake
from carbon.keeper import SYNC_S, Keeper, mend
from carbon.limits import Memory
from carbon.names import NameTable
from carbon.newest import Newest, Nowhere
from carbon.pipeline import Pipeline
from carbon.protocols.line import LineReader
from carbon.readers import Readers
from carbon.run import until_quiet
from carbon.sockets import Bound
from carbon.stats import TICK_S, Measures, Report, Stats, Watchdog, node
from carbon.ways_in import Ways
from storage.errors import StorageError
from storage.room import Floor
from storage.schema import Rules
from storage.store import Store

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed

RELOAD_S = 10  # carbon looks at its rules every 60 s
EMIT_S = 1.0  # how often it is looked which aggregates are due
WATCH_S = 1.0
RELAY_STOP_S = 0.5  # then what is not sent is spooled
_DRAIN_S = 0.9  # on SIGTERM: what is under way may still arrive for so long


class Receiver:
    """Everything the receiver runs. `bound`: its listeners, each with its socket."""

    def __init__(
        self,
        store: Store | None,
        config: Path | None,
        bound: Sequence[Bound],
        *,
        settings: Settings = Settings(),  # noqa: B008  # frozen
        data: Path,
        collect_host: bool,
        sync_s: float | None = SYNC_S,
        floor: Floor = Floor(),  # noqa: B008  # frozen
        buffer_bytes: int = BUFFER_BYTES,
        migrate: str = "off",
        readers: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Without a store all is relayed; `data` is the folder for both. Where less than `floor` is free, up to
        buffer_bytes of datapoints wait. `sync_s`, `migrate`: as Keeper. `readers`: other processes listen, too, and
        connect to us. Raises InvalidConfig, InvalidDestination."""
        self._store, self._config, self._settings = store, config, settings
        self._now, self._collect_host = now, collect_host
        self.stats = Stats()
        self._timers = Timers(self.stats)

        def intake(names: NameTable) -> Intake:
            return Intake(
                store if store is not None else Elsewhere(data),
                names,
                self.stats,
                now,
                sync=store.sync if store is not None and sync_s == 0 else None,
                mend=(lambda: mend(store)) if store is not None else (lambda: None),
                floor=floor if store is not None else Floor(0),
                buffer_bytes=buffer_bytes,
            )

        self._pipeline = Pipeline(settings, config, store, self.stats, intake, reactor, data)
        self._intake = self._pipeline.intake
        self._intake.backlog.not_held_back |= {
            name for name, listener in settings.listener.items() if listener.kind is Kind.UDP
        }
        self._keeper: Keeper | None = None
        if store is not None:
            self._keeper = Keeper(
                store,
                self._intake,
                self.stats,
                self._timers,
                sync_s=sync_s,
                migrate=migrate,
                now=now,
                told=self._told,
            )
        self._data = data
        self._readers = Readers(self._pipeline.incoming, self._intake, self.stats) if readers else None
        self._unlisten: Callable[[], None] = lambda: None
        self._memory = Memory(settings.limits.memory, self._pipeline.new_series)
        self._extra: list[Callable[[], Measures]] = []
        if self._pipeline.relay is not None:
            self._extra.append(self._pipeline.relay.stats)
        self._extra.append(self._pipeline.measures)
        source = Newest(store, now) if store is not None else Nowhere()
        self._ways = Ways(
            settings,
            bound,
            self._pipeline,
            self.stats,
            answers=Answers(source, self.stats),
            extra=self._extra,
        )

    def start(self) -> None:
        """Listen; from here on what arrives is stored."""
        host = node(socket.gethostname())
        about = self._about(host)
        self._intake.watch()
        self._warm_up(f"{about}starts")
        if self._pipeline.relay is not None:
            self._pipeline.relay.start()
        self._ways.open()
        if self._readers is not None:
            self._unlisten = self._readers.listen(reactor, self._data)
        if self._keeper is not None:
            self._keeper.start()
        self._timers.every(RELOAD_S, self.reload)
        self._timers.every(EMIT_S, self._pipeline.emit)
        self._timers.every(WATCH_S, self._memory.watch)
        self._timers.every(WATCH_S, self._ways.watch)
        self._timers.every(TICK_S, Watchdog(self.stats).tick)
        report = Report(self.stats, self._extra)
        if self._settings.report.every:
            self._timers.every(self._settings.report.every, lambda: self._take(about, report.take()))
        if self._collect_host:
            collector = HostCollector(host)
            self._timers.every(INTERVAL_S, lambda: self._take("", collector.measure()), at_once=True)

    def _warm_up(self, name: str) -> None:
        """Record this start the way that lines go, so that all kernels are compiled or loaded before a client waits."""
        line = LineReader(self._pipeline.incoming, self.stats).whole(
            f"{name} 1 -1".encode(), int(self._intake.now())
        )
        self._intake.accept(line, "self")
        if self._store is not None:
            self._intake.attempt(self._store.roll_up)

    def _take(self, prefix: str, values: Mapping[str, float]) -> None:
        self._intake.accept_values({prefix + name: value for name, value in values.items()}, "self")

    def _about(self, host: str) -> str:
        """What stands before the names of our own measurements."""
        return f"{self._settings.report.prefix}.agents.{host}."

    def _told(self, values: Mapping[str, float]) -> float:
        """Record what another process of ours has measured; gives the seconds until we want to be told again."""
        every = float(self._settings.report.every)
        if every and values:
            self._take(self._about(node(socket.gethostname())), values)
        return every

    def reload(self) -> None:
        """Take changed rules files; wrong ones leave the rules in force as they are."""
        for load in (self._reload_schemas, self._pipeline.reload):
            done = Deferred.fromCoroutine(load())
            done.addCallbacks(self._reloaded, self._not_reloaded)

    def _reloaded(self, changed: bool) -> None:
        if changed:
            _log.info("rules reloaded from %s", self._config)

    def _not_reloaded(self, failure: Failure) -> None:
        self.stats.errors += 1
        wrong = isinstance(failure.value, StorageError)
        _log.error("the rules stay as they were: %s", failure.value if wrong else failure.getTraceback())

    async def _reload_schemas(self) -> bool:
        if self._store is None or self._keeper is None or not self._store.rules.changed():
            return False
        self._store.rules = Rules.load(self._config)
        self._keeper.migrate()
        return True

    # --- the end ---

    def stop(self) -> Deferred[None]:
        """Read what senders have already sent, then store all and close."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await until_quiet(self._heard, _DRAIN_S, busy=self._has_readers)
        if self._keeper is not None:
            self._keeper.stop_jobs()
        await self._ways.close()
        self._unlisten()
        self._timers.stop()
        if self._keeper is not None:
            await self._keeper.last_retry()
        self._intake.end()
        await self._pipeline.drain()
        if self._pipeline.relay is not None:
            await self._pipeline.relay.stop(RELAY_STOP_S)
        if self._keeper is not None:
            await self._keeper.close()

    def _has_readers(self) -> bool:
        """Readers hang up when they have handed all to us."""
        return self._readers is not None and self._readers.connected

    def _heard(self) -> int:
        return self.stats.received.total() + self.stats.rejected.total()

    @property
    def status(self) -> int:
        """The process's exit status: not 0 when the disk has failed."""
        return int(self.stats.read_only)
