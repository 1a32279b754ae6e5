"""Told of each request when it has ended: it is counted, and written down where the configuration wants that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from render.config import Http
from render.journal import Journal, SlowQueries, access_line
from render.statistics import Note, Statistics

_LOG = logging.getLogger(__name__)


class Observer:
    def __init__(self, bounds: Http, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives epoch seconds. Raises OSError if a log cannot be opened; where there is one, has a thread."""
        self.statistics = Statistics()
        self._clock = clock
        self._access = None if bounds.access_log is None else Journal(bounds.access_log)
        self._slow_log = None if bounds.slow_log is None else Journal(bounds.slow_log)
        write = _to_the_log if self._slow_log is None else self._slow_log.write
        self._slow = SlowQueries(bounds.slow_s, write)

    def ended(self, note: Note) -> None:
        """Count it and write it down; what fails of that is no fault of the request's."""
        try:
            self._ended(note)
        except Exception:
            _LOG.exception("request %s was not written down", note.number)

    def _ended(self, note: Note) -> None:
        self.statistics.count(note)
        now = self._clock()
        if self._slow.look_at(note, now):
            self.statistics.slow += 1
        if self._access is not None:
            self._access.write(access_line(note, now))

    @property
    def dropped(self) -> int:
        """Lines that no log has."""
        return sum(log.dropped for log in (self._access, self._slow_log) if log is not None)

    def close(self) -> None:
        """Write what waits."""
        for log in (self._access, self._slow_log):
            if log is not None:
                log.close()


def _to_the_log(line: bytes) -> None:
    _LOG.warning("%s", line.decode())
