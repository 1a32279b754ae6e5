"""The numba kernels that write a sealed block's rows: for each the way that takes the fewest bits (see codec.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import format
from storage.codec_kernels import (
    ALL,
    BITMAP,
    BITS,
    CONSTANT,
    DELTA,
    ENTRY,
    HAS_MORE,
    HAS_PATCHES,
    HEADER,
    HIGH_MAX,
    LEVEL,
    LOW_MAX,
    PATCH_BYTES,
    SCALES,
    SLOPE,
    STRIDE,
    TENS,
    bit_length,
    bits_of,
    check,
    codes_of,
    float_of,
    folded,
    in_order,
    minus,
    presence_bytes,
)
from storage.compiled import njit
from storage.name_kernels import store

NO_SCALE = -1
FAR = 99

_NUDGE_MAX = 7
_PATCHES_MAX = 255
_SAMPLES = 16
_JUDGED = 40  # values by which the way to code a row is chosen
_ASKED = 16  # values that a scale does not fit whose own one is looked for
_BITS_A_PATCH = 80
_BITS_A_DIGIT = 3.4

_NAN = np.uint64(format.NAN_BITS)
_ONE, _ZERO = np.uint64(1), np.uint64(0)


class Scratch(NamedTuple):
    """Arrays of one row's length that encoding uses again and again."""

    known: npt.NDArray[np.uint64]  # value bits of the slots that have one
    slots: npt.NDArray[np.int64]  # which slots those are
    whole: npt.NDArray[np.int64]  # the values as integers
    nudges: npt.NDArray[np.int64]  # steps of the last bit from the quotient to the value
    patches: npt.NDArray[np.int64]  # indices into known of values that have no integer
    x: npt.NDArray[np.int64]  # integers less the first, divided by their factor
    codes: npt.NDArray[np.uint64]
    few: npt.NDArray[np.int64]  # (16,) a sample


class Quotients(NamedTuple):
    """How a row's values are integers: value = whole / scale, or a nudge or a patch makes it so."""

    scale: int
    patches: int  # how many
    nudge_bits: int  # of each nudge


class Plan(NamedTuple):
    """How a row's integers are coded: whole = base + factor · x, and codes of x, its difference or its slope."""

    order: int
    low: int  # bits of a code that are stored as they are
    base: np.int64
    factor: np.int64
    centre: np.int64
    escapes: int
    high_bits: int  # bits of the codes' high parts together


@njit(nogil=True, cache=True)
def encode_rows(block, out):  # type: ignore[no-untyped-def]
    """Write directory, checks and rows of block (uint64 (rows, slots)) to out behind HEADER bytes; gives the end.

    out: uint8, HEADER + ENTRY × rows + block.nbytes + PAD bytes or more.
    """
    rows, slots = block.shape
    scratch = Scratch(
        np.empty(slots, np.uint64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.int64),
        np.empty(slots, np.uint64),
        np.empty(_SAMPLES, np.int64),
    )
    at = HEADER + ENTRY * rows
    for row in range(rows):
        begin = at
        at = _encode_row(block[row], out, at, scratch)
        for i in range(4):
            out[HEADER + 4 * row + i] = (at >> (8 * i)) & 255
        checked = check(out, begin, at)
        for i in range(2):
            out[HEADER + 4 * rows + 2 * row + i] = (checked >> (8 * i)) & 255
    return at


@njit(nogil=True, cache=True)
def _encode_row(words, out, at, scratch):  # type: ignore[no-untyped-def]
    """Write one row at out[at:]; gives its end."""
    slots = len(words)
    n = 0
    same = True
    for slot in range(slots):
        if words[slot] != _ZERO:
            scratch.known[n] = words[slot] ^ _NAN
            scratch.slots[n] = slot
            same = same and scratch.known[n] == scratch.known[0]
            n += 1
    if n == 0:
        return at
    quotients = _integers(scratch, n)
    if same and quotients.nudge_bits:
        quotients = _ordered_bits(scratch, n)
    plan = _constant(scratch.whole[0]) if same else _plan(scratch, n)
    presence = _presence(scratch.slots, n, slots)
    size = _row_bytes(quotients, plan, n) + presence_bytes(presence, slots)
    if size >= 8 * slots:
        for slot in range(slots):
            store(out, at + 8 * slot, words[slot])
        return at + 8 * slots
    _write_row(out, at, at + size, scratch, n, slots, presence, quotients, plan)
    return at + size


@njit(nogil=True, cache=True)
def _row_bytes(quotients, plan, n):  # type: ignore[no-untyped-def]
    """Bytes of a row, all but those that tell which slots are known."""
    size = 4 + _bytes_of(plan.base) + _bytes_of(plan.centre)
    if plan.factor != 1 or quotients.nudge_bits > 0:
        size += 1 + _factor_bytes(plan.factor)
    if quotients.patches > 0:
        size += 1 + PATCH_BYTES * quotients.patches
    size += (codes_of(plan.order, n) * plan.low + 7) // 8 + (n * quotients.nudge_bits + 7) // 8
    return size + (plan.high_bits + 7) // 8 + 8 * plan.escapes


@njit(nogil=True, cache=True)
def _factor_bytes(factor):  # type: ignore[no-untyped-def]
    return _bytes_of(factor) if factor != 1 else 0


@njit(nogil=True, cache=True)
def _bytes_of(number):  # type: ignore[no-untyped-def]
    return (bit_length(folded(number)) + 7) // 8


@njit(nogil=True, cache=True)
def _presence(known_slots, n, slots):  # type: ignore[no-untyped-def]
    if n == slots:
        return ALL
    stride = known_slots[1] - known_slots[0] if n > 1 else 1
    for i in range(2, n):
        if known_slots[i] - known_slots[i - 1] != stride:
            return BITMAP
    return STRIDE


# --- values → integers ---


@njit(nogil=True, cache=True)
def _integers(scratch, n):  # type: ignore[no-untyped-def]
    """Fill whole, nudges and patches; gives the Quotients."""
    known = scratch.known
    scale = _sampled_scale(known, n)
    for _ in range(3):
        if scale == NO_SCALE:
            break
        patches, with_own, wanted = _convert(scratch, n, scale)
        longer = n * _BITS_A_DIGIT * (wanted % TENS - scale % TENS)
        if wanted != scale and with_own * _BITS_A_PATCH > longer:
            scale = wanted
            continue
        if patches > min(_PATCHES_MAX, n // 4):
            break
        return _with_nudges(scratch, n, scale, patches)
    return _ordered_bits(scratch, n)


@njit(nogil=True, cache=True)
def _sampled_scale(known, n):  # type: ignore[no-untyped-def]
    """A scale for most of the values, from some of them; NO_SCALE = they are no quotients."""
    samples = min(n, _SAMPLES)
    scale, without = 0, 0
    for i in range(samples):
        bits = known[i * n // samples]
        if _nearest(bits, scale)[1] != FAR:
            continue
        own = _own_scale(bits, 0)
        if own == NO_SCALE:
            without += 1
            if 3 * without > samples or (without == 3 and i == 2):
                return NO_SCALE
        else:
            scale = _joint(scale, own)
    return scale


@njit(nogil=True, cache=True)
def _own_scale(bits, first):  # type: ignore[no-untyped-def]
    """The first scale from `first` on that a float is a quotient of; NO_SCALE = none."""
    for scale in range(first, len(SCALES)):
        if _nearest(bits, scale)[1] != FAR:
            return scale
    return NO_SCALE


@njit(nogil=True, cache=True)
def _joint(a, b):  # type: ignore[no-untyped-def]
    """The scale that has the quotients of both, as long as there is one."""
    if (a < TENS) == (b < TENS):
        return max(a, b)
    return min(TENS + max(a % TENS, b % TENS), len(SCALES) - 1)


@njit(nogil=True, cache=True)
def _nearest(bits, scale):  # type: ignore[no-untyped-def]
    """The integer whose quotient by the scale comes nearest to a float, and how many steps of its last bit it
    lies off; FAR if it is not within 7, or is so long that nothing would be saved."""
    scaled = float_of(bits) * SCALES[scale]
    if not abs(scaled) < (2.0**62 if scale == 0 else 2.0**51):
        return np.int64(0), np.int64(FAR)
    whole = np.int64(np.rint(scaled))
    off = minus(bits, bits_of(np.float64(whole) / SCALES[scale]))
    if off != 0 and not (-_NUDGE_MAX <= off <= _NUDGE_MAX and abs(scaled) < 2.0**40):
        return np.int64(0), np.int64(FAR)
    return whole, off


@njit(nogil=True, cache=True)
def _convert(scratch, n, scale):  # type: ignore[no-untyped-def]
    """Fill whole, nudges and patches under a scale; gives the patches, and how many of the first of them have a
    scale of their own and which one would serve these too."""
    patches, with_own, wanted = 0, 0, scale
    last = np.int64(0)
    for i in range(n):
        whole, off = _nearest(scratch.known[i], scale)
        if off == FAR:
            if patches < _ASKED:
                own = _own_scale(scratch.known[i], 0)
                if own != NO_SCALE:
                    with_own += 1
                    wanted = _joint(wanted, own)
            scratch.patches[patches] = i
            patches += 1
            whole, off = last, np.int64(0)
        elif patches == i and i > 0:
            for j in range(i):  # nothing came before: what is patched takes the first integer that there is
                scratch.whole[j] = whole
        scratch.whole[i] = last = whole
        scratch.nudges[i] = off
    return patches, with_own, wanted


@njit(nogil=True, cache=True)
def _with_nudges(scratch, n, scale, patches):  # type: ignore[no-untyped-def]
    """Choose whether values that lie a step off are nudged, all with the same bits, or patched."""
    nudged = 0
    widest = _ZERO
    for i in range(n):
        if scratch.nudges[i] != 0:
            nudged += 1
            widest |= folded(scratch.nudges[i])
    width = bit_length(widest)
    if nudged == 0 or nudged * _BITS_A_PATCH >= n * width or patches + nudged > _PATCHES_MAX:
        return Quotients(scale, patches, width)
    for i in range(n):
        if scratch.nudges[i] != 0:
            scratch.nudges[i] = 0
            scratch.patches[patches] = i
            patches += 1
    return Quotients(scale, patches, 0)


@njit(nogil=True, cache=True)
def _ordered_bits(scratch, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        scratch.whole[i] = in_order(scratch.known[i])
    return Quotients(BITS, 0, 0)


# --- integers → codes ---


@njit(nogil=True, cache=True)
def _constant(base):  # type: ignore[no-untyped-def]
    return Plan(CONSTANT, 0, base, np.int64(1), np.int64(0), 0, 0)


@njit(nogil=True, cache=True)
def _plan(scratch, n):  # type: ignore[no-untyped-def]
    """The way to code `whole` that takes the fewest bits, its codes filled in."""
    whole, x = scratch.whole, scratch.x
    base, factor = whole[0], _factor(whole, n)
    for i in range(n):
        x[i] = minus(whole[i], base) if factor == 1 else _quotient(minus(whole[i], base), factor)
    order, centre, bits = _shortest(x, n, scratch.few)
    _fill_codes(x, n, order, centre, scratch.codes)
    low, high_bits, escapes = _low_bits(scratch.codes, codes_of(order, n), bits)
    return Plan(order, low, base, factor, centre, escapes, high_bits)


@njit(nogil=True, cache=True)
def _factor(whole, n):  # type: ignore[no-untyped-def]
    """The greatest common divisor of the differences to the first integer; 1 when it is of no use."""
    factor = _ZERO
    for i in range(1, n):
        b = _magnitude(minus(whole[i], whole[0]))
        if factor == _ZERO:
            factor = b
        elif b != _ZERO and b % factor != _ZERO:
            a = factor
            while b != _ZERO:
                a, b = b, a % b
            factor = a
        if factor == _ONE:
            break
    return np.int64(factor) if _ZERO < factor < np.uint64(1 << 62) else np.int64(1)


@njit(nogil=True, cache=True)
def _quotient(number, factor):  # type: ignore[no-untyped-def]
    """number / factor where nothing remains: unsigned division is the faster one."""
    quotient = np.int64(_magnitude(number) // np.uint64(factor))
    return quotient if number >= 0 else -quotient


@njit(nogil=True, cache=True)
def _magnitude(number):  # type: ignore[no-untyped-def]
    return np.uint64(number) if number >= 0 else _ZERO - np.uint64(number)


@njit(nogil=True, cache=True)
def _shortest(x, n, few):  # type: ignore[no-untyped-def]
    """(order, centre, bits of a code) whose codes have the fewest bits together, judged by some of them."""
    mid_x, mid_d = _middle(x, n, 0, few), _middle(x, n, 1, few)
    level, delta, slope = 0, 0, 0
    step = max(1, n // _JUDGED)
    before = mid_d
    for i in range(1, n, step):
        d = minus(x[i], x[i - 1])
        if i > 1:
            before = minus(x[i - 1], x[i - 2])
        level += bit_length(folded(minus(x[i], mid_x)))
        delta += bit_length(folded(minus(d, mid_d)))
        slope += bit_length(folded(minus(d, before)))
    least = min(level, delta, slope)
    bits = least // ((n - 2) // step + 1)
    if least == level:
        return LEVEL, mid_x, bits
    return DELTA if least == delta else SLOPE, mid_d, bits


@njit(nogil=True, cache=True)
def _middle(x, n, order, few):  # type: ignore[no-untyped-def]
    """The median of some of x (order 0) or of its differences (order 1)."""
    count = min(n - order, _SAMPLES - 1)
    for i in range(count):
        at = i * (n - order) // count
        number = minus(x[at + 1], x[at]) if order else x[at]
        j = i
        while j > 0 and few[j - 1] > number:
            few[j] = few[j - 1]
            j -= 1
        few[j] = number
    return few[count // 2]


@njit(nogil=True, cache=True)
def _fill_codes(x, n, order, centre, codes):  # type: ignore[no-untyped-def]
    if order == LEVEL:
        for i in range(n):
            codes[i] = folded(minus(x[i], centre))
        return
    before = centre
    for i in range(1, n):
        d = minus(x[i], x[i - 1])
        codes[i - 1] = folded(minus(d, before))
        if order == SLOPE:
            before = d


@njit(nogil=True, cache=True)
def _low_bits(codes, n, bits):  # type: ignore[no-untyped-def]
    """How many low bits of the codes to store as they are, so that all takes the fewest bits; and the bits of the
    high parts and how many codes are written whole. Searched downhill from one bit less than `bits`."""
    low = min(max(bits - 1, 0), LOW_MAX)
    high_bits, escapes = _high_bits(codes, n, low)
    best = n * low + high_bits + 64 * escapes
    for direction in (1, -1):
        found = False
        while 0 <= low + direction <= LOW_MAX:
            next_bits, next_escapes = _high_bits(codes, n, low + direction)
            cost = n * (low + direction) + next_bits + 64 * next_escapes
            if cost >= best:
                break
            found = True
            best, low, high_bits, escapes = cost, low + direction, next_bits, next_escapes
        if found:
            break
    return low, high_bits, escapes


@njit(nogil=True, cache=True)
def _high_bits(codes, n, low):  # type: ignore[no-untyped-def]
    """(bits of the codes' high parts, codes that are written whole) with so many low bits."""
    shift, most = np.uint64(low), np.uint64(HIGH_MAX)
    total, escapes = _ZERO, _ZERO
    for i in range(n):
        high = codes[i] >> shift
        whole = high >= most
        total += most if whole else high
        escapes += _ONE if whole else _ZERO
    return np.int64(total) + n, np.int64(escapes)


# --- bytes ---


@njit(nogil=True, cache=True)
def _write_row(out, at, end, scratch, n, slots, presence, quotients, plan):  # type: ignore[no-untyped-def]
    """Write a row of `end - at` bytes."""
    factor_bytes, nudge_bits = _factor_bytes(plan.factor), quotients.nudge_bits
    more = factor_bytes > 0 or nudge_bits > 0
    flags = presence | plan.order << 2 | (HAS_MORE if more else 0)
    out[at] = flags | (HAS_PATCHES if quotients.patches else 0)
    out[at + 1], out[at + 2] = quotients.scale, plan.low
    out[at + 3] = _bytes_of(plan.base) | _bytes_of(plan.centre) << 4
    at += 4
    if more:
        out[at] = factor_bytes | nudge_bits << 4
        at += 1
    at = _write_presence(out, at, scratch.slots, n, slots, presence)
    at = _write_number(out, at, plan.base)
    at = _write_number(out, at, plan.centre)
    if factor_bytes:
        at = _write_number(out, at, plan.factor)
    if quotients.patches:
        at = _write_patches(out, at, scratch, quotients.patches)
    codes = codes_of(plan.order, n)
    at = _write_low(out, at, scratch.codes, codes, plan.low)
    if nudge_bits:
        for i in range(n):
            scratch.x[i] = np.int64(folded(scratch.nudges[i]))
        at = _write_low(out, at, scratch.x, n, nudge_bits)
    _write_high(out, at, end, scratch.codes, codes, plan.low)


@njit(nogil=True, cache=True)
def _write_number(out, at, number):  # type: ignore[no-untyped-def]
    code = folded(number)
    for i in range(_bytes_of(number)):
        out[at + i] = np.uint8(code >> np.uint64(8 * i))
    return at + _bytes_of(number)


@njit(nogil=True, cache=True)
def _write_presence(out, at, known_slots, n, slots, presence):  # type: ignore[no-untyped-def]
    if presence == STRIDE:
        stride = known_slots[1] - known_slots[0] if n > 1 else 1
        for i, number in enumerate((known_slots[0], stride, n)):
            out[at + 2 * i], out[at + 2 * i + 1] = number & 255, number >> 8
    elif presence == BITMAP:
        out[at : at + (slots + 7) // 8] = 0
        for i in range(n):
            out[at + (known_slots[i] >> 3)] |= 1 << (known_slots[i] & 7)
    return at + presence_bytes(presence, slots)


@njit(nogil=True, cache=True)
def _write_patches(out, at, scratch, patches):  # type: ignore[no-untyped-def]
    out[at] = patches
    at += 1
    for i in range(patches):
        index = scratch.patches[i]
        out[at], out[at + 1] = index & 255, index >> 8
        store(out, at + 2, scratch.known[index])
        at += PATCH_BYTES
    return at


@njit(nogil=True, cache=True)
def _write_low(out, at, codes, n, width):  # type: ignore[no-untyped-def]
    """The low `width` bits of n codes, end to end."""
    stop = at + (n * width + 7) // 8
    mask = (_ONE << np.uint64(width)) - _ONE
    held, filled = _ZERO, 0
    for i in range(n):
        code = np.uint64(codes[i]) & mask
        held |= code << np.uint64(filled)
        filled += width
        if filled >= 64:
            store(out, at, held)
            at += 8
            filled -= 64
            held = code >> np.uint64(width - filled) if filled else _ZERO
    while at < stop:
        out[at] = np.uint8(held)
        held >>= np.uint64(8)
        at += 1
    return stop


@njit(nogil=True, cache=True)
def _write_high(out, at, end, codes, n, low):  # type: ignore[no-untyped-def]
    """The codes' high parts, so many zero bits and a one each; what is too long lies whole before the end."""
    held, bit, spilled = _ZERO, np.int64(0), end
    for i in range(n):
        high = codes[i] >> np.uint64(low)
        if high >= np.uint64(HIGH_MAX):
            high = np.uint64(HIGH_MAX)
            spilled -= 8
            store(out, spilled, codes[i])
        bit += np.int64(high)
        if bit >= 64:
            store(out, at, held)
            at += 8
            held = _ZERO
            bit -= 64
        held |= _ONE << np.uint64(bit)
        bit += 1
    while at < spilled:
        out[at] = np.uint8(held)
        held >>= np.uint64(8)
        at += 1
