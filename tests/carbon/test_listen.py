"""Streams: held back together, new ones too, and not taken for idle meanwhile."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from carbon.errors import BadFrame
from carbon.listen import IDLE_S, Stream, StreamFactory
from carbon.stats import Stats


class Streams:
    """A listener of streams that keep what they read."""

    def __init__(self) -> None:
        self.stats, self.read, self.clock = Stats(), bytearray(), Clock()
        self.factory = StreamFactory(lambda: self._take, self.stats)

    def _take(self, data: bytes) -> None:
        if data == b"bad":
            raise BadFrame("bad")
        self.read += data

    def connect(self) -> tuple[Stream, StringTransport]:
        stream, transport = self.factory.buildProtocol(None), StringTransport()  # type: ignore[no-untyped-call]  # Twisted's
        stream.callLater = self.clock.callLater  # type: ignore[method-assign,assignment]  # as TimeoutMixin says to
        stream.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's
        return stream, transport


def states(*transports: StringTransport) -> list[str]:
    return [transport.producerState for transport in transports]


def test_pausing_holds_back_all_streams_and_new_ones() -> None:
    streams = Streams()
    (_, first), (_, second) = streams.connect(), streams.connect()
    streams.factory.pause()
    streams.factory.pause()
    _, third = streams.connect()
    assert states(first, second, third) == ["paused"] * 3
    assert (streams.stats.connections, streams.stats.paused) == (3, 3)
    streams.factory.resume()
    _, fourth = streams.connect()
    assert states(first, second, third, fourth) == ["producing"] * 4
    assert (streams.stats.connections, streams.stats.paused) == (4, 0)


def test_a_paused_stream_that_goes_is_not_counted_as_paused() -> None:
    streams = Streams()
    stream, _ = streams.connect()
    streams.factory.pause()
    stream.connectionLost()
    assert (streams.stats.connections, streams.stats.paused) == (0, 0)
    streams.factory.resume()
    assert streams.stats.paused == 0


def test_a_paused_stream_is_not_idle_and_a_resumed_one_may_be() -> None:
    streams = Streams()
    _, transport = streams.connect()
    streams.factory.pause()
    streams.clock.advance(10 * IDLE_S)
    assert not transport.disconnecting
    streams.factory.resume()
    streams.clock.advance(IDLE_S - 1)
    assert not transport.disconnecting
    streams.clock.advance(2)
    assert transport.disconnecting


def test_what_was_read_when_the_pause_came_is_still_taken() -> None:
    streams = Streams()
    stream, _ = streams.connect()
    streams.factory.pause()
    stream.dataReceived(b"on its way")
    assert streams.read == b"on its way"
