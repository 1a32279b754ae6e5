"""The catalogue: which series there are and where each lies, in SQLite beside the rings.

Names come in batches and rows are taken in turn, so a catalogue row is a *run*: names of consecutive rows of one
shard. A million names are some hundred rows, written and read in a fraction of the time that a row for each takes.
Readers see a new run through `changed()`; runs are only ever appended, but for a rewrite that sets a new `epoch`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from storage.errors import NotAStore, StoreVersion

VERSION = 1
_APPLICATION_ID = 0x506C7562  # "Plub"
_RUN_NAMES_MAX = 65_536

_TABLES = """
CREATE TABLE schema (id INTEGER PRIMARY KEY, retention TEXT NOT NULL, aggregation TEXT NOT NULL,
                     x_files_factor REAL NOT NULL);
CREATE TABLE shard (id INTEGER PRIMARY KEY, schema INTEGER NOT NULL REFERENCES schema);
CREATE TABLE run (id INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL REFERENCES shard,
                  first_row INTEGER NOT NULL, rows INTEGER NOT NULL,
                  names TEXT NOT NULL /* one a line, in the order of their rows */);
CREATE TABLE state (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('epoch', 0);
"""


class Run(NamedTuple):
    """Names of consecutive rows of a shard; `names` is UTF-8 text, one name a line."""

    id: int
    shard: int
    first_row: int
    rows: int
    names: str


class SchemaRow(NamedTuple):
    id: int
    retention: str
    aggregation: str
    x_files_factor: float


class Catalogue:
    """The open catalogue of a data folder; raises NotAStore or StoreVersion with what to do."""

    FILE = "catalogue.sqlite"

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.path = folder / self.FILE
        if not writable and not self.path.exists():
            start = f"start `plumbago serve --data {folder}` once"
            raise NotAStore(f"{folder} holds no Plumbago store ({self.FILE} is missing): {start}")
        mode = "rwc" if writable else "rw"  # a reader needs to map the -shm file that the writer made
        try:
            self._db = sqlite3.connect(
                f"file:{self.path}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
            )
            self._open(writable)
        except sqlite3.Error as error:
            raise NotAStore(f"{self.path} cannot be opened: {error}") from error
        self._seen_version = -1
        self._epoch = -1

    def _open(self, writable: bool) -> None:
        self._db.execute("PRAGMA busy_timeout = 5000")
        if writable:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if writable and application == 0 and version == 0 and not self._has_tables():
            self._db.executescript(
                f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != _APPLICATION_ID:
            raise NotAStore(f"{self.path} is a database of another program: choose another data folder")
        elif version != VERSION:
            raise StoreVersion(
                f"{self.path} has format version {version}, this program reads {VERSION}: "
                "use the Plumbago that wrote it, or choose another data folder"
            )

    def _has_tables(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone())

    def sync(self) -> None:
        """Wait until the names that were added are on the disk."""
        log = self.path.with_name(self.path.name + "-wal")
        for path in (log, self.path):
            if path.exists():
                file = os.open(path, os.O_RDWR)
                os.fdatasync(file)
                os.close(file)

    def close(self) -> None:
        self._db.close()

    # --- reading ---

    def changed(self) -> bool:
        """Whether another process has committed since the last call."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        before, self._seen_version = self._seen_version, version
        return bool(version != before)

    def epoch(self) -> int:
        """A number that changes when runs were rewritten: what was read before is void."""
        return int(self._db.execute("SELECT value FROM state WHERE key = 'epoch'").fetchone()[0])

    def schemas(self) -> list[SchemaRow]:
        return [SchemaRow(*row) for row in self._db.execute("SELECT * FROM schema ORDER BY id")]

    def shards(self) -> list[tuple[int, int]]:
        """(shard, schema) of each."""
        return self._db.execute("SELECT id, schema FROM shard ORDER BY id").fetchall()

    def runs(self, after: int = 0) -> Iterator[Run]:
        rows = self._db.execute(
            "SELECT id, shard, first_row, rows, names FROM run WHERE id > ? ORDER BY id", (after,)
        )
        return map(Run._make, rows)

    # --- writing ---

    def add_schema(self, retention: str, aggregation: str, x_files_factor: float) -> int:
        cursor = self._db.execute(
            "INSERT INTO schema VALUES (NULL, ?, ?, ?)", (retention, aggregation, x_files_factor)
        )
        return int(cursor.lastrowid or 0)

    def add_shard(self, schema: int) -> int:
        return int(self._db.execute("INSERT INTO shard VALUES (NULL, ?)", (schema,)).lastrowid or 0)

    def add_runs(self, runs: Iterable[tuple[int, int, int, str]]) -> int:
        """Add (shard, first row, rows, names) in one transaction; gives the last run's id."""
        last = 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for run in runs:
                last = self._db.execute("INSERT INTO run VALUES (NULL, ?, ?, ?, ?)", run).lastrowid or 0
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return last

    def merge_runs(self) -> None:
        """Join runs that lie side by side: names that came one by one would each be a row for ever."""
        merged: list[list[int | str]] = []
        count = 0
        for run in self.runs():
            count += 1
            last = merged[-1] if merged else None
            if (
                last is not None
                and last[0] == run.shard
                and int(last[1]) + int(last[2]) == run.first_row
                and int(last[2]) + run.rows <= _RUN_NAMES_MAX
            ):
                last[2] = int(last[2]) + run.rows
                last[3] = f"{last[3]}\n{run.names}"
            else:
                merged.append([run.shard, run.first_row, run.rows, run.names])
        if len(merged) * 2 > count:
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM run")
        self._db.executemany("INSERT INTO run VALUES (NULL, ?, ?, ?, ?)", merged)
        self._db.execute("UPDATE state SET value = value + 1 WHERE key = 'epoch'")
        self._db.execute("COMMIT")
