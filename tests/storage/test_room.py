"""Room and its floor; what an error says of the disk."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.room import Floor, Room, is_failing, is_full, os_error, room

MIB, GIB = 1 << 20, 1 << 30


def disk(size: int, *, free: int = 0, files: int = 0, files_free: int = 0) -> Room:
    return Room(free, size, files_free, files)


def test_room_is_what_the_file_system_says(tmp_path: Path) -> None:
    found, said = room(tmp_path), os.statvfs(tmp_path)
    assert found.bytes_all == said.f_blocks * said.f_frsize
    assert 0 < found.bytes_free <= found.bytes_all


@pytest.mark.parametrize(
    ("floor", "size", "files", "left"),
    [
        (Floor(), 1000 * GIB, 10_000_000, (256 * MIB, 1000)),
        (Floor(), 10_000 * MIB, 5_000, (100 * MIB, 50)),  # a hundredth is less
        (Floor(), GIB, 0, (10_737_419, 0)),  # a file system that counts no files
        (Floor(GIB), 10 * GIB, 10_000_000, (GIB, 1000)),
        (Floor(0), 10 * GIB, 10_000_000, (0, 0)),
    ],
)
def test_what_is_left_free(floor: Floor, size: int, files: int, left: tuple[int, int]) -> None:
    assert floor.of(disk(size, files=files)) == left


@given(st.integers(0, 400), st.integers(0, 400))
def test_between_the_floor_and_a_quarter_more_nothing_changes(free: int, files_free: int) -> None:
    floor, now = Floor(200), disk(1 << 40, free=free, files=10_000, files_free=files_free)
    assert floor.passed(now) == (free < 200 or files_free < 100)
    assert floor.cleared(now) == (free >= 250 and files_free >= 125)
    assert not (floor.passed(now) and floor.cleared(now))


def test_without_a_floor_the_last_byte_may_go() -> None:
    assert not Floor(0).passed(disk(GIB))
    assert Floor(0).cleared(disk(GIB))


@pytest.mark.parametrize(
    ("number", "full", "failing"),
    [
        (errno.ENOSPC, True, False),
        (errno.EDQUOT, True, False),
        (errno.EIO, False, True),
        (errno.EROFS, False, True),
        (errno.EMFILE, False, False),
    ],
)
def test_what_an_error_says(number: int, full: bool, failing: bool) -> None:
    error = OSError(number, os.strerror(number))
    assert os_error(error) is error
    assert (is_full(error), is_failing(error)) == (full, failing)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (sqlite3.SQLITE_FULL, errno.ENOSPC),
        (sqlite3.SQLITE_IOERR_FSYNC, errno.EIO),
        (sqlite3.SQLITE_READONLY, errno.EROFS),
        (sqlite3.SQLITE_IOERR_SHMSIZE, errno.EAGAIN),  # a full disk is one of its causes
        (sqlite3.SQLITE_IOERR_WRITE, errno.EAGAIN),  # so is a quota that is used up
        (sqlite3.SQLITE_BUSY, errno.EAGAIN),
    ],
)
def test_the_database_is_heard_also_through_an_oserror(code: int, number: int) -> None:
    assert os_error(sqlite_error(code)).errno == number
    wrapped = OSError(errno.EIO, "in the catalogue")
    wrapped.__cause__ = sqlite_error(code)
    assert os_error(wrapped).errno == number
