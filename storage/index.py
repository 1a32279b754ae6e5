"""The index: the tree of metric paths in memory, and find(glob) over a million of them in milliseconds.

A level holds the nodes at one depth as columns (parent, label, series …), a label being an id in a vocabulary
of node strings. A glob goes down level by level: each of its nodes is matched against the vocabulary, never
against paths, and then looked up, walked from the few parents that there are, or answered by one pass over
the level's columns. Everything is only ever appended, so a new name is found at once; a removed one leaves
its nodes behind, dead, until it comes back.

Tagged series (`name;tag=value`) are no part of the tree: `tagged` finds them by their tags (see tags.py), and a
glob with a `;` is their exact canonical text.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from threading import RLock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import name_kernels as kernels
from storage.glob import EVERYTHING, Matcher, Path, compile_path
from storage.intern import Bounds, Ids, Interned, Text, grown, laid, split_lines
from storage.order import order
from storage.tags import Tagged

Mask = npt.NDArray[np.bool_]
# Nodes of a level, each once; None = all of them
Frontier = Ids | None

_SLOTS_MIN = 64
_NEWLINE, _SEMICOLON = 10, 59
_NONE: Ids = np.empty(0, np.int32)
_ROOT: Ids = np.zeros(1, np.int32)
_ALL: Mask = np.empty(0, np.bool_)  # scan_level's word for "all are ok"
# What a hash look-up, or a step along a list of children, costs in nodes passed over by a scan
_LOOK_UP, _WALK = 32, 16


class Nodes(NamedTuple):
    """What a glob finds, sorted by path, each path once."""

    paths: list[str]
    series: Ids  # -1 = none has this path
    branch: Mask  # whether there are paths below


class Last(NamedTuple):
    """The last nodes of what a glob finds, each text once, in any order."""

    names: list[str]
    leaf: Mask  # whether some such node has a series
    branch: Mask
    leaves: int  # how many leaves there are in all
    branches: int


class Index:
    """Paths → series, by glob. Threads may add, remove and find at the same time."""

    def __init__(self) -> None:
        self._vocabulary = Interned()
        self._levels = [_Level.root()]
        self.tagged = Tagged()
        self._lock = RLock()

    def __len__(self) -> int:
        """How many paths have a series, tagged ones too."""
        return int(self._levels[0].columns.below[0]) + len(self.tagged)

    @property
    def nbytes(self) -> int:
        """Bytes allocated, room to grow included."""
        return sum(level.nbytes for level in self._levels) + self._vocabulary.nbytes + self.tagged.nbytes

    # --- changes ---

    def add_all(self, blob: Text, starts: Bounds, stops: Bounds, series: Ids) -> None:
        """Let the paths blob[starts:stops] lead to these series; -1 is passed over.

        The names are valid (no empty nodes) and canonical. A path that is there leads to its new series.
        """
        blob, starts, stops = laid(blob, starts, stops)
        series = np.require(series, np.int32, ["C", "W"])
        tagged = np.empty(len(starts), np.bool_)
        with self._lock:
            if kernels.has_byte(blob, starts, stops, _SEMICOLON, tagged):
                self.tagged.add_all(blob, starts[tagged], stops[tagged], series[tagged])
            plain = ~tagged & (series >= 0)
            self._add_plain(blob, starts[plain], stops[plain], series[plain])

    def _add_plain(self, blob: Text, starts: Bounds, stops: Bounds, series: Ids) -> None:
        """All paths go down a level together, until each has come to its last node."""
        nodes = np.zeros(len(starts), np.int32)
        depth = 0
        while len(starts):
            depth += 1
            if depth == len(self._levels):
                self._levels.append(_Level())
            ends = np.empty(len(starts), np.int64)
            kernels.node_ends(blob, starts, stops, ends)
            labels = self._vocabulary.add_all(blob, starts, ends)
            nodes = self._levels[depth].add(self._levels[depth - 1], nodes, labels)
            last = ends == stops
            if np.any(last):
                self._climb(depth, self._levels[depth].set(nodes[last], series[last]), 1)
                starts, stops, nodes, series = ends[~last] + 1, stops[~last], nodes[~last], series[~last]
            else:
                starts = ends + 1

    def _climb(self, depth: int, nodes: Ids, change: int) -> None:
        """Tell all nodes above these that there are so many more leaves below. Changes `nodes`."""
        for level in range(depth, 0, -1):
            above = self._levels[level - 1].columns.below
            kernels.climb(nodes, self._levels[level].columns.parent, above, change)

    def remove(self, series: npt.ArrayLike) -> None:
        """Let no path lead to these series; branches without a leaf below are not found any more."""
        numbers = np.asarray(series, np.int32)
        gone = np.zeros(int(numbers.max(initial=-1)) + 1, np.bool_)
        gone[numbers[numbers >= 0]] = True
        with self._lock:
            for depth, level in enumerate(self._levels):
                self._climb(depth, level.unset(gone), -1)
            self.tagged.remove(gone)

    # --- questions ---

    def find(self, pattern: str) -> Nodes:
        """All nodes, leaves and branches, whose path matches the glob; raises InvalidGlob.

        A pattern with a `;` is the exact canonical name of a tagged series.
        """
        if _is_exact(pattern):
            return self._find_exact(pattern)
        wanted = compile_path(pattern)
        with self._lock:
            rows = self._rows(self._match(wanted), leaves=False)
        return self._nodes(rows)

    def find_last(self, pattern: str) -> Last:
        """What `find` finds as one level of a tree shows it: paths, of which there may be many more, are not made."""
        if _is_exact(pattern):
            found = self._find_exact(pattern)
            names = [path.rpartition(".")[2] for path in found.paths]
            leaf = found.series >= 0
            return Last(names, leaf, found.branch, int(leaf.sum()), int(found.branch.sum()))
        wanted = compile_path(pattern)
        with self._lock:
            accepted = self._match(wanted)
            leaf, branch = np.zeros((2, len(self._vocabulary)), np.bool_)
            leaves = branches = 0
            for depth, nodes in accepted.items():
                if 0 < depth < len(self._levels):
                    columns = self._levels[depth].columns
                    nodes = self._levels[depth].all if nodes is None else nodes
                    labels = columns.label[nodes]
                    ending, leading = labels[columns.leaf[nodes] >= 0], labels[columns.below[nodes] > 0]
                    leaf[ending] = branch[leading] = True
                    leaves, branches = leaves + len(ending), branches + len(leading)
        ids = np.flatnonzero(leaf | branch)
        return Last(self._vocabulary.names(ids), leaf[ids], branch[ids], leaves, branches)

    def find_series(self, pattern: str) -> tuple[list[str], Ids]:
        """The paths, sorted, that match the glob and have a series, and those; raises InvalidGlob."""
        if _is_exact(pattern):
            found = self._find_exact(pattern)
            return (found.paths, found.series) if found.series.max(initial=-1) >= 0 else ([], _NONE)
        wanted = compile_path(pattern)
        with self._lock:
            rows = self._rows(self._match(wanted), leaves=True)
        return self._nodes(rows)[:2]

    def all_paths(self) -> list[str]:
        """Every path that has a series, tagged ones too, sorted."""
        with self._lock:
            rows = self._rows(dict.fromkeys(range(1, len(self._levels))), leaves=True)
        paths = [self._paths(row) for row in rows]
        if tagged := self.tagged.paths():
            paths.append(tagged)
        return paths[0] if len(paths) == 1 else sorted(chain.from_iterable(paths))

    def _find_exact(self, path: str) -> Nodes:
        """The node of this very path, looked up node by node: most targets of a dashboard are such."""
        try:
            name = path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a lone surrogate: in no name
            return Nodes([], _NONE, _ALL)
        series, branch = -1, False
        with self._lock:
            if ";" in path:
                series = self.tagged.series_of(name)
            else:
                labels = name.split(b".")
                node = self._node(labels)
                if node >= 0:
                    columns = self._levels[len(labels)].columns
                    series, branch = columns.leaf[node], columns.below[node] > 0
        if series < 0 and not branch:
            return Nodes([], _NONE, _ALL)
        return Nodes([path], np.array([series], np.int32), np.array([branch]))

    def _node(self, labels: Sequence[bytes]) -> int:
        """The node to which these labels lead, -1 = none."""
        if len(labels) >= len(self._levels):
            return -1
        node = 0
        for label, level in zip(labels, self._levels[1:], strict=False):
            known = self._vocabulary.find(label)
            node = kernels.probe_node(level.columns, node, known) if known >= 0 else -1
            if node < 0:
                return -1
        return node

    def _match(self, paths: Iterable[Path]) -> dict[int, Frontier]:
        """The nodes that any of the paths accepts, by depth."""
        accepted: dict[int, list[Frontier]] = {}
        for path in paths:
            labels = [one.literal for one in path if one.literal is not None]
            if len(labels) == len(path):  # one of, perhaps, thousands that braces stand for
                node = self._node(labels)
                accepted.setdefault(len(path), []).append(np.array([node] if node >= 0 else [], np.int32))
                continue
            for depth, nodes in self._match_path(path):
                accepted.setdefault(depth, []).append(nodes)
        return {depth: _union(parts) for depth, parts in accepted.items()}

    def _match_path(self, path: Path) -> Iterator[tuple[int, Frontier]]:
        """(depth, nodes) that the path accepts.

        `at` has the nodes at a depth by how many of the path's matchers are used up. There is more than one
        such number only after a `**`, which takes a node and stays, or gives way to the next matcher.
        """
        at: dict[int, list[Frontier]] = {0: [_ROOT]}
        for depth in range(len(self._levels)):
            below: dict[int, list[Frontier]] = {}
            while at:
                used = min(at)
                nodes = _union(at.pop(used))
                if used == len(path):
                    yield depth, nodes
                elif path[used].any_depth:
                    at.setdefault(used + 1, []).append(nodes)
                    below.setdefault(used, []).append(self._children(depth, nodes, EVERYTHING))
                else:
                    below.setdefault(used + 1, []).append(self._children(depth, nodes, path[used]))
            at = {used: parts for used, parts in below.items() if not all(map(_is_empty, parts))}

    def _children(self, depth: int, parents: Frontier, matcher: Matcher) -> Frontier:
        """The nodes one level down, under these parents, that match."""
        if depth + 1 == len(self._levels):
            return _NONE
        if parents is None and matcher.everything:
            return None
        above, level = self._levels[depth], self._levels[depth + 1]
        many = above.count if parents is None else len(parents)
        if not matcher.programs:
            labels = matcher.ids(self._vocabulary)
            if many * len(labels) * _LOOK_UP <= level.count or many == 1:
                return level.pick(above.all if parents is None else parents, labels)
        elif parents is not None and (many - 1) * _WALK <= level.count:
            walked = level.walk(above, parents)
            if walked is not None:
                labels = level.columns.label[walked]
                return walked if matcher.everything else walked[matcher.mask(self._vocabulary, labels)]
        return level.scan(above, parents, _ALL if matcher.everything else matcher.mask(self._vocabulary))

    def _rows(self, accepted: dict[int, Frontier], *, leaves: bool) -> list[_Rows]:
        """The accepted nodes that live, or only the leaves, one _Rows for each depth that has some."""
        rows = []
        for depth, nodes in accepted.items():
            if depth >= len(self._levels):
                continue
            columns = self._levels[depth].columns
            nodes = self._levels[depth].all if nodes is None else nodes
            branch = columns.below[nodes] > 0
            wanted = columns.leaf[nodes] >= 0
            if not leaves:
                wanted |= branch
            if depth and np.any(wanted):
                nodes = nodes[wanted]
                labels = self._labels(depth, nodes)
                rows.append(
                    _Rows(labels, order(self._vocabulary, labels, b"."), columns.leaf[nodes], branch[wanted])
                )
        return rows

    def _labels(self, depth: int, nodes: Ids) -> Ids:
        """The labels on the way down to nodes of a depth: int32 (depth, n)."""
        labels = np.empty((depth, len(nodes)), np.int32)
        for level in range(depth, 0, -1):
            np.take(self._levels[level].columns.label, nodes, out=labels[level - 1])
            nodes = self._levels[level].columns.parent[nodes]
        return labels

    def _nodes(self, rows: Sequence[_Rows]) -> Nodes:
        """The answer; rows of several depths are each in order already, which makes sorting all a merge."""
        paths = list(chain.from_iterable(map(self._paths, rows)))
        series = np.concatenate([_NONE, *(row.series[row.order] for row in rows)])
        branch = np.concatenate([_ALL, *(row.branch[row.order] for row in rows)])
        if len(rows) > 1:
            order = sorted(range(len(paths)), key=paths.__getitem__)
            paths, series, branch = [paths[i] for i in order], series[order], branch[order]
        return Nodes(paths, series, branch)

    def _paths(self, rows: _Rows) -> list[str]:
        """In order. Needs no lock: labels that were given stay what they are."""
        names = self._vocabulary.arrays
        out = np.empty(kernels.paths_size(names, rows.labels), np.uint8)
        kernels.join_paths(names, rows.labels, rows.order, _NEWLINE, out)
        return split_lines(out)


def _is_exact(pattern: str) -> bool:
    return ";" in pattern or not any(character in pattern for character in "*?[{")


class _Rows(NamedTuple):
    """What was found at one depth."""

    labels: Ids  # (depth, n), as the nodes lie
    order: npt.NDArray[np.intp]  # (n,), which of them comes first by path, and so on
    series: Ids  # (n,), as the nodes lie
    branch: Mask


def _union(parts: Sequence[Frontier]) -> Frontier:
    """Each node once."""
    some = [part for part in parts if part is not None]
    if len(some) < len(parts):
        return None
    return some[0] if len(some) == 1 else np.unique(np.concatenate(some))


def _is_empty(nodes: Frontier) -> bool:
    return nodes is not None and len(nodes) == 0


class _Level:
    """The nodes at one depth, and the table that finds them by parent and label."""

    def __init__(self) -> None:
        seed = np.uint64(secrets.randbits(64))
        empty = (np.empty(0, np.int32) for _ in range(6))
        self.columns = kernels.Nodes(seed, np.full(_SLOTS_MIN, -1, np.int32), *empty)
        self.count = 0

    @classmethod
    def root(cls) -> _Level:
        """The level above all: one node without a label."""
        level = cls()
        level.reserve(1)
        level.count = 1
        level.columns.leaf[0] = level.columns.child[0] = -1
        level.columns.below[0] = 0
        return level

    @property
    def all(self) -> Ids:
        return np.arange(self.count, dtype=np.int32)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns)

    def reserve(self, more: int) -> None:
        """Make room for so many more nodes."""
        seed, slots, *columns = self.columns
        total = self.count + more
        if total > len(columns[0]):
            columns = [grown(column, total) for column in columns]
        full = total * 5 > len(slots) * 3
        if full:
            slots = np.full(len(slots) * 2, -1, np.int32)
        self.columns = kernels.Nodes(seed, slots, *columns)
        if full:
            kernels.rehash_nodes(self.columns, self.count)

    def add(self, above: _Level, parents: Ids, labels: Ids) -> Ids:
        """The nodes under these parents with these labels; those that are missing are made."""
        nodes = np.empty(len(parents), np.int32)
        at = 0
        while True:
            at, self.count = kernels.add_nodes(
                self.columns, self.count, above.columns.child, parents, labels, at, nodes
            )
            if at == len(parents):
                return nodes
            self.reserve(1)

    def set(self, nodes: Ids, series: Ids) -> Ids:
        """Let nodes lead to series; gives those that led to none before."""
        fresh = np.empty(len(nodes), np.int32)
        return fresh[: kernels.set_leaves(self.columns.leaf, nodes, series, fresh)]

    def unset(self, gone: Mask) -> Ids:
        """Let no node lead to a series that is gone; gives those that did."""
        nodes = np.empty(self.count, np.int32)
        return nodes[: kernels.unset_leaves(self.columns.leaf[: self.count], gone, nodes)]

    def pick(self, parents: Ids, labels: Ids) -> Ids:
        """The living nodes under parents with one of the labels, each looked up."""
        out = np.empty(len(parents) * len(labels), np.int32)
        return out[: kernels.pick_children(self.columns, parents, labels, out)]

    def walk(self, above: _Level, parents: Ids) -> Ids | None:
        """The living nodes under parents, from child to child; None when a scan is faster."""
        out = np.empty(self.count // _WALK + _WALK, np.int32)
        found = kernels.walk_children(self.columns, above.columns.child, parents, out)
        return None if found < 0 else out[:found]

    def scan(self, above: _Level, parents: Frontier, label_ok: Mask) -> Ids:
        """The living nodes with ok labels under parents, by one pass over all."""
        parent_ok = _ALL
        if parents is not None:
            parent_ok = np.zeros(above.count, np.bool_)
            parent_ok[parents] = True
        out = np.empty(self.count + 1, np.int32)
        return out[: kernels.scan_level(self.columns, self.count, parent_ok, label_ok, out)]
