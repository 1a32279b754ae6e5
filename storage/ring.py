"""One archive of one shard: heads, sealed blocks and stamps in a memory-mapped file (see format.py).

The writer's values go into the heads, which every process that maps the file sees at once. When time moves on,
a head is sealed: turned to series-major, packed, and written to its place in one go. Late values go to sealed blocks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from storage import kernels
from storage.disk import Disk
from storage.durable import Sync, SyncState, encode_record, last_record
from storage.errors import CorruptRing
from storage.format import (
    HEAD_AFTER,
    HEAD_STAMP,
    HEAD_WORDS,
    LANE_ROWS,
    LANES_MAX,
    LATE,
    LOW_WORD,
    NAN_BITS,
    PAGE,
    RECORDS_START,
    SEALS,
    WORD,
    Geometry,
)
from storage.places import Places
from storage.ring_file import Bits, RingFile

_log = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NOTHING = np.iinfo(np.int64).max
_NONE: Integers = np.empty(0, np.int64)
_READ_TRIES = 50
_WELL_IN = 8  # a block's eighth: until then late values still find the block before in its head


class Dirty(NamedTuple):
    """The slots, lowest and highest of each lane, that were written since the last rollup."""

    low: Integers
    high: Integers

    def with_(self, other: Dirty) -> Dirty:
        return Dirty(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


class Ring:
    """A ring file, mapped. Rows are the shard's rows, slots are timestamp // step."""

    def __init__(self, path: Path, *, writable: bool, disk: Disk | None = None) -> None:
        self._open(RingFile(path, writable=writable, disk=disk))

    @classmethod
    def create(cls, path: Path, geometry: Geometry, schema: dict[str, Any], disk: Disk | None = None) -> Ring:
        ring = cls.__new__(cls)
        no_heads = np.zeros((LANES_MAX, HEAD_WORDS), np.uint64)
        ring._open(RingFile.create(path, geometry, schema, encode_record(no_heads, 1), disk))
        return ring

    def _open(self, file: RingFile) -> None:
        self.file, self.path, self.geometry = file, file.path, file.geometry
        self.places = Places(file)
        self.before_seal: Callable[[int], None] | None = None  # of a lane: what brings the coarser archive up
        self.overtaken = 0  # values refused because a newer block had taken their block's place
        self._kernel_geometry = self.geometry.for_kernel()
        self._dirty = Dirty(np.full(LANES_MAX, _NOTHING), np.full(LANES_MAX, -1))
        self._written = np.zeros((LANES_MAX, 2), np.bool_)  # heads, since they were put to their places
        self._changed = False  # since the last sync
        self._sync_state = SyncState()
        self._told = False  # that lanes are missing
        self._syncs = 0  # begun
        self._sync_state.record = last_record(os.pread(file.fd, 2 * PAGE, RECORDS_START))[1]

    @property
    def lanes(self) -> int:
        return self.file.lanes

    @property
    def rows_used(self) -> int:
        """Rows that a seal has to write; the shard keeps it."""
        return self.places.rows_used

    def close(self) -> None:
        self.file.close()

    def make_room(self, rows: int) -> None:
        """Have lanes for `rows` rows; raises OSError before anything depends on it."""
        self.file.add_lanes(-(-rows // LANE_ROWS))
        self.places.rows_used = max(self.rows_used, rows)
        self.file.give_rows(self.rows_used)

    def holds_rows(self, first: int) -> bool:
        """Whether there are values of rows from `first` on."""
        for lane in range(first // LANE_ROWS, self.lanes):
            row = max(0, first - lane * LANE_ROWS)
            for head in (0, 1):
                begin, after = self.file.head_range(lane, head)
                if self.file.heads(lane)[head] and self.file.strips(lane)[head, begin:after, row:].any():
                    return True
            if self.places.holds_rows(lane, row):
                return True
        return False

    # --- writing ---

    def write(self, rows: Integers, slots: Integers, values: Floats) -> Integers:
        """Store values, later ones over earlier ones.

        Gives the indices of those that went to sealed blocks: `take_dirty` does not tell of them, and `rolled_up`
        is to be called when the coarser archive has them.
        """
        self._changed = True
        bits = np.ascontiguousarray(values).view(np.uint64)
        late = self._write_heads(rows, slots, bits)
        if not len(late):
            return late
        left: list[tuple[int, int, Integers]] = []
        for lane, block, at in self._by_block(rows, slots, late):
            if self._open_head(lane, block):
                self._write_heads(rows[at], slots[at], bits[at])
            else:
                left.append((lane, block, at))
        sealed = self._write_places(left, rows, slots, bits)
        self._changed = True  # a sync that made way for a head came before the values in it
        return sealed

    def _write_heads(self, rows: Integers, slots: Integers, bits: Bits) -> Integers:
        """Write what has a head; gives the indices of the rest."""
        late = np.empty(len(rows), np.int64)
        left = kernels.write_heads(
            self.file.words, self._kernel_geometry, rows, slots, bits, *self._dirty, self._written, late
        )
        return late[:left]

    def _by_block(
        self, rows: Integers, slots: Integers, which: Integers
    ) -> Iterator[tuple[int, int, Integers]]:
        """(lane, block, indices) of the values at `which`, oldest block first, arrival order inside."""
        lanes, blocks = rows[which] // LANE_ROWS, slots[which] // self.geometry.block
        order = np.lexsort((lanes, blocks))
        lanes, blocks, which = lanes[order], blocks[order], which[order]
        cuts = np.flatnonzero((np.diff(lanes) != 0) | (np.diff(blocks) != 0)) + 1
        starts = np.concatenate(([0], cuts))
        for start, at in zip(starts, np.split(which, cuts), strict=True):
            yield int(lanes[start]), int(blocks[start]), at

    def _open_head(self, lane: int, block: int) -> bool:
        """Make `block` one of the lane's heads, sealing what lies in its way; False if it belongs among the sealed."""
        control, head = self.file.heads(lane), block % 2
        stamp, newest = int(control[head]), int(control[:2].max())
        if stamp == block + 1:
            return True
        if block + 1 < newest - 1 or self.places.holds(lane, block):
            return False
        if stamp:
            if not self._is_put(lane, stamp):
                self.seal(lane, head)
            self.seal_ahead(LANES_MAX)  # the other lanes are as far: one sync for all
            while int(control[head]) == stamp:  # values that came while a sync went on need another
                self.sync()
        self.file.empty_head(lane, head, block + 1)
        return True

    # --- late values ---

    def _write_places(
        self, parts: list[tuple[int, int, Integers]], rows: Integers, slots: Integers, bits: Bits
    ) -> Integers:
        """Put late values (lane, block, indices) into sealed blocks; gives the indices of those that were."""
        kept = []
        for lane, block, at in parts:
            if self._make_way(lane, block):
                kept.append((lane, block, at))
                self._mark_late(lane, slots[at])
            else:
                self.overtaken += len(at)
        self._clear([(lane, block) for lane, block, _ in kept])
        stamps = []
        for lane, block, at in kept:
            touched, inverse = np.unique(rows[at] % LANE_ROWS, return_inverse=True)
            runs = self.places.runs_of(lane, block, touched)
            runs[inverse, slots[at] % self.geometry.block] = bits[at] ^ np.uint64(NAN_BITS)
            if self.places.merge(lane, block, touched, runs):
                stamps.append((lane, block))
        self._stamp(stamps)
        return np.concatenate([at for _, _, at in kept]) if kept else _NONE

    def _make_way(self, lane: int, block: int) -> bool:
        """Have no sync under way that is to stamp the block's place otherwise; False if a newer block has it."""
        place = block % self.geometry.places
        while (put := self.places.puts.get((lane, place))) is not None and (put.block != block or put.packed):
            self.sync()
        return self.places.block_at(lane, place) <= block

    def _clear(self, blocks: list[tuple[int, int]]) -> None:
        cleared = [self.places.clear(lane, block) for lane, block in blocks]
        if any(cleared):
            self.file.wait()  # else values could lie on the disk under the stamp of an older block

    def _stamp(self, blocks: list[tuple[int, int]]) -> None:
        if blocks:
            self.file.wait()  # a stamp that reached the disk before its block would show what lay there before
        for lane, block in blocks:
            self.places.stamp(lane, block)

    def _mark_late(self, lane: int, slots: Integers) -> None:
        """Remember in the file, until they are rolled up, that there are late values: a kill may come between."""
        if self.before_seal is None:
            return
        control = self.file.heads(lane)
        low, high = int(slots.min()), int(slots.max())
        if mark := int(control[LATE]):
            low, high = min(low, (mark >> 32) - 1), max(high, mark & 0xFFFFFFFF)
        control[LATE] = low + 1 << 32 | high

    def rolled_up(self, lanes: Integers) -> None:
        """The late values of these lanes are in the coarser archive."""
        self.file.all_heads()[lanes, LATE] = 0

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
        parts = []
        for lane in np.unique(rows // LANE_ROWS).tolist():
            at = slice(*np.searchsorted(rows, (lane * LANE_ROWS, (lane + 1) * LANE_ROWS)))
            for i in range(blocks):
                unit = bits[at, i * block : (i + 1) * block]
                if not unit.any():
                    continue
                if self._fill_head(lane, first // block + i, rows[at], unit, now_slot // block):
                    continue
                if self._make_way(lane, first // block + i):
                    parts.append((lane, first // block + i, rows[at] % LANE_ROWS, unit))
                else:
                    self.overtaken += int(np.count_nonzero(unit))
        self._fill_places(parts)
        self._changed = True  # a sync that made way for a head came before the values in it

    def _fill_head(self, lane: int, block: int, rows: Integers, unit: Bits, now_block: int) -> bool:
        """Put stored words into the block's head; False if it has and gets none."""
        is_head = int(self.file.heads(lane)[block % 2]) == block + 1
        if not is_head and (block < now_block - 1 or not self._open_head(lane, block)):
            return False
        at, slots = np.nonzero(unit)
        bits = unit[at, slots] ^ np.uint64(NAN_BITS)
        before = Dirty(*(one.copy() for one in self._dirty))
        self._write_heads(rows[at], slots + block * self.geometry.block, bits)
        self._dirty = before  # the rollup is not to be told
        return True

    def _fill_places(self, parts: list[tuple[int, int, Integers, Bits]]) -> None:
        """Put stored words (lane, block, rows, unit) into sealed blocks, over what is there."""
        self._clear([(lane, block) for lane, block, _, _ in parts])
        stamps = []
        for lane, block, rows, unit in parts:
            merged = np.where(unit != 0, unit, self.places.runs_of(lane, block, rows))
            if self.places.merge(lane, block, rows, merged):
                stamps.append((lane, block))
        self._stamp(stamps)

    # --- sealing ---

    def seal_ahead(self, lanes_max: int) -> int:
        """Seal older heads whose lane is well into the next block; gives how many, at most lanes_max.

        Otherwise all lanes would be sealed when the block after begins, at the same moment.
        """
        heads = self.file.all_heads()[: self.lanes].astype(np.int64)
        stamps = heads[:, HEAD_STAMP : HEAD_STAMP + 2]
        after = heads[:, HEAD_AFTER : HEAD_AFTER + 2] & LOW_WORD
        newer = stamps.argmax(axis=1)
        at = np.arange(self.lanes)
        older = stamps[at, 1 - newer]
        follows = (stamps[at, newer] == older + 1) & (older > 0)
        well_in = after[at, newer] >= self.geometry.block // _WELL_IN
        due = [
            lane
            for lane in np.flatnonzero(follows & well_in).tolist()
            if not self._is_put(lane, int(older[lane]))
        ]
        for lane in due[:lanes_max]:
            self.seal(lane, 1 - int(newer[lane]))
        return len(due[:lanes_max])

    def _is_put(self, lane: int, stamp: int) -> bool:
        put = self.places.puts.get((lane, (stamp - 1) % self.geometry.places))
        return put is not None and put.block == stamp - 1 and put.from_head

    def seal(self, lane: int, head: int) -> None:
        """Write a head to its place among the sealed blocks; the next sync stamps the place and frees the head."""
        if self.before_seal is not None:
            self.before_seal(lane)
        control = self.file.heads(lane)
        block = int(control[HEAD_STAMP + head]) - 1
        if not self._make_way(lane, block):
            control[HEAD_STAMP + head] = 0  # late values have begun a newer block there: this one is too old
            return
        self._changed = True
        self.places.put(
            lane, block, self._turned(lane, head), pack=self.places.pack_after == 0, from_head=True
        )
        self._written[lane, head] = False

    def _turned(self, lane: int, head: int) -> Bits:
        """A head's values as its place holds them: (rows in use, slots)."""
        first, after = self.file.head_range(lane, head)
        turned = np.zeros((self.places.rows_of(lane), self.geometry.block), np.uint64)
        turned[:, first:after] = self.file.strips(lane)[head, first:after, : len(turned)].T
        return turned

    def pack_some(self, now_slot: int, most: int) -> int:
        """Pack up to `most` sealed blocks that are old enough; gives how many."""
        packed = self.places.pack_some(now_slot, most)
        self._changed = self._changed or packed > 0
        return packed

    # --- syncing: see durable.py ---

    def begin_sync(self) -> Sync | None:
        """What is to be synced now; None if nothing has changed since the last one that ran."""
        under_way = self._sync_state.done < self._syncs
        if not (self._changed or self.places.puts or under_way):
            return None
        for put in list(self.places.puts.values()):
            head = put.block % 2
            if put.from_head and not put.syncs and self._written[put.lane, head]:
                if (
                    self.before_seal is not None
                ):  # the head is freed by the sync, and what it had not rolled up forgotten
                    self.before_seal(put.lane)
                self.places.put_again(put, self._turned(put.lane, head))
                self._written[put.lane, head] = False
        puts = list(self.places.puts.values())
        for put in puts:
            put.syncs += 1
        self._changed = False
        self._syncs += 1
        return Sync(self.file, self.file.all_heads().copy(), puts, self._syncs, self._sync_state)

    def end_sync(self, sync: Sync) -> None:
        """Free the heads of the blocks that the sync has brought to their places."""
        for put in sync.puts:
            put.syncs -= 1
            place, head = put.block % self.geometry.places, put.block % 2
            if self.places.puts.get((put.lane, place)) is not put:
                continue  # another sync has done so
            if put.from_head and self._written[put.lane, head]:
                # values came while the disk was awaited, and packed bytes that are stamped are not written over
                turned = self._turned(put.lane, head)
                self.places.put(put.lane, put.block, turned, pack=False, from_head=True)
                self._written[put.lane, head] = False
                continue
            if put.from_head:
                control = self.file.heads(put.lane)
                control[SEALS] += np.uint64(1)
                control[HEAD_STAMP + head] = 0
                control[SEALS] += np.uint64(1)
            self.places.settle(put)

    def sync(self) -> None:
        """Begin, run and end in one go."""
        sync = self.begin_sync()
        if sync is not None:
            sync.run()
            self.end_sync(sync)

    def recover(self, rows: int) -> None:
        """Go back to the last record, after a power cut, for a shard of which the catalogue knows `rows` rows.

        Whatever came after it may be half on the disk; nothing of it is believed.
        """
        lanes = -(-rows // LANE_ROWS)
        whole = min(lanes, self.lanes)
        self.file.cut_lanes(whole)
        heads, self._sync_state.record = last_record(os.pread(self.file.fd, 2 * PAGE, RECORDS_START))
        heads[whole:] = 0
        heads[:, SEALS] = heads[:, LATE] = 0
        self.file.all_heads()[:] = heads
        self.places.rows_used = rows
        self.file.give_rows(rows)
        for lane in range(whole):
            newest = int(heads[lane, HEAD_STAMP : HEAD_STAMP + 2].max()) - 1
            self.places.forget_before(lane, newest - self.geometry.places + 1)
            self.places.check_anew(lane)
        if rows % LANE_ROWS and whole == lanes:
            self.file.strips(lanes - 1)[:, :, rows % LANE_ROWS :] = 0
            self.places.clear_rows(lanes - 1, rows % LANE_ROWS)

    # --- what the rollup asks ---

    def take_dirty(self, lane: int | None = None) -> Dirty:
        """What was written to heads since the last call, of all lanes or of one."""
        lanes = slice(None) if lane is None else slice(lane, lane + 1)
        taken = Dirty(np.full(LANES_MAX, _NOTHING), np.full(LANES_MAX, -1))
        for mine, out, nothing in zip(self._dirty, taken, (_NOTHING, -1), strict=True):
            out[lanes] = mine[lanes]
            mine[lanes] = nothing
        return taken

    def give_back(self, dirty: Dirty) -> None:
        """Take as not rolled up after all."""
        self._dirty = self._dirty.with_(dirty)

    def pairs(self, dirty: Dirty, ratio: int) -> tuple[Integers, Integers]:
        """The pairs (row, coarse slot of `ratio` slots) that dirty slots touch.

        A lane's rows all count when one was written: that is cheaper than to know which.
        """
        if not (dirty.high >= 0).any():
            return _NONE, _NONE
        count = kernels.touched_intervals(*dirty, ratio, self.rows_used, _NONE, _NONE)
        rows, coarse = np.empty(count, np.int64), np.empty(count, np.int64)
        kernels.touched_intervals(*dirty, ratio, self.rows_used, rows, coarse)
        return rows, coarse

    def mark_dirty(self) -> None:
        """Take what lies in heads, and late values that a kill kept from it, as not rolled up: it may not have been."""
        for lane in range(self.lanes):
            control = self.file.heads(lane)
            for head in (0, 1):
                first, after = self.file.head_range(lane, head)
                if control[head] and after:
                    start = (int(control[head]) - 1) * self.geometry.block
                    self._mark(lane, start + first, start + after - 1)
            if mark := int(control[LATE]):
                self._mark(lane, (mark >> 32) - 1, mark & 0xFFFFFFFF)

    def _mark(self, lane: int, low: int, high: int) -> None:
        self._dirty.low[lane] = min(self._dirty.low[lane], low)
        self._dirty.high[lane] = max(self._dirty.high[lane], high)

    # --- reading ---

    def read(self, rows: Integers, first: int, points: int) -> Floats:
        """float64 (rows, points): the slots from `first` on, NaN where nothing was written."""
        out = np.empty((len(rows), points))
        self.read_into(out, np.arange(len(rows)), rows, first)
        return out

    def read_into(self, out: Floats, at: Integers, rows: Integers, first: int) -> None:
        """As `read`: rows[i] fills out[at[i]]."""
        bits = out.view(np.uint64)
        for _ in range(_READ_TRIES):
            before = self._seals(rows)
            if before < -1:
                out[at] = self._read_there(rows, first, out.shape[1])
                return
            words = self.file.words  # one map, even if another thread makes a new one meanwhile
            kernels.read_rows(words, words.view(np.uint8), self._kernel_geometry, rows, first, bits, at)
            if before >= 0 and before == self._seals(rows):
                return
            os.sched_yield()  # a seal went on meanwhile: a block could have been seen in neither place
        # a writer that died in the middle of a seal leaves head and place each readable: what was read is right

    def _seals(self, rows: Integers) -> int:
        """A number that changes when one of the rows' lanes is sealed; -1 while one is, -2 where a lane is missing."""
        seals = int(kernels.seals(self.file.words, self.lanes, rows))
        if seals < -1:
            self.file.map()  # the writer has added lanes
            seals = int(kernels.seals(self.file.words, self.lanes, rows))
        return seals

    def _read_there(self, rows: Integers, first: int, points: int) -> Floats:
        """As `read`, of rows some of which the file does not reach: it is cut short until a writer opens it."""
        if not self._told:
            self._told = True
            end = len(self.file.words) * WORD
            _log.error("%s", CorruptRing(str(self.path), end, "the file ends before rows of the catalogue"))
        out = np.full((len(rows), points), np.nan)
        there = rows // LANE_ROWS < self.lanes
        if there.any():
            out[there] = self.read(rows[there], first, points)
        return out

    def intervals(self, rows: Integers, firsts: Integers, slots: int) -> Floats:
        """float64 (slots, n): column i is the `slots` slots from firsts[i] on of rows[i]."""
        out = np.empty((slots, len(rows)), np.uint64)
        kernels.read_intervals(self.file.words, self.file.bytes, self._kernel_geometry, rows, firsts, out)
        return out.view(np.float64)

    def newest(self) -> int:
        """The newest slot that any row was written in; -1 = none."""
        newest = -1
        for lane in range(self.lanes):
            control = self.file.heads(lane)
            for head in (0, 1):
                after = self.file.head_range(lane, head)[1]
                if control[head] and after:
                    newest = max(newest, (int(control[head]) - 1) * self.geometry.block + after - 1)
        return newest


class LostRing(Ring):
    """What a reader has in place of a ring whose file is damaged or not there: all of it is missing."""

    def __init__(self, path: Path, geometry: Geometry) -> None:
        self.path, self.geometry = path, geometry

    @property
    def lanes(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def read_into(self, out: Floats, at: Integers, rows: Integers, first: int) -> None:
        out[at] = np.nan

    def newest(self) -> int:
        return -1
