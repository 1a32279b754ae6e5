"""The receiver's settings beyond the command line: tables of plumbago.toml, one frozen dataclass each.

What cannot be used is an InvalidConfig that names file, line, key and what is allowed; it is said when the file is
read, not when the setting would first matter.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from carbon.errors import InvalidDestination
from carbon.relay.destination import parse_destinations
from storage.errors import InvalidConfig

FILE = "plumbago.toml"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Value = TypeVar("Value")


class Kind(StrEnum):
    """What a listener reads."""

    LINE = "line"
    UDP = "udp"
    PICKLE = "pickle"
    MSGPACK = "msgpack"
    PROTOBUF = "protobuf"
    ADMIN = "admin"
    CARBONLINK = "carbonlink"


# --- text → value: each raises ValueError with what is allowed ---

_SIZE = re.compile(r"(\d+)([KMG]?)(?:i?B)?", re.IGNORECASE | re.ASCII)  # else the Kelvin sign is a K
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
_AGE = re.compile(r"(\d+)([smhdw]?)", re.ASCII)
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DIGITS_MAX = 19  # of a number in a text; timers and the kernel take no larger ones
_AGE_MAX_S = 100 * 366 * 86_400
_TOKEN_BYTES_MIN, _TOKEN_BYTES_MAX = 16, 512  # a line of protocols/token.py has room for it
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a listener: it stands in the ready line, and in --fd NAME=N
_PREFIX = re.compile(r"[^\s.;]+(?:\.[^\s.;]+)*")


def size_of(value: object) -> int:
    """Bytes; K, M, G behind a number are 1,024 times and so on."""
    found = _SIZE.fullmatch(_shown(value))
    if found is None or len(found[1]) > _DIGITS_MAX:
        raise ValueError(f"{value!r} is no size such as 1048576, 512K, 64M or 2G")
    return int(found[1]) << _SHIFTS[found[2].upper()]


def age_of(value: object) -> int:
    """Seconds, also written 90s, 12h, 1d."""
    found = _AGE.fullmatch(_shown(value))
    if found is None or len(found[1]) > _DIGITS_MAX:
        raise ValueError(f"{value!r} is no age such as 0, 90s, 12h or 1d")
    age = int(found[1]) * _UNITS_S[found[2]]
    if age > _AGE_MAX_S:
        raise ValueError(f"{value!r} is more than 100 years")
    return age


def _shown(value: object) -> str:
    """A whole number or a text as a text; "" for what is neither."""
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""


def _age_or_off(value: object) -> int | None:
    return None if value == "off" else age_of(value)


def _size_or_auto(value: object) -> int | None:
    return None if value == "auto" else size_of(value)


def _count(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{value!r} is no whole number from {low:,} to {high:,}")
        return value

    return read


def _count_or_off(low: int, high: int) -> Callable[[object], int | None]:
    count = _count(low, high)
    return lambda value: None if value == "off" else count(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise ValueError(f"{value!r} is no text of printable characters")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _path(value: object) -> Path:
    return Path(_text(value))


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return str(value)

    return read


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list of texts")
    return tuple(_text(part) for part in value)


def _networks(value: object) -> tuple[Network, ...]:
    found = []
    for text in _texts(value):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise ValueError(f"no network such as 10.0.0.0/8 or 2001:db8::/32: {error}") from error
    return tuple(found)


def _destinations(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    try:
        return tuple(each.text for each in parse_destinations(texts)) if texts else ()
    except InvalidDestination as error:
        raise ValueError(str(error)) from error


def _prefix(value: object) -> str:
    if not _PREFIX.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is no metric path such as carbon or our.carbon")
    return str(value)


def _kind(value: object) -> Kind:
    return Kind(_one_of(*Kind)(value))


def _token(value: object) -> bytes:
    """Only the digest is kept, and no message shows what was given."""
    token = value if isinstance(value, str) else ""
    fits = _TOKEN_BYTES_MIN <= len(token.encode()) <= _TOKEN_BYTES_MAX
    if not fits or not token.isprintable() or any(map(str.isspace, token)):
        raise ValueError(
            f"a token is a text of {_TOKEN_BYTES_MIN} to {_TOKEN_BYTES_MAX} bytes without blanks"
        )
    return hashlib.sha256(token.encode()).digest()


def _token_digest(value: object) -> bytes:
    try:
        digest = bytes.fromhex(value if isinstance(value, str) else "")
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError("is no SHA-256 as 64 hexadecimal digits: printf %s TOKEN | sha256sum")
    return digest


def _setting(default: Any, read: Callable[[object], Any], words: str) -> Any:
    """A field: how it is read from a file, and what it is, for docs/config.md."""
    return field(default=default, metadata={"read": read, "words": words})


# --- the tables ---

ALWAYS = (
    "line",
    "udp",
    "pickle",
    "admin",
)  # listeners that are there without a table, of the kind of their name
_NO_DATAGRAMS = ("tls_certificate", "tls_client_ca", "token", "token_sha256", "path")


@dataclass(frozen=True)
class Listener:
    """[listener.NAME]: a way in. `line`, `udp`, `pickle` and `admin` are there already, on the ports of their
    options; others have a kind, and a port or a path."""

    name: str
    kind: Kind = _setting(Kind.LINE, _kind, "what it reads: " + ", ".join(Kind))
    host: str | None = _setting(
        None, _text, "address to listen on; line, udp, pickle, admin: that of --host, others: 127.0.0.1"
    )
    port: int | None = _setting(None, _count(0, 65535), "port; 0 = any that is free")
    path: Path | None = _setting(None, _path, "a Unix socket instead of host and port")
    tls_certificate: Path | None = _setting(
        None, _path, "PEM file of the certificate and its chain: TLS only"
    )
    tls_key: Path | None = _setting(None, _path, "PEM file of the certificate's key")
    tls_client_ca: Path | None = _setting(None, _path, "PEM file: only clients with a certificate of this CA")
    token: bytes | None = _setting(
        None, _token, "what a connection must begin with, as the line `token TOKEN`; HTTP: a Bearer token"
    )
    token_sha256: bytes | None = _setting(
        None, _token_digest, "the same as its SHA-256, so that no file has it"
    )
    allow: tuple[Network, ...] = _setting((), _networks, "networks that may send; none = all")
    connections_max: int = _setting(5_000, _count(1, 100_000), "connections at once")
    connections_per_source_max: int = _setting(1_000, _count(1, 100_000), "of them from one address")
    idle: int | None = _setting(
        600, _age_or_off, "a connection that is silent for so long is closed; off = never"
    )

    ONLY_HERE: ClassVar[frozenset[str]] = frozenset({"name"})

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of the token, None if none is asked for."""
        return self.token or self.token_sha256

    @property
    def is_open(self) -> bool:
        """Anyone who reaches the address may send."""
        return self.digest is None and self.tls_client_ca is None and not self.allow

    def check(self) -> None:
        """Raises _Wrong for what does not fit together, or would be taken for a guard that it is not."""
        for is_so, key, reason in self._faults():
            if is_so:
                raise _Wrong(key, reason)

    def _faults(self) -> Iterator[tuple[bool, str, str]]:
        """(whether it is so, the key to look at, what is wrong then)"""
        token = "token" if self.token is not None else "token-sha256"
        yield not _NAME.fullmatch(self.name), "name", f"{self.name!r} is no name of letters, digits, - and _"
        known = self.name not in ALWAYS or self.kind == self.name
        yield not known, "kind", f"[listener.{self.name}] reads {self.name}: give another kind another name"
        yield (
            self.token is not None and self.token_sha256 is not None,
            "token-sha256",
            "stands for token: give one",
        )
        for name in _NO_DATAGRAMS if self.kind is Kind.UDP else ():
            yield (
                getattr(self, name) is not None,
                _key(name),
                "datagrams have none: use allow, or a TCP listener",
            )
        asked = self.kind is Kind.CARBONLINK and self.digest is not None
        yield asked, token, "CarbonLink has none: use allow or tls-client-ca"
        lone = (self.tls_certificate is None) != (self.tls_key is None)
        yield lone, "tls-key", "tls-certificate and tls-key go together"
        lone = self.tls_client_ca is not None and self.tls_certificate is None
        yield lone, "tls-client-ca", "needs tls-certificate and tls-key"
        yield self.path is not None and self.port is not None, "path", "a Unix socket has no port"


@dataclass(frozen=True)
class Limits:
    """[limits]: what senders together, and each of them, may use."""

    memory: int | None = _setting(
        None, _size_or_auto, "of the receiver, roughly; auto = a quarter of the machine's or the cgroup's"
    )
    names_max: int = _setting(20_000_000, _count(1, 200_000_000), "metric names that are known at once")
    new_series_a_second: int | None = _setting(
        None, _count_or_off(1, 10_000_000), "series made in a second; what is beyond waits a minute; off"
    )
    new_series_a_second_per_source: int | None = _setting(
        None, _count_or_off(1, 10_000_000), "the same for one address; off"
    )
    datapoints_a_second_per_source: int | None = _setting(
        None,
        _count_or_off(1, 1_000_000_000),
        "of one address; streams beyond are read more slowly, datagrams dropped; off",
    )


@dataclass(frozen=True)
class Relaying:
    """[relay]: other Graphite servers that get the datapoints, beside this store or instead of it."""

    destinations: tuple[str, ...] = _setting(
        (), _destinations, "host:port[:instance] of each; none = nothing is relayed"
    )
    method: str = _setting(
        "rules",
        _one_of(
            "constant",
            "rules",
            "consistent-hashing",
            "aggregated-consistent-hashing",
            "fast-hashing",
            "fast-aggregated-hashing",
        ),
        "which of them get a metric",
    )
    hash: str | None = _setting(
        None,
        _one_of("carbon_ch", "fnv1a_ch", "mmh3_ch", "jump_fnv1a_ch"),
        "the ring's; carbon_ch if not given",
    )
    replication: int = _setting(1, _count(1, 16), "how many destinations get a metric")
    diverse_replicas: bool = _setting(True, _flag, "not two of them on one host")
    protocol: str = _setting("pickle", _one_of("pickle", "line"), "what destinations read")
    flavour: str = _setting("carbon", _one_of("carbon", "carbon-c-relay"), "whose ring fnv1a_ch is to be")
    tls: bool = _setting(False, _flag, "TLS to destinations, whose certificates are checked")
    tls_ca: Path | None = _setting(None, _path, "PEM file of the CA that they must have; else the system's")
    pool_replicas: bool = _setting(
        False, _flag, "of the instances of one host and port, the one with the shortest queue"
    )
    queue_max: int = _setting(1_000_000, _count(1, 1 << 30), "datapoints in memory for one destination")
    message_max: int = _setting(500, _count(1, 100_000), "datapoints in one pickle")
    flow_control: bool = _setting(
        True, _flag, "a full queue makes senders wait; false: it is spooled or dropped"
    )
    spool: int = _setting(1 << 30, size_of, "bytes on the disk for each destination that is down; 0 = none")


@dataclass(frozen=True)
class Aggregating:
    """[aggregator]: how aggregation-rules.conf is done."""

    max_intervals: int = _setting(
        5, _count(1, 1_000), "how many intervals back a late datapoint still counts"
    )
    write_back: int | None = _setting(
        None, _age_or_off, "emit at least so often; off = by each rule's frequency"
    )
    forward_all: bool = _setting(True, _flag, "keep what is aggregated, too")


@dataclass(frozen=True)
class Amqp:
    """[amqp]: lines from a broker, as carbon reads them (plumbago[amqp])."""

    url: str | None = _setting(None, _text, "amqp://user:password@host:port/vhost; none = off")
    exchange: str = _setting("graphite", _text, "the topic exchange")
    bind_patterns: tuple[str, ...] = _setting(("#",), _texts, "routing keys that are taken")
    name_in_body: bool = _setting(False, _flag, "bodies are whole lines; else the routing key is the name")


@dataclass(frozen=True)
class Kafka:
    """[kafka]: lines from topics (plumbago[kafka])."""

    servers: str | None = _setting(None, _text, "host:port, …; none = off")
    topics: tuple[str, ...] = _setting(("graphite",), _texts, "topics that are read")
    group: str = _setting("plumbago", _text, "the consumer group")


@dataclass(frozen=True)
class Reporting:
    """[report]: what is said about ourselves."""

    prefix: str = _setting("carbon", _prefix, "before .agents.<host>.")
    every: int = _setting(60, age_of, "seconds between reports; 0 = none")


@dataclass(frozen=True)
class CarbonConf:
    """[carbon-conf]: which sections of carbon.conf are read beside this file, which goes first."""

    daemons: tuple[str, ...] = _setting(
        ("cache",), _texts, "cache, aggregator: the first has the line and pickle ports"
    )
    instance: str | None = _setting(None, _text, "the instance whose sections are read over the others")


@dataclass(frozen=True)
class Settings:
    """All tables of the receiver."""

    listener: Mapping[str, Listener] = field(default_factory=dict)
    limits: Limits = Limits()
    relay: Relaying = Relaying()
    aggregator: Aggregating = Aggregating()
    amqp: Amqp = Amqp()
    kafka: Kafka = Kafka()
    report: Reporting = Reporting()
    carbon_conf: CarbonConf = CarbonConf()

    @classmethod
    def load(cls, folder: Path | None, base: Settings | None = None) -> Settings:
        """Those of the folder's plumbago.toml, over those of `base`; raises InvalidConfig."""
        path = folder / FILE if folder is not None else None
        if path is None or not path.exists():
            return base or cls()
        try:
            text = path.read_text()
            tables = tomllib.loads(text)
        except (OSError, ValueError, RecursionError) as error:  # ValueError: of tomllib, int and read_text
            line = re.search(r"at line (\d+)", str(error))
            raise InvalidConfig(str(path), int(line[1]) if line else 0, "file", str(error)) from error
        return cls.read(str(path), text, tables, base)

    @classmethod
    def read(cls, path: str, text: str, tables: Mapping[str, Any], base: Settings | None = None) -> Settings:
        """From the tables of a file; keys that are no tables of ours are not looked at."""
        base = base or cls()
        found: dict[str, Any] = {}
        for name in TABLES:
            if name in tables:
                field_name = name.replace("-", "_")
                found[field_name] = _read(getattr(base, field_name), path, text, name, tables[name])
        listeners = tables.get("listener", {})
        if not isinstance(listeners, dict):
            line = line_of(text, "", "listener")
            raise InvalidConfig(path, line, "listener", "is no table such as [listener.line]")
        found["listener"] = dict(base.listener)
        for name, table in listeners.items():
            begin = base.listener.get(name, _begin(name))
            found["listener"][name] = _read(begin, path, text, f"listener.{name}", table)
        return replace(base, **found)

    def listener_of(self, name: str, **given: Any) -> Listener:
        """A listener that is there without being asked for, with what its table says about it."""
        return replace(self.listener.get(name, _begin(name)), **given)


TABLES: Mapping[str, type[Any]] = {
    "limits": Limits,
    "relay": Relaying,
    "aggregator": Aggregating,
    "amqp": Amqp,
    "kafka": Kafka,
    "report": Reporting,
    "carbon-conf": CarbonConf,
}


class _Wrong(ValueError):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def _begin(name: str) -> Listener:
    return Listener(name, kind=Kind(name)) if name in tuple(Kind) else Listener(name)


def _key(name: str) -> str:
    """A field's name as it stands in a file."""
    return name.replace("_", "-")


def _read(begin: Value, path: str, text: str, table: str, values: object) -> Value:
    """`begin` with what the table says; raises InvalidConfig with the line of the first wrong key."""
    if not isinstance(values, dict):
        within, _, name = table.rpartition(".")
        raise InvalidConfig(path, line_of(text, within, name), table, f"is no table: write [{table}]")
    known: dict[str, Field[Any]] = {_key(each.name): each for each in fields(begin) if each.metadata}  # type: ignore[arg-type]  # each is a dataclass
    found = {}
    for key, value in values.items():
        if key not in known:
            raise InvalidConfig(
                path,
                line_of(text, table, key),
                key,
                f"no such setting in [{table}]; there are {', '.join(known)}",
            )
        try:
            found[known[key].name] = known[key].metadata["read"](value)
        except ValueError as error:
            raise InvalidConfig(path, line_of(text, table, key), key, str(error)) from error
    made: Value = replace(begin, **found)  # type: ignore[type-var]  # as above
    try:
        getattr(made, "check", lambda: None)()
    except _Wrong as error:
        raise InvalidConfig(path, line_of(text, table, error.key), error.key, str(error)) from error
    return made


def line_of(text: str, table: str, key: str) -> int:
    """The line of a key in its table ("" = at the top), else of the table, else 1."""
    at, here = 1, not table
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            found = stripped.strip("[ ").partition("]")[0].strip().replace('"', "")
            here = found == table
            at = number if found == (table or key) else at
        elif here and re.split(r"[\s=]", stripped, maxsplit=1)[0].strip('"') == key:
            return number
    return at


def described(table: type[Any]) -> list[tuple[str, Any, str]]:
    """(key, default, words) of each setting of a table, as docs/config.md tells them."""
    return [
        (_key(each.name), None if each.default is MISSING else each.default, each.metadata["words"])
        for each in fields(table)
        if each.metadata
    ]
