"""Hash rings: a name → the nodes that keep it, exactly as carbon and carbon-c-relay choose them.

A ring has 100 places for each node; a name belongs to the node of the first place at or behind the name's own, its
replicas to the following ones. Where a place comes from (a node's number is its place in the list of destinations):

hash           place of a node's i-th key                        carbon               carbon-c-relay
carbon_ch      first 16 bits of MD5 of "('host', 'instance'):i"  the same             the same
fnv1a_ch       FNV-1a (32 bits, folded to 16)                    key i-instance       the same; without an instance
                                                                 (or i-None)          key i-host:port
mmh3_ch        MurmurHash3, 32 bits signed, of carbon_ch's key   the same             has none
jump_fnv1a_ch  no ring: Lamping and Veach's jump hash of FNV-1a  has none             buckets sorted by instance
               (64 bits)

Both differ where keys collide: carbon takes the next place that is free (so that the order of nodes matters),
carbon-c-relay has the lowest host and instance (host and port for fnv1a_ch) keep the place. So their rings differ
near some places, of any hash: `Flavour` chooses. DIVERSE_REPLICAS is carbon's: no two replicas on one host.

carbon-c-relay takes bytes beyond ASCII as signed where the compiler's char is, for FNV-1a; it is not followed there,
as its listener replaces such bytes unless it is told not to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import md5
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from carbon.errors import InvalidDestination
from carbon.relay import hash_kernels as kernels
from carbon.relay.destination import Destination
from storage.intern import lay

Nodes = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]

NO_NODE = -1
PLACES_OF_A_NODE = 100


class HashType(StrEnum):
    CARBON = "carbon_ch"
    FNV1A = "fnv1a_ch"
    MMH3 = "mmh3_ch"
    JUMP = "jump_fnv1a_ch"


class Flavour(StrEnum):
    """Whose ring it is to be."""

    CARBON = "carbon"
    C_RELAY = "carbon-c-relay"


class Ring(Protocol):
    def nodes_of(self, names: Sequence[bytes]) -> Nodes:
        """Which nodes keep each name: int32 (names, replicas), best first; NO_NODE where there are no more."""
        ...


def make_ring(
    destinations: Sequence[Destination],
    hash_type: HashType,
    *,
    replicas: int = 1,
    diverse: bool = True,
    flavour: Flavour = Flavour.CARBON,
) -> Ring:
    """A ring of at least one node; raises InvalidDestination for nodes that it could not tell apart."""
    if hash_type is HashType.JUMP:
        return JumpRing(destinations, replicas=replicas, diverse=diverse)
    return HashRing(destinations, hash_type, replicas=replicas, diverse=diverse, flavour=flavour)


class HashRing:
    """A ring of carbon_ch, fnv1a_ch or mmh3_ch."""

    def __init__(
        self,
        destinations: Sequence[Destination],
        hash_type: HashType,
        *,
        replicas: int = 1,
        diverse: bool = True,
        flavour: Flavour = Flavour.CARBON,
    ) -> None:
        if flavour is Flavour.C_RELAY:  # of nodes with the same keys only the first would have places
            _refuse_the_same(destinations, [_keys(each, hash_type, flavour)[0] for each in destinations])
        else:
            _refuse_the_same(destinations, [each._replace(port=0) for each in destinations])
        self._hash = hasher(hash_type)
        places = _PLACING[flavour](destinations, hash_type)
        self.places: Places = np.array([place for place, _ in places], np.int64)
        self.nodes: Nodes = np.array([node for _, node in places], np.int32)
        self._found = _walks(
            self.nodes.tolist(),
            _servers(destinations, diverse=diverse),
            min(replicas, len(destinations)),
            all_of_them=flavour is Flavour.C_RELAY,
        )

    def nodes_of(self, names: Sequence[bytes]) -> Nodes:
        """int32 (names, replicas): the walk from each name's place on was done when the ring was made."""
        at = np.searchsorted(self.places, self._hash(names), "left") % len(self.places)
        found: Nodes = self._found[at]
        return found


class JumpRing:
    """jump_fnv1a_ch: buckets instead of places, and nothing that collides."""

    def __init__(
        self, destinations: Sequence[Destination], *, replicas: int = 1, diverse: bool = True
    ) -> None:
        _refuse_the_same(destinations, destinations)
        self._buckets = np.array(_in_buckets(destinations), np.int64)
        self._servers = np.array(_servers(destinations, diverse=diverse), np.int64)
        self._replicas = min(replicas, len(destinations))

    def nodes_of(self, names: Sequence[bytes]) -> Nodes:
        blob, offsets = _laid(names)
        found = np.full((len(names), self._replicas), NO_NODE, np.int32)
        kernels.jump_nodes(blob, offsets, self._buckets, self._servers, found)
        return found


class FastRing:
    """carbon's fast-hashing: nodes sorted by their own hashes, a name's is its hash modulo their number.

    Nodes whose hashes are the same stay in their order; in carbon it is another one with every start.
    """

    def __init__(
        self,
        destinations: Sequence[Destination],
        hash_type: HashType = HashType.MMH3,
        *,
        replicas: int = 1,
        diverse: bool = True,
    ) -> None:
        _refuse_the_same(destinations, [each._replace(port=0) for each in destinations])
        self._hash = hasher(hash_type)
        hashes = self._hash([_pair(each).encode() for each in destinations])
        nodes = np.argsort(hashes, kind="stable")
        self._found = _walks(
            nodes.tolist(),
            _servers(destinations, diverse=diverse),
            min(replicas, len(destinations)),
            all_of_them=True,
        )

    def nodes_of(self, names: Sequence[bytes]) -> Nodes:
        found: Nodes = self._found[self._hash(names) % len(self._found)]
        return found


# --- hashes ---


def hasher(hash_type: HashType) -> Callable[[Sequence[bytes]], Places]:
    """The function from names to their places; raises InvalidDestination for jump_fnv1a_ch, which has none."""
    if hash_type is HashType.JUMP:
        raise InvalidDestination(f"{hash_type} has no places on a ring")
    return _HASHERS[hash_type]


def _md5_places(names: Sequence[bytes]) -> Places:
    digests = b"".join([md5(name, usedforsecurity=False).digest() for name in names])
    first: Places = np.frombuffer(digests, ">u2")[::8].astype(np.int64)
    return first


def _fnv1a_places(names: Sequence[bytes]) -> Places:
    places = np.empty(len(names), np.int64)
    kernels.fnv1a_folded(*_laid(names), places)
    return places


def _mmh3_places(names: Sequence[bytes]) -> Places:
    places = np.empty(len(names), np.int64)
    kernels.murmur3(*_laid(names), places)
    return places


_HASHERS: dict[HashType, Callable[[Sequence[bytes]], Places]] = {
    HashType.CARBON: _md5_places,
    HashType.FNV1A: _fnv1a_places,
    HashType.MMH3: _mmh3_places,
}


def _laid(names: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The names end to end, and where each begins; contiguous and writable, as kernels are compiled for."""
    blob, starts, stops = lay(names)
    return blob, np.concatenate((starts, stops[-1:] if len(stops) else np.zeros(1, np.int64)))


# --- places ---


class _Place(NamedTuple):
    place: int
    node: int


def _pair(destination: Destination) -> str:
    """A node's key: what Python 2 and 3 both print for (host, instance)."""
    instance = "None" if destination.instance is None else f"'{destination.instance}'"
    return f"('{destination.host}', {instance})"


def _keys(destination: Destination, hash_type: HashType, flavour: Flavour) -> list[bytes]:
    if hash_type is not HashType.FNV1A:
        return [f"{_pair(destination)}:{i}".encode() for i in range(PLACES_OF_A_NODE)]
    what = str(destination.instance)
    if flavour is Flavour.C_RELAY and destination.instance is None:
        what = f"{destination.host}:{destination.port}"
    return [f"{i}-{what}".encode() for i in range(PLACES_OF_A_NODE)]


def _places_of_carbon(destinations: Sequence[Destination], hash_type: HashType) -> list[_Place]:
    """Who comes later takes the next free place."""
    taken: dict[int, int] = {}
    for node, destination in enumerate(destinations):
        for place in hasher(hash_type)(_keys(destination, hash_type, Flavour.CARBON)).tolist():
            while place in taken:
                place += 1
            taken[place] = node
    return [_Place(place, node) for place, node in sorted(taken.items())]


def _places_of_c_relay(destinations: Sequence[Destination], hash_type: HashType) -> list[_Place]:
    """Whoever is first in order keeps the place; the others lose theirs."""

    def order(entry: _Place) -> tuple[int, str, bool, str | int]:
        host, port, instance = destinations[entry.node]
        if hash_type is HashType.FNV1A:
            return entry.place, host, False, port
        return entry.place, host, instance is None, instance or ""

    entries = [
        _Place(place, node)
        for node, destination in enumerate(destinations)
        for place in hasher(hash_type)(_keys(destination, hash_type, Flavour.C_RELAY)).tolist()
    ]
    first: dict[int, int] = {}
    for place, node in sorted(entries, key=order):
        first.setdefault(place, node)
    return [_Place(place, node) for place, node in first.items()]


_PLACING = {Flavour.CARBON: _places_of_carbon, Flavour.C_RELAY: _places_of_c_relay}


def _in_buckets(destinations: Sequence[Destination]) -> list[int]:
    """Nodes with an instance first, by instance (numbers as such if both are), then the others as they stand."""
    named = [node for node, each in enumerate(destinations) if each.instance is not None]
    named.sort(key=lambda node: _Instance(destinations[node].instance or ""))
    return named + [node for node, each in enumerate(destinations) if each.instance is None]


_WHOLE = re.compile(r"-?[0-9]+")


class _Instance(str):
    """Compares as a number with a number, else as text."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        if _WHOLE.fullmatch(self) and _WHOLE.fullmatch(other):
            return int(self) < int(other)
        return str.__lt__(self, other)


# --- walks ---


def _servers(destinations: Sequence[Destination], *, diverse: bool) -> list[int]:
    """A number for each node: of its host if replicas must be on different ones, else of its own."""
    hosts = [each.host for each in destinations]
    return [hosts.index(host) for host in hosts] if diverse else list(range(len(hosts)))


def _walks(nodes: list[int], servers: list[int], replicas: int, *, all_of_them: bool = False) -> Nodes:
    """Which nodes a walk from each place of a ring meets first, no server twice: int32 (places, replicas).

    carbon's walk ends before the place in front of where it began, whoever that is, unless `all_of_them`.
    """
    found = np.full((len(nodes), replicas), NO_NODE, np.int32)
    steps = len(nodes) if all_of_them else max(len(nodes) - 1, 1)
    for start in range(len(nodes)):
        met: dict[int, int] = {}
        for at in range(start, start + steps):
            node = nodes[at % len(nodes)]
            met.setdefault(servers[node], node)
            if len(met) == replicas:
                break
        found[start, : len(met)] = list(met.values())
    return found


def _refuse_the_same(destinations: Sequence[Destination], keys: Sequence[object]) -> None:
    """Raises InvalidDestination if two nodes have the same key, or there is none."""
    if not destinations:
        raise InvalidDestination("a hash ring needs a destination")
    seen: dict[object, Destination] = {}
    for each, key in zip(destinations, keys, strict=True):
        if key in seen:
            raise InvalidDestination(
                f"destinations {seen[key].text!r} and {each.text!r} are the same to the hash ring: "
                "give each an instance of its own, as host:port:instance"
            )
        seen[key] = each
