"""Decimal text → float64, rightly rounded, inside numba kernels.

Up to 19 digits and an exponent within ±55 are turned exactly here (Clinger's fast path, then Eisel and Lemire's:
"Number parsing at a gigabyte per second", 2021); what is rarer is left to Python's float(), which knows all forms.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

# What read_decimal says of a text
EXACT, ASK_PYTHON = 0, 1

_EXPONENT_MAX = 55
_DIGITS_MAX = 19
_EXACT_POWERS = np.array([10.0**i for i in range(23)])


def _powers_of_five() -> tuple[np.ndarray, np.ndarray]:
    """The leading 128 bits of 5**q, q from -55 to 55, rounded up for negative q: (high, low) words."""
    high, low = [], []
    for q in range(-_EXPONENT_MAX, _EXPONENT_MAX + 1):
        if q >= 0:
            power = 5**q
            shift = power.bit_length() - 128
            bits = power >> shift if shift >= 0 else power << -shift
        else:
            divisor = 5**-q
            # 2**b / 5**-q with 128 significant bits, rounded up
            b = divisor.bit_length() + 127
            bits = (1 << b) // divisor + 1
            if bits >= 1 << 128:
                bits = (1 << (b - 1)) // divisor + 1
        high.append(bits >> 64)
        low.append(bits & (1 << 64) - 1)
    return np.array(high, np.uint64), np.array(low, np.uint64)


_FIVES_HIGH, _FIVES_LOW = _powers_of_five()


@njit(nogil=True, cache=True, inline="always")
def _high_product(a, b):  # type: ignore[no-untyped-def]
    """The upper 64 bits of a × b (uint64)."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a0, a1, b0, b1 = a & mask, a >> half, b & mask, b >> half
    low = a0 * b0
    middle = a1 * b0 + (low >> half)
    other = a0 * b1 + (middle & mask)
    return a1 * b1 + (middle >> half) + (other >> half)


@njit(nogil=True, cache=True)
def _eisel_lemire(digits, exponent):  # type: ignore[no-untyped-def]
    """The bits of digits × 10**exponent (digits ≠ 0); zero bits where this cannot tell."""
    lead = np.uint64(0)
    w = digits
    for shift in (32, 16, 8, 4, 2, 1):
        if w >> np.uint64(64 - shift) == 0:
            w <<= np.uint64(shift)
            lead += np.uint64(shift)
    q = exponent + _EXPONENT_MAX
    low, high = w * _FIVES_HIGH[q], _high_product(w, _FIVES_HIGH[q])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        more = _high_product(w, _FIVES_LOW[q])
        low += more
        if low < more:
            high += np.uint64(1)
    if low == np.uint64(0xFFFFFFFFFFFFFFFF) and not -27 <= exponent <= 55:
        return np.uint64(0)
    top = high >> np.uint64(63)
    mantissa = high >> (top + np.uint64(9))
    power = ((217706 * exponent) >> 16) + 63 + np.int64(top) - np.int64(lead) + 1023
    if low <= np.uint64(1) and -4 <= exponent <= 23 and mantissa & np.uint64(3) == np.uint64(1):
        if mantissa << (top + np.uint64(9)) == high:
            mantissa &= ~np.uint64(1)
    mantissa = (mantissa + (mantissa & np.uint64(1))) >> np.uint64(1)
    if mantissa >= np.uint64(1) << np.uint64(53):
        mantissa = np.uint64(1) << np.uint64(52)
        power += 1
    return mantissa & ~(np.uint64(1) << np.uint64(52)) | np.uint64(power) << np.uint64(52)


@njit(nogil=True, cache=True)
def read_decimal(text, start, stop, bits):  # type: ignore[no-untyped-def]
    """Put the float64 bits of text[start:stop] into bits[0]; EXACT, or ASK_PYTHON where it cannot say."""
    at = start
    negative = at < stop and text[at] == 45
    if at < stop and (negative or text[at] == 43):
        at += 1
    digits, count, exponent, seen = np.uint64(0), 0, 0, False
    point = False
    while at < stop:
        c = text[at]
        if 48 <= c <= 57:
            seen = True
            if count > 0 or c != 48:
                count += 1
            if count > _DIGITS_MAX:
                return ASK_PYTHON
            digits = digits * np.uint64(10) + np.uint64(c - 48)
            if point:
                exponent -= 1
        elif c == 46 and not point:
            point = True
        else:
            break
        at += 1
    if not seen:
        return ASK_PYTHON
    if at < stop and (text[at] == 101 or text[at] == 69):
        at += 1
        minus = at < stop and text[at] == 45
        if at < stop and (minus or text[at] == 43):
            at += 1
        if at == stop or stop - at > 3:
            return ASK_PYTHON
        power = 0
        while at < stop and 48 <= text[at] <= 57:
            power = power * 10 + text[at] - 48
            at += 1
        exponent += -power if minus else power
    if at != stop or exponent < -_EXPONENT_MAX or exponent > _EXPONENT_MAX:
        return ASK_PYTHON
    if digits == 0:
        exponent = 0
    if digits >> np.uint64(53) == 0 and -22 <= exponent <= 22:
        value = np.float64(np.int64(digits))
        value = value * _EXACT_POWERS[exponent] if exponent >= 0 else value / _EXACT_POWERS[-exponent]
        bits.view(np.float64)[0] = -value if negative else value
        return EXACT
    bits[0] = _eisel_lemire(digits, exponent)
    if bits[0] == 0:
        return ASK_PYTHON
    if negative:
        bits[0] |= np.uint64(1) << np.uint64(63)
    return EXACT
