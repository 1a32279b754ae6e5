"""A disk of a test's own, mounted in its folder, whose power can be cut and which can be full. It needs root."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_FILES = 1000
_NOLOGFLUSH = 2  # not even what the journal has in memory is written


def needs_root() -> pytest.MarkDecorator:
    return pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")


class Ext4:
    """ext4 in a file. After `cut`, only what had been written out is there when it is mounted again."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        self._image = folder.with_suffix(".ext4")
        with self._image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(_FILES), str(self._image)], check=True)
        self._mount()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self) -> None:
        command = ["mount", "-o", "loop", str(self._image), str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")

    def cut(self) -> None:
        """The power goes: nothing that is not on the disk by now comes there."""
        disk = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(disk, _SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        os.close(disk)

    def mount_again(self) -> None:
        """Nobody may have a file open."""
        subprocess.run(["umount", str(self.folder)], check=True)
        self._mount()

    def fill(self, *, bytes_left: int, files_left: int) -> None:
        """Leave so much room, by files of our own that take the rest."""
        room = os.statvfs(self.folder)
        for i in range(room.f_ffree - files_left - 1):
            self._filler(i).touch()
        with self._filler(-1).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bfree * room.f_frsize - bytes_left)

    def empty(self) -> None:
        """Take away what `fill` has put there."""
        for path in self.folder.glob("filler.*"):
            path.unlink()

    def _filler(self, number: int) -> Path:
        return self.folder / f"filler.{number}"

    def is_full(self) -> bool:
        """No room for another file, or for a lane of every kind."""
        room = os.statvfs(self.folder)
        return room.f_ffree == 0 or room.f_bfree * room.f_frsize < 4 << 20
