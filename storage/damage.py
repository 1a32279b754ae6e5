"""What a writer does about a damaged ring: mend what can be mended, set aside what cannot, lose only what is damaged.

    header          written anew from the schema, if the file's size fits; else the file is set aside for a fresh one
    words of heads  as of the last whole record, for a head whose words contradict each other; else the head is empty
    stamps          of stamp and check the one that can be; else the place is empty, its bytes stay
    counters        seals and late values begin again at zero

What was there before lies in `damaged/` of the data folder, and nothing is ever removed from it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from storage import codec, kernels
from storage.disk import SystemDisk
from storage.durable import last_record
from storage.errors import CorruptRing
from storage.format import (
    HEAD_AFTER,
    HEAD_FIRST,
    HEAD_STAMP,
    LANE_ROWS,
    LANES_MAX,
    LANES_START,
    LATE,
    LOW_WORD,
    PACKED,
    PAGE,
    RECORDS_START,
    SEALS,
    WORD,
    Geometry,
    checked_stamp,
    decode_header,
    encode_header,
)
from storage.places import digest_of, packed_digest
from storage.ring_file import Bits, RingFile

_log = logging.getLogger(__name__)

Spots = list[tuple[int, int]]
_NEVER = 1 << 61  # a block later than any
_DAY_S = 86_400


class Aside:
    """Where damaged things are put."""

    FOLDER = "damaged"

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder, self._clock = data / self.FOLDER, clock

    def take(self, path: Path, why: str) -> None:
        """Move a file here and tell of it; the disk knows when this returns."""
        target = self._name(path, "")
        os.rename(path, target)
        _sync_folder(self.folder)
        _sync_folder(path.parent)
        _log.error("%s; it was set aside as %s", why, target)

    def keep(self, path: Path, offset: int, data: bytes) -> None:
        """Write down bytes of a file that are about to be mended."""
        target = self._name(path, f".byte{offset}")
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            SystemDisk().write(file, memoryview(data), 0)
            os.fsync(file)
        finally:
            os.close(file)

    def changed(self) -> int:
        """A number that changes when something is put here."""
        try:
            return os.stat(self.folder).st_mtime_ns
        except FileNotFoundError:
            return 0

    def _name(self, path: Path, kind: str) -> Path:
        """A path that is not taken, which names folder, file and time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        name, number = f"{path.parent.name}-{path.name}-{when}{kind}", 1
        while (self.folder / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        return self.folder / (name if number == 1 else f"{name}-{number}")


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


# --- the file as a whole ---


def mend_header(path: Path, wanted: Geometry, schema: dict[str, Any], rows: int, aside: Aside) -> bool:
    """Have a ring's file begin with the header of its archive; False if it was of no use and set aside.

    `wanted` is what a new file would have, `rows` those of the shard.
    """
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        page, size = os.pread(file, PAGE, 0), os.fstat(file).st_size
        fault = header_fault(path, page, size, wanted, rows)
        if fault is None:
            if size % WORD:
                os.ftruncate(file, size - size % WORD)  # it was cut short inside of a value
            return True
        geometry = _geometry_of(page, size, wanted, rows)
        if geometry is not None:
            aside.keep(path, 0, page)
            SystemDisk().write(file, memoryview(encode_header(geometry, schema)), 0)
            os.fsync(file)
            _log.error("%s; it was written anew from the schema", fault)
            return True
    finally:
        os.close(file)
    aside.take(path, str(fault))
    return False


def header_fault(path: Path, page: bytes, size: int, wanted: Geometry, rows: int) -> CorruptRing | None:
    """What is wrong with a file of this first page and size, for an archive of this geometry."""
    try:
        geometry, _ = decode_header(page, str(path))
    except CorruptRing as error:
        return error
    if (geometry.step, geometry.points) != (wanted.step, wanted.points):
        what = f"{geometry.points} points of {geometry.step} s, not {wanted.points} of {wanted.step} s"
        return CorruptRing(str(path), 16, f"it holds {what}")
    return size_fault(path, size, geometry, rows)


def size_fault(path: Path, size: int, geometry: Geometry, rows: int) -> CorruptRing | None:
    """What a file's size says is wrong with it as a whole; one that is cut short loses no more than its end."""
    if size < LANES_START:
        return CorruptRing(str(path), size, "the file ends before its first lane")
    if size % PAGE and size > geometry.lane_offset(-(-rows // LANE_ROWS)):
        return CorruptRing(str(path), size, "bytes were put into the file: nothing lies where it should")
    return None


def _geometry_of(page: bytes, size: int, wanted: Geometry, rows: int) -> Geometry | None:
    """The geometry of a file whose header is damaged, as its size allows; None if none fits."""
    try:
        decode_header(page, "")
    except CorruptRing:
        version = int.from_bytes(page[8:12], "little")
        versions = sorted((wanted.version, wanted.version - 1), key=lambda v: v != version)
        for geometry in (Geometry(wanted.step, wanted.points, wanted.block, v) for v in versions if v):
            begun = geometry.stamps_bytes + 2 * geometry.unit_bytes  # a lane that was being added
            if size >= LANES_START and (size - LANES_START) % geometry.lane_bytes in (0, begun):
                return geometry
    return None  # the header is whole, and says that this is another file


# --- words ---


def mend(file: RingFile, aside: Aside, horizon: int | None) -> None:
    """Have every word of a ring that says what lies where be one that can be.

    `horizon`: epoch seconds after which no value can lie, None = not known.
    """
    before = file.all_heads().tobytes()
    heads, late = _mend_heads(file, horizon), _mend_late(file, horizon)
    seals = _mend_seals(file)
    if heads or late or seals:
        aside.keep(file.path, PAGE, before)
    restored, emptied = _mend_stamps(file, aside, horizon)
    if heads or late or seals or restored or emptied:
        _log.error(
            "%s: was damaged: %d heads went back to the last sync, %d stamps of blocks were restored, %d blocks are "
            "lost, %d counters begin anew; what was there lies in %s",
            file.path, heads, restored, emptied, late + seals, aside.folder,
        )  # fmt: skip


def bad_heads(file: RingFile, horizon: int | None) -> Spots:
    """(lane, head) of the heads whose words cannot be."""
    bad = np.zeros((LANES_MAX, 2), np.bool_)
    kernels.damaged_heads(file.words, file.geometry.for_kernel(), _last_block(file, horizon), bad)
    return [(int(lane), int(head)) for lane, head in np.argwhere(bad)]


def lost_heads(file: RingFile, record: Bits) -> Spots:
    """(lane, head) of those that the last record has, but neither a head nor a place."""
    live = file.all_heads()
    gone = (record[:, :HEAD_AFTER] != 0) & (live[:, :HEAD_AFTER] == 0)
    return [
        (int(lane), int(head))
        for lane, head in np.argwhere(gone)
        if not _placed(file, lane, record[lane, head])
    ]


def bad_stamps(file: RingFile, horizon: int | None) -> Spots:
    """(lane, place) of the stamps that cannot be, or that their check does not know."""
    bad = np.zeros((file.lanes, file.geometry.places), np.bool_)
    last = _last_block(file, horizon)
    if not kernels.damaged_stamps(file.words, file.geometry.for_kernel(), last, bad):
        return []
    return [(int(lane), int(place)) for lane, place in np.argwhere(bad)]


def bad_late(file: RingFile, horizon: int | None) -> list[int]:
    """The lanes whose word of late values cannot be."""
    geometry = file.geometry
    longest, last = 2 * (geometry.points + geometry.block), LOW_WORD
    if horizon is not None:
        last = (horizon + _DAY_S) // geometry.step
    found = []
    for lane in np.flatnonzero(file.all_heads()[:, LATE]).tolist():
        low, high = divmod(int(file.heads(lane)[LATE]), LOW_WORD + 1)
        if not (0 < low <= high + 1 and high - low < longest and high <= last):
            found.append(lane)
    return found


def last_heads(file: RingFile) -> Bits:
    """The heads' page as of the last whole record, (lanes, words)."""
    return last_record(os.pread(file.fd, 2 * PAGE, RECORDS_START))[0]


def _last_block(file: RingFile, horizon: int | None) -> int:
    """The last block that can be; only files without checks need to ask.

    A clock that is wrong makes the whole file lie in the future: that is not damage.
    """
    if horizon is None or file.geometry.checks:
        return _NEVER
    last = horizon // file.geometry.step // file.geometry.block + 1
    stamps = [file.all_heads()[: file.lanes, :HEAD_AFTER].reshape(-1)]
    stamps += [file.stamps(lane) & np.uint64(PACKED - 1) for lane in range(file.lanes)]
    known = np.concatenate(stamps)
    known = known[known != 0]
    return _NEVER if np.count_nonzero(known > last + 1) * 2 > len(known) else last


def _mend_heads(file: RingFile, horizon: int | None) -> int:
    record = last_heads(file)
    spots = set(bad_heads(file, horizon) + lost_heads(file, record))
    for lane, head in spots:
        control, words = file.heads(lane), [HEAD_STAMP + head, HEAD_AFTER + head, HEAD_FIRST + head]
        control[words] = record[lane, words]
        if not record[lane, head] or _placed(file, lane, record[lane, head]):
            control[words] = 0
        if (lane, head) in bad_heads(file, horizon):
            control[words] = 0  # a record of version 1 can be of a wrong clock's time
    return len(spots)


def _placed(file: RingFile, lane: int, stamp: np.uint64) -> bool:
    """Whether a head's block, or a newer one, has the block's place."""
    if lane >= file.lanes:
        return False
    place = (int(stamp) - 1) % file.geometry.places
    return int(file.stamps(lane)[place]) & ~PACKED >= int(stamp)


def _mend_late(file: RingFile, horizon: int | None) -> int:
    lanes = bad_late(file, horizon)
    file.all_heads()[lanes, LATE] = 0
    return len(lanes)


def _mend_seals(file: RingFile) -> int:
    """Have no seal be under way, and no counter beyond what it can have reached; gives how many were."""
    seals = file.all_heads()[:, SEALS]
    beyond = seals > LOW_WORD
    seals[beyond] = 0
    seals += seals % np.uint64(2)
    return int(np.count_nonzero(beyond))


def _mend_stamps(file: RingFile, aside: Aside, horizon: int | None) -> tuple[int, int]:
    """Gives how many stamps were restored, and how many places are empty now."""
    spots, restored, emptied = bad_stamps(file, horizon), 0, 0
    for lane in sorted({lane for lane, _ in spots}):
        start = file.geometry.lane_offset(lane)
        before = file.bytes[start : start + file.geometry.stamps_bytes].tobytes()
        changed = False
        for place in (place for of, place in spots if of == lane):
            stamp, digest, known = mended_stamp(file, lane, place)
            if known:  # else it is what a kill leaves, between two words
                restored, emptied = restored + (stamp != 0), emptied + (stamp == 0)
                changed = True
            file.set_stamp(lane, place, stamp, digest)
        if changed:
            aside.keep(file.path, start, before)
    return restored, emptied


def mended_stamp(file: RingFile, lane: int, place: int) -> tuple[int, int, bool]:
    """(stamp, checksum, whether something is damaged) of a place whose stamp and check disagree."""
    stamp, geometry = int(file.stamps(lane)[place]), file.geometry
    if not geometry.checks:
        return 0, 0, True
    check = int(file.checks(lane)[place])
    can_be = {one for one in (stamp, checked_stamp(check)) if _belongs(one, place, geometry)}
    if digest := check & LOW_WORD:
        for one in can_be:
            if content_digest(file, lane, place, one) == digest:
                return one, digest, True
    if stamp and len({one & ~PACKED for one in can_be}) == 1:
        for one in sorted(can_be, reverse=True):  # what is packed says so itself
            if not one & PACKED or content_digest(file, lane, place, one):
                return one, 0, check != 0
    return 0, 0, True


def _belongs(stamp: int, place: int, geometry: Geometry) -> bool:
    number = stamp & ~PACKED
    return 0 < number <= LOW_WORD >> 1 and (number - 1) % geometry.places == place


# --- what lies in places ---


def content_digest(file: RingFile, lane: int, place: int, stamp: int) -> int:
    """The checksum of what lies where a stamp points; 0 = no block is packed there."""
    if not stamp & PACKED:
        return digest_of(file.unit(lane, place), stamp - 1)
    data = packed_bytes(file, lane, place)
    return 0 if codec.damage(data) is not None else packed_digest(data, (stamp & ~PACKED) - 1)


def packed_bytes(file: RingFile, lane: int, place: int) -> memoryview:
    """The bytes of the packed block in a place, as many as its header says."""
    start = file.geometry.packed_offset(lane, place)
    size = min(codec.extent(file.bytes, start)[1], file.geometry.unit_bytes)
    return file.bytes[start : start + size].data
