"""Work that is done again and again by the reactor, and goes on after it has failed once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from carbon.stats import Stats

_log = logging.getLogger(__name__)
reactor: Any = installed  # which interfaces it has is decided when it is installed


class Timers:
    def __init__(self, stats: Stats, clock: Any = None) -> None:
        """`clock` None is the reactor's."""
        self._stats, self._clock = stats, clock or reactor
        self._calls: list[LoopingCall] = []

    def every(self, seconds: float, work: Callable[[], object], *, at_once: bool = False) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception:
                self._stats.errors += 1
                _log.exception("%s failed; it is tried again in %s s", work, seconds)

        call = LoopingCall(guarded)
        call.clock = self._clock
        call.start(seconds, now=at_once)
        self._calls.append(call)

    def stop(self) -> None:
        for call in self._calls:
            call.stop()
        self._calls.clear()


def pause(seconds: float, clock: Any = reactor) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    clock.callLater(seconds, done.callback, None)
    return done
