"""A store in memory with all that the API asks for: the views' twin of render.source.SharedStore."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from render import api
from render.api import House, Response
from render.config import DEFAULT_HTTP, Http
from storage.index import Index, Last, Nodes
from storage.retention import Archive, Retention
from storage.schema import Schema
from storage.tags import ANY, Condition, Texts, Value
from tests.render.golden import series as golden
from tests.render.memory import Fetched, MemorySource

NOW = golden.NOW
RETENTION_S = 86_400
SCHEMA = Schema(Retention((Archive(10, 360), Archive(60, RETENTION_S // 60))), "average", 0.5)


class MemoryStore(MemorySource):
    """Globs are matched by the real index, so that any text can be asked for."""

    generation = 7
    refreshes = 2

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def names_version(self) -> tuple[int, ...]:
        return (len(self),)

    is_current = True

    def after_fork(self) -> None: ...

    def refresh(self) -> None:
        """There is no writer."""

    @cached_property
    def _index(self) -> Index:
        """Of the series that were added before it is first asked."""
        names = [path.encode() for path in self._paths]
        stops = np.cumsum([len(name) for name in names])
        starts = stops - [len(name) for name in names]
        index = Index()
        blob = np.frombuffer(b"".join(names), np.uint8)
        index.add_all(blob, starts, stops, np.arange(len(names), dtype=np.int32))
        return index

    def all_paths(self) -> list[str]:
        return self._index.all_paths()

    def find(self, pattern: str) -> Nodes:
        return self._index.find(pattern)

    def find_last(self, pattern: str) -> Last:
        return self._index.find_last(pattern)

    def find_tagged(self, conditions: Sequence[Condition]) -> tuple[list[str], npt.NDArray[np.int32]]:
        return self._index.tagged.find(conditions)

    def tags(self, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int) -> list[str]:
        return self._index.tagged.tags(conditions, texts, most=most)

    def tag_values(
        self, tag: str, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int
    ) -> list[Value]:
        return self._index.tagged.values(tag, conditions, texts, most=most)

    def find_series(self, pattern: str) -> tuple[list[str], npt.NDArray[np.int32]]:
        return self._index.find_series(pattern)

    def fetch(
        self,
        series: npt.NDArray[np.int32],
        start: int,
        until: int,
        now: int,
        method: str | None = None,
        *,
        stitched: bool = False,
    ) -> list[Fetched]:
        """Nothing lies before the retention or after now, as in a store."""
        oldest = now - RETENTION_S
        if start > now or until < oldest:
            return []
        return super().fetch(series, max(start, oldest), min(until, now), now)

    def retentions_s(self, series: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        return np.full(len(series), RETENTION_S)

    def schema(self, series: int) -> Schema:
        return SCHEMA


def house(http: Http = DEFAULT_HTTP) -> House:
    """The golden series, and a few whose paths are branches and leaves at once."""
    store = MemoryStore()
    for path, points in golden.SERIES.items():
        store.add(path, points.start, points.step, points.values)
    for path in ("a.b", "a.b.c", "a.b.e.f", "a.d", "k.a", "x"):
        store.add(path, golden.START, 60, [1.0, None, 3.0])
    return House(store, http=http, started=NOW - 60)


def ask(path: str, to: House | None = None, /, **params: str | list[str]) -> Response:
    """What a URL answers; `from_` is the parameter `from`."""
    route = api.route(path)
    assert route is not None, path
    lists = {name.rstrip("_"): [value] if isinstance(value, str) else value for name, value in params.items()}
    return api.respond(route.view, lists, to or house(), NOW)
