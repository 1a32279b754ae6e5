"""The store as the render wing sees it, shared by the threads that answer requests."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from render import reading
from render.errors import Unavailable
from storage import stitch
from storage.errors import EventsFailed
from storage.events import Asked, Event, Events
from storage.index import Index, Last
from storage.schema import Schema
from storage.shard import Grid
from storage.store import Store
from storage.tags import ANY, Condition, Texts, Value

_LOG = logging.getLogger(__name__)
_PATHS_MAX = 100_000  # that are remembered with the patterns they were found by: some 15 MB


class Nodes(Protocol):
    """What a glob finds, sorted by path, each path once. storage.index.Nodes is one."""

    @property
    def paths(self) -> list[str]: ...
    @property
    def series(self) -> npt.NDArray[np.int32]:
        """-1 = no series has this path."""
        ...

    @property
    def branch(self) -> npt.NDArray[np.bool_]:
        """Whether there are paths below."""
        ...


class Source(reading.Source, Protocol):
    """What the API needs of the store."""

    def __len__(self) -> int:
        """How many series there are."""
        ...

    @property
    def generation(self) -> int:
        """A number that changes when the catalogue was rewritten."""
        ...

    @property
    def names_version(self) -> tuple[int, ...]:
        """What changes when a name is added, moves or goes."""
        ...

    @property
    def refreshes(self) -> int:
        """How often `refresh` has brought something since the start."""
        ...

    def refresh(self) -> None:
        """Take in what was added; cheap when nothing was."""
        ...

    @property
    def is_current(self) -> bool:
        """Whether `refresh` would find nothing; False also where that cannot be told without waiting."""
        ...

    def after_fork(self) -> None:
        """Be of use in a process that was forked while no thread read."""
        ...

    def find(self, pattern: str) -> Nodes: ...

    def find_last(self, pattern: str) -> Last:
        """The last nodes of what `find` finds, each text once: that needs no paths."""
        ...

    def all_paths(self) -> list[str]: ...

    def tags(self, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int) -> list[str]:
        """The first `most` tags, sorted, among texts, of the series that fulfil all conditions."""
        ...

    def tag_values(
        self, tag: str, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int
    ) -> list[Value]:
        """The first `most` values of a tag, sorted, among texts, of the series that fulfil all conditions."""
        ...

    def retentions_s(self, series: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """How far back each series' datapoints reach, in seconds."""
        ...

    def schema(self, series: int) -> Schema:
        """How a series is kept."""
        ...

    def add_event(self, event: Event) -> Event:
        """The event with its id. Raises Unavailable, as the others here."""
        ...

    def event(self, number: int) -> Event | None: ...

    def events(self, asked: Asked) -> tuple[list[Event], bool]:
        """The events, the oldest first, and whether there are more: then these are the newest."""
        ...


class SharedStore:
    """A store that several threads read.

    Only `refresh` changes what a reading store holds in memory, so it has a lock: it takes new names in and
    brings the index up to date, which `store.index` would otherwise do in whichever thread asks first, or in
    two at once. What queries use needs none: the index locks itself, numbers are read from maps that a reader
    never writes, and of the tables (schema of a shard, and so on) entries are added but never changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events = Events(store.folder)
        self._lock = Lock()
        self._version: tuple[int, ...] = ()
        self._found = Remembered()
        self.refreshes = -1  # the first is none
        self.refresh()

    def after_fork(self) -> None:
        self._store.after_fork()

    def refresh(self) -> None:
        with self._lock:
            if self.refreshes >= 0 and self._store.is_current:
                return
            self._store.refresh()
            self._index = self._store.index
            # after the index: who still finds by the old one has it remembered among the old ones
            self._found = Remembered()
            self._generation = self._store.catalogue.epoch()
            if self._version != self.names_version:
                self._version = self.names_version
                self.refreshes += 1

    @property
    def is_current(self) -> bool:
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._store.is_current
        finally:
            self._lock.release()

    def __len__(self) -> int:
        return len(self._store)

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def names_version(self) -> tuple[int, ...]:
        return self._generation, self._store.names_version

    def find(self, pattern: str) -> Nodes:
        return self._index.find(pattern)

    def find_last(self, pattern: str) -> Last:
        return self._index.find_last(pattern)

    def find_series(self, pattern: str) -> tuple[list[str], npt.NDArray[np.int32]]:
        return self._found.find(pattern, self._index)

    def find_tagged(self, conditions: Sequence[Condition]) -> tuple[list[str], npt.NDArray[np.int32]]:
        return self._index.tagged.find(conditions)

    def tags(self, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int) -> list[str]:
        return self._index.tagged.tags(conditions, texts, most=most)

    def tag_values(
        self, tag: str, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int
    ) -> list[Value]:
        return self._index.tagged.values(tag, conditions, texts, most=most)

    def all_paths(self) -> list[str]:
        return self._index.all_paths()

    def grids(
        self, series: npt.NDArray[np.int32], start: int, until: int, now: int, *, stitched: bool = False
    ) -> Sequence[Grid]:
        if stitched:
            return stitch.grids(self._store, series, start, until, now)
        return self._store.grids(series, start, until, now)

    def fetch(
        self,
        series: npt.NDArray[np.int32],
        start: int,
        until: int,
        now: int,
        method: str | None = None,
        *,
        stitched: bool = False,
    ) -> Sequence[reading.Fetched]:
        if stitched:
            return stitch.fetch(self._store, series, start, until, now, method)
        return self._store.fetch(series, start, until, now, method)

    def consolidations(self, series: npt.NDArray[np.int32]) -> list[str]:
        return self._store.consolidations(series)

    def retentions_s(self, series: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        out = np.empty(len(series), np.int64)
        for schema, at in self._store.by_schema(series):
            out[at] = schema.retention.longest
        return out

    def schema(self, series: int) -> Schema:
        return self._store.schema_of(series)

    def add_event(self, event: Event) -> Event:
        with _reaching_events():
            return self._events.add(event)

    def event(self, number: int) -> Event | None:
        with _reaching_events():
            return self._events.get(number)

    def events(self, asked: Asked) -> tuple[list[Event], bool]:
        with _reaching_events():
            return self._events.find(asked)

    def count_events(self, asked: Asked, step: int) -> npt.NDArray[np.float64]:
        with _reaching_events():
            return self._events.count(asked, step)


class Remembered:
    """What patterns name, as dashboards ask for the same ones again and again; of those names that there are.

    So many paths, of the patterns that were asked for last. Threads share it.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[list[str], npt.NDArray[np.int32]]] = OrderedDict()
        self._paths = 0
        self._lock = Lock()

    def find(self, pattern: str, index: Index) -> tuple[list[str], npt.NDArray[np.int32]]:
        """Copies, which are the caller's."""
        with self._lock:
            known = self._known.get(pattern)
            if known is not None:
                self._known.move_to_end(pattern)
        if known is None:
            known = index.find_series(pattern)
            if len(known[0]) < _PATHS_MAX:
                self._keep(pattern, known)
        return known[0].copy(), known[1].copy()

    def _keep(self, pattern: str, found: tuple[list[str], npt.NDArray[np.int32]]) -> None:
        with self._lock:
            if pattern not in self._known:
                self._known[pattern] = found
                self._paths += len(found[0]) + 1  # what names nothing takes some room, too
            while self._paths > _PATHS_MAX:
                self._paths -= len(self._known.popitem(last=False)[1][0]) + 1


@contextmanager
def _reaching_events() -> Iterator[None]:
    """What goes wrong with them is for the log, and a query may be right another time."""
    try:
        yield
    except EventsFailed as error:
        _LOG.error("events: %s", error)
        raise Unavailable("events cannot be read or written now: the server's log has why") from error
