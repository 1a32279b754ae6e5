"""One archive of one shard: heads, sealed blocks and stamps in a memory-mapped file (see format.py).

The writer's values go into the heads, which every process that maps the file sees at once. When time moves on,
a head is sealed: turned to series-major and written to its place in one go. Late values go to sealed blocks.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from storage import format, kernels
from storage.durable import Sealed, Sync, last_record
from storage.errors import CorruptRing
from storage.format import (
    HEAD_AFTER,
    HEAD_FIRST,
    HEAD_STAMP,
    HEAD_WORDS,
    LANE_ROWS,
    LANES_MAX,
    LANES_START,
    NAN_BITS,
    PAGE,
    RECORDS_START,
    SEALS,
    WORD,
    Geometry,
)

Integers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_NOTHING = np.iinfo(np.int64).max
_NONE: Integers = np.empty(0, np.int64)
_READ_TRIES = 50
_WELL_IN = 8  # a block's eighth: until then late values still find the block before in its head


class Ring:
    """A ring file, mapped. Rows are the shard's rows, slots are timestamp // step."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self.geometry, self.schema = format.decode_header(os.pread(self._fd, PAGE, 0), str(path))
        self._kernel_geometry = self.geometry.for_kernel()
        self._writable = writable
        self.words: Bits  # the whole file, mapped
        self.lanes: int
        self.rows_used = 0  # rows that a seal has to write; the shard keeps it
        self.before_seal: Callable[[int], None] = lambda lane: None
        self.overtaken = 0  # values refused because a newer block had taken their block's place
        self._low = np.full(LANES_MAX, _NOTHING)
        self._high = np.full(LANES_MAX, -1)
        self.durable = False  # whether a sync waits for the disk
        self._changed = False  # since the last sync
        self._sealed: dict[
            tuple[int, int], int
        ] = {}  # (lane, place) → block that lies there, not yet stamped
        self._sync_lock = Lock()
        self._map()
        self._syncs = last_record(os.pread(self._fd, 2 * PAGE, RECORDS_START))[1]

    @classmethod
    def create(cls, path: Path, geometry: Geometry, schema: dict[str, Any]) -> Ring:
        """Make the file whole under another name first: a crash leaves a ring or none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        with unfinished.open("wb") as file:
            file.write(format.encode_header(geometry, schema) + bytes(3 * PAGE))  # no heads, no record
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return cls(path, writable=True)

    def close(self) -> None:
        self.words = np.empty(0, np.uint64)
        os.close(self._fd)

    def _map(self) -> None:
        size = os.fstat(self._fd).st_size
        if size < LANES_START:
            raise CorruptRing(str(self.path), size, "the file ends before its first lane")
        self.lanes = (
            size - LANES_START
        ) // self.geometry.lane_bytes  # one that is being added does not count yet
        access = mmap.ACCESS_WRITE if self._writable else mmap.ACCESS_READ
        mapped = mmap.mmap(self._fd, self.geometry.lane_offset(self.lanes), access=access)
        # without it, the first touch of a strip reads megabytes of empty file ahead: 1.6 ms instead of 9 µs
        mapped.madvise(mmap.MADV_RANDOM)
        self.words = np.frombuffer(mapped, np.uint64)

    def make_room(self, rows: int) -> None:
        """Add lanes, or complete one that is cut short, until there are `rows` rows.

        Space for heads is reserved now: a full disk is an OSError here and not a SIGBUS when a value is written.
        """
        lanes = -(-rows // LANE_ROWS)
        size = os.fstat(self._fd).st_size
        for lane in range(self.lanes, lanes):
            start = self.geometry.lane_offset(lane)
            try:
                os.posix_fallocate(self._fd, start, self.geometry.stamps_bytes + 2 * self.geometry.unit_bytes)
                os.ftruncate(self._fd, start + self.geometry.lane_bytes)
            except OSError:
                os.ftruncate(self._fd, max(size, start))
                raise
        if lanes > self.lanes:
            self._map()
        self.rows_used = max(self.rows_used, rows)

    # --- writing ---

    def write(self, rows: Integers, slots: Integers, values: Floats) -> Integers:
        """Store values, later ones over earlier ones.

        Gives the indices of those that went to sealed blocks: `dirty` does not tell of them.
        """
        self._changed = True
        bits = np.ascontiguousarray(values).view(np.uint64)
        late = np.empty(len(rows), np.int64)
        left = kernels.write_heads(
            self.words, self._kernel_geometry, rows, slots, bits, self._low, self._high, late
        )
        late = late[:left]
        if not left:
            return late
        sealed = [
            self._write_block(lane, block, at, rows, slots, bits)
            for lane, block, at in self._by_block(rows, slots, late)
        ]
        self._changed = True  # a sync that made way for a head came before the values in it
        return np.concatenate(sealed)

    def _by_block(
        self, rows: Integers, slots: Integers, which: Integers
    ) -> Iterator[tuple[int, int, Integers]]:
        """(lane, block, indices) of the values at `which`, oldest block first, arrival order inside."""
        if not len(which):
            return
        lanes, blocks = rows[which] // LANE_ROWS, slots[which] // self.geometry.block
        order = np.lexsort((lanes, blocks))
        lanes, blocks, which = lanes[order], blocks[order], which[order]
        cuts = np.flatnonzero((np.diff(lanes) != 0) | (np.diff(blocks) != 0)) + 1
        starts = np.concatenate(([0], cuts))
        for start, at in zip(starts, np.split(which, cuts), strict=True):
            yield int(lanes[start]), int(blocks[start]), at

    def _write_block(
        self, lane: int, block: int, at: Integers, rows: Integers, slots: Integers, bits: Bits
    ) -> Integers:
        if self._open_head(lane, block):
            kernels.write_heads(
                self.words,
                self._kernel_geometry,
                rows[at],
                slots[at],
                bits[at],
                self._low,
                self._high,
                np.empty(len(at), np.int64),
            )
            return at[:0]
        place = block % self.geometry.places
        if max(int(self._stamps(lane)[place]), self._sealed.get((lane, place), -1) + 1) > block + 1:
            self.overtaken += len(at)
            return at[:0]
        self._write_sealed(lane, block, rows[at] % LANE_ROWS, slots[at] % self.geometry.block, bits[at])
        return at

    def _all_heads(self) -> Bits:
        """The heads' page: (lanes, words)."""
        return self.words[PAGE // WORD : 2 * PAGE // WORD].reshape(LANES_MAX, HEAD_WORDS)

    def _heads(self, lane: int) -> Bits:
        """The lane's words on the heads' page."""
        start = PAGE // WORD + lane * HEAD_WORDS
        return self.words[start : start + HEAD_WORDS]

    def _stamps(self, lane: int) -> Bits:
        """The stamps of the lane's places."""
        start = self.geometry.lane_offset(lane) // WORD
        return self.words[start : start + self.geometry.places]

    def _open_head(self, lane: int, block: int) -> bool:
        """Make `block` one of the lane's heads, sealing what lies in its way; False if it belongs among the sealed."""
        control, head = self._heads(lane), block % 2
        stamp, newest = int(control[head]), int(control[:2].max())
        if stamp == block + 1:
            return True
        if block + 1 < newest - 1 or self._is_sealed(lane, block):
            return False
        if stamp:
            self.seal(lane, head)
            self.seal_ahead(LANES_MAX)  # the other lanes are as far: one sync for all
            self.sync()
        control[HEAD_FIRST + head] = control[HEAD_AFTER + head] = 0
        control[HEAD_STAMP + head] = block + 1
        return True

    def _is_sealed(self, lane: int, block: int) -> bool:
        stamp = int(self._stamps(lane)[block % self.geometry.places])
        return stamp == block + 1 or self._sealed.get((lane, block % self.geometry.places), -1) == block

    def seal_ahead(self, lanes_max: int) -> int:
        """Seal older heads whose lane is well into the next block; gives how many, at most lanes_max.

        Otherwise all lanes would be sealed when the block after begins, at the same moment.
        """
        heads = self._all_heads()[: self.lanes].astype(np.int64)
        stamps, after = heads[:, HEAD_STAMP : HEAD_STAMP + 2], heads[:, HEAD_AFTER : HEAD_AFTER + 2]
        newer = stamps.argmax(axis=1)
        at = np.arange(self.lanes)
        older = stamps[at, 1 - newer]
        follows = (stamps[at, newer] == older + 1) & (older > 0)
        well_in = after[at, newer] >= self.geometry.block // _WELL_IN
        due = [
            lane
            for lane in np.flatnonzero(follows & well_in).tolist()
            if not self._in_place(lane, int(older[lane]))
        ]
        for lane in due[:lanes_max]:
            self.seal(lane, 1 - int(newer[lane]))
        return len(due[:lanes_max])

    def _in_place(self, lane: int, stamp: int) -> bool:
        return self._sealed.get((lane, (stamp - 1) % self.geometry.places), -1) == stamp - 1

    def seal(self, lane: int, head: int) -> None:
        """Write a head to its place among the sealed blocks; the next sync stamps the place and frees the head."""
        self.before_seal(lane)
        control, stamps = self._heads(lane), self._stamps(lane)
        stamp = int(control[HEAD_STAMP + head])
        place = (stamp - 1) % self.geometry.places
        if max(int(stamps[place]), self._sealed.get((lane, place), -1) + 1) > stamp:
            control[HEAD_STAMP + head] = (
                0  # late values have begun a newer block there: this one is past the archive
            )
            return
        if int(stamps[place]) != stamp:
            stamps[place] = 0
        self._pwrite(self._turned(lane, head), self.geometry.place_offset(lane, place))
        self._sealed[lane, place] = stamp - 1
        self._changed = True

    def _turned(self, lane: int, head: int) -> Bits:
        """A head's values as its place holds them: (rows in use, slots)."""
        control, geometry = self._heads(lane), self.geometry
        first, after = int(control[HEAD_FIRST + head]), int(control[HEAD_AFTER + head])
        start = (geometry.lane_offset(lane) + geometry.stamps_bytes + head * geometry.unit_bytes) // WORD
        strips = self.words[start : start + geometry.block * LANE_ROWS].reshape(geometry.block, LANE_ROWS)
        turned = np.zeros((self._rows_of(lane), geometry.block), np.uint64)
        turned[:, first:after] = strips[first:after, : len(turned)].T
        return turned

    def _rows_of(self, lane: int) -> int:
        return min(LANE_ROWS, self.rows_used - lane * LANE_ROWS)

    # --- syncing: see durable.py ---

    def begin_sync(self) -> Sync | None:
        """What is to be synced now; None if nothing has changed since the last one."""
        if not self._changed:
            return None
        self._changed = False
        sealed = [
            Sealed(lane, block, self.geometry.lane_offset(lane) // WORD + place)
            for (lane, place), block in self._sealed.items()
        ]
        for one in sealed:
            self._bring_up(one)
        self._syncs += 1
        heads = self._all_heads().copy()
        return Sync(self._fd, self.words, heads, sealed, self._syncs, self.wait, self._sync_lock)

    def end_sync(self, sync: Sync) -> None:
        """Free the heads of the blocks that the sync has brought to their places."""
        for one in sync.sealed:
            if self._sealed.get((one.lane, one.block % self.geometry.places), -1) != one.block:
                continue  # another sync has done so
            control = self._heads(one.lane)
            self._bring_up(one)
            control[SEALS] += np.uint64(1)
            control[HEAD_STAMP + one.block % 2] = 0
            control[SEALS] += np.uint64(1)
            del self._sealed[one.lane, one.block % self.geometry.places]

    def sync(self) -> None:
        """Begin, run and end in one go."""
        sync = self.begin_sync()
        if sync is not None:
            sync.run()
            self.end_sync(sync)

    def wait(self) -> None:
        """Until all that was written is on the disk, if the ring is durable."""
        if self.durable:
            os.fdatasync(self._fd)

    def _bring_up(self, one: Sealed) -> None:
        """Write to its place what came into a head after it was sealed."""
        offset = self.geometry.place_offset(one.lane, one.block % self.geometry.places)
        turned = self._turned(one.lane, one.block % 2)
        if not np.array_equal(turned.reshape(-1), self.words[offset // WORD : offset // WORD + turned.size]):
            self._pwrite(turned, offset)

    def recover(self, rows: int) -> None:
        """Go back to the last record, after a power cut, for a shard of which the catalogue knows `rows` rows.

        Whatever came after it may be half on the disk; nothing of it is believed.
        """
        lanes = -(-rows // LANE_ROWS)
        size = os.fstat(self._fd).st_size
        whole = min(lanes, max(0, size - LANES_START) // self.geometry.lane_bytes)
        os.ftruncate(self._fd, max(LANES_START, self.geometry.lane_offset(whole)))
        self._map()
        heads, self._syncs = last_record(os.pread(self._fd, 2 * PAGE, RECORDS_START))
        heads[whole:] = 0
        heads[:, SEALS] = 0
        self._all_heads()[:] = heads
        self.rows_used = rows
        for lane in range(whole):
            self._forget_expired(lane)
        if rows % LANE_ROWS and whole == lanes:
            self._clear_rows(lanes - 1, rows % LANE_ROWS)

    def _forget_expired(self, lane: int) -> None:
        """Clear stamps of blocks whose places the newest blocks may have begun to take."""
        stamps, newest = self._stamps(lane), int(self._heads(lane)[:2].max())
        stamps[(stamps > 0) & (stamps.astype(np.int64) < newest - self.geometry.places + 1)] = 0

    def _clear_rows(self, lane: int, first: int) -> None:
        """Make rows that the catalogue does not know missing: their names were lost, their values may not have been."""
        geometry = self.geometry
        base = (geometry.lane_offset(lane) + geometry.stamps_bytes) // WORD
        units = self.words[base : base + 2 * geometry.unit_bytes // WORD].reshape(
            2 * geometry.block, LANE_ROWS
        )
        units[:, first:] = 0
        nothing = np.zeros((LANE_ROWS - first, geometry.block), np.uint64)
        for place in np.flatnonzero(self._stamps(lane)).tolist():
            self._pwrite(nothing, geometry.place_offset(lane, place) + first * geometry.block * WORD)

    def _write_sealed(self, lane: int, block: int, rows: Integers, slots: Integers, bits: Bits) -> None:
        """Put late values (rows and slots within the lane's block) into a sealed block."""
        control, stamps, geometry = self._heads(lane), self._stamps(lane), self.geometry
        place = block % geometry.places
        offset = geometry.place_offset(lane, place)
        self._changed = True
        if not self._is_sealed(lane, block):
            # an older block lies there, or nothing: these are the first values of this one
            unit = np.zeros((self._rows_of(lane), geometry.block), np.uint64)
            unit[rows, slots] = bits ^ np.uint64(NAN_BITS)
            control[SEALS] += np.uint64(1)
            stamps[place] = 0
            self._pwrite(unit, offset)
            if self.durable:
                os.fdatasync(
                    self._fd
                )  # a stamp that reached the disk before its block would show an older one
            stamps[place] = block + 1
            control[SEALS] += np.uint64(1)
            return
        unit = self.words[offset // WORD : offset // WORD + LANE_ROWS * geometry.block].reshape(LANE_ROWS, -1)
        touched, inverse = np.unique(rows, return_inverse=True)
        runs = unit[touched]
        runs[inverse, slots] = bits ^ np.uint64(NAN_BITS)
        for first, last in _runs(touched):
            self._pwrite(runs[first:last], offset + int(touched[first]) * geometry.block * WORD)

    def fill(self, rows: Integers, first: int, values: Floats, now_slot: int) -> None:
        """Store a matrix (rows ascending, slots from `first` on) of any age; NaN leaves what is there.

        For imports. The block of now_slot, the one before it and what lies in heads go to heads; the others whole to
        their places, with one wait for the disk. Nothing counts as written for the rollup.
        """
        self._changed = True
        block = self.geometry.block
        before = first % block
        blocks = -(-(before + values.shape[1]) // block)
        bits = np.zeros((len(rows), blocks * block), np.uint64)
        known = bits[:, before : before + values.shape[1]]
        np.bitwise_xor(np.ascontiguousarray(values).view(np.uint64), np.uint64(NAN_BITS), out=known)
        known[np.isnan(values)] = 0  # a NaN of another pattern is a missing value too
        stamps: list[tuple[int, int]] = []
        for lane in np.unique(rows // LANE_ROWS).tolist():
            at = slice(*np.searchsorted(rows, (lane * LANE_ROWS, (lane + 1) * LANE_ROWS)))
            for i in range(blocks):
                unit = bits[at, i * block : (i + 1) * block]
                if not unit.any():
                    continue
                if self._fill_head(lane, first // block + i, rows[at], unit, now_slot // block):
                    continue
                if self._fill_place(lane, first // block + i, rows[at] % LANE_ROWS, unit):
                    stamps.append((lane, first // block + i))
        self._changed = True  # a sync that made way for a head came before the values in it
        if stamps:
            self.wait()  # a stamp that reached the disk before its block would show an older one
        for lane, number in stamps:
            self._stamps(lane)[number % self.geometry.places] = number + 1

    def _fill_head(self, lane: int, block: int, rows: Integers, unit: Bits, now_block: int) -> bool:
        """Put stored words into the block's head; False if it has and gets none."""
        is_head = int(self._heads(lane)[block % 2]) == block + 1
        if not is_head and (block < now_block - 1 or not self._open_head(lane, block)):
            return False
        at, slots = np.nonzero(unit)
        bits = unit[at, slots] ^ np.uint64(NAN_BITS)
        slots += block * self.geometry.block
        late, touched = (
            np.empty(len(at), np.int64),
            np.zeros(LANES_MAX, np.int64),
        )  # `_low` would tell the rollup
        kernels.write_heads(self.words, self._kernel_geometry, rows[at], slots, bits, touched, touched, late)
        return True

    def _fill_place(self, lane: int, block: int, rows: Integers, unit: Bits) -> bool:
        """Put stored words into the block's place; True if the place is now to be stamped."""
        geometry, stamps, place = self.geometry, self._stamps(lane), block % self.geometry.places
        if max(int(stamps[place]), self._sealed.get((lane, place), -1) + 1) > block + 1:
            self.overtaken += int(np.count_nonzero(unit))
            return False
        offset = geometry.place_offset(lane, place)
        if not self._is_sealed(lane, block):
            stamps[place] = 0
            self._heads(lane)[SEALS] += np.uint64(2)  # whoever is reading what lay there reads again
            whole = np.zeros((self._rows_of(lane), geometry.block), np.uint64)
            whole[rows] = unit
            self._pwrite(whole, offset)
            return True
        stored = self.words[offset // WORD : offset // WORD + LANE_ROWS * geometry.block]
        merged = np.where(unit != 0, unit, stored.reshape(LANE_ROWS, -1)[rows])
        for low, high in _runs(rows):
            self._pwrite(merged[low:high], offset + int(rows[low]) * geometry.block * WORD)
        return False

    def _pwrite(self, values: Bits, offset: int) -> None:
        data = np.ascontiguousarray(values).data.cast("B")
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

    def take_dirty(self, ratio: int, lane: int | None = None) -> tuple[Integers, Integers]:
        """The pairs (row, coarse slot of `ratio` slots) of lanes whose heads were written since the last call.

        A lane's rows all count when one was written: that is cheaper than to know which.
        """
        lanes = slice(None) if lane is None else slice(lane, lane + 1)
        low, high = np.full(LANES_MAX, _NOTHING), np.full(LANES_MAX, -1)
        low[lanes], high[lanes] = self._low[lanes], self._high[lanes]
        if not (high >= 0).any():
            return _NONE, _NONE
        self._low[lanes], self._high[lanes] = _NOTHING, -1
        count = kernels.touched_intervals(low, high, ratio, self.rows_used, _NONE, _NONE)
        rows, coarse = np.empty(count, np.int64), np.empty(count, np.int64)
        kernels.touched_intervals(low, high, ratio, self.rows_used, rows, coarse)
        return rows, coarse

    def mark_heads_dirty(self) -> None:
        """Take all that lies in heads as just written: after a crash it may not have been rolled up."""
        for lane in range(self.lanes):
            control = self._heads(lane)
            if int(control[SEALS]) % 2:
                control[SEALS] += np.uint64(1)
            for head in (0, 1):
                if control[head] and control[HEAD_AFTER + head]:
                    start = (int(control[head]) - 1) * self.geometry.block
                    self._low[lane] = min(self._low[lane], start + int(control[HEAD_FIRST + head]))
                    self._high[lane] = max(self._high[lane], start + int(control[HEAD_AFTER + head]) - 1)

    # --- reading ---

    def read(self, rows: Integers, first: int, points: int) -> Floats:
        """float64 (rows, points): the slots from `first` on, NaN where nothing was written."""
        out = np.empty((len(rows), points), np.uint64)
        for _ in range(_READ_TRIES):
            before = self._seals(rows)
            kernels.read_rows(self.words, self._kernel_geometry, rows, first, out)
            if before >= 0 and before == self._seals(rows):
                break
            os.sched_yield()  # a seal went on meanwhile: a block could have been seen in neither place
        # a writer that died in the middle of a seal leaves head and place each readable: what was read is right
        return out.view(np.float64)

    def _seals(self, rows: Integers) -> int:
        """A number that changes when one of the rows' lanes is sealed; -1 while one is."""
        seals = int(kernels.seals(self.words, self.lanes, rows))
        if seals < -1:
            self._map()  # the writer has added lanes
            seals = int(kernels.seals(self.words, self.lanes, rows))
        if seals < -1:
            raise CorruptRing(
                str(self.path), len(self.words) * WORD, "the file ends before rows of the catalogue"
            )
        return seals

    def intervals(self, rows: Integers, firsts: Integers, slots: int) -> Floats:
        """float64 (slots, n): column i is the `slots` slots from firsts[i] on of rows[i]."""
        out = np.empty((slots, len(rows)), np.uint64)
        kernels.read_intervals(self.words, self._kernel_geometry, rows, firsts, out)
        return out.view(np.float64)

    def newest(self) -> int:
        """The newest slot that any row was written in; -1 = none."""
        newest = -1
        for lane in range(self.lanes):
            control = self._heads(lane)
            for head in (0, 1):
                if control[head]:
                    newest = max(
                        newest,
                        (int(control[head]) - 1) * self.geometry.block + int(control[HEAD_AFTER + head]) - 1,
                    )
        return newest


def _runs(ordered: Integers) -> Iterator[tuple[int, int]]:
    """(first, last) index of each run of consecutive numbers."""
    cuts = np.flatnonzero(np.diff(ordered) != 1) + 1
    edges = [0, *cuts.tolist(), len(ordered)]
    return pairwise(edges)
