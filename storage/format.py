"""A ring file, byte by byte. This docstring is the specification of version 2; what differs in version 1 stands below.

A ring holds one archive (step, points) of the series of one shard, in `shards/<shard>/<step>s.ring`.
All numbers are little-endian. Time is cut into slots (`slot = timestamp // step`) and blocks of B slots
(`block = slot // B`); the timestamps themselves are not stored, they follow from the place.

    file    = header · heads' page · record 0 · record 1 · lane 0 · lane 1 · …
              up to 64 lanes, appended when their first row is taken
    header  = 4,096 bytes:
              0   8  magic "PBGORING"
              8   4  version (2)                    12  4  CRC-32 of bytes 16 … 4095
              16  4  step, seconds                  20  4  B, slots a block
              24  8  points of the archive          32  4  P, places for sealed blocks
              36  4  rows a lane (512)              40  8  bytes a lane
              48  4  length of the text             52  …  text: the shard's schema as JSON, for people and tools
    heads'  = 8 words of 8 bytes a lane (one page for all lanes: it changes with every slot):
    page      0, 1  stamp of head 0, 1              2, 3  slot after the last of head 0, 1, checked
              4     seals begun + seals ended (odd: one is under way); the low 32 bits count
              5, 6  first slot of head 0, 1, checked
              7     late values that are being rolled up, 0 = none: (lowest slot + 1) << 32 | highest slot
    record  = a copy of the heads' page as it was synced (see durable.py); word 7 of lane 0 is its number, that of
              lane 1 the CRC-32 of the page with that word zero; number n is written to record n % 2; a new file has
              number 1, of no heads
    lane    = stamps · checks · head 0 · head 1 · place 0 … P-1 · packed place 0 … P-1       512 rows of the shard
    stamps  = words of 8 bytes, padded to a page: the stamp of place 0 … P-1
    checks  = as stamps: the check of place 0 … P-1, and how many of the lane's rows were ever given to a name; on pages
              of their own, so that a page that is lost is restored from the other
    head    = float64 [B][512]   time-major: one slot of all the lane's rows is one 4 KiB page
    place   = float64 [512][B]   series-major: one row's block is one run
    packed  = the same block as codec.py writes it, in the space of a place; the rest of it is a hole
    place

A *stamp* is the number of the block that lies there plus one; 0 = nothing; bit 63: it lies in the packed place.
Block e lives in head e % 2 while it is one of the newest two, and is sealed to place e % P after. The place that
the stamp does not point to holds nothing of worth and is given back to the file system. In a head only the slots from
`first` to before the one `after` the last count: what lies outside is left over from an older block.

These words say under which time values are shown, so none of them is believed alone.
A *checked* slot has itself in the low 32 bits and in the high ones those of h, modulo 2 ** 64 with
C = 0xD6E8FEB86659FD93: h = stamp of its head * C, h = (h XOR slot) * C, h = (h XOR number of the word on its page) * C.
The *check* of a place has in bits 32 … 62 the low 31 bits of the stamp, in bit 63 that of the stamp, and in the low 32
bits a checksum (0 counts as 1), 0 = not known. Of a packed block: the CRC-32 of its number plus one as 8 bytes and of
the 4 bytes of its own CRC-32. Of a raw one: the high 32 bits of (t XOR its number plus one) * C, where t is the sum of
s over k = 0 … 3 and all rows i that have a value; s begins as (4 i + k + 1) * C, and with each word w of the row whose
number modulo 4 is k it becomes s = (s XOR w) * C and then s XOR (s >> 29); all modulo 2 ** 64.
A stamp whose check names another block points to nothing. A late value that is written into a raw place makes its
checksum unknown.

**A missing value is zero bits**: what is stored is the bits of the float64 XOR those of the canonical NaN, so
untouched space, a hole in the file too, reads as missing.

Version 1 has no packed places, no checks (its slots in words 2, 3, 5, 6 are plain numbers), no number of rows, and zero
for word 7.
Its files are read and written, and stay what they are.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from storage.errors import CorruptRing

MAGIC = b"PBGORING"
VERSION = 2
_FIRST = 1  # the version without packed places and checks
PAGE = 4096
WORD = 8
LANE_ROWS = 512  # one slot of a lane's rows fills a page: a flush dirties no more than it must
LANES_MAX = 64
SHARD_ROWS = LANE_ROWS * LANES_MAX
NAN_BITS = 0x7FF8000000000000

PACKED = 1 << 63  # in a stamp
CHECK_FACTOR = 0xD6E8FEB86659FD93  # see above
LOW_WORD = 0xFFFFFFFF
TAG = 0x7FFFFFFF  # of a stamp, in its check
HEAD_STAMP, HEAD_AFTER, SEALS, HEAD_FIRST, LATE, HEAD_WORDS = (
    0,
    2,
    4,
    5,
    7,
    8,
)  # words of a lane on the heads' page
RECORD_NUMBER, RECORD_CRC = 7, HEAD_WORDS + 7  # words of a record's page
RECORDS_START = 2 * PAGE
LANES_START = 4 * PAGE

_HEADER = struct.Struct("<8sIIIIQIIQI")
_TEXT_MAX = PAGE - _HEADER.size
_BLOCK_SLOTS = 120  # the multiple of most ratios between archives that is nearest to 1 KiB a row
_RATIO_MAX = 256


@dataclass(frozen=True)
class Geometry:
    """Where everything lies in a ring file; a kernel gets it as an int64 array from `for_kernel`."""

    step: int
    points: int
    block: int
    version: int = VERSION

    @property
    def packs(self) -> bool:
        """Whether there are packed places."""
        return self.version > _FIRST

    @property
    def checks(self) -> bool:
        """Whether slots of heads, and places, have checks."""
        return self.version > _FIRST

    @classmethod
    def choose(cls, step: int, points: int, *, ratio: int = 1) -> Geometry:
        """The geometry for an archive whose next coarser one has `ratio` times its step.

        Blocks are a multiple of the ratio, so that a coarse slot never straddles two of them (but for ratios
        too large for a head), and small archives get small blocks.
        """
        block = max(8, min(_BLOCK_SLOTS, -(-points // 4)))
        if ratio <= _RATIO_MAX:
            block = max(1, round(block / ratio)) * ratio
        return cls(step, points, block)

    @property
    def places(self) -> int:
        """One more than the archive needs: the oldest block stays whole while a new one is sealed."""
        return -(-self.points // self.block) + 1

    @property
    def stamps_bytes(self) -> int:
        """Bytes of a lane's stamps and checks."""
        return self.checks_offset + (-(-(self.places + 1) * WORD // PAGE) * PAGE if self.checks else 0)

    @property
    def checks_offset(self) -> int:
        """Bytes from a lane's start to its checks."""
        return -(-self.places * WORD // PAGE) * PAGE

    @property
    def unit_bytes(self) -> int:
        """Bytes of a head or a place of one lane."""
        return self.block * LANE_ROWS * WORD

    @property
    def lane_bytes(self) -> int:
        return self.stamps_bytes + (2 + (1 + self.packs) * self.places) * self.unit_bytes

    def lane_offset(self, lane: int) -> int:
        return LANES_START + lane * self.lane_bytes

    def place_offset(self, lane: int, place: int) -> int:
        return self.lane_offset(lane) + self.stamps_bytes + (2 + place) * self.unit_bytes

    def packed_offset(self, lane: int, place: int) -> int:
        return self.place_offset(lane, self.places + place)

    def for_kernel(self) -> tuple[int, int, int, int, int]:
        """(block, places, words of stamps, words of a lane, words up to the checks or 0 if there are none)"""
        return (
            self.block, self.places, self.stamps_bytes // WORD, self.lane_bytes // WORD,
            self.checks_offset // WORD if self.checks else 0,
        )  # fmt: skip


def check_word(stamp: int, digest: int) -> int:
    """The check of a place with this stamp; digest 0 = not known."""
    return stamp & PACKED | (stamp & TAG) << 32 | digest


def checked_stamp(check: int) -> int:
    """The stamp that a check was written for; 0 = none."""
    tag = check >> 32 & TAG
    return check & PACKED | tag if tag else 0


def encode_header(geometry: Geometry, schema: dict[str, Any]) -> bytes:
    text = json.dumps(schema).encode()[:_TEXT_MAX]
    fields = (geometry.step, geometry.block, geometry.points, geometry.places, LANE_ROWS, geometry.lane_bytes)
    page = bytearray(PAGE)
    _HEADER.pack_into(page, 0, MAGIC, geometry.version, 0, *fields, len(text))
    page[_HEADER.size : _HEADER.size + len(text)] = text
    struct.pack_into("<I", page, 12, zlib.crc32(page[16:]))
    return bytes(page)


def decode_header(page: bytes, path: str) -> tuple[Geometry, dict[str, Any]]:
    """The geometry and the schema's text of a ring file; raises CorruptRing."""
    if len(page) < PAGE:
        raise CorruptRing(path, len(page), f"the header has {len(page)} of {PAGE} bytes")
    magic, version, crc, step, block, points, places, lane_rows, lane_bytes, text = _HEADER.unpack_from(page)
    if magic != MAGIC:
        raise CorruptRing(path, 0, f"no ring file: it begins with {magic!r}")
    if not 1 <= version <= VERSION:
        # a newer program's store is refused by its catalogue, whose version goes up with this one
        raise CorruptRing(path, 8, f"format version {version}, there are 1 to {VERSION}")
    if crc != zlib.crc32(page[16:PAGE]):
        raise CorruptRing(path, 12, "the header's checksum is wrong")
    if min(step, points, block) < 1:
        raise CorruptRing(path, 16, "the header's sizes contradict each other")
    geometry = Geometry(step, points, block, version)
    if (geometry.places, LANE_ROWS, geometry.lane_bytes) != (places, lane_rows, lane_bytes):
        raise CorruptRing(path, 16, "the header's sizes contradict each other")
    return geometry, _described(page[_HEADER.size : _HEADER.size + text])


def _described(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}  # it was too long for the page
    return found if isinstance(found, dict) else {}
