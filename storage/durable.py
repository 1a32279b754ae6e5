"""What a power cut leaves: the order of writes, and the record of heads that is trusted afterwards.

Until pages are synced, any of them may reach the disk, in any order: the page that says "this head holds block 7
up to slot 20" before the strips of those slots. So every sync writes, after the data that it speaks of, a *record*
of the heads' page; opening after a power cut goes by the last whole record, and what came after it is lost.

    1  wait      values, and blocks that were put to places since the last sync
    2  stamp     those places                                        3  wait
    4  record    the heads' page without the heads that were sealed  5  wait
    6  free      those heads, and what the stamps pointed to before: only now may they be used for something else

At every instant a block lies in a head that the record names or in a place that a stamp on the disk points to.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import numpy.typing as npt

from storage.format import (
    HEAD_STAMP,
    HEAD_WORDS,
    LANES_MAX,
    PACKED,
    PAGE,
    RECORD_CRC,
    RECORD_NUMBER,
    RECORDS_START,
    WORD,
)
from storage.ring_file import RingFile

Bits = npt.NDArray[np.uint64]


@dataclass(eq=False)
class Put:
    """A block whose values have been written to a place that its stamp does not point to yet."""

    lane: int
    block: int
    packed: bool
    from_head: bool  # it lies in head block % 2 too, and is read there
    digest: int = 0  # of its bytes, 0 = not known
    syncs: int = 0  # begun and not ended ones that have it

    @property
    def stamp(self) -> int:
        return self.block + 1 | (PACKED if self.packed else 0)


@dataclass
class SyncState:
    """What the syncs of a ring share."""

    lock: Lock = field(default_factory=Lock)
    done: int = 0  # the last one that ran
    record: int = 0  # the number of the last record that is on the disk


@dataclass
class Sync:
    """One sync of a ring, from what the writer's thread has prepared; `run` may go on in any thread."""

    file: RingFile
    heads: Bits  # a copy of the heads' page
    puts: list[Put]
    number: int  # in the order in which they were begun
    state: SyncState

    def run(self) -> None:
        """Steps 1–5. Raises OSError when the disk does; nothing may be taken as synced then."""
        with self.state.lock:
            if self.number <= self.state.done:
                return  # a later one, which had all that this one has, was in more of a hurry
            self.file.wait()
            places = self.file.geometry.places
            for put in self.puts:
                self.file.set_stamp(put.lane, put.block % places, put.stamp, put.digest)
                if put.from_head:
                    self.heads[put.lane, HEAD_STAMP + put.block % 2] = 0
            if self.puts:
                self.file.wait()
            number = (
                self.state.record + 1
            )  # the other page than the last good one's, even if syncs have failed since
            record = np.frombuffer(encode_record(self.heads, number), np.uint8)
            self.file.write(record, RECORDS_START + number % 2 * PAGE)
            self.file.wait()
            self.state.record, self.state.done = number, self.number


def encode_record(heads: Bits, number: int) -> bytes:
    """A page: the heads' words, with the record's number and checksum in two that are not used."""
    page = heads.copy().reshape(-1)
    page[RECORD_NUMBER], page[RECORD_CRC] = number, 0
    page[RECORD_CRC] = zlib.crc32(page.tobytes())
    return page.tobytes()


def last_record(pages: bytes) -> tuple[Bits, int]:
    """The newer whole one of two records (heads, number); no heads at all and 0 if neither is whole."""
    best = np.zeros((LANES_MAX, HEAD_WORDS), np.uint64), 0
    for start in (0, PAGE):
        page = np.frombuffer(pages[start : start + PAGE].ljust(PAGE, b"\0"), np.uint64).copy()
        crc, number = int(page[RECORD_CRC]), int(page[RECORD_NUMBER])
        page[RECORD_CRC] = 0
        if number > best[1] and crc == zlib.crc32(page.tobytes()):
            page[RECORD_NUMBER] = 0
            best = page.reshape(LANES_MAX, HEAD_WORDS), number
    return best


assert PAGE == LANES_MAX * HEAD_WORDS * WORD
