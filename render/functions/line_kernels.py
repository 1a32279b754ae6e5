"""The numba kernels of straight lines: through whole rows, and through all that a moving window holds.

Matrices are float64 (series, points) with NaN for "no data"; places are counted in points. Each kernel has a plain
twin in tests/render/functions.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

RUNS = 128  # of which Theil and Sen compare each with each
# What a window of a row knows: values, their mean place, their mean, the sums of squares and products about those,
# pairs of neighbours, the sum of their differences and of its squares.
_KNOWN, _PLACE, _VALUE, _APART, _ALONG, _SQUARES, _PAIRS, _STEPS, _STEP_SQUARES = range(9)


@njit(nogil=True, cache=True)
def least_squares(values, out):  # type: ignore[no-untyped-def]
    """Fill out (series, 7) with the fields of lines.Lines, in their order."""
    state = np.empty(9)
    for r in range(len(values)):
        state[:] = 0.0
        for i in range(values.shape[1]):
            if values[r, i] == values[r, i]:
                _add(state, i, values[r, i])
                if i > 0 and values[r, i - 1] == values[r, i - 1]:
                    _add_step(state, values[r, i] - values[r, i - 1])
        _line(state, out[r])


@njit(nogil=True, cache=True)
def _add(state, place, value):  # type: ignore[no-untyped-def]
    """Take one more known value into a state (Welford's way: nothing large is subtracted)."""
    state[_KNOWN] += 1.0
    x, y = place - state[_PLACE], value - state[_VALUE]
    state[_PLACE] += x / state[_KNOWN]
    state[_VALUE] += y / state[_KNOWN]
    rest = value - state[_VALUE]
    state[_APART] += x * (place - state[_PLACE])
    state[_ALONG] += x * rest
    state[_SQUARES] += y * rest


@njit(nogil=True, cache=True)
def _add_step(state, step):  # type: ignore[no-untyped-def]
    state[_PAIRS] += 1.0
    state[_STEPS] += step
    state[_STEP_SQUARES] += step * step


@njit(nogil=True, cache=True)
def _join(a, b, into):  # type: ignore[no-untyped-def]
    """What two runs of points know together (Chan, Golub and LeVeque); `into` may be one of them."""
    known = a[_KNOWN] + b[_KNOWN]
    part = b[_KNOWN] / known if known > 0.0 else 0.0
    x, y, weight = b[_PLACE] - a[_PLACE], b[_VALUE] - a[_VALUE], a[_KNOWN] * part
    place, value = a[_PLACE] + x * part, a[_VALUE] + y * part
    into[_APART] = a[_APART] + b[_APART] + x * x * weight
    into[_ALONG] = a[_ALONG] + b[_ALONG] + x * y * weight
    into[_SQUARES] = a[_SQUARES] + b[_SQUARES] + y * y * weight
    into[_PAIRS], into[_STEPS] = a[_PAIRS] + b[_PAIRS], a[_STEPS] + b[_STEPS]
    into[_STEP_SQUARES] = a[_STEP_SQUARES] + b[_STEP_SQUARES]
    into[_KNOWN], into[_PLACE], into[_VALUE] = known, place, value


@njit(nogil=True, cache=True)
def _line(state, out):  # type: ignore[no-untyped-def]
    """The fields of lines.Lines that a state gives."""
    known = state[_KNOWN]
    out[:] = np.nan
    out[3], out[4], out[6] = known, state[_APART], 0.0
    if known < 2.0:
        return
    slope = state[_ALONG] / state[_APART]
    out[0], out[1], out[2] = state[_PLACE], state[_VALUE], slope
    if known < 3.0:
        return
    squares = max(state[_SQUARES] - slope * state[_ALONG], 0.0)
    out[5] = squares / (known - 2.0)
    pairs = state[_PAIRS]
    if 2.0 * pairs >= known and squares > 0.0:
        steps = state[_STEP_SQUARES] - slope * (2.0 * state[_STEPS] - pairs * slope)
        out[6] = min(max(1.0 - (steps / pairs) / (2.0 * squares / known), 0.0), 0.99)


@njit(nogil=True, cache=True)
def moving_least_squares(values, window, out):  # type: ignore[no-untyped-def]
    """Fill out (series, points, 7) with the fields of lines.Lines of the `window` points up to and with each point.

    As the other moving windows it joins the end of one block with the begin of the next, and subtracts nothing.
    """
    rows, points = values.shape
    size = min(window, points)
    if size == 0:
        return
    tail = np.zeros((size + 1, 9))
    head, both = np.empty(9), np.empty(9)
    for r in range(rows):
        row = values[r]
        tail[:] = 0.0
        for at in range(0, points, size):
            stop = min(at + size, points)
            head[:] = 0.0
            for i in range(at, stop):
                if row[i] == row[i]:
                    _add(head, i, row[i])
                    if i > at and row[i - 1] == row[i - 1]:
                        _add_step(head, row[i] - row[i - 1])
                _join(tail[i - at + 1], head, both)
                if at > 0 and i - at + 1 < size:
                    across = row[at] - row[at - 1]
                    if across == across:
                        _add_step(both, across)
                _line(both, out[r, i])
            if stop - at == size:
                _ends(row[at:stop], at, tail)


@njit(nogil=True, cache=True)
def _ends(block, at, tail):  # type: ignore[no-untyped-def]
    """tail[o]: what a block, which begins at place `at`, knows from offset o to its end."""
    one = np.empty(9)
    size = len(block)
    for o in range(size - 1, -1, -1):
        tail[o] = tail[o + 1]  # the last of them stays empty
        if block[o] == block[o]:
            one[:] = 0.0
            _add(one, at + o, block[o])
            if o + 1 < size and block[o + 1] == block[o + 1]:
                _add_step(one, block[o + 1] - block[o])
            _join(one, tail[o], tail[o])


@njit(nogil=True, cache=True)
def theil_sen(values, out):  # type: ignore[no-untyped-def]
    """Fill centre, level, slope and known of out (series, 7), the fields of lines.Lines.

    Known values beyond RUNS are cut into RUNS runs of which each gives its median value at its mean place.
    """
    rows, points = values.shape
    places, medians, rest = np.empty(RUNS), np.empty(RUNS), np.empty(RUNS)
    slopes, kept, at = np.empty(RUNS * (RUNS - 1) // 2), np.empty(points), np.empty(points)
    for r in range(rows):
        known = 0
        for i in range(points):
            if values[r, i] == values[r, i]:
                kept[known], at[known] = values[r, i], i
                known += 1
        out[r, 3] = known
        runs = min(known, RUNS)
        if runs < 2:
            continue
        centre = 0.0
        for run in range(runs):
            low, high = run * known // runs, (run + 1) * known // runs
            places[run] = 0.0
            for i in range(low, high):
                places[run] += at[i] / (high - low)
            medians[run] = _median(kept[low:high])
            centre += places[run] / runs
        n = 0
        for i in range(runs):
            for j in range(i):
                slopes[n] = (medians[i] - medians[j]) / (places[i] - places[j])
                n += 1
        slope = _median(slopes[:n])
        for i in range(runs):
            rest[i] = medians[i] - slope * (places[i] - centre)
        out[r, 0], out[r, 1], out[r, 2] = centre, _median(rest[:runs]), slope


@njit(nogil=True, cache=True)
def _median(values):  # type: ignore[no-untyped-def]
    """The median of what has no NaN; the order changes. (numpy's takes seconds to compile.)"""
    n = len(values)
    upper = _select(values, n // 2)
    if n % 2:
        return upper
    lower = values[0]
    for i in range(n // 2):  # what was selected has all that is less on its left
        lower = max(lower, values[i])
    return 0.5 * lower + 0.5 * upper


@njit(nogil=True, cache=True)
def _select(values, k):  # type: ignore[no-untyped-def]
    """The k-th smallest, put in its place with none that is greater before it (Hoare's way)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot, i, j = values[(low + high) >> 1], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]
