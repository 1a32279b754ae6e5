"""Protocol Buffers on the wire: fields of messages to bytes and back. What is what the messages' users know.

As in proto3 a field that is zero, false or empty is not written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Value = int | bytes  # a number of the wire's, or what has a length

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1
_VARINT_BYTES_MAX = 10
_FIELDS_MAX = 100_000  # of a message


def varint(number: int) -> bytes:
    """A whole number, 64 bits of it."""
    number &= _MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def whole(field: int, number: int) -> bytes:
    """Of int32, int64 or bool."""
    return varint(field << 3 | _VARINT) + varint(int(number)) if number else b""


def single(field: int, number: float) -> bytes:
    """Of float."""
    return varint(field << 3 | _FIXED32) + struct.pack("<f", number) if number else b""


def text(field: int, words: str) -> bytes:
    return message(field, words.encode(errors="replace")) if words else b""


def message(field: int, body: bytes) -> bytes:
    """Of a message, or a text: also where it is empty, as one of several."""
    return b"%s%s%s" % (varint(field << 3 | _LENGTH), varint(len(body)), body)


def doubles(field: int, numbers: npt.NDArray[np.float64]) -> bytes:
    return message(field, numbers.astype("<f8").tobytes()) if len(numbers) else b""


def booleans(field: int, flags: npt.NDArray[np.bool_]) -> bytes:
    return message(field, flags.tobytes()) if len(flags) else b""


def fields(body: bytes) -> Iterator[tuple[int, Value]]:
    """Each field's number and value; raises ValueError where that is no message."""
    at = 0
    for _ in range(_FIELDS_MAX):
        if at == len(body):
            return
        key, at = _varint(body, at)
        kind = key & 7
        if kind == _VARINT:
            value: Value
            value, at = _varint(body, at)
        else:
            size, at = _size(body, at, kind)
            if at + size > len(body):
                raise ValueError("a field is longer than its message")
            value, at = body[at : at + size], at + size
        yield key >> 3, value
    raise ValueError(f"a message of more than {_FIELDS_MAX} fields")


def signed(value: Value) -> int:
    """A field of int32 or int64; raises ValueError."""
    if not isinstance(value, int):
        raise ValueError("a number is no number")
    return value - (1 << 64) if value >> 63 else value


def words(value: Value) -> str:
    """A field of string; raises ValueError."""
    if not isinstance(value, bytes):
        raise ValueError("a text is no text")
    return value.decode()


def _size(body: bytes, at: int, kind: int) -> tuple[int, int]:
    sizes = {_FIXED64: 8, _FIXED32: 4}
    if kind in sizes:
        return sizes[kind], at
    if kind != _LENGTH:
        raise ValueError(f"a field of the unknown kind {kind}")
    return _varint(body, at)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = 0
    for i, byte in enumerate(body[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number & _MASK, at + i + 1
    raise ValueError("a number does not end")
