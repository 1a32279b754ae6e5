"""The catalogue: which series there are and where each lies, in SQLite beside the rings.

Names come in batches and rows are taken in turn, so a catalogue row is a *run*: names and their rows of one shard.
A million names are some hundred runs, written and read in a fraction of the time that a row for each would take.
The runs are a journal, read in the order of their ids: a name that has a place already moves to the new one, and a
run of shard 0 takes its names away. Readers see new runs through `changed()`; a rewrite sets a new `epoch`.

Beside the living are the *trash* (names that were deleted, with the rows that still hold their values) and the
*free* rows. Every row that was ever given out has a living name, lies in the trash or is free.

SQLite finds out when its pages contradict each other, but not when a name in one has become another. So every row has
a CRC-32 of its other columns; a copy of the whole is kept beside (see backup.py).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from storage.errors import CorruptCatalogue, InvalidRetention, NotAStore, StorageError, StoreVersion

Integers = npt.NDArray[np.int64]

VERSION = 2
_VERSIONS_MAX = 1000
GONE = 0  # the shard of a run whose names are taken away
_APPLICATION_ID = 0x506C7562  # "Plub"
_TRASHED = "shard, row, name, deleted, last, born, id"

_CHECKED = {
    "schema": "retention, aggregation, x_files_factor, pinned",
    "shard": "schema",
    "run": "shard, first_row, rows, names, places",
}  # the columns that a row's CRC-32 covers, after its id
_UPGRADE = {
    1: (
        "ALTER TABLE schema ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0 /* not decided by rules: stays as it is */",
        "ALTER TABLE run ADD COLUMN places BLOB /* int64: row of each, then born of each; NULL: first_row and on */",
        """CREATE TABLE trash (id INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL, row INTEGER NOT NULL,
                               name TEXT NOT NULL, deleted INTEGER NOT NULL,
                               last INTEGER NOT NULL /* no value lies after it */, born INTEGER NOT NULL,
                               crc INTEGER)""",
        "CREATE INDEX trash_name ON trash (name)",
        "CREATE INDEX trash_deleted ON trash (deleted)",
        """CREATE TABLE free (shard INTEGER NOT NULL, row INTEGER NOT NULL, born INTEGER NOT NULL,
                              crc INTEGER, PRIMARY KEY (shard, row)) WITHOUT ROWID""",
        "ALTER TABLE schema ADD COLUMN crc INTEGER",
        "ALTER TABLE shard ADD COLUMN crc INTEGER",
        "ALTER TABLE run ADD COLUMN crc INTEGER",
    ),
}  # what makes the tables of the next version
_TABLES = (
    """CREATE TABLE schema (id INTEGER PRIMARY KEY, retention TEXT NOT NULL, aggregation TEXT NOT NULL,
                            x_files_factor REAL NOT NULL)""",
    "CREATE TABLE shard (id INTEGER PRIMARY KEY, schema INTEGER NOT NULL REFERENCES schema)",
    """CREATE TABLE run (id INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL REFERENCES shard,
                         first_row INTEGER NOT NULL, rows INTEGER NOT NULL,
                         names TEXT NOT NULL /* one a line, in the order of their rows */)""",
    "CREATE TABLE state (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO state VALUES ('epoch', 0)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)  # of version 1


class Run(NamedTuple):
    """Names and their rows of one shard, GONE for none any more; each name stands once in a run."""

    shard: int
    rows: Integers
    born: Integers  # from when on each name's row counts; 0 = it had no other owner before
    names: str  # one a line


class SchemaRow(NamedTuple):
    id: int
    retention: str
    aggregation: str
    x_files_factor: float
    pinned: int  # 0 or 1


class Trashed(NamedTuple):
    """A deleted name; its row holds its values still."""

    shard: int
    row: int
    name: str
    deleted: int  # epoch seconds
    last: int  # no value of it lies after
    born: int
    id: int = 0  # given by the catalogue


class Free(NamedTuple):
    """A row without an owner; the next is born at `born`."""

    shard: int
    row: int
    born: int


Place = tuple[int, int]  # shard, row


@dataclass
class Change:
    """What one transaction does, all or nothing."""

    runs: list[Run] = field(default_factory=list)
    freed: list[Free] = field(default_factory=list)
    taken: list[Place] = field(default_factory=list)  # free no more
    trashed: list[Trashed] = field(default_factory=list)
    untrashed: list[int] = field(default_factory=list)  # ids


class Catalogue:
    """The open catalogue of a data folder; raises NotAStore or StoreVersion with what to do.

    Whatever is written raises OSError when the disk is full or fails, and then has changed nothing.
    """

    FILE = "catalogue.sqlite"

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.path = folder / self.FILE
        if not writable and not self.path.exists():
            start = f"start `plumbago serve --data {folder}` once"
            raise NotAStore(f"{folder} holds no Plumbago store ({self.FILE} is missing): {start}")
        self.changes = self.frees = 0  # transactions of this process, and those after which rows are free
        mode = "rwc" if writable else "rw"  # a reader needs to map the -shm file that the writer made
        try:
            self._db = sqlite3.connect(
                f"file:{self.path}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
            )
            self._open(writable)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # which its own words for what is damaged may be
            self._db.close()
            if self.is_damage(error):
                raise CorruptCatalogue(str(self.path), str(error)) from error
            raise NotAStore(f"{self.path} cannot be opened: {error}") from error
        except StorageError:
            self._db.close()
            raise
        self._seen_version = -1
        self.inode = os.stat(self.path).st_ino

    def _open(self, writable: bool) -> None:
        self._db.execute("PRAGMA busy_timeout = 5000")
        if writable:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._version()
        newer = VERSION < version < _VERSIONS_MAX  # of a program to come, as far as we can know
        if (
            writable
            and not newer
            and (application, version) != (_APPLICATION_ID, VERSION)
            and self._is_ours()
        ):
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")  # these two numbers are damaged
            self._db.execute(f"PRAGMA user_version = {VERSION}")
            application, version = _APPLICATION_ID, VERSION
        if writable and application == 0 and version == 0 and not self._has_tables():
            self._make_tables(0)
        elif application != _APPLICATION_ID:
            raise NotAStore(f"{self.path} is a database of another program: choose another data folder")
        elif not 1 <= version <= VERSION:
            raise StoreVersion(
                f"{self.path} has format version {version}, this program reads up to {VERSION}: "
                "use the Plumbago that wrote it, or choose another data folder"
            )
        elif writable and version < VERSION:
            try:
                self._make_tables(version)
            except sqlite3.OperationalError as error:
                raise NotAStore(f"{self.path} cannot be upgraded: {error}") from error

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _has_tables(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone())

    def _is_ours(self) -> bool:
        """Whether the tables are those that this program makes."""
        question = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        with closing(sqlite3.connect(":memory:")) as fresh:
            for statement in (*_TABLES, *(one for older in range(1, VERSION) for one in _UPGRADE[older])):
                fresh.execute(statement)
            return bool(self._db.execute(question).fetchall() == fresh.execute(question).fetchall())

    def is_damage(self, error: BaseException) -> bool:
        """Whether an error while reading says that the file is not what was written; SQLite has many words for it."""
        if not isinstance(
            error, sqlite3.Error
        ):  # of the journal: a shard that there is not, a text that cannot be
            return isinstance(error, (CorruptCatalogue, InvalidRetention, LookupError, ValueError))
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_READONLY:  # a number in the header says so too
            return os.access(self.path, os.W_OK) and not os.statvfs(self.path).f_flag & os.ST_RDONLY
        return code not in _NO_DAMAGE

    def _make_tables(self, version: int) -> None:
        """Bring the tables from a version, 0 for none, to ours."""
        with self._writing():
            for statement in () if version else _TABLES:
                self._db.execute(statement)
            for older in range(max(1, version), VERSION):
                for statement in _UPGRADE[older]:
                    self._db.execute(statement)
            if version == 1:
                self._add_checksums()
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _add_checksums(self) -> None:
        for table, columns in _CHECKED.items():
            for row in self._db.execute(f"SELECT id, {columns} FROM {table}").fetchall():  # noqa: S608
                self._db.execute(f"UPDATE {table} SET crc = ? WHERE id = ?", (_crc(row), row[0]))  # noqa: S608

    def sync(self) -> None:
        """Wait until the names that were added are on the disk: they are in the log, and SQLite syncs what it moves on.

        The database's own file must not be opened and closed here. That ends SQLite's locks on it, and the next
        reader that leaves takes itself for the last and removes the log.
        """
        log = self.path.with_name(self.path.name + "-wal")
        if log.exists():
            file = os.open(log, os.O_RDWR)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)

    def close(self) -> None:
        self._db.close()

    # --- reading ---

    def changed(self) -> bool:
        """Whether another process has committed since the last call."""
        before, self._seen_version = self._seen_version, self._data_version()
        return self._seen_version != before

    @property
    def is_current(self) -> bool:
        """What `changed` would deny."""
        return self._data_version() == self._seen_version

    def _data_version(self) -> int:
        with self._os_errors():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read in here is of one moment."""
        with self._os_errors():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    def epoch(self) -> int:
        """A number that changes when runs were rewritten: what was read before is void."""
        return int(self._rows("SELECT value FROM state WHERE key = 'epoch'")[0][0])

    def schemas(self) -> list[SchemaRow]:
        pinned = "pinned" if self._version() > 1 else "0"
        found = self._checked(
            f"SELECT id, retention, aggregation, x_files_factor, {pinned}, {self._crc} FROM schema ORDER BY id"  # noqa: S608
        )
        return [SchemaRow(*row) for row in found]

    def shards(self) -> list[tuple[int, int]]:
        """(shard, schema) of each."""
        return list(self._checked(f"SELECT id, schema, {self._crc} FROM shard ORDER BY id"))  # noqa: S608

    def runs(self, after: int = 0) -> Iterator[tuple[int, Run]]:
        """(id, run) of each that came after one, in their order."""
        places = "places" if self._version() > 1 else "NULL"
        found = self._checked(
            f"SELECT id, shard, first_row, rows, names, {places}, {self._crc} FROM run WHERE id > ? ORDER BY id",  # noqa: S608
            after,
        )
        for number, *run in found:
            yield number, _decoded(*run)

    def trash(self, before: int | None = None, *, at_most: int = -1) -> list[Trashed]:
        """What was deleted, all or before a time, the oldest first."""
        if self._version() < 2:
            return []
        before = (1 << 62) if before is None else before
        found = self._checked(
            f"SELECT {_TRASHED}, crc FROM trash WHERE deleted < ? ORDER BY deleted, id LIMIT ?",  # noqa: S608
            before,
            at_most,
            free=1,
        )
        return [Trashed(*row) for row in found]

    def trash_of(self, name: str) -> Trashed | None:
        """What was deleted last under a name."""
        found = self._checked(
            f"SELECT {_TRASHED}, crc FROM trash WHERE name = ? ORDER BY id DESC LIMIT 1",  # noqa: S608
            name,
            free=1,
        )
        return next((Trashed(*row) for row in found), None)

    def free(self) -> list[Free]:
        return [Free(*row) for row in self._checked("SELECT shard, row, born, crc FROM free")]

    def trashed_rows(self) -> list[tuple[int, int]]:
        """(shard, the highest row in the trash) of each."""
        return self._rows("SELECT shard, max(row) FROM trash GROUP BY shard")

    @property
    def _crc(self) -> str:
        return "crc" if self._version() > 1 else "NULL"

    def _checked(self, question: str, *values: object, free: int = 0) -> Iterator[tuple[Any, ...]]:
        """The rows without their last column, the CRC of all others but the `free` before it.

        Raises CorruptCatalogue at one that it does not fit.
        """
        table = question.partition(" FROM ")[2].split()[0]
        with self._os_errors():
            for *row, crc in self._db.execute(question, values):
                if crc != _crc(row[: len(row) - free]) and (crc is not None or self._version() > 1):
                    raise CorruptCatalogue(
                        str(self.path), f"a row of table {table} has a wrong checksum: {row[:2]}"
                    )
                yield tuple(row)

    def check(self) -> None:
        """Raise CorruptCatalogue where anything in it is not what was written."""
        try:
            if found := self.damage():
                raise CorruptCatalogue(str(self.path), found)
            for some in (self.schemas(), self.shards(), self.runs(), self.trash(), self.free()):
                for _ in some:
                    pass
        except sqlite3.DatabaseError as error:
            if not self.is_damage(error):
                raise
            raise CorruptCatalogue(str(self.path), str(error)) from error

    def image(self) -> bytes:
        """The whole database as one file."""
        with self._os_errors():
            return self._db.serialize()

    def damage(self) -> str | None:
        """What SQLite says is wrong with the database; None if nothing is."""
        found = str(self._rows("PRAGMA quick_check(1)")[0][0])
        return None if found == "ok" else found

    def _rows(self, question: str, *values: object) -> list[Any]:
        with self._os_errors():
            return self._db.execute(question, values).fetchall()

    # --- writing ---

    def add_schema(self, retention: str, aggregation: str, x_files_factor: float, *, pinned: bool) -> int:
        with self._writing():
            values = retention, aggregation, float(x_files_factor), int(pinned)
            return self._insert("schema", *values)

    def add_shard(self, schema: int) -> int:
        with self._writing():
            return self._insert("shard", schema)

    def _insert(self, table: str, *values: object) -> int:
        """Add a row, with the id that is next and is part of its checksum; an id is given once."""
        given = f"max((SELECT coalesce(max(id), 0) FROM {table}), coalesce(max(seq), 0))"  # noqa: S608
        question = f"SELECT {given} + 1 FROM sqlite_sequence WHERE name = ?"  # noqa: S608
        number = int(self._db.execute(question, (table,)).fetchone()[0])
        row = number, *values
        marks = ", ".join("?" * (len(row) + 1))
        statement = f"INSERT INTO {table} (id, {_CHECKED[table]}, crc) VALUES ({marks})"  # noqa: S608
        self._db.execute(statement, (*row, _crc(row)))
        return number

    def apply(self, change: Change) -> int:
        """Make a change in one transaction; gives the last run's id, 0 if there was none."""
        with self._writing():
            last = self._add_runs(change.runs)
            self._db.executemany("DELETE FROM free WHERE shard = ? AND row = ?", change.taken)
            self._db.executemany("DELETE FROM trash WHERE id = ?", ((one,) for one in change.untrashed))
            self._db.executemany(
                f"INSERT INTO trash ({_TRASHED}, crc) VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",  # noqa: S608
                ((*one[:-1], _crc(one[:-1])) for one in change.trashed),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO free VALUES (?, ?, ?, ?)", ((*row, _crc(row)) for row in change.freed)
            )
        self.frees += bool(change.freed)
        return last

    def rewrite(self, runs: Iterable[Run]) -> int:
        """Let these runs stand for all there are; gives the last one's id."""
        with self._writing():
            self._db.execute("DELETE FROM run")
            last = self._add_runs(runs)
            self._db.execute("UPDATE state SET value = value + 1 WHERE key = 'epoch'")
        return last

    def begin_epoch(self) -> None:
        """Make void what others have read: the catalogue is another one."""
        with self._writing():
            self._db.execute("UPDATE state SET value = value + ? WHERE key = 'epoch'", (1 << 20,))

    def _add_runs(self, runs: Iterable[Run]) -> int:
        last = 0
        for run in runs:
            last = self._insert("run", *_encoded(run))
        return last

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction: all or nothing."""
        with self._os_errors():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
                self.changes += 1
            except BaseException:
                if self._db.in_transaction:  # SQLite ends some that fail by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Where SQLite's words for a disk that is full or fails become those of all other files."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            number = _ERRNO.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF)
            if number is None:
                raise
            raise OSError(number, f"{os.strerror(number)} ({error})", str(self.path)) from error


_ERRNO = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}
_NO_DAMAGE = frozenset(
    {
        *_ERRNO,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
    }
)


def _crc(row: Iterable[object]) -> int:
    """The CRC-32 of a row's columns."""
    crc = 0
    for value in row:
        data = value if isinstance(value, bytes) else str(value).encode()
        crc = zlib.crc32(data, zlib.crc32(b"%d:" % len(data), crc))
    return crc


def _encoded(run: Run) -> tuple[int, int, int, str, bytes | None]:
    count = len(run.rows)
    first = int(run.rows[0]) if count else 0
    if run.shard == GONE or (
        not run.born.any() and np.array_equal(run.rows, np.arange(first, first + count))
    ):
        return run.shard, first, count, run.names, None
    return run.shard, first, count, run.names, np.concatenate((run.rows, run.born)).astype("<i8").tobytes()


def _decoded(shard: int, first: int, count: int, names: str, places: bytes | None) -> Run:
    if places is None:
        return Run(shard, np.arange(first, first + count), np.zeros(count, np.int64), names)
    both = np.frombuffer(places, "<i8").astype(np.int64)
    return Run(shard, both[:count], both[count:], names)


def run_of(shard: int, rows: Integers, names: Sequence[str], born: Integers | None = None) -> Run:
    """A run of names in the order of their rows; without `born` the rows had no owner before."""
    return Run(shard, rows, np.zeros(len(rows), np.int64) if born is None else born, "\n".join(names))


def gone(names: Sequence[str]) -> Run:
    """The run that takes names away."""
    return run_of(GONE, np.zeros(len(names), np.int64), names)
