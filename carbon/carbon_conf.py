"""carbon.conf: what each of its keys becomes here, and for those that become nothing a line that says why.

As carbon reads it: the section of a daemon, over it that of the instance ([cache:b]), %(STORAGE_DIR)s for another
key of the same section, types by key. One server stands for one daemon or several: the sections of others are left
alone, as they may still run beside. A key that is not set leaves our default, which is not always carbon's: we listen
on 127.0.0.1 and answer no cache queries unless the file says so. A value that cannot be read is an InvalidConfig.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

from carbon.config import Amqp, Kind, Listener, Relaying, Settings
from carbon.errors import InvalidDestination
from carbon.relay.destination import parse_destination
from storage.errors import InvalidConfig
from storage.sections import Option, Section, sections, text_of

FILE = "carbon.conf"
CACHE, RELAY, AGGREGATOR, AGGREGATOR_CACHE = "cache", "relay", "aggregator", "aggregator-cache"
DAEMONS = (CACHE, RELAY, AGGREGATOR, AGGREGATOR_CACHE)  # each has a section of its name
INSTANCE = "a"  # carbon's --instance when it is not given
Table = TypeVar("Table")


class Found(NamedTuple):
    """`options`: defaults of command-line options by their Python names. `off`: listeners that are not to be."""

    options: Mapping[str, Any] = {}
    settings: Settings = Settings()
    warnings: tuple[str, ...] = ()
    off: frozenset[str] = frozenset()


def load(folder: Path | None, *, daemons: Sequence[str] = (CACHE,), instance: str | None = None) -> Found:
    """The carbon.conf of a folder; without one, nothing. Raises InvalidConfig."""
    text = text_of(folder / FILE) if folder is not None else None
    if folder is None or text is None:
        return Found()
    return read(str(folder / FILE), text, daemons=daemons, instance=instance)


def read(path: str, text: str, *, daemons: Sequence[str] = (CACHE,), instance: str | None = None) -> Found:
    """What a file says for the daemons that this server stands for; the first has the line and pickle ports.

    `instance` None is carbon's own default, which need not have a section. Raises InvalidConfig.
    """
    there = {section.name: section for section in sections(path, text)}
    if instance is not None and not any(f"{daemon}:{instance}" in there for daemon in daemons):
        known = ", ".join(name for name in there if ":" in name) or "none"
        raise InvalidConfig(path, 0, f"instance {instance}", f"has no section; there are {known}")
    said = [Said.of(path, there, daemon, instance or INSTANCE) for daemon in daemons]
    making = _Making(path)
    making.ways_in(said)
    making.tables(said)
    making.amqp(said)
    unread = tuple(_unread(path, there.values(), daemons, instance or INSTANCE))
    warned = tuple(line for each in said for line in each.warnings)
    settings = replace(making.settings, listener=making.listeners)
    return Found(making.options, settings, (*unread, *warned, *making.warnings), frozenset(making.off))


def described() -> list[tuple[str, str]]:
    """(key, what becomes of it) for every key that carbon has, as docs/config.md tells it."""
    return [(key, each.words) for key, each in KEYS.items()]


def _unread(path: str, there: Iterable[Section], daemons: Sequence[str], instance: str) -> Iterator[str]:
    """A line for each section that is another daemon's or instance's."""
    for section in there:
        daemon, _, of = section.name.partition(":")
        if daemon not in DAEMONS:
            yield f"{path}:{section.line}: [{section.name}]: is no daemon's section: not read"
        elif daemon not in daemons:
            ours = " and ".join(f"carbon-{each}" for each in daemons)
            yield f"{path}:{section.line}: [{section.name}]: not read, as this server stands for {ours}"
        elif of and of != instance:
            yield f"{path}:{section.line}: [{section.name}]: not read, as this is instance {instance}; one is enough"


# --- text → value: each raises ValueError with what is allowed ---


def _flag(text: str) -> bool:
    found = ConfigParser.BOOLEAN_STATES.get(text.lower())
    if found is None:
        raise ValueError(f"{text!r} is neither True nor False")
    return found


def _whole(text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no whole number") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def _text(text: str) -> str:
    if not text:
        raise ValueError("says nothing")
    return text


def _text_or_none(text: str) -> str | None:
    return None if text in ("", "None") else text


def _texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count_or_inf(text: str) -> int | None:
    return None if text.lower() in ("inf", "none") else _whole(text)


def _seconds_or_none(text: str) -> int | None:
    """None = off: carbon's None, and 0."""
    return None if text in ("", "None") else _whole(text) or None


def _transport(text: str) -> bool:
    if text not in ("none", "ssl"):
        raise ValueError(f"{text!r} is neither none nor ssl")
    return text == "ssl"


# --- the keys ---


@dataclass(frozen=True)
class Key:
    """What becomes of a key, in words. `read` None: it has no effect here.

    `into` is the table and field that a value goes to as it is, for `daemons`; for others it has no effect,
    `elsewhere` says why.
    """

    words: str
    read: Callable[[str], Any] | None = None
    into: tuple[str, str] | None = None
    daemons: tuple[str, ...] = DAEMONS
    elsewhere: str = ""


_RELAYS, _AGGREGATORS = (RELAY, AGGREGATOR), (AGGREGATOR, AGGREGATOR_CACHE)


def _relayed(name: str, read: Callable[[str], Any], words: str = "") -> Key:
    setting = f"{name.replace('_', '-')} in [relay]"
    return Key(words or setting, read, ("relay", name), _RELAYS, f"{setting} says it for this server")


def _aggregated(name: str, read: Callable[[str], Any]) -> Key:
    setting = f"{name.replace('_', '-')} in [aggregator]"
    return Key(setting, read, ("aggregator", name), _AGGREGATORS, f"{setting} says it for this server")


_NO_CACHE = "not needed: there is no cache to be written out, a datapoint is in its file at once"
_NO_FILES = "not needed: series lie in large files of many, that are made and mapped whole"
_NO_LOG = "not needed: all is counted, see plumbago top, /metrics and carbon.agents.*"
_NO_CERES = "not needed: the store is our own; plumbago import takes in whisper files"
_NO_SHELL = "not needed: there is no shell in the server; plumbago top and plumbago explain show what it does"
_NO_TAG_QUEUE = "not needed: tags are in the same store and known with the first datapoint"
_NO_RESET = "not needed: a destination that does not read is seen by its queue, which is spooled"
_NO_ROUTER = "not needed: what a destination that is down should have is spooled until it is back"
_KEEPALIVE = "not needed: METRIC_CLIENT_IDLE_TIMEOUT closes connections that are silent"
_RULES_FILE = "the file has this name in the config folder, whatever is said here"

KEYS: Mapping[str, Key] = {
    # folders
    "STORAGE_DIR": Key("for %(STORAGE_DIR)s only: the store is in the folder that --data says"),
    "CONF_DIR": Key("not needed: all files are read from the folder that --config says"),
    "LOG_DIR": Key("not needed: the log goes to stderr, for the service manager to keep"),
    "PID_DIR": Key("not needed: the server stays in the foreground, and the service manager knows it"),
    "LOCAL_DATA_DIR": Key("not taken: whisper files are not written; plumbago import whisper takes them in"),
    "WHITELISTS_DIR": Key("not needed: whitelist.conf and blacklist.conf are in the config folder"),
    "USER": Key("not taken: start the server as the user that it is to run as"),
    "DATABASE": Key(_NO_CERES),
    "ENABLE_LOGROTATION": Key("not needed: the log goes to stderr, for the service manager to rotate"),
    # the cache
    "MAX_CACHE_SIZE": Key("not needed: there is no cache; --buffer bounds what waits while the disk is full"),
    "CACHE_SIZE_LOW_WATERMARK": Key("not needed: carbon reckons it itself, and there is no cache"),
    "CACHE_SIZE_HARD_MAX": Key("not needed: carbon reckons it itself, and there is no cache"),
    "MAX_UPDATES_PER_SECOND": Key(_NO_CACHE),
    "MAX_UPDATES_PER_SECOND_ON_SHUTDOWN": Key(_NO_CACHE),
    "MAX_CREATES_PER_MINUTE": Key(
        "no limit unless new-series-a-second in [limits] sets one, which drops nothing known"
    ),
    "MIN_TIMESTAMP_RESOLUTION": Key("not needed: a timestamp is floored to the step of each archive"),
    "MIN_TIMESTAMP_LAG": Key(_NO_CACHE),
    "CACHE_WRITE_STRATEGY": Key(_NO_CACHE),
    "CACHE_QUERY_INTERFACE": Key("host in [listener.carbonlink]", _text),
    "CACHE_QUERY_PORT": Key("port in [listener.carbonlink], which is off unless this is set", _port),
    # listeners
    "LINE_RECEIVER_INTERFACE": Key("--host", _text),
    "LINE_RECEIVER_PORT": Key("--line-port", _port),
    "ENABLE_UDP_LISTENER": Key(
        "False: no datagrams are read; not set: they are, on the port of lines", _flag
    ),
    "UDP_RECEIVER_INTERFACE": Key("host of a listener of kind udp, if it is not that of lines", _text),
    "UDP_RECEIVER_PORT": Key("port of a listener of kind udp, if it is not that of lines", _port),
    "PICKLE_RECEIVER_INTERFACE": Key("host of a listener of kind pickle, if it is not that of lines", _text),
    "PICKLE_RECEIVER_PORT": Key("--pickle-port; 0 is off", _port),
    "PICKLE_RECEIVER_MAX_LENGTH": Key("not needed: pickles of up to 1 MiB are read"),
    "PROTOBUF_RECEIVER_INTERFACE": Key("host in [listener.protobuf]", _text),
    "PROTOBUF_RECEIVER_PORT": Key("port in [listener.protobuf]", _port),
    "MAX_RECEIVER_CONNECTIONS": Key(
        "connections-max of each listener; inf leaves the default", _count_or_inf
    ),
    "METRIC_CLIENT_IDLE_TIMEOUT": Key("idle of each listener; None is off", _seconds_or_none),
    "USE_INSECURE_UNPICKLER": Key(
        "not needed: pickles are read without an unpickler, nothing in them is run"
    ),
    "USE_FLOW_CONTROL": Key(
        "flow-control in [relay]; a cache's senders are always held back",
        _flag,
        ("relay", "flow_control"),
        _RELAYS,
        "its senders are always held back, nothing is dropped",
    ),
    "TCP_KEEPALIVE": Key(_KEEPALIVE),
    "TCP_KEEPIDLE": Key(_KEEPALIVE),
    "TCP_KEEPINTVL": Key(_KEEPALIVE),
    "TCP_KEEPCNT": Key(_KEEPALIVE),
    # logs
    "LOG_UPDATES": Key(_NO_LOG),
    "LOG_CREATES": Key(_NO_LOG),
    "LOG_CACHE_HITS": Key(_NO_LOG),
    "LOG_CACHE_QUEUE_SORTS": Key(_NO_LOG),
    "LOG_LISTENER_CONN_SUCCESS": Key(_NO_LOG),
    "LOG_LISTENER_CONN_LOST": Key(_NO_LOG),
    "LOG_AGGREGATOR_MISSES": Key(_NO_LOG),
    "RAVEN_DSN": Key("not taken: errors are in the log, and counted"),
    # files
    "WHISPER_AUTOFLUSH": Key("True: --sync always", _flag),
    "WHISPER_SPARSE_CREATE": Key(_NO_FILES),
    "WHISPER_FALLOCATE_CREATE": Key(_NO_FILES),
    "WHISPER_LOCK_WRITES": Key("not needed: a store has one writer, and readers are never in its way"),
    "WHISPER_FADVISE_RANDOM": Key(_NO_FILES),
    "CERES_MAX_SLICE_GAP": Key(_NO_CERES),
    "CERES_NODE_CACHING_BEHAVIOR": Key(_NO_CERES),
    "CERES_SLICE_CACHING_BEHAVIOR": Key(_NO_CERES),
    "CERES_LOCK_WRITES": Key(_NO_CERES),
    # rules
    "USE_WHITELIST": Key(
        "whitelist.conf and blacklist.conf are in force when they are there, also with False", _flag
    ),
    "RELAY_RULES": Key(f"relay-rules.conf: {_RULES_FILE}", _text),
    "AGGREGATION_RULES": Key(f"aggregation-rules.conf: {_RULES_FILE}", _text),
    "REWRITE_RULES": Key(f"rewrite-rules.conf: {_RULES_FILE}", _text),
    "CACHE_METRIC_NAMES_MAX": Key(
        "not needed: rules are asked once for each name; names-max in [limits] bounds these"
    ),
    "CACHE_METRIC_NAMES_TTL": Key(
        "not needed: rules are asked once for each name, and again when they change"
    ),
    # reports
    "CARBON_METRIC_PREFIX": Key("prefix in [report]", _text, ("report", "prefix")),
    "CARBON_METRIC_INTERVAL": Key("every in [report]", _whole, ("report", "every")),
    # AMQP
    "ENABLE_AMQP": Key("True: url in [amqp], made of the keys below", _flag),
    "AMQP_VERBOSE": Key(_NO_LOG),
    "AMQP_METRIC_NAME_IN_BODY": Key("name-in-body in [amqp]", _flag, ("amqp", "name_in_body")),
    "AMQP_SPEC": Key("not needed: the client knows its protocol"),
    "BIND_PATTERNS": Key("bind-patterns in [amqp]", _texts, ("amqp", "bind_patterns")),
    "AMQP_HOST": Key("url in [amqp]", _text),
    "AMQP_PORT": Key("url in [amqp]", _port),
    "AMQP_VHOST": Key("url in [amqp]", _text),
    "AMQP_USER": Key("url in [amqp]", _text),
    "AMQP_PASSWORD": Key("url in [amqp]", _text),
    "AMQP_EXCHANGE": Key("exchange in [amqp]", _text, ("amqp", "exchange")),
    # a shell
    "ENABLE_MANHOLE": Key(_NO_SHELL),
    "MANHOLE_INTERFACE": Key(_NO_SHELL),
    "MANHOLE_PORT": Key(_NO_SHELL),
    "MANHOLE_USER": Key(_NO_SHELL),
    "MANHOLE_PUBLIC_KEY": Key(_NO_SHELL),
    "MANHOLE_HOST_KEY_DIR": Key(_NO_SHELL),
    # tags
    "GRAPHITE_URL": Key(_NO_TAG_QUEUE),
    "ENABLE_TAGS": Key("not needed: a name with tags is a tagged series, others cost nothing"),
    "SKIP_TAGS_FOR_NONTAGGED": Key(_NO_TAG_QUEUE),
    "TAG_UPDATE_INTERVAL": Key(_NO_TAG_QUEUE),
    "TAG_BATCH_SIZE": Key(_NO_TAG_QUEUE),
    "TAG_QUEUE_SIZE": Key(_NO_TAG_QUEUE),
    "TAG_HASH_FILENAMES": Key(_NO_FILES),
    "TAG_RELAY_NORMALIZED": Key("not needed: tags are in their order before a name is stored or relayed"),
    # the relay
    "RELAY_CACHE_METRICS": Key("not needed: our own counters go the way of all metrics"),
    "RELAY_METHOD": _relayed("method", _text, "method in [relay]; an aggregator's is consistent-hashing"),
    "ROUTER_HASH_TYPE": _relayed("hash", _text_or_none),
    "REPLICATION_FACTOR": _relayed("replication", _whole),
    "DIVERSE_REPLICAS": _relayed("diverse_replicas", _flag),
    "DESTINATIONS": _relayed("destinations", _texts, "destinations in [relay], but for this server itself"),
    "DESTINATION_PROTOCOL": _relayed("protocol", _text, "protocol in [relay]: pickle or line"),
    "DESTINATION_TRANSPORT": _relayed("tls", _transport),
    "DESTINATION_SSL_CA": _relayed("tls_ca", _text_or_none),
    "DESTINATION_POOL_REPLICAS": _relayed("pool_replicas", _flag),
    "DESTINATIONS_POOL_REPLICAS": _relayed(
        "pool_replicas", _flag, "DESTINATION_POOL_REPLICAS, as carbon's example spells it"
    ),
    "DYNAMIC_ROUTER": Key(_NO_ROUTER),
    "DYNAMIC_ROUTER_MAX_RETRIES": Key(_NO_ROUTER),
    "MAX_QUEUE_SIZE": _relayed("queue_max", _whole),
    "QUEUE_LOW_WATERMARK_PCT": Key("not needed: senders go on when the queue is down to its own mark"),
    "MAX_QUEUE_SIZE_HARD_PCT": Key("not needed: what is beyond queue-max in [relay] is spooled"),
    "MAX_DATAPOINTS_PER_MESSAGE": _relayed("message_max", _whole),
    "TIME_TO_DEFER_SENDING": Key("not needed: what is there is sent as soon as the destination reads"),
    "USE_RATIO_RESET": Key(_NO_RESET),
    "MIN_RESET_STAT_FLOW": Key(_NO_RESET),
    "MIN_RESET_RATIO": Key(_NO_RESET),
    "MIN_RESET_INTERVAL": Key(_NO_RESET),
    # the aggregator
    "FORWARD_ALL": _aggregated("forward_all", _flag),
    "MAX_AGGREGATION_INTERVALS": _aggregated("max_intervals", _whole),
    "WRITE_BACK_FREQUENCY": _aggregated("write_back", _seconds_or_none),
}


# --- sections → values ---


@dataclass
class Said:
    """What a daemon's sections say: values by key, each with where it stands, and a warning for each without effect."""

    path: str
    daemon: str
    values: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Option] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: str, there: Mapping[str, Section], daemon: str, instance: str) -> Said:
        said = cls(path, daemon)
        options: dict[str, Option] = {}
        for name in (daemon, f"{daemon}:{instance}"):
            if name in there:
                options |= _interpolated(there[name])
        for option in sorted(options.values(), key=lambda option: option.line):
            said._take(option)
        return said

    def _take(self, option: Option) -> None:
        name = option.key.upper()
        key = KEYS.get(name)
        if key is None:
            near = get_close_matches(name, KEYS, 1)
            self.warn(option, f"is no key of carbon's{f': is {near[0]} meant?' if near else ''}")
        elif key.read is None:
            self.warn(option, f"no effect here: {key.words}")
        elif self.daemon not in key.daemons:
            self.warn(option, f"no effect for carbon-{self.daemon}: {key.elsewhere}")
        else:
            self.options[name] = option
            try:
                self.values[name] = key.read(option.value)
            except ValueError as error:
                self.wrong(name, str(error))

    def warn(self, option: Option, words: str) -> None:
        self.warnings.append(f"{self.path}:{option.line}: {option.key}: {words}")

    def wrong(self, name: str, why: str) -> NoReturn:
        raise InvalidConfig(self.path, self.options[name].line, self.options[name].key, why)

    def into(self, begin: Table, table: str) -> Table:
        """A table of our settings with what is said for it; raises InvalidConfig."""
        known = {each.name: each for each in fields(begin)}  # type: ignore[arg-type]  # each is a dataclass
        made = begin
        for name, value in self.values.items():
            into = KEYS[name].into
            if into is None or into[0] != table:
                continue
            try:
                # what is None is no text for the table to read: it is the field's own default, or off
                checked = value if value is None else known[into[1]].metadata["read"](_plain(value))
            except ValueError as error:
                self.wrong(name, str(error))
            made = replace(made, **{into[1]: checked})  # type: ignore[type-var]  # as above
        return made


def _plain(value: Any) -> Any:
    """As TOML has it, for the tables' own checks."""
    return list(value) if isinstance(value, tuple) else value


_REFERENCE = re.compile(r"%(?:%|\(([^)]+)\)s)?")
_DEPTH_MAX = 10  # as configparser has it


def _interpolated(section: Section) -> dict[str, Option]:
    """The section's options by their names in capitals, each %(KEY)s replaced by what the section says for it."""

    def value(option: Option, depth: int) -> str:
        def one(found: re.Match[str]) -> str:
            if found[0] == "%%":
                return "%"
            if found[1] is None:
                section.refuse(option, "a % that begins no %(KEY)s is written %%")
            if found[1].lower() not in section.options:
                section.refuse(option, f"%({found[1]})s: there is no such key in [{section.name}]")
            if depth == _DEPTH_MAX:
                section.refuse(option, f"more than {_DEPTH_MAX} keys refer to one another")
            return value(section.options[found[1].lower()], depth + 1)

        return _REFERENCE.sub(one, option.value)

    return {name.upper(): option._replace(value=value(option, 0)) for name, option in section.options.items()}


# --- values → ours ---

_STREAMS = (
    ("LINE_RECEIVER", Kind.LINE),
    ("PICKLE_RECEIVER", Kind.PICKLE),
    ("PROTOBUF_RECEIVER", Kind.PROTOBUF),
)
_RULES_FILES = {
    "RELAY_RULES": "relay-rules.conf",
    "AGGREGATION_RULES": "aggregation-rules.conf",
    "REWRITE_RULES": "rewrite-rules.conf",
}
_LOOPBACK = "127.0.0.1"
_LINE_PORT, _PICKLE_PORT = 2003, 2004  # carbon's defaults, and ours


class _Making:
    """What is made of it: a Found, piece by piece."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.options: dict[str, Any] = {}
        self.settings = Settings()
        self.listeners: dict[str, Listener] = {}
        self.warnings: list[str] = []
        self.off: set[str] = set()

    def _warn(self, said: Said, name: str, words: str) -> None:
        option = said.options[name]
        self.warnings.append(f"{self._path}:{option.line}: {option.key}: {words}")

    # --- ways in ---

    def ways_in(self, said: Sequence[Said]) -> None:
        first = said[0].values
        if "LINE_RECEIVER_INTERFACE" in first:
            self.options["host"] = first["LINE_RECEIVER_INTERFACE"]
        if port := first.get("LINE_RECEIVER_PORT"):
            self.options["line_port"] = port
        elif port == 0:
            self._warn(
                said[0], "LINE_RECEIVER_PORT", "0 is off for carbon; here lines are always read: on port 2003"
            )
        self._pickle(first)
        self._udp(first)
        self._listener("protobuf", Kind.PROTOBUF, first, "PROTOBUF_RECEIVER")
        self._listener("carbonlink", Kind.CARBONLINK, first, "CACHE_QUERY")
        for other in said[1:]:
            for prefix, kind in _STREAMS:
                self._listener(f"{other.daemon}-{kind}", kind, other.values, prefix)
            if other.values.get("ENABLE_UDP_LISTENER"):
                self._listener(f"{other.daemon}-udp", Kind.UDP, other.values, "UDP_RECEIVER")
        self._bounds(said[0])
        if first.get("WHISPER_AUTOFLUSH"):
            self.options["sync"] = "always"

    def _pickle(self, values: Mapping[str, Any]) -> None:
        """By the options; by a listener of its own if it is on another address than lines."""
        port = values.get("PICKLE_RECEIVER_PORT", _PICKLE_PORT)
        host = values.get("PICKLE_RECEIVER_INTERFACE")
        if port and host is not None and host != self.options.get("host", _LOOPBACK):
            self.options["pickle_port"] = "off"
            self._add("carbon-pickle", Kind.PICKLE, host, port)
        elif "PICKLE_RECEIVER_PORT" in values:
            self.options["pickle_port"] = port or "off"

    def _udp(self, values: Mapping[str, Any]) -> None:
        enabled = values.get("ENABLE_UDP_LISTENER")
        if enabled is None:
            return
        lines = self.options.get("host", _LOOPBACK), self.options.get("line_port", _LINE_PORT)
        host, port = (
            values.get("UDP_RECEIVER_INTERFACE", lines[0]),
            values.get("UDP_RECEIVER_PORT", _LINE_PORT),
        )
        if not enabled or (host, port) != lines:
            self.off.add("udp")
        if enabled and (host, port) != lines and port:
            self._add("carbon-udp", Kind.UDP, host, port)

    def _listener(self, name: str, kind: Kind, values: Mapping[str, Any], prefix: str) -> None:
        """One that is there only if its port is said, and not 0."""
        if port := values.get(f"{prefix}_PORT"):
            self._add(name, kind, values.get(f"{prefix}_INTERFACE", _LOOPBACK), port)

    def _add(self, name: str, kind: Kind, host: str, port: int) -> None:
        self.listeners[name] = Listener(name, kind=kind, host=host, port=port)

    def _bounds(self, said: Said) -> None:
        """Of all receivers: how many connections, how long they may be silent."""
        given: dict[str, Any] = {}
        if "METRIC_CLIENT_IDLE_TIMEOUT" in said.values:
            given["idle"] = said.values["METRIC_CLIENT_IDLE_TIMEOUT"]
        if (most := said.values.get("MAX_RECEIVER_CONNECTIONS", 0)) is None:
            self._warn(
                said, "MAX_RECEIVER_CONNECTIONS", f"{Listener('').connections_max:,} a listener, the default"
            )
        elif most != 0 or "MAX_RECEIVER_CONNECTIONS" in said.values:
            if not 1 <= most <= 100_000:
                said.wrong("MAX_RECEIVER_CONNECTIONS", f"{most} is no number from 1 to 100,000, nor inf")
            given["connections_max"] = most
        if given:
            for name in ("line", "pickle"):
                self.listeners[name] = self.settings.listener_of(name)
            for name, listener in self.listeners.items():
                if listener.kind not in (Kind.CARBONLINK, Kind.UDP):
                    self.listeners[name] = replace(listener, **given)

    # --- tables ---

    def tables(self, said: Sequence[Said]) -> None:
        for each in said:
            for name, file in _RULES_FILES.items():
                if each.values.get(name, file) != file:
                    self._warn(
                        each, name, f"no effect here: it is {file} in the config folder, whatever is said"
                    )
            if each.values.get("USE_WHITELIST") is False:
                self._warn(each, "USE_WHITELIST", f"no effect here: {KEYS['USE_WHITELIST'].words}")
        report = said[0].into(self.settings.report, "report")
        aggregator, relay = self.settings.aggregator, self.settings.relay
        for each in reversed(said):  # the first that says something wins
            aggregator = each.into(aggregator, "aggregator")
            if each.daemon in _RELAYS and (found := self._relay(each, said)).destinations:
                relay = found
        self.settings = replace(self.settings, report=report, aggregator=aggregator, relay=relay)

    def _relay(self, said: Said, all_said: Sequence[Said]) -> Relaying:
        found = said.into(self.settings.relay, "relay")
        if said.daemon == AGGREGATOR:
            found = replace(found, method="consistent-hashing")
        ours = [text for text in found.destinations if self._is_here(said, text, all_said)]
        if ours and len(ours) < len(found.destinations) and "hashing" in found.method:
            said.wrong(
                "DESTINATIONS",
                f"{', '.join(ours)} is this server itself: it cannot keep one part of what a hash divides, "
                f"run plumbago relay beside it",
            )
        if ours:
            self._warn(said, "DESTINATIONS", f"{', '.join(ours)} is this server itself: left out")
        rest = tuple(text for text in found.destinations if text not in ours)
        return replace(found, destinations=rest)

    def _is_here(self, said: Said, text: str, all_said: Sequence[Said]) -> bool:
        """Whether a destination is a port of this machine that this server listens on."""
        try:
            destination = parse_destination(text)
        except InvalidDestination as error:
            said.wrong("DESTINATIONS", str(error))
        ports = {port for each in all_said for port in _ports(each)}
        local = destination.host in ("localhost", "::1") or destination.host.startswith("127.")
        return local and destination.port in ports

    def amqp(self, said: Sequence[Said]) -> None:
        for each in reversed(said):
            if each.values.get("ENABLE_AMQP"):
                self.settings = replace(self.settings, amqp=_amqp(each, self.settings.amqp))


def _ports(said: Said) -> Iterator[int]:
    default = {"LINE_RECEIVER_PORT": _LINE_PORT, "PICKLE_RECEIVER_PORT": _PICKLE_PORT}
    for prefix, _ in _STREAMS:
        yield said.values.get(f"{prefix}_PORT", default.get(f"{prefix}_PORT", 0))


def _amqp(said: Said, begin: Amqp) -> Amqp:
    def part(name: str, default: object) -> str:
        return quote(str(said.values.get(f"AMQP_{name}", default)), safe="")

    who = f"{part('USER', 'guest')}:{part('PASSWORD', 'guest')}"
    where = f"{part('HOST', 'localhost')}:{part('PORT', 5672)}"
    return replace(said.into(begin, "amqp"), url=f"amqp://{who}@{where}/{part('VHOST', '/')}")
