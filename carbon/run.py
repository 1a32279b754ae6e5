"""A process of this wing from its start to its end: until SIGTERM, and then until what was sent to it is read."""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from carbon.every import pause

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed

_QUIET_S = 0.1  # when nothing came for so long, nothing is under way
_LOOK_S = 0.02


class Process(Protocol):
    """What is run."""

    def start(self) -> None: ...

    def stop(self) -> Deferred[None]: ...

    @property
    def status(self) -> int:
        """The exit status."""
        ...


def run(process: Process, on_ready: Callable[[], None]) -> int:
    """Run until SIGTERM or SIGINT, and stop in order. Gives the exit status."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            process.stop().addErrback(_log_failure).addCallback(lambda _: reactor.stop())

    def on_signal(*_: object) -> None:
        reactor.callFromThread(stop)

    def started() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        process.start()
        gc.freeze()  # what is there by now stays: a collection that looks at all of it takes 0.1 s
        on_ready()

    reactor.callWhenRunning(started)
    reactor.run(installSignalHandlers=False)
    return process.status


def _log_failure(failure: Failure) -> None:
    _log.error("stopping failed: %s", failure.getTraceback())


async def until_quiet(count: Callable[[], int], most_s: float, *, busy: Callable[[], bool]) -> None:
    """Wait until nothing comes any more, by a count of what came, and `busy` is over; at most so long."""
    heard, deadline = time.monotonic(), time.monotonic() + most_s
    before = -1
    while time.monotonic() < deadline:
        if (now := count()) != before:
            before, heard = now, time.monotonic()
        if time.monotonic() - heard > _QUIET_S and not busy():
            break
        await pause(_LOOK_S)
