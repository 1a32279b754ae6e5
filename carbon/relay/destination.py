"""Destinations of a relay as carbon's files spell them: host:port or host:port:instance, IPv6 in brackets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from carbon.errors import InvalidDestination

DESTINATIONS_MAX = 1000  # each has a connection and a queue; rings of some ten are usual

_SHAPE = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[^:]*)(?::(?P<instance>[^:]*))?")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_V6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,15})?")
_INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Destination(NamedTuple):
    """Where datapoints go. The instance tells programs of one host apart in hash rings, None = it has none."""

    host: str
    port: int
    instance: str | None = None

    @property
    def text(self) -> str:
        """As parse_destination reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + (f":{self.instance}" if self.instance is not None else "")

    @property
    def node(self) -> str:
        """As carbon names its counters: a node of a path; without an instance it ends in None."""
        return f"{self.host}:{self.port}:{self.instance}".replace(".", "_")


def parse_destination(text: str) -> Destination:
    """The destination that host:port, host:port:instance or [IPv6]:port:instance names.

    Raises InvalidDestination, which says what is wrong. carbon takes any instance, and a host that is empty.
    """
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        _refuse(text, _what_is_missing(text.strip()))
    host, v6, port, instance = found["host"], found["v6"], found["port"], found["instance"]
    if v6 is not None and not _V6.fullmatch(v6):
        _refuse(text, f"{v6!r} is no IPv6 address")
    if v6 is None and not _HOST.fullmatch(host):
        _refuse(text, f"{host!r} is no host name")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        _refuse(text, f"the port is {port!r}, not a number from 1 to 65535")
    if instance is not None and not _INSTANCE.fullmatch(instance):
        _refuse(text, f"the instance is {instance!r}, not 1 to 64 letters, digits, dots, - or _")
    return Destination(v6 if v6 is not None else host, int(port), instance)


def parse_destinations(texts: Sequence[str]) -> tuple[Destination, ...]:
    """All of them, in their order; raises InvalidDestination for none, too many, or the same one twice."""
    destinations = tuple(map(parse_destination, texts))
    if not 1 <= len(destinations) <= DESTINATIONS_MAX:
        raise InvalidDestination(f"{len(destinations)} destinations: a relay has 1 to {DESTINATIONS_MAX}")
    for number, destination in enumerate(destinations):
        if destination in destinations[:number]:
            raise InvalidDestination(f"destination {destination.text!r} is named twice")
    return destinations


def _what_is_missing(text: str) -> str:
    if text.startswith("["):
        return "] and a port must follow the address"
    if text.count(":") > 2:
        return "an IPv6 address must stand in brackets, and an instance has no colon"
    return "there is no port: host:port or host:port:instance"


def _refuse(text: str, why: str) -> NoReturn:
    raise InvalidDestination(f"destination {text!r}: {why}")
