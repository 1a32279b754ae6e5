"""The tables that targets can name, and the answers of a table that are still known."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from render.errors import ArgumentError, TooMuch, Unavailable

Key: TypeAlias = tuple[str, ...]
Aliases: TypeAlias = Sequence[str | None]  # one a key, None where the table has none

NAMES_MAX = 10_000  # that one call asks for, and that a table's cache holds
FRESH_S = 60.0  # a dashboard that is refreshed each 10 s asks for its aliases once a minute


class Table(Protocol):
    """What knows aliases."""

    @property
    def width(self) -> int:
        """Of how many texts a key is."""
        ...

    def ask(self, keys: Sequence[Key]) -> Aliases:
        """An alias for each key; raises Unavailable if there is no answer in time."""
        ...


class Cached:
    """A table whose answers are kept for a while. Threads share it.

    What is older than `fresh_s` is asked for again, and serves only where there is no answer. Those that
    nobody has asked for longest go when there are more than `names_max`.
    """

    def __init__(
        self,
        table: Table,
        *,
        names_max: int = NAMES_MAX,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table, self._names_max, self._fresh_s, self._clock = table, names_max, fresh_s, clock
        self._known: OrderedDict[Key, tuple[float, str | None]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        return self._table.width

    def ask(self, keys: Sequence[Key]) -> Aliases:
        """An alias for each key. Raises TooMuch, or Unavailable if nothing is known of one of them."""
        distinct = dict.fromkeys(keys)
        if len(distinct) > self._names_max:
            most = self._names_max
            raise TooMuch(f"{len(distinct)} names to be looked up; at most {most}: narrow the pattern")
        known = self._remembered(distinct)
        oldest = self._clock() - self._fresh_s
        missing = [key for key in distinct if key not in known or known[key][0] <= oldest]
        found = self._answers(missing, known) if missing else {}
        return [found[key] if key in found else known[key][1] for key in keys]

    def _answers(
        self, missing: Sequence[Key], known: Mapping[Key, tuple[float, str | None]]
    ) -> dict[Key, str | None]:
        try:
            found = dict(zip(missing, self._table.ask(missing), strict=True))
        except Unavailable:
            if all(key in known for key in missing):
                return {}
            raise
        self._remember(found)
        return found

    def _remembered(self, keys: Iterable[Key]) -> dict[Key, tuple[float, str | None]]:
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
            for key in found:
                self._known.move_to_end(key)
            return found

    def _remember(self, found: Mapping[Key, str | None]) -> None:
        now = self._clock()
        with self._lock:
            for key, alias in found.items():
                self._known[key] = (now, alias)
                self._known.move_to_end(key)
            while len(self._known) > self._names_max:
                self._known.popitem(last=False)


class Lookups:
    """All tables: Redis hashes by their key, queries by database and name."""

    def __init__(
        self,
        hashes: Mapping[str, Table] | None = None,
        queries: Mapping[tuple[str, str], Table] | None = None,
    ) -> None:
        self._hashes, self._queries = hashes or {}, queries or {}

    def hash(self, function: str, key: str) -> Table:
        """Raises ArgumentError for a key that the configuration does not allow."""
        if not self._hashes:
            said = "there is no Redis: [lookup.redis] of plumbago.toml would name one"
            raise ArgumentError(function, "keyName", said)
        if key not in self._hashes:
            said = f"{key!r} is none of the keys that [lookup.redis] allows"
            raise ArgumentError(function, "keyName", said)
        return self._hashes[key]

    def query(self, function: str, database: str, name: str) -> Table:
        """Raises ArgumentError for what the configuration does not have."""
        if database not in {known for known, _ in self._queries}:
            said = f"there is no database {database!r}: [lookup.postgres.{database}] of plumbago.toml would name it"
            raise ArgumentError(function, "databaseName", said)
        if (database, name) not in self._queries:
            said = f"database {database!r} has no query {name!r} in plumbago.toml"
            raise ArgumentError(function, "keyString", said)
        return self._queries[database, name]


NO_LOOKUPS = Lookups()
