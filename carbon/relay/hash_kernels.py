"""The numba kernels of hash rings: FNV-1a, MurmurHash3 and jump hashing of many names. Arrays in, arrays out.

Names lie end to end in a blob, name i is blob[offsets[i]:offsets[i + 1]]. Each kernel has a plain twin in
tests/carbon/relay.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

_FNV32, _FNV32_PRIME = np.uint32(0x811C9DC5), np.uint32(0x01000193)
_FNV64, _FNV64_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MURMUR_1, _MURMUR_2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
_LEHMER = np.uint64(2862933555777941757)  # of the paper on jump hashing (Lamping and Veach, 2014)
_XORSHIFT = np.uint64(2685821657736338717)  # of xorshift64*


@njit(nogil=True, cache=True)
def fnv1a_folded(blob, offsets, out):  # type: ignore[no-untyped-def]
    """The 32 bits of FNV-1a folded to 16, for each name; out is int64."""
    for i in range(len(out)):
        state = _FNV32
        for at in range(offsets[i], offsets[i + 1]):
            state = np.uint32((state ^ np.uint32(blob[at])) * _FNV32_PRIME)
        out[i] = (state >> np.uint32(16)) ^ (state & np.uint32(0xFFFF))


@njit(nogil=True, cache=True, inline="always")
def _scrambled(k):  # type: ignore[no-untyped-def]
    k = np.uint32(k * _MURMUR_1)
    k = np.uint32((k << np.uint32(15)) | (k >> np.uint32(17)))
    return np.uint32(k * _MURMUR_2)


@njit(nogil=True, cache=True)
def murmur3(blob, offsets, out):  # type: ignore[no-untyped-def]
    """MurmurHash3_x86_32 under seed 0 of each name, as a signed number; out is int64."""
    for i in range(len(out)):
        start, stop = offsets[i], offsets[i + 1]
        state = np.uint32(0)
        whole = start + (stop - start) // 4 * 4
        for at in range(start, whole, 4):
            word = np.uint32(blob[at]) | np.uint32(blob[at + 1]) << np.uint32(8)
            word |= np.uint32(blob[at + 2]) << np.uint32(16) | np.uint32(blob[at + 3]) << np.uint32(24)
            state ^= _scrambled(np.uint32(word))
            state = np.uint32((state << np.uint32(13)) | (state >> np.uint32(19)))
            state = np.uint32(state * np.uint32(5) + np.uint32(0xE6546B64))
        rest = np.uint32(0)
        for at in range(stop - 1, whole - 1, -1):
            rest = np.uint32((rest << np.uint32(8)) | np.uint32(blob[at]))
        state ^= _scrambled(rest)  # of no bytes it is 0
        state ^= np.uint32(stop - start)
        state = np.uint32((state ^ (state >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        state = np.uint32((state ^ (state >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        out[i] = np.int32(state ^ (state >> np.uint32(16)))


@njit(nogil=True, cache=True)
def _jump(key, buckets):  # type: ignore[no-untyped-def]
    """The bucket of a uint64 key."""
    chosen, following = np.int64(-1), np.int64(0)
    while following < buckets:
        chosen = following
        key = key * _LEHMER + np.uint64(1)
        step = np.float64(1 << 31) / np.float64((key >> np.uint64(33)) + np.uint64(1))
        following = np.int64(np.float64(chosen + 1) * step)
    return chosen


@njit(nogil=True, cache=True)
def jump_nodes(blob, offsets, nodes, servers, out):  # type: ignore[no-untyped-def]
    """The nodes of each name by jump hashing, as carbon-c-relay does it; out (names, replicas) is filled with -1.

    nodes are in the order of their buckets. A node whose server (a number for each node) has a replica already is
    passed over. For every further replica the hash is changed and the node taken leaves, the last one taking its place.
    """
    left = np.empty(len(nodes), np.int64)
    for i in range(len(out)):
        key = _FNV64
        for at in range(offsets[i], offsets[i + 1]):
            key = (key ^ np.uint64(blob[at])) * _FNV64_PRIME
        left[:] = nodes
        found = 0
        for buckets in range(len(nodes), 0, -1):
            bucket = _jump(key, buckets)
            node = left[bucket]
            taken = False
            for j in range(found):
                taken |= servers[out[i, j]] == servers[node]
            if not taken:
                out[i, found] = node
                found += 1
                if found == out.shape[1]:
                    break
            key ^= key >> np.uint64(12)
            key ^= key << np.uint64(25)
            key ^= key >> np.uint64(27)
            key *= _XORSHIFT
            left[bucket] = left[buckets - 1]
