"""The brokers that the settings name, ready to be read from; their clients are optional and imported when asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred

from carbon.config import FILE, Amqp, Kafka, Settings
from carbon.stats import Stats
from storage.errors import InvalidConfig

_AMQP_PORT = 5672


class Source(Protocol):
    """Something that fetches lines by itself."""

    def start(self) -> None: ...
    def stop(self) -> Deferred[None]: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


def brokers(
    settings: Settings, accept: Callable[[str, bytes], None], stats: Stats, reactor: Any
) -> list[Source]:
    """`accept` takes (listener, lines). Raises InvalidConfig where a client is not installed."""
    found: list[Source] = []
    if settings.amqp.url is not None:
        found.append(_amqp(settings.amqp, settings.amqp.url, accept, stats, reactor))
    if settings.kafka.servers is not None:
        found.append(_kafka(settings.kafka, settings.kafka.servers, accept, stats, reactor))
    return found


def _amqp(amqp: Amqp, url: str, accept: Callable[[str, bytes], None], stats: Stats, reactor: Any) -> Source:
    try:
        from carbon.sources.amqp import AmqpSource, Broker
    except ImportError as error:
        raise _missing("amqp") from error
    parts = urlsplit(url)
    if parts.scheme != "amqp" or not parts.hostname:
        raise InvalidConfig(FILE, 0, "[amqp] url", f"{url!r} is no amqp://user:password@host:port/vhost")
    broker = Broker(
        host=parts.hostname,
        port=parts.port or _AMQP_PORT,
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        exchange=amqp.exchange,
        patterns=amqp.bind_patterns,
        name_in_body=amqp.name_in_body,
    )
    return AmqpSource(broker, lambda lines: accept("amqp", lines), stats, reactor)


def _kafka(
    kafka: Kafka, servers: str, accept: Callable[[str, bytes], None], stats: Stats, reactor: Any
) -> Source:
    try:
        from carbon.sources.kafka import KafkaSource, Topics
    except ImportError as error:
        raise _missing("kafka") from error
    topics = Topics(servers=servers, topics=kafka.topics, group=kafka.group)
    return KafkaSource(topics, lambda lines: accept("kafka", lines), stats, reactor)


def _missing(extra: str) -> InvalidConfig:
    return InvalidConfig(FILE, 0, f"[{extra}]", f"needs its client: pip install 'plumbago[{extra}]'")
