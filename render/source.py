"""The store as the render wing sees it, shared by the threads that answer requests."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from render import reading
from storage import stitch
from storage.store import Store
from storage.tags import ANY, Condition, Texts, Value


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

    def refresh(self) -> None:
        """Take in what was added; cheap when nothing was."""
        ...

    def find(self, pattern: str) -> Nodes: ...

    def all_paths(self) -> list[str]: ...

    def tags(self, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int) -> list[str]:
        """The first `most` tags, sorted, among texts, of the series that fulfil all conditions."""
        ...

    def tag_values(
        self, tag: str, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int
    ) -> list[Value]:
        """The first `most` values of a tag, sorted, among texts, of the series that fulfil all conditions."""
        ...

    def retention_s(self, series: int) -> int:
        """How far back a series' datapoints reach, in seconds."""
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
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        with self._lock:
            self._store.refresh()
            self._index = self._store.index
            self._generation = self._store.catalogue.epoch()

    def __len__(self) -> int:
        return len(self._store)

    @property
    def generation(self) -> int:
        return self._generation

    def find(self, pattern: str) -> Nodes:
        return self._index.find(pattern)

    def find_series(self, pattern: str) -> tuple[list[str], npt.NDArray[np.int32]]:
        return self._index.find_series(pattern)

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

    def count(
        self, series: npt.NDArray[np.int32], start: int, until: int, now: int, *, stitched: bool = False
    ) -> int:
        if stitched:
            return stitch.count(self._store, series, start, until, now)
        return self._store.count(series, start, until, now)

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

    def retention_s(self, series: int) -> int:
        return self._store.schema_of(series).retention.longest
