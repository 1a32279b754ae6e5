"""Whether the server should be asked now, and if not, why: for /health/ready, which a load balancer asks.

What can be seen at once is looked at when it is asked for; what may block (a disk that hangs) is looked at by a thread
every second, so that the answer never waits for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from render.source import Source
from storage.ask import is_written
from storage.catalogue import Catalogue
from storage.errors import StorageError

Check = Callable[[], str]  # a reason not to ask, "" = none

EVERY_S = 1.0
SILENT_S = 30.0  # a look takes a millisecond, and some seconds when a million names are new


class Readiness:
    """The reasons of all checks. `look` is called again and again on a thread, `reasons` on any."""

    def __init__(self, by_thread: Sequence[Check], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._by_thread, self._clock = by_thread, clock
        self._at_once: Sequence[Check] = ()
        self._seen: Sequence[str] = ()
        self._looked = clock()

    def also(self, at_once: Sequence[Check]) -> None:
        """Have these looked at as well, whenever it is asked: they belong to what is made of this."""
        self._at_once = (*self._at_once, *at_once)

    def look(self) -> None:
        self._seen = _all(self._by_thread)
        self._looked = self._clock()

    def reasons(self) -> Sequence[str]:
        """Empty = it is ready."""
        silent = self._clock() - self._looked
        stuck = [f"the store has not answered for {silent:.0f} s"] if silent > SILENT_S else []
        return [*_all(self._at_once), *stuck, *self._seen]


def _all(checks: Sequence[Check]) -> list[str]:
    return [reason for check in checks if (reason := check())]


def store_fault(folder: Path, source: Source) -> str:
    """Why the store cannot be read. Of its path nothing is said: whoever asks may ask no more than this."""
    try:
        (folder / Catalogue.FILE).stat()  # what is open already could be read when it is no longer there
        source.refresh()
    except (StorageError, sqlite3.Error, OSError):
        return "the store cannot be read"
    return ""


def writer_fault(folder: Path) -> str:
    return "" if is_written(folder) else "no receiver writes the store"
