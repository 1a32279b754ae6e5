"""The HTTP server as a process: its site, threads and workers, from a listening socket to the signal that ends it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web import http
from zope.interface import directlyProvides

from render import api
from render.access import Door, NoKeys
from render.api.cache import Cache
from render.assistants import Assistants
from render.config import DEFAULT_ACCESS, DEFAULT_HTTP, DEFAULT_LIMITS, Http, Limits
from render.connections import Channel, Request
from render.desk import Desk, work
from render.errand import runner
from render.extras import NO_EXTRAS, Extras
from render.leaving import SOON_S, Leaving
from render.observer import Observer
from render.readiness import EVERY_S, Check, Readiness, store_fault, writer_fault
from render.reception import Pools, Reception
from render.source import SharedStore
from render.statistics import Exposition, Live, Note, Report
from render.tls import ServerTLS, server_tls
from render.warm import is_compiled, warm_up
from render.workers import Jobs, Workers
from storage.ask import tell
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.store import Store

OPEN = Door(DEFAULT_ACCESS, NoKeys(), local=True)  # without tokens, to its own host only
_LOG = logging.getLogger(__name__)
_END_S = SOON_S + 0.15  # after a signal, though a thread hold what the end waits for
_ASSISTANTS_MAX = 3  # more than that, and the reactor has no time to ask them
_REPORT_SOON_S = 1.0
_REPORT_AGAIN_S = 10.0  # where nobody wants to be told of us


def serve(
    store: Store,
    listening: socket.socket,
    *,
    limits: Limits = DEFAULT_LIMITS,
    bounds: Http = DEFAULT_HTTP,
    door: Door = OPEN,
    extras: Extras = NO_EXTRAS,
    cache: Cache | None = None,
    delete: Callable[[Sequence[str]], None] | None = None,
    worker_count: int = 0,
    own_fds: Sequence[int] = (),
    has_receiver: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests on a listening socket, which is taken over, until SIGTERM or SIGINT; or SIGQUIT, see Leaving.

    `own_fds` are what of the caller's the workers must not hold open; `has_receiver`: it is not ready without one.
    """
    tls = server_tls(bounds)
    started = int(time.time())
    house = api.House(
        SharedStore(store), limits, bounds, started=started, extras=extras, cache=cache, delete=delete
    )
    is_warm = is_compiled()
    if is_warm:
        warm_up(house)
    gc.set_threshold(20_000, 20, 20)  # a request makes some hundreds of objects, and no circles
    gc.freeze()  # what is there stays, and need not be looked through again and again
    jobs = Jobs(partial(work, house), runner(house))
    workers = Workers(worker_count, jobs, partial(_apart, house, [listening.fileno(), *own_fds]))
    from twisted.internet import reactor as installed  # installs it, so not before it is needed

    reactor: Any = installed  # which interfaces it has is decided when it is installed
    pools = Pools(
        _pool(bounds.running_max, "request"), _pool(workers.count, "heavy") if workers.count else None
    )
    readiness = _readiness(store, house, has_receiver)
    assistants = Assistants(_assistant_count(workers), workers.start_assistant, reactor)
    site = Site(Desk(replace(house, not_ready=readiness.reasons), workers), reactor, pools, assistants, door)
    readiness.also(faults(site))
    listening.setblocking(False)
    port = reactor.adoptStreamPort(listening.fileno(), listening.family, _secured(site, tls))
    listening.close()
    reactor.callWhenRunning(_obey_signals, reactor, site, port.stopListening)
    reactor.callWhenRunning(on_ready)
    if not is_warm:
        reactor.callWhenRunning(Thread(target=warm_up, args=(house,), daemon=True).start)
    reporter = Reporter(reactor, site.report, partial(tell, store.folder), _pool(1, "report"))
    reporter.start(until=lambda: site.is_leaving)
    reactor.run()
    site.observer.close()


def _assistant_count(workers: Workers) -> int:
    """The reactor's thread has a processor; where there is only one, another process is of no help."""
    return min(_ASSISTANTS_MAX, len(os.sched_getaffinity(0)) - 1) if workers.count else 0


def _readiness(store: Store, house: api.House, has_receiver: bool) -> Readiness:
    """It is looked at from now on."""
    checks = [partial(store_fault, store.folder, house.source)]
    if has_receiver:
        checks.append(partial(writer_fault, store.folder))
    readiness = Readiness(checks)
    readiness.look()

    def go_on() -> None:
        while True:
            time.sleep(EVERY_S)
            try:
                readiness.look()
            except Exception:
                _LOG.exception("whether the server is ready is not known")

    Thread(target=go_on, name="readiness", daemon=True).start()
    return readiness


def faults(site: Site) -> Sequence[Check]:
    """What is seen at once."""
    reception, bounds = site.reception, site.house.http
    most = bounds.running_max + bounds.waiting_max
    return (
        lambda: "the server is about to end" if site.is_leaving else "",
        lambda: (
            f"{most} requests are being worked on or wait"
            if reception.pending - reception.heavy >= most
            else ""
        ),
        lambda: "" if reception.desk.workers.can_start else "no worker can be started",
    )


def _obey_signals(reactor: Any, site: Site, deaf: Callable[[], object]) -> None:
    """SIGTERM and SIGINT: end soon. SIGQUIT: end gently, another has our place; it is nginx' word for that, too."""
    in_time = _clockwork(_END_S)

    def over() -> None:
        in_time()
        reactor.stop()

    def soon(*_: object) -> None:
        in_time()
        reactor.callFromThread(leaving.soon)

    leaving = site.leaving = Leaving(reactor, site.channels, deaf, over)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, soon)
    signal.signal(signal.SIGQUIT, lambda *_: reactor.callFromThread(leaving.gently, site.house.http.idle_s))


def _clockwork(seconds: float) -> Callable[[], None]:
    """Gives what, once called, has the process end after so many seconds, whatever holds its other threads up.

    What does is a log that nobody reads: who writes to a full pipe waits, holding the lock that all others want. So
    this takes no lock, and may be called by a signal's handler.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)  # it is called more than once

    def wait() -> None:
        os.read(told, 1)
        time.sleep(seconds)
        os._exit(0)

    Thread(target=wait, name="clockwork", daemon=True).start()

    def wind() -> None:
        with suppress(BlockingIOError):
            os.write(tell, b"!")

    return wind


def _secured(site: Site, tls: ServerTLS | None) -> Any:
    if tls is None:
        return site
    directlyProvides(tls, IOpenSSLContextFactory)  # what it is: Twisted wants to be told
    factory, creator = cast(Any, site), cast(Any, tls)
    return TLSMemoryBIOFactory(creator, isClient=False, wrappedFactory=factory)


def _apart(house: api.House, own_fds: Sequence[int]) -> None:
    """In the process that workers are forked of: let go what is the server's."""
    for fd in own_fds:
        os.close(fd)
    house.source.after_fork()


class _DaemonPool(ThreadPool):
    """Threads that the process does not wait for when it is to end: they only read."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # noqa: N815  # only ever called


def _pool(threads: int, name: str) -> ThreadPool:
    pool = _DaemonPool(1, threads, name)
    pool.start()
    return pool


class Site(http.HTTPFactory):
    """The HTTP server's connections; each request goes to the one Reception."""

    protocol = Channel  # type: ignore[assignment]  # without HTTP/2, which needs the one that chooses

    def __init__(
        self, desk: Desk, reactor: Any, pools: Pools, assistants: Assistants, door: Door = OPEN
    ) -> None:
        self.observer = Observer(desk.house.http, desk.clock)
        exposition = Exposition(self.observer.statistics, self.live)
        self.reception = Reception(desk, reactor, pools, assistants, door, exposition.text, self.ended)
        self.answer = self.reception.take
        super().__init__(timeout=desk.house.http.idle_s, reactor=reactor)
        self.house, self.connections = desk.house, 0
        self.channels: set[Channel] = set()
        self.leaving: Leaving | None = None  # how it ends, where it is a process
        self.report = Report(self.observer.statistics, self.live)

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802  # Twisted's name
        channel = super().buildProtocol(addr)
        assert isinstance(channel, Channel)
        channel.site, channel.requestFactory = self, Request
        return channel

    @property
    def is_leaving(self) -> bool:
        return self.leaving is not None and self.leaving.has_begun

    @property
    def is_leaving_soon(self) -> bool:
        return self.leaving is not None and self.leaving.is_soon

    def log(self, request: http.Request) -> None:
        """All of the answer is written."""
        assert isinstance(request, Request)
        self.ended(request.note, request.code, request.sentLength)

    def ended(self, note: Note, status: int, sent: int) -> None:
        """A request has ended, with so many bytes of a body; each once."""
        note.end(status, sent)
        self.observer.ended(note)

    def live(self) -> Live:
        """What is counted as it is now."""
        reception, workers, cache = self.reception, self.reception.desk.workers, self.house.cache
        light, bounds = reception.pending - reception.heavy, self.house.http
        in_work = min(light, bounds.running_max) + min(reception.heavy, workers.count)
        return Live(
            self.connections,
            in_work,
            reception.pending - in_work,
            reception.heavy,
            len(self.house.source),
            self.house.source.refreshes,
            workers.started,
            workers.lost,
            reception.assistants.started,
            reception.assistants.lost,
            None if cache is None else cache.statistics(),
            self.observer.dropped,
        )


class Reporter:
    """Has the process that has the store record what we count, as often as that one says; if there is one."""

    def __init__(
        self, reactor: Any, report: Report, tell: Callable[[Mapping[str, float]], float], pool: ThreadPool
    ) -> None:
        """`tell` may block; it gives the seconds until it is to be called again, 0 = nothing is wanted."""
        self._reactor, self._report, self._tell, self._pool = reactor, report, tell, pool
        self._every_s = 0.0
        self._is_over: Callable[[], bool] = lambda: False

    def start(self, until: Callable[[], bool] = lambda: False) -> None:
        """`until`: whether to tell no more, as another process that has taken our place does."""
        self._is_over = until
        self._reactor.callLater(_REPORT_SOON_S, self._begin)

    def _begin(self) -> None:
        if not self._is_over():
            done = Deferred.fromCoroutine(self._go_on()).addErrback(_not_reported)
            done.addBoth(lambda _: self._reactor.callLater(self._every_s or _REPORT_AGAIN_S, self._begin))

    async def _go_on(self) -> None:
        values = self._report.take() if self._every_s else {}
        try:
            every_s = await deferToThreadPool(self._reactor, self._pool, self._tell, values)
        except (StorageError, OSError, ValueError) as error:
            _LOG.debug("nobody records what is counted: %s", error)  # what was counted is told the next time
        else:
            self._report.taken()
            self._every_s = every_s


def _not_reported(error: Failure) -> None:
    _LOG.error("what is counted could not be told: %s", error)
