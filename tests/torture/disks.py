"""A disk of a test's own, mounted in its folder, whose power can be cut and which can be full. It needs root."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_FILES = 1000
_NOLOGFLUSH = 2  # not even what the journal has in memory is written


def needs_root() -> pytest.MarkDecorator:
    return pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")


class Room(NamedTuple):
    """What is free."""

    bytes: int
    files: int


class Disk:
    """A file system mounted at `folder` until the end of the block."""

    folder: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self, *, bytes_left: int, files_left: int) -> None:
        """Leave so much room, by files of our own that take the rest; others may take some meanwhile."""
        for i in range(self.room().files - files_left - 1):
            self._filler(i).touch()
        with self._filler(-1).open("wb") as file, suppress(OSError):
            while (more := self.room().bytes - bytes_left) > 0:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, more)

    def empty(self) -> None:
        """Take away what `fill` has put there."""
        for path in self.folder.glob("filler.*"):
            path.unlink()

    def _filler(self, number: int) -> Path:
        return self.folder / f"filler.{number}"

    def room(self) -> Room:
        room = os.statvfs(self.folder)
        return Room(room.f_bfree * room.f_frsize, room.f_ffree)


class Tmpfs(Disk):
    """Memory. The mere reading of a hole in a file takes room here, and is a SIGBUS when there is none."""

    def __init__(self, folder: Path, size: int, files: int) -> None:
        self.folder = folder
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size},nr_inodes={files}", "tmpfs", str(folder))


class Ext4(Disk):
    """ext4 in a file. After `cut`, only what had been written out is there when it is mounted again."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        self._image = folder.with_suffix(".ext4")
        with self._image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(_FILES), str(self._image)], check=True)
        self._mount()

    def _mount(self) -> None:
        _mount("-o", "loop", str(self._image), str(self.folder))

    def cut(self) -> None:
        """The power goes: nothing that is not on the disk by now comes there."""
        disk = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(disk, _SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        os.close(disk)

    def mount_again(self) -> None:
        """Nobody may have a file open."""
        subprocess.run(["umount", str(self.folder)], check=True)
        self._mount()


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
