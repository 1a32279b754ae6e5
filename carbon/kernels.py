"""The numba kernels that all ways in share: lines split, parsed and looked up in one pass; names found by their spans.

Agents send the same names in the same order, so after a name its successor of last time is compared first, byte for
byte; only when that fails is the name hashed. Bytes in, columns out; what is rare (odd numbers, bad lines) is set
aside for Python.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from carbon.decimal import EXACT, read_decimal
from carbon.stats import Stats
from storage.compiled import njit
from storage.name_kernels import has_room, hash_bytes, insert, load, probe, same_bytes
from storage.naming import Fault, name_fault


class Reject(IntEnum):
    """Why a line or another datapoint is refused; the first are the faults of names, by their numbers."""

    NONE = 0
    FIELDS = len(Fault)
    VALUE = len(Fault) + 1
    TIMESTAMP = len(Fault) + 2
    NAN = len(Fault) + 3
    INFINITE = len(Fault) + 4
    TOO_MANY_NAMES = len(Fault) + 5
    ITEM = len(Fault) + 6
    NAME = len(Fault) + 7

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
    Reject.ITEM: "bad item",  # of a pickle or another list of datapoints: it is no name with two numbers
    Reject.NAME: "bad name",  # likewise: no text, or an empty one
}
REASONS = len(Fault) + len(Reject) - 1
_FIELDS, _TOO_MANY, _TIME = int(Reject.FIELDS), int(Reject.TOO_MANY_NAMES), int(Reject.TIMESTAMP)
_NAN, _INFINITE = int(Reject.NAN), int(Reject.INFINITE)
_NAME, _VALUE = int(Reject.NAME), int(Reject.VALUE)

VALUE, TIMESTAMP = 0, 1  # which field of a line Python is asked for
READ, BAD = 0, -1  # states of a number, see `add_row`
NEWLINE, RETURN, SPACE, TAB = 10, 13, 32, 9
SAMPLE_BYTES = 200  # of what is refused, for the log
LATEST = 1e11  # seconds: beyond this a timestamp is none (milliseconds sent for seconds, say)


def words(reason: int) -> str:
    """What is counted for a number of Fault or Reject."""
    return Fault(reason).words if reason < len(Fault) else Reject(reason).words


def count_rejects(
    stats: Stats, text: npt.NDArray[np.uint8], rejected: npt.NDArray[np.int64], samples: npt.NDArray[np.int64]
) -> None:
    """Count what a kernel refused, (reasons,), with samples, (reasons, 2: start, stop in the text)."""
    for reason in np.flatnonzero(rejected).tolist():
        start, stop = samples[reason]
        count_reject(
            stats, reason, int(rejected[reason]), text[start : min(stop, start + SAMPLE_BYTES)].tobytes()
        )


def count_reject(stats: Stats, reason: int, count: int, sample: bytes) -> None:
    """Count refused datapoints; a NaN is how collectd says "no value yet", so that is not worth a line in the log."""
    if reason == Reject.NAN:
        stats.rejected[words(reason)] += count
    else:
        stats.reject(words(reason), count, sample=sample)


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
    if not abs(value) < LATEST:
        return EXACT + 1, np.int64(0)
    return EXACT, np.int64(np.floor(value))


@njit(nogil=True, cache=True)
def read_lines(  # type: ignore[no-untyped-def]
    text, stop, now, names, count, names_max, successor, last, ids, timestamps, bits, odd, rejected, samples, bad
):  # fmt: skip
    """Read the lines of text[:stop] (it ends with a newline); one of two fields is a name and its value of now.

    The name table (name_kernels.Names) must have room for as many new names as there are lines.
    Fills ids, timestamps and value bits; `odd` (n, 4: which datapoint, which field, start, stop) with numbers for
    Python to read; `rejected` (counts) and `samples` (start, stop of one line) by reason; `bad` (n, 3: reason, start,
    stop) with the first n lines that are refused.
    Gives (datapoints, odd ones, names in the table, the last name's id).
    """
    at, n, strange, refused = 0, 0, 0, 0
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
        if text[at] != NEWLINE or value_start == value_stop:
            while text[at] != NEWLINE:
                at += 1
            at += 1
            if name_stop > name_start:  # an empty line is none
                rejected[_FIELDS] += 1
                samples[_FIELDS, 0], samples[_FIELDS, 1] = line, at - 1
                if refused < len(bad):
                    bad[refused, 0], bad[refused, 1], bad[refused, 2] = _FIELDS, line, at - 1
                    refused += 1
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
                    if refused < len(bad):
                        bad[refused, 0], bad[refused, 1], bad[refused, 2] = reason, line, at - 1
                        refused += 1
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
        found, seconds = EXACT, np.int64(now)
        if time_start < time_stop:
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


@njit(nogil=True, cache=True)
def little_endian(text, at, size):  # type: ignore[no-untyped-def]
    """The unsigned integer of 0 to 8 bytes at text[at], as int64: one that does not fit is negative."""
    if at + 8 <= len(text):
        word = load(text, at)
        return np.int64(word if size == 8 else word & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)))
    value = np.int64(0)
    for i in range(size):
        value |= np.int64(text[at + i]) << (8 * i)
    return value


@njit(nogil=True, cache=True)
def big_endian(text, at, size):  # type: ignore[no-untyped-def]
    """The same with the highest byte first."""
    if at + 8 <= len(text) and size > 0:
        word = load(text, at)
        mask = np.uint64(0x00FF00FF00FF00FF)
        word = (word >> np.uint64(8)) & mask | (word & mask) << np.uint64(8)
        mask = np.uint64(0x0000FFFF0000FFFF)
        word = (word >> np.uint64(16)) & mask | (word & mask) << np.uint64(16)
        word = word >> np.uint64(32) | word << np.uint64(32)
        return np.int64(word >> np.uint64(64 - 8 * size))
    value = np.int64(0)
    for i in range(size):
        value = value << 8 | np.int64(text[at + i])
    return value


@njit(nogil=True, cache=True)
def find_spans(  # type: ignore[no-untyped-def]
    text, starts, stops, at, names, count, names_max, successor, last, ids, rejected, samples
):  # fmt: skip
    """Ids of the names text[starts:stops] from `at` on → ids int32 (n,), until the name table has no room for another.

    -1 is a name with a fault, or one too many; `rejected` and `samples` (of the name) by reason. A span that is the one
    before again costs nothing: many datapoints of one name, or one that a memo repeats.
    Gives (where it stopped, names in the table, the last name's id).
    """
    reason = 0
    while at < len(starts):
        start, stop = starts[at], stops[at]
        if at > 0 and start == starts[at - 1] and stop == stops[at - 1]:
            ids[at] = ids[at - 1]
            if ids[at] < 0:
                rejected[reason] += 1
            at += 1
            continue
        reason, size, known = 0, stop - start, np.int64(-1)
        if last >= 0 and successor[last] >= 0:
            guess = np.int64(successor[last])
            first = names.offsets[guess]
            if names.offsets[guess + 1] - first == size and same_bytes(text, start, names.blob, first, size):
                known = guess
        if known < 0:
            hashed = hash_bytes(text, start, stop, names.seed)
            known = np.int64(probe(names, text, start, stop, hashed))
            if known < 0:
                reason = name_fault(text, start, stop)
                if reason == 0 and count >= names_max:
                    reason = _TOO_MANY
                if reason == 0:
                    if count >= len(successor) or not has_room(names, count, size):
                        return at, count, last
                    known = np.int64(insert(names, ~known, text, start, stop, hashed, count))
                    successor[known] = -1
                    count += 1
                else:
                    known = np.int64(-1)
                    rejected[reason] += 1
                    samples[reason, 0], samples[reason, 1] = start, stop
            if known >= 0 and last >= 0:
                successor[last] = known
        if known >= 0:
            last = known
        ids[at] = known
        at += 1
    return at, count, last


@njit(nogil=True, cache=True, inline="always")
def add_row(rows, n, start, stop, when_state, when, value_state, value, now):  # type: ignore[no-untyped-def]
    """Add the datapoint of the name text[start:stop], or count why it is none; gives the rows, -1 if there is no room.

    A state is READ, BAD, or the span (start << 32 | stop) of a text whose number Python's float() is to tell.
    """
    reason = 0
    if start == stop:
        reason = _NAME
    elif when_state == BAD or (when_state == READ and not abs(when) < LATEST):
        reason = _TIME
    elif when_state == READ:
        if value_state == BAD:
            reason = _VALUE
        elif value_state == READ and value != value:
            reason = _NAN
        elif value_state == READ and abs(value) == np.inf:
            reason = _INFINITE
    if reason != 0:
        rows.rejected[reason] += 1
        rows.samples[reason, 0], rows.samples[reason, 1] = start, stop
        return n
    rows.starts[n], rows.stops[n], rows.values[n] = start, stop, value
    if when_state == READ:
        rows.timestamps[n] = np.int64(now) if when == -1 else np.int64(np.floor(when))
    if when_state != READ or value_state != READ:
        i = rows.strange[0]
        if i == len(rows.odd):
            return -1
        rows.odd[i, 0], rows.odd[i, 1] = n, when_state
        rows.odd[i, 2] = (
            start << 32 | start if value_state == BAD else value_state
        )  # an empty text is no number
        rows.strange[0] = i + 1
    return n + 1
