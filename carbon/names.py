"""The name table: a name's bytes → a dense id, and under the id all that was decided when the name was first seen.

Names come in many spellings (tags in any order), so a name's id is not its series: `series[id]` is, and `routes[id]`
is where it is relayed to. Both are decided once, for all new names of a batch together; series are followed when the
store says that they have moved or gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from carbon import kernels
from carbon.stats import Stats
from storage import naming
from storage.errors import InvalidName
from storage.intern import Interned, lay
from storage.naming import Fault
from storage.register import Moved

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NAMES_MAX = 20_000_000  # some 150 bytes each; what comes after is counted and refused
REFUSED = -1  # for an id: the name has a fault
_UNDECIDED, ELSEWHERE, _KEPT_OUT = -1, -2, -3  # for a series; from _KEPT_OUT down: which reason kept it out
ASK_AGAIN_S = 60.0  # how long a name that a quota keeps out is not asked for again
TOO_FAST = "too many new series a second"
_NEAR_BYTES = 65_536  # names that lie so near to each other are looked at where they are
_SHOWN = 20  # of the names that got a series, for who looks on


class SeriesMaker(Protocol):
    """What the table needs of the store."""

    @property
    def moves(self) -> int: ...

    def moved(self, since: int) -> Moved: ...

    def known(self, text: Bytes, starts: Integers, stops: Integers) -> Ids: ...

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids: ...

    def why_refused(self, name: str) -> str: ...


class Router(Protocol):
    """What the table needs of the relay."""

    def route_ids(self, names: Sequence[bytes]) -> Ids: ...


class Admission(Protocol):
    """How fast series may be made."""

    def admit(self, wanted: int, source: str) -> int:
        """How many of so many new ones there may be now."""
        ...


class Refusal(NamedTuple):
    """Datapoints that were refused for one reason, with a name of theirs."""

    reason: str
    datapoints: int
    sample: str


class NameTable:
    def __init__(
        self,
        store: SeriesMaker | None,
        stats: Stats,
        *,
        names_max: int = NAMES_MAX,
        router: Router | None = None,
        admission: Admission | None = None,
    ) -> None:
        """Without a store no name has a series, without a router none has a route."""
        self._store, self._stats, self._router, self._admission = store, stats, router, admission
        self.names_max = names_max
        self.interned = Interned()
        self.successor = np.empty(0, np.int32)  # of each id: which name came after it last time
        self.series = np.empty(0, np.int32)  # of each id, as far as decided
        self.routes = np.empty(0, np.int32)  # of each id that is decided, if there is a router
        self._moves = store.moves if store is not None else 0
        self._reasons: dict[str, bool] = {
            Fault.BAD_TAG.words: True
        }  # in the order of their codes; True = for good
        self._asked = stats.clock()

    def reserve(self, names: int, size: int) -> None:
        """Make room for so many new names of so many bytes together."""
        self.interned.reserve(names, size)
        wanted = len(self.interned) + names
        if wanted > len(self.successor):
            more = wanted * 3 // 2 + 1024
            self.successor = np.concatenate(
                (self.successor, np.full(more - len(self.successor), -1, np.int32))
            )
            self.series = np.concatenate(
                (self.series, np.full(more - len(self.series), _UNDECIDED, np.int32))
            )
            if self._router is not None:
                self.routes = np.concatenate((self.routes, np.zeros(more - len(self.routes), np.int32)))

    def ids_of(self, names: Sequence[bytes]) -> Ids:
        """The ids of names that came as Python objects; -1 for one with a fault, which is counted."""
        faults = [naming.fault(name) for name in names]
        for name, fault in zip(names, faults, strict=True):
            if fault:
                self._stats.reject(fault.words, sample=name)
        good = [name for name, fault in zip(names, faults, strict=True) if not fault]
        self.reserve(len(good), sum(map(len, good)))
        ids = np.full(len(names), REFUSED, np.int32)
        ids[[not fault for fault in faults]] = self.interned.add_all(*lay(good))
        return ids

    def ids_of_spans(self, text: Bytes, starts: Integers, stops: Integers) -> Ids:
        """The ids of the names text[starts:stops]; -1 for one with a fault or one too many, which is counted."""
        text = text.view()
        text.flags.writeable = False  # the kernel is compiled once, for what frombuffer makes of bytes
        ids, table = np.empty(len(starts), np.int32), self.interned
        rejected, samples = np.zeros(kernels.REASONS, np.int64), np.zeros((kernels.REASONS, 2), np.int64)
        at, last = 0, -1
        while True:
            at, count, last = kernels.find_spans(
                text, starts, stops, at, table.arrays, len(table), self.names_max, self.successor, last,
                ids, rejected, samples,
            )  # fmt: skip
            table.commit(count)
            if at == len(starts):
                kernels.count_rejects(self._stats, text, rejected, samples)
                return ids
            self.reserve(1, int(stops[at] - starts[at]))

    def series_of(self, ids: Ids, source: str = "") -> Ids:
        """The series of each id, negative where there is none (`refusals` says why, unless it is ELSEWHERE); decides
        about those that are seen first, and where they go.

        A name whose datapoints were all bad is never asked for, and no series is made for it.
        """
        if self._store is not None and self._moves != self._store.moves:
            self._follow()
        series = self.series[ids]
        if len(ids) and series.min() < 0:
            self._ask_again()
            new = self.series[ids] == _UNDECIDED
            if new.any():
                self._decide(np.unique(ids[new]), source)
            series = self.series[ids]
        return series

    def forget(self) -> None:
        """Decide anew about every name when it is next seen."""
        self.series[:] = _UNDECIDED

    def refusals(self, ids: Ids) -> list[Refusal]:
        """Why the datapoints of ids whose series is negative are refused."""
        found, reasons = [], list(self._reasons)
        series = self.series[ids]
        rows = np.flatnonzero(series <= _KEPT_OUT)
        whys = np.unique(series[rows], return_index=True, return_counts=True)
        for why, first, count in zip(*whys, strict=True):
            name = self.interned.name(int(ids[rows[first]]))
            found.append(Refusal(reasons[_KEPT_OUT - why], int(count), name))
        return found

    def _follow(self) -> None:
        """Take in where series have moved: a row that one has left may be another's soon."""
        assert self._store is not None
        old, new, self._moves = self._store.moved(self._moves)
        top = max(int(self.series.max(initial=-1)), int(old.max(initial=-1))) + 1
        became = np.arange(top, dtype=np.int32)
        became[old] = np.where(new < 0, _UNDECIDED, new)
        at = np.flatnonzero(self.series >= 0)
        self.series[at] = became[self.series[at]]

    def _ask_again(self) -> None:
        """After a while, forget whom a quota has kept out: others may have gone."""
        now = self._stats.clock()
        if now - self._asked >= ASK_AGAIN_S:
            self._asked = now
            for number, (_, for_good) in enumerate(self._reasons.items()):
                if not for_good:
                    self.series[self.series == _KEPT_OUT - number] = _UNDECIDED

    def _decide(self, ids: Ids, source: str) -> None:
        text, starts, stops = self._text(ids)
        if (text == ord(";")).any():
            ids, text, starts, stops = self._canonical(ids, text.tobytes(), starts, stops)
        if self._router is not None:
            names = [text[start:stop].tobytes() for start, stop in zip(starts, stops, strict=True)]
            self.routes[ids] = self._router.route_ids(names)
        if self._store is None:
            self.series[ids] = ELSEWHERE
            return
        series = self._store.known(text, starts, stops)
        new = np.flatnonzero(series < 0)
        if len(new):
            series[new] = self._make(text, starts[new], stops[new], source)
        self.series[ids] = series

    def _text(self, ids: Ids) -> tuple[Bytes, Integers, Integers]:
        """The names of ids, which are sorted, as text[starts:stops]."""
        offsets = self.interned.offsets
        starts, stops = offsets[ids], offsets[ids + 1]
        first, last = int(starts[0]), int(stops[-1])
        if (
            last - first > 2 * int((stops - starts).sum()) + _NEAR_BYTES
        ):  # few of many: asked again, or forgotten
            return lay([name.encode() for name in self.interned.names(ids)])
        return self.interned.blob[first:last], starts - first, stops - first

    def _make(self, text: Bytes, starts: Integers, stops: Integers, source: str) -> Ids:
        """The series of names that have none yet, as far as they are admitted."""
        assert self._store is not None
        admitted = len(starts) if self._admission is None else self._admission.admit(len(starts), source)
        series = np.full(len(starts), self._code(TOO_FAST), np.int32)
        made = self._store.series_of(text, starts[:admitted], stops[:admitted])
        for i in np.flatnonzero(made < 0).tolist():
            name = text[starts[i] : stops[i]].tobytes().decode()
            made[i] = self._code(self._store.why_refused(name) or "no room for new names")
        series[:admitted] = made
        self._tell_made(series, text, starts, stops, source)
        return series

    def _tell_made(self, series: Ids, text: Bytes, starts: Integers, stops: Integers, source: str) -> None:
        stats = self._stats
        made = np.flatnonzero(series >= 0)
        creates = len(np.unique(series[made]))  # a name may have come in two spellings
        stats.creates += creates
        stats.dropped_creates += len(series) - len(made)
        stats.sources.add(source, series=creates)
        for i in made[-_SHOWN:].tolist():
            stats.newest_names.append(text[starts[i] : stops[i]].tobytes().decode())

    def _code(self, reason: str, *, for_good: bool = False) -> int:
        """What stands for the series of a name that is kept out."""
        self._reasons.setdefault(reason, for_good)
        return _KEPT_OUT - list(self._reasons).index(reason)

    def _canonical(
        self, ids: Ids, text: bytes, starts: Integers, stops: Integers
    ) -> tuple[Ids, Bytes, Integers, Integers]:
        """Names with tags brought to their canonical form; those that have none are refused for good."""
        names, kept = [], []
        for at, start, stop in zip(ids.tolist(), starts.tolist(), stops.tolist(), strict=True):
            name = text[start:stop]
            try:
                names.append(naming.canonical(name.decode()).encode() if b";" in name else name)
                kept.append(at)
            except InvalidName:
                self.series[at] = _KEPT_OUT  # the first of the reasons
        return np.array(kept, np.int32), *lay(names)
