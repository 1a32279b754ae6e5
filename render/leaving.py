"""How the server ends: it accepts nobody any more, answers what it was asked, and is over after so long at most.

*Gently*, because another process has taken its place: clients come on their kept-alive connections for as long as
they like to, and each is told with its next answer to connect anew. So no request meets a connection that is closed
meanwhile. *Soon*, because all ends: what is in work, waits or is being written gets a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

SOON_S = 1.5  # Kubernetes and systemd give 30 and 90 s; a person at a terminal expects it at once
_QUIET_S = 0.1  # when no connection had a request for so long, nothing is on its way
_LOOK_S = 0.02


class Connection(Protocol):
    @property
    def is_busy(self) -> bool:
        """Whether it has a request, or an answer that is not written to its end."""
        ...

    def loseConnection(self) -> None:  # noqa: N802  # Twisted's name
        """Close it when all is written."""
        ...


class Clock(Protocol):
    """What is needed of a reactor."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...  # noqa: A002, N802


class Leaving:
    """The end of a server that has these connections; `over` is called once."""

    def __init__(
        self,
        clock: Clock,
        connections: Collection[Connection],
        deaf: Callable[[], object],
        over: Callable[[], object],
    ) -> None:
        """`deaf` has it accept no connection any more."""
        self._clock, self._connections, self._deaf, self._over = clock, connections, deaf, over
        self._until = 0.0
        self._busy_at = 0.0
        self.has_begun = False  # each answer is the last on its connection
        self.is_soon = False

    def gently(self, most_s: float) -> None:
        """End when no connection is left; after so many seconds, soon."""
        if not self.has_begun:
            self._begin(most_s)

    def soon(self) -> None:
        """End when no connection has a request, within SOON_S."""
        if self.is_soon:
            return
        self.is_soon = True
        self._busy_at = self._clock.seconds()
        if not self.has_begun:
            self._begin(SOON_S)
        self._until = min(self._until, self._busy_at + SOON_S)

    def _begin(self, most_s: float) -> None:
        self.has_begun = True
        self._until = self._clock.seconds() + most_s
        self._deaf()
        self._clock.callLater(0, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        if now >= self._until and not self.is_soon:
            self._until = now + SOON_S
            self.soon()
        if not self._connections or now >= self._until:
            self._over()
            return
        if self.is_soon:
            self._close_when_quiet(now)
        self._clock.callLater(_LOOK_S, self._look)

    def _close_when_quiet(self, now: float) -> None:
        if any(each.is_busy for each in self._connections):
            self._busy_at = now
        elif now - self._busy_at >= _QUIET_S:
            for each in list(self._connections):
                each.loseConnection()
