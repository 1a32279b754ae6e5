"""The spool against a list; then disks that are full or fail, and files that a crash or a bad disk has left."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from carbon.relay.destination import Destination
from carbon.relay.encode import Chunk, Format
from carbon.relay.spool import CUT_OFF, DAMAGED, DISK, FULL, Place, Spool, other_spools, spool_folder
from storage.disk import SystemDisk
from tests.effort import tries

SEGMENT = 200


def make(folder: Path, *, bytes_max: int = 1 << 30) -> Spool:
    return Spool(folder, "line h:1", lambda: 0.0, bytes_max, segment_bytes=SEGMENT)


def chunk(number: int, size: int = 30) -> Chunk:
    return Chunk(b"%08d" % number + b"x" * size, number % 7 + 1)


def drain(spool: Spool) -> list[Chunk]:
    """All that it still gives; done with."""
    found = []
    while (item := spool.next()) is not None:
        found.append(item[0])
        spool.done(item[1])
    return found


class AgainstAList(RuleBasedStateMachine):
    """What is given is what was appended, in order; no less after a restart, and nothing that was done before
    the oldest segment that is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.spool = make(self.folder)
        self.appended: list[Chunk] = []
        self.read = self.done = 0  # how many of them
        self.places: list[tuple[int, Place]] = []  # read and not done
        self.restarted = False

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)

    @rule(size=st.integers(0, 150))
    def append(self, size: int) -> None:
        new = chunk(len(self.appended), size)
        assert self.spool.append(new)
        self.appended.append(new)

    @rule()
    def next(self) -> None:
        found = self.spool.next()
        if self.restarted and found is not None:
            self.restarted = False
            self.read = self.appended.index(found[0])
            assert self.read <= self.done
            self.done = self.read
        elif self.read == len(self.appended):
            assert found is None
            return
        assert found is not None
        assert found[0] == self.appended[self.read]
        self.read += 1
        self.places.append((self.read, found[1]))

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def arrived(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.places) - 1))
        self.done, place = self.places[at]
        del self.places[: at + 1]
        self.spool.done(place)

    @rule()
    def rewind(self) -> None:
        if not self.restarted:
            self.spool.rewind()
            self.read = self.done
            self.places.clear()

    @rule(cleanly=st.booleans())
    def restart(self, cleanly: bool) -> None:
        if cleanly:
            self.spool.close()
        self.spool = make(self.folder)
        self.places.clear()
        self.restarted = True

    @invariant()
    def its_size_is_that_of_its_files(self) -> None:
        assert self.spool.nbytes == sum(path.stat().st_size for path in self.folder.glob("*.spool"))

    @invariant()
    def it_says_whether_anything_waits(self) -> None:
        if not self.restarted:
            assert bool(self.spool) == (self.read < len(self.appended))

    @invariant()
    def what_is_done_takes_no_room(self) -> None:
        if not self.restarted and self.done == len(self.appended):
            assert self.spool.nbytes == 0


AgainstAList.TestCase.settings = settings(max_examples=tries(60), stateful_step_count=40, deadline=None)
TestAgainstAList = AgainstAList.TestCase


def test_a_restart_after_all_was_done_gives_nothing(tmp_path: Path) -> None:
    spool = make(tmp_path)
    for number in range(20):
        spool.append(chunk(number))
    assert len(drain(spool)) == 20
    assert drain(make(tmp_path)) == []
    assert list(tmp_path.glob("*.spool")) == []


# --- the cap ---


@given(st.lists(st.integers(0, 120), max_size=40), st.integers(0, 1500))
@settings(max_examples=tries(50))
def test_it_never_takes_more_than_its_cap(sizes: list[int], cap: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = make(Path(folder), bytes_max=cap)
        kept = [chunk(i, size) for i, size in enumerate(sizes) if spool.append(chunk(i, size))]
        assert sum(path.stat().st_size for path in Path(folder).glob("*.spool")) <= cap
        refused = sum(chunk(i, size).points for i, size in enumerate(sizes)) - sum(c.points for c in kept)
        assert spool.refused[FULL] == refused
        assert drain(spool) == kept
        spool.close()


def test_what_was_sent_makes_room(tmp_path: Path) -> None:
    spool = make(tmp_path, bytes_max=1000)
    number = 0
    while spool.append(chunk(number)):
        number += 1
    for _ in range(6):
        found = spool.next()
        assert found is not None
        spool.done(found[1])
    assert spool.append(chunk(number))


# --- a disk that is full, or fails ---


class FullDisk(SystemDisk):
    """Takes so many bytes more, and the part of a write that fits."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, file: int, data: memoryview, offset: int) -> None:
        fits = data[: self.room]
        self.room -= len(fits)
        super().write(file, fits, offset)
        if len(fits) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class StuckDisk(FullDisk):
    """One that cannot even cut off what it has written."""

    def resize(self, file: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync(self, file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("kind", [FullDisk, StuckDisk])
@pytest.mark.parametrize("room", range(0, 330, 13))
def test_a_full_disk_refuses_is_counted_and_goes_on(tmp_path: Path, kind: type[FullDisk], room: int) -> None:
    now = [0.0]
    disk = kind(room)
    spool = Spool(tmp_path, "t", lambda: now[0], segment_bytes=SEGMENT, disk=disk)
    kept = [chunk(i) for i in range(10) if spool.append(chunk(i))]
    assert len(kept) < 10
    assert spool.refused[DISK] == sum(chunk(i).points for i in range(10)) - sum(c.points for c in kept)
    disk.room = 10_000
    assert not spool.append(chunk(10))  # it is left alone for a while
    now[0] += 10
    assert spool.append(chunk(11))
    assert drain(spool) == [*kept, chunk(11)]
    spool.close()


@pytest.mark.parametrize("room", range(60, 330, 13))
def test_a_record_that_a_full_disk_has_cut_off_is_skipped_after_a_restart(tmp_path: Path, room: int) -> None:
    now = [0.0]
    disk = StuckDisk(room)
    spool = Spool(tmp_path, "t", lambda: now[0], segment_bytes=SEGMENT, disk=disk)
    kept = [chunk(i) for i in range(10) if spool.append(chunk(i))]
    disk.room, now[0] = 10_000, 10.0
    assert spool.append(chunk(11))
    assert drain(make(tmp_path)) == [*kept, chunk(11)]


def test_a_folder_that_is_gone_refuses_and_is_counted(tmp_path: Path) -> None:
    spool = make(tmp_path / "spool")
    shutil.rmtree(tmp_path / "spool")
    assert not spool.append(chunk(1))
    assert spool.refused[DISK] == chunk(1).points


# --- what a crash, or a bad disk, has left ---


def test_a_segment_cut_off_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "whole", "t", lambda: 0.0)
    for number in range(4):
        spool.append(chunk(number))
    spool.close()
    data = (tmp_path / "whole/000000000000.spool").read_bytes()
    record = (len(data) - 8) // 4
    for size in range(len(data)):
        folder = tmp_path / f"cut-{size}"
        folder.mkdir()
        (folder / "000000000000.spool").write_bytes(data[:size])
        cut = make(folder)
        cut.append(chunk(9))
        whole = max(0, size - 8) // record
        assert drain(cut) == [*(chunk(i) for i in range(whole)), chunk(9)]
        torn = size > 8 and (size - 8) % record != 0
        assert cut.damaged == ({CUT_OFF: 1} if torn else {})
        assert cut.nbytes == 0
        cut.close()


@given(st.data())
@settings(max_examples=tries(60))
def test_damage_anywhere_gives_no_datapoint_that_was_not_there(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        spool = make(folder)
        for number in range(12):
            spool.append(chunk(number))
        spool.close()
        path = data.draw(st.sampled_from(sorted(folder.glob("*.spool"))))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        damaged = make(folder)
        found = drain(damaged)
        everything = [chunk(i) for i in range(12)]
        assert all(each in everything for each in found)
        assert found == sorted(found)
        assert len(found) >= 12 - 4  # a segment's
        assert damaged.damaged.total() >= 1
        assert damaged.nbytes == 0
        damaged.close()


def test_a_record_with_damaged_data_is_skipped_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "t", lambda: 0.0)
    for number in range(3):
        spool.append(chunk(number))
    spool.close()
    path = tmp_path / "000000000000.spool"
    content = bytearray(path.read_bytes())
    content[8 + (len(content) - 8) // 3 + 16] ^= 1  # the first byte of the second one's data
    path.write_bytes(content)
    damaged = make(tmp_path)
    assert drain(damaged) == [chunk(0), chunk(2)]
    assert damaged.damaged == {DAMAGED: 1}


def test_what_was_skipped_at_the_end_is_not_read_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "t", lambda: 0.0)
    for number in range(3):
        spool.append(chunk(number))
    spool.close()
    os.truncate(tmp_path / "000000000000.spool", 150)
    for wanted in ([chunk(0), chunk(1)], []):
        assert drain(make(tmp_path)) == wanted


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "x.spool", "²3.spool"):
        (tmp_path / name).write_text("mine")
    spool = make(tmp_path)
    spool.append(chunk(1))
    assert drain(spool) == [chunk(1)]
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "x.spool", "²3.spool", "destination"}


# --- folders ---


def test_a_folder_has_nothing_of_the_destination_in_its_name(tmp_path: Path) -> None:
    folders = {
        spool_folder(tmp_path, Destination(host, port, instance), form)
        for host in ("../../etc", "h")
        for port in (1, 2)
        for instance in (None, "a")
        for form in Format
    }
    assert len(folders) == 16
    assert all(folder.parent == tmp_path / "spool" and folder.name.isalnum() for folder in folders)


def test_spools_without_a_destination_are_told(tmp_path: Path) -> None:
    folders = [tmp_path / "spool" / name for name in ("one", "two", "three")]
    assert other_spools(tmp_path, set()) == []
    for folder in folders:
        make(folder).append(chunk(1))
    drain(make(folders[2]))
    size = folders[0].joinpath("000000000000.spool").stat().st_size
    assert other_spools(tmp_path, {folders[1]}) == [("line h:1", size)]
