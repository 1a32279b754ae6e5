"""What rings ask of the operating system. A Disk of a test's own stands in for it where one must fail or be cut off."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Protocol

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # modes of fallocate(2)
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Disk(Protocol):
    """Raises OSError as the calls do."""

    def write(self, file: int, data: memoryview, offset: int) -> None:
        """All of data."""
        ...

    def sync(self, file: int) -> None:
        """Wait until all that was written to the file, and to its maps, is on the disk."""
        ...

    def reserve(self, file: int, offset: int, size: int) -> None:
        """Have space that later writes to a map are sure to find."""
        ...

    def resize(self, file: int, size: int) -> None: ...

    def give_back(self, file: int, offset: int, size: int) -> None:
        """Make a hole; where the file system knows none, nothing."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Put a whole file in its place, for good."""
        ...


class SystemDisk:
    """The real one."""

    def write(self, file: int, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(file, data, offset)
            data, offset = data[written:], offset + written

    def sync(self, file: int) -> None:
        os.fdatasync(file)

    def reserve(self, file: int, offset: int, size: int) -> None:
        os.posix_fallocate(file, offset, size)

    def resize(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def give_back(self, file: int, offset: int, size: int) -> None:
        _fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, offset, size)  # space that stays taken harms nothing

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)
        folder = os.open(new.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
