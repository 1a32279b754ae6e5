"""A second copy of the names: of it the catalogue is made anew when its own file is damaged.

`names.backup` is a magic "PBGNAMES", the CRC-32 of the image (4 bytes), 4 zero bytes, the size of the image (8 bytes),
and the image: SQLite's database as one file. It is written whole under another name first, and only of a catalogue
that is sound. It is at most an hour older than the catalogue; 5 minutes, where rows have become free, as another
name may have a row 10 minutes after (see rows.py and AHEAD_MAX_S) and must not be taken for the one before.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from storage.catalogue import Catalogue
from storage.damage import Aside
from storage.disk import Disk, SystemDisk
from storage.errors import CorruptCatalogue, StorageError

_log = logging.getLogger(__name__)

FILE = "names.backup"
_HEADER = struct.Struct("<8sI4xQ")
_MAGIC = b"PBGNAMES"
_EVERY_S, _AFTER_FREES_S = 3600.0, 300.0


class Backup:
    """Keeps the copy of an open catalogue. `make` may be called in any thread."""

    def __init__(
        self, catalogue: Catalogue, *, durable: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._catalogue, self._durable, self._clock = catalogue, durable, clock
        self._changes, self._frees, self._when = -1, 0, -_EVERY_S

    @property
    def stale(self) -> bool:
        """Whether there are changes that the copy does not have."""
        return self._changes != self._catalogue.changes

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        every = _EVERY_S if self._frees == self._catalogue.frees else _AFTER_FREES_S
        return self.stale and self._clock() - self._when >= every

    def make(self) -> None:
        """Write the copy; what keeps it from that is logged, the one before stays."""
        self._when, changes, frees = self._clock(), self._catalogue.changes, self._catalogue.frees
        try:
            write(self._catalogue.path.parent, durable=self._durable)
        except (OSError, sqlite3.Error, StorageError) as error:
            _log.error("%s was not written: %s", self._catalogue.path.with_name(FILE), error)
            return
        self._changes, self._frees = changes, frees


def write(data: Path, *, durable: bool) -> None:
    """Copy the catalogue of a data folder; raises CorruptCatalogue if it is damaged."""
    with closing(Catalogue(data, writable=False)) as catalogue, catalogue.reading():
        catalogue.check()
        image = catalogue.image()
    unfinished, disk = data / f"{FILE}.new", SystemDisk()
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        header = _HEADER.pack(_MAGIC, zlib.crc32(image), len(image))
        disk.write(file, memoryview(header), 0)
        disk.write(file, memoryview(image), len(header))
        if durable:
            disk.sync(file)
    finally:
        os.close(file)
    if durable:
        disk.rename(unfinished, data / FILE)
    else:
        os.replace(unfinished, data / FILE)


def read(data: Path) -> bytes | None:
    """The image of the copy; None if there is none that is whole."""
    try:
        content = (data / FILE).read_bytes()
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, crc, size = _HEADER.unpack_from(content)
    image = content[_HEADER.size :]
    return image if (magic, crc, size) == (_MAGIC, zlib.crc32(image), len(image)) else None


def bring_back(data: Path, aside: Aside, why: CorruptCatalogue, disk: Disk | None = None) -> None:
    """Set a damaged catalogue aside and put the copy in its place; without one, the store begins without names."""
    image, disk = read(data), disk or SystemDisk()
    for suffix in ("-wal", "-shm", ""):
        path = data / f"{Catalogue.FILE}{suffix}"
        if path.exists():
            aside.take(path, str(why))
    if image is None:
        _log.error("%s: there is no copy of the names (%s): the store begins without any", data, FILE)
        return
    unfinished = data / f"{Catalogue.FILE}.new"
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        disk.write(file, memoryview(image), 0)
        disk.sync(file)
    finally:
        os.close(file)
    disk.rename(unfinished, data / Catalogue.FILE)
    with closing(Catalogue(data, writable=True)) as catalogue:
        catalogue.begin_epoch()
    _log.error("%s: the names are those of %s now", data / Catalogue.FILE, FILE)
