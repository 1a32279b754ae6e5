"""The numba kernel of the line protocol: splits, parses and looks up a buffer of lines in one pass.

Agents send the same names in the same order, so after a name its successor of last time is compared first, byte for
byte; only when that fails is the name hashed. Bytes in, columns out; what is rare (odd numbers, bad lines) is set
aside for Python.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from carbon.decimal import EXACT, read_decimal
from storage.compiled import njit
from storage.name_kernels import hash_bytes, insert, probe, same_bytes
from storage.naming import Fault, name_fault


class Reject(IntEnum):
    """Why a line is refused; the first are the faults of names, by their numbers."""

    NONE = 0
    FIELDS = len(Fault)
    VALUE = len(Fault) + 1
    TIMESTAMP = len(Fault) + 2
    NAN = len(Fault) + 3
    INFINITE = len(Fault) + 4
    TOO_MANY_NAMES = len(Fault) + 5

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Reject.NONE: "none",
    Reject.FIELDS: "not three fields",
    Reject.VALUE: "bad value",
    Reject.TIMESTAMP: "bad timestamp",
    Reject.NAN: "value is NaN",
    Reject.INFINITE: "value is infinite",
    Reject.TOO_MANY_NAMES: "too many names",
}
REASONS = len(Fault) + len(Reject) - 1
_FIELDS, _TOO_MANY = int(Reject.FIELDS), int(Reject.TOO_MANY_NAMES)

VALUE, TIMESTAMP = 0, 1  # which field of a line Python is asked for
NEWLINE, RETURN, SPACE, TAB = 10, 13, 32, 9
_LATEST = 1e11  # seconds: beyond this a timestamp is none (milliseconds sent for seconds, say)


@njit(nogil=True, cache=True, inline="always")
def _blank(c):  # type: ignore[no-untyped-def]
    return c == SPACE or c == TAB or c == RETURN


@njit(nogil=True, cache=True)
def _timestamp(text, start, stop, now, bits):  # type: ignore[no-untyped-def]
    """(EXACT, seconds) of text[start:stop], -1 = now; or (another, 0) where Python is to be asked."""
    if stop - start == 10:
        seconds = np.int64(0)
        for i in range(start, stop):
            digit = np.int64(text[i]) - 48
            if digit < 0 or digit > 9:
                seconds = np.int64(-1)
                break
            seconds = seconds * 10 + digit
        if seconds >= 0:
            return EXACT, seconds
    found = read_decimal(text, start, stop, bits)
    if found != EXACT:
        return found, np.int64(0)
    value = bits.view(np.float64)[0]
    if value == -1:
        return EXACT, np.int64(now)
    if not abs(value) < _LATEST:
        return EXACT + 1, np.int64(0)
    return EXACT, np.int64(np.floor(value))


@njit(nogil=True, cache=True)
def read_lines(  # type: ignore[no-untyped-def]
    text, stop, now, names, count, names_max, successor, last, ids, timestamps, bits, odd, rejected, samples
):  # fmt: skip
    """Read the lines of text[:stop] (it ends with a newline).

    The name table (name_kernels.Names) must have room for as many new names as there are lines.
    Fills ids, timestamps and value bits; `odd` (n, 4: which datapoint, which field, start, stop) with numbers for
    Python to read; `rejected` (counts) and `samples` (start, stop of one line) by reason.
    Gives (datapoints, odd ones, names in the table, the last name's id).
    """
    at, n, strange = 0, 0, 0
    number = np.zeros(1, np.uint64)
    while at < stop:
        line, known = at, np.int64(-1)
        reason = 0
        name_start, name_stop = at, at
        if last >= 0:
            guess = np.int64(successor[last])
            if guess >= 0:
                first = names.offsets[guess]
                size = names.offsets[guess + 1] - first
                if (
                    at + size < stop
                    and text[at + size] == SPACE
                    and same_bytes(text, at, names.blob, first, size)
                ):
                    known = guess
                    name_stop = at + size
        if known < 0:
            while _blank(text[at]):
                at += 1
            name_start = at
            while not _blank(text[at]) and text[at] != NEWLINE:
                at += 1
            name_stop = at
        at = name_stop
        while _blank(text[at]):
            at += 1
        value_start = at
        while not _blank(text[at]) and text[at] != NEWLINE:
            at += 1
        value_stop = at
        while _blank(text[at]):
            at += 1
        time_start = at
        while not _blank(text[at]) and text[at] != NEWLINE:
            at += 1
        time_stop = at
        while _blank(text[at]):
            at += 1
        if text[at] != NEWLINE or time_start == time_stop:
            while text[at] != NEWLINE:
                at += 1
            at += 1
            if name_stop > name_start:  # an empty line is none
                rejected[_FIELDS] += 1
                samples[_FIELDS, 0], samples[_FIELDS, 1] = line, at - 1
            continue
        at += 1
        if known < 0:
            hashed = hash_bytes(text, name_start, name_stop, names.seed)
            known = np.int64(probe(names, text, name_start, name_stop, hashed))
            if known < 0:
                reason = name_fault(text, name_start, name_stop)
                if reason == 0 and count >= names_max:
                    reason = _TOO_MANY
                if reason != 0:
                    rejected[reason] += 1
                    samples[reason, 0], samples[reason, 1] = line, at - 1
                    continue
                known = np.int64(insert(names, ~known, text, name_start, name_stop, hashed, count))
                successor[known] = -1
                count += 1
            if last >= 0:
                successor[last] = known
        last = known
        if read_decimal(text, value_start, value_stop, number) == EXACT:
            bits[n] = number[0]
        else:
            odd[strange, 0], odd[strange, 1], odd[strange, 2], odd[strange, 3] = (
                n,
                VALUE,
                value_start,
                value_stop,
            )
            strange += 1
        found, seconds = _timestamp(text, time_start, time_stop, now, number)
        timestamps[n] = seconds
        if found != EXACT:
            odd[strange, 0], odd[strange, 1], odd[strange, 2], odd[strange, 3] = (
                n,
                TIMESTAMP,
                time_start,
                time_stop,
            )
            strange += 1
        ids[n] = known
        n += 1
    return n, strange, count, last
