"""Tagged: paths `metric;tag=value;…` → series, by conditions on their tags; which tags and values there are.

Each path is cut into the texts `tag=value` – the metric is the value of the tag `name` – that are interned as
pairs. A condition is a set of pairs of which a path must have one, or may have none, so that regular
expressions run over a tag's distinct values and never over paths. Postings list the paths of each pair. If a
condition leaves few paths, those are looked at by their own pairs; if all leave many, the postings of each
condition set its bit in a mark for every path. The last paths that came are in no posting yet, and are looked at
one by one until there are an eighth more.

All this is made when tags are first asked for: who never asks, such as a receiver, has the names only. As in
the tree everything is only ever appended, and a removed path stays behind, dead, until it comes back. Paths
without tags are no part of this, as carbon's SKIP_TAGS_FOR_NONTAGGED has it: they would flood the tag `name`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import name_kernels, tag_kernels
from storage.intern import Bounds, Ids, Interned, Text, grown, lay
from storage.order import order

Mask = npt.NDArray[np.bool_]

CONDITIONS_MAX = 31  # of one question; each that needs a tag has a bit
_REFUSED = np.uint32(1 << 31)
_PATHS_AT_ONCE = 1 << 16  # cut in one go
_FEW = 1000  # texts that are sorted as they are
_SIZES_MAX = 16  # different numbers of pairs
# a path that is looked at by its own pairs costs as much as so many that postings pass over
_SELECT = 8
_SEMICOLON = 59
_NONE: Ids = np.empty(0, np.int32)


@dataclass(frozen=True)
class Texts:
    """Some of all texts: these very ones, and of those that begin so the ones that `holds` picks."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    holds: Callable[[Sequence[str]], Sequence[bool]] | None = None  # asked of many at once; None = all

    def __contains__(self, text: str) -> bool:
        if text in self.exact:
            return True
        return text.startswith(self.prefixes) and (self.holds is None or self.holds([text])[0])


ANY = Texts(prefixes=("",))
EMPTY = Texts(frozenset([""]))


class Condition(NamedTuple):
    """A tag's value is among texts, or is not; a path without the tag has the value ""."""

    tag: str
    texts: Texts
    among: bool = True

    @property
    def needs_tag(self) -> bool:
        """Whether no path without the tag fulfils it."""
        return ("" in self.texts) != self.among


class Value(NamedTuple):
    """A value of a tag."""

    text: str
    series: int  # how many have it


class _Choice(NamedTuple):
    """The pairs of which a path must have one, or may have none."""

    pairs: Ids
    needed: bool


class _Question(NamedTuple):
    """Choices, each with its bit; a path fulfils them if the bits of its pairs are `need`, no more and no less."""

    pairs: list[Ids]
    bits: list[np.uint32]
    need: np.uint32
    rarest: Ids | None  # the pairs of the choice that leaves the fewest paths; None = all leave many
    upto: int  # of the first so many paths


class Tagged:
    """Tagged paths. Threads may add, remove and ask at the same time."""

    def __init__(self, *, unlaid_max: int = 4096) -> None:
        """`unlaid_max`: so many paths, or an eighth of all, may be in no posting yet."""
        self._unlaid_max = unlaid_max
        self._lock = RLock()
        self._names = Interned()  # the paths
        self._series: Ids = _NONE  # of each path, -1 = dead
        self._cut = 0  # so many paths are cut into pairs
        self._pairs, self._tags = Interned(), Interned()
        self._tag_of: Ids = _NONE  # of each pair
        self._counts: Ids = _NONE  # how many living paths have each pair
        self._bounds: Bounds = np.zeros(1, np.int64)  # of each path's cells
        self._cells: Ids = _NONE
        self._laid = 0  # so many paths are in the postings
        self._starts: Bounds = np.zeros(1, np.int64)  # of each pair's postings
        self._postings: Ids = _NONE

    def __len__(self) -> int:
        """How many paths have a series."""
        return int(np.count_nonzero(self._series[: len(self._names)] >= 0))

    @property
    def nbytes(self) -> int:
        """Bytes allocated, room to grow included."""
        columns = (
            self._series, self._tag_of, self._counts, self._bounds, self._cells, self._starts, self._postings,
        )  # fmt: skip
        return sum(column.nbytes for column in columns) + sum(
            names.nbytes for names in (self._names, self._pairs, self._tags)
        )

    # --- changes ---

    def add_all(self, blob: Text, starts: Bounds, stops: Bounds, series: Ids) -> None:
        """Let the canonical paths blob[starts:stops] lead to these series; -1 is passed over."""
        with self._lock:
            before = len(self._names)
            ids = self._names.add_all(blob, starts, stops)
            if len(self._names) > len(self._series):
                self._series = grown(self._series, len(self._names))
            self._series[before : len(self._names)] = -1
            ids, series = ids[series >= 0], series[series >= 0]
            self._count(np.unique(ids[self._series[ids] < 0]), 1)
            self._series[ids] = series

    def remove(self, gone: npt.NDArray[np.bool_]) -> None:
        """Let no path lead to the series that gone bool (series,) has."""
        with self._lock:
            paths = np.empty(len(self._names), np.int32)
            count = name_kernels.unset_leaves(self._series[: len(self._names)], gone, paths)
            self._count(paths[:count], -1)

    def _count(self, paths: Ids, change: int) -> None:
        """Tell the pairs of these paths, as far as they are cut, that so many more living ones have them."""
        cut = paths[paths < self._cut]
        tag_kernels.count_pairs(self._bounds, self._cells, cut, change, self._counts)

    # --- what is made when tags are asked for ---

    def _catch_up(self) -> None:
        while self._cut < len(self._names):
            self._cut_some(min(self._cut + _PATHS_AT_ONCE, len(self._names)))
        if self._cut - self._laid > max(self._unlaid_max, self._laid // 8):
            self._starts = np.zeros(len(self._pairs) + 1, np.int64)
            self._postings = np.empty(self._bounds[self._cut], np.int32)
            tag_kernels.lay_postings(self._bounds, self._cells, self._cut, self._starts, self._postings)
            self._laid = self._cut

    def _cut_some(self, last: int) -> None:
        """Cut the next paths into pairs, up to `last`."""
        names, first = self._names.arrays, self._cut
        begin, end = int(names.offsets[first]), int(names.offsets[last])
        most = int(np.count_nonzero(names.blob[begin:end] == _SEMICOLON)) + last - first
        text = np.empty(end - begin + tag_kernels.NAME_BYTES * (last - first), np.uint8)
        starts, stops, bounds = (np.empty(n, np.int64) for n in (most, most, last - first + 1))
        count = tag_kernels.cut_paths(names, first, last, text, starts, stops, bounds)
        cells = self._add_pairs(text, starts[:count], stops[:count])
        used = int(self._bounds[first])
        if used + count > len(self._cells):
            self._cells = grown(self._cells, used + count)
        self._cells[used : used + count] = cells
        if last >= len(self._bounds):
            self._bounds = grown(self._bounds, last + 1)
        self._bounds[first : last + 1] = bounds + used
        self._cut = last
        self._count((first + np.flatnonzero(self._series[first:last] >= 0)).astype(np.int32), 1)

    def _add_pairs(self, text: Text, starts: Bounds, stops: Bounds) -> Ids:
        before = len(self._pairs)
        ids = self._pairs.add_all(text, starts, stops)
        count = len(self._pairs)
        if count > len(self._tag_of):
            self._tag_of, self._counts = grown(self._tag_of, count), grown(self._counts, count)
        ends = np.empty(count - before, np.int64)
        pairs = self._pairs.arrays
        tag_kernels.tag_ends(pairs, before, ends)
        self._tag_of[before:count] = self._tags.add_all(pairs.blob, pairs.offsets[before:count], ends)
        self._counts[before:count] = 0
        return ids

    # --- questions about paths ---

    def series_of(self, path: bytes) -> int:
        """The series of this very path, -1 = none."""
        with self._lock:
            known = self._names.find(path)
            return int(self._series[known]) if known >= 0 else -1

    def paths(self) -> list[str]:
        """Every path that has a series, sorted."""
        with self._lock:
            living = np.flatnonzero(self._series[: len(self._names)] >= 0)
        return sorted(self._names.names(living))

    def find(self, conditions: Sequence[Condition]) -> tuple[list[str], Ids]:
        """The paths, sorted, that fulfil all conditions (at most CONDITIONS_MAX) and have a series, and those."""
        choices, count = self._choices(conditions)
        with self._lock:
            found = self._ordered(self._living(self._select(self._question(choices, count))))
            series = self._series[found]
        paths = self._names.names(found)
        places = sorted(range(len(paths)), key=paths.__getitem__)
        return [paths[i] for i in places], series[places]

    def _choices(self, conditions: Sequence[Condition]) -> tuple[list[_Choice], int]:
        """Conditions as choices that hold for the first so many paths: those that come meanwhile may have new pairs."""
        with self._lock:
            self._catch_up()
            count = self._cut
        return [self._choice(condition) for condition in conditions], count

    def _choice(self, condition: Condition) -> _Choice:
        """A condition as the pairs that it needs or refuses."""
        pairs, needed = self._matching(condition.tag, condition.texts), condition.needs_tag
        if needed is not condition.among:
            others = self._of_tag(condition.tag)
            pairs = others[~np.isin(others, pairs)]
        return _Choice(pairs, needed)

    def _question(self, choices: Sequence[_Choice], count: int) -> _Question:
        bits, need, rarest, fewest = [], 0, None, count // _SELECT
        for i, (pairs, needed) in enumerate(choices):
            bits.append(np.uint32(1 << i) if needed else _REFUSED)
            if needed:
                need |= 1 << i
                having = int(self._counts[pairs].sum())
                rarest, fewest = (pairs, having) if having < fewest else (rarest, fewest)
        return _Question([choice.pairs for choice in choices], bits, np.uint32(need), rarest, count)

    def _select(self, asked: _Question) -> Ids:
        """The paths that fulfil a question."""
        if asked.rarest is not None:
            laid = self._pick(asked, self._having(asked.rarest, asked.upto))
        else:
            laid = np.flatnonzero(self._marks(asked) == asked.need).astype(np.int32)
        return np.concatenate([laid, self._pick(asked, self._unlaid(asked.upto))])

    def _pick(self, asked: _Question, paths: Ids) -> Ids:
        """Those of paths that fulfil a question, by the pairs that each has."""
        flags = np.zeros(len(self._pairs), np.uint32)
        for pairs, bit in zip(asked.pairs, asked.bits, strict=True):
            flags[pairs] |= bit
        out = np.empty(len(paths) + 1, np.int32)
        return out[: tag_kernels.select(self._bounds, self._cells, flags, asked.need, paths, out)]

    def _marks(self, asked: _Question) -> npt.NDArray[np.uint32]:
        """The bits of each path that is laid, by the postings of the pairs; a dead one is refused."""
        marks = np.zeros(self._laid, np.uint32)
        for pairs, bit in zip(asked.pairs, asked.bits, strict=True):
            tag_kernels.mark_paths(self._starts, self._postings, pairs, bit, marks)
        marks[asked.upto :] = _REFUSED
        marks[self._series[: self._laid] < 0] = _REFUSED
        return marks

    def _having(self, pairs: Ids, count: int) -> Ids:
        """Those of the first `count` paths that are laid and have one of the pairs."""
        known = pairs[pairs + 1 < len(self._starts)]
        out = np.empty(int((self._starts[known + 1] - self._starts[known]).sum()) + 1, np.int32)
        out = out[: tag_kernels.gather(self._starts, self._postings, known, out)]
        return out[out < count]

    def _unlaid(self, count: int) -> Ids:
        return np.arange(self._laid, count, dtype=np.int32)

    def _living(self, paths: Ids) -> Ids:
        return paths[self._series[paths] >= 0]

    def _ordered(self, paths: Ids) -> Ids:
        """Many paths by the order of their pairs, those of as many pairs together: sorting has but to merge them."""
        if len(paths) <= _FEW:
            return paths
        first = self._bounds[paths]
        sizes = self._bounds[paths + 1] - first
        different = np.unique(sizes)
        if len(different) > _SIZES_MAX:
            return paths
        parts = []
        for size in different.tolist():
            at = np.flatnonzero(sizes == size)
            labels = self._cells[first[at] + np.arange(size)[:, None]]
            parts.append(paths[at[order(self._pairs, labels, b";")]])
        return np.concatenate(parts)

    # --- questions about tags ---

    def tags(self, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int) -> list[str]:
        """The first `most` tags, sorted, among texts, that paths have which fulfil all conditions."""
        choices, count = self._choices(conditions)
        with self._lock:
            seen = self._seen(choices, count, np.arange(len(self._pairs), dtype=np.int32))
            has = np.zeros(len(self._tags), np.bool_)
            has[self._tag_of[: len(seen)][seen]] = True
        found = [tag for tag in self._tags.names(np.flatnonzero(has)) if tag in texts]
        return sorted(found)[:most]

    def values(
        self, tag: str, conditions: Sequence[Condition] = (), texts: Texts = ANY, *, most: int
    ) -> list[Value]:
        """The first `most` values of a tag, sorted, among texts, that paths have which fulfil all conditions.

        How many series have a value is told whatever the conditions are.
        """
        choices, count = self._choices(conditions)
        pairs = self._matching(tag, texts)
        with self._lock:
            pairs = self._smallest(pairs[self._seen(choices, count, pairs)[pairs]], tag, most)
            counts = self._counts[pairs].tolist()
        return sorted(map(Value, self._values(pairs, tag), counts))[:most]

    def _seen(self, choices: Sequence[_Choice], count: int, wanted: Ids) -> Mask:
        """Which pairs living paths have that fulfil all choices: bool (pairs,), right for the wanted ones."""
        if not choices:
            return self._counts[: len(self._pairs)] > 0
        asked, seen = self._question(choices, count), np.zeros(len(self._pairs), np.bool_)
        if asked.rarest is not None:
            paths = self._select(asked)
        else:
            marks = self._marks(asked)
            tag_kernels.find_marked(self._starts, self._postings, wanted, marks, asked.need, seen)
            paths = self._pick(asked, self._unlaid(count))
        tag_kernels.mark_pairs(self._bounds, self._cells, self._living(paths), seen)
        return seen

    def _smallest(self, pairs: Ids, tag: str, most: int) -> Ids:
        """Pairs of a tag, the first `most` by value among them, and not many more.

        Eight bytes a round: those that come before the last place's are in, those that are equal stay in question.
        """
        sure: list[Ids] = []
        pairs = pairs if most else _NONE
        at, left = len(_encoded(tag)) + 1, most
        while len(pairs) > max(_FEW, 2 * left) and left > 0:
            words = np.empty(len(pairs), np.uint64)
            name_kernels.label_words(self._pairs.arrays, pairs, at, 0, words)
            if not words.any():
                break  # all have ended: only bytes 0 can tell them apart
            last = np.partition(words, left - 1)[left - 1]
            sure.append(pairs[words < last])
            left -= len(sure[-1])
            pairs, at = pairs[words == last], at + 8
        return np.concatenate([*sure, pairs])

    # --- pairs ---

    def _of_tag(self, tag: str) -> Ids:
        """The pairs of a tag, ascending."""
        with self._lock:
            known = self._tags.find(_encoded(tag))
            return np.flatnonzero(self._tag_of[: len(self._pairs)] == known).astype(np.int32)

    def _matching(self, tag: str, texts: Texts) -> Ids:
        """The pairs of a tag whose value is among texts, ascending. `holds` is asked outside of the lock."""
        with self._lock:
            if self._tags.find(_encoded(tag)) < 0:
                return _NONE
            exact = self._pairs.find_all(*lay([_encoded(f"{tag}={text}") for text in texts.exact]))
            begun = self._beginning(tag, texts.prefixes) if texts.prefixes else _NONE
        if texts.holds is not None and len(begun):
            begun = begun[np.asarray(texts.holds(self._values(begun, tag)), np.bool_)]
        exact = exact[exact >= 0]
        return np.union1d(exact, begun) if len(exact) else begun

    def _beginning(self, tag: str, prefixes: Iterable[str]) -> Ids:
        """The pairs of a tag whose value begins with a prefix."""
        pairs = self._of_tag(tag)
        if "" in prefixes:
            return pairs
        wanted: list[bytes] = []
        for one in sorted(_encoded(f"{tag}={prefix}") for prefix in prefixes):
            if not wanted or not one.startswith(wanted[-1]):
                wanted.append(one)
        mask = np.empty(len(pairs), np.bool_)
        tag_kernels.begin_with(self._pairs.arrays, pairs, *lay(wanted), mask)
        return pairs[mask]

    def _values(self, pairs: Ids, tag: str) -> list[str]:
        """Needs no lock: pairs that were given stay what they are."""
        begin = len(tag) + 1
        return [text[begin:] for text in self._pairs.names(pairs)]


def _encoded(text: str) -> bytes:
    """As names have it; what UTF-8 cannot hold becomes bytes that no name has."""
    return text.encode("utf-8", "surrogatepass")
