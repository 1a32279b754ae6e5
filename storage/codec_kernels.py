"""The numba kernels that read a sealed block's rows: bytes → stored bits, laid out as codec.py describes.

Stored bits are value bits XOR those of the canonical NaN, zero = missing. Nothing is trusted: damaged bytes give
False or other values, never a read outside the block and never a loop that does not end. `decode_rows` and
`decode_row` are meant to be called from other kernels' loops too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # has no stubs
from numba import types
from numba.extending import intrinsic

from storage import format
from storage.compiled import njit
from storage.name_kernels import load, store

HEADER = 20  # bytes
ENTRY = 6  # bytes of a row in the directory and the checks
PAD = 8  # zero bytes at the end: any byte of a row can be read with the 7 after it

ALL, STRIDE, BITMAP = 0, 1, 2  # which slots are known
CONSTANT, LEVEL, DELTA, SLOPE = (
    0,
    1,
    2,
    3,
)  # what is coded: nothing, x, its difference, the difference of that
HAS_MORE, HAS_PATCHES = 16, 32  # a byte with the sizes of factor and nudges follows; patches follow

TENS = 16
SCALES = np.array([10.0**e for e in range(TENS)] + [3 * 10.0**e for e in range(10)])
BITS = 255  # the scale of values that are no quotients: the integers are the floats' bits, in order

HIGH_MAX = 24  # a code whose high part is longer is written whole
LOW_MAX = 56
PATCH_BYTES = 10

RUNS_PAD = 8  # bytes: what a byte of the high parts says is stored eight numbers at once

_intrinsic: Any = intrinsic  # numba's own type for what it makes does not fit a call in a kernel
_NAN = np.uint64(format.NAN_BITS)
_ONE, _ZERO = np.uint64(1), np.uint64(0)
_CHECK_SEED, _CHECK_TIMES = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_LOW63 = np.int64(0x7FFFFFFFFFFFFFFF)


def _runs_of(byte: int) -> tuple[int, int, int]:
    """(the runs of zero bits before each one of a byte, a byte each; how many ones; the zeros above the last one)."""
    runs, ones, zeros = 0, 0, 0
    for bit in range(8):
        if byte >> bit & 1:
            runs |= zeros << 8 * ones
            ones, zeros = ones + 1, 0
        else:
            zeros += 1
    return runs, ones, zeros


_RUNS = np.array([_runs_of(byte)[0] for byte in range(256)], np.uint64)
_ONES = np.array([_runs_of(byte)[1] for byte in range(256)], np.int64)
_ZEROS = np.array([_runs_of(byte)[2] for byte in range(256)], np.uint64)


class Row(NamedTuple):
    """What the front of a row says. Numbers from `slots` on are places in the data."""

    presence: np.int64
    order: np.int64
    scale: np.int64
    low: np.int64  # bits of a code that are stored as they are
    base: np.int64
    centre: np.int64
    factor: np.int64
    nudge_bits: np.int64
    known: np.int64  # values, -1 = the row is damaged
    slots: np.int64  # which slots are known
    patches: np.int64
    lows: np.int64
    nudges: np.int64
    highs: np.int64


# --- words and bits: numba has no name for these instructions ---


@_intrinsic
def bits_of(typing_context, value):  # type: ignore[no-untyped-def]
    """The bits of a float64 as uint64."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), generate


@_intrinsic
def float_of(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float64 that has these bits."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), generate


@_intrinsic
def bit_length(typing_context, word):  # type: ignore[no-untyped-def]
    """The number of bits up to the highest one of a uint64, 0 for 0."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return types.int64(types.uint64), generate


@_intrinsic
def zeros_below(typing_context, word):  # type: ignore[no-untyped-def]
    """The index of the lowest bit of a uint64 that is set; 64 for 0."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@njit(nogil=True, cache=True)
def folded(number):  # type: ignore[no-untyped-def]
    """An int64 as uint64, small ones of either sign small: 0, -1, 1, -2 → 0, 1, 2, 3."""
    return np.uint64(number) << _ONE ^ np.uint64(number >> 63)


@njit(nogil=True, cache=True)
def minus(a, b):  # type: ignore[no-untyped-def]
    """a - b of int64, modulo 2 ** 64. Only unsigned numbers may wrap: numba promises LLVM that signed ones never do,
    and what follows from a sign is then wrong."""
    return np.int64(np.uint64(a) - np.uint64(b))


@njit(nogil=True, cache=True)
def unfolded(code):  # type: ignore[no-untyped-def]
    return np.int64(code >> _ONE) ^ -np.int64(code & _ONE)


@njit(nogil=True, cache=True)
def in_order(bits):  # type: ignore[no-untyped-def]
    """A float's bits as int64 in the order of the floats; its own inverse on int64."""
    number = np.int64(bits)
    return number if number >= 0 else number ^ _LOW63


# --- sizes that follow from a row's flags ---


@njit(nogil=True, cache=True)
def codes_of(order, n):  # type: ignore[no-untyped-def]
    """How many codes a row of n known values has."""
    return 0 if order == CONSTANT else n if order == LEVEL else n - 1


@njit(nogil=True, cache=True)
def presence_bytes(presence, slots):  # type: ignore[no-untyped-def]
    return 0 if presence == ALL else 6 if presence == STRIDE else (slots + 7) // 8


# --- a row's bytes → stored bits ---


@njit(nogil=True, cache=True)
def decode_rows(data, start, rows, out):  # type: ignore[no-untyped-def]
    """Fill out (uint64 (len(rows), slots)) with the stored bits of `rows` (int64) of the block at data[start:].

    False if a row is not there or its bytes are damaged, as its check tells.
    """
    runs = np.empty(out.shape[1] + RUNS_PAD, np.uint8)
    for i in range(len(rows)):  # noqa: SIM110 numba has no all(generator)
        if not decode_row(data, start, rows[i], _ZERO, runs, out[i]):
            return False
    return True


@njit(nogil=True, cache=True)
def decode_row(data, start, row, mask, runs, out):  # type: ignore[no-untyped-def]
    """Fill out (uint64 (slots,)) with one row's stored bits XOR `mask`; False as decode_rows.

    `runs` is room to work in: uint8 (slots + RUNS_PAD,).
    """
    slots = len(out)
    if start < 0 or start + HEADER + PAD > len(data):
        return False
    rows, size = np.int64(_u32(data, start + 8)), np.int64(_u32(data, start + 12))
    first = HEADER + ENTRY * rows
    if _u16(data, start + 6) != slots or not 0 <= row < rows:
        return False
    if first + PAD > size or start + size > len(data):
        return False
    directory = start + HEADER + 4 * row
    begin = np.int64(_u32(data, directory - 4)) if row > 0 else first
    end = np.int64(_u32(data, directory))
    if not first <= begin <= end <= size - PAD:
        return False
    if _u16(data, start + HEADER + 4 * rows + 2 * row) != check(data, start + begin, start + end):
        return False
    return _decode(data, start + begin, start + end, mask, runs, out)


@njit(nogil=True, cache=True)
def check(data, at, end):  # type: ignore[no-untyped-def]
    """The check of the bytes of a row; the 8 behind can be read too."""
    h = _CHECK_SEED
    while at + 8 <= end:
        h = (h ^ load(data, at)) * _CHECK_TIMES
        at += 8
    if at < end:
        h = (h ^ (load(data, at) & ((_ONE << np.uint64(8 * (end - at))) - _ONE))) * _CHECK_TIMES
    return np.int64(h >> np.uint64(48))


@njit(nogil=True, cache=True)
def _u16(data, at):  # type: ignore[no-untyped-def]
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@njit(nogil=True, cache=True)
def _u32(data, at):  # type: ignore[no-untyped-def]
    return _u16(data, at) | _u16(data, at + 2) << 16


@njit(nogil=True, cache=True)
def _number(data, at, width):  # type: ignore[no-untyped-def]
    """The signed number in `width` bytes, 0 … 8."""
    if width == 0:
        return np.int64(0)
    return unfolded(load(data, at) & (~_ZERO >> np.uint64(64 - 8 * width)))


@njit(nogil=True, cache=True)
def _decode(data, at, end, mask, runs, out):  # type: ignore[no-untyped-def]
    """Fill out with the row that lies in data[at:end]; the 8 bytes behind can be read too."""
    slots = len(out)
    if at == end:
        out[:] = mask
        return True
    if end - at == 8 * slots:
        for slot in range(slots):
            out[slot] = load(data, at + 8 * slot) ^ mask
        return True
    row = _parts(data, at, end, slots)
    if row.known <= 0:
        return False
    n, codes = row.known, codes_of(row.order, row.known)
    if codes > 0 and not _read_codes(
        data, row.lows, row.low, row.highs, end, runs[: codes + RUNS_PAD], out[n - codes : n]
    ):
        return False
    _sum_up(out, n, row.order, row.base, row.centre, row.factor)
    _to_floats(out, n, row.scale, mask ^ _NAN)
    if row.nudge_bits > 0:
        _nudge(data, row.nudges, row.nudge_bits, n, mask ^ _NAN, out)
    if row.patches < row.lows and not _patch(data, row.patches, n, mask ^ _NAN, out):
        return False
    if row.presence == STRIDE:
        _spread(out, n, _u16(data, row.slots), _u16(data, row.slots + 2), mask)
    elif row.presence == BITMAP:
        _spread_bitmap(data, row.slots, n, mask, out)
    return True


@njit(nogil=True, cache=True)
def _parts(data, at, end, slots):  # type: ignore[no-untyped-def]
    """The row in data[at:end], its parts within it; known = -1 if they are not."""
    no = np.int64(0)
    damaged = Row(no, no, no, no, no, no, no, no, np.int64(-1), no, no, no, no, no)
    if at + 4 > end:
        return damaged
    flags, scale, low = np.int64(data[at]), np.int64(data[at + 1]), np.int64(data[at + 2])
    presence, order = flags & 3, flags >> 2 & 3
    base_bytes, centre_bytes = np.int64(data[at + 3]) & 15, np.int64(data[at + 3]) >> 4
    factor_bytes, nudge_bits = np.int64(0), np.int64(0)
    at += 4
    if flags & HAS_MORE:
        factor_bytes, nudge_bits = np.int64(data[at]) & 15, np.int64(data[at]) >> 4
        at += 1
    if max(base_bytes, centre_bytes, factor_bytes) > 8 or low > LOW_MAX:
        return damaged
    where = at
    at += presence_bytes(presence, slots)
    numbers = at
    at += base_bytes + centre_bytes + factor_bytes
    patches = at
    if (scale >= len(SCALES) and scale != BITS) or at >= end + (flags & HAS_PATCHES == 0):
        return damaged
    if flags & HAS_PATCHES:
        at += 1 + PATCH_BYTES * np.int64(data[at])
    known = _count(data, where, presence, slots)
    lows = at
    nudges = lows + ((codes_of(order, known) * low + 7) >> 3)
    highs = nudges + ((known * nudge_bits + 7) >> 3)
    if highs > end:
        return damaged
    base = _number(data, numbers, base_bytes)
    centre = _number(data, numbers + base_bytes, centre_bytes)
    factor = _number(data, numbers + base_bytes + centre_bytes, factor_bytes) if factor_bytes else np.int64(1)
    return Row(
        presence,
        order,
        scale,
        low,
        base,
        centre,
        factor,
        nudge_bits,
        known,
        where,
        patches,
        lows,
        nudges,
        highs,
    )


@njit(nogil=True, cache=True)
def _count(data, at, presence, slots):  # type: ignore[no-untyped-def]
    """How many slots are known; -1 = what says so is damaged."""
    if presence == ALL:
        return slots
    if presence == STRIDE:
        first, stride, n = _u16(data, at), _u16(data, at + 2), _u16(data, at + 4)
        return n if n >= 1 and stride >= 1 and first + (n - 1) * stride < slots else -1
    if presence != BITMAP:
        return -1
    n = 0
    for slot in range(slots):
        n += (data[at + (slot >> 3)] >> (slot & 7)) & 1
    return n


@njit(nogil=True, cache=True)
def _read_codes(data, lows, low, highs, end, runs, out):  # type: ignore[no-untyped-def]
    """out = codes, their low bits from data[lows:], their high parts from data[highs:]; runs has RUNS_PAD more.

    Arrays that begin at 0 and are as long as the loop: an index that could be negative costs as much as the rest.
    """
    found = _read_runs(data, highs, end, len(out), runs)
    if found < 0:
        return False
    _join(data, lows, low, runs, out)
    return found < HIGH_MAX or _read_escapes(data, lows, end, runs, out)


@njit(nogil=True, cache=True)
def _read_runs(data, at, end, n, runs):  # type: ignore[no-untyped-def]
    """runs[:n] = how many zero bits are before each one in data[at:end]; gives the longest of those that begin in
    another byte than they end, -1 if there are too few or one is too long."""
    count, carried, longest = np.int64(0), _ZERO, np.int64(0)
    while count < n:
        if at >= end:
            return -1
        byte = data[at]
        at += 1
        word = _RUNS[byte] + carried
        if byte == 0:
            carried += np.uint64(8)
            if carried > HIGH_MAX:
                return -1
            continue
        store(runs, count, word)
        longest = max(longest, np.int64(word & np.uint64(0xFF)))
        count += _ONES[byte]
        carried = _ZEROS[byte]
    return longest if longest <= HIGH_MAX else -1


@njit(nogil=True, cache=True)
def _join(data, at, low, runs, out):  # type: ignore[no-untyped-def]
    """out = the codes of the high parts `runs` and the `low` bits each in data[at:]."""
    n, shift = len(out), np.uint64(low)
    mask = (_ONE << shift) - _ONE
    if low == 0:
        for i in range(n):
            out[i] = runs[i]
        return
    done = 0
    if low <= 7:  # the low bits of eight codes fill so many bytes, which one word has
        done = n & ~7
        for i in range(0, done, 8):
            word = load(data, at + (i >> 3) * low)
            for j in range(8):
                out[i + j] = np.uint64(runs[i + j]) << shift | word >> np.uint64(j) * shift & mask
    for i in range(done, n):
        place = i * low
        out[i] = np.uint64(runs[i]) << shift | load(data, at + (place >> 3)) >> np.uint64(place & 7) & mask


@njit(nogil=True, cache=True)
def _read_escapes(data, first, end, runs, out):  # type: ignore[no-untyped-def]
    """Codes that were too long, from data[:end] backwards, but not before `first`."""
    for i in range(len(out)):
        if runs[i] == HIGH_MAX:
            end -= 8
            if end < first:
                return False
            out[i] = load(data, end)
    return True


@njit(nogil=True, cache=True)
def _sum_up(out, n, order, base, centre, factor):  # type: ignore[no-untyped-def]
    """Codes → integers, in place. Loops without a sum come first: they are the ones that compile to vectors."""
    if order == CONSTANT:
        out[:n] = np.uint64(base)
        return
    first = 0 if order == LEVEL else 1
    middle = _ZERO if order == SLOPE else np.uint64(centre)
    offset = np.uint64(base) if order == LEVEL else _ZERO
    times = np.uint64(factor)
    codes = out[first:n]
    for i in range(len(codes)):
        codes[i] = offset + times * (middle + np.uint64(unfolded(codes[i])))
    if order == LEVEL:
        return
    out[0] = np.uint64(base)
    whole, step = np.uint64(base), times * np.uint64(centre)
    if order == DELTA:
        for i in range(1, n):
            whole += out[i]
            out[i] = whole
    else:
        for i in range(1, n):
            step += out[i]
            whole += step
            out[i] = whole


@njit(nogil=True, cache=True)
def _to_floats(out, n, scale, mask):  # type: ignore[no-untyped-def]
    """Integers → value bits XOR mask, in place."""
    if scale == BITS:
        for i in range(n):
            out[i] = np.uint64(in_order(out[i])) ^ mask
    elif scale == 0:
        for i in range(n):
            out[i] = bits_of(np.float64(np.int64(out[i]))) ^ mask
    else:
        divisor = SCALES[scale]
        for i in range(n):
            out[i] = bits_of(np.float64(np.int64(out[i])) / divisor) ^ mask


@njit(nogil=True, cache=True)
def _nudge(data, at, width, n, mask, out):  # type: ignore[no-untyped-def]
    few = (_ONE << np.uint64(width)) - _ONE
    place = np.int64(0)
    for i in range(n):
        code = load(data, at + (place >> 3)) >> np.uint64(place & 7) & few
        out[i] = ((out[i] ^ mask) + np.uint64(unfolded(code))) ^ mask
        place += width


@njit(nogil=True, cache=True)
def _patch(data, at, n, mask, out):  # type: ignore[no-untyped-def]
    for i in range(np.int64(data[at])):
        patch = at + 1 + PATCH_BYTES * i
        index = _u16(data, patch)
        if index >= n:
            return False
        out[index] = load(data, patch + 2) ^ mask
    return True


@njit(nogil=True, cache=True)
def _spread(out, n, first, stride, missing):  # type: ignore[no-untyped-def]
    """Move the n values at the front to their slots, the last one first, and make the others missing."""
    slot = len(out) - 1
    for i in range(n - 1, -1, -1):
        value, to = out[i], first + i * stride
        while slot > to:
            out[slot] = missing
            slot -= 1
        out[to] = value
        slot = to - 1
    out[: max(slot + 1, 0)] = missing


@njit(nogil=True, cache=True)
def _spread_bitmap(data, at, n, missing, out):  # type: ignore[no-untyped-def]
    i = n - 1
    for slot in range(len(out) - 1, -1, -1):
        if (data[at + (slot >> 3)] >> (slot & 7)) & 1:
            out[slot] = out[i]
            i -= 1
        else:
            out[slot] = missing
