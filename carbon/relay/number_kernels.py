"""The numba kernels that write numbers as decimal text: float64 as the shortest text that reads back as the same.

Whole numbers and those of a few decimals, which most values are, take short cuts; the others go the way of Raffaele
Giulietti's Schubfach ("The Schubfach way to render doubles", 2022). Texts are repr()'s digits; an exponent is written
below 1e-5 and from 1e17 on. Each kernel has a plain twin in tests/carbon/relay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # has no stubs
from numba import types
from numba.extending import intrinsic

from storage.compiled import njit

VALUE_BYTES_MAX = 24  # -1.2345678901234567e-308
INTEGER_BYTES_MAX = 20  # -9223372036854775808

_POWERS_MIN, _POWERS_MAX = -292, 324  # of ten, that float64 needs
_WHOLE_MAX = 1e15  # 15 digits always tell float64s apart
_MICRO = 1e6
_PLAIN_MIN, _PLAIN_MAX = -4, 17  # where the point may stand, else an exponent is written
_0, _1, _2, _4, _10, _40, _ZERO = np.array([0, 1, 2, 4, 10, 40, 48], np.uint64)
_POINT, _MINUS, _E = 46, 45, 101


def _powers_of_ten() -> tuple[np.ndarray, np.ndarray]:
    """The leading 128 bits of 10**k, k from _POWERS_MIN to _POWERS_MAX, rounded up: (high, low) words."""
    high, low = [], []
    for k in range(_POWERS_MIN, _POWERS_MAX + 1):
        upper, under = (10**k, 1) if k >= 0 else (1, 10**-k)
        shift = 127 - ((k * 1741647) >> 19)  # 127 - floor(log2(10**k))
        upper, under = (upper << shift, under) if shift >= 0 else (upper, under << -shift)
        power = -(-upper // under)
        high.append(power >> 64)
        low.append(power & (1 << 64) - 1)
    return np.array(high, np.uint64), np.array(low, np.uint64)


_TENS_HIGH, _TENS_LOW = _powers_of_ten()


_intrinsic: Any = intrinsic  # numba's own type for what it makes does not fit a call in a kernel


@_intrinsic
def _high_product(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The upper 64 bits of the product of two uint64."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word, wide = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)

    return types.uint64(types.uint64, types.uint64), generate


@njit(nogil=True, cache=True, inline="always")
def _round_to_odd(high, low, factor):  # type: ignore[no-untyped-def]
    """The upper 64 of the 192 bits of (high, low) × factor; the last one is also set if anything below them is."""
    carried = _high_product(low, factor)
    middle = high * factor
    top = _high_product(high, factor)
    sum_ = middle + carried
    if sum_ < middle:
        top += _1
    return top | (_1 if sum_ > _1 else _0)


@njit(nogil=True, cache=True)
def shortest(bits):  # type: ignore[no-untyped-def]
    """(digits uint64, exponent int64) of the float64 of these bits (uint64; positive, finite, not 0).

    digits × 10**exponent reads back as the same; as few digits as that takes, the nearest of those; the last ones
    may be zeros.
    """
    fraction = bits & np.uint64((1 << 52) - 1)
    power = np.int64(bits >> np.uint64(52)) & 0x7FF
    mantissa, q = fraction, np.int64(-1074)
    if power != 0:
        mantissa, q = fraction | np.uint64(1 << 52), power - 1075
    closer_below = fraction == _0 and power > 1
    odd = mantissa & _1
    k = (q * 1262611 - (524031 if closer_below else 0)) >> 22
    shift = np.uint64(q + ((-k * 1741647) >> 19) + 1)
    high, low = _TENS_HIGH[-k - _POWERS_MIN], _TENS_LOW[-k - _POWERS_MIN]
    here = mantissa * _4
    below = _round_to_odd(high, low, (here - (_1 if closer_below else _2)) << shift)
    value = _round_to_odd(high, low, here << shift)
    above = _round_to_odd(high, low, (here + _2) << shift)
    lower, upper = below + odd, above - odd
    digits = value // _4
    if digits >= _10:
        tens = digits // _10
        down, up = lower <= _40 * tens, _40 * tens + _40 <= upper
        if down != up:
            return tens + (_1 if up else _0), k + 1
    down, up = lower <= _4 * digits, _4 * digits + _4 <= upper
    if down != up:
        return digits + (_1 if up else _0), k
    middle = _4 * digits + _2
    round_up = value > middle or (value == middle and digits & _1 == _1)
    return digits + (_1 if round_up else _0), k


@njit(nogil=True, cache=True)
def _write_digits(digits, out, at):  # type: ignore[no-untyped-def]
    """Write a uint64 into out[at:]; gives where it ends."""
    count, power = _1, digits // _10
    while power > _0:
        count += _1
        power //= _10
    stop = np.uint64(at) + count
    for back in range(_1, count + _1):
        rest = digits // _10
        out[stop - back] = _ZERO + digits - rest * _10
        digits = rest
    return np.int64(stop)


@njit(nogil=True, cache=True)
def write_integer(number, out, at):  # type: ignore[no-untyped-def]
    """Write an int64 into out[at:]; gives where it ends."""
    if number < 0:
        out[at] = _MINUS
        return _write_digits(_0 - np.uint64(number), out, at + 1)
    return _write_digits(np.uint64(number), out, at)


@njit(nogil=True, cache=True)
def _write_decimal(digits, exponent, out, at):  # type: ignore[no-untyped-def]
    """Write digits × 10**exponent (digits > 0) without zeros at the end of its decimals; gives where it ends."""
    while True:
        tens = digits // _10
        if tens * _10 != digits:
            break
        digits = tens
        exponent += 1
    stop = _write_digits(digits, out, at)
    count = stop - at
    point = count + exponent  # digits in front of the point
    if point <= _PLAIN_MIN or point > _PLAIN_MAX:
        if count > 1:
            for i in range(stop, at + 1, -1):
                out[i] = out[i - 1]
            out[at + 1] = _POINT
            stop += 1
        out[stop] = _E
        return write_integer(np.int64(point - 1), out, stop + 1)
    if exponent >= 0:
        for i in range(stop, stop + exponent):
            out[i] = _ZERO
        return stop + exponent
    zeros = 1 - point if point < 1 else 0  # in front of the digits: the one before the point, too
    for i in range(stop - 1, at - 1, -1):
        place = i + zeros + (1 if i - at + zeros >= point + zeros or zeros > 0 else 0)
        out[place] = out[i]
    if zeros > 0:
        for i in range(at, at + zeros + 1):
            out[i] = _ZERO
        out[at + 1] = _POINT
    else:
        out[at + point] = _POINT
    return stop + zeros + 1


@njit(nogil=True, cache=True)
def write_value(value, bits, out, at):  # type: ignore[no-untyped-def]
    """Write a float64 (`bits` are its own, uint64) into out[at:], VALUE_BYTES_MAX at most; gives where it ends.

    What is not finite becomes nan, inf or -inf, as float() reads it.
    """
    if value != value:
        out[at], out[at + 1], out[at + 2] = 110, 97, 110
        return at + 3
    if bits >> np.uint64(63) == _1:
        out[at] = _MINUS
        at += 1
        value = -value
        bits &= np.uint64((1 << 63) - 1)
    if value < _WHOLE_MAX and value == np.float64(np.int64(value)):
        return _write_digits(np.uint64(np.int64(value)), out, at)
    if value == np.inf:
        out[at], out[at + 1], out[at + 2] = 105, 110, 102
        return at + 3
    millionths = value * _MICRO
    if 1.0 <= millionths < _WHOLE_MAX:
        rounded = np.rint(millionths)
        if rounded / _MICRO == value:
            return _write_decimal(np.uint64(np.int64(rounded)), np.int64(-6), out, at)
    digits, exponent = shortest(bits)
    return _write_decimal(digits, exponent, out, at)
