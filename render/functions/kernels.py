"""The numba kernels of series functions: what runs along a row and remembers. Arrays in, arrays out.

Matrices are float64 (series, points) with NaN for "no data". Each kernel has a plain twin in
tests/render/functions.

Moving windows add, multiply or compare without ever subtracting (van Herk's blocks: the end of one block of
`window` points joined with the beginning of the next). So a value that left the window leaves nothing behind,
neither rounding nor an inf, and a point costs the same whatever the window.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

# What `moving_fold` joins values with.
SUM, PRODUCT, MAX, MIN = range(4)


@njit(nogil=True, cache=True)
def _join(code, a, b):  # type: ignore[no-untyped-def]
    if code == SUM:
        return a + b
    if code == PRODUCT:
        return a * b
    if code == MAX:
        return a if a > b else b
    return a if a < b else b


@njit(nogil=True, cache=True)
def moving_fold(code, values, window, out, known):  # type: ignore[no-untyped-def]
    """Join the known values of the `window` points up to and with each point; NaN where none is known."""
    rows, points = values.shape
    size = min(window, points)
    if size == 0:
        return
    nothing = (0.0, 1.0, -np.inf, np.inf)[code]
    tail = np.empty(size + 1)  # tail[o]: the former block's points from offset o to its end, joined
    tail_known = np.empty(size + 1, np.int64)
    for r in range(rows):
        tail[:] = nothing
        tail_known[:] = 0
        for at in range(0, points, size):
            stop = min(at + size, points)
            head, head_known = nothing, 0
            for i in range(at, stop):
                v = values[r, i]
                if v == v:
                    head = _join(code, head, v)
                    head_known += 1
                o = i - at + 1
                known[r, i] = tail_known[o] + head_known
                out[r, i] = _join(code, tail[o], head) if known[r, i] > 0 else np.nan
            if stop - at == size:
                back, back_known = nothing, 0
                for o in range(size - 1, -1, -1):
                    v = values[r, at + o]
                    if v == v:
                        back = _join(code, v, back)
                        back_known += 1
                    tail[o] = back
                    tail_known[o] = back_known


@njit(nogil=True, cache=True)
def moving_deviation(values, window, out, known):  # type: ignore[no-untyped-def]
    """The population standard deviation of the known values of each window; NaN where none is known.

    Joins (count, mean, sum of squared distances) as Chan, Golub and LeVeque do: no cancellation.
    """
    rows, points = values.shape
    size = min(window, points)
    if size == 0:
        return
    tail = np.empty((size + 1, 3))
    head = np.empty(3)
    both = np.empty(3)
    one = np.empty(3)
    one[0], one[2] = 1.0, 0.0
    for r in range(rows):
        tail[:] = 0.0
        for at in range(0, points, size):
            stop = min(at + size, points)
            head[:] = 0.0
            for i in range(at, stop):
                if values[r, i] == values[r, i]:
                    one[1] = values[r, i]
                    _merge(head, one, head)
                _merge(tail[i - at + 1], head, both)
                known[r, i] = np.int64(both[0])
                out[r, i] = np.sqrt(both[2] / both[0]) if both[0] > 0 else np.nan
            if stop - at == size:
                for o in range(size - 1, -1, -1):
                    tail[o] = tail[o + 1]  # the last of them stays empty
                    if values[r, at + o] == values[r, at + o]:
                        one[1] = values[r, at + o]
                        _merge(one, tail[o], tail[o])


@njit(nogil=True, cache=True)
def _merge(a, b, into):  # type: ignore[no-untyped-def]
    """Join two (count, mean, squares); `into` may be one of them."""
    if b[0] == 0.0:
        into[0], into[1], into[2] = a[0], a[1], a[2]
    elif a[0] == 0.0:
        into[0], into[1], into[2] = b[0], b[1], b[2]
    else:
        count = a[0] + b[0]
        apart = b[1] - a[1]
        squares = a[2] + b[2] + apart * apart * (a[0] * b[0] / count)
        into[1] = a[1] + apart * (b[0] / count)
        into[0], into[2] = count, squares


# Windows up to so many points are swept whole, at vector speed: 60 points in 30 ns, not 75; beyond, walking wins.
SWEPT_POINTS = 512
_LANES = 16  # what a sweep takes at once: no rest is left to go through one by one


@njit(nogil=True, cache=True)
def moving_quantile(values, window, fraction, out, known):  # type: ignore[no-untyped-def]
    """The quantile of the known values of each window, linear between ranks (n-1)·fraction.

    The window is kept sorted: a point takes the value that leaves out and puts the new one in, in one go.
    """
    if min(window, values.shape[1]) <= SWEPT_POINTS:
        _swept_quantile(values, window, fraction, out, known)
    else:
        _walked_quantile(values, window, fraction, out, known)


@njit(nogil=True, cache=True)
def _swept_quantile(values, window, fraction, out, known):  # type: ignore[no-untyped-def]
    """For short windows. What is missing lies at the end as inf, so a window always has the same length."""
    rows, points = values.shape
    wide = (min(window, points) + _LANES - 1) // _LANES * _LANES
    both = np.empty((2, wide + 2))  # the window before and after a point, in turn; between -inf and inf
    for r in range(rows):
        both[:] = np.inf
        both[:, 0] = -np.inf
        n, side = 0, 0
        for i in range(points):
            new = values[r, i]
            old = values[r, i - window] if i >= window else np.nan
            n += int(new == new) - int(old == old)
            new = new + 0.0 if new == new else np.inf  # + 0.0: what equals does not move, so no -0.0
            old = old if old == old else np.inf
            if new > old:
                _sweep_up(both[side, 1:], old, new, both[1 - side, 1 : wide + 1])
                side = 1 - side
            elif new < old:
                _sweep_down(both[side], old, new, both[1 - side, 1 : wide + 1])
                side = 1 - side
            known[r, i] = n
            out[r, i] = _between_ranks(both[side, 1:], n, fraction) if n > 0 else np.nan


@njit(nogil=True, cache=True)
def _sweep_up(before, old, new, after):  # type: ignore[no-untyped-def]
    """Sorted `before` with a greater value for one that equals `old`; it is one longer than `after`."""
    for j in range(len(after)):
        v = before[j]
        following = before[j + 1]
        least = following if following < new else new
        placed = least if least > v else v
        after[j] = v if v < old else placed


@njit(nogil=True, cache=True)
def _sweep_down(before, old, new, after):  # type: ignore[no-untyped-def]
    """The same with a smaller one; `before` begins one earlier than `after`."""
    for j in range(len(after)):
        v = before[j + 1]
        former = before[j]
        most = former if former > new else new
        placed = most if most < v else v
        after[j] = v if v > old else placed


@njit(nogil=True, cache=True)
def _walked_quantile(values, window, fraction, out, known):  # type: ignore[no-untyped-def]
    """For long windows: only what lies between the two places moves, often little."""
    rows, points = values.shape
    sorted_ = np.empty(min(window, points) + 1)
    for r in range(rows):
        n = 0
        for i in range(points):
            new = values[r, i]
            old = values[r, i - window] if i >= window else np.nan
            gone = n  # the free place: the end, unless a value goes
            if old == old:
                gone = _place(sorted_, n, old)
                n -= 1
            if new == new:
                n += 1
                _move_in(sorted_, n, gone, new)
            else:
                for j in range(gone, n):
                    sorted_[j] = sorted_[j + 1]
            known[r, i] = n
            out[r, i] = _between_ranks(sorted_, n, fraction) if n > 0 else np.nan


@njit(nogil=True, cache=True)
def _between_ranks(sorted_, n, fraction):  # type: ignore[no-untyped-def]
    rank = (n - 1) * fraction
    below = int(rank)
    part = rank - below
    low = sorted_[below]
    return low if part == 0.0 else low * (1.0 - part) + sorted_[below + 1] * part


@njit(nogil=True, cache=True)
def _place(sorted_, n, value):  # type: ignore[no-untyped-def]
    """The first index of sorted_[:n] that holds `value`, which must be among them."""
    at, size = 0, n
    while size > 1:  # without a branch that a processor would have to guess
        half = size >> 1
        at += half * (sorted_[at + half - 1] < value)
        size -= half
    return at


@njit(nogil=True, cache=True)
def _move_in(sorted_, n, free, value):  # type: ignore[no-untyped-def]
    """Put `value` into sorted_[:n], of which index `free` is not in use."""
    at = free  # walking there was quicker than searching and moving, up to windows of hundreds of points
    while at > 0 and sorted_[at - 1] > value:
        sorted_[at] = sorted_[at - 1]
        at -= 1
    while at < n - 1 and sorted_[at + 1] < value:
        sorted_[at] = sorted_[at + 1]
        at += 1
    sorted_[at] = value


@njit(nogil=True, cache=True)
def gather_between(values, low, high, known, below, inside, many):  # type: ignore[no-untyped-def]
    """Of each column: how many values are known, how many lie below low, and those in low … high, unsorted.

    `inside` is (columns, places); `many` counts on where there is no place any more.
    """
    rows, columns = values.shape
    places = inside.shape[1]
    is_inside = np.empty(columns, np.uint8)
    which = np.empty(columns + 1, np.int32)
    for r in range(rows):
        # three loops of one thing each, without branches: 2 ns a value, where one loop of all takes 3.3
        _count_known_and_below(values[r], low, known, below)
        _mark_between(values[r], low, high, is_inside)
        for k in range(_marked(is_inside, which)):
            c = which[k]
            if many[c] < places:
                inside[c, many[c]] = values[r, c]
            many[c] += 1


@njit(nogil=True, cache=True)
def _count_known_and_below(values, low, known, below):  # type: ignore[no-untyped-def]
    for c in range(len(values)):
        known[c] += np.int64(values[c] == values[c])
        below[c] += np.int64(values[c] < low[c])


@njit(nogil=True, cache=True)
def _mark_between(values, low, high, marks):  # type: ignore[no-untyped-def]
    for c in range(len(values)):
        marks[c] = np.uint8((low[c] <= values[c]) & (values[c] <= high[c]))


@njit(nogil=True, cache=True)
def _marked(marks, which):  # type: ignore[no-untyped-def]
    """How many places are marked, and which they are; `which` is one longer than `marks`."""
    n = 0
    for c in range(len(marks)):
        which[n] = c  # the next overwrites it if it is not marked
        n += marks[c]
    return n


@njit(nogil=True, cache=True)
def fill_gaps(values, limit, linear, out):  # type: ignore[no-untyped-def]
    """Fill gaps of at most `limit` points: with the value before them or, `linear`, on the line across.

    A gap at the beginning stays, as does one at the end if linear.
    """
    rows, points = values.shape
    for r in range(rows):
        last = -1  # index of the last known value
        for i in range(points):
            v = values[r, i]
            out[r, i] = v
            if v == v:
                gap = i - last - 1
                if last >= 0 and 0 < gap <= limit:
                    before = values[r, last]
                    for j in range(last + 1, i):
                        out[r, j] = before + (j - last) * (v - before) / (gap + 1) if linear else before
                last = i
        gap = points - last - 1
        if not linear and last >= 0 and gap <= limit:
            for j in range(last + 1, points):
                out[r, j] = values[r, last]


@njit(nogil=True, cache=True)
def changes(values, out):  # type: ignore[no-untyped-def]
    """1 where a value is another than the known one before it, else 0."""
    rows, points = values.shape
    for r in range(rows):
        previous = np.nan
        for i in range(points):
            v = values[r, i]
            out[r, i] = 1.0 if previous == previous and v == v and v != previous else 0.0
            if v == v:
                previous = v


# What a counter that fell has done: nobody knows, passed its highest value, or been set to its lowest.
UNKNOWN, WRAPPED, RESET = range(3)


@njit(nogil=True, cache=True)
def growth(values, low, high, fallen, out):  # type: ignore[no-untyped-def]
    """What counters have grown from point to point; NaN where either is missing or not in low … high.

    A wrapped counter begins again at low, or at 0 where that is -inf.
    """
    rows, points = values.shape
    begin = low if low > -np.inf else 0.0
    for r in range(rows):
        if points > 0:
            out[r, 0] = np.nan
        for i in range(1, points):
            v, before = values[r, i], values[r, i - 1]
            grown = v - before
            if not grown >= 0.0:
                if fallen == WRAPPED:
                    grown = high + 1.0 + v - before - begin
                elif fallen == RESET:
                    grown = v - low
                else:
                    grown = np.nan
            inside = low <= v and v <= high and low <= before and before <= high
            out[r, i] = grown if inside else np.nan


@njit(nogil=True, cache=True)
def integrate(values, resets, out):  # type: ignore[no-untyped-def]
    """The sum since the last reset (bool (points,)) at each point; a missing value adds nothing."""
    rows, points = values.shape
    for r in range(rows):
        total = 0.0
        for i in range(points):
            if resets[i]:
                total = 0.0
            v = values[r, i]
            if v == v:
                total += v
            out[r, i] = total


@njit(nogil=True, cache=True)
def exponential(values, seeds, constant, out):  # type: ignore[no-untyped-def]
    """The average of the first `seeds` points, then constant·v + (1-constant)·before for each after them.

    out is (series, points - seeds + 1). A missing value gives a missing one and is skipped.
    """
    rows, points = values.shape
    for r in range(rows):
        total, known = 0.0, 0
        for i in range(seeds):
            if values[r, i] == values[r, i]:
                total += values[r, i]
                known += 1
        level = total / known if known > 0 else 0.0
        out[r, 0] = level
        for i in range(seeds, points):
            v = values[r, i]
            if v == v:
                level = constant * v + (1.0 - constant) * level
                out[r, i - seeds + 1] = level
            else:
                out[r, i - seeds + 1] = np.nan


@njit(nogil=True, cache=True)
def spread(values, step, lead, interval, out):  # type: ignore[no-untyped-def]
    """Add each value × its seconds (`step` of them) to the buckets of `interval` seconds that they lie in.

    `lead` seconds lie between the first bucket's start and the first point; out is (series, buckets) and
    NaN where nothing is known. What reaches past the last bucket counts as if it ended there.
    """
    rows, points = values.shape
    buckets = out.shape[1]
    for r in range(rows):
        out[r, :] = np.nan
        for i in range(points):
            v = values[r, i]
            if v != v:
                continue
            begin = lead + i * step
            end = min(begin + step, buckets * interval)
            while begin < end:
                bucket = begin // interval
                upto = min(end, (bucket + 1) * interval)
                hits = v * (upto - begin)
                out[r, bucket] = hits if out[r, bucket] != out[r, bucket] else out[r, bucket] + hits
                begin = upto


@njit(nogil=True, cache=True)
def round_decimals(values, digits, out):  # type: ignore[no-untyped-def]
    """Round to `digits` decimals, half to even, of the exact value: what Python's round() gives.

    A product that seems to lie half-way is decided by its rounding error (Veltkamp and Dekker), which
    numpy's own round ignores. A power of ten is exact up to 10²²; beyond, the last bit may differ.
    """
    rows, points = values.shape
    scale = 10.0 ** abs(digits)
    for r in range(rows):
        for i in range(points):
            v = values[r, i]
            scaled = v * scale if digits >= 0 else v / scale
            if not abs(scaled) < 9007199254740992.0:  # NaN, inf, or finer than the float's own spacing
                out[r, i] = v
                continue
            whole = np.rint(scaled)
            if abs(scaled - np.trunc(scaled)) == 0.5:
                # scaled·scale - v, or v·scale - scaled: the sign says which side of the half v lies on
                error = _error(v, scale, scaled) if digits >= 0 else -_error(scaled, scale, v)
                if error > 0.0:
                    whole = np.floor(scaled) + 1.0
                elif error < 0.0:
                    whole = np.floor(scaled)
            out[r, i] = whole / scale if digits >= 0 else whole * scale


@njit(nogil=True, cache=True)
def _error(a, b, product):  # type: ignore[no-untyped-def]
    """a·b - product, exactly."""
    t = 134217729.0 * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = 134217729.0 * b
    b_high = t - (t - b)
    b_low = b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
