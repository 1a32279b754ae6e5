"""Metric lines from an AMQP broker, as carbon takes them: messages of a topic exchange, of one or several lines each.

A line is `value timestamp` of the metric that the routing key names, or `metric value timestamp` with `name_in_body`.
Carbon has the broker forget messages as it sends them; here one is acknowledged when its datapoints were taken, and a
bounded number of messages is on the way. A queue of no name is the connection's own and goes with it, as carbon's; one
with a name is durable, and keeps what comes while nobody reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pika import ConnectionParameters, PlainCredentials  # type: ignore[import-untyped]  # has no stubs
from pika.adapters.twisted_connection import TwistedProtocolConnection  # type: ignore[import-untyped]  # has no stubs
from pika.exceptions import AMQPError  # type: ignore[import-untyped]  # has no stubs
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from carbon.stats import Stats

_log = logging.getLogger(__name__)

RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
MESSAGE_TOO_LONG = "message too long"


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Where the messages come from; names of carbon.conf in comments."""

    host: str = "localhost"  # AMQP_HOST
    port: int = 5672  # AMQP_PORT
    vhost: str = "/"  # AMQP_VHOST
    user: str = "guest"  # AMQP_USER
    password: str = field(default="guest", repr=False)  # AMQP_PASSWORD
    exchange: str = "graphite"  # AMQP_EXCHANGE, a durable topic exchange, declared if it is not there
    patterns: tuple[str, ...] = ("#",)  # BIND_PATTERNS
    name_in_body: bool = False  # AMQP_METRIC_NAME_IN_BODY
    queue: str = ""  # carbon: always its own
    messages_max: int = 1_000  # on the way, unacknowledged; carbon: no limit
    message_bytes_max: int = 1 << 20  # of a body; carbon: no limit
    heartbeat_s: int = 60


class Message(NamedTuple):
    key: str  # routing key
    body: bytes


class AmqpSource:
    """Reads messages from `start` to `stop`, and gives their lines to `accept`; tries again when the broker is away."""

    def __init__(self, broker: Broker, accept: Callable[[bytes], None], stats: Stats, reactor: Any) -> None:
        """`accept` takes whole lines and returns when they need not be sent again; if it raises, they are."""
        self._broker, self._accept, self._stats, self._reactor = broker, accept, stats, reactor
        self._resumed: Deferred[None] | None = None  # while it is paused
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        self._running = self._run()

    def stop(self) -> Deferred[None]:
        """Fires when nothing more is taken; what was not acknowledged the broker sends again."""
        if self._running is None:
            return succeed(None)
        self._running.cancel()
        return self._running

    def pause(self) -> None:
        """Take nothing; the broker holds back what is more than may be on the way."""
        if self._resumed is None:
            self._resumed = Deferred()

    def resume(self) -> None:
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            resumed.callback(None)

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        """Read until it is cancelled, from one connection after another; after failures ever later."""
        broker, wait_s = self._broker, RETRY_MIN_S
        while True:
            started = self._reactor.seconds()
            try:
                yield self._session()
            except CancelledError:
                return
            except (AMQPError, ConnectError, ConnectionClosed, DNSLookupError, OSError) as error:
                _log.warning("AMQP broker %s:%s: %r", broker.host, broker.port, error)
            except Exception:
                self._stats.errors += 1
                _log.exception("messages of AMQP could not be taken; the broker is to send them again")
            if self._reactor.seconds() - started > RETRY_MAX_S:
                wait_s = RETRY_MIN_S
            try:
                yield deferLater(self._reactor, wait_s)
            except CancelledError:
                return
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    @inlineCallbacks
    def _session(self) -> Generator[Deferred[Any], Any, None]:
        """Connect, then take messages until the connection goes; those that have come together together."""
        endpoint: Any = HostnameEndpoint(self._reactor, self._broker.host, self._broker.port)
        connection = yield endpoint.connect(Factory.forProtocol(self._protocol))
        try:
            channel, messages = yield self._prepare(connection)
            _log.info("reading metrics from the AMQP broker %s:%s", self._broker.host, self._broker.port)
            while True:
                taken = [(yield messages.get())]
                while messages.pending:
                    taken.append((yield messages.get()))
                while self._resumed is not None:
                    yield shielded(self._resumed)
                self._take(channel, taken)
        finally:
            connection.transport.loseConnection()  # after what is still to be written, acknowledgements

    def _protocol(self) -> TwistedProtocolConnection:
        broker = self._broker
        return TwistedProtocolConnection(
            ConnectionParameters(
                broker.host, broker.port, broker.vhost, PlainCredentials(broker.user, broker.password),
                heartbeat=broker.heartbeat_s,
            )
        )  # fmt: skip

    @inlineCallbacks
    def _prepare(
        self, connection: TwistedProtocolConnection
    ) -> Generator[Deferred[Any], Any, tuple[Any, Any]]:
        """Declare, bind and consume; gives (the channel, the queue of its messages)."""
        broker = self._broker
        yield connection.ready
        channel = yield connection.channel()
        yield channel.exchange_declare(broker.exchange, exchange_type="topic", durable=True)
        declared = yield channel.queue_declare(
            broker.queue, exclusive=not broker.queue, durable=bool(broker.queue)
        )
        for pattern in broker.patterns:
            yield channel.queue_bind(declared.method.queue, broker.exchange, routing_key=pattern)
        yield channel.basic_qos(prefetch_count=broker.messages_max)
        messages, _ = yield channel.basic_consume(declared.method.queue, consumer_tag="graphite_consumer")
        return channel, messages

    def _take(self, channel: Any, taken: list[Any]) -> None:
        lines = []
        for _, method, _, body in taken:
            if len(body) > self._broker.message_bytes_max:
                self._stats.reject(MESSAGE_TOO_LONG, sample=body[:200], source="AMQP")
                continue
            lines.append(lines_of(Message(method.routing_key, body), name_in_body=self._broker.name_in_body))
        data = b"".join(lines)
        if data:
            self._accept(data)
        channel.basic_ack(taken[-1][1].delivery_tag, multiple=True)


def shielded(waited: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires with another, and may be cancelled without it."""
    mine: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        if not mine.called:
            mine.callback(result)

    waited.addCallback(fire)
    return mine


def lines_of(message: Message, *, name_in_body: bool) -> bytes:
    """A message as lines of the line protocol, each with its newline.

    A routing key that is empty or has blanks is no name, and must not become another's: its lines have an empty node
    for a name, and are refused.
    """
    if name_in_body:
        return message.body + b"\n"
    key = message.key.encode("utf-8", "surrogateescape")
    name = key if key.split() == [key] else b"."
    values = [line.strip() for line in message.body.split(b"\n")]
    return b"".join(b"%b %b\n" % (name, value) for value in values if value)
