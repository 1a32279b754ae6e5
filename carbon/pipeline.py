"""What lies between the listeners and the store: rules, name tables, aggregator, relay and intake, put together.

There are two name tables only where rules say something: what comes in has ids of the one (`incoming`), what is stored
and relayed those of the other (`onward`). Without rules both are the same table.

What takes long is done in threads, and what comes of it is taken in by the reactor: rules are read and compiled (half
a second for a thousand), and values of many aggregates are put together (a second for 600,000).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from carbon.aggregate import Aggregator, Emitted
from carbon.config import Relaying, Settings
from carbon.intake import AGGREGATOR, Intake
from carbon.limits import NewSeries
from carbon.names import Bytes, Ids, Integers, NameTable, SeriesMaker
from carbon.relay.client import Limits
from carbon.relay.connection import Connect
from carbon.relay.destination import Destination, parse_destinations
from carbon.relay.encode import Format
from carbon.relay.hashring import Flavour, HashType
from carbon.relay.relay import Relay, RelayOptions, Report, connector
from carbon.relay.router import Method, Router
from carbon.ruled import Fed, Outputs, Ruled
from carbon.rules.ruleset import RuleSet
from carbon.stats import Stats, node
from storage.errors import InvalidConfig

_log = logging.getLogger(__name__)

RELAY_FULL = "a relay queue is full"
_AT_ONCE = (
    10_000  # aggregates that are named, stored and relayed in one turn of the reactor: 1 ms, 40 of new ones
)
_WAIT_S = 0.01
_REMIND_S = 60.0

InThread = Callable[..., Deferred[Any]]  # of a function and its arguments


class Pipeline:
    """`folder` has the operator's rules files; `data` is where spools are kept."""

    def __init__(
        self,
        settings: Settings,
        folder: Path | None,
        store: SeriesMaker | None,
        stats: Stats,
        make_intake: Callable[[NameTable], Intake],
        reactor: Any,
        data: Path,
        *,
        in_thread: InThread = deferToThread,
        connect: Callable[[Destination], Connect] | None = None,
    ) -> None:
        """`connect`: how destinations are reached, None = by the reactor. Raises InvalidConfig, InvalidDestination."""
        self._settings, self._folder, self._store, self._stats = settings, folder, store, stats
        self._reactor, self._in_thread = reactor, in_thread
        self._loading = self._emitting = False
        self._wrong: object = None  # fingerprint of the files that could not be read
        self._told: dict[str, int] = {}  # of what no aggregate has taken in
        self._said = -_REMIND_S
        self._router: Router | None = None
        self.rules = self._load_rules()
        if settings.relay.destinations:
            self._router = _router(settings.relay, self)
        self.new_series = NewSeries(
            settings.limits.new_series_a_second, settings.limits.new_series_a_second_per_source, stats.clock
        )
        self.incoming = self.onward = self._table()
        self.intake = make_intake(self.onward)
        self.relay: Relay | None = None
        if self._router is not None:
            self.relay = self._relay(settings.relay, self._router, data, connect)
            self.intake.relay = self.relay
        self._aggregator = Aggregator(
            max_intervals=settings.aggregator.max_intervals, write_back_s=settings.aggregator.write_back
        )
        self._outputs: Outputs | None = None
        if not self.rules.empty:
            self._begin_ruling()

    # --- rules ---

    def _load_rules(self) -> RuleSet:
        relaying = self._settings.relay
        by_rules = bool(relaying.destinations) and relaying.method == Method.RULES
        rules = RuleSet.load(
            self._folder,
            forward_all=self._settings.aggregator.forward_all,
            relay=by_rules,
            destinations=relaying.destinations,
        )
        if by_rules and rules.relay is None:
            raise InvalidConfig(
                str(self._folder or "plumbago.toml"),
                0,
                "relay-rules.conf",
                "is missing: [relay] method = rules asks it; or choose another method, such as constant",
            )
        for warning in rules.warnings:
            _log.warning("%s", warning)
        return rules

    async def reload(self) -> bool:
        """Take changed rules files, True if there were some.

        Raises InvalidConfig, once for each state of the files, and the rules stay as they were.
        """
        stamps = self.rules.stamps()
        if self._loading or stamps in (self.rules.fingerprint, self._wrong):
            return False
        self._loading = True
        try:
            rules = await self._in_thread(self._load_rules)
        except InvalidConfig:
            self._wrong = stamps
            raise
        finally:
            self._loading = False
        self._wrong = None
        self._replace(rules)
        return True

    def _replace(self, rules: RuleSet) -> None:
        self.rules = rules
        if self._outputs is not None and self.intake.ruled is not None:
            self.intake.ruled.replace(self.rules)
        elif not self.rules.empty:
            self._begin_ruling()
        if self._router is not None:
            self.onward.forget()

    def _begin_ruling(self) -> None:
        """From here on names go on under ids of a table of their own."""
        self.onward = self._table()
        self.intake.names = self.onward
        self.intake.ruled = Ruled(self.rules, self.incoming, self.onward, self._aggregator)
        self.intake.feed = self._feed
        self._outputs = Outputs(self._aggregator, self.onward)
        self._aggregator.emit(int(self.intake.now()))

    def _table(self) -> NameTable:
        return NameTable(
            self._store,
            self._stats,
            names_max=self._settings.limits.names_max,
            router=self if self._router is not None else None,
            admission=self.new_series,
        )

    # --- aggregates ---

    def _feed(self, fed: Fed) -> None:
        self._aggregator.feed(*fed)

    def emit(self) -> None:
        """Begin to store and relay the aggregates that are due, unless the last ones are still under way."""
        if self._outputs is not None and not self._emitting:
            self._emitting = True
            done = Deferred.fromCoroutine(self._emit(self._outputs))
            done.addErrback(self._failed)
            done.addBoth(lambda _: setattr(self, "_emitting", False))

    async def drain(self) -> None:
        """The process ends: store and relay what aggregates have of open intervals, too."""
        while self._emitting:
            await deferLater(self._reactor, _WAIT_S)
        if self._outputs is not None:
            await self._hand_on(self._outputs, self._aggregator.drain())

    async def _emit(self, outputs: Outputs) -> None:
        due = self._aggregator.take_due(int(self.intake.now()))
        self._tell_dropped()
        if len(due.keys) <= _AT_ONCE:
            emitted = self._aggregator.merged(due)
        else:
            emitted = await self._in_thread(self._aggregator.merged, due)
        await self._hand_on(outputs, emitted)

    async def _hand_on(self, outputs: Outputs, emitted: Emitted) -> None:
        for start in range(0, len(emitted.buffers), _AT_ONCE):
            if start:
                await deferLater(self._reactor, 0)
            some = slice(start, start + _AT_ONCE)
            part = Emitted(emitted.buffers[some], emitted.timestamps[some], emitted.values[some])
            batch, refusals = outputs.named(part)
            self.intake.refuse(refusals, AGGREGATOR)
            self.intake.accept(batch, AGGREGATOR)

    def _failed(self, failure: Failure) -> None:
        self._stats.errors += 1
        _log.error("aggregates are lost: %s", failure.getTraceback())

    def _tell_dropped(self) -> None:
        news = {why: n - self._told.get(why, 0) for why, n in self._aggregator.dropped.items()}
        if any(news.values()) and self._stats.clock() - self._said >= _REMIND_S:
            self._said, self._told = self._stats.clock(), dict(self._aggregator.dropped)
            words = ", ".join(f"{count} {why}" for why, count in news.items() if count)
            _log.warning("datapoints that are in no aggregate: %s", words)

    def measures(self) -> Report:
        """What the aggregator has to tell, below carbon.agents.<host>; nothing without rules."""
        if self._outputs is None:
            return Report({}, {})
        dropped = {f"aggregator.dropped.{node(why)}": float(n) for why, n in self._aggregator.dropped.items()}
        return Report(
            {"aggregateDatapointsSent": float(self._stats.received[AGGREGATOR]), **dropped},
            {
                "allocatedBuffers": float(len(self._aggregator.buffers)),
                "bufferedDatapoints": float(len(self._aggregator)),
            },
        )

    # --- the relay ---

    def route_ids(self, names: Sequence[bytes]) -> Ids:
        """Where names are relayed to, as the router says."""
        assert self._router is not None
        return self._router.route_ids(names, self._aggregates)

    def _aggregates(self, name: str) -> Sequence[str]:
        return [feed.output for feed in self.rules.decide([name])[0].feeds]

    def destinations(self, name: str) -> tuple[str, ...]:
        """What the rules in force say, for the router."""
        return self.rules.relay.destinations(name) if self.rules.relay is not None else ()

    @property
    def blob(self) -> Bytes:
        """The names that are relayed, end to end."""
        return self.onward.interned.blob

    @property
    def offsets(self) -> Integers:
        return self.onward.interned.offsets

    def _relay(
        self,
        relaying: Relaying,
        router: Router,
        data: Path,
        connect: Callable[[Destination], Connect] | None,
    ) -> Relay:
        options = RelayOptions(
            form=Format(relaying.protocol),
            tls=relaying.tls or relaying.tls_ca is not None,
            authorities=relaying.tls_ca,
            pool=relaying.pool_replicas,
            message_max=relaying.message_max,
            limits=Limits(queue_max=relaying.queue_max, flow_control=relaying.flow_control),
            spool_bytes_max=relaying.spool,
        )
        gates = self.intake.gates
        return Relay(
            router,
            self,
            options,
            self._reactor,
            connect or connector(self._reactor, options),
            data=data,
            on_full=lambda: gates.hold(RELAY_FULL),
            on_room=lambda: gates.release(RELAY_FULL),
        )


def _router(relaying: Relaying, rules: Pipeline) -> Router:
    return Router(
        Method(relaying.method),
        parse_destinations(relaying.destinations),
        hash_type=HashType(relaying.hash) if relaying.hash is not None else None,
        replicas=relaying.replication,
        diverse=relaying.diverse_replicas,
        flavour=Flavour(relaying.flavour),
        rules=rules,
    )
