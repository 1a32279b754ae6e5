"""The relay: columns of datapoints in, to the destinations of each one's route.

A batch is sorted by route and each route's datapoints are encoded once, however many destinations have them: the bytes
of a chunk are shared by their queues.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from twisted.internet.defer import Deferred, DeferredList

from carbon.relay import encode_kernels as kernels
from carbon.relay.client import Client, Limits
from carbon.relay.connection import Clock, Connect, over_tcp, over_tls
from carbon.relay.destination import Destination
from carbon.relay.encode import FRAME_DATAPOINTS_MAX, Chunk, Floats, Format, Ids, Integers, Names, encode
from carbon.relay.router import NOWHERE, RouteIds, Router
from carbon.relay.spool import SPOOL_BYTES_MAX, Spool, other_spools, spool_folder

_log = logging.getLogger(__name__)

STOP_S = 5.0
_SLICE = 8192  # datapoints that are encoded together: a chunk of a route is no more


@dataclass(frozen=True)
class RelayOptions:
    """Of all destinations."""

    form: Format = Format.PICKLE  # carbon's DESTINATION_PROTOCOL
    tls: bool = False  # carbon's DESTINATION_TRANSPORT = ssl
    authorities: Path | None = None  # a PEM file, DESTINATION_SSL_CA; None = the system's
    pool: bool = False  # DESTINATION_POOL_REPLICAS: of the clients of one port, that with the shortest queue
    message_max: int = FRAME_DATAPOINTS_MAX  # datapoints of one pickle
    limits: Limits = field(default_factory=Limits)
    spool_bytes_max: int = SPOOL_BYTES_MAX  # a destination; 0 = no spool


class Report(NamedTuple):
    """What stats() gives, below carbon.relays.<host>."""

    totals: dict[str, float]  # since the start: the difference of two is an interval's
    gauges: dict[str, float]  # as it is now


def connector(reactor: Any, options: RelayOptions) -> Callable[[Destination], Connect]:
    """How destinations are reached; raises InvalidDestination, for each, where TLS cannot be had."""
    if options.tls:
        return lambda destination: over_tls(reactor, destination, options.authorities)
    return lambda destination: over_tcp(reactor, destination)


class Relay:
    def __init__(
        self,
        router: Router,
        names: Names,
        options: RelayOptions,
        clock: Clock,
        connect: Callable[[Destination], Connect],
        *,
        data: Path | None = None,
        on_full: Callable[[], None] = lambda: None,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        """`data`: where spools are kept, None = nowhere. `connect`: see `connector`.

        `on_full` is called when a first queue is full, `on_room` when no queue is any more. Raises OSError where a
        spool cannot be made.
        """
        self._router, self._names, self._form = router, names, options.form
        self._message_max = options.message_max
        self._on_full, self._on_room = on_full, on_room
        self._full = 0  # queues
        self.unrouted = 0  # datapoints that no destination is to have
        self.clients = [
            Client(
                destination, connect(destination), clock, options.limits, _spool(destination, options, data, clock),
                on_full=partial(self._queue_is_full, 1), on_room=partial(self._queue_is_full, -1),
            )
            for destination in router.destinations
        ]  # fmt: skip
        self._pools = _pools(self.clients) if options.pool else [(client,) for client in self.clients]
        self._tell_of_other_spools(data)

    def start(self) -> None:
        """Connect; what is sent before waits in the queues."""
        for client in self.clients:
            client.start()

    def stop(self, within_s: float = STOP_S) -> Deferred[None]:
        """Send what waits, for so many seconds at most; what has not come then is spooled, or dropped and counted."""
        stopped: Any = DeferredList([client.stop(within_s) for client in self.clients])
        done: Deferred[None] = stopped.addCallback(lambda _: None)
        return done

    # --- datapoints ---

    def send(
        self, routes: RouteIds, ids: Ids, timestamps: Integers, values: Floats, *, urgent: bool = False
    ) -> None:
        """Datapoints of names by their ids, with the routes that the router gave those names.

        `urgent`: before all that waits, as our own counters should be.
        """
        for start in range(0, len(ids), _SLICE):
            part = slice(start, start + _SLICE)
            self._send(routes[part], ids[part], timestamps[part], values[part], urgent=urgent)

    def _send(
        self, routes: RouteIds, ids: Ids, timestamps: Integers, values: Floats, *, urgent: bool
    ) -> None:
        first = np.zeros(len(self._router.sets) + 1, np.int64)
        order = np.empty(len(routes), np.int64)
        kernels.group(np.require(routes, np.int32, ["C", "W"]), first, order)
        for route in np.flatnonzero(np.diff(first)).tolist():
            rows = order[first[route] : first[route + 1]]
            if route == NOWHERE:
                self.unrouted += len(rows)
                continue
            columns = ids[rows], timestamps[rows], values[rows]
            data = encode(self._form, self._names, *columns, datapoints_max=self._message_max)
            self._offer(self._router.sets[route], Chunk(data, len(rows)), urgent=urgent)

    def _offer(self, destinations: Sequence[int], chunk: Chunk, *, urgent: bool) -> None:
        """To each destination; of those in one pool to the same client, which has it once."""
        chosen = {id(pool): pool for pool in map(self._pools.__getitem__, destinations)}
        for pool in chosen.values():
            client = pool[0] if len(pool) == 1 else min(pool, key=lambda each: each.queued)
            client.offer(chunk, urgent=urgent)

    def _queue_is_full(self, more: int) -> None:
        before, self._full = self._full, self._full + more
        if before == 0:
            self._on_full()
        elif self._full == 0:
            self._on_room()

    # --- what is known of it ---

    def stats(self) -> Report:
        """Our counters: destinations.<host:port:instance>.<carbon's names, and ours>; a queue's peak is reset."""
        totals = {"unroutedDatapoints": float(self.unrouted)}
        gauges: dict[str, float] = {}
        for client in self.clients:
            below = f"destinations.{client.destination.node}."
            totals |= {below + name: float(value) for name, value in client.totals().items()}
            gauges |= {below + name: float(value) for name, value in client.gauges().items()}
        return Report(totals, gauges)

    def _tell_of_other_spools(self, data: Path | None) -> None:
        known = {client.spool.folder for client in self.clients if client.spool is not None}
        for title, size in other_spools(data, known) if data is not None else ():
            _log.warning(
                "%d bytes are spooled for %r, which is no destination now: nothing is sent of them",
                size,
                title,
            )


def _spool(destination: Destination, options: RelayOptions, data: Path | None, clock: Clock) -> Spool | None:
    if data is None or options.spool_bytes_max <= 0:
        return None
    folder = spool_folder(data, destination, options.form)
    return Spool(folder, f"{options.form} {destination.text}", clock.seconds, options.spool_bytes_max)


def _pools(clients: Sequence[Client]) -> list[tuple[Client, ...]]:
    """For each client, all that have its host and port; those share one tuple."""
    of: dict[tuple[str, int], list[Client]] = {}
    for client in clients:
        of.setdefault(client.destination[:2], []).append(client)
    tuples = {address: tuple(each) for address, each in of.items()}
    return [tuples[client.destination[:2]] for client in clients]
