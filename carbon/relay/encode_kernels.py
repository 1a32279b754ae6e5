"""The numba kernels of the relay: grouping by route, columns → lines, columns → pickled frames. Arrays in, arrays out.

A name is blob[offsets[id]:offsets[id + 1]]; values come with their bits, as uint64. Kernels check no bounds: who calls
makes room first. Each has a plain twin in tests/carbon/relay.
"""

from __future__ import annotations

import numpy as np

from carbon.relay.number_kernels import write_integer, write_value
from storage.compiled import njit
from storage.name_kernels import copy_bytes

_SPACE, _NEWLINE = 32, 10
# Opcodes of pickle protocol 2: texts of 4 bytes of size, doubles, integers of 4 bytes or of any size, brackets
_PROTO, _EMPTY_LIST, _MARK, _APPENDS, _STOP = 0x80, ord("]"), ord("("), ord("e"), ord(".")
_UNICODE, _DOUBLE, _INTEGER, _LONG, _PAIR = ord("X"), ord("G"), ord("J"), 0x8A, 0x86
_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1
HEAD_BYTES = 8  # of a frame: its size, protocol, an empty list, a bracket
TAIL_BYTES = 2
ITEM_BYTES_MAX = 1 + 4 + 10 + 9 + 2  # beside the name


@njit(nogil=True, cache=True)
def group(routes, first, order):  # type: ignore[no-untyped-def]
    """Sort datapoints by route, those of one in their order: order[first[r]:first[r + 1]] are those of route r.

    first is int64 (routes + 1), zeros; order int64 with room for all. A route that is none is left out.
    """
    routes_max = len(first) - 1
    for route in routes:
        if 0 <= route < routes_max:
            first[route + 1] += 1
    for route in range(routes_max):
        first[route + 1] += first[route]
    at = first.copy()
    for i in range(len(routes)):
        route = routes[i]
        if 0 <= route < routes_max:
            order[at[route]] = i
            at[route] += 1


@njit(nogil=True, cache=True)
def name_bytes(offsets, ids):  # type: ignore[no-untyped-def]
    """How many bytes the names of all ids have together."""
    size = 0
    for one in ids:
        size += offsets[one + 1] - offsets[one]
    return size


@njit(nogil=True, cache=True)
def write_lines(blob, offsets, ids, timestamps, bits, out):  # type: ignore[no-untyped-def]
    """Write `name value timestamp\n` for each datapoint; gives how much it is."""
    values = bits.view(np.float64)
    at = 0
    stamp_start, stamp_stop = 0, 0  # of the line before: most have the same
    for i in range(len(ids)):
        start = offsets[ids[i]]
        size = offsets[ids[i] + 1] - start
        copy_bytes(blob, start, out, at, size)
        at += size
        out[at] = _SPACE
        at = write_value(values[i], bits[i], out, at + 1)
        out[at] = _SPACE
        at += 1
        if stamp_stop > 0 and timestamps[i] == timestamps[i - 1]:
            copy_bytes(out, stamp_start, out, at, stamp_stop - stamp_start)
            stamp_start, stamp_stop = at, at + stamp_stop - stamp_start
        else:
            stamp_start, stamp_stop = at, write_integer(timestamps[i], out, at)
        out[stamp_stop] = _NEWLINE
        at = stamp_stop + 1
    return at


@njit(nogil=True, cache=True, inline="always")
def _write_big(word, size, out, at):  # type: ignore[no-untyped-def]
    for i in range(size):
        out[at + i] = (word >> np.uint64(8 * (size - 1 - i))) & np.uint64(0xFF)


@njit(nogil=True, cache=True, inline="always")
def _write_little(word, size, out, at):  # type: ignore[no-untyped-def]
    for i in range(size):
        out[at + i] = (word >> np.uint64(8 * i)) & np.uint64(0xFF)


@njit(nogil=True, cache=True)
def _write_item(blob, start, size, timestamp, bits, out, at):  # type: ignore[no-untyped-def]
    """Write (name, (timestamp, value)); gives where it ends."""
    out[at] = _UNICODE
    _write_little(np.uint64(size), 4, out, at + 1)
    copy_bytes(blob, start, out, at + 5, size)
    at += 5 + size
    if _INT32_MIN <= timestamp <= _INT32_MAX:
        out[at] = _INTEGER
        _write_little(np.uint64(timestamp), 4, out, at + 1)
        at += 5
    else:
        out[at], out[at + 1] = _LONG, 8
        _write_little(np.uint64(timestamp), 8, out, at + 2)
        at += 10
    out[at] = _DOUBLE
    _write_big(bits, 8, out, at + 1)
    out[at + 9], out[at + 10] = _PAIR, _PAIR
    return at + 11


@njit(nogil=True, cache=True)
def write_frames(blob, offsets, ids, timestamps, bits, items_max, bytes_max, out):  # type: ignore[no-untyped-def]
    """Write frames of so many datapoints and bytes at most (one datapoint at least); gives how much it is."""
    at, i = 0, 0
    while i < len(ids):
        head = at
        out[at + 4], out[at + 5], out[at + 6], out[at + 7] = _PROTO, 2, _EMPTY_LIST, _MARK
        at += HEAD_BYTES
        items = 0
        while i < len(ids) and items < items_max:
            start = offsets[ids[i]]
            size = offsets[ids[i] + 1] - start
            if items > 0 and at - head + size + ITEM_BYTES_MAX + TAIL_BYTES > bytes_max:
                break
            at = _write_item(blob, start, size, timestamps[i], bits[i], out, at)
            items += 1
            i += 1
        out[at], out[at + 1] = _APPENDS, _STOP
        at += TAIL_BYTES
        _write_big(np.uint64(at - head - 4), 4, out, head)
    return at
