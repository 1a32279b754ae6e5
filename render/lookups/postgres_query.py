"""One query of a PostgreSQL database as a table: as many texts as it has %s → first column of the first row."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from typing import Any

import psycopg

from render.config import Database
from render.errors import Unavailable
from render.lookups.tables import Aliases, Key

_LOG = logging.getLogger(__name__)
_AT_ONCE = 1000  # keys that are asked for in one go
_BOUND = re.compile(r"%([%s])")


class Connection:
    """A database's connection: made when it is first needed, and again after an error. Threads take turns.

    The session is read-only, and the server ends a query that takes longer than the time-out.
    """

    def __init__(self, name: str, database: Database) -> None:
        self._name, self._database = name, database
        self._open: psycopg.Connection[Any] | None = None
        self._turn = threading.Lock()

    def ask(self, query: str, keys: Sequence[Key]) -> Aliases:
        if not self._turn.acquire(timeout=self._database.timeout_s):
            raise Unavailable(f"database {self._name!r} is busy with other requests: ask again")
        try:
            found: list[str | None] = []
            for at in range(0, len(keys), _AT_ONCE):
                found += self._answers(query, keys[at : at + _AT_ONCE])
            return found
        except (psycopg.Error, OSError) as error:
            self._close()
            _LOG.warning("database %s gives no answer: %s", self._name, error)
            said = f"database {self._name!r} gives no answer; the log of this server says why"
            raise Unavailable(said) from error
        finally:
            self._turn.release()

    def _answers(self, query: str, keys: Sequence[Key]) -> list[str | None]:
        if self._open is None:
            self._open = self._connected()
        found: list[str | None] = []
        with self._open.cursor() as cursor:
            cursor.executemany(query, keys, returning=True)  # in one go, not a round trip each
            while True:
                row = cursor.fetchone()
                found.append(None if row is None or row[0] is None else str(row[0]))
                if not cursor.nextset():
                    return found

    def _connected(self) -> psycopg.Connection[Any]:
        most_ms = int(self._database.timeout_s * 1000)
        made = psycopg.connect(
            self._database.dsn,
            autocommit=True,
            connect_timeout=max(round(self._database.timeout_s), 2),  # libpq's least
            tcp_user_timeout=most_ms,
            application_name="plumbago",
        )
        made.execute(f"SET statement_timeout = {most_ms}")
        made.execute("SET default_transaction_read_only = on")
        return made

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class PostgresQuery:
    def __init__(self, connection: Connection, query: str) -> None:
        self._connection, self._query = connection, query
        self.width = sum(found[1] == "s" for found in _BOUND.finditer(query))

    def ask(self, keys: Sequence[Key]) -> Aliases:
        return self._connection.ask(self._query, keys)
