"""The numba kernels of storage: loops over columns that numpy cannot say. Arrays in, arrays out.

Values are float64 with NaN for "no data". Each kernel has a plain twin in tests/storage.
"""

from __future__ import annotations

import numpy as np

from storage import format
from storage.codec_kernels import RUNS_PAD, decode_row
from storage.compiled import njit

# The order is the code that `reduce_columns` takes; consolidation.py names them.
AVERAGE, AVG_ZERO, SUM, COUNT, LAST, FIRST, MAX, MIN, RANGE, DIFF, MULTIPLY, STDDEV, ABSMAX, ABSMIN = range(
    14
)


@njit(nogil=True, cache=True)
def reduce_columns(code, values, out, known):  # type: ignore[no-untyped-def]
    """Reduce axis 0 of values (k, n) into out float64 (n,), skipping NaN; known int64 (n,) counts values.

    Sums run in row order, as graphite-web's do, so that they agree to the last bit.
    """
    k, n = values.shape
    for j in range(n):
        known[j] = 0
        out[j] = 0.0
    if code == AVERAGE or code == AVG_ZERO or code == SUM or code == COUNT or code == STDDEV:
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                there = v == v
                out[j] += v if there else 0.0
                known[j] += 1 if there else 0
        for j in range(n):
            if known[j] == 0:
                out[j] = np.nan
            elif code == AVERAGE or code == STDDEV:
                out[j] /= known[j]
            elif code == AVG_ZERO:
                out[j] /= k
            elif code == COUNT:
                out[j] = known[j]
        if code == STDDEV:
            squares = np.zeros(n)
            for i in range(k):
                for j in range(n):
                    d = values[i, j] - out[j]
                    squares[j] += d * d if d == d else 0.0
            for j in range(n):
                if known[j] > 0:
                    # inf - inf is no deviation: such a column has none
                    out[j] = np.sqrt(squares[j] / known[j])
    elif code == LAST or code == FIRST:
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                if v == v:
                    if code == LAST or known[j] == 0:
                        out[j] = v
                    known[j] += 1
    elif code == MAX:
        for j in range(n):
            out[j] = -np.inf
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                there = v == v
                out[j] = v if there and v > out[j] else out[j]
                known[j] += 1 if there else 0
    elif code == MIN:
        for j in range(n):
            out[j] = np.inf
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                there = v == v
                out[j] = v if there and v < out[j] else out[j]
                known[j] += 1 if there else 0
    elif code == RANGE:
        low = np.full(n, np.inf)
        for j in range(n):
            out[j] = -np.inf
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                there = v == v
                out[j] = v if there and v > out[j] else out[j]
                low[j] = v if there and v < low[j] else low[j]
                known[j] += 1 if there else 0
        for j in range(n):
            out[j] -= low[j]
    elif code == DIFF:
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                if v == v:
                    out[j] = v if known[j] == 0 else out[j] - v
                    known[j] += 1
    elif code == MULTIPLY:
        # unlike the others: one missing value makes the product missing
        for j in range(n):
            out[j] = 1.0
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                out[j] *= v
                known[j] += 1 if v == v else 0
    else:  # ABSMAX, ABSMIN: the value with the largest or smallest magnitude, its sign kept
        for i in range(k):
            for j in range(n):
                v = values[i, j]
                if v == v:
                    if known[j] == 0:
                        out[j] = v
                    elif code == ABSMAX and abs(v) > abs(out[j]):
                        out[j] = v
                    elif code == ABSMIN and abs(v) < abs(out[j]):
                        out[j] = v
                    known[j] += 1
    for j in range(n):
        if known[j] == 0:
            out[j] = np.nan


# --- ring files: `words` is the whole file as uint64, geometry as format.Geometry.for_kernel gives it ---

# As numbers, checked against format.py: the compiler's cache is renewed when this file changes, not when that does.
_HEADS, _LANES, _HEAD_WORDS, _ROWS = 512, 2048, 8, 512
_AFTER, _SEALS, _FIRST = 2, 4, 5
_LOW, _TAG, _FACTOR = np.uint64(0xFFFFFFFF), np.uint64(0x7FFFFFFF), np.uint64(0xD6E8FEB86659FD93)
_HIGH, _MIX = np.uint64(32), np.uint64(29)
_NAN = np.uint64(0x7FF8000000000000)
_PACKED = np.uint64(1 << 63)
assert int(_PACKED) == format.PACKED
assert (_HEADS, _LANES) == (format.PAGE // format.WORD, format.LANES_START // format.WORD)
assert (_HEAD_WORDS, _ROWS, int(_NAN)) == (format.HEAD_WORDS, format.LANE_ROWS, format.NAN_BITS)
assert (int(_LOW), int(_TAG), int(_FACTOR)) == (format.LOW_WORD, format.TAG, format.CHECK_FACTOR)
assert (_AFTER, _SEALS, _FIRST) == (format.HEAD_AFTER, format.SEALS, format.HEAD_FIRST)


@njit(nogil=True, cache=True)
def block_digest(unit, stamp):  # type: ignore[no-untyped-def]
    """The checksum of a raw block (rows, slots) of this stamp, never 0, as format.py describes it.

    Four sums side by side, as one would wait for its multiplications: 9 GB/s, where zlib's CRC-32 comes to 1.3.
    """
    total, slots = np.uint64(0), unit.shape[1]
    for i in range(len(unit)):
        there = np.uint64(0)
        a, b = np.uint64(4 * i + 1) * _FACTOR, np.uint64(4 * i + 2) * _FACTOR
        c, d = np.uint64(4 * i + 3) * _FACTOR, np.uint64(4 * i + 4) * _FACTOR
        whole = slots & ~3
        for j in range(0, whole, 4):
            there |= unit[i, j] | unit[i, j + 1] | unit[i, j + 2] | unit[i, j + 3]
            a, b = (a ^ unit[i, j]) * _FACTOR, (b ^ unit[i, j + 1]) * _FACTOR
            c, d = (c ^ unit[i, j + 2]) * _FACTOR, (d ^ unit[i, j + 3]) * _FACTOR
            a, b, c, d = a ^ a >> _MIX, b ^ b >> _MIX, c ^ c >> _MIX, d ^ d >> _MIX
        if whole < slots:
            there |= unit[i, whole]
            a = (a ^ unit[i, whole]) * _FACTOR
            a = a ^ a >> _MIX
        if whole + 1 < slots:
            there |= unit[i, whole + 1]
            b = (b ^ unit[i, whole + 1]) * _FACTOR
            b = b ^ b >> _MIX
        if whole + 2 < slots:
            there |= unit[i, whole + 2]
            c = (c ^ unit[i, whole + 2]) * _FACTOR
            c = c ^ c >> _MIX
        if there != 0:
            total += a + b + c + d
    digest = (total ^ stamp) * _FACTOR >> _HIGH
    return max(digest, np.uint64(1))


@njit(nogil=True, cache=True)
def slot_word(stamp, slot, at, checked):  # type: ignore[no-untyped-def]
    """A slot as word `at` of the heads' page has it, for a head of this stamp."""
    if not checked:
        return np.uint64(slot)
    h = np.uint64(stamp) * _FACTOR
    h = (h ^ np.uint64(slot)) * _FACTOR
    h = (h ^ np.uint64(at)) * _FACTOR
    return h & ~_LOW | np.uint64(slot)


@njit(nogil=True, cache=True)
def slot_in(words, at, stamp, checked):  # type: ignore[no-untyped-def]
    """The slot in word `at` of the heads' page; -1 = it is damaged."""
    word = words[_HEADS + at]
    slot = np.int64(word & _LOW)
    return slot if word == slot_word(stamp, slot, at, checked) else np.int64(-1)


@njit(nogil=True, cache=True)
def head_range(words, geometry, lane, head, stamp):  # type: ignore[no-untyped-def]
    """(first, after) of a head's slots; (0, 0) if they are damaged."""
    at, checked = lane * _HEAD_WORDS + head, geometry[4]
    first, after = slot_in(words, at + _FIRST, stamp, checked), slot_in(words, at + _AFTER, stamp, checked)
    if 0 <= first <= after <= geometry[0]:
        return first, after
    return np.int64(0), np.int64(0)


@njit(nogil=True, cache=True)
def _form(words, geometry, stamps, place, stamp):  # type: ignore[no-untyped-def]
    """How the block of a stamp lies in its place: 0 not at all, 1 raw, 2 packed."""
    found = words[stamps + place]
    if found & ~_PACKED != stamp:
        return 0
    if geometry[4] and (words[stamps + geometry[4] + place] >> _HIGH) & _TAG != stamp & _TAG:
        return 0
    return 2 if found & _PACKED else 1


@njit(nogil=True, cache=True)
def damaged_heads(words, geometry, horizon, out):  # type: ignore[no-untyped-def]
    """Mark in out (bool (lanes, 2)) the heads that cannot be; without checks, those of blocks after `horizon` too."""
    for lane in range(len(out)):
        for head in range(2):
            at = lane * _HEAD_WORDS + head
            stamp = words[_HEADS + at]
            out[lane, head] = False
            if stamp == 0:
                continue
            first = slot_in(words, at + _FIRST, stamp, geometry[4])
            after = slot_in(words, at + _AFTER, stamp, geometry[4])
            right = 0 <= first <= after <= geometry[0] and np.int64(stamp - np.uint64(1)) & 1 == head
            if not geometry[4] and stamp > np.uint64(horizon + 1):
                right = False
            out[lane, head] = not right


@njit(nogil=True, cache=True)
def damaged_stamps(words, geometry, horizon, out):  # type: ignore[no-untyped-def]
    """Mark in out (bool (lanes, places)) what disagrees with its place or its check; gives how many.

    Without checks: the blocks after `horizon` too. With checks, a place without a stamp but with a check counts.
    """
    _, places, _, lane_words, checked = geometry
    found = 0
    for lane in range(len(out)):
        base = _LANES + lane * lane_words
        for place in range(places):
            stamp = words[base + place]
            block = stamp & ~_PACKED
            wrong = stamp != 0 and (block == 0 or (block - np.uint64(1)) % np.uint64(places) != place)
            if checked:
                tag = words[base + checked + place] >> _HIGH
                wrong |= stamp >> _HIGH << _HIGH & ~_PACKED != 0 or tag != (
                    stamp & _TAG | (stamp & _PACKED) >> _HIGH
                )
            else:
                wrong |= block > np.uint64(horizon + 1)
            out[lane, place] = wrong
            found += wrong
    return found


@njit(nogil=True, cache=True)
def write_heads(words, geometry, rows, slots, bits, low, high, written, late):  # type: ignore[no-untyped-def]
    """Write value bits[i] of (rows[i], slots[i]) where the row's lane has the slot's block as a head.

    low and high (int64, one a lane) are widened to the slots written, written (bool (lanes, 2)) is set for the
    heads. The indices of what has no head go to `late`; gives how many.
    """
    block, _, stamps, lane_words, checked = geometry
    left = 0
    last_slot, e, s, h = np.int64(-1), np.int64(-1), np.int64(0), np.int64(0)
    for i in range(len(rows)):
        slot = slots[i]
        if slot != last_slot:
            last_slot = slot
            e = slot // block
            s = slot - e * block
            h = e & 1
        lane = rows[i] // _ROWS
        control = _HEADS + lane * _HEAD_WORDS
        if words[control + h] != np.uint64(e + 1):
            late[left] = i
            left += 1
            continue
        head = _LANES + lane * lane_words + stamps + h * block * _ROWS
        begin, after = (
            np.int64(words[control + _FIRST + h] & _LOW),
            np.int64(words[control + _AFTER + h] & _LOW),
        )
        if s >= after or s < begin:
            at = lane * _HEAD_WORDS + h
            begin, after = head_range(words, geometry, lane, h, e + 1)  # what is damaged counts for nothing
            if s >= after:
                begin = s if begin == after else begin
                words[head + max(after, begin) * _ROWS : head + (s + 1) * _ROWS] = 0
                words[control + _FIRST + h] = slot_word(e + 1, begin, at + _FIRST, checked)
                words[control + _AFTER + h] = slot_word(e + 1, s + 1, at + _AFTER, checked)
            elif s < begin:
                words[head + s * _ROWS : head + begin * _ROWS] = 0
                words[control + _FIRST + h] = slot_word(e + 1, s, at + _FIRST, checked)
        words[head + s * _ROWS + rows[i] % _ROWS] = bits[i] ^ _NAN
        low[lane] = min(low[lane], slot)
        high[lane] = max(high[lane], slot)
        written[lane, h] = True
    return left


@njit(nogil=True, cache=True)
def seals(words, lanes, rows):  # type: ignore[no-untyped-def]
    """The sum of the seal counters of the rows' lanes; -1 = one is under way, -2 = a lane is not mapped."""
    total = np.int64(0)
    for i in range(len(rows)):
        lane = rows[i] // _ROWS
        if lane >= lanes:
            return -2
        count = np.int64(words[_HEADS + lane * _HEAD_WORDS + _SEALS] & _LOW)
        if count & 1:
            return -1
        total += count
    return total


@njit(nogil=True, cache=True)
def read_rows(words, data, geometry, rows, first, out, at_rows):  # type: ignore[no-untyped-def]
    """Fill out[at_rows[i]] (uint64 bits) with the slots from `first` on of rows[i]; data is words as bytes."""
    block, places, stamps, lane_words, _ = geometry
    points = out.shape[1]
    scratch, runs = np.empty(block, np.uint64), np.empty(block + RUNS_PAD, np.uint8)
    for i in range(len(rows)):
        lane = rows[i] // _ROWS
        row = rows[i] % _ROWS
        control, base = _HEADS + lane * _HEAD_WORDS, _LANES + lane * lane_words
        units = base + stamps
        at = 0
        while at < points:
            e = (first + at) // block
            s = first + at - e * block
            n = min(block - s, points - at)
            here = out[at_rows[i], at : at + n]
            stamp = np.uint64(e + 1)
            h = e & 1
            place = e % places
            if words[control + h] == stamp:
                column = units + (h * block + s) * _ROWS + row
                begin, after = head_range(words, geometry, lane, h, stamp)
                known_from = max(0, min(n, begin - s))
                known_to = max(known_from, min(n, after - s))
                here[:known_from] = _NAN
                for j in range(known_from, known_to):
                    here[j] = words[column + j * _ROWS] ^ _NAN
                here[known_to:] = _NAN
                at += n
                continue
            form = _form(words, geometry, base, place, stamp)
            if form == 1:
                run = units + (2 + place) * block * _ROWS + row * block + s
                values = words[run : run + n]
                for j in range(n):
                    here[j] = values[j] ^ _NAN
            elif form == 2:
                start = 8 * (units + (2 + places + place) * block * _ROWS)
                into = here if n == block else scratch
                if not decode_row(data, start, row, _NAN, runs, into):
                    here[:] = _NAN
                elif n < block:
                    here[:] = scratch[s : s + n]
            else:
                here[:] = _NAN
            at += n


@njit(nogil=True, cache=True)
def read_intervals(words, data, geometry, rows, firsts, out):  # type: ignore[no-untyped-def]
    """Fill out (uint64 bits, (slots, n)): column i is the slots from firsts[i] on of rows[i].

    Neighbours mostly share lane and slot, so where a slot lies is looked up only when that changes. What is packed
    comes after, column by column.
    """
    block, places, stamps, lane_words, _ = geometry
    packed = False
    for j in range(out.shape[0]):
        last_lane, last_slot = np.int64(-1), np.int64(-1)
        start, stride = np.int64(-1), np.int64(1)
        for i in range(len(rows)):
            lane = np.int64(rows[i] // _ROWS)
            slot = firsts[i] + j
            if lane != last_lane or slot != last_slot:
                last_lane, last_slot = lane, slot
                control, base = _HEADS + lane * _HEAD_WORDS, _LANES + lane * lane_words
                e = slot // block
                s = slot - e * block
                stamp = np.uint64(e + 1)
                h = e & 1
                place = e % places
                start = np.int64(-1)
                if words[control + h] == stamp:
                    begin, after = head_range(words, geometry, lane, h, stamp)
                    if begin <= s < after:
                        start, stride = base + stamps + (h * block + s) * _ROWS, np.int64(1)
                else:
                    form = _form(words, geometry, base, place, stamp)
                    if form == 1:
                        start, stride = base + stamps + (2 + place) * block * _ROWS + s, np.int64(block)
                    packed |= form == 2
            out[j, i] = _NAN if start < 0 else words[start + (rows[i] % _ROWS) * stride] ^ _NAN
    if packed:
        _unpack_intervals(words, data, geometry, rows, firsts, out)


@njit(nogil=True, cache=True)
def _unpack_intervals(words, data, geometry, rows, firsts, out):  # type: ignore[no-untyped-def]
    """Fill what of the columns of read_intervals lies in packed places."""
    block, places, stamps, lane_words, _ = geometry
    scratch, runs = np.empty(block, np.uint64), np.empty(block + RUNS_PAD, np.uint8)
    for i in range(len(rows)):
        lane = np.int64(rows[i] // _ROWS)
        control, base = _HEADS + lane * _HEAD_WORDS, _LANES + lane * lane_words
        last, known = np.int64(-1), False
        for j in range(out.shape[0]):
            e = (firsts[i] + j) // block
            if e != last:
                last, place, stamp = e, e % places, np.uint64(e + 1)
                start = 8 * (base + stamps + (2 + places + place) * block * _ROWS)
                known = (
                    words[control + (e & 1)] != stamp
                    and _form(words, geometry, base, place, stamp) == 2
                    and decode_row(data, start, rows[i] % _ROWS, _NAN, runs, scratch)
                )
            if known:
                out[j, i] = scratch[firsts[i] + j - e * block]


@njit(nogil=True, cache=True)
def touched_intervals(low, high, ratio, used, rows, coarse):  # type: ignore[no-untyped-def]
    """Fill rows and coarse with the pairs (row, coarse slot) that lanes' dirty slots low … high touch.

    A lane's pairs lie slot by slot, rows ascending; gives how many there are. Arrays too short are not filled.
    """
    n = 0
    for lane in range(len(low)):
        if high[lane] < 0:
            continue
        first, stop = lane * _ROWS, min(used, (lane + 1) * _ROWS)
        for slot in range(low[lane] // ratio, high[lane] // ratio + 1):
            if n + stop - first <= len(rows):
                for row in range(first, stop):
                    rows[n + row - first] = row
                    coarse[n + row - first] = slot
            n += stop - first
    return n
