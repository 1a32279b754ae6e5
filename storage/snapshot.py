"""A copy of a store that is consistent while the store is written, and the way back.

Rings are written in place, so hard links would go on changing and a plain copy would tear: a block could be moved from
its head to its place after the head was not yet copied and the place was no more. A snapshot is made such that it
opens like a store after a power cut (see durable.py):

    1  what was appended so far is synced, and the events are copied, as of one moment
    2  of each ring, fine before coarse, the heads' page, and with each lane its heads and stamps, in one slice a lane
    3  the places, each whole in one slice with the form that its stamp says then; one that by now holds another
       block than in step 2 counts as empty: the block was in a head then, or was past the archive
    4  the heads' page as of step 2 is the copy's last record, and `boot` names a boot that is over
    5  the catalogue, as of one moment, so that it knows the owner of every row that has values
    6  room for the rows of series that were made meanwhile, without their values

So all that was appended before the snapshot began is in it, of what came meanwhile some is, and nothing else. Series
are not deleted, renamed or moved meanwhile: those are jobs too, and jobs are done one at a time.
Where the file system can share blocks between files (FICLONE: xfs, btrfs), 2 and 3 are one call for each ring.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.catalogue import Catalogue
from storage.durable import encode_record
from storage.errors import NotAStore
from storage.events import Events
from storage.format import (
    HEAD_WORDS,
    LANES_MAX,
    LANES_START,
    PAGE,
    RECORDS_START,
    WORD,
    Geometry,
)
from storage.jobs import Job, Part, Progress, beside, synced
from storage.shard import Shard
from storage.store import Store

Bits = npt.NDArray[np.uint64]

UNFINISHED = ".unfinished"
_BOOT = "snapshot"  # no boot of a kernel: whoever opens the copy goes by its records
_FICLONE = 0x40049409
_SLICE_BYTES = 8 << 20  # 3 to 5 ms from memory
_FLUSH_BYTES = 64 << 20  # not more of the copy in memory: the kernel would hold up the one that writes
_PACKED = 1 << 63  # in a stamp


# --- what a ring's format says (see format.py), for any of its versions ---


def _heads_range(geometry: Geometry, lane: int) -> tuple[int, int]:
    """(offset, bytes) of a lane's heads; its stamps lie before them."""
    return geometry.lane_offset(lane) + geometry.stamps_bytes, 2 * geometry.unit_bytes


def _place_range(geometry: Geometry, lane: int, place: int, stamp: int) -> tuple[int, int]:
    """(offset, bytes) of what a place's stamp points to: the packed places come after all raw ones."""
    which = place + geometry.places if stamp & _PACKED else place
    return geometry.place_offset(lane, which), geometry.unit_bytes


def _block(stamp: int) -> int:
    """The block that a stamp names, in whatever form it lies there; -1 = none."""
    return (stamp & ~_PACKED) - 1


# --- making one ---


def snapshot(store: Store, folder: Path, *, slice_bytes: int = _SLICE_BYTES) -> Job:
    """Copy the store into a folder that is new or empty; raises NotAStore, EventsFailed or OSError.

    Until it is whole, the copy is called `folder.unfinished`; one that was stopped keeps that name.
    """
    folder = Path(os.path.abspath(folder))
    with _finished(folder) as unfinished:
        yield from synced(store, Progress(0, 0, "synced"))
        yield from beside(lambda: Events(store.folder).copy_to(unfinished), Progress(0, 0, "events"))
        yield from _copy_rings(store, store.shards(), unfinished, slice_bytes)
        yield from beside(lambda: _copy_catalogue(store, unfinished), Progress(0, 0, "names"))
        known = _shards(unfinished)
        shards = [shard for shard in store.shards() if shard.folder.name in known]
        yield from _copy_rings(store, shards, unfinished, slice_bytes)  # of those that came meanwhile
        _add_lanes(store, shards, unfinished)
        (unfinished / "boot").write_text(_BOOT)
        yield from beside(lambda: _sync_tree(unfinished), Progress(0, 0, "files"))
        size = sum(map(_allocated, unfinished.rglob("*")))
    return [f"snapshot   {len(store):,} series, {size:,} bytes on disk in {folder}"]


@contextmanager
def _finished(folder: Path) -> Iterator[Path]:
    """A new folder beside that takes the folder's name when the block ends well."""
    unfinished = folder.with_name(folder.name + UNFINISHED)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotAStore(f"{folder} is there already: choose a folder that is new or empty")
    try:
        unfinished.mkdir(parents=True)
    except FileExistsError:
        raise NotAStore(f"{unfinished} is left from one that was stopped: remove it first") from None
    yield unfinished
    os.rename(unfinished, folder)
    _sync_folder(folder.parent)


def _copy_catalogue(store: Store, folder: Path) -> None:
    """The names as of one moment, by SQLite's own backup over a connection of its own."""
    source = f"file:{store.folder / Catalogue.FILE}?mode=rw"
    with (
        closing(sqlite3.connect(source, uri=True)) as live,
        closing(sqlite3.connect(folder / Catalogue.FILE)) as copy,
    ):
        live.backup(copy)


def _shards(copy: Path) -> set[str]:
    """The folders of the shards that the copied catalogue knows."""
    catalogue = Catalogue(copy, writable=False)
    known = {f"{number:05d}" for number, _ in catalogue.shards()}
    catalogue.close()
    return known


def _copy_rings(store: Store, shards: list[Shard], copy: Path, slice_bytes: int) -> Part:
    """Copy the rings that are not there yet."""
    pairs = [
        (ring, copy / ring.path.relative_to(store.folder)) for shard in shards for ring in shard.every_ring()
    ]
    missing = [(ring, target) for ring, target in pairs if not target.exists()]
    total, done = sum(_allocated(ring.path) for ring, _ in missing), 0
    for ring, target in missing:
        target.parent.mkdir(parents=True, exist_ok=True)
        size = _allocated(ring.path)
        with _opened(ring.path, target) as (source, opened):
            copying = _RingCopy(ring.geometry, source, opened, slice_bytes)
            for _ in copying.slices():
                progress = Progress(done + min(size, copying.copied), total, "bytes")
                yield progress
                if copying.unflushed > _FLUSH_BYTES:
                    yield from beside(copying.flush, progress)
        done += size


def _add_lanes(store: Store, shards: list[Shard], copy: Path) -> None:
    """Make room in the copies for the rows that names got meanwhile, without their values."""
    for ring in (ring for shard in shards for ring in shard.every_ring()):
        file = os.open(copy / ring.path.relative_to(store.folder), os.O_RDWR | os.O_CLOEXEC)
        try:
            there = (os.fstat(file).st_size - LANES_START) // ring.geometry.lane_bytes
            for lane in range(there, ring.lanes):
                start, size = _heads_range(ring.geometry, lane)
                os.posix_fallocate(
                    file, start - ring.geometry.stamps_bytes, ring.geometry.stamps_bytes + size
                )
                os.ftruncate(file, ring.geometry.lane_offset(lane + 1))
        finally:
            os.close(file)


@contextmanager
def _opened(path: Path, target: Path) -> Iterator[tuple[int, int]]:
    """A file to be read and its copy, new."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            yield source, copy
        finally:
            os.close(copy)
    finally:
        os.close(source)


@dataclass
class _RingCopy:
    """A ring's file that is written meanwhile, and its copy. What is read and written goes together in a slice."""

    geometry: Geometry
    source: int
    copy: int
    slice_bytes: int
    copied: int = 0
    unflushed: int = 0

    def slices(self) -> Iterator[None]:
        """Yields where others may go on."""
        if _clone(self.source, self.copy):
            self._write_control(self._heads())
            return
        heads = np.zeros((LANES_MAX, HEAD_WORDS), np.uint64)
        lanes = (os.fstat(self.source).st_size - LANES_START) // self.geometry.lane_bytes
        os.ftruncate(self.copy, self.geometry.lane_offset(lanes))
        for lane in range(lanes):
            heads[lane], stamps = self._heads()[lane], self._stamps(lane)
            self._copy_heads(lane)
            yield
            places = np.flatnonzero(stamps)[::-1].tolist()
            while places:
                self._copy_places(lane, stamps, places)
                yield
        self._write_control(heads)

    def flush(self) -> None:
        os.fsync(self.copy)
        self.unflushed = 0

    def _heads(self) -> Bits:
        """The heads' page: (lanes, words)."""
        return np.frombuffer(os.pread(self.source, PAGE, PAGE), np.uint64).reshape(LANES_MAX, HEAD_WORDS)

    def _stamps(self, lane: int) -> Bits:
        size = self.geometry.places * WORD
        return np.frombuffer(os.pread(self.source, size, self.geometry.lane_offset(lane)), np.uint64)

    def _write_control(self, heads: Bits) -> None:
        """Header, heads' page, and the record of these heads: what opening the copy goes by."""
        os.pwrite(self.copy, os.pread(self.source, PAGE, 0) + heads.tobytes() + bytes(2 * PAGE), 0)
        os.pwrite(self.copy, encode_record(heads, 1), RECORDS_START + 1 % 2 * PAGE)

    def _copy_heads(self, lane: int) -> None:
        """Copy a lane's heads; their space is reserved, as a full disk must not meet a write to the map."""
        start, size = _heads_range(self.geometry, lane)
        os.posix_fallocate(self.copy, start - self.geometry.stamps_bytes, self.geometry.stamps_bytes + size)
        self._count(_copy_range(self.source, self.copy, start, size))
        self._copy_check(lane, self.geometry.places)  # behind the checks: how many rows were given

    def _copy_places(self, lane: int, before: Bits, places: list[int]) -> None:
        """Copy the last of the places, as many as make a slice, and take them off the list."""
        stamps, left = self._stamps(lane), self.slice_bytes
        while places and left > 0:
            place = places.pop()
            stamp = int(stamps[place])
            if _block(stamp) == _block(int(before[place])):
                size = _copy_range(self.source, self.copy, *_place_range(self.geometry, lane, place, stamp))
                os.pwrite(self.copy, stamps[place].tobytes(), self.geometry.lane_offset(lane) + place * WORD)
                self._copy_check(lane, place)
                self._count(size)
                left -= size
        if places:  # what comes next is read from the disk while others have the reactor
            ahead = _place_range(self.geometry, lane, places[-1], int(stamps[places[-1]]))[0]
            os.posix_fadvise(self.source, ahead, self.slice_bytes, os.POSIX_FADV_WILLNEED)

    def _copy_check(self, lane: int, place: int) -> None:
        if self.geometry.checks:
            at = self.geometry.lane_offset(lane) + self.geometry.checks_offset + place * WORD
            os.pwrite(self.copy, os.pread(self.source, WORD, at), at)

    def _count(self, size: int) -> None:
        self.copied, self.unflushed = self.copied + size, self.unflushed + size


def _clone(source: int, copy: int) -> bool:
    """Have the copy share the source's blocks, all in one moment; False where the file system cannot."""
    try:
        fcntl.ioctl(copy, _FICLONE, source)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            raise
        return False
    return True


# --- a folder's files ---


def _copy_range(source: int, copy: int, start: int, size: int) -> int:
    """Copy what is no hole of a range of a file; gives the bytes."""
    stop, at, copied = start + size, start, 0
    while at < stop:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but holes from here on
                break
            raise
        if at >= stop:
            break
        end = min(stop, os.lseek(source, at, os.SEEK_HOLE))
        copied += end - at
        while at < end:
            at += _copy_some(source, copy, at, end - at)
    return copied


def _copy_some(source: int, copy: int, at: int, size: int) -> int:
    """Copy up to `size` bytes at one offset of both files, in the kernel where it can."""
    try:
        done = os.copy_file_range(source, copy, size, at, at)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        done = os.pwrite(copy, os.pread(source, min(size, _SLICE_BYTES), at), at)
    if not done:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    return done


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def _sync_tree(folder: Path) -> None:
    """Wait until all files and folders are on the disk."""
    for path in [folder, *folder.rglob("*")]:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(opened)
    os.close(opened)


# --- the way back ---


def restore(folder: Path, data: Path) -> Job:
    """Copy a snapshot into a data folder that is new or empty; raises NotAStore or OSError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not (folder / Catalogue.FILE).exists() or not (folder / "boot").exists():
        raise NotAStore(f"{folder} is no snapshot: it has no {Catalogue.FILE} and boot")
    with _finished(data) as unfinished:
        total, done = sum(map(_allocated, files)), 0
        for path in files:
            target = unfinished / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            for copied in _copy_file(path, target):
                done = min(total, done + copied)
                yield Progress(done, total, "bytes")
        yield from beside(lambda: _sync_tree(unfinished), Progress(done, total, "bytes"))
    return [f"restored   {len(files):,} files, {total:,} bytes on disk, to {data}"]


def _copy_file(path: Path, target: Path) -> Iterator[int]:
    """Copy a file that nobody writes, its holes as holes; the bytes of each slice."""
    size = path.stat().st_size
    with _opened(path, target) as (source, copy):
        if _clone(source, copy):
            yield size
            return
        os.ftruncate(copy, size)
        for at in range(0, size, _SLICE_BYTES):
            yield _copy_range(source, copy, at, min(_SLICE_BYTES, size - at))
