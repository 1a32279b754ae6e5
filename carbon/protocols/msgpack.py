"""MessagePack, sans-IO: a stream of objects with nothing between them; four shapes of them are datapoints.

    [path, [timestamp, value]]              one datapoint, as in carbon's pickles
    [[path, [timestamp, value]], …]         many
    {"name": path, "timestamps": [...], "values": [...]}     columns: of one name,
    {"names": [path, …], "timestamps": [...], "values": [...]}     or a name each

In columns, "timestamps" may be given as "timestamps_i64", a bin of little-endian int64, and "values" as "values_f64", a
bin of little-endian float64: 16 bytes a datapoint, read in one go. All columns are of one length.

Paths are str or bin; numbers may be texts; a timestamp of -1 is now. An object of another shape is counted as a bad
item and skipped. What is no MessagePack, or an object longer than allowed, ends the stream. It is all read by kernels:
for an object of a few bytes a library's call is dear, and a million empty lists in one are 64 MB.
"""

from __future__ import annotations

import numpy as np

from carbon.decimal import EXACT, read_decimal
from carbon.errors import BadFrame
from carbon.kernels import BAD, READ, Reject, add_row, big_endian, little_endian
from carbon.names import NameTable
from carbon.protocols.reader import NUMBER_BYTES_MAX, Batch, FrameReader, rows_for
from carbon.stats import Stats
from storage.compiled import njit
from storage.name_kernels import same_bytes

OBJECT_BYTES_MAX = 1 << 20
WHOLE, PART, NO_MSGPACK, TOO_LONG = 0, 1, 2, 3  # why `read_objects` stopped

# Keys of columns, end to end, and where each begins
_NAME, _NAMES, _TIMESTAMPS, _VALUES, _TIMESTAMPS_I64, _VALUES_F64 = range(6)
_KEYS = np.frombuffer(b"namenamestimestampsvaluestimestamps_i64values_f64", np.uint8)
_KEY_BOUNDS = (0, 4, 9, 19, 25, 39, 49)
_ITEM = int(Reject.ITEM)
_INT, _FLOAT, _PLAIN = 0, 1, 2  # what a column's numbers are: packed, or as MessagePack has them


class MsgpackReader(FrameReader):
    """Reads one stream of objects."""

    sample = b"\x92\xa1a\x92\x01\x01"

    def __init__(self, names: NameTable, stats: Stats, *, object_bytes_max: int = OBJECT_BYTES_MAX) -> None:
        super().__init__(names, stats)
        self._object_bytes_max = object_bytes_max

    def _read(self, data: bytes, now: int, batches: list[Batch]) -> tuple[int, int]:
        text, rows = np.frombuffer(data, np.uint8), rows_for(len(data), odd_bytes_min=2)
        at, n, why, missing = read_objects(text, self._object_bytes_max, now, rows)
        self._gather(text, rows, n, now, batches)
        if why == NO_MSGPACK:
            raise BadFrame("no msgpack")
        if why == TOO_LONG:
            raise BadFrame(f"msgpack object longer than {self._object_bytes_max} bytes")
        return at, missing


@njit(nogil=True, cache=True)
def read_objects(text, object_bytes_max, now, rows):  # type: ignore[no-untyped-def]
    """Read the objects that text begins with → rows (reader.Rows).

    Gives (where it stopped, rows, why, at least how many bytes the object there lacks).
    """
    at, n, bits = np.int64(0), 0, np.empty(1, np.uint64)
    slots = np.empty(6, np.int64)
    while at < len(text):
        why, end = _measure(text, at, object_bytes_max)
        if why == PART:
            return at, n, PART, end - len(text)
        if why != WHOLE:
            return at, n, why, 0
        if _pairs(text, at)[0] >= 0:
            n = _columns(text, at, now, rows, n, bits, slots)
        else:
            n = _object(text, at, now, rows, n, bits)
        at = end
    return at, n, WHOLE, 1


@njit(nogil=True, cache=True)
def _head(c):  # type: ignore[no-untyped-def]
    """(bytes of the size field, bytes of content beside it, elements for each of the size) of a first byte ≥ 0xC0.

    Where there is no size field the content is all there is. -1 for the byte that begins nothing.
    """
    if c <= 0xC3:
        return (-1 if c == 0xC1 else 0), 0, 0  # nil, -, false, true
    if c <= 0xC6:
        return 1 << (c - 0xC4), 0, 0  # bin
    if c <= 0xC9:
        return 1 << (c - 0xC7), 1, 0  # ext
    if c <= 0xCB:
        return 0, 4 << (c - 0xCA), 0  # float
    if c <= 0xD3:
        return 0, 1 << (c & 3), 0  # uint, int
    if c <= 0xD8:
        return 0, 1 + (1 << (c - 0xD4)), 0  # fixext
    if c <= 0xDB:
        return 1 << (c - 0xD9), 0, 0  # str
    return 2 << (c & 1), 0, 1 if c <= 0xDD else 2  # array, map


@njit(nogil=True, cache=True)
def _measure(text, at, object_bytes_max):  # type: ignore[no-untyped-def]
    """(WHOLE, PART, NO_MSGPACK or TOO_LONG; where it ends, at least) of the object at text[at]."""
    start, pending = at, np.int64(1)  # elements still to come, of a byte at least
    while pending > 0 and at < len(text):
        c = np.int64(text[at])
        pending -= 1
        at += 1
        if 0x80 <= c <= 0x9F:
            pending += (c & 15) * (2 if c < 0x90 else 1)
        elif 0xA0 <= c <= 0xBF:
            at += c & 31
        elif 0xC0 <= c <= 0xDF:
            width, content, each = _head(c)
            if width < 0:
                return NO_MSGPACK, at
            if at + width > len(text):
                at += width
                break
            size = big_endian(text, at, width)
            pending += size * each
            at += width + content + (0 if each else size)
        if at + pending - start > object_bytes_max:
            return TOO_LONG, at
    if pending > 0 or at > len(text):
        return PART, at + pending
    return WHOLE, at


@njit(nogil=True, cache=True)
def _pairs(text, at):  # type: ignore[no-untyped-def]
    """(pairs, where they begin) of the map at text[at]; -1 pairs if it is none."""
    c = np.int64(text[at])
    if 0x80 <= c <= 0x8F:
        return c & 15, np.int64(at + 1)
    if c == 0xDE or c == 0xDF:
        width = 2 << (c & 1)
        return big_endian(text, at + 1, width), np.int64(at + 1 + width)
    return np.int64(-1), np.int64(at)


@njit(nogil=True, cache=True)
def _find_columns(text, at, slots):  # type: ignore[no-untyped-def]
    """Where the values of the keys that are known begin in the map at text[at] → slots (6,), -1 = not there."""
    slots[:] = -1
    pairs, at = _pairs(text, at)
    for _ in range(pairs):
        start, stop = _text(text, at)
        at = _skip(text, at)
        if start >= 0:
            for key in range(6):
                first = _KEY_BOUNDS[key]
                size = _KEY_BOUNDS[key + 1] - first
                if stop - start == size and same_bytes(text, start, _KEYS, first, size):
                    slots[key] = at
        at = _skip(text, at)


@njit(nogil=True, cache=True)
def _column(text, plain, packed, form):  # type: ignore[no-untyped-def]
    """(numbers, where they begin, form) of a column that is given packed or plain; -1 numbers if it is not."""
    if packed >= 0:
        start, stop = _text(text, packed)
        if start >= 0 and (stop - start) % 8 == 0:
            return (stop - start) // 8, start, form
    if plain >= 0:
        count, first = _list(text, plain)
        return count, first, _PLAIN
    return np.int64(-1), np.int64(0), _PLAIN


@njit(nogil=True, cache=True)
def _next(text, at, form, bits):  # type: ignore[no-untyped-def]
    """(what follows, state, the number) of a column of that form."""
    if form == _PLAIN:
        return _number(text, at, bits)
    word = little_endian(text, at, 8)
    if form == _INT:
        return np.int64(at + 8), np.int64(READ), np.float64(word)
    bits[0] = np.uint64(word)
    return np.int64(at + 8), np.int64(READ), bits.view(np.float64)[0]


@njit(nogil=True, cache=True)
def _columns(text, at, now, rows, n, bits, slots):  # type: ignore[no-untyped-def]
    """Add the datapoints of a map of columns; gives the rows."""
    _find_columns(text, at, slots)
    count, when_at, when_form = _column(text, slots[_TIMESTAMPS], slots[_TIMESTAMPS_I64], _INT)
    values, value_at, value_form = _column(text, slots[_VALUES], slots[_VALUES_F64], _FLOAT)
    named = slots[_NAMES] if slots[_NAMES] >= 0 else slots[_NAME]
    names, name_at, start, stop = np.int64(-1), np.int64(0), np.int64(-1), np.int64(-1)
    if named >= 0:
        names, name_at = _list(text, named)
        start, stop = _text(text, named)
    if count < 0 or count != values or (names != count and start < 0):
        rows.rejected[_ITEM] += 1
        rows.samples[_ITEM, 0], rows.samples[_ITEM, 1] = at, at
        return n
    for _ in range(count):
        if names >= 0:
            start, stop = _text(text, name_at)
            name_at = stop if start >= 0 else _skip(text, name_at)
        when_at, when_state, when = _next(text, when_at, when_form, bits)
        value_at, value_state, value = _next(text, value_at, value_form, bits)
        n = add_row(rows, n, start, stop, when_state, when, value_state, value, now)
    return n


@njit(nogil=True, cache=True, inline="always")
def _object(text, at, now, rows, n, bits):  # type: ignore[no-untyped-def]
    """Add the datapoints of an object that is an item, or a list of them; gives the rows."""
    items, inside = _list(text, at)
    if items <= 0 or _list(text, inside)[0] < 0:
        items, inside = np.int64(1), np.int64(at)
    for _ in range(items):
        inside, n = _item(text, inside, now, rows, n, bits)
    return n


@njit(nogil=True, cache=True, inline="always")
def _item(text, at, now, rows, n, bits):  # type: ignore[no-untyped-def]
    """(what follows, rows): add the item at text[at], or count why it is no datapoint."""
    count, first = _list(text, at)
    if count == 2:
        start, stop = _text(text, first)
        second = stop if start >= 0 else _skip(text, first)
        count, inside = _list(text, second)
        if count == 2:
            behind, when_state, when = _number(text, inside, bits)
            behind, value_state, value = _number(text, behind, bits)
            return behind, add_row(rows, n, start, stop, when_state, when, value_state, value, now)
    rows.rejected[_ITEM] += 1
    rows.samples[_ITEM, 0], rows.samples[_ITEM, 1] = at, at
    return _skip(text, at), n


@njit(nogil=True, cache=True)
def _skip(text, at):  # type: ignore[no-untyped-def]
    """What follows the object at text[at], which is whole."""
    return np.int64(_measure(text, at, np.int64(1) << 60)[1])


@njit(nogil=True, cache=True)
def _list(text, at):  # type: ignore[no-untyped-def]
    """(elements, where they begin) of the array at text[at]; -1 elements if it is none."""
    c = np.int64(text[at])
    if 0x90 <= c <= 0x9F:
        return c & 15, np.int64(at + 1)
    if c == 0xDC or c == 0xDD:
        width = 2 << (c & 1)
        return big_endian(text, at + 1, width), np.int64(at + 1 + width)
    return np.int64(-1), np.int64(at)


@njit(nogil=True, cache=True)
def _text(text, at):  # type: ignore[no-untyped-def]
    """Where the str or bin at text[at] has its bytes: (start, stop), both -1 if there is none."""
    c = np.int64(text[at])
    if 0xA0 <= c <= 0xBF:
        return np.int64(at + 1), at + 1 + (c & 31)
    if 0xC4 <= c <= 0xC6 or 0xD9 <= c <= 0xDB:
        width = 1 << (c - (0xC4 if c <= 0xC6 else 0xD9))
        return np.int64(at + 1 + width), at + 1 + width + big_endian(text, at + 1, width)
    return np.int64(-1), np.int64(-1)


@njit(nogil=True, cache=True)
def _number(text, at, bits):  # type: ignore[no-untyped-def]
    """(what follows, state, see kernels.add_row; the number) of what is at text[at]."""
    c = np.int64(text[at])
    read, behind = np.int64(READ), np.int64(at + 1)
    if c <= 0x7F:
        return behind, read, np.float64(c)
    if c >= 0xE0:
        return behind, read, np.float64(c - 256)
    if c == 0xC2 or c == 0xC3:
        return behind, read, np.float64(c & 1)
    if c == 0xCA:
        bits[0] = np.uint64(big_endian(text, behind, 4))
        return behind + 4, read, np.float64(bits.view(np.float32)[0])
    if c == 0xCB:
        bits[0] = np.uint64(big_endian(text, behind, 8))
        return behind + 8, read, bits.view(np.float64)[0]
    if 0xCC <= c <= 0xD3:
        size = 1 << (c & 3)
        integer = big_endian(text, behind, size)
        if c == 0xCF:
            return behind + size, read, np.float64(np.uint64(integer))
        if c >= 0xD0 and size < 8 and integer >= np.int64(1) << (8 * size - 1):
            integer -= np.int64(1) << (8 * size)
        return behind + size, read, np.float64(integer)
    start, stop = _text(text, at)
    if start < 0:
        return _skip(text, at), np.int64(BAD), 0.0
    if stop - start > NUMBER_BYTES_MAX:
        return stop, np.int64(BAD), 0.0
    if read_decimal(text, start, stop, bits) != EXACT:
        return stop, start << 32 | stop, 0.0
    return stop, read, bits.view(np.float64)[0]
