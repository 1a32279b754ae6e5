"""The numba kernels of tags: paths cut into tag=value pairs, postings, the paths that fulfil conditions.

A path is an id in the Interned of canonical names `metric;tag=value;…`, a pair an id in that of the texts
`tag=value`, of which the metric's is `name=metric`. cells[bounds[i]:bounds[i + 1]] are the pairs of path i.
Each kernel has a plain twin in tests/storage. Kernels check no bounds: who calls makes room first.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

NAME_BYTES = 5
_NAME = (110, 97, 109, 101, 61)  # name=
_SEMICOLON, _EQUALS = 59, 61


@njit(nogil=True, cache=True)
def is_name(text, start, stop):  # type: ignore[no-untyped-def]
    """Whether text[start:stop] begins with `name=`."""
    if stop - start < NAME_BYTES:
        return False
    for i in range(NAME_BYTES):  # noqa: SIM110 numba has no all(generator)
        if text[start + i] != _NAME[i]:
            return False
    return True


@njit(nogil=True, cache=True)
def cut_paths(names, first, last, out, starts, stops, bounds):  # type: ignore[no-untyped-def]
    """Cut paths first … last of an Interned's arrays into their pairs, the metric's before the others.

    Pair i is out[starts[i]:stops[i]] uint8, and those of a path begin at bounds int64 (last - first + 1,).
    A tag called `name` is passed over: the metric is the name. Gives how many pairs there are.
    """
    count, end = 0, 0
    for path in range(first, last):
        bounds[path - first] = count
        stop, start = names.offsets[path + 1], end
        for i in range(NAME_BYTES):
            out[end + i] = _NAME[i]
        end += NAME_BYTES
        for at in range(names.offsets[path], stop + 1):
            if at < stop and names.blob[at] != _SEMICOLON:
                out[end] = names.blob[at]
                end += 1
            elif count == bounds[path - first] or not is_name(out, start, end):
                starts[count], stops[count] = start, end
                count += 1
                start = end
            else:
                end = start
    bounds[last - first] = count
    return count


@njit(nogil=True, cache=True)
def tag_ends(names, first, ends):  # type: ignore[no-untyped-def]
    """Where the tag of each pair from `first` on ends in the blob → ends int64 (n,)."""
    for i in range(len(ends)):
        at = names.offsets[first + i]
        while at < names.offsets[first + i + 1] and names.blob[at] != _EQUALS:
            at += 1
        ends[i] = at


@njit(nogil=True, cache=True)
def count_pairs(bounds, cells, paths, change, counts):  # type: ignore[no-untyped-def]
    """Tell the pairs of these paths that so many more have them."""
    for path in paths:
        for cell in range(bounds[path], bounds[path + 1]):
            counts[cells[cell]] += change


@njit(nogil=True, cache=True)
def lay_postings(bounds, cells, paths, starts, postings):  # type: ignore[no-untyped-def]
    """The first `paths` paths by pair: those of pair i are postings[starts[i]:starts[i + 1]], ascending.

    starts int64 (pairs + 1,) comes as zeros.
    """
    for cell in range(bounds[paths]):
        starts[cells[cell] + 1] += 1
    for i in range(1, len(starts)):
        starts[i] += starts[i - 1]
    free = starts.copy()
    for path in range(paths):
        for cell in range(bounds[path], bounds[path + 1]):
            pair = cells[cell]
            postings[free[pair]] = path
            free[pair] += 1


@njit(nogil=True, cache=True)
def gather(starts, postings, pairs, out):  # type: ignore[no-untyped-def]
    """The postings of these pairs → out int32; gives how many. Pairs that came after the laying have none."""
    count = 0
    for pair in pairs:
        if pair + 1 < len(starts):
            for i in range(starts[pair], starts[pair + 1]):
                out[count] = postings[i]
                count += 1
    return count


@njit(nogil=True, cache=True)
def select(bounds, cells, flags, need, paths, out):  # type: ignore[no-untyped-def]
    """Those of paths whose pairs' flags uint32 (pairs,) joined are exactly `need` → out; gives how many.

    No branch depends on a path, so none is mispredicted.
    """
    found = 0
    for path in paths:
        joined = np.uint32(0)
        for cell in range(bounds[path], bounds[path + 1]):
            joined |= flags[cells[cell]]
        out[found] = path
        found += joined == need
    return found


@njit(nogil=True, cache=True)
def mark_paths(starts, postings, pairs, bit, marks):  # type: ignore[no-untyped-def]
    """Set a bit in marks uint32 (laid paths,) for every path that has one of these pairs."""
    for pair in pairs:
        if pair + 1 < len(starts):
            for i in range(starts[pair], starts[pair + 1]):
                marks[postings[i]] |= bit


@njit(nogil=True, cache=True)
def find_marked(starts, postings, pairs, marks, need, seen):  # type: ignore[no-untyped-def]
    """Set seen bool (pairs,) for those of pairs that a path has whose mark is `need`."""
    for pair in pairs:
        if pair + 1 < len(starts):
            for i in range(starts[pair], starts[pair + 1]):
                if marks[postings[i]] == need:
                    seen[pair] = True
                    break


@njit(nogil=True, cache=True)
def mark_pairs(bounds, cells, paths, seen):  # type: ignore[no-untyped-def]
    """Set seen bool (pairs,) for every pair of these paths."""
    for path in paths:
        for cell in range(bounds[path], bounds[path + 1]):
            seen[cells[cell]] = True


@njit(nogil=True, cache=True)
def begin_with(names, ids, text, starts, stops, out):  # type: ignore[no-untyped-def]
    """Which of the names begin with one of the prefixes text[starts:stops] → out bool (n,).

    The prefixes are in order, none a prefix of another: then only the last that is not after a name can be
    one of it.
    """
    for i in range(len(ids)):
        at, stop = names.offsets[ids[i]], names.offsets[ids[i] + 1]
        low, high = 0, len(starts)
        while low < high:
            middle = (low + high) // 2
            if _is_after(text, starts[middle], stops[middle], names.blob, at, stop):
                high = middle
            else:
                low = middle + 1
        out[i] = low > 0 and _is_prefix(text, starts[low - 1], stops[low - 1], names.blob, at, stop)


@njit(nogil=True, cache=True)
def _is_after(a, start, stop, b, at, end):  # type: ignore[no-untyped-def]
    """Whether a[start:stop] comes after b[at:end]."""
    size = min(stop - start, end - at)
    for i in range(size):
        if a[start + i] != b[at + i]:
            return a[start + i] > b[at + i]
    return stop - start > end - at


@njit(nogil=True, cache=True)
def _is_prefix(a, start, stop, b, at, end):  # type: ignore[no-untyped-def]
    """Whether b[at:end] begins with a[start:stop]."""
    if stop - start > end - at:
        return False
    for i in range(stop - start):  # noqa: SIM110 numba has no all(generator)
        if a[start + i] != b[at + i]:
            return False
    return True
