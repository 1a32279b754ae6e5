"""The room on a folder's disk: what is free, how much of it is left alone, and what an error says of the disk."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_BYTES_MIN = (
    256 << 20
)  # VictoriaMetrics leaves 100 MB; we may still bring 64 MiB of what waits to the disk at a stop
_FILES_MIN = 1000
_PART = 100  # … or so small a part of the disk, whichever is less: small disks are to be of use too
_GO_ON = 5, 4  # above so many times the floor: what waits must not fill the disk at once again

# a wait cannot cure these; EIO of an fsync above all: the kernel has forgotten which pages were not written
_FAILING = frozenset({errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.EUCLEAN, errno.EREMOTEIO})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR_FSYNC: errno.EIO,
    sqlite3.SQLITE_IOERR_DIR_FSYNC: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
}


class Room(NamedTuple):
    """What an ordinary user may take of a disk, and its size. A file system that counts no files has 0 of 0."""

    bytes_free: int
    bytes_all: int
    files_free: int
    files_all: int

    def __str__(self) -> str:
        files = f" and room for {self.files_free:,} files" if self.files_all else ""
        return f"{self.bytes_free:,} bytes{files} free"


def room(folder: Path) -> Room:
    """The room now; raises OSError."""
    found = os.statvfs(folder)
    unit = found.f_frsize
    return Room(found.f_bavail * unit, found.f_blocks * unit, found.f_favail, found.f_files)


@dataclass(frozen=True)
class Floor:
    """What is left free. Not for the sake of order: seals, the catalogue's log and every other program on the disk
    go on when we have stopped in time. On a tmpfs the mere reading of a hole takes a page, or ends in SIGBUS.
    """

    bytes_min: int | None = None  # None = 256 MiB or a hundredth of the disk, whichever is less; 0 = no floor

    def of(self, room: Room) -> tuple[int, int]:
        """(bytes, files) to be left free of a disk of this size."""
        if self.bytes_min == 0:
            return 0, 0
        part = -(-room.bytes_all // _PART)
        at_least = min(_BYTES_MIN, part) if self.bytes_min is None else self.bytes_min
        return at_least, min(_FILES_MIN, -(-room.files_all // _PART))

    def passed(self, room: Room) -> bool:
        """Whether less is free than is to be."""
        at_least, files = self.of(room)
        return room.bytes_free < at_least or room.files_free < files

    def cleared(self, room: Room) -> bool:
        """Whether so much is free again that it is worth to go on."""
        at_least, files = (-(-n * _GO_ON[0] // _GO_ON[1]) for n in self.of(room))
        return room.bytes_free >= at_least and room.files_free >= files


def is_full(error: OSError) -> bool:
    """Whether the error says that there is no room."""
    return error.errno in _FULL


def is_failing(error: OSError) -> bool:
    """Whether the error says that the disk fails; no retry can be believed then."""
    return error.errno in _FAILING


def os_error(error: OSError | sqlite3.OperationalError) -> OSError:
    """The error in the kernel's words, also where the catalogue's database came between.

    Of SQLite's I/O errors only those of an fsync are sure: it calls by the same name a quota that is used up, and its
    index in shared memory that cannot grow on a full disk.
    """
    origin = error.__cause__ if isinstance(error, OSError) else error
    if not isinstance(origin, sqlite3.OperationalError):
        assert isinstance(error, OSError)
        return error
    code = getattr(origin, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    number = _SQLITE.get(code) or _SQLITE.get(code & 0xFF) or errno.EAGAIN
    return OSError(number, str(origin))
