"""A ring's file, open and mapped: where its parts lie in the map, its growth, and its way to the disk."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from storage import format, kernels
from storage.disk import Disk, SystemDisk
from storage.errors import CorruptRing
from storage.format import (
    HEAD_AFTER,
    HEAD_FIRST,
    HEAD_WORDS,
    LANE_ROWS,
    LANES_MAX,
    LANES_START,
    LOW_WORD,
    PAGE,
    SEALS,
    WORD,
    Geometry,
    check_word,
)

Bits = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


class RingFile:
    """`words` is the whole file as uint64; it is another array after `map`."""

    def __init__(self, path: Path, *, writable: bool, disk: Disk | None = None) -> None:
        """Raises CorruptRing."""
        self.path, self.writable, self.disk = path, writable, disk or SystemDisk()
        self.durable = False  # whether `wait` waits for the disk
        self._broken: OSError | None = None
        self.words: Bits
        self.lanes: int
        self.fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self._closing = finalize(self, os.close, self.fd)
        try:
            self.geometry, self.schema = format.decode_header(os.pread(self.fd, PAGE, 0), str(path))
            self._for_kernel = self.geometry.for_kernel()
            self.inode = os.fstat(self.fd).st_ino
            self.map()
        except BaseException:
            self._closing()
            raise

    @classmethod
    def create(
        cls, path: Path, geometry: Geometry, schema: dict[str, Any], record: bytes, disk: Disk | None = None
    ) -> RingFile:
        """Make the file, with its first record, whole under another name first: a crash leaves a ring or none."""
        disk = disk or SystemDisk()
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            no_heads_no_record = bytes(2 * PAGE)
            header = format.encode_header(geometry, schema)
            disk.write(file, memoryview(header + no_heads_no_record + record), 0)
            disk.sync(file)
        finally:
            os.close(file)
        disk.rename(unfinished, path)
        return cls(path, writable=True, disk=disk)

    def close(self) -> None:
        self.words = np.empty(0, np.uint64)
        self._closing()

    def map(self) -> None:
        size = os.fstat(self.fd).st_size
        if size < LANES_START:
            raise CorruptRing(str(self.path), size, "the file ends before its first lane")
        whole = (size - LANES_START) // self.geometry.lane_bytes  # one that is being added does not count yet
        self.lanes = min(whole, LANES_MAX)
        access = mmap.ACCESS_WRITE if self.writable else mmap.ACCESS_READ
        mapped = mmap.mmap(self.fd, self.geometry.lane_offset(self.lanes), access=access)
        # without it, the first touch of a strip reads megabytes of empty file ahead: 1.6 ms instead of 9 µs
        mapped.madvise(mmap.MADV_RANDOM)
        self.words = np.frombuffer(mapped, np.uint64)

    def add_lanes(self, lanes: int) -> None:
        """Add lanes, or complete one that is cut short, until there are so many.

        Space for stamps and heads is reserved now: a full disk is an OSError here and not a SIGBUS when a value is
        written.
        """
        size = os.fstat(self.fd).st_size
        for lane in range(self.lanes, lanes):
            start = self.geometry.lane_offset(lane)
            try:
                self.disk.reserve(self.fd, start, self.geometry.stamps_bytes + 2 * self.geometry.unit_bytes)
                self.disk.resize(self.fd, start + self.geometry.lane_bytes)
            except OSError:
                os.ftruncate(self.fd, max(size, start))
                raise
        if lanes > self.lanes:
            self.map()

    def cut_lanes(self, lanes: int) -> None:
        """Have no more than so many lanes."""
        self.disk.resize(self.fd, max(LANES_START, self.geometry.lane_offset(lanes)))
        self.map()

    # --- parts of the map ---

    @property
    def bytes(self) -> Bytes:
        """The whole file as uint8."""
        return self.words.view(np.uint8)

    def all_heads(self) -> Bits:
        """The heads' page: (lanes, words)."""
        return self.words[PAGE // WORD : 2 * PAGE // WORD].reshape(LANES_MAX, HEAD_WORDS)

    def heads(self, lane: int) -> Bits:
        """The lane's words on the heads' page."""
        start = PAGE // WORD + lane * HEAD_WORDS
        return self.words[start : start + HEAD_WORDS]

    def head_range(self, lane: int, head: int) -> tuple[int, int]:
        """(first, after) of the slots of a head that count; (0, 0) if what says so is damaged."""
        stamp = self.heads(lane)[head]
        first, after = kernels.head_range(self.words, self._for_kernel, lane, head, stamp)
        return int(first), int(after)

    def empty_head(self, lane: int, head: int, stamp: int) -> None:
        """Have a head that is free begin with a block of this stamp, without values."""
        control, checked = self.heads(lane), self.geometry.checks
        for word in (HEAD_FIRST + head, HEAD_AFTER + head):
            control[word] = kernels.slot_word(stamp, 0, lane * HEAD_WORDS + word, checked)
        control[head] = stamp

    def strips(self, lane: int) -> Bits:
        """Both heads of a lane: (2, slots, rows)."""
        geometry = self.geometry
        start = (geometry.lane_offset(lane) + geometry.stamps_bytes) // WORD
        words = self.words[start : start + 2 * geometry.unit_bytes // WORD]
        return words.reshape(2, geometry.block, LANE_ROWS)

    def stamps(self, lane: int) -> Bits:
        """The stamps of the lane's places."""
        start = self.geometry.lane_offset(lane) // WORD
        return self.words[start : start + self.geometry.places]

    def checks(self, lane: int) -> Bits:
        """The checks of the lane's places; none in version 1."""
        start = (self.geometry.lane_offset(lane) + self.geometry.checks_offset) // WORD
        return self.words[start : start + self.geometry.places * self.geometry.checks]

    def rows_given(self) -> int:
        """How many rows the file says were given to names; 0 if it is of version 1."""
        if not self.geometry.checks:
            return 0
        given = self.rows_of_lanes()
        lanes = np.flatnonzero(given)
        return int(lanes[-1] * LANE_ROWS + given[lanes[-1]]) if len(lanes) else 0

    def rows_of_lanes(self) -> npt.NDArray[np.int64]:
        """How many rows of each lane were given to names; none in version 1."""
        at = [self._rows_at(lane) for lane in range(self.lanes if self.geometry.checks else 0)]
        return np.minimum(self.words[at], LANE_ROWS).astype(np.int64)

    def give_rows(self, rows: int) -> None:
        """Remember that so many rows are given to names, whatever becomes of the names."""
        for lane in range(self.lanes if self.geometry.checks else 0):
            given = max(0, min(LANE_ROWS, rows - lane * LANE_ROWS))
            if int(self.words[self._rows_at(lane)]) != given:
                self.words[self._rows_at(lane)] = given

    def _rows_at(self, lane: int) -> int:
        return (self.geometry.lane_offset(lane) + self.geometry.checks_offset) // WORD + self.geometry.places

    def set_stamp(self, lane: int, place: int, stamp: int, digest: int = 0) -> None:
        """Have a place hold what this stamp says, 0 = nothing; `digest` of its bytes, 0 = not known.

        The check comes first: wherever a kill comes between, what it leaves is mended at the next start.
        """
        if self.geometry.checks:
            self.checks(lane)[place] = check_word(stamp, digest) if stamp else 0
        self.stamps(lane)[place] = stamp

    def digest(self, lane: int, place: int) -> int:
        """The checksum of what a place holds, 0 = not known."""
        return int(self.checks(lane)[place]) & LOW_WORD if self.geometry.checks else 0

    def forget_digest(self, lane: int, place: int) -> None:
        """What a place holds is about to change."""
        if self.geometry.checks:
            self.checks(lane)[place] &= np.uint64(~LOW_WORD & (1 << 64) - 1)

    def unit(self, lane: int, place: int) -> Bits:
        """What lies in a place: (rows, slots)."""
        start = self.geometry.place_offset(lane, place) // WORD
        return self.words[start : start + self.geometry.unit_bytes // WORD].reshape(LANE_ROWS, -1)

    def moved(self, lane: int) -> None:
        """Have whoever is reading the lane read it again: what they saw may lie elsewhere."""
        self.heads(lane)[SEALS] += np.uint64(2)

    # --- to the disk ---

    def write(self, values: Bits | Bytes, offset: int) -> None:
        self.disk.write(self.fd, np.ascontiguousarray(values).data.cast("B"), offset)

    def give_back(self, offset: int, size: int) -> None:
        self.disk.give_back(self.fd, offset, size)

    def wait(self) -> None:
        """Until all that was written is on the disk, if the ring is durable.

        Once this has failed it fails for ever, with EIO whatever the reason: the kernel takes pages that it could not
        write for written, so that the next attempt would succeed without them.
        """
        if self.durable and self._broken is None:
            try:
                self.disk.sync(self.fd)
            except OSError as error:
                self._broken = error
        if self._broken is not None:
            raise OSError(errno.EIO, f"{self.path} could not be synced: {self._broken}") from self._broken
