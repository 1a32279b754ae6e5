"""The spool: chunks on the disk that wait for their destination, in order, within a cap, over a restart.

A folder of segments, 000000000000.spool and on; a segment is a head and records:

head     8 bytes  b"PLSPOOL" and the version 1
record   16 bytes little-endian uint32: size of the data, its datapoints, CRC-32 of the data, CRC-32 of these 12 bytes
         then the data: a chunk as it goes out

What is read is only removed when the client says that it has arrived: a segment at once, when all of it has. A restart
reads from the oldest segment's beginning and writes to a new one, so that nothing follows a record that a crash has
cut off. Such a record ends its segment; one with damaged data is skipped. Both are counted, nothing else is lost by it.

What was appended outlives the process. It outlives a power cut when its segment was full, or the spool closed.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from carbon.relay.destination import Destination
from carbon.relay.encode import Chunk, Format
from storage.disk import Disk, SystemDisk

SPOOL_BYTES_MAX = 1 << 30  # a destination: an hour of 6,000 datapoints a second; carbon has none
SEGMENT_BYTES = 16 << 20  # what a restart may send twice, and the unit that room comes back in
_CHUNK_BYTES_MAX = 1 << 28  # of a record: more is damage
_AFRESH_S = 5.0  # how long a disk that has refused is left alone

_HEAD = b"PLSPOOL\x01"
_RECORD = Struct("<III")
_CHECK = Struct("<I")
_RECORD_BYTES = _RECORD.size + _CHECK.size
_SUFFIX = ".spool"
_NAME = "destination"  # a file that says, for people, whose spool it is

# Why a chunk is refused, or lost: keys of Spool.refused and Spool.damaged
FULL = "spool is full"
DISK = "spool cannot be written"
CUT_OFF = "record cut off"
DAMAGED = "record damaged"

_log = logging.getLogger(__name__)


class _Unreadable(Exception):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Place(NamedTuple):
    """Where a record ends: places are in the order of the spool."""

    segment: int
    offset: int


def spool_folder(data: Path, destination: Destination, form: Format) -> Path:
    """The spool of a destination below a data folder: its name has nothing of what users write."""
    key = f"{form} {destination.text}"
    return data / "spool" / sha256(key.encode()).hexdigest()[:24]


@dataclass
class Spool:
    """One destination's. `clock` gives seconds that never go back."""

    folder: Path
    title: str
    clock: Callable[[], float]
    bytes_max: int = SPOOL_BYTES_MAX
    segment_bytes: int = SEGMENT_BYTES
    disk: Disk = field(default_factory=SystemDisk)
    refused: Counter[str] = field(default_factory=Counter)  # datapoints by reason
    damaged: Counter[str] = field(default_factory=Counter)  # places by kind
    nbytes: int = 0  # on the disk

    def __post_init__(self) -> None:
        """Raises OSError where the folder cannot be made or read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _NAME).write_text(self.title + "\n")
        self._sizes = {number: self._path(number).stat().st_size for number in _numbers(self.folder)}
        for number in [number for number, size in self._sizes.items() if size <= len(_HEAD)]:
            del self._sizes[number]
            self._path(number).unlink()
        self.nbytes = sum(self._sizes.values())
        self._next = max(self._sizes, default=-1) + 1
        self._writing: int | None = None  # the file that is written
        self._written = 0  # the number of its segment
        self._reading: int | None = None
        self._read_file = -1  # the number of the segment that _reading is
        # what was read, what has arrived, and the last place that was given to the client
        self._read = self._done = Place(min(self._sizes, default=self._next), len(_HEAD))
        self._given = self._done
        self._left_alone_until = -1.0

    def __bool__(self) -> bool:
        """Whether anything waits that was not read yet."""
        return any(
            number > self._read.segment or (number == self._read.segment and size > self._read.offset)
            for number, size in self._sizes.items()
        )

    # --- in ---

    def append(self, chunk: Chunk) -> bool:
        """Keep a chunk; False = refused, and its datapoints counted under a reason."""
        if self.nbytes + _RECORD_BYTES + len(chunk.data) + len(_HEAD) > self.bytes_max:
            self.refused[FULL] += chunk.points
            return False
        if self.clock() < self._left_alone_until:
            self.refused[DISK] += chunk.points
            return False
        try:
            self._append(chunk)
        except OSError as error:
            self._trouble(error)
            self.refused[DISK] += chunk.points
            return False
        return True

    def _append(self, chunk: Chunk) -> None:
        file = self._writing if self._writing is not None else self._begin()
        record = _RECORD.pack(len(chunk.data), chunk.points, zlib.crc32(chunk.data))
        record += _CHECK.pack(zlib.crc32(record))
        offset = self._sizes[self._written]
        self.disk.write(file, memoryview(record + chunk.data), offset)
        self._grow(self._written, _RECORD_BYTES + len(chunk.data))
        if self._sizes[self._written] >= self.segment_bytes:
            self._seal()

    def _begin(self) -> int:
        """Begin the next segment."""
        number, self._next = self._next, self._next + 1
        file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._writing, self._written, self._sizes[number] = file, number, 0
        self.disk.write(file, memoryview(_HEAD), 0)
        self._grow(number, len(_HEAD))
        return file

    def _grow(self, number: int, size: int) -> None:
        self._sizes[number] += size
        self.nbytes += size

    def _seal(self) -> None:
        """Write no more to the segment, and have it on the disk for good."""
        file, self._writing = self._writing, None
        if file is not None:
            try:
                self.disk.sync(file)
            except OSError as error:
                _log.error("the spool %s (%s) cannot be synced: %s", self.folder, self.title, error.strerror)
            finally:
                os.close(file)

    def _trouble(self, error: OSError) -> None:
        """The segment may have a part of a record at its end: cut it off, and go on in another, after a while."""
        _log.error("the spool %s (%s) cannot be written: %s", self.folder, self.title, error.strerror)
        self._left_alone_until = self.clock() + _AFRESH_S
        if self._writing is None:
            return
        if self._sizes[self._written] <= len(_HEAD):
            self._remove(self._written)
            return
        file, self._writing = self._writing, None
        try:
            self.disk.resize(file, self._sizes[self._written])
        except OSError as again:  # it is cut off in memory anyway, and told apart after a restart
            _log.error("the spool %s keeps a cut-off record: %s", self.folder, again.strerror)
        finally:
            os.close(file)

    # --- out ---

    def next(self) -> tuple[Chunk, Place] | None:
        """The oldest chunk that was not read yet, and its place; None = there is none."""
        while self._find_segment():
            try:
                found = self._read_record()
            except OSError as error:
                _log.error("the spool %s (%s) cannot be read: %s", self.folder, self.title, error.strerror)
                self._skip_segment(DAMAGED)
            except _Unreadable as error:
                self._skip_segment(error.kind)
            else:
                if found is not None:
                    self._given = self._read
                    return found, self._given
        return None

    def done(self, place: Place) -> None:
        """All up to this place has arrived: segments of which no more is needed are removed."""
        # what was skipped behind the last chunk that was given is done with it
        self._done = max(self._done, self._read if place >= self._given else place)
        for number in sorted(self._sizes):
            whole = number < self._done.segment or self._done.offset >= self._sizes[number]
            if number > self._done.segment or not whole:
                break
            self._remove(number)

    def rewind(self) -> None:
        """Read again what was read but is not done."""
        self._read = self._given = self._done

    def close(self) -> None:
        """Have all on the disk for good; what is not done is there at the next start."""
        self._seal()
        self._close_read()

    def _find_segment(self) -> bool:
        """Move on to the segment that the next record is in; False = nothing is left."""
        while self._read.offset >= self._sizes.get(self._read.segment, 0):
            later = [number for number in self._sizes if number > self._read.segment]
            if not later:
                return False
            self._read = Place(min(later), len(_HEAD))
        return True

    def _read_record(self) -> Chunk | None:
        """The record at the place of reading, which moves behind it; None = its data is damaged.

        Raises _Unreadable where nothing that follows in the segment can be told apart.
        """
        segment, offset = self._read
        file = self._open(segment)
        if offset == len(_HEAD) and os.pread(file, len(_HEAD), 0) != _HEAD:
            raise _Unreadable(DAMAGED)
        record = os.pread(file, _RECORD_BYTES, offset)
        if len(record) < _RECORD_BYTES:
            raise _Unreadable(CUT_OFF)
        size, points, check = _RECORD.unpack_from(record)
        if _CHECK.unpack_from(record, _RECORD.size)[0] != zlib.crc32(record[: _RECORD.size]):
            raise _Unreadable(DAMAGED)
        data = os.pread(file, size, offset + _RECORD_BYTES) if size <= _CHUNK_BYTES_MAX else b""
        if len(data) < size:
            raise _Unreadable(CUT_OFF)
        if zlib.crc32(data) == check:
            self._read = Place(segment, offset + _RECORD_BYTES + size)
            return Chunk(data, points)
        self._count_damage(DAMAGED)
        self._skip_to(offset + _RECORD_BYTES + size)
        return None

    def _skip_segment(self, kind: str) -> None:
        """Read no more of this segment, and write no more to it."""
        self._count_damage(kind)
        if self._writing is not None and self._read.segment == self._written:
            self._seal()
        self._skip_to(max(self._sizes[self._read.segment], self._read.offset))

    def _skip_to(self, offset: int) -> None:
        nothing_under_way = self._done >= self._given
        self._read = Place(self._read.segment, offset)
        if nothing_under_way:
            self.done(self._read)

    def _count_damage(self, kind: str) -> None:
        self.damaged[kind] += 1
        _log.warning("%s: %s in segment %d at byte %d", self.folder, kind, *self._read)

    def _open(self, segment: int) -> int:
        if self._reading is None or self._read_file != segment:
            self._close_read()
            self._reading = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
            self._read_file = segment
        return self._reading

    def _close_read(self) -> None:
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None

    def _remove(self, number: int) -> None:
        if self._writing is not None and number == self._written:
            os.close(self._writing)  # it goes: no sync
            self._writing = None
        if self._read_file == number:
            self._close_read()
        self.nbytes -= self._sizes.pop(number)
        try:
            self._path(number).unlink(missing_ok=True)
        except OSError as error:
            _log.error("the spool's %s stays, and is sent again: %s", self._path(number), error.strerror)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{_SUFFIX}"


def _numbers(folder: Path) -> list[int]:
    """The numbers of the segments in a folder."""
    return sorted(
        int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isascii() and path.stem.isdigit()
    )


def other_spools(data: Path, known: set[Path]) -> list[tuple[str, int]]:
    """(title, bytes) of the spools below a data folder that belong to none of the known: nothing is sent of them."""
    found = []
    for folder in sorted((data / "spool").glob("*/")):
        size = sum((folder / f"{number:012d}{_SUFFIX}").stat().st_size for number in _numbers(folder))
        if folder not in known and size:
            title = folder / _NAME
            found.append((title.read_text(errors="replace").strip()[:200] if title.exists() else "?", size))
    return found
