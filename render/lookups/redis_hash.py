"""One hash of a Redis server as a table: field → alias."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from render.config import RedisServer
from render.errors import Unavailable
from render.lookups.tables import Aliases, Key

_LOG = logging.getLogger(__name__)
_AT_ONCE = 1000  # fields that one HMGET asks for


def client(server: RedisServer) -> Redis:
    """What asks a server; it connects when it is first asked. Raises ValueError for what is no URL."""
    return Redis.from_url(
        server.url,
        socket_timeout=server.timeout_s,
        socket_connect_timeout=server.timeout_s,
        decode_responses=True,
        encoding_errors="replace",
        retry=Retry(NoBackoff(), 1),  # for a connection that the server has closed meanwhile
    )


class RedisHash:
    """Threads may share it: the client has a connection for each that asks."""

    width = 1

    def __init__(self, client: Redis, key: str) -> None:
        self._client, self._key = client, key

    def ask(self, keys: Sequence[Key]) -> Aliases:
        found: list[str | None] = []
        try:
            for at in range(0, len(keys), _AT_ONCE):
                fields = [field for (field,) in keys[at : at + _AT_ONCE]]
                found += self._client.hmget(self._key, fields)  # type: ignore[arg-type]  # typed for coroutines too
        except (RedisError, OSError) as error:
            _LOG.warning("Redis gives no answer: %s", error)
            raise Unavailable("Redis gives no answer; the log of this server says why") from error
        return found
