"""The numba kernel of the pickle protocol: runs the opcodes of frames on arrays, and takes the datapoints out.

It is the machine of pickle.py for what picklers write every day; where a frame has anything else (an escape in a text,
an integer of more than 8 bytes, an opcode that is not allowed) it stops before the frame, which that machine then reads
or refuses. So it knows one error only, and what it reads must be what that machine reads.

Things are a kind and a word of 64 bits: a number's float64, a text's start and stop in the data, the number of a list
or tuple. Lists and tuples are chains of cells. Each opcode makes at most one thing and uses it up in at most one cell,
so all arrays are as long as a frame may have opcodes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carbon.decimal import EXACT, read_decimal
from carbon.kernels import BAD, NEWLINE, READ, Reject, add_row, big_endian, little_endian
from carbon.protocols.reader import NUMBER_BYTES_MAX
from storage.compiled import njit

NUMBER, TEXT, NOTHING, LIST, TUPLE = 1, 2, 3, 4, 5
KIND, WORD, NEXT, FRAME = 0, 1, 2, 2  # columns of the stack, the cells and the memo
HEAD, TAIL, COUNT, STATE = 0, 1, 2, 3  # columns of lists and tuples
SHARED = 1  # taken from the memo: nothing may be appended to it, for it could hold itself
PART, FULL, ASK_PYTHON, TOO_LONG = 0, 1, 2, 3  # why `read_frames` stopped

TEXT_BYTES_MAX = 4096  # the longest metric name
DEPTH_MAX = 8  # open brackets (MARK); a list of pairs of pairs needs 3
OPCODES_PER_ITEM = 3  # at the least; items beyond are the same ones again and again
_DIGITS_MAX = 18  # of an integer in a text that this kernel reads: int64 holds them
_LOW = (1 << 32) - 1

_ITEM = int(Reject.ITEM)


class Machine(NamedTuple):
    """The arrays of the machine, used again for each frame and never cleared; few, as each costs at every call."""

    stack: npt.NDArray[np.int64]  # (n, 2): kind, word
    cells: npt.NDArray[np.int64]  # (n, 3): kind, word, next cell
    sequences: npt.NDArray[np.int32]  # (n, 4), lists and tuples: first cell, last, how many, SHARED or 0
    memo: npt.NDArray[np.int64]  # (n, 3): kind, word, where the frame begins that it is of
    bits: npt.NDArray[np.uint64]  # (1,) of the number that was read last


def machine_for(opcodes: int) -> Machine:
    """A machine for frames of so many opcodes; pages that are never written take no memory."""
    n = opcodes + 1
    return Machine(
        np.empty((n, 2), np.int64), np.empty((n, 3), np.int64), np.empty((n, 4), np.int32), np.zeros((n, 3), np.int64),
        np.empty(1, np.uint64),
    )  # fmt: skip


@njit(nogil=True, cache=True)
def read_frames(text, at, opcodes_max, frame_bytes_max, now, machine, rows):  # type: ignore[no-untyped-def]
    """Read the frames of a 4-byte big-endian length and a pickle that text[at:] begins with.

    Fills rows (reader.Rows; room for OPCODES_PER_ITEM's share of opcodes_max) and gives (where it stopped, rows, why):
    PART, at a frame that is not whole; FULL, when another's rows might not fit; ASK_PYTHON; TOO_LONG.
    """
    items_max = opcodes_max // OPCODES_PER_ITEM
    n = 0
    while at + 4 <= len(text):
        size = big_endian(text, at, 4)
        if size > frame_bytes_max:
            return at, n, TOO_LONG
        stop = at + 4 + size
        if stop > len(text):
            return at, n, PART
        if n + min(items_max, size // 2) > len(rows.starts):
            return at, n, FULL
        if not _run(text, at + 4, stop, min(opcodes_max, size), machine, at + 4):
            return at, n, ASK_PYTHON
        after = _take(text, machine, items_max, now, rows, n)
        if after < 0:
            return at, n, ASK_PYTHON
        at, n = stop, after
    return at, n, PART


@njit(nogil=True, cache=True)
def _signed(text, at, size):  # type: ignore[no-untyped-def]
    """The little-endian two's complement of 0 to 8 bytes at text[at]."""
    value = little_endian(text, at, size)
    if 0 < size < 8 and text[at + size - 1] >= 128:
        value -= np.int64(1) << (8 * size)
    return value


@njit(nogil=True, cache=True)
def _line_end(text, at, stop):  # type: ignore[no-untyped-def]
    """Where the newline is that ends the text at `at`, -1 if there is none near."""
    for end in range(at, min(stop, at + TEXT_BYTES_MAX + 3)):
        if text[end] == NEWLINE:
            return end
    return -1


@njit(nogil=True, cache=True)
def _integer(text, start, stop):  # type: ignore[no-untyped-def]
    """(whether this is a plain one, the integer) of decimal digits with a sign or none."""
    at = start
    negative = at < stop and text[at] == 45
    if at < stop and (negative or text[at] == 43):
        at += 1
    if at >= stop or stop - at > _DIGITS_MAX:
        return False, np.int64(0)
    value = np.int64(0)
    while at < stop:
        digit = np.int64(text[at]) - 48
        if digit < 0 or digit > 9:
            return False, np.int64(0)
        value = value * 10 + digit
        at += 1
    return True, -value if negative else value


@njit(nogil=True, cache=True)
def _literal(text, start, stop):  # type: ignore[no-untyped-def]
    """Whether text[start:stop] is itself, with no escape to be read: plain ASCII."""
    for i in range(start, stop):
        if text[i] == 92 or text[i] >= 128:
            return False
    return stop - start <= TEXT_BYTES_MAX


@njit(nogil=True, cache=True, inline="always")
def _fill(stack, cells, low, top, used):  # type: ignore[no-untyped-def]
    """Chain the things of the stack from `low` to `top` in the cells from `used` on."""
    for i in range(low, top):
        cell = used + i - low
        cells[cell, KIND], cells[cell, WORD], cells[cell, NEXT] = stack[i, KIND], stack[i, WORD], cell + 1


@njit(nogil=True, cache=True, inline="always")
def _seal(stack, cells, sequences, kind, low, top, used, made):  # type: ignore[no-untyped-def]
    """Make the things from `low` to `top` the list or tuple number `made`, which takes their place on the stack."""
    _fill(stack, cells, low, top, used)
    sequences[made, HEAD], sequences[made, TAIL] = used, used + top - low - 1
    sequences[made, COUNT], sequences[made, STATE] = top - low, 0
    stack[low, KIND], stack[low, WORD] = kind, made


@njit(nogil=True, cache=True, inline="always")
def _extend(stack, cells, sequences, to, low, top, used):  # type: ignore[no-untyped-def]
    """Append the things from `low` to `top` to the list number `to`."""
    if top == low:
        return
    _fill(stack, cells, low, top, used)
    if sequences[to, COUNT] == 0:
        sequences[to, HEAD] = used
    else:
        cells[sequences[to, TAIL], NEXT] = used
    sequences[to, TAIL] = used + top - low - 1
    sequences[to, COUNT] += top - low


@njit(nogil=True, cache=True)
def _run(text, at, stop, opcodes_max, machine, frame):  # type: ignore[no-untyped-def]
    """Whether the opcodes of text[at:stop] leave a list or a tuple, the first thing on the stack, and all is usual."""
    stack, cells, sequences, memo, bits = machine
    numbers = stack.view(np.float64)
    marks = np.empty(DEPTH_MAX, np.int64)
    base, top, depth = 0, 0, 0  # where the innermost bracket's things begin, end; brackets
    used, made, known = 0, 0, 0  # so far: cells; lists and tuples; memo entries
    for _ in range(opcodes_max):
        if at >= stop:
            return False
        op = text[at]
        at += 1
        # the most frequent first; numbers are characters of the opcodes' table
        if op == 0x58 or op == 0x54 or op == 0x42 or op == 0x55 or op == 0x8C or op == 0x43 or 0x8D <= op <= 0x8E or op == 0x96:  # fmt: skip  # noqa: E501
            width = 1
            if op == 0x58 or op == 0x54 or op == 0x42:
                width = 4
            elif 0x8D <= op <= 0x8E or op == 0x96:
                width = 8
            if at + width > stop:
                return False
            size = little_endian(text, at, width)
            at += width
            if size < 0 or size > TEXT_BYTES_MAX or at + size > stop:
                return False
            stack[top, KIND], stack[top, WORD] = TEXT, at << 32 | (at + size)
            top += 1
            at += size
        elif op == 0x86:  # TUPLE2
            if top - base < 2:
                return False
            _seal(stack, cells, sequences, TUPLE, top - 2, top, used, made)
            used, made, top = used + 2, made + 1, top - 1
        elif op == 0x71 or op == 0x72 or op == 0x94 or op == 0x70:  # BINPUT, LONG_BINPUT, MEMOIZE, PUT
            key = np.int64(known)
            if op == 0x71 or op == 0x72:
                width = 1 if op == 0x71 else 4
                if at + width > stop:
                    return False
                key = little_endian(text, at, width)
                at += width
            elif op == 0x70:
                end = _line_end(text, at, stop)
                plain, key = _integer(text, at, end)
                if not plain:
                    return False
                at = end + 1
            if top == base or key < 0 or key >= len(memo):
                return False
            if memo[key, FRAME] != frame:
                memo[key, FRAME] = frame
                known += 1
            memo[key, KIND], memo[key, WORD] = stack[top - 1, KIND], stack[top - 1, WORD]
        elif op == 0x4A or op == 0x4B or op == 0x4D:  # BININT, BININT1, BININT2
            width = 4 if op == 0x4A else (1 if op == 0x4B else 2)
            if at + width > stop:
                return False
            numbers[top, WORD] = _signed(text, at, 4) if width == 4 else little_endian(text, at, width)
            stack[top, KIND] = NUMBER
            top += 1
            at += width
        elif op == 0x47:  # BINFLOAT
            if at + 8 > stop:
                return False
            stack[top, KIND], stack[top, WORD] = NUMBER, big_endian(text, at, 8)
            top += 1
            at += 8
        elif op == 0x28:  # MARK
            if depth == DEPTH_MAX:
                return False
            marks[depth] = base
            base, depth = top, depth + 1
        elif op == 0x74 or op == 0x6C or op == 0x65:  # TUPLE, LIST, APPENDS
            if depth == 0:
                return False
            low = base
            depth -= 1
            base = marks[depth]
            if op == 0x65:
                if (
                    low == base
                    or stack[low - 1, KIND] != LIST
                    or sequences[stack[low - 1, WORD], STATE] == SHARED
                ):
                    return False
                _extend(stack, cells, sequences, stack[low - 1, WORD], low, top, used)
                used, top = used + top - low, low
            else:
                _seal(stack, cells, sequences, TUPLE if op == 0x74 else LIST, low, top, used, made)
                used, made, top = used + top - low, made + 1, low + 1
        elif op == 0x68 or op == 0x6A or op == 0x67:  # BINGET, LONG_BINGET, GET
            if op == 0x67:
                end = _line_end(text, at, stop)
                plain, key = _integer(text, at, end)
                if not plain:
                    return False
                at = end + 1
            else:
                width = 1 if op == 0x68 else 4
                if at + width > stop:
                    return False
                key = little_endian(text, at, width)
                at += width
            if key < 0 or key >= len(memo) or memo[key, FRAME] != frame:
                return False
            stack[top, KIND], stack[top, WORD] = memo[key, KIND], memo[key, WORD]
            if stack[top, KIND] == LIST:
                sequences[stack[top, WORD], STATE] = SHARED
            top += 1
        elif op == 0x61:  # APPEND
            if (
                top - base < 2
                or stack[top - 2, KIND] != LIST
                or sequences[stack[top - 2, WORD], STATE] == SHARED
            ):
                return False
            _extend(stack, cells, sequences, stack[top - 2, WORD], top - 1, top, used)
            used, top = used + 1, top - 1
        elif op == 0x53 or op == 0x56:  # STRING, UNICODE
            end = _line_end(text, at, stop)
            quotes = 1 if op == 0x53 else 0
            if end - at < 2 * quotes:
                return False
            if quotes and (text[at] != text[end - 1] or (text[at] != 39 and text[at] != 34)):
                return False
            if not _literal(text, at + quotes, end - quotes):
                return False
            stack[top, KIND], stack[top, WORD] = TEXT, (at + quotes) << 32 | (end - quotes)
            top += 1
            at = end + 1
        elif op == 0x49 or op == 0x4C:  # INT, LONG
            end = _line_end(text, at, stop)
            digits_end = end - 1 if end > at and text[end - 1] == 76 else end
            plain, integer = _integer(text, at, digits_end)
            if not plain:
                return False
            stack[top, KIND], numbers[top, WORD] = NUMBER, integer
            top += 1
            at = end + 1
        elif op == 0x46:  # FLOAT
            end = _line_end(text, at, stop)
            if end < 0 or read_decimal(text, at, end, bits) != EXACT:
                return False
            stack[top, KIND], numbers[top, WORD] = NUMBER, bits.view(np.float64)[0]
            top += 1
            at = end + 1
        elif op == 0x8A or op == 0x8B:  # LONG1, LONG4
            width = 1 if op == 0x8A else 4
            if at + width > stop:
                return False
            size = little_endian(text, at, width)
            at += width
            if size > 8 or at + size > stop:
                return False
            stack[top, KIND], numbers[top, WORD] = NUMBER, _signed(text, at, size)
            top += 1
            at += size
        elif op == 0x4E:  # NONE
            stack[top, KIND] = NOTHING
            top += 1
        elif op == 0x88 or op == 0x89:  # NEWTRUE, NEWFALSE
            stack[top, KIND], numbers[top, WORD] = NUMBER, 1.0 if op == 0x88 else 0.0
            top += 1
        elif op == 0x5D or op == 0x29:  # EMPTY_LIST, EMPTY_TUPLE
            _seal(stack, cells, sequences, LIST if op == 0x5D else TUPLE, top, top, used, made)
            made, top = made + 1, top + 1
        elif op == 0x85 or op == 0x87:  # TUPLE1, TUPLE3
            size = 1 if op == 0x85 else 3
            if top - base < size:
                return False
            _seal(stack, cells, sequences, TUPLE, top - size, top, used, made)
            used, made, top = used + size, made + 1, top - size + 1
        elif op == 0x80:  # PROTO
            if at >= stop or text[at] > 5:
                return False
            at += 1
        elif op == 0x95:  # FRAME
            if at + 8 > stop:
                return False
            size = little_endian(text, at, 8)
            at += 8
            if size < 0 or size > stop - at:
                return False
        elif op == 0x2E:  # STOP
            return (
                at == stop and depth == 0 and top == 1 and (stack[0, KIND] == LIST or stack[0, KIND] == TUPLE)
            )
        else:
            return False
    return False


@njit(nogil=True, cache=True)
def _take(text, machine, items_max, now, rows, n):  # type: ignore[no-untyped-def]
    """Add the datapoints of the list or tuple that the stack holds; gives the rows, -1 where Python is to be asked."""
    stack, cells, sequences = machine.stack, machine.cells, machine.sequences
    payload = stack[0, WORD]
    if sequences[payload, COUNT] > items_max:
        return -1
    before, strange = rows.rejected.copy(), rows.strange[0]
    item = np.int64(sequences[payload, HEAD])
    for _ in range(sequences[payload, COUNT]):
        first, second = _two(cells, sequences, item)
        when, value = np.int64(-1), np.int64(-1)
        name = np.int64(0)
        if first >= 0:
            when, value = _two(cells, sequences, second)
            if cells[first, KIND] == TEXT:
                name = cells[first, WORD]
        if when < 0:
            rows.rejected[_ITEM] += 1
            rows.samples[_ITEM, 0], rows.samples[_ITEM, 1] = name >> 32, name & _LOW
        else:
            state, timestamp = _number(text, cells, when, machine.bits)
            other, number = _number(text, cells, value, machine.bits)
            n = add_row(rows, n, name >> 32, name & _LOW, state, timestamp, other, number, now)
        if n < 0:
            for i in range(len(before)):  # a slice would have numba compile seconds of texts for its errors
                rows.rejected[i] = before[i]
            rows.strange[0] = strange
            return -1
        item = cells[item, NEXT]
    return n


@njit(nogil=True, cache=True, inline="always")
def _two(cells, sequences, cell):  # type: ignore[no-untyped-def]
    """The two cells of the list or tuple of two in a cell; -1 if there is none."""
    if cells[cell, KIND] < LIST or sequences[cells[cell, WORD], COUNT] != 2:
        return np.int64(-1), np.int64(-1)
    first = np.int64(sequences[cells[cell, WORD], HEAD])
    return first, cells[first, NEXT]


@njit(nogil=True, cache=True, inline="always")
def _number(text, cells, cell, bits):  # type: ignore[no-untyped-def]
    """(state, see kernels.add_row; the number) of a cell."""
    kind, word = cells[cell, KIND], cells[cell, WORD]
    if kind == NUMBER:
        return np.int64(READ), cells.view(np.float64)[cell, WORD]
    if kind != TEXT or (word & _LOW) - (word >> 32) > NUMBER_BYTES_MAX:
        return np.int64(BAD), 0.0
    if read_decimal(text, word >> 32, word & _LOW, bits) != EXACT:
        return word, 0.0
    return np.int64(READ), bits.view(np.float64)[0]
