"""What the operator adds to targets: macros, and the tables that aliases are looked up in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from render.config import Database, RedisServer, Settings
from render.functions import REGISTRY
from render.lookups.tables import NO_LOOKUPS, Cached, Lookups, Table
from render.macros import NO_MACROS, Macros
from storage.errors import InvalidConfig

FILE = "plumbago.toml"


@dataclass(frozen=True)
class Extras:
    macros: Macros = NO_MACROS
    lookups: Lookups = NO_LOOKUPS


NO_EXTRAS = Extras()


def of(settings: Settings) -> Extras:
    """Those of a configuration, when all functions are known; no server is asked yet. Raises InvalidConfig."""
    for name in settings.functions.define.names:
        if name in REGISTRY.functions or name == "template":
            raise InvalidConfig(FILE, 0, f"[functions.define] {name}", "is a function's name: choose another")
    lookup = settings.lookup
    hashes = {} if lookup.redis is None else _hashes(lookup.redis)
    return Extras(settings.functions.define, Lookups(hashes, _queries(lookup.postgres)))


def _hashes(server: RedisServer) -> Mapping[str, Table]:
    try:
        from render.lookups.redis_hash import RedisHash, client
    except ImportError as error:
        raise _missing("redis") from error
    try:
        asking = client(server)
    except ValueError as error:
        raise InvalidConfig(FILE, 0, "[lookup.redis] url", str(error)) from error
    return {key: Cached(RedisHash(asking, key)) for key in server.keys}


def _queries(databases: Mapping[str, Database]) -> Mapping[tuple[str, str], Table]:
    if not databases:
        return {}
    try:
        from render.lookups.postgres_query import Connection, PostgresQuery
    except ImportError as error:
        raise _missing("postgres") from error
    connections = {name: Connection(name, database) for name, database in databases.items()}
    return {
        (name, key): Cached(PostgresQuery(connections[name], query))
        for name, database in databases.items()
        for key, query in database.queries.items()
    }


def _missing(extra: str) -> InvalidConfig:
    reason = f"needs a package that is not installed: pip install 'plumbago[{extra}]'"
    return InvalidConfig(FILE, 0, f"[lookup.{extra}]", reason)
