"""Metric lines from topics of Kafka: messages of one or several lines each.

The client library has a thread that fetches; ours asks it for messages and gives their lines to the reactor's thread, a
bounded batch at a time. Offsets are committed when a batch was taken: after a crash its messages come again, and the
same datapoints stored once more do no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import blockingCallFromThread, deferToThreadPool

from carbon.stats import Stats

_log = logging.getLogger(__name__)

POLL_S = 0.5  # how long a stop, a pause or a resume may wait for the library
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Topics:
    """Where the messages come from."""

    servers: str  # host:port, …
    topics: tuple[str, ...]
    group: str = "plumbago"
    from_start: bool = False  # of a topic that the group has not read before; else from now on
    messages_max: int = 1_000  # of a batch
    buffer_kib: int = 16_384  # what the library may fetch ahead, all topics together; its default: 64 MiB
    more: Mapping[str, Any] = field(
        default_factory=dict, repr=False
    )  # of librdkafka: security.protocol, sasl.…

    def library(self) -> dict[str, Any]:
        """As librdkafka has it."""
        return {
            "bootstrap.servers": self.servers,
            "group.id": self.group,
            "auto.offset.reset": "earliest" if self.from_start else "latest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "queued.max.messages.kbytes": self.buffer_kib,
            "fetch.message.max.bytes": min(1 << 20, self.buffer_kib << 9),
            **self.more,
        }


class KafkaSource:
    """Reads messages from `start` to `stop`, and gives their lines to `accept` in the reactor's thread."""

    def __init__(self, topics: Topics, accept: Callable[[bytes], None], stats: Stats, reactor: Any) -> None:
        """`accept` takes whole lines and returns when they need not be sent again; if it raises, they are."""
        self._topics, self._accept, self._stats, self._reactor = topics, accept, stats, reactor
        self._stopping, self._paused = threading.Event(), threading.Event()
        self._done: Deferred[None] | None = None

    def start(self) -> None:
        self._stopping.clear()
        self._done = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._run)

    def stop(self) -> Deferred[None]:
        """Fires when the thread has ended; the reactor must run until then."""
        self._stopping.set()
        return succeed(None) if self._done is None else self._done

    def pause(self) -> None:
        """Fetch nothing, and stay in the group."""
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    # --- in the thread ---

    def _run(self) -> None:
        """Read until it is time to stop; begin anew after an error, ever later."""
        wait_s = RETRY_MIN_S
        while not self._stopping.is_set():
            try:
                self._session()
                wait_s = RETRY_MIN_S
            except KafkaException as error:
                _log.error("Kafka at %s: %s", self._topics.servers, error)
            except Exception:
                self._stats.errors += 1
                _log.exception("messages of Kafka could not be taken; they are read again")
            self._stopping.wait(0 if self._stopping.is_set() else wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    def _session(self) -> None:
        consumer = Consumer(self._topics.library(), logger=_log)
        try:
            consumer.subscribe(list(self._topics.topics))
            _log.info(
                "reading metrics from Kafka at %s: %s", self._topics.servers, ", ".join(self._topics.topics)
            )
            while not self._stopping.is_set():
                self._hold(consumer)
                self._take(consumer, consumer.consume(self._topics.messages_max, POLL_S))
        finally:
            consumer.close()

    def _hold(self, consumer: Any) -> None:
        """While paused, ask for nothing but that the group knows us to be alive."""
        if not self._paused.is_set():
            return
        while self._paused.is_set() and not self._stopping.is_set():
            consumer.pause(consumer.assignment())  # again and again, as the group may give us others
            self._take(consumer, consumer.consume(1, POLL_S))  # one may have been on its way
        consumer.resume(consumer.assignment())

    def _take(self, consumer: Any, messages: Sequence[Any]) -> None:
        """Give the lines to the reactor's thread, then commit; raises KafkaException if it cannot go on."""
        bodies = []
        for message in messages:
            error = message.error()
            if error is not None:
                _complain(error)
            elif message.value():
                bodies.append(message.value())
        if bodies:
            blockingCallFromThread(self._reactor, self._accept, b"\n".join([*bodies, b""]))
        last = {
            (message.topic(), message.partition()): message for message in messages if message.error() is None
        }
        for message in last.values():
            consumer.store_offsets(message)
        if last:
            consumer.commit(asynchronous=False)


def _complain(error: KafkaError) -> None:
    """Most errors pass by themselves (a broker is away, a topic is not there yet); raises those that do not."""
    if error.fatal():
        raise KafkaException(error)
    _log.warning("Kafka: %s", error)
