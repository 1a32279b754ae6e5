"""plumbago verify: is every byte of a store what was written? What is not is named, with what it means.

Nothing is changed, and a server may be running: what looks damaged is looked at again, as it may have been about to
change. Opening the store for writing mends what can be mended (see damage.py).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from storage import backup, codec, damage
from storage.catalogue import Catalogue
from storage.durable import last_record
from storage.errors import CorruptRing, StorageError
from storage.events import Events
from storage.format import (
    HEAD_STAMP,
    HEAD_WORDS,
    LANE_ROWS,
    LATE,
    LOW_WORD,
    PACKED,
    PAGE,
    RECORDS_START,
    SEALS,
    SHARD_ROWS,
    WORD,
    Geometry,
)
from storage.jobs import Job, Part, Progress, beside
from storage.places import digest_of, packed_digest
from storage.register import Register
from storage.ring_file import RingFile
from storage.shard import ring_files
from storage.store import AHEAD_MAX_S

_SLICE_BYTES = 64 << 20
_LOOKS = 3  # before something counts as damaged
_BETWEEN_LOOKS_S = 0.02
_CODEC_HEADER = 20


class Damaged(StorageError):
    """A store that is not what was written."""


class Finding(NamedTuple):
    path: Path
    offset: int
    what: str
    lost: str

    def __str__(self) -> str:
        return f"{self.path}: at byte {self.offset}: {self.what}; {self.lost}"


Tell = Callable[[str], None]


def verify(folder: Path, now: int, tell: Tell, *, pause_s: float = _BETWEEN_LOOKS_S) -> Job:
    """Check a whole data folder; `tell` gets a line for each finding. Raises Damaged at the end if there was any."""
    run = Verification(folder, now, tell, pause_s=pause_s)
    yield from run.all()
    lines = [
        f"checked    {run.blocks:,} blocks, {run.bytes:,} bytes, {run.files:,} files",
        f"unchecked  {run.unchecked:,} raw blocks without a checksum; they get one when they are packed",
    ]
    if run.found:
        for line in lines:
            tell(line)
        raise Damaged(f"{run.found:,} findings, listed above; starting the writer mends what can be mended")
    return [*lines, "all is as it was written"]


class Verification:
    """One run of `verify`, and what it has come to so far."""

    def __init__(self, folder: Path, now: int, tell: Tell, *, pause_s: float = _BETWEEN_LOOKS_S) -> None:
        """`pause_s`: before another look at what seems to be damaged."""
        self.folder, self.horizon, self._tell, self.pause_s = folder, now + AHEAD_MAX_S, tell, pause_s
        self.found = self.blocks = self.unchecked = self.bytes = self.files = 0
        self.total = 0
        self._register: Register | None = None

    def all(self) -> Part:
        for finding in self._names():
            self.report(finding)
        yield Progress(0, 0, "names")
        yield from beside(self._events, Progress(0, 0, "events"))
        paths = list(self._ring_paths())
        self.total = sum(os.stat(path).st_blocks * 512 for path, _, _, _ in paths if path.exists())
        done = 0
        for path, number, wanted, rows in paths:
            yield from self.ring(path, number, wanted, rows, done)
            done += os.stat(path).st_blocks * 512 if path.exists() else 0

    def report(self, finding: Finding) -> None:
        self.found += 1
        self._tell(str(finding))

    # --- names ---

    def _names(self) -> Iterator[Finding]:
        path = self.folder / Catalogue.FILE
        lost = "the writer takes the names from their copy when it starts; names that are newer are lost"
        try:
            yield from self._read_names()
        except (StorageError, LookupError, ValueError, sqlite3.Error) as error:
            self._register = None
            yield Finding(path, 0, str(error), lost)
        if (self.folder / backup.FILE).exists() and backup.read(self.folder) is None:
            yield Finding(
                self.folder / backup.FILE, 0, "the copy of the names is damaged", "nothing: it is a copy"
            )

    def _read_names(self) -> list[Finding]:
        with closing(Catalogue(self.folder, writable=False)) as catalogue, catalogue.reading():
            catalogue.check()
            self._register = Register(catalogue, logs=False)
            self._register.load()
            return list(self._rows_of(catalogue, self._register))

    def _rows_of(self, catalogue: Catalogue, register: Register) -> Iterator[Finding]:
        """Rows that have two owners, or that their shard cannot have."""
        _, series = register.living(0, register.seen)
        others = [one[:2] for one in catalogue.trash()] + [one[:2] for one in catalogue.free()]
        rest = np.array([shard * SHARD_ROWS + row for shard, row in others], np.int64)
        owned, counts = np.unique(np.concatenate((series, rest)), return_counts=True)
        for one in owned[counts > 1].tolist():
            shard, row = divmod(one, SHARD_ROWS)
            what = f"row {row} of shard {shard} has several owners"
            yield Finding(catalogue.path, 0, what, "their values are mixed")
        for shard in np.unique(owned // SHARD_ROWS).tolist():
            if shard not in register.shard_schema:
                yield Finding(
                    catalogue.path, 0, f"there is no shard {shard}", "what its names have is not found"
                )

    def _events(self) -> None:
        events = Events(self.folder)
        what = events.damage()
        self.files += events.path.exists()
        if what is not None:
            lost = "lost: events; set the file aside, and new ones are kept in a new one"
            self.report(Finding(events.path, 0, what, lost))

    def _ring_paths(self) -> Iterator[tuple[Path, int, Geometry | None, int]]:
        """(path, shard, geometry, rows) of each ring that there should be; geometry None: the header says it."""
        known = {} if self._register is None else self._register.shard_schema
        shards = self.folder / "shards"
        for path in sorted(shards.iterdir()) if shards.exists() else ():
            number = int(path.name) if path.name.isdecimal() else -1
            if number in known and self._register is not None:
                schema, rows = self._register.schemas[known[number]], self._register.rows[number].used
                for name, wanted in ring_files(schema):
                    yield path / name, number, wanted, rows
            else:
                if self._register is not None:
                    self.report(
                        Finding(path, 0, "the catalogue does not know this shard", "its values have no names")
                    )
                for ring in sorted(path.glob("*.ring")):
                    yield ring, number, None, 0

    # --- rings ---

    def ring(self, path: Path, number: int, wanted: Geometry | None, rows: int, done: int = 0) -> Part:
        """Check the file of a ring of a shard, which has `rows` rows. `done`: bytes of others."""
        everything = self.lost(number, 0, SHARD_ROWS, None)
        if not path.exists():
            self.report(Finding(path, 0, "there is no such file", everything))
            return
        self.files += 1
        try:
            file = RingFile(path, writable=False)
        except CorruptRing as error:
            self.report(Finding(path, error.offset, error.reason, f"{everything}, if it cannot be mended"))
            return
        try:
            page, size = os.pread(file.fd, PAGE, 0), os.fstat(file.fd).st_size
            fault = None if wanted is None else damage.header_fault(path, page, size, wanted, rows)
            if fault is not None:
                self.report(Finding(path, fault.offset, fault.reason, everything))
                return
            if (first := file.lanes * LANE_ROWS) < rows:
                what = f"the file ends before row {first} of {rows}"
                self.report(Finding(path, size, what, self.lost(number, first, rows, None)))
            yield from _RingRun(self, file, number, rows).all(done)
        finally:
            file.close()

    def lost(self, number: int, first: int, after: int, when: tuple[int, int] | None) -> str:
        """In words, whose values of which time are lost, in rows from `first` to before `after`."""
        return f"lost: {self._series(number, first, after)}, {_span(when)}"

    def _series(self, number: int, first: int, after: int) -> str:
        if self._register is None or number < 0:
            return f"rows {first} to {after - 1} of shard {number}"
        ids, series = self._register.living(0, self._register.seen)
        start = number * SHARD_ROWS
        mine = np.flatnonzero((series >= start + first) & (series < start + after))
        if not len(mine):
            return "no series"
        names = self._register.names_of(ids[mine[np.argsort(series[mine])][[0, -1]]])
        return names[0] if len(mine) == 1 else f"{len(mine):,} series, {names[0]} … {names[1]}"


class _RingRun:
    """The check of one ring's file."""

    def __init__(self, run: Verification, file: RingFile, number: int, rows: int) -> None:
        self._run, self._file, self._number, self._geometry = run, file, number, file.geometry
        self._rows = rows

    def all(self, done: int) -> Part:
        self._again(self._records)
        self._again(self._heads)
        self._again(self._counters)
        self._again(self._stamps)
        self._again(self._given)
        read = 0
        for lane in range(self._file.lanes):
            for place in np.flatnonzero(self._file.stamps(lane)).tolist():
                read += self._place(lane, place)
                if read > _SLICE_BYTES:
                    done, read = done + read, 0
                    yield Progress(done, self._run.total, "bytes")
        yield Progress(done + read, self._run.total, "bytes")

    def _again(self, look: Callable[[], list[Finding]]) -> None:
        """Report what is found each time: the writer may be about to change it."""
        found = look()
        for _ in range(_LOOKS - 1 if found else 0):
            time.sleep(self._run.pause_s)
            there = set(look())
            found = [one for one in found if one in there]
        for one in found:
            self._run.report(one)

    def _finding(self, offset: int, what: str, lane: int, block: int | None) -> Finding:
        lost = self._run.lost(self._number, lane * LANE_ROWS, (lane + 1) * LANE_ROWS, self._when(block))
        return Finding(self._file.path, offset, what, lost)

    def _when(self, block: int | None) -> tuple[int, int] | None:
        if block is None or not 0 <= block * self._geometry.block * self._geometry.step < 1 << 36:
            return None
        length = self._geometry.block * self._geometry.step
        return block * length, (block + 1) * length

    def _records(self) -> list[Finding]:
        """Damaged records; one that was never written is zero, and the other has the number 1."""
        pages = [os.pread(self._file.fd, PAGE, RECORDS_START + i * PAGE) for i in (0, 1)]
        numbers = [last_record(page)[1] for page in pages]
        numbers = [number if number % 2 == i else 0 for i, number in enumerate(numbers)]
        lost = "lost: nothing, unless the power is cut now: then what came since the last sync but one"
        return [
            Finding(self._file.path, RECORDS_START + i * PAGE, "a record's checksum or number is wrong", lost)
            for i in (0, 1)
            if not numbers[i] and (any(pages[i]) or numbers[1 - i] > 1 or (self._geometry.checks and i == 1))
        ]

    def _heads(self) -> list[Finding]:
        file, record = self._file, damage.last_heads(self._file)
        bad = [
            (*spot, "the words of a head contradict each other")
            for spot in damage.bad_heads(file, self._run.horizon)
        ]
        bad += [(*spot, "a head that was synced is not there") for spot in damage.lost_heads(file, record)]
        found = []
        for lane, head, what in bad:
            stamp = int(record[lane, head]) or int(file.heads(lane)[head])
            offset = PAGE + (lane * HEAD_WORDS + HEAD_STAMP + head) * WORD
            one = self._finding(offset, what, lane, stamp - 1)
            found.append(one._replace(lost=f"{one.lost}, of it what came after the last sync, or all"))
        return found

    def _counters(self) -> list[Finding]:
        heads = self._file.all_heads()
        found = [(lane, SEALS) for lane in np.flatnonzero(heads[:, SEALS] > LOW_WORD).tolist()]
        found += [(lane, LATE) for lane in damage.bad_late(self._file, self._run.horizon)]
        return [
            Finding(
                self._file.path,
                PAGE + (lane * HEAD_WORDS + word) * WORD,
                "a counter cannot be",
                "lost: nothing",
            )
            for lane, word in found
        ]

    def _stamps(self) -> list[Finding]:
        found = []
        for lane, place in damage.bad_stamps(self._file, self._run.horizon):
            stamp, _, _ = damage.mended_stamp(self._file, lane, place)
            there = int(self._file.stamps(lane)[place])
            what = "a stamp and its check disagree" + (", it can be restored" if stamp else "")
            offset = self._geometry.lane_offset(lane) + place * WORD
            found.append(self._finding(offset, what, lane, ((stamp or there) & ~PACKED) - 1))
        return found

    def _given(self) -> list[Finding]:
        """Lanes that know of less rows than there are names."""
        found = []
        for lane, given in enumerate(self._file.rows_of_lanes().tolist()):
            if given < min(LANE_ROWS, self._rows - lane * LANE_ROWS):
                offset = self._geometry.lane_offset(lane) + self._geometry.checks_offset
                what = "the number of a lane's rows is damaged, and it may be that checks and stamps are"
                found.append(self._finding(offset + self._geometry.places * WORD, what, lane, None))
        return found

    def _place(self, lane: int, place: int) -> int:
        """Check what lies in a place; gives the bytes that were read."""
        size = 0
        for look in range(_LOOKS):
            stamp, check = int(self._file.stamps(lane)[place]), self._check(lane, place)
            if not stamp:
                return size
            what, offset, size = self._content(lane, place, stamp, check & LOW_WORD)
            if what is None or look + 1 == _LOOKS:
                break
            time.sleep(self._run.pause_s)
        self._run.blocks, self._run.bytes = self._run.blocks + 1, self._run.bytes + size
        if what is not None:
            self._run.report(self._finding(offset, what, lane, (stamp & ~PACKED) - 1))
        return size

    def _check(self, lane: int, place: int) -> int:
        return int(self._file.checks(lane)[place]) if self._geometry.checks else 0

    def _content(self, lane: int, place: int, stamp: int, digest: int) -> tuple[str | None, int, int]:
        """(what is wrong with a block or None, its offset, bytes read)"""
        geometry, block = self._geometry, (stamp & ~PACKED) - 1
        if stamp & PACKED:
            offset = geometry.packed_offset(lane, place)
            size = min(codec.extent(self._file.bytes, offset)[1], geometry.unit_bytes)
            data = os.pread(self._file.fd, size, offset)
            what = codec.damage(data)
            if what is None and digest and packed_digest(data, block) != digest:
                what = "the block is not the one that was stamped"
            return what, offset, size
        offset = geometry.place_offset(lane, place)
        if not digest:
            self._run.unchecked += 1
            return None, offset, 0
        data = os.pread(self._file.fd, geometry.unit_bytes, offset)
        whole = bytearray(data.ljust(geometry.unit_bytes, b"\0"))  # that can be written: as kernels take it
        unit = np.frombuffer(whole, np.uint64).reshape(LANE_ROWS, -1)
        what = None if digest_of(unit, block) == digest else "the block's checksum is wrong"
        return what, offset, len(data)


def _span(when: tuple[int, int] | None) -> str:
    if when is None:
        return "all times"
    first, after = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one)) for one in when)
    return f"{first} to {after}"
