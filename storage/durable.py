"""What a power cut leaves: the order of writes, and the record of heads that is trusted afterwards.

Until pages are synced, any of them may reach the disk, in any order: the page that says "this head holds block 7
up to slot 20" before the strips of those slots. So every sync writes, after the data that it speaks of, a *record*
of the heads' page; opening after a power cut goes by the last whole record, and what came after it is lost.

    1  fdatasync   values, and blocks that were sealed since the last sync
    2  stamp       the places of those blocks                          3  fdatasync
    4  record      the heads' page without the heads that were sealed  5  fdatasync
    6  free        those heads: only now may they be used for other blocks

At every instant a block lies in a head that the record names or in a place whose stamp is on the disk.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage.format import (
    HEAD_STAMP,
    HEAD_WORDS,
    LANES_MAX,
    PAGE,
    RECORD_CRC,
    RECORD_NUMBER,
    RECORDS_START,
    WORD,
)

Bits = npt.NDArray[np.uint64]


class Sealed(NamedTuple):
    """A block that lies in head `block % 2` and whose values have been written to its place too."""

    lane: int
    block: int
    stamp_at: int  # the word of its place's stamp


@dataclass
class Sync:
    """One sync of a ring, from what the writer's thread has prepared; `run` may go on in any thread."""

    fd: int
    words: Bits
    heads: Bits  # a copy of the heads' page
    sealed: list[Sealed]
    number: int
    wait: Callable[[], None]  # until all that was written is on the disk
    lock: Lock

    def run(self) -> None:
        """Steps 1–5. Raises OSError when the disk does; nothing may be taken as synced then."""
        with self.lock:
            self.wait()
            for sealed in self.sealed:
                self.words[sealed.stamp_at] = sealed.block + 1
                self.heads[sealed.lane, HEAD_STAMP + sealed.block % 2] = 0
            if self.sealed:
                self.wait()
            os.pwrite(self.fd, encode_record(self.heads, self.number), RECORDS_START + self.number % 2 * PAGE)
            self.wait()


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
