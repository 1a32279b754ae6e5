"""The router: which destinations a name goes to, decided once for each name (pure).

Destinations are numbers, their places in the list of them. The sets that occur are interned: a name's decision is one
int32, its route id, and `Router.sets[route id]` are the destinations. The methods are carbon's RELAY_METHOD:

constant                         all destinations
rules                            what the rules say of the name
consistent-hashing               the hash ring of the name
aggregated-consistent-hashing    the hash rings of the aggregates that the name feeds, or of itself if it feeds none
fast-hashing                     sorted nodes instead of a ring: faster, but a new node moves nearly all names
fast-aggregated-hashing          the same of aggregates
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from carbon.errors import InvalidDestination
from carbon.relay.destination import Destination, parse_destination
from carbon.relay.hashring import FastRing, Flavour, HashType, Nodes, Ring, make_ring

RouteIds = npt.NDArray[np.int32]
Aggregates = Callable[[str], Sequence[str]]

NOWHERE = 0  # the route of names that no destination is to have

_log = logging.getLogger(__name__)


class Method(StrEnum):
    CONSTANT = "constant"
    RULES = "rules"
    CONSISTENT = "consistent-hashing"
    AGGREGATED = "aggregated-consistent-hashing"
    FAST = "fast-hashing"
    FAST_AGGREGATED = "fast-aggregated-hashing"


_FAST = (Method.FAST, Method.FAST_AGGREGATED)
_AGGREGATED = (Method.AGGREGATED, Method.FAST_AGGREGATED)


class Rules(Protocol):
    """What the method `rules` asks."""

    def destinations(self, name: str) -> tuple[str, ...]:
        """Of the rules that match, as they are written."""
        ...


class Router:
    """`sets` grows as names are routed; its first is that of NOWHERE."""

    def __init__(
        self,
        method: Method,
        destinations: Sequence[Destination],
        *,
        hash_type: HashType | None = None,
        replicas: int = 1,
        diverse: bool = True,
        flavour: Flavour = Flavour.CARBON,
        rules: Rules | None = None,
    ) -> None:
        """`hash_type` None: carbon_ch, and mmh3_ch for the fast methods. `replicas`: REPLICATION_FACTOR.

        Raises InvalidDestination, and ValueError for `rules` without rules or fewer replicas than one.
        """
        if replicas < 1:
            raise ValueError(f"{replicas} replicas: a datapoint goes to one destination at least")
        self.destinations = tuple(destinations)
        self.sets: list[tuple[int, ...]] = [()]
        self._ids: dict[tuple[int, ...], int] = {(): NOWHERE}
        self._aggregated = method in _AGGREGATED
        self._of_texts: dict[str, int | None] = {}
        if method is Method.CONSTANT:
            everywhere = self._intern(range(len(self.destinations)))
            self._decide: Callable[[Sequence[bytes]], RouteIds] = lambda names: np.full(
                len(names), everywhere, np.int32
            )
        elif method is Method.RULES:
            if rules is None:
                raise ValueError("the method rules needs rules")
            self._decide = lambda names: self._by_rules(rules, names)
        else:
            ring = _ring(method, self.destinations, hash_type, replicas, flavour, diverse=diverse)
            self._decide = lambda names: self._by_nodes(ring.nodes_of(names))

    def routes(self, names: Sequence[bytes], aggregates: Aggregates | None = None) -> list[tuple[int, ...]]:
        """The destinations of each name, sorted; the tuples are shared."""
        return [self.sets[route] for route in self.route_ids(names, aggregates).tolist()]

    def route_ids(self, names: Sequence[bytes], aggregates: Aggregates | None = None) -> RouteIds:
        """The route of each name: int32, an index into `sets`.

        `aggregates` gives the aggregates that a name feeds; the aggregated methods ask it, others need it not.
        """
        if not names:
            return np.empty(0, np.int32)
        if self._aggregated and aggregates is not None:
            return self._by_aggregates(names, aggregates)
        return self._decide(names)

    def _intern(self, numbers: Sequence[int]) -> int:
        """The id of a set of destinations."""
        destinations = tuple(sorted(set(numbers)))
        route = self._ids.setdefault(destinations, len(self.sets))
        if route == len(self.sets):
            self.sets.append(destinations)
        return route

    # --- hashing ---

    def _by_nodes(self, nodes: Nodes) -> RouteIds:
        """The routes of rows of nodes; rows that are the same are looked at once."""
        rows = np.sort(nodes, axis=1)
        codes = np.zeros(len(rows), np.int64)
        for column in rows.T:  # a row's number among those that occur, column by column: it never overflows
            codes = codes * (len(self.destinations) + 1) + column + 1
            codes = np.unique(codes, return_inverse=True)[1]
        _, first, which = np.unique(codes, return_index=True, return_inverse=True)
        ids = [self._intern([node for node in row if node >= 0]) for row in rows[first].tolist()]
        return np.array(ids, np.int32)[which]

    def _by_aggregates(self, names: Sequence[bytes], aggregates: Aggregates) -> RouteIds:
        """As carbon's: the aggregates' destinations together, so that each aggregate is made in one place."""
        keys: list[bytes] = []
        stops = []
        for name in names:
            fed = aggregates(name.decode(errors="surrogateescape"))
            keys += [each.encode(errors="surrogateescape") for each in fed] or [name]
            stops.append(len(keys))
        decided = self._decide(keys).tolist()
        ids = []
        for start, stop in zip([0, *stops], stops, strict=False):
            among = [number for route in decided[start:stop] for number in self.sets[route]]
            ids.append(self._intern(among))
        return np.array(ids, np.int32)

    # --- rules ---

    def _by_rules(self, rules: Rules, names: Sequence[bytes]) -> RouteIds:
        ids = []
        for name in names:
            numbers = map(self._number, rules.destinations(name.decode(errors="surrogateescape")))
            ids.append(self._intern([number for number in numbers if number is not None]))
        return np.array(ids, np.int32)

    def _number(self, text: str) -> int | None:
        """The destination that a rule names; None (as carbon: left out, but told once) if the relay has no such."""
        if text not in self._of_texts:
            self._of_texts[text] = number = self._find(text)
            if number is None:
                _log.warning("relay rules: %r is none of the relay's destinations, nothing goes there", text)
        return self._of_texts[text]

    def _find(self, text: str) -> int | None:
        try:
            return self.destinations.index(parse_destination(text))
        except (InvalidDestination, ValueError):
            return None


def _ring(
    method: Method,
    destinations: Sequence[Destination],
    hash_type: HashType | None,
    replicas: int,
    flavour: Flavour,
    *,
    diverse: bool,
) -> Ring:
    if method in _FAST:
        return FastRing(destinations, hash_type or HashType.MMH3, replicas=replicas, diverse=diverse)
    return make_ring(
        destinations, hash_type or HashType.CARBON, replicas=replicas, diverse=diverse, flavour=flavour
    )
