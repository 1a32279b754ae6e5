"""The numba kernel of anomalies: a moving median and how far values lie about it. Arrays in, arrays out.

Matrices are float64 (series, points) with NaN for "no data". It has a plain twin in tests/render/functions.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

KNOWN_MIN = 5  # values of which a median and a spread are taken
# what the median distance and the mean distance from the middle of a normal distribution are multiplied with to
# give its standard deviation
_MEDIAN_TO_SIGMA, _MEAN_TO_SIGMA = 1.482602218505602, 1.2533141373155001


@njit(nogil=True, cache=True)
def scores(values, backs, length, least, most, out):  # type: ignore[no-untyped-def]
    """How many spreads each value lies from the median of those it is compared with, cut at ±most.

    Those are, for each of `backs` (int64, points; `length` at least), the `length` points that begin so far before
    it. The spread is the median distance from the median or, where that is 0, the mean distance, as a standard
    deviation; `least` at least. NaN where the value is missing or less than KNOWN_MIN of the others are known.
    """
    rows, points = values.shape
    window = np.empty(len(backs) * length + 1)
    for r in range(rows):
        row, n = values[r], 0
        for i in range(points):
            for back in backs:
                old, new = i - 1 - back, i - 1 - back + length
                if 0 <= old < points and row[old] == row[old]:
                    n = _take(window, n, row[old])
                if 0 <= new < points and row[new] == row[new]:
                    n = _put(window, n, row[new])
            if row[i] != row[i] or n < KNOWN_MIN:
                out[r, i] = np.nan
                continue
            middle = 0.5 * window[(n - 1) // 2] + 0.5 * window[n // 2]
            off = row[i] - middle
            spread = max(_spread(window, n, middle), least)
            score = off / spread if spread > 0.0 else np.sign(off) * most
            out[r, i] = min(max(score, -most), most)


@njit(nogil=True, cache=True)
def _place(sorted_, n, value):  # type: ignore[no-untyped-def]
    """The first index of sorted_[:n] whose value is not below `value`."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if sorted_[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def _put(sorted_, n, value):  # type: ignore[no-untyped-def]
    """Put a value into sorted_[:n]; gives how many there are then."""
    at = _place(sorted_, n, value)
    for j in range(n, at, -1):
        sorted_[j] = sorted_[j - 1]
    sorted_[at] = value
    return n + 1


@njit(nogil=True, cache=True)
def _take(sorted_, n, value):  # type: ignore[no-untyped-def]
    """Take a value that is there out of sorted_[:n]; gives how many are left."""
    for j in range(_place(sorted_, n, value), n - 1):
        sorted_[j] = sorted_[j + 1]
    return n - 1


@njit(nogil=True, cache=True)
def _spread(sorted_, n, middle):  # type: ignore[no-untyped-def]
    """The median distance of sorted_[:n] from its middle, or the mean one if that is 0, as a standard deviation."""
    distance = 0.5 * _distance(sorted_, n, middle, (n - 1) // 2 + 1)
    distance += 0.5 * _distance(sorted_, n, middle, n // 2 + 1)
    if distance > 0.0:
        return distance * _MEDIAN_TO_SIGMA
    total = 0.0
    for j in range(n):
        total += abs(sorted_[j] - middle) / n
    return total * _MEAN_TO_SIGMA


@njit(nogil=True, cache=True)
def _distance(sorted_, n, middle, k):  # type: ignore[no-untyped-def]
    """The k-th smallest distance from `middle`: those k values lie side by side, so halve where they begin."""
    low, high = 0, n - k
    while low < high:
        at = (low + high) >> 1
        if middle - sorted_[at] > sorted_[at + k] - middle:
            low = at + 1
        else:
            high = at
    return max(middle - sorted_[low], sorted_[low + k - 1] - middle)
