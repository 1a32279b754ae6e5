"""The numba kernels of output formats: number texts and timestamp texts → one body. Arrays in, arrays out.

Each has a plain twin in tests/render/formats.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

_COMMA, _MINUS, _OPEN, _CLOSE, _END, _RETURN, _LINE_FEED = (ord(c) for c in ",-[]}\r\n")
_N = ord("n")  # what "null" begins with, and no number
# unsigned, as a signed index is checked for being negative at each byte: that took half as long again
_0, _1, _2, _10, _ZERO, _NULL_AND_COMMA = np.array([0, 1, 2, 10, ord("0"), len("null,")], np.uint64)
_DIGITS_MAX = np.uint64(19)
STAMP_BYTES_MAX = len(",") + len(str(np.iinfo(np.int64).min)) + len("],")


@njit(nogil=True, cache=True)
def write_stamps(start, step, out, ends):  # type: ignore[no-untyped-def]
    """Write `,<timestamp>],` for each point of a grid into out (uint8); ends (uint64) is where each ends.

    Made once a grid. out has STAMP_BYTES_MAX bytes a point; gives how many are used.
    """
    at, digits, lowest, above = _0, _0, _1, _1  # as many digits have the numbers from lowest to below above
    for i in range(len(ends)):
        timestamp = start + i * step
        out[at] = _COMMA
        at += _1
        if timestamp < 0:
            out[at] = _MINUS
            at += _1
        left = np.uint64(abs(timestamp))
        if left < lowest or left >= above:
            digits, lowest, above = _1, _0, _10
            while left >= above and digits < _DIGITS_MAX:
                digits, lowest, above = digits + _1, above, above * _10
        at += digits
        for back in range(_1, digits + _1):  # the last digit first
            out[at - back] = _ZERO + left % _10
            left //= _10
        out[at] = _CLOSE
        out[at + _1] = _COMMA
        at += _2
        ends[i] = at
    return at


@njit(nogil=True, cache=True)
def write_json(  # type: ignore[no-untyped-def]
    numbers, heads, head_ends, stamps, stamp_ends, without_null, out, row_ends, kept
):
    """Write `<head>[<number><stamp>…]}` for each series: numbers and stamps are interleaved.

    numbers is the text of the values' matrix, `[[1.5,null],[2.0,3.0]]`, heads the series' heads end to end,
    both ends uint64; out (uint8) has room for all of it, 2 bytes a series and one a point more. row_ends
    (int64) is where each series ends, kept (int64) how many of its points were written: all, or the known.
    """
    at, number, head = _0, _1, _0
    for i in range(len(head_ends)):
        head_end = head_ends[i]
        while head < head_end:
            out[at] = heads[head]
            at += _1
            head += _1
        number += _1
        stamp, points = _0, 0
        for j in range(len(stamp_ends)):
            stamp_end = stamp_ends[j]
            if without_null and numbers[number] == _N:
                number += _NULL_AND_COMMA
                stamp = stamp_end
                continue
            out[at] = _OPEN
            at += _1
            c = numbers[number]
            while c != _COMMA and c != _CLOSE:
                out[at] = c
                at += _1
                number += _1
                c = numbers[number]
            number += _1
            while stamp < stamp_end:
                out[at] = stamps[stamp]
                at += _1
                stamp += _1
            points += 1
        number += _1
        if points > 0:
            at -= _1  # the last point's comma
        out[at] = _CLOSE
        out[at + _1] = _END
        at += _2
        row_ends[i] = at
        kept[i] = points


@njit(nogil=True, cache=True)
def write_csv(numbers, name, times, out):  # type: ignore[no-untyped-def]
    r"""Write `<name><time><number>\r\n` for each point of a series; null is empty. Gives how much it is.

    numbers is the text of the values, `1.5,null,2.0,` with a comma behind each; name (uint8) ends in a comma,
    and so does each row of times, uint8 (points, width). out (uint8) has room for all of it.
    """
    at, number = _0, _0
    for j in range(len(times)):
        for k in range(len(name)):
            out[at] = name[k]
            at += _1
        for k in range(times.shape[1]):
            out[at] = times[j, k]
            at += _1
        known = numbers[number] != _N
        c = numbers[number]
        while c != _COMMA:
            if known:
                out[at] = c
                at += _1
            number += _1
            c = numbers[number]
        number += _1
        out[at] = _RETURN
        out[at + _1] = _LINE_FEED
        at += _2
    return at
