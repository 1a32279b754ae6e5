"""Events: what happened when (a deploy, a failover), in SQLite beside the catalogue. Any process may add and ask.

    event  id, at (epoch seconds), what, tags (one text, spaces between), data (JSON, as it was given)
    tag    tag, at, event: finds the events of a tag and a time without a look at others

They are bounded: each by its length, all by their number; beyond it those that were added first go. A connection is
opened for each question: there are few, and threads and processes need not know of each other.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from storage.errors import EventsFailed

FILE = "events.sqlite"
_VERSION = 1
_BUSY_S = 5.0
_STEPS = 20_000  # of SQLite's machine, between two looks at the clock
_TABLES = (
    """CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, what TEXT NOT NULL,
                           tags TEXT NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX event_at ON event (at)",
    "CREATE TABLE tag (tag TEXT, at INTEGER, event INTEGER, PRIMARY KEY (tag, at, event)) WITHOUT ROWID",
    "CREATE INDEX tag_event ON tag (event)",
    f"PRAGMA user_version = {_VERSION}",
)


@dataclass(frozen=True)
class Limits:
    """What events may be."""

    kept_max: int = 200_000  # graphite-web: any
    what_chars_max: int = 1000  # graphite-web: 255
    data_bytes_max: int = 64 << 10  # as JSON; graphite-web: any
    tags_max: int = 64  # of an event, and of a question
    tag_chars_max: int = 255
    found_max: int = 10_000  # events of one answer
    found_bytes_max: int = 32 << 20  # of their data
    duration_s: float = 10.0  # until a question is given up


DEFAULT_LIMITS = Limits()


class Event(NamedTuple):
    """`data` is JSON."""

    when: int  # epoch seconds
    what: str
    tags: tuple[str, ...] = ()
    data: str = '""'
    id: int = 0  # given when it is added


class Asked(NamedTuple):
    """Events of the times start … until, both included, with all of the tags, or any; none: all events."""

    start: int
    until: int
    tags: Sequence[str] = ()
    any_tag: bool = False
    text: str = ""  # part of what or data, the case of ASCII's letters aside


class Events:
    """The events of a data folder; the file is made with the first. All raise EventsFailed."""

    def __init__(self, folder: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        self.path, self._limits = folder / FILE, limits

    def add(self, event: Event) -> Event:
        """The event with its id, when it is on the disk."""
        row = (event.when, event.what, " ".join(event.tags), event.data)
        with self._open(writable=True) as database, database:
            number = database.execute(
                "INSERT INTO event (at, what, tags, data) VALUES (?, ?, ?, ?)", row
            ).lastrowid
            assert number is not None  # of an insert
            tags = [(tag, event.when, number) for tag in dict.fromkeys(event.tags)]
            database.executemany("INSERT INTO tag VALUES (?, ?, ?)", tags)
            last = number - self._limits.kept_max
            database.execute("DELETE FROM tag WHERE event <= ?", (last,))
            database.execute("DELETE FROM event WHERE id <= ?", (last,))
        return event._replace(id=number)

    def get(self, number: int) -> Event | None:
        with self._open() as database:
            row = database.execute(f"{_SELECT} WHERE id = ?", (number,)).fetchone()
        return None if row is None else _event(row)

    def find(self, asked: Asked) -> tuple[list[Event], bool]:
        """The events, the oldest first, and whether there are more: then these are the newest."""
        where, values = _where(asked)
        found: list[Event] = []
        size = 0
        with self._open() as database:
            for row in database.execute(f"{_SELECT} {where} ORDER BY at DESC, id DESC", values):
                event = _event(row)
                size += len(event.data)
                if len(found) == self._limits.found_max or size > self._limits.found_bytes_max:
                    return found[::-1], True
                found.append(event)
        return found[::-1], False

    def count(self, asked: Asked, step: int) -> npt.NDArray[np.float64]:
        """How many there are in each `step` seconds from start on, up to before until; NaN = none."""
        where, values = _where(asked._replace(until=asked.until - 1))
        counts = np.full(max(0, -(-(asked.until - asked.start) // step)), np.nan)
        with self._open() as database:
            question = f"SELECT (at - ?) / ?, COUNT(*) FROM event {where} GROUP BY 1"  # noqa: S608  # our own words
            for slot, number in database.execute(question, (asked.start, step, *values)):
                counts[slot] = number
        return counts

    def copy_to(self, folder: Path) -> None:
        """Copy the file, if there is one, into another folder as it is at one moment, while others add events."""
        if not self.path.exists():
            return
        try:
            with (
                closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as live,
                closing(sqlite3.connect(folder / FILE)) as copy,
            ):
                live.backup(copy)
        except sqlite3.Error as error:
            raise EventsFailed(str(self.path), str(error)) from error

    def damage(self) -> str | None:
        """What is wrong with the file; None = nothing, or there is none. The file is only read."""
        if not self.path.exists():
            return None
        source = f"{self.path.absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(source, uri=True, timeout=_BUSY_S)) as database:
                found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
                return None  # an event was being added when its process was killed: whoever adds next takes it back
            return str(error)
        return None if found == "ok" else found.splitlines()[-1]  # behind the name of the database

    @contextmanager
    def _open(self, *, writable: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection; to an empty database where there is none yet that could be read."""
        try:
            with closing(self._connect(writable)) as database:
                until = time.monotonic() + self._limits.duration_s
                database.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
                yield database
        except sqlite3.Error as error:
            raise EventsFailed(str(self.path), str(error)) from error

    def _connect(self, writable: bool) -> sqlite3.Connection:
        if not writable and not self.path.exists():
            return _made(sqlite3.connect(":memory:"))
        # SQLite's log (WAL) would let readers go on while one writes, but whoever makes it waits for nobody: with
        # the ordinary journal all wait for each other, which for events is short
        database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level="IMMEDIATE")
        try:
            return _made(database)
        except BaseException:
            database.close()
            raise


def _made(database: sqlite3.Connection) -> sqlite3.Connection:
    """The database with its tables. Raises sqlite3.Error, also if another version has written it."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        with database:  # another process may be at it: the second finds what the first has made
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _TABLES:
                    database.execute(statement)
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"has format version {version}, this program reads {_VERSION}")
    return database


_SELECT = "SELECT at, what, tags, data, id FROM event"


def _event(row: Sequence[Any]) -> Event:
    at, what, tags, data, number = row
    return Event(at, what, tuple(tags.split()), data, number)


def _where(asked: Asked) -> tuple[str, list[object]]:
    """The condition, and the values of its question marks."""
    terms = ["at BETWEEN ? AND ?"]
    values: list[object] = [asked.start, asked.until]
    tags = list(dict.fromkeys(asked.tags))
    if tags:
        marks = ", ".join("?" * len(tags))
        needed = 1 if asked.any_tag else len(tags)
        terms.append(
            f"id IN (SELECT event FROM tag WHERE tag IN ({marks}) AND at BETWEEN ? AND ?"  # noqa: S608  # as above
            " GROUP BY event HAVING COUNT(*) >= ?)"
        )
        values += [*tags, asked.start, asked.until, needed]
    if asked.text:
        terms.append("(what LIKE ? ESCAPE '\\' OR data LIKE ? ESCAPE '\\')")
        values += [_like(asked.text), _like(json.dumps(asked.text, ensure_ascii=False)[1:-1])]
    return f"WHERE {' AND '.join(terms)}", values


def _like(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return f"%{text}%"
