"""Settings of the render wing: frozen dataclasses, one a section. settings.py reads those that have a table.

A table's fields have `metadata`: `read`, which gives the value of what stands in the file or raises ValueError
with what is allowed, and `words` for the manual.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from render.macros import NO_MACROS, Macros

_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_MODULES_MAX = 64
_BOUND = re.compile(r"(?<!%)(?:%%)*%s")
_STRAY = re.compile(r"(?<!%)(?:%%)*%(?![%s])")
_TIMEOUT_MAX_S = 30
_HOST = re.compile(r"\*|\.?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_ORIGIN = re.compile(r"\*|https?://(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Scope(IntEnum):
    """What one who asks may do; each has those before it."""

    NONE = 0
    READ = 1
    WRITE = 2  # tags, and all else that requests change
    ADMIN = 3  # what cannot be taken back

    def __str__(self) -> str:
        return self.name.lower()


def _modules(value: object) -> tuple[str, ...]:
    """Names of Python modules."""
    names = value if isinstance(value, list) else [value]
    if len(names) > _MODULES_MAX:
        raise ValueError(f"has {len(names)} modules; at most {_MODULES_MAX}")
    for name in names:
        if not isinstance(name, str) or _MODULE.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no module's name such as ops_functions, without a folder and .py")
    return tuple(names)


def _define(value: object) -> Macros:
    """Macros by name."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('is no table of texts such as perMinute = "perSecond({{.argString}})|scale(60)"')
    return Macros(value)


def _redis(value: object) -> RedisServer:
    """The table of a Redis server."""
    found = _parts(value, {"url": _text, "keys": _texts, "timeout": _seconds}, ("url", "keys"))
    return RedisServer(found["url"], found["keys"], found.get("timeout", RedisServer.timeout_s))


def _postgres(value: object) -> Mapping[str, Database]:
    """Databases by name."""
    if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
        raise ValueError("is no table of databases: write [lookup.postgres.NAME]")
    return MappingProxyType({name: _database(name, table) for name, table in value.items()})


def _database(name: str, table: object) -> Database:
    try:
        found = _parts(table, {"dsn": _text, "queries": _queries, "timeout": _seconds}, ("dsn", "queries"))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Database(found["dsn"], found["queries"], found.get("timeout", Database.timeout_s))


def _parts(
    value: object, known: Mapping[str, Callable[[object], Any]], needed: Sequence[str]
) -> dict[str, Any]:
    """The keys of a table within a table, read."""
    if not isinstance(value, dict):
        raise ValueError(f"is no table with {', '.join(known)}")
    for key in needed:
        if key not in value:
            raise ValueError(f"{key}: is missing")
    found = {}
    for key, given in value.items():
        if key not in known:
            raise ValueError(f"{key}: no such setting; there are {', '.join(known)}")
        try:
            found[key] = known[key](given)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{value!r} is no list of texts")
    return tuple(map(_text, value))


def _queries(value: object) -> Mapping[str, str]:
    """Queries by name, each with a place for a parameter or more."""
    if not isinstance(value, dict) or not value:
        raise ValueError('is no table of queries such as owner = "SELECT owner FROM hosts WHERE name = %s"')
    for name, query in value.items():
        if not isinstance(query, str) or _BOUND.search(query) is None:
            raise ValueError(f"{name}: a query has a %s for each part of a name that it takes")
        if _STRAY.search(query):
            raise ValueError(f"{name}: a % that is no %s is written %%")
    return MappingProxyType(dict(value))


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _TIMEOUT_MAX_S:
        raise ValueError(f"{value!r} is no number of seconds above 0 and at most {_TIMEOUT_MAX_S}")
    return float(value)


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{value!r} is no whole number from {low:,} to {high:,}")
        return value

    return read


def _idle(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 86_400:
        raise ValueError(f"{value!r} is no number of seconds from 1 to 86,400")
    return float(value)


def _none_or_idle(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        raise ValueError(f"{value!r} is no number of seconds from 0 to 86,400")
    return float(value)


def _path(value: object) -> Path:
    return Path(_text(value))


def _list(value: object) -> tuple[str, ...]:
    """A list of texts, or one; it may be empty."""
    return () if value == [] else _texts([value] if isinstance(value, str) else value)


def _hosts(value: object) -> tuple[str, ...]:
    """Names as they stand in a Host header, without a port."""
    names = _list(value)
    for name in names:
        if _HOST.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no host's name such as metrics.example.org, .example.org or *")
    return tuple(name.lower() for name in names)


def _origins(value: object) -> tuple[str, ...]:
    origins = _list(value)
    for origin in origins:
        if _ORIGIN.fullmatch(origin) is None:
            raise ValueError(f"{origin!r} is no origin such as https://grafana.example.org:3000, or *")
    return tuple(origin.lower() for origin in origins)


def _networks(value: object) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in _list(value))
    except ValueError as error:
        raise ValueError(f"is no list of networks such as 10.0.0.0/8 or ::1: {error}") from error


def _header(value: object) -> str:
    if not isinstance(value, str) or _HEADER.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no header's name such as X-Forwarded-User")
    return value


def _scope(value: object) -> Scope:
    try:
        return Scope[str(value).upper()]
    except KeyError:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, Scope))}") from None


def _scope_or_auto(value: object) -> Scope | None:
    return None if value == "auto" else _scope(value)


def _setting(read: Callable[[object], object], words: str) -> dict[str, object]:
    return {"read": read, "words": words}


class Light(NamedTuple):
    """What a request may cost that is answered beside others; one that costs more is for a worker."""

    points: int = 500_000  # read: their JSON takes some 30 ms
    seconds: float = 0.25  # until a worker begins anew
    nodes: int = 5_000  # of the tree: their JSON takes some 20 ms
    waits: bool = True  # it may wait for another process, and match a user's pattern


@dataclass(frozen=True)
class Limits:
    """[query]: what one request may cost. What a target may cost before anything is read is the parser's own."""

    targets_max: int = field(  # graphite-web: none
        default=100, metadata=_setting(_whole(1, 100_000), "targets of a request")
    )
    series_max: int = field(  # carbonapi: 1,000; VictoriaMetrics: 300,000; graphite-web: none
        default=300_000,
        metadata=_setting(_whole(1, 1 << 31), "series that a request reads, each pattern once a window"),
    )
    points_max: int = field(  # Prometheus: 50 M; graphite-web: none
        default=100_000_000,
        metadata=_setting(
            _whole(1000, 1 << 40), "datapoints that a request holds in memory at once, 8 bytes each"
        ),
    )
    points_read_max: int = field(  # VictoriaMetrics: 1,000 M
        default=1_000_000_000,
        metadata=_setting(
            _whole(1000, 1 << 40), "datapoints that a request reads, an aggregate's one part after another"
        ),
    )
    span_s_max: int = field(  # as far as a retention may reach
        default=100 * 366 * 86_400,
        metadata=_setting(
            _whole(60, 1 << 34), "seconds that a window is long, with the earlier data that functions ask for"
        ),
    )
    name_chars_max: int = field(  # functions put names into names
        default=50_000_000,
        metadata=_setting(_whole(1000, 1 << 40), "characters of all names of one series list"),
    )
    duration_s: float = field(  # VictoriaMetrics: 30; carbonapi: 60; Prometheus: 120
        default=30.0, metadata=_setting(_idle, "seconds until a request is given up")
    )
    light: Light | None = (
        None  # no setting: the server asks for less than all to see whether a request is light
    )

    @property
    def may_wait(self) -> bool:
        return self.light is None or self.light.waits


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Http:
    """[http]: what the HTTP server takes on. A request's line and headers have 16 KiB, which is Twisted's own bound."""

    body_bytes_max: int = field(  # Django: 2.5 MB; VictoriaMetrics: 16 MB and more
        default=8 << 20, metadata=_setting(_whole(1024, 1 << 30), "bytes of a request's form")
    )
    fields_max: int = field(  # Django: 1,000
        default=10_000, metadata=_setting(_whole(10, 1_000_000), "parameters of a request")
    )
    found_max: int = field(  # go-carbon: 30,000; graphite-web: any
        default=50_000,
        metadata=_setting(_whole(1, 10_000_000), "nodes that /metrics/find and /metrics/expand list at most"),
    )
    running_max: int = field(  # Prometheus: 20; VictoriaMetrics: 2 a core
        default=4, metadata=_setting(_whole(1, 256), "requests that a process works on at once")
    )
    waiting_max: int = field(
        default=64, metadata=_setting(_whole(0, 100_000), "requests that wait for that; more are told 429")
    )
    heavy_waiting_max: int = field(
        default=16,
        metadata=_setting(_whole(0, 10_000), "heavy requests that wait for a worker; more are told 429"),
    )
    light_points: int = field(
        default=Light().points,
        metadata=_setting(_whole(0, 1 << 40), "datapoints from which on a request is heavy, and a worker's"),
    )
    connections_max: int = field(  # Prometheus: 512
        default=5_000, metadata=_setting(_whole(1, 100_000), "connections of a process at once")
    )
    idle_s: float = field(
        default=60.0,
        metadata=_setting(
            _idle,
            "seconds until a connection is closed on which no request becomes whole, or nothing is read",
        ),
    )
    tls_certificate: Path | None = field(
        default=None, metadata=_setting(_path, "PEM file of the certificate and its chain: https only")
    )
    tls_key: Path | None = field(default=None, metadata=_setting(_path, "PEM file of the certificate's key"))
    tls_client_ca: Path | None = field(
        default=None, metadata=_setting(_path, "PEM file: only clients with a certificate of this CA")
    )
    access_log: Path | None = field(  # nginx: on
        default=None,
        metadata=_setting(
            _path,
            "file that gets a line of JSON a request; five of 64 MiB are kept, logrotate may move them, too",
        ),
    )
    slow_s: float = field(  # VictoriaMetrics: 5; MySQL: 10
        default=1.0,
        metadata=_setting(
            _none_or_idle, "seconds from which on a request is told as slow, with its plan; 0 = none is"
        ),
    )
    slow_log: Path | None = field(
        default=None, metadata=_setting(_path, "file that gets these lines of JSON; none = the log on stderr")
    )

    def faults(self) -> Iterator[tuple[str, str]]:
        """What does not fit together: the key to look at, and what is wrong."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            yield "tls-key", "tls-certificate and tls-key go together"
        elif self.tls_client_ca is not None and self.tls_certificate is None:
            yield "tls-client-ca", "needs tls-certificate and tls-key"

    @property
    def light(self) -> Light:
        return Light(self.light_points)


DEFAULT_HTTP = Http()


@dataclass(frozen=True)
class CacheBounds:
    """[cache]: answers that are given again."""

    bytes_max: int = field(
        default=64 << 20,
        metadata=_setting(_whole(0, 1 << 40), "bytes of answers that are kept; 0 = none are"),
    )
    max_age_s: int = field(  # graphite-web: 60, whatever has come meanwhile
        default=60,
        metadata=_setting(
            _whole(1, 86_400),
            "seconds for which late datapoints may be missing from an answer; new ones never are",
        ),
    )


DEFAULT_CACHE = CacheBounds()


@dataclass(frozen=True)
class Access:
    """[access]: who may ask for what. Tokens are made by `plumbago token add`."""

    anonymous: Scope | None = field(
        default=None,
        metadata=_setting(
            _scope_or_auto,
            "what is allowed without a token: none, read, write, admin; auto = none as soon as there is a token or "
            "a proxy, before that write on a loopback address and read on others",
        ),
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            _hosts,
            "names that this server is asked by, beside addresses, this host's own and names without a dot; "
            "`.example.org`: all below; `*`: any",
        ),
    )
    origins: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            _origins,
            "web pages of other origins that may read answers and, with a token, change something; "
            "`*`: any may read",
        ),
    )
    proxies: tuple[Network, ...] = field(
        default=(),
        metadata=_setting(
            _networks, "networks of proxies that are believed about who asks (OIDC and the like)"
        ),
    )
    user_header: str = field(
        default="X-Forwarded-User",
        metadata=_setting(_header, "the header in which such a proxy names the user"),
    )
    proxy_scope: Scope = field(
        default=Scope.READ, metadata=_setting(_scope, "what such users may do: read, write, admin")
    )


DEFAULT_ACCESS = Access()


@dataclass(frozen=True)
class Functions:
    """[functions]: series functions of one's own (docs/functions.md)."""

    modules: tuple[str, ...] = field(
        default=(),
        metadata=_setting(_modules, "Python modules, of the config folder or installed, that add functions"),
    )
    define: Macros = field(
        default=NO_MACROS,
        metadata=_setting(
            _define, 'macros: `perMinute = "perSecond({{.argString}})|scale(60)"` in [functions.define]'
        ),
    )


@dataclass(frozen=True)
class RedisServer:
    """[lookup.redis]: a Redis whose hashes have aliases."""

    url: str = field(repr=False)  # redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// with TLS, unix://PATH
    keys: tuple[str, ...]  # of the hashes that targets may name
    timeout_s: float = 0.25  # carbonapi: 0.25


@dataclass(frozen=True)
class Database:
    """[lookup.postgres.NAME]: a PostgreSQL database whose queries give aliases."""

    dsn: str = field(repr=False)  # libpq's: "host=db dbname=inventory user=plumbago"
    queries: Mapping[str, str]  # by name; each %s is a parameter
    timeout_s: float = 1.0


@dataclass(frozen=True)
class Lookup:
    """[lookup]: tables of other servers in which aliasByRedis() and aliasByPostgres() look names up."""

    redis: RedisServer | None = field(
        default=None,
        metadata=_setting(_redis, "`url`, `keys` (of the hashes that may be asked) and `timeout` in seconds"),
    )
    postgres: Mapping[str, Database] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=_setting(
            _postgres,
            "by name: `dsn`, `timeout` in seconds, and `queries` by name; each %s takes a part of a series' name",
        ),
    )


@dataclass(frozen=True)
class Settings:
    """All tables of plumbago.toml that are the renderer's."""

    http: Http = DEFAULT_HTTP
    query: Limits = DEFAULT_LIMITS
    cache: CacheBounds = DEFAULT_CACHE
    access: Access = DEFAULT_ACCESS
    functions: Functions = field(default_factory=Functions)
    lookup: Lookup = field(default_factory=Lookup)


TABLES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "http": Http,
        "query": Limits,
        "cache": CacheBounds,
        "access": Access,
        "functions": Functions,
        "lookup": Lookup,
    }
)
