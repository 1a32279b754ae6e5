"""The pickle protocol, sans-IO: frames of a 4-byte length and a pickled list of (name, (timestamp, value)).

The standard library's unpickler is never used: it imports and calls what a pickle names, and 9 bytes can make
it allocate 2 GB (LONG_BINPUT, CPython gh-115952). The opcodes that real picklers write for numbers, texts, lists and
tuples in protocols 0 to 5 are known, and a frame that has any other is refused. Its cost is bounded: an opcode makes at
most one small object, and their number is limited by the frame's size.

A frame of a list or tuple of pairs is read as carbon reads it: inner lists are as good as tuples; numbers may
be texts (statsd and Dropwizard send '12.00'); what is no such item is counted and skipped.

Frames of the usual opcodes are read by the kernel (pickle_kernel.py) without an object a datapoint; the machine here
reads what that leaves, or says why it is refused.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final, NoReturn

import numpy as np

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols import pickle_kernel as kernel
from carbon.protocols.pickle_kernel import DEPTH_MAX, OPCODES_PER_ITEM, TEXT_BYTES_MAX
from carbon.protocols.reader import Batch, FrameReader, Rows, missing, rows_for
from carbon.stats import Stats

FRAME_BYTES_MAX = 1 << 20  # carbon: 1 MiB; go-carbon: 64 MiB; a relay sends frames of 500 points, 40 KiB
INTEGER_BYTES_MAX = 16  # of a number in LONG1 and LONG4

# How many opcodes a frame may have: one for so many bytes of the longest. A point is usually 8 opcodes in
# 50 to 100 bytes, at the least (a name of before, integers) 7 in 13. The worst frames of 1 MiB then cost
# 23 MB, and the time of 3 million plain calls of a function (0.1 to 0.2 s on a free core).
BYTES_PER_OPCODE = 4

_LARGE = 1 << 16  # bytes of a frame whose objects may take megabytes

_LINE_BYTES_MAX = 4 * TEXT_BYTES_MAX + 2  # each byte may be written \xNN, in quotes
_DIGITS_MAX = 41  # 16 bytes as decimals, a sign and the L of a long

_MALFORMED: Final = "pickle cut short or malformed"
_FORBIDDEN: Final = "pickle of more than numbers and texts and lists and tuples"
_TEXT_TOO_LONG: Final = f"pickled text longer than {TEXT_BYTES_MAX} bytes"
_INTEGER_TOO_LONG: Final = f"pickled integer longer than {INTEGER_BYTES_MAX} bytes"
_TOO_DEEP: Final = f"pickle nested deeper than {DEPTH_MAX}"


class PickleReader(FrameReader):
    """Reads one stream of pickled datapoints."""

    sample = b"\0\0\0\x0c]U\x01aK\x01K\x01\x86\x86a."

    def __init__(self, names: NameTable, stats: Stats, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        super().__init__(names, stats)
        self._frame_bytes_max = frame_bytes_max
        self._opcodes_max = frame_bytes_max // BYTES_PER_OPCODE

    def _read(self, data: bytes, now: int, batches: list[Batch]) -> tuple[int, int]:
        text, at, arrays = np.frombuffer(data, np.uint8), 0, self._arrays(len(data))
        while True:
            at, n, why = kernel.read_frames(text, at, self._opcodes_max, self._frame_bytes_max, now, *arrays)
            self._gather(text, arrays[1], n, now, batches)
            if why == kernel.TOO_LONG:
                raise BadFrame(f"pickle frame longer than {self._frame_bytes_max} bytes")
            if why == kernel.PART:
                return at, missing(data, at)
            if why == kernel.ASK_PYTHON:
                frame = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "big")]
                if len(frame) > _LARGE:  # beside the objects of a bomb the arrays would be a second one
                    del arrays
                self._read_frame(frame, now, batches)
                at += 4 + len(frame)
                if len(frame) > _LARGE:
                    arrays = self._arrays(len(data) - at)

    def _arrays(self, size: int) -> tuple[kernel.Machine, Rows]:
        opcodes = min(size, self._opcodes_max)
        return kernel.machine_for(opcodes), rows_for(opcodes)

    def _read_frame(self, frame: bytes, now: int, batches: list[Batch]) -> None:
        payload = loads(frame, self._opcodes_max)
        if not isinstance(payload, (list, tuple)):
            raise BadFrame("pickle that is no list")
        if len(payload) > self._opcodes_max // OPCODES_PER_ITEM:
            raise BadFrame(f"pickle of more than {self._opcodes_max // OPCODES_PER_ITEM} items")
        self._take(payload, now, batches)


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
