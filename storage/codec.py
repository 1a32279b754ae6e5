"""A sealed block, compressed. This docstring is the specification of version 1 of its bytes.

A block is uint64 (rows, slots) of stored bits: value bits XOR those of the canonical NaN, zero = missing. All of
it comes back to the last bit. Numbers are little-endian; *folded* means 0, -1, 1, -2 … written as 0, 1, 2, 3 …

    block     = header · directory · checks · rows · 8 zero bytes
    header    =  0  4  magic "PBGS"                  4  2  version (1)
                 6  2  slots                         8  4  rows
                12  4  bytes of the whole block     16  4  CRC-32 of all other bytes
    directory = 4 bytes a row: where it ends, from the block's start; the first begins behind the checks
    checks    = 2 bytes a row: over its bytes, eight at a time as numbers, the last filled up with zeros:
                h = 0x9E3779B97F4A7C15, h = (h XOR number) * 0xD6E8FEB86659FD93, bits 48 … 63 of h
    row       = nothing: all slots are missing
              | 8 bytes a slot, when nothing shorter was found
              | front · which · base · centre · factor · patches · lows · nudges · highs · escapes
    front     = 0  1  bits 0–1 which: 0 all slots, 1 at equal distances, 2 a bitmap; bits 2–3 order;
                      bit 4: byte 4 is there; bit 5: patches are there
                1  1  scale: 0 … 15 = 10 ** scale, 16 … 25 = 3 * 10 ** (scale - 16), 255 = floats' bits
                2  1  L, low bits of a code          3  1  bytes of base (bits 0–3) and centre (4–7), each 0 … 8
                4  1  bytes of factor (bits 0–3; 0: it is 1), bits of a nudge (4–7)
    which     = 1: first slot, distance, n, 2 bytes each; 2: a bit a slot, lowest first. n values are known
    base, centre, factor = folded
    patches   = 1 byte how many · for each 2 bytes the number of the value, 8 bytes its bits
    lows      = the low L bits of each code, end to end, lowest first, up to a whole byte
    nudges    = as lows: for each value, folded, what is to be added to the bits of its quotient
    highs     = for each code as many zero bits as what is above the low ones says, then a one; 24 zeros mean
                that the code was too long: it is the next of the escapes, read from the row's end backwards
    escapes   = 8 bytes each

A row's n values become integers w(0) … w(n-1): value = the float nearest to w / scale; for scale 255, w is the
float's bits in the order of the floats (as int64, the lower 63 inverted if negative). Then x = (w - base) / factor:

    order 0   nothing is coded: all are base          1   code i = folded(x(i) - centre)
          2   folded(x(i) - x(i-1) - centre), i ≥ 1   3   the same with x(i-1) - x(i-2) for centre when i ≥ 2

All sums are modulo 2 ** 64. A decimal number with a few digits is always such a quotient, so gauges, counters and
averages come down to small integers; a division rounds to the very float that the number's text was read as.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from storage.codec_encoder import encode_rows
from storage.codec_kernels import ENTRY, HEADER, PAD

MAGIC = b"PBGS"
VERSION = 1
SLOTS_MAX = (1 << 16) - 1
_BYTES_MAX = (1 << 32) - 1

_HEADER = struct.Struct("<4sHHIII")
_CHECKSUM = struct.Struct("<I")
_CHECKSUM_AT = HEADER - _CHECKSUM.size


def encode(block: npt.NDArray[np.uint64]) -> bytes:
    """The bytes of stored bits (rows, slots), slots 1 … 65,535; at most `bytes_max` of them."""
    rows, slots = block.shape
    if not 1 <= slots <= SLOTS_MAX or bytes_max(rows, slots) > _BYTES_MAX:
        raise ValueError(f"a block has 1 … {SLOTS_MAX} slots and less than 4 GiB, not {rows} × {slots}")
    out = np.empty(bytes_max(rows, slots), np.uint8)
    end = encode_rows(np.ascontiguousarray(block), out)
    out[end : end + PAD] = 0
    whole = out[: end + PAD].data
    _HEADER.pack_into(whole, 0, MAGIC, VERSION, slots, rows, len(whole), 0)
    _CHECKSUM.pack_into(whole, _CHECKSUM_AT, _checksum(whole))
    return bytes(whole)


def bytes_max(rows: int, slots: int) -> int:
    """Bytes that a block never exceeds: header, directory, checks, all slots raw."""
    return HEADER + ENTRY * rows + 8 * rows * slots + PAD


def extent(data: npt.NDArray[np.uint8], start: int) -> tuple[int, int]:
    """(rows, bytes) of the block at data[start:], as its header says; nothing is checked."""
    _, _, _, rows, size, _ = _HEADER.unpack_from(data.data, start)
    return rows, size


def damage(data: bytes | memoryview) -> str | None:
    """What is wrong with a block's bytes; None = they are what `encode` gave."""
    if len(data) < HEADER + PAD:
        return f"a block has {HEADER + PAD} bytes or more, not {len(data)}"
    magic, version, slots, rows, size, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC:
        return f"no block: it begins with {magic!r}"
    if version != VERSION:
        return f"block version {version}, this program reads {VERSION}"
    if size != len(data) or not HEADER + ENTRY * rows + PAD <= size <= bytes_max(rows, slots):
        return f"{len(data)} bytes do not fit a block of {rows} rows, {slots} slots and {size} bytes"
    if checksum != _checksum(memoryview(data)):
        return "the block's checksum is wrong"
    return None


def _checksum(data: memoryview) -> int:
    return zlib.crc32(data[HEADER:], zlib.crc32(data[:_CHECKSUM_AT]))
