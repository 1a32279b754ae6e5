"""The pickle protocol, sans-IO: frames of a 4-byte length and a pickled list of (name, (timestamp, value)).

The standard library's unpickler is never used: it imports and calls what a pickle names, and 9 bytes can make
it allocate 2 GB (LONG_BINPUT, CPython gh-115952). This reader knows the opcodes that real picklers write for
numbers, texts, lists and tuples in protocols 0 to 5, and refuses a frame that has any other. Its cost is
bounded: an opcode makes at most one small object, and their number is limited by the frame's size.

A frame of a list or tuple of pairs is read as carbon reads it: inner lists are as good as tuples; numbers may
be texts (statsd and Dropwizard send '12.00'); what is no such item is counted and skipped.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable
from math import inf
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, Final, NamedTuple, NoReturn

from carbon.errors import BadFrame

FRAME_BYTES_MAX = 1 << 20  # carbon: 1 MiB; go-carbon: 64 MiB; a relay sends frames of 500 points, 40 KiB
TEXT_BYTES_MAX = 4096  # the longest metric name
NUMBER_BYTES_MAX = 32  # of a number in a text; repr() of a float needs 24
INTEGER_BYTES_MAX = 16  # of a number in LONG1 and LONG4
DEPTH_MAX = 8  # open brackets (MARK); a list of pairs of pairs needs 3

# How many opcodes a frame may have: one for so many bytes of the longest. A point is usually 8 opcodes in
# 50 to 100 bytes, at the least (a name of before, integers) 7 in 13. The worst frames of 1 MiB then cost
# 23 MB, and the time of 3 million plain calls of a function (0.1 to 0.2 s on a free core).
BYTES_PER_OPCODE = 4
OPCODES_PER_ITEM = 3  # at the least; items beyond are the same ones again and again

_SEQUENCES = frozenset([list, tuple])
_LINE_BYTES_MAX = 4 * TEXT_BYTES_MAX + 2  # each byte may be written \xNN, in quotes
_DIGITS_MAX = 41  # 16 bytes as decimals, a sign and the L of a long
_TIMESTAMP_MAX = 1e11  # what lines may say, too; NaN and infinity are beyond

# Why an item is skipped: keys of PickleReader.rejected, and the line protocol's words where it has them.
BAD_ITEM: Final = "bad item"
BAD_NAME: Final = "bad name"
BAD_TIMESTAMP: Final = "bad timestamp"
BAD_VALUE: Final = "bad value"
NOT_A_NUMBER: Final = "value is NaN"
INFINITE: Final = "value is infinite"

_MALFORMED: Final = "pickle cut short or malformed"
_FORBIDDEN: Final = "pickle of more than numbers and texts and lists and tuples"
_TEXT_TOO_LONG: Final = f"pickled text longer than {TEXT_BYTES_MAX} bytes"
_INTEGER_TOO_LONG: Final = f"pickled integer longer than {INTEGER_BYTES_MAX} bytes"
_TOO_DEEP: Final = f"pickle nested deeper than {DEPTH_MAX}"


class Columns(NamedTuple):
    """Datapoints in columns of equal length: names as sent, epoch seconds, finite values."""

    names: list[bytes]
    timestamps: list[float]
    values: list[float]


class PickleReader:
    """Reads one stream. `feed` takes any split of it; `rejected` counts skipped items by reason."""

    def __init__(self, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.rejected: Counter[str] = Counter()
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()  # of a frame that is not whole yet
        self._broken: str | None = None

    def feed(self, data: bytes) -> Columns:
        """The datapoints of the frames that `data` completes.

        Raises BadFrame, which carries the datapoints of the frames before; every later call raises it again.
        """
        if self._broken is not None:
            raise BadFrame(self._broken)
        columns = Columns([], [], [])
        try:
            self._read_frames(data, columns)
        except BadFrame as bad:
            self._broken, self._buffer = bad.reason, bytearray()
            bad.names, bad.timestamps, bad.values = columns
            raise
        return columns

    def _read_frames(self, data: bytes, columns: Columns) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) >= start + 4:
            size = int.from_bytes(buffer[start : start + 4], "big")
            if size > self._frame_bytes_max:
                raise BadFrame(f"pickle frame longer than {self._frame_bytes_max} bytes")
            stop = start + 4 + size
            if stop > len(buffer):
                break
            self._read_frame(bytes(buffer[start + 4 : stop]), columns)
            start = stop
        del buffer[:start]

    def _read_frame(self, frame: bytes, columns: Columns) -> None:
        opcodes_max = self._frame_bytes_max // BYTES_PER_OPCODE
        payload = loads(frame, opcodes_max)
        if not isinstance(payload, (list, tuple)):
            raise BadFrame("pickle that is no list")
        if len(payload) > opcodes_max // OPCODES_PER_ITEM:
            raise BadFrame(f"pickle of more than {opcodes_max // OPCODES_PER_ITEM} items")
        self._take(payload, columns)

    def _take(self, items: list[object] | tuple[object, ...], columns: Columns) -> None:
        """Add the items' datapoints to the columns; count those that are none."""
        names, timestamps, values = columns
        for item in items:
            datapoint = _datapoint(item)
            if isinstance(datapoint, str):
                self.rejected[datapoint] += 1
                continue
            name, timestamp, value = datapoint
            names.append(name)
            timestamps.append(timestamp)
            values.append(value)


def _datapoint(item: Any) -> tuple[bytes, float, float] | str:
    """An item's name, timestamp and value, or why it is no datapoint. Looks no deeper."""
    if type(item) not in _SEQUENCES or len(item) != 2:
        return BAD_ITEM
    name, point = item
    if type(point) not in _SEQUENCES or len(point) != 2:
        return BAD_ITEM
    if type(name) is not bytes or not name:
        return BAD_NAME
    timestamp, value = _number(point[0]), _number(point[1])
    if timestamp is None or not -_TIMESTAMP_MAX < timestamp < _TIMESTAMP_MAX:
        return BAD_TIMESTAMP
    if value is None:
        return BAD_VALUE
    if not -inf < value < inf:
        return INFINITE if value == value else NOT_A_NUMBER
    return name, timestamp, value


def _number(number: object) -> float | None:
    """A number, or the number that a text says; None if it is neither."""
    if isinstance(number, (float, int)):
        return float(number)
    if not isinstance(number, bytes) or len(number) > NUMBER_BYTES_MAX:
        return None
    try:
        return float(number)
    except ValueError:
        return None


def loads(data: bytes, opcodes_max: int) -> object:
    """What a pickle of numbers, texts (as bytes, in UTF-8), None, lists and tuples holds; raises BadFrame.

    Objects may be shared as the pickle says, but never contain themselves.
    """
    machine, table, at = _Machine(data), _TABLE, 0
    try:
        for _ in range(opcodes_max):
            opcode = data[at]
            at += 1
            if opcode == _STOP:
                break
            at = table[opcode](machine, at)
        else:
            raise BadFrame(f"pickle of more than {opcodes_max} opcodes")
    except (IndexError, KeyError, ValueError, StructError):
        # the end of the data, an empty stack, a memo that was never put, a number or a text that is none
        raise BadFrame(_MALFORMED) from None
    if at != len(data) or machine.below or len(machine.stack) != 1:
        raise BadFrame(_MALFORMED)
    return machine.stack[0]


class _Machine:
    """The state that opcodes change. An opcode is a function of it and the place behind itself → the next.

    A place beyond the end of the data needs no check: fetching the next opcode there raises IndexError.
    """

    __slots__ = ("below", "data", "memo", "shared", "stack")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[object] = []  # since the last MARK
        self.below: list[list[object]] = []  # the stacks of the brackets around
        self.memo: dict[int, object] = {}  # a list would let LONG_BINPUT choose its size
        self.shared: set[int] = set()  # id() of the lists that were taken from the memo

    def close(self) -> list[object]:
        """End the bracket that the last MARK opened, and give what is in it."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def open_list(self) -> list[object]:
        """The list on top, to be appended to; one taken from the memo is not, for it could hold itself."""
        top = self.stack[-1]
        if not isinstance(top, list) or id(top) in self.shared:
            raise ValueError
        return top

    def line(self, at: int) -> bytes:
        """The text up to the next newline, which must come."""
        end = self.data.index(b"\n", at)
        if end - at > _LINE_BYTES_MAX:
            raise BadFrame(_TEXT_TOO_LONG)
        return self.data[at:end]

    def push_text(self, start: int, size: int) -> int:
        if size > TEXT_BYTES_MAX:
            raise BadFrame(_TEXT_TOO_LONG)
        self.stack.append(self.data[start : start + size])
        return start + size

    def push_integer(self, start: int, size: int) -> int:
        if size > INTEGER_BYTES_MAX:
            raise BadFrame(_INTEGER_TOO_LONG)
        self.stack.append(int.from_bytes(self.data[start : start + size], "little", signed=True))
        return start + size

    def get(self, key: int) -> None:
        known = self.memo[key]
        if isinstance(known, list):
            self.shared.add(id(known))
        self.stack.append(known)


_u16 = Struct("<H").unpack_from
_u32 = Struct("<I").unpack_from
_i32 = Struct("<i").unpack_from
_u64 = Struct("<Q").unpack_from
_f64 = Struct(">d").unpack_from


# --- numbers ---


def _binint(machine: _Machine, at: int) -> int:
    machine.stack.append(_i32(machine.data, at)[0])
    return at + 4


def _binint1(machine: _Machine, at: int) -> int:
    machine.stack.append(machine.data[at])
    return at + 1


def _binint2(machine: _Machine, at: int) -> int:
    machine.stack.append(_u16(machine.data, at)[0])
    return at + 2


def _long1(machine: _Machine, at: int) -> int:
    return machine.push_integer(at + 1, machine.data[at])


def _long4(machine: _Machine, at: int) -> int:
    return machine.push_integer(at + 4, _u32(machine.data, at)[0])


def _int_line(machine: _Machine, at: int) -> int:
    """INT and LONG of protocol 0; booleans are 00 and 01, a long may end with L."""
    line = machine.line(at)
    if len(line) > _DIGITS_MAX:
        raise BadFrame(_INTEGER_TOO_LONG)
    machine.stack.append(int(line[:-1] if line[-1:] == b"L" else line))
    return at + len(line) + 1


def _binfloat(machine: _Machine, at: int) -> int:
    machine.stack.append(_f64(machine.data, at)[0])
    return at + 8


def _float_line(machine: _Machine, at: int) -> int:
    line = machine.line(at)
    machine.stack.append(float(line))
    return at + len(line) + 1


# None and booleans are no numbers, but clients send None for "no value", and carbon skips the item only.


def _none(machine: _Machine, at: int) -> int:
    machine.stack.append(None)
    return at


def _true(machine: _Machine, at: int) -> int:
    machine.stack.append(True)
    return at


def _false(machine: _Machine, at: int) -> int:
    machine.stack.append(False)
    return at


# --- texts ---


def _text_of_size1(machine: _Machine, at: int) -> int:
    return machine.push_text(at + 1, machine.data[at])


def _text_of_size4(machine: _Machine, at: int) -> int:
    return machine.push_text(at + 4, _u32(machine.data, at)[0])


def _text_of_size8(machine: _Machine, at: int) -> int:
    return machine.push_text(at + 8, _u64(machine.data, at)[0])


def _string_line(machine: _Machine, at: int) -> int:
    """STRING of protocol 0: a Python 2 literal, in quotes."""
    line = machine.line(at)
    text = line[1:-1]
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError
    if b"\\" in text:
        text = codecs.escape_decode(text)[0]
    return _push_line(machine, text, at + len(line) + 1)


def _unicode_line(machine: _Machine, at: int) -> int:
    """UNICODE of protocol 0: Latin-1 with \\uNNNN for the rest."""
    line = text = machine.line(at)
    if b"\\" in line or not line.isascii():
        text = codecs.raw_unicode_escape_decode(line)[0].encode("utf-8", "surrogatepass")
    return _push_line(machine, text, at + len(line) + 1)


def _push_line(machine: _Machine, text: bytes, at: int) -> int:
    if len(text) > TEXT_BYTES_MAX:
        raise BadFrame(_TEXT_TOO_LONG)
    machine.stack.append(text)
    return at


# --- lists and tuples ---


def _mark(machine: _Machine, at: int) -> int:
    if len(machine.below) == DEPTH_MAX:
        raise BadFrame(_TOO_DEEP)
    machine.below.append(machine.stack)
    machine.stack = []
    return at


def _empty_list(machine: _Machine, at: int) -> int:
    machine.stack.append([])
    return at


def _list(machine: _Machine, at: int) -> int:
    items = machine.close()
    machine.stack.append(items)
    return at


def _append(machine: _Machine, at: int) -> int:
    item = machine.stack.pop()
    machine.open_list().append(item)
    return at


def _appends(machine: _Machine, at: int) -> int:
    items = machine.close()
    machine.open_list().extend(items)
    return at


def _empty_tuple(machine: _Machine, at: int) -> int:
    machine.stack.append(())
    return at


def _tuple(machine: _Machine, at: int) -> int:
    items = machine.close()
    machine.stack.append(tuple(items))
    return at


def _tuple1(machine: _Machine, at: int) -> int:
    stack = machine.stack
    stack[-1] = (stack[-1],)
    return at


def _tuple2(machine: _Machine, at: int) -> int:
    stack = machine.stack
    last = stack.pop()
    stack[-1] = (stack[-1], last)
    return at


def _tuple3(machine: _Machine, at: int) -> int:
    stack = machine.stack
    last, middle = stack.pop(), stack.pop()
    stack[-1] = (stack[-1], middle, last)
    return at


# --- the memo ---


def _memoize(machine: _Machine, at: int) -> int:
    machine.memo[len(machine.memo)] = machine.stack[-1]
    return at


def _binput(machine: _Machine, at: int) -> int:
    machine.memo[machine.data[at]] = machine.stack[-1]
    return at + 1


def _long_binput(machine: _Machine, at: int) -> int:
    machine.memo[_u32(machine.data, at)[0]] = machine.stack[-1]
    return at + 4


def _put_line(machine: _Machine, at: int) -> int:
    line = machine.line(at)
    machine.memo[int(line)] = machine.stack[-1]
    return at + len(line) + 1


def _binget(machine: _Machine, at: int) -> int:
    machine.get(machine.data[at])
    return at + 1


def _long_binget(machine: _Machine, at: int) -> int:
    machine.get(_u32(machine.data, at)[0])
    return at + 4


def _get_line(machine: _Machine, at: int) -> int:
    line = machine.line(at)
    machine.get(int(line))
    return at + len(line) + 1


# --- the rest ---


def _proto(machine: _Machine, at: int) -> int:
    if machine.data[at] > 5:
        raise BadFrame("pickle protocol above 5")
    return at + 1


def _frame(machine: _Machine, at: int) -> int:
    if at + 8 + _u64(machine.data, at)[0] > len(machine.data):
        raise IndexError
    return at + 8


def _forbidden(machine: _Machine, at: int) -> NoReturn:
    raise BadFrame(_FORBIDDEN)


_STOP: Final = ord(".")
_OPCODES: dict[bytes, Callable[[_Machine, int], int]] = {
    b"J": _binint, b"K": _binint1, b"M": _binint2, b"\x8a": _long1, b"\x8b": _long4, b"I": _int_line,
    b"L": _int_line, b"G": _binfloat, b"F": _float_line, b"N": _none, b"\x88": _true, b"\x89": _false,
    # SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE; BINSTRING, BINBYTES, BINUNICODE; then with 8 bytes
    # of size BINUNICODE8, BINBYTES8, BYTEARRAY8
    b"U": _text_of_size1, b"C": _text_of_size1, b"\x8c": _text_of_size1,
    b"T": _text_of_size4, b"B": _text_of_size4, b"X": _text_of_size4,
    b"\x8d": _text_of_size8, b"\x8e": _text_of_size8, b"\x96": _text_of_size8,
    b"S": _string_line, b"V": _unicode_line,
    b"(": _mark, b"]": _empty_list, b"l": _list, b"a": _append, b"e": _appends,
    b")": _empty_tuple, b"t": _tuple, b"\x85": _tuple1, b"\x86": _tuple2, b"\x87": _tuple3,
    b"\x94": _memoize, b"q": _binput, b"r": _long_binput, b"p": _put_line,
    b"h": _binget, b"j": _long_binget, b"g": _get_line,
    b"\x80": _proto, b"\x95": _frame,
}  # fmt: skip
_TABLE = [_OPCODES.get(bytes([opcode]), _forbidden) for opcode in range(256)]
