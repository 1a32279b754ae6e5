"""The sealed blocks of a ring: each in its place, raw or packed, and a stamp that says which.

Raw and packed places are two regions, so a block that changes its form is written whole to the one that the stamp
does not point to; the stamp is one word. What is never done is to write over packed bytes that a stamp on the disk
may point to: a power cut would leave half of them. Raw values are written over in place, eight bytes each.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from storage import codec, kernels
from storage.codec_kernels import decode_rows
from storage.durable import Put
from storage.format import LANE_ROWS, LANES_MAX, PACKED, PAGE, TAG
from storage.ring_file import Bits, RingFile

Integers = npt.NDArray[np.int64]

_log = logging.getLogger(__name__)

_WORTH = 0.75  # of a raw block's bytes: a packed one that is larger is not worth its decoding
_QUIET_S = 60.0


class Places:
    """The places of an open file. `rows_used`: of the shard; the ring keeps it."""

    def __init__(self, file: RingFile) -> None:
        self._file, self._geometry = file, file.geometry
        self.rows_used = 0
        self.pack_after: int | None = None  # seconds after its end that a block is packed; None = never
        self.puts: dict[tuple[int, int], Put] = {}  # (lane, place) → what the next sync stamps
        self.quiet_s = _QUIET_S  # a block that late values come to is not packed between them
        self._touched: npt.NDArray[np.float64] | None = None  # (lanes, places): when late values came
        self._looked_to, self._look_again = (
            -1,
            -np.inf,
        )  # nothing to pack is older than this block, until then

    # --- what lies where ---

    def block_at(self, lane: int, place: int) -> int:
        """The block that a place has or is about to have, -1 = none."""
        put = self.puts.get((lane, place))
        stamped = int(self._file.stamps(lane)[place]) & ~PACKED
        return max(stamped - 1, put.block if put else -1)

    def holds(self, lane: int, block: int) -> bool:
        return self.block_at(lane, block % self._geometry.places) == block

    def _is_packed(self, lane: int, place: int) -> bool:
        return bool(int(self._file.stamps(lane)[place]) & PACKED)

    def rows_of(self, lane: int) -> int:
        return min(LANE_ROWS, self.rows_used - lane * LANE_ROWS)

    def _unpacked(self, lane: int, place: int, rows: Integers) -> Bits:
        """What lies packed in a place of rows (ascending): (rows, slots); what cannot be read is missing."""
        out = np.zeros((len(rows), self._geometry.block), np.uint64)
        start = self._geometry.packed_offset(lane, place)
        known = int(np.searchsorted(rows, codec.extent(self._file.bytes, start)[0]))
        if not decode_rows(self._file.bytes, start, rows[:known], out[:known]):
            for i in range(known):
                if not decode_rows(self._file.bytes, start, rows[i : i + 1], out[i : i + 1]):
                    out[i] = 0
        return out

    # --- whole blocks ---

    def put(self, lane: int, block: int, unit: Bits, *, pack: bool, from_head: bool) -> Put:
        """Write a block (rows in use, slots) to its place; the next sync stamps it."""
        geometry, stamps = self._geometry, self._file.stamps(lane)
        place = block % geometry.places
        stamp = int(stamps[place])
        if stamp & ~PACKED == block + 1:
            pack = False  # see above; a raw block can be written over
            if stamp == block + 1:
                self._file.forget_digest(lane, place)
            if (lane, place) in self.puts:
                self.puts[lane, place].digest = 0  # a sync that has it may go on yet
        elif stamp:
            self._file.set_stamp(lane, place, 0)
            self._file.moved(lane)
        data = codec.encode(unit) if pack and geometry.packs else b""
        packed = 0 < len(data) <= unit.nbytes * _WORTH
        if packed:
            self._file.write(np.frombuffer(data, np.uint8), geometry.packed_offset(lane, place))
        else:
            self._file.write(unit, geometry.place_offset(lane, place))
        digest = packed_digest(data, block) if packed else self._digest(unit, block)
        self.puts[lane, place] = put = Put(lane, block, packed, from_head, digest)
        return put

    def _digest(self, unit: Bits, block: int) -> int:
        return digest_of(unit, block) if self._geometry.checks else 0

    def put_again(self, put: Put, unit: Bits) -> None:
        """Write a block once more to where it was put, before any sync knows of it."""
        place = put.block % self._geometry.places
        if put.packed:
            data = codec.encode(unit)
            if len(data) > self._geometry.unit_bytes:
                self.put(put.lane, put.block, unit, pack=False, from_head=put.from_head)
                return
            self._file.write(np.frombuffer(data, np.uint8), self._geometry.packed_offset(put.lane, place))
            put.digest = packed_digest(data, put.block)
        else:
            self._file.write(unit, self._geometry.place_offset(put.lane, place))
            put.digest = self._digest(unit, put.block)

    def settle(self, put: Put) -> None:
        """Give back what the stamp no longer points to, now that the disk knows it."""
        geometry, place = self._geometry, put.block % self._geometry.places
        del self.puts[put.lane, place]
        if not geometry.packs:
            return
        self._file.moved(put.lane)
        if not put.packed:
            self._file.give_back(geometry.packed_offset(put.lane, place), geometry.unit_bytes)
            return
        self._file.give_back(geometry.place_offset(put.lane, place), geometry.unit_bytes)
        start = geometry.packed_offset(put.lane, place)
        used = -(-codec.extent(self._file.bytes, start)[1] // PAGE) * PAGE
        if used < geometry.unit_bytes:
            self._file.give_back(start + used, geometry.unit_bytes - used)

    def pack_some(self, now_slot: int, most: int) -> int:
        """Pack up to `most` raw blocks that are old enough and that nobody writes to; gives how many."""
        if self.pack_after is None or not self._geometry.packs:
            return 0
        geometry, now = self._geometry, time.monotonic()
        newest = max(
            0, (now_slot - self.pack_after // geometry.step) // geometry.block
        )  # it and later ones wait
        if newest == self._looked_to and now < self._look_again:
            return 0
        packed = 0
        for lane in range(self._file.lanes):
            stamps = self._file.stamps(lane)
            raw = (stamps != 0) & (stamps <= np.uint64(newest))
            if self._touched is not None:
                raw &= self._touched[lane] <= now - self.quiet_s
            for place in np.flatnonzero(raw).tolist():
                if (lane, place) in self.puts:
                    continue
                if packed == most:
                    return packed
                packed += self._pack(lane, place)
        self._looked_to, self._look_again = (
            newest,
            now + self.quiet_s if self._touched is not None else np.inf,
        )
        return packed

    def _pack(self, lane: int, place: int) -> bool:
        unit = self._file.unit(lane, place)[: self.rows_of(lane)]
        block = (int(self._file.stamps(lane)[place]) & ~PACKED) - 1
        if (digest := self._file.digest(lane, place)) and digest != digest_of(unit, block):
            start = self._geometry.place_offset(lane, place)
            _log.warning(
                "%s: at byte %d: a block's checksum is wrong; see plumbago verify", self._file.path, start
            )
            self._touch(lane, place, np.inf)  # with a checksum of its own it would pass for sound
            return False
        data = codec.encode(unit)
        if len(data) > unit.nbytes * _WORTH:
            self._touch(lane, place, np.inf)
            return False
        self._file.write(np.frombuffer(data, np.uint8), self._geometry.packed_offset(lane, place))
        self.puts[lane, place] = Put(lane, block, True, False, packed_digest(data, block))
        return True

    def _touch(self, lane: int, place: int, when: float) -> None:
        if self._touched is None:
            self._touched = np.full((LANES_MAX, self._geometry.places), -np.inf)
        self._touched[lane, place] = when
        self._look_again = min(self._look_again, when + self.quiet_s)

    def holds_rows(self, lane: int, first: int) -> bool:
        """Whether a place has values of a lane's rows from `first` on."""
        rows, stamps = np.arange(first, LANE_ROWS), self._file.stamps(lane)
        for place in np.flatnonzero(stamps).tolist():
            if self.runs_of(lane, (int(stamps[place]) & ~PACKED) - 1, rows).any():
                return True
        return False

    # --- parts of blocks ---

    def clear(self, lane: int, block: int) -> bool:
        """Make way for a block where an older one lies; True if the disk must know of it before `merge`."""
        stamps, place = self._file.stamps(lane), block % self._geometry.places
        if int(stamps[place]) & ~PACKED in (0, block + 1):
            return False
        self._file.set_stamp(lane, place, 0)
        self._file.moved(lane)
        return True

    def merge(self, lane: int, block: int, rows: Integers, runs: Bits) -> bool:
        """Write whole runs (rows ascending, slots) into a block; True if `stamp` must follow, after a wait.

        Zero words are written as they are: who wants to keep what is there has put it in (see `runs_of`).
        """
        geometry, place = self._geometry, block % self._geometry.places
        stamp = int(self._file.stamps(lane)[place])
        self._touch(lane, place, time.monotonic())
        if stamp == block + 1:
            self._file.forget_digest(lane, place)
            self._write_runs(lane, place, rows, runs)
            return False
        if stamp:  # packed
            unit = self._unpacked(lane, place, np.arange(self.rows_of(lane)))
            unit[rows] = runs
            self._file.write(unit, geometry.place_offset(lane, place))
            return True
        self._file.give_back(geometry.place_offset(lane, place), geometry.unit_bytes)
        if self._holds_something(lane, place):
            nothing = np.zeros((self.rows_of(lane), geometry.block), np.uint64)
            self._file.write(nothing, geometry.place_offset(lane, place))
        self._write_runs(lane, place, rows, runs)
        return True

    def _holds_something(self, lane: int, place: int) -> bool:
        """Whether giving a place back has left anything there: some file systems cannot."""
        return bool(self._file.unit(lane, place)[: self.rows_of(lane)].any())

    def _write_runs(self, lane: int, place: int, rows: Integers, runs: Bits) -> None:
        start, run_bytes = self._geometry.place_offset(lane, place), self._geometry.block * 8
        for first, last in _runs(rows):
            self._file.write(runs[first:last], start + int(rows[first]) * run_bytes)

    def runs_of(self, lane: int, block: int, rows: Integers) -> Bits:
        """What a block has of rows (ascending): (rows, slots), zeros where nothing."""
        place = block % self._geometry.places
        stamp = int(self._file.stamps(lane)[place])
        if stamp == block + 1:
            return self._file.unit(lane, place)[rows]
        if stamp & ~PACKED == block + 1:
            return self._unpacked(lane, place, rows)
        return np.zeros((len(rows), self._geometry.block), np.uint64)

    def stamp(self, lane: int, block: int) -> None:
        """Have a block that was merged read from its raw place."""
        place = block % self._geometry.places
        stamps = self._file.stamps(lane)
        was_packed = int(stamps[place]) & ~PACKED == block + 1
        self._file.set_stamp(lane, place, block + 1)
        if was_packed:
            self._file.moved(lane)
            # only when the stamp is on the disk may the packed bytes go
            self.puts[lane, place] = Put(lane, block, False, False)

    # --- after a power cut ---

    def forget_before(self, lane: int, oldest: int) -> None:
        """Clear stamps of blocks whose places newer blocks may have begun to take."""
        stamps = self._file.stamps(lane)
        numbers = (stamps & np.uint64(PACKED - 1)).astype(np.int64)
        stamps[(numbers > 0) & (numbers - 1 < oldest)] = 0

    def check_anew(self, lane: int) -> None:
        """Have the checks say what the stamps say, and no checksum: pages of either may be older than the others."""
        stamps = self._file.stamps(lane)
        if self._geometry.checks:
            self._file.checks(lane)[:] = stamps & np.uint64(PACKED) | (stamps & np.uint64(TAG)) << np.uint64(
                32
            )

    def clear_rows(self, lane: int, first: int) -> None:
        """Make a lane's rows from `first` on missing."""
        geometry = self._geometry
        nothing = np.zeros((LANE_ROWS - first, geometry.block), np.uint64)
        for place in np.flatnonzero(self._file.stamps(lane)).tolist():
            if not self._is_packed(lane, place):
                self._file.write(nothing, geometry.place_offset(lane, place) + first * geometry.block * 8)
                continue
            start = geometry.packed_offset(lane, place)
            if codec.extent(self._file.bytes, start)[0] > first:
                block = (int(self._file.stamps(lane)[place]) & ~PACKED) - 1
                unit = np.zeros((LANE_ROWS, geometry.block), np.uint64)
                unit[:first] = self._unpacked(lane, place, np.arange(first))
                self._file.write(unit, geometry.place_offset(lane, place))
                self._file.wait()
                self.stamp(lane, block)


def digest_of(unit: Bits, block: int) -> int:
    """The checksum of a raw block (rows, slots), never 0; rows without values change nothing."""
    return int(kernels.block_digest(np.ascontiguousarray(unit), np.uint64(block + 1)))


def packed_digest(data: bytes | memoryview, block: int) -> int:
    """The checksum of a packed block, by way of its own, never 0."""
    return zlib.crc32(data[16:20], zlib.crc32((block + 1).to_bytes(8, "little"))) or 1


def _runs(ordered: Integers) -> Iterator[tuple[int, int]]:
    """(first, last) index of each run of consecutive numbers."""
    cuts = np.flatnonzero(np.diff(ordered) != 1) + 1
    edges = [0, *cuts.tolist(), len(ordered)]
    return pairwise(edges)
