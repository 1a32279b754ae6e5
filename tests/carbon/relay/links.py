"""A destination without sockets, for clients and relays: tries to connect succeed or fail when they are told to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock

from carbon.relay.client import TICK_S, Client
from carbon.relay.encode import Chunk


@dataclass(eq=False)
class FakeLink:
    """A connection that takes `room` bytes and then pauses; none of them has arrived before it is `arrived`."""

    peer: FakePeer
    room: int
    paused: bool = False
    arrived: int = 0
    data: bytearray = field(default_factory=bytearray)
    closed: bool = False
    aborted: bool = False

    def write(self, data: bytes) -> None:
        assert not self.paused, "written to, though it has enough"
        assert not self.closed, "written to after its end"
        assert not self.aborted, "written to after its end"
        self.data += data
        self.room -= len(data)
        self.paused = self.room <= 0

    def waiting(self, written: int, largest: int, *, quiet: bool) -> int:
        assert written == len(self.data)
        assert largest <= written or not written
        return written - self.arrived

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    # --- what tests do to it ---

    def take(self, room: int) -> None:
        """Go on, for so many bytes."""
        self.room = room
        self.paused = False
        self.peer.client.ready()

    def arrive(self) -> None:
        self.arrived = len(self.data)

    def lose(self) -> None:
        self.peer.links.remove(self)
        self.peer.client.lost(self, "lost")


class FakePeer:
    """What a client connects to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.client: Client
        self.tries = 0
        self.waiting: list[Deferred[Any]] = []
        self.links: list[FakeLink] = []
        self.up: bool | None = None  # None = tries wait

    def connect(self, factory: Any) -> Deferred[Any]:
        self.tries += 1
        done: Deferred[Any] = Deferred()
        self.waiting.append(done)
        if self.up is not None:
            self.answer()
        return done

    def answer(self, *, room: int = 1 << 40) -> None:
        """Let the try that waits succeed, or fail if this is down."""
        done = self.waiting.pop()
        if self.up is False:
            done.errback(ConnectionRefusedError())  # type: ignore[no-untyped-call]  # Twisted's
            return
        link = FakeLink(self, room)
        self.links.append(link)
        self.client.made(link)
        done.callback(link)

    @property
    def link(self) -> FakeLink:
        """The connection that there is."""
        (link,) = self.links
        return link

    def advance(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)


def chunk(number: int, *, points: int = 1) -> Chunk:
    """A chunk of 10 bytes that tells its number."""
    return Chunk(b"%09d\n" % number, points)


def numbers(data: bytes) -> list[int]:
    return [int(line) for line in data.split()]
