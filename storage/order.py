"""The order of paths that are known by the ids of their parts: as of their texts, in a fifth of the time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage import name_kernels as kernels
from storage.intern import Ids, Interned

_KEY_MAX = 1 << 62
_NOTHING = 0  # follows the last part


def order(names: Interned, labels: Ids, separator: bytes) -> npt.NDArray[np.intp]:
    """The order of paths whose parts are labels int32 (depth, n): ranks, packed into as few integers as can hold them.

    A separator stands between the parts, and in none of them but, perhaps, the last.

    Ranks are made for each answer: kept for all labels, they would have to be made anew whenever one comes.
    """
    keys, room = [np.zeros(labels.shape[1], np.int64)], _KEY_MAX
    for depth, row in enumerate(labels):
        after = ord(separator) if depth + 1 < len(labels) else _NOTHING
        ranks, distinct = _ranks(names, row, after)
        if distinct > room:
            keys.append(np.zeros(labels.shape[1], np.int64))
            room = _KEY_MAX
        keys[-1] = keys[-1] * distinct + ranks
        room //= distinct
    return np.argsort(keys[0]) if len(keys) == 1 else np.lexsort(keys[::-1])


def _ranks(names: Interned, row: Ids, after: int) -> tuple[npt.NDArray[np.int64], int]:
    """(rank of each label among those of the row, how many different ones there are)."""
    seen = np.zeros(len(names), np.bool_)
    seen[row] = True
    distinct = np.flatnonzero(seen).astype(np.int32)
    ranks = np.empty(len(names), np.int64)
    ranks[_sorted(names, distinct, after)] = np.arange(len(distinct))
    return ranks[row], len(distinct)


def _sorted(names: Interned, labels: Ids, after: int) -> Ids:
    """Labels in order, as they stand in a path: with the byte that follows them or, in the last place, without.

    They are sorted by their first eight bytes, those that agree by the next eight, and so on.
    """
    longest = int((names.offsets[labels + 1] - names.offsets[labels]).max()) + 1
    group = np.zeros(len(labels), np.int64)  # of each place, the first place of those that agree so far
    undecided = np.arange(len(labels))
    for at in range(0, longest, 8):
        if len(undecided) < 2:
            break
        words = np.empty(len(undecided), np.uint64)
        kernels.label_words(names.arrays, labels[undecided], at, after, words)
        order = np.lexsort((words, group[undecided]))
        labels[undecided] = labels[undecided[order]]
        words, mine = words[order], group[undecided]
        first = np.ones(len(undecided), np.bool_)
        first[1:] = (words[1:] != words[:-1]) | (mine[1:] != mine[:-1])
        group[undecided] = undecided[np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))]
        undecided = undecided[~(first & np.append(first[1:], True))]
    return labels
