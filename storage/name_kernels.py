"""The numba kernels of names: interning, globs, the tree of nodes, sorted paths. Arrays in, arrays out.

Text is UTF-8 in uint8 arrays; a name is text[start:stop]. Each kernel has a plain twin in tests/storage.
`hash_bytes`, `probe` and `insert` are meant to be called from other kernels' loops too: see intern.py.
Kernels check no bounds: who calls makes room first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]  # has no stubs
from numba import types
from numba.extending import intrinsic

from storage.compiled import njit

# The operations of a glob's program (glob.py): a number ≥ 0 is the character that must stand there.
ANY_RUN, ANY_ONE, CLASS = -1, -2, -3
_DOT = 46
_AHEAD = 64  # names whose memory is fetched together: hides a cache miss behind the others

_intrinsic: Any = intrinsic  # numba's own type for what it makes does not fit a call in a kernel
_MULTIPLIER = np.uint64(0xA0761D6478BD642F)  # any odd number with well mixed bits


class Names(NamedTuple):
    """The arrays of an Interned; a slot is free (id -1) or holds a name's id and the low bits of its hash."""

    seed: np.uint64
    ids: npt.NDArray[np.int32]  # (slots,), slots a power of two
    hashes: npt.NDArray[np.uint32]  # (slots,)
    blob: npt.NDArray[np.uint8]  # names laid end to end
    offsets: npt.NDArray[np.int64]  # (names + 1,), name i is blob[offsets[i]:offsets[i + 1]]


class Nodes(NamedTuple):
    """The arrays of one level of the tree; a node is an index into all of them but `slots` (-1 = free)."""

    seed: np.uint64
    slots: npt.NDArray[np.int32]  # (slots,), slots a power of two: (parent, label) → node
    parent: npt.NDArray[np.int32]  # index in the level above
    label: npt.NDArray[np.int32]  # id in the vocabulary
    leaf: npt.NDArray[np.int32]  # series, -1 = none ends here
    below: npt.NDArray[np.int32]  # how many leaves lie below
    child: npt.NDArray[np.int32]  # newest child, an index in the level below; -1 = none
    sibling: npt.NDArray[np.int32]  # the parent's next older child, -1 = none


# --- words of memory: numba has no unaligned loads, no 128-bit product and no prefetch of its own ---


@_intrinsic
def fold(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The 128-bit product of two uint64, its halves xor-ed: the mixing step of wyhash."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word, wide = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return builder.xor(builder.trunc(product, word), high)

    return types.uint64(types.uint64, types.uint64), generate


def _word(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """A pointer to the 8 bytes of a uint8 array that begin at `at`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), ir.IntType(64).as_pointer())


@_intrinsic
def load(typing_context, array, at):  # type: ignore[no-untyped-def]
    """array[at:at + 8] of uint8 as one uint64."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word = builder.load(_word(context, builder, signature.args[0], args[0], args[1]))
        word.align = 1
        return word

    return types.uint64(array, types.int64), generate


@_intrinsic
def store(typing_context, array, at, word):  # type: ignore[no-untyped-def]
    """array[at:at + 8] of uint8 becomes the uint64."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kept = builder.store(args[2], _word(context, builder, signature.args[0], args[0], args[1]))
        kept.align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), generate


@_intrinsic
def prefetch(typing_context, array, at):  # type: ignore[no-untyped-def]
    """Ask for array[at]'s cache line without waiting for it."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        line = builder.bitcast(builder.gep(data, [args[1]]), pointer)
        builder.call(fetch, [line, flag(0), flag(3), flag(1)])  # to read, keep close, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@njit(nogil=True, cache=True)
def same_bytes(a, at, b, to, size):  # type: ignore[no-untyped-def]
    """Whether a[at:at + size] equals b[to:to + size]."""
    if size < 8:
        for i in range(size):  # noqa: SIM110 numba has no all(generator)
            if a[at + i] != b[to + i]:
                return False
        return True
    for i in range(0, size - 8, 8):
        if load(a, at + i) != load(b, to + i):
            return False
    return load(a, at + size - 8) == load(b, to + size - 8)


@njit(nogil=True, cache=True)
def copy_bytes(a, at, b, to, size):  # type: ignore[no-untyped-def]
    """a[at:at + size] → b[to:to + size], which do not overlap."""
    if size < 8:
        for i in range(size):
            b[to + i] = a[at + i]
        return
    for i in range(0, size - 8, 8):
        store(b, to + i, load(a, at + i))
    store(b, to + size - 8, load(a, at + size - 8))


# --- interning ---


@njit(nogil=True, cache=True)
def hash_bytes(text, start, stop, seed):  # type: ignore[no-untyped-def]
    """A uint64 of text[start:stop] under a uint64 seed, 16 bytes a step; the last ones may be read twice.

    The seed is also in every factor: with a known one, a sender could make products of zero at will.
    """
    secret = seed ^ _MULTIPLIER
    state = seed
    size = stop - start
    first, last = np.uint64(0), np.uint64(0)
    if size >= 8:
        for at in range(start, stop - 16, 16):
            state = fold(load(text, at) ^ secret, load(text, at + 8) ^ state)
        first = load(text, stop - 16) if size >= 16 else load(text, start)
        last = load(text, stop - 8)
    else:
        for at in range(start, stop):
            first = (first << np.uint64(8)) | np.uint64(text[at])
    return fold(secret ^ np.uint64(size), fold(first ^ secret, last ^ state))


@njit(nogil=True, cache=True)
def probe(names, text, start, stop, hashed):  # type: ignore[no-untyped-def]
    """The id of the name text[start:stop], hashed by hash_bytes; or ~slot, the free slot where it belongs."""
    mask = np.int64(len(names.ids) - 1)
    low = np.uint32(hashed & np.uint64(0xFFFFFFFF))
    slot = np.int64(low) & mask
    while True:
        found = np.int64(names.ids[slot])
        if found < 0:
            return ~slot
        if names.hashes[slot] == low:
            at = names.offsets[found]
            size = names.offsets[found + 1] - at
            if size == stop - start and same_bytes(names.blob, at, text, start, size):
                return found
        slot = (slot + 1) & mask


@njit(nogil=True, cache=True)
def insert(names, slot, text, start, stop, hashed, count):  # type: ignore[no-untyped-def]
    """Give the name text[start:stop] the id `count` (how many there are) in a free slot; gives the id."""
    at = names.offsets[count]
    copy_bytes(text, start, names.blob, at, stop - start)
    names.offsets[count + 1] = at + stop - start
    names.hashes[slot] = np.uint32(hashed & np.uint64(0xFFFFFFFF))
    names.ids[slot] = count
    return count


@njit(nogil=True, cache=True)
def has_room(names, count, size):  # type: ignore[no-untyped-def]
    """Whether one more name of `size` bytes may be inserted: the table stays at most 60 % full."""
    ids = count + 1 < len(names.offsets) and (count + 1) * 5 <= len(names.ids) * 3
    return ids and names.offsets[count] + size <= len(names.blob)


@njit(nogil=True, cache=True)
def look_ahead(names, text, starts, stops, first, count, hashes):  # type: ignore[no-untyped-def]
    """Hash names first … first + count into hashes (≥ count,), and fetch what probing them will read."""
    mask = np.int64(len(names.ids) - 1)
    for i in range(count):
        hashes[i] = hash_bytes(text, starts[first + i], stops[first + i], names.seed)
        slot = np.int64(hashes[i]) & mask
        prefetch(names.ids, slot)
        prefetch(names.hashes, slot)
    for i in range(count):
        prefetch(names.offsets, np.int64(max(0, names.ids[np.int64(hashes[i]) & mask])))
    for i in range(count):
        prefetch(names.blob, names.offsets[max(0, names.ids[np.int64(hashes[i]) & mask])])


@njit(nogil=True, cache=True)
def find_name(names, text):  # type: ignore[no-untyped-def]
    """The id of the name that is the whole text, -1 = not there."""
    return max(-1, probe(names, text, 0, len(text), hash_bytes(text, 0, len(text), names.seed)))


@njit(nogil=True, cache=True)
def find_names(names, text, starts, stops, ids):  # type: ignore[no-untyped-def]
    """Ids of the names text[starts:stops] → ids int32 (n,), -1 = not there."""
    hashes = np.empty(_AHEAD, np.uint64)
    for first in range(0, len(starts), _AHEAD):
        count = min(_AHEAD, len(starts) - first)
        look_ahead(names, text, starts, stops, first, count, hashes)
        for i in range(count):
            at = first + i
            ids[at] = max(-1, probe(names, text, starts[at], stops[at], hashes[i]))


@njit(nogil=True, cache=True)
def add_names(names, count, text, starts, stops, at, ids):  # type: ignore[no-untyped-def]
    """Intern names from `at` on → ids int32 (n,), until room is out; gives (where it stopped, names now)."""
    hashes = np.empty(_AHEAD, np.uint64)
    while at < len(starts):
        ahead = min(_AHEAD, len(starts) - at)
        look_ahead(names, text, starts, stops, at, ahead, hashes)
        for i in range(ahead):
            found = probe(names, text, starts[at], stops[at], hashes[i])
            if found < 0:
                if not has_room(names, count, stops[at] - starts[at]):
                    return at, count
                found = insert(names, ~found, text, starts[at], stops[at], hashes[i], count)
                count += 1
            ids[at] = found
            at += 1
    return at, count


@njit(nogil=True, cache=True)
def rehash_names(ids, hashes, new_ids, new_hashes):  # type: ignore[no-untyped-def]
    """Move a table's entries into a larger one, all free (-1)."""
    mask = np.int64(len(new_ids) - 1)
    for slot in range(len(ids)):
        if ids[slot] >= 0:
            to = np.int64(hashes[slot]) & mask
            while new_ids[to] >= 0:
                to = (to + 1) & mask
            new_ids[to] = ids[slot]
            new_hashes[to] = hashes[slot]


@njit(nogil=True, cache=True)
def join_names(names, ids, separator, out):  # type: ignore[no-untyped-def]
    """Names laid into out uint8, each followed by the separator's byte."""
    end = 0
    for i in ids:
        size = names.offsets[i + 1] - names.offsets[i]
        copy_bytes(names.blob, names.offsets[i], out, end, size)
        out[end + size] = separator
        end += size + 1


@njit(nogil=True, cache=True)
def has_byte(text, starts, stops, byte, out):  # type: ignore[no-untyped-def]
    """Whether each of the names text[starts:stops] has the byte → out bool (n,); gives how many do."""
    count = 0
    for i in range(len(starts)):
        out[i] = False
        for at in range(starts[i], stops[i]):
            if text[at] == byte:
                out[i] = True
                count += 1
                break
    return count


# --- globs ---


@njit(nogil=True, cache=True)
def next_character(text, at, stop):  # type: ignore[no-untyped-def]
    """(code point, bytes) of the character at text[at]; a byte that begins none is 0xDC00 + itself.

    That is Python's surrogateescape.
    """
    lead = np.int32(text[at])
    if lead < 0x80:
        return lead, 1
    more = 1 if 0xC2 <= lead < 0xE0 else 2 if 0xE0 <= lead < 0xF0 else 3 if 0xF0 <= lead < 0xF5 else 0
    if more == 0 or at + more >= stop:
        return np.int32(0xDC00) + lead, 1
    code = lead & np.int32(0x3F >> more)
    for i in range(at + 1, at + 1 + more):
        if text[i] & 0xC0 != 0x80:
            return np.int32(0xDC00) + lead, 1
        code = np.int32((code << 6) | (text[i] & 0x3F))
    return code, 1 + more


@njit(nogil=True, cache=True)
def in_class(program, at, character):  # type: ignore[no-untyped-def]
    """Whether the class at program[at] (CLASS, negated, n, n × (low, high)) has the character."""
    inside = False
    for i in range(at + 3, at + 3 + 2 * program[at + 2], 2):
        if program[i] <= character <= program[i + 1]:
            inside = True
    return inside != (program[at + 1] == 1)


@njit(nogil=True, cache=True)
def accepts(program, text, start, stop):  # type: ignore[no-untyped-def]
    """Whether a glob's program int32 accepts the whole of text[start:stop].

    Only the last ANY_RUN is ever tried again, each time one character later: length × program at most.
    """
    op, at = 0, start
    again_op, again_at = -1, start
    while True:
        if op < len(program) and program[op] == ANY_RUN:
            op += 1
            if op == len(program):
                return True
            again_op, again_at = op, at
            continue
        if at >= stop:
            return op == len(program)
        if op < len(program):
            character, size = next_character(text, at, stop)
            wanted = program[op]
            if wanted in (character, ANY_ONE):
                op, at = op + 1, at + size
                continue
            if wanted == CLASS and in_class(program, op, character):
                op, at = op + 3 + 2 * program[op + 2], at + size
                continue
        if again_op < 0:
            return False
        again_at += next_character(text, again_at, stop)[1]
        op, at = again_op, again_at


@njit(nogil=True, cache=True)
def match_names(program, names, ids, out):  # type: ignore[no-untyped-def]
    """Set out bool (n,) where the program accepts the name; what was set stays set."""
    for i in range(len(ids)):
        if not out[i]:
            out[i] = accepts(program, names.blob, names.offsets[ids[i]], names.offsets[ids[i] + 1])


# --- the tree ---


@njit(nogil=True, cache=True)
def node_ends(text, starts, stops, ends):  # type: ignore[no-untyped-def]
    """Where the first node of each path text[starts:stops] ends, at a dot or its stop → ends int64 (n,)."""
    for i in range(len(starts)):
        at = starts[i]
        while at < stops[i] and text[at] != _DOT:
            at += 1
        ends[i] = at


@njit(nogil=True, cache=True)
def node_slot(nodes, parent, label):  # type: ignore[no-untyped-def]
    """Where to look for a node first."""
    key = (np.uint64(parent) << np.uint64(32)) | np.uint64(label)
    return np.int64(fold(key ^ nodes.seed, nodes.seed ^ _MULTIPLIER)) & np.int64(len(nodes.slots) - 1)


@njit(nogil=True, cache=True)
def probe_node(nodes, parent, label):  # type: ignore[no-untyped-def]
    """The node under parent with the label, or ~slot, the free slot where it belongs."""
    slot = node_slot(nodes, parent, label)
    while True:
        node = np.int64(nodes.slots[slot])
        if node < 0:
            return ~slot
        if nodes.parent[node] == parent and nodes.label[node] == label:
            return node
        slot = (slot + 1) & np.int64(len(nodes.slots) - 1)


@njit(nogil=True, cache=True)
def insert_node(nodes, slot, children, parent, label, node):  # type: ignore[no-untyped-def]
    """Make `node` the newest child of parent; children is the upper level's `child`."""
    nodes.slots[slot] = node
    nodes.parent[node] = parent
    nodes.label[node] = label
    nodes.leaf[node] = -1
    nodes.below[node] = 0
    nodes.child[node] = -1
    nodes.sibling[node] = children[parent]
    children[parent] = node


@njit(nogil=True, cache=True)
def add_nodes(nodes, count, children, parents, labels, at, out):  # type: ignore[no-untyped-def]
    """Find or make the node of each (parent, label) from `at` on → out int32 (n,), until room is out.

    children is the upper level's `child`. Gives (where it stopped, how many nodes there are now).
    """
    nodes_max = min(len(nodes.parent), len(nodes.slots) * 3 // 5)
    while at < len(parents):
        ahead = min(_AHEAD, len(parents) - at)
        for i in range(at, at + ahead):
            prefetch(nodes.slots, node_slot(nodes, parents[i], labels[i]))
        for i in range(at, at + ahead):
            likely = max(0, nodes.slots[node_slot(nodes, parents[i], labels[i])])
            prefetch(nodes.parent, np.int64(likely))
            prefetch(nodes.label, np.int64(likely))
        for i in range(at, at + ahead):
            node = probe_node(nodes, parents[i], labels[i])
            if node < 0:
                if count >= nodes_max:
                    return i, count
                insert_node(nodes, ~node, children, parents[i], labels[i], count)
                node = count
                count += 1
            out[i] = node
        at += ahead
    return at, count


@njit(nogil=True, cache=True)
def rehash_nodes(nodes, count):  # type: ignore[no-untyped-def]
    """Enter the first `count` nodes into the slots, all free (-1)."""
    mask = np.int64(len(nodes.slots) - 1)
    for node in range(count):
        slot = node_slot(nodes, nodes.parent[node], nodes.label[node])
        while nodes.slots[slot] >= 0:
            slot = (slot + 1) & mask
        nodes.slots[slot] = node


@njit(nogil=True, cache=True)
def set_leaves(leaf, at_node, series, fresh):  # type: ignore[no-untyped-def]
    """Give nodes their series, of one named twice the last; those that had none → fresh; gives how many."""
    count = 0
    for i in range(len(at_node)):
        if leaf[at_node[i]] < 0:
            fresh[count] = at_node[i]
            count += 1
        leaf[at_node[i]] = series[i]
    return count


@njit(nogil=True, cache=True)
def unset_leaves(leaf, gone, nodes):  # type: ignore[no-untyped-def]
    """Take from nodes the series that gone bool (series,) has; those nodes → nodes int32; gives how many."""
    count = 0
    for node in range(len(leaf)):
        if 0 <= leaf[node] < len(gone) and gone[leaf[node]]:
            leaf[node] = -1
            nodes[count] = node
            count += 1
    return count


@njit(nogil=True, cache=True)
def climb(at_node, parent, below, change):  # type: ignore[no-untyped-def]
    """Replace each node by its parent, whose leaves below grow by change."""
    for i in range(len(at_node)):
        up = parent[at_node[i]]
        below[up] += change
        at_node[i] = up


@njit(nogil=True, cache=True)
def pick_children(nodes, parents, labels, out):  # type: ignore[no-untyped-def]
    """The living nodes under parents with one of labels → out int32 (parents × labels,); gives how many."""
    count = 0
    for parent in parents:
        for label in labels:
            node = probe_node(nodes, parent, label)
            if node >= 0 and (nodes.leaf[node] >= 0 or nodes.below[node] > 0):
                out[count] = node
                count += 1
    return count


@njit(nogil=True, cache=True)
def walk_children(nodes, children, parents, out):  # type: ignore[no-untyped-def]
    """The living nodes under parents → out int32; gives how many, -1 when out is too short."""
    count = 0
    for parent in parents:
        node = children[parent]
        while node >= 0:
            if nodes.leaf[node] >= 0 or nodes.below[node] > 0:
                if count == len(out):
                    return -1
                out[count] = node
                count += 1
            node = nodes.sibling[node]
    return count


@njit(nogil=True, cache=True)
def scan_level(nodes, count, parent_ok, label_ok, out):  # type: ignore[no-untyped-def]
    """The living of the first `count` nodes with parent and label ok → out int32 (count,); gives how many.

    parent_ok and label_ok are bool; empty = all are. No branch depends on a node, so none is mispredicted.
    """
    all_parents, all_labels = len(parent_ok) == 0, len(label_ok) == 0
    found = 0
    for node in range(count):
        ok = (nodes.leaf[node] >= 0) | (nodes.below[node] > 0)
        if not all_labels:
            ok &= label_ok[nodes.label[node]]
        if not all_parents:
            ok &= parent_ok[nodes.parent[node]]
        out[found] = node
        found += ok
    return found


# --- sorted paths ---


@njit(nogil=True, cache=True)
def label_words(names, labels, at, after, out):  # type: ignore[no-untyped-def]
    """Bytes at … at + 8 of each label as a number that sorts alike, 0 after the end → out uint64 (n,).

    The byte `after` follows the label (0 = none): `a-b` comes before `a` where a dot and more nodes follow, after it
    where none do.
    """
    for i in range(len(labels)):
        start, stop = names.offsets[labels[i]], names.offsets[labels[i] + 1]
        word = np.uint64(0)
        for j in range(start + at, start + at + 8):
            byte = np.uint64(0)
            if j < stop:
                byte = np.uint64(names.blob[j])
            elif j == stop:
                byte = np.uint64(after)
            word = (word << np.uint64(8)) | byte
        out[i] = word


@njit(nogil=True, cache=True)
def paths_size(names, labels):  # type: ignore[no-untyped-def]
    """How many bytes join_paths makes of labels int32 (depth, n)."""
    size = labels.size
    for row in labels:
        for label in row:
            size += names.offsets[label + 1] - names.offsets[label]
    return size


@njit(nogil=True, cache=True)
def join_paths(names, labels, order, separator, out):  # type: ignore[no-untyped-def]
    """Paths of labels int32 (depth, n) laid into out uint8 in an order, the separator's byte after each."""
    end = 0
    for column in order:
        for depth in range(len(labels)):
            label = labels[depth, column]
            size = names.offsets[label + 1] - names.offsets[label]
            copy_bytes(names.blob, names.offsets[label], out, end, size)
            out[end + size] = _DOT
            end += size + 1
        out[end - 1] = separator
