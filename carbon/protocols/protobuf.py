"""Carbon's protobuf protocol, sans-IO: frames of a 4-byte big-endian length and a `Payload`.

    message Point   { uint32 timestamp = 1; double value = 2; }
    message Metric  { string metric = 1; repeated Point points = 2; }
    message Payload { repeated Metric metrics = 1; }

Read by a kernel of the wire format itself, as the schema is three lines and generated code breaks when the library's
runtime moves. As everywhere with protobuf the last of a repeated single field counts, one that is missing is 0, and
fields that are not known are skipped. A frame that is cut, or has groups (no schema of proto3 has), is refused whole;
a name that is not UTF-8 costs its datapoints only.
"""

from __future__ import annotations

import numpy as np

from carbon.errors import BadFrame
from carbon.kernels import READ, add_row, big_endian
from carbon.names import NameTable
from carbon.protocols.reader import Batch, FrameReader, missing, rows_for
from carbon.stats import Stats
from storage.compiled import njit
from storage.name_kernels import load

FRAME_BYTES_MAX = 1 << 20  # as carbon; a frame of 500 datapoints has 25 KiB
PART, TOO_LONG, MALFORMED = 0, 1, 2  # why `read_frames` stopped

_VARINT, _WORD, _BYTES, _HALF = 0, 1, 2, 5  # wire types
_METRICS, _METRIC, _POINTS, _TIMESTAMP, _VALUE = 1, 1, 2, 1, 2  # fields


class ProtobufReader(FrameReader):
    """Reads one stream of Payloads."""

    sample = b"\0\0\0\x09\x0a\x07\x0a\x01a\x12\x02\x08\x01"

    def __init__(self, names: NameTable, stats: Stats, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        super().__init__(names, stats)
        self._frame_bytes_max = frame_bytes_max

    def _read(self, data: bytes, now: int, batches: list[Batch]) -> tuple[int, int]:
        text, rows = np.frombuffer(data, np.uint8), rows_for(len(data))
        at, n, why = read_frames(text, self._frame_bytes_max, now, rows)
        self._gather(text, rows, n, now, batches)
        if why == TOO_LONG:
            raise BadFrame(f"protobuf frame longer than {self._frame_bytes_max} bytes")
        if why == MALFORMED:
            raise BadFrame("protobuf cut short or malformed")
        return at, missing(data, at)


@njit(nogil=True, cache=True)
def read_frames(text, frame_bytes_max, now, rows):  # type: ignore[no-untyped-def]
    """Read the frames that text begins with → rows (reader.Rows); gives (where it stopped, rows, why)."""
    at, n = np.int64(0), 0
    while at + 4 <= len(text):
        size = big_endian(text, at, 4)
        if size > frame_bytes_max:
            return at, n, TOO_LONG
        stop = at + 4 + size
        if stop > len(text):
            return at, n, PART
        before = rows.rejected.copy()
        after = _payload(text, at + 4, stop, now, rows, n)
        if after < 0:
            for i in range(len(before)):
                rows.rejected[i] = before[i]
            return at, n, MALFORMED
        at, n = stop, after
    return at, n, PART


@njit(nogil=True, cache=True)
def _varint(text, at, stop):  # type: ignore[no-untyped-def]
    """(the next place, the low 64 bits of the number); the place is -1 for one that does not end."""
    value, shift = np.int64(0), 0
    while at < stop and shift < 70:
        byte = np.int64(text[at])
        at += 1
        if shift < 64:
            value |= (byte & 0x7F) << shift
        if byte < 128:
            return at, value
        shift += 7
    return -1, np.int64(0)


@njit(nogil=True, cache=True)
def _field(text, at, stop):  # type: ignore[no-untyped-def]
    """(the next field's place, field, wire type, where its content is, a varint's number or the content's end).

    The place is -1 where this is no field.
    """
    nothing = np.int64(0)
    size = np.int64(0)
    at, tag = _varint(text, at, stop)
    number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
    if at < 0 or number == 0:
        return -1, nothing, nothing, nothing, nothing
    if wire == _VARINT:
        content, (at, value) = at, _varint(text, at, stop)
        return at, number, wire, content, value
    if wire == _BYTES:
        at, size = _varint(text, at, stop)
    elif wire == _WORD:
        size = np.int64(8)
    elif wire == _HALF:
        size = np.int64(4)
    else:
        return -1, nothing, nothing, nothing, nothing
    if at < 0 or size < 0 or size > stop - at:
        return -1, nothing, nothing, nothing, nothing
    return at + size, number, wire, at, at + size


@njit(nogil=True, cache=True)
def _payload(text, at, stop, now, rows, n):  # type: ignore[no-untyped-def]
    """Add the datapoints of a Payload; gives the rows, -1 if it is none."""
    while at < stop:
        at, number, wire, content, end = _field(text, at, stop)
        if at < 0:
            return -1
        if number == _METRICS and wire == _BYTES:
            n = _metric(text, content, end, now, rows, n)
            if n < 0:
                return -1
    return n


@njit(nogil=True, cache=True, inline="always")
def _metric(text, at, stop, now, rows, n):  # type: ignore[no-untyped-def]
    """The same of a Metric, whose name may come behind its points."""
    start, name_start, name_stop = at, at, at
    points = 0
    while at < stop:
        at, number, wire, content, end = _field(text, at, stop)
        if at < 0:
            return -1
        if wire == _BYTES and number == _METRIC:
            name_start, name_stop = content, end
        elif wire == _BYTES and number == _POINTS:
            points += 1
    at = start
    while points > 0:
        at, number, wire, content, end = _field(text, at, stop)
        if wire != _BYTES or number != _POINTS:
            continue
        points -= 1
        well, when, value = _point(text, content, end)
        if not well:
            return -1
        n = add_row(rows, n, name_start, name_stop, READ, when, READ, value, now)
    return n


@njit(nogil=True, cache=True)
def _point(text, at, stop):  # type: ignore[no-untyped-def]
    """(whether it is one, timestamp, value) of a Point; more than 32 bits of a timestamp are cut off."""
    when, word = np.int64(0), np.empty(1, np.uint64)
    word[0] = 0
    while at < stop:
        at, number, wire, content, end = _field(text, at, stop)
        if at < 0:
            return False, 0.0, 0.0
        if number == _TIMESTAMP and wire == _VARINT:
            when = end & 0xFFFFFFFF
        elif number == _VALUE and wire == _WORD:
            word[0] = load(text, content)
    return True, np.float64(when), word.view(np.float64)[0]
