"""Answers that may be given again: so many bytes of them, those that were asked for last.

Two requests are the same if all but their windows is, and both ends of the windows lie in the same steps of every grid
that is read: then they read the same datapoints. Where an answer is made of its request's own seconds, they must be
the same seconds.

An answer grows old in `max_age_s`: it may lack late datapoints. Before that, one that reaches into the *open interval*,
where datapoints still come, is given again only if that interval reads as it did: it is read again, a few slots of
each series, and compared. Where that would take too long, nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import NamedTuple

import numpy as np

from render.api.response import Response
from render.config import DEFAULT_CACHE, CacheBounds
from render.errors import TooHeavy
from render.reading import Request, SeriesIds, Window
from render.request import Params
from render.source import Source

_OPEN_S = 150  # agents send once a minute what they have; what comes later than this is late
_ROLLED_UP_S = 10  # an answer of coarse archives lives so long: what was read may not have been rolled up yet
_WATCHED_MAX = 20_000  # series whose open interval is read again, some milliseconds
_ENTRY_BYTES = 1024  # of an entry beside its body
_AT_ONCE_BYTES = 256 << 10  # of a body to be compressed, or numbers of series to be read again
_OF_ALL = 8  # an entry takes no more than this part of all
_OTHERS = frozenset(
    ("from", "until", "noCache", "cacheTimeout", "_salt", "_", "_t")
)  # of no effect on an answer


class Reuse(NamedTuple):
    """How an answer may be given again; nothing but numbers and bytes, as workers send it."""

    window: tuple[int, int]
    made_at: int  # epoch seconds
    step: int  # both ends may move within such steps; 1 = not at all
    max_age_s: int
    series: bytes = b""  # int32, those whose open interval was read; none if the window does not reach there
    digest: bytes = b""


@dataclass(frozen=True)
class _Entry:
    response: Response
    reuse: Reuse

    @property
    def bytes(self) -> int:
        return len(self.response.body) + len(self.reuse.series) + _ENTRY_BYTES


class CacheStatistics(NamedTuple):
    hits: int
    misses: int
    entries: int
    bytes: int


def key_of(path: str, params: Params, source: Source) -> bytes:
    """All of a request but its window, and the names that there are."""
    told = [path, source.names_version, sorted((k, list(v)) for k, v in params.items() if k not in _OTHERS)]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).digest()


class Watch:
    """A request while it is answered, to say in the end how its answer may be given again (max_age_s 0: not at all)."""

    def __init__(self, source: Source, window: Window, now: int, max_age_s: int) -> None:
        self._source, self._window, self._now, self._max_age_s = source, window, now, max_age_s
        self.request: Request | None = None
        self._series: SeriesIds | None = None
        self._digest = b""
        self._finest = 0

    def admitted(self, request: Request) -> None:
        """Called before anything is read: what comes meanwhile may be in the answer, and must not be in the digest."""
        self.request = request
        if not self._max_age_s:
            return
        self._series = _joined(request)
        if self._is_open and len(self._series) <= _WATCHED_MAX:
            self._digest, self._finest = _digest(self._source, self._series, self._now, self._window.until)

    @property
    def _is_open(self) -> bool:
        return self._window.until > self._now - _OPEN_S

    def reuse(self, *, exact: bool) -> Reuse | None:
        """How the answer may be given again, None = not at all. `exact`: for this window only."""
        request = self.request
        if request is None or not request.may_recur or self._series is None:
            return None
        step = 1 if exact or request.is_of_one_window or not request.common_step else request.common_step
        start, until = self._window
        reuse = Reuse((start, until), self._now, step, self._max_age_s)
        if not self._is_open:
            return reuse
        if not self._digest or not np.array_equal(_joined(request), self._series):
            return None  # too many, or a function has found more
        age = self._max_age_s if request.common_step <= self._finest else min(self._max_age_s, _ROLLED_UP_S)
        return reuse._replace(series=self._series.tobytes(), digest=self._digest, max_age_s=age)


def _joined(request: Request) -> SeriesIds:
    """The series that a request reads, each once."""
    every = request.read_series
    if len(every) == 1 and len(every[0]) == 1:
        return every[0]
    return np.unique(np.concatenate([np.empty(0, np.int32), *every])).astype(np.int32)


def _digest(source: Source, series: SeriesIds, made_at: int, until: int) -> tuple[bytes, int]:
    """Of what the open interval of a window that ends at `until` reads as; and the longest of the steps there."""
    digest, longest = hashlib.blake2b(digest_size=16), 0
    if len(series):
        for part in source.fetch(series, made_at - _OPEN_S, until, made_at):
            digest.update(part.positions.tobytes())
            digest.update(part.values.tobytes())
            longest = max(longest, part.step)
    return digest.digest(), longest


@dataclass(eq=False)
class Cache:
    """Shared by threads."""

    bounds: CacheBounds = DEFAULT_CACHE
    _entries: OrderedDict[Hashable, _Entry] = field(default_factory=OrderedDict, init=False)
    _steps: OrderedDict[bytes, int] = field(
        default_factory=OrderedDict, init=False
    )  # by request without a window
    _lock: Lock = field(default_factory=Lock, init=False)
    _bytes: int = field(default=0, init=False)
    _hits: int = field(default=0, init=False)
    _misses: int = field(default=0, init=False)

    def of_another_process(self) -> Cache:
        """One that keeps nothing: there is only said how an answer may be given again."""
        return Cache(replace(self.bounds, bytes_max=0))

    @property
    def entry_bytes_max(self) -> int:
        return self.bounds.bytes_max // _OF_ALL

    def statistics(self) -> CacheStatistics:
        with self._lock:
            return CacheStatistics(self._hits, self._misses, len(self._entries), self._bytes)

    def find(
        self,
        request: bytes,
        window: Window,
        now: int,
        source: Source,
        max_age_s: int = 0,
        *,
        at_once: bool = False,
    ) -> Response | None:
        """The answer to be given again, None if there is none. `max_age_s`: so old may it be whatever has come.

        `at_once`: raises TooHeavy where looking, or what is done with such a body, takes a millisecond or more.
        """
        with self._lock:
            at = _place(request, window, self._steps.get(request, 1))
            entry = self._entries.get(at)
        if at_once and entry is not None and entry.bytes > _AT_ONCE_BYTES:
            raise TooHeavy
        good = entry is not None and self._is_good(entry.reuse, now, source, max_age_s)
        with self._lock:
            self._hits, self._misses = self._hits + good, self._misses + (not good)
            if good and at in self._entries:
                self._entries.move_to_end(at)
            elif not good and entry is not None and self._entries.get(at) is entry:
                self._drop(at)
        return entry.response if good and entry is not None else None

    def within_bounds(self, response: Response) -> Response:
        """The response, all of it in its body if an entry may be so large."""
        if response.rest is None:
            return response
        pieces, size = [response.body], len(response.body)
        for chunk in response.rest:
            pieces.append(chunk)
            size += len(chunk)
            if size > self.entry_bytes_max:
                return replace(response, body=b"".join(pieces))
        return replace(response, body=b"".join(pieces), rest=None)

    def keep(self, request: bytes, response: Response) -> None:
        """Keep an answer, if it says that it can be given again."""
        if response.status != 200 or response.rest is not None or response.reuse is None:
            return
        entry = _Entry(response, Reuse(*response.reuse))
        if entry.bytes > self.entry_bytes_max:
            return
        at = _place(request, entry.reuse.window, entry.reuse.step)
        with self._lock:
            if at in self._entries:
                self._drop(at)
            self._entries[at], self._steps[request] = entry, entry.reuse.step
            self._bytes += entry.bytes
            while self._bytes > self.bounds.bytes_max:
                self._drop(next(iter(self._entries)))
            while len(self._steps) > max(1024, 4 * len(self._entries)):
                self._steps.popitem(last=False)

    def _drop(self, at: Hashable) -> None:
        self._bytes -= self._entries.pop(at).bytes

    @staticmethod
    def _is_good(reuse: Reuse, now: int, source: Source, max_age_s: int) -> bool:
        age = now - reuse.made_at
        if 0 <= age < max_age_s:
            return True
        if not 0 <= age <= reuse.max_age_s:
            return False
        if not reuse.digest:
            return True
        series = np.frombuffer(reuse.series, np.int32)
        return _digest(source, series, reuse.made_at, reuse.window[1])[0] == reuse.digest


def _place(request: bytes, window: Sequence[int], step: int) -> Hashable:
    return (request, *(end // step for end in window), step)
