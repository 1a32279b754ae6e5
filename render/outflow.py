"""An answer that is written while it is made, as fast as the client takes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.threads import blockingCallFromThread
from zope.interface import implementer

from render import api
from render.connections import Request

_LOG = logging.getLogger(__name__)


@implementer(IPushProducer)
class Outflow:
    """An answer that is written while it is made, by a thread, as fast as the client takes it."""

    def __init__(self, reactor: Any, request: Request, gone: Event, idle_s: float) -> None:
        self._reactor, self._request, self._gone, self._idle_s = reactor, request, gone, idle_s
        self._flows = Event()

    def send(self, response: api.Response) -> None:
        """On a thread: all of it. What goes wrong ends the connection, as the answer has begun."""
        chunks = response.rest
        assert chunks is not None
        self._do(self._begin, response)
        whole = False
        try:
            for chunk in chunks:
                if not self._flows.wait(self._idle_s) or self._gone.is_set():
                    break
                self._do(self._request.write, chunk)
            else:
                whole = True
        except Exception:
            _LOG.exception("an answer broke off: %r", self._request.uri[:200])
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
            self._do(self._end, whole)

    def _do(self, call: Callable[..., object], *arguments: object) -> None:
        """Not before the reactor has done it is the next chunk made: they would wait there without a bound."""
        blockingCallFromThread(self._reactor, self._unless_gone, call, *arguments)

    def _unless_gone(self, call: Callable[..., object], *arguments: object) -> None:
        if not self._gone.is_set():
            call(*arguments)

    def _begin(self, response: api.Response) -> None:
        self._request.begin(response, length=None)
        self._request.registerProducer(self, streaming=True)
        if response.body:
            self._request.write(response.body)
        self._flows.set()

    def _end(self, whole: bool) -> None:
        self._request.unregisterProducer()
        if whole:
            self._request.finish()
        else:
            self._request.channel.transport.abortConnection()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's names
        self._flows.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._flows.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._gone.set()
        self._flows.set()
