"""Interned: names ↔ dense ids (0, 1, 2 …), millions of them at their bytes and about thirty more each.

Nothing is a Python object: the names lie end to end in one blob, and an open-addressing table holds ids
beside the low bits of hashes. Kernels of other wings may look up and insert on the same arrays, in a loop:

    names.reserve(lines_max, bytes_max)
    count = kernel(names.arrays, len(names), …)   # hash_bytes, probe, insert of name_kernels.py
    names.commit(count)

The hash has a random seed for each instance, so that no sender can prepare names that collide. One thread
at a time may add; others may meanwhile read the names that they have ids of.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from storage import name_kernels as kernels

Text = npt.NDArray[np.uint8]
Bounds = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]

Number = TypeVar("Number", bound=np.generic)

_SLOTS_MIN = 256
_ROOM_MIN = 1024
_NEWLINE = 10


class Interned:
    """A name is any bytes; the same bytes always have the same id."""

    def __init__(self, *, seed: int | None = None) -> None:
        self.seed = np.uint64(secrets.randbits(64) if seed is None else seed)
        self.table_ids: Ids = np.full(_SLOTS_MIN, -1, np.int32)
        self.table_hashes: npt.NDArray[np.uint32] = np.zeros(_SLOTS_MIN, np.uint32)
        self.blob: Text = np.empty(0, np.uint8)
        self.offsets: Bounds = np.zeros(1, np.int64)
        self.count = 0

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        """Bytes allocated, room to grow included."""
        return sum(array.nbytes for array in (self.table_ids, self.table_hashes, self.blob, self.offsets))

    @property
    def arrays(self) -> kernels.Names:
        """What kernels take; good until the next reserve or add."""
        return kernels.Names(self.seed, self.table_ids, self.table_hashes, self.blob, self.offsets)

    # --- name → id ---

    def add_all(self, blob: Text, starts: Bounds, stops: Bounds) -> Ids:
        """Ids of the names blob[starts:stops]; those not there yet get the next ids, in their order."""
        blob, starts, stops = laid(blob, starts, stops)
        ids = np.empty(len(starts), np.int32)
        at = 0
        while True:
            at, count = kernels.add_names(self.arrays, self.count, blob, starts, stops, at, ids)
            self.commit(count)
            if at == len(starts):
                return ids
            self.reserve(1, int(stops[at] - starts[at]))

    def find_all(self, blob: Text, starts: Bounds, stops: Bounds) -> Ids:
        """Ids of the names blob[starts:stops], -1 = not there."""
        blob, starts, stops = laid(blob, starts, stops)
        ids = np.empty(len(starts), np.int32)
        kernels.find_names(self.arrays, blob, starts, stops, ids)
        return ids

    def add(self, name: bytes) -> int:
        return int(self.add_all(*lay([name]))[0])

    def find(self, name: bytes) -> int:
        """The id, -1 = not there."""
        return int(kernels.find_name(self.arrays, np.frombuffer(bytearray(name), np.uint8)))

    # --- id → name ---

    def name(self, one: int) -> str:
        """Raises IndexError for an id that was never given."""
        if not 0 <= one < self.count:
            raise IndexError(f"no name has id {one}; there are {self.count}")
        return (
            self.blob[self.offsets[one] : self.offsets[one + 1]].tobytes().decode("utf-8", "surrogateescape")
        )

    def names(self, ids: npt.NDArray[np.integer]) -> list[str]:
        """The names of many ids at once; raises IndexError for one that was never given."""
        ids = np.require(ids, np.int32, ["C", "W"])
        if len(ids) == 0:
            return []
        if ids.min() < 0 or ids.max() >= self.count:
            raise IndexError(f"ids from {ids.min()} to {ids.max()}; there are {self.count} names")
        out = np.empty(int((self.offsets[ids + 1] - self.offsets[ids]).sum()) + len(ids), np.uint8)
        kernels.join_names(self.arrays, ids, _NEWLINE, out)
        found = split_lines(out)
        # a name with a newline of its own cannot be told from two: rare enough to go one by one
        return found if len(found) == len(ids) else [self.name(int(i)) for i in ids]

    # --- room ---

    def reserve(self, names: int, size: int) -> None:
        """Make room so that a kernel may insert so many more names of `size` bytes in all."""
        total = self.count + names
        if total >= len(self.offsets):
            self.offsets = grown(self.offsets, total + 1)
        used = int(self.offsets[self.count])
        if used + size > len(self.blob):
            self.blob = grown(self.blob, used + size)
        slots = len(self.table_ids)
        while total * 5 > slots * 3:
            slots *= 2
        if slots > len(self.table_ids):
            ids, hashes = np.full(slots, -1, np.int32), np.zeros(slots, np.uint32)
            kernels.rehash_names(self.table_ids, self.table_hashes, ids, hashes)
            self.table_ids, self.table_hashes = ids, hashes

    def commit(self, count: int) -> None:
        """Say how many names there are after a kernel has inserted some."""
        self.count = int(count)


def lay(names: Sequence[bytes]) -> tuple[Text, Bounds, Bounds]:
    """Names laid end to end: (blob, starts, stops)."""
    offsets = np.zeros(len(names) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, names), np.int64, len(names)), out=offsets[1:])
    return np.frombuffer(bytearray(b"".join(names)), np.uint8), offsets[:-1], offsets[1:]


def laid(blob: Text, starts: Bounds, stops: Bounds) -> tuple[Text, Bounds, Bounds]:
    """The same, contiguous and writable: for other arrays each kernel would be compiled anew."""
    return (
        np.require(blob, np.uint8, ["C", "W"]),
        np.require(starts, np.int64, ["C", "W"]),
        np.require(stops, np.int64, ["C", "W"]),
    )


def split_lines(text: Text) -> list[str]:
    """The strings of a text in which each ends with a newline."""
    return str(text[:-1].data, "utf-8", "surrogateescape").split("\n")


def grown(array: npt.NDArray[Number], size: int) -> npt.NDArray[Number]:
    """The array with room for `size` entries at least, half as many again at best; the new are undefined."""
    room = np.empty(max(size, len(array) * 3 // 2, _ROOM_MIN), array.dtype)
    room[: len(array)] = array
    return room
