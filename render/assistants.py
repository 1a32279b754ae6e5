"""Processes that answer quick requests when the reactor's thread has no time for all of them.

They are workers' siblings: forked of the same nursery, so that they share its memory, but each is asked many things at
a time, answers them in their order, and what goes to and fro is the reactor's. One that ends, or is silent for long,
costs nobody an answer: what it was asked is answered by a thread.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

_LOG = logging.getLogger(__name__)
_ASKED_MAX = 6  # at a time: it works on the next while the reactor writes the last
_SILENT_S = 5.0
_AGAIN_S = 1.0  # between two starts


class Lost(Exception):
    """The process has ended, or was ended as it said nothing."""


class Assistants:
    """So many, each started when there is something for it."""

    def __init__(
        self,
        count: int,
        start: Callable[[], socket.socket],
        reactor: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` gives our end of a new one's socket."""
        self.count, self._start, self._reactor, self._clock = count, start, reactor, clock
        self.started = self.lost = 0
        self._all: list[_Assistant] = []
        self._begun = -_AGAIN_S

    def free(self) -> _Assistant | None:
        """The one that has least to do; None if none has time, or it is not there yet."""
        if len(self._all) < self.count and self._clock() - self._begun >= _AGAIN_S:
            self._begin()
        ready = [each for each in self._all if each.pid and len(each.asked) < _ASKED_MAX]
        return min(ready, key=lambda each: len(each.asked), default=None)

    def _begin(self) -> None:
        self._begun = self._clock()
        try:
            ours = self._start()
        except OSError as error:  # readiness tells that no worker can be started
            _LOG.error("no assistant can be started: %s", error)
            return
        self.started += 1
        one = _Assistant(self._left, self._clock)
        self._all.append(one)
        with ours:
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, _Giving(one))
        self._look(one)

    def _left(self, one: _Assistant) -> None:
        self._all.remove(one)
        self.lost += 1

    def _look(self, one: _Assistant) -> None:
        """Now and then, until it is gone: whether it has said nothing for too long."""
        if one in self._all:
            one.end_if_silent()
            self._reactor.callLater(_SILENT_S / 2, self._look, one)


class _Giving(Factory):
    noisy = False

    def __init__(self, one: _Assistant) -> None:
        self._one = one

    def buildProtocol(self, addr: Any) -> _Assistant:  # noqa: N802  # Twisted's name
        return self._one


class _Assistant(Int32StringReceiver):
    """Our end of one; its first message is its process' number."""

    MAX_LENGTH = 1 << 28

    def __init__(self, gone: Callable[[_Assistant], object], clock: Callable[[], float]) -> None:
        self._gone, self._clock = gone, clock
        self.pid = 0
        self.asked: deque[tuple[float, Deferred[bytes]]] = deque()

    def ask(self, message: bytes) -> Deferred[bytes]:
        """Its answer; fails with Lost."""
        answer: Deferred[bytes] = Deferred()
        self.asked.append((self._clock(), answer))
        self.sendString(message)
        return answer

    def stringReceived(self, string: bytes) -> None:  # noqa: N802  # Twisted's name
        if not self.pid:
            self.pid = int.from_bytes(string, "big")
        elif self.asked:
            self.asked.popleft()[1].callback(string)

    def end_if_silent(self) -> None:
        if self.asked and self._clock() - self.asked[0][0] > _SILENT_S:
            _LOG.error("process %d has said nothing for %g s and is killed", self.pid, _SILENT_S)
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  # Twisted's name
        self._gone(self)
        while self.asked:
            self.asked.popleft()[1].errback(Lost())
