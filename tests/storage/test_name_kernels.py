"""Each kernel of names against its plain twin; what is made of them is tested where it is made."""

from __future__ import annotations

import fnmatch
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import name_kernels as kernels
from storage.intern import Interned, lay

NAME = st.binary(max_size=40)
WORDS = 2**64 - 1
NONE = np.empty(0, np.bool_)


def uint8(text: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytearray(text), np.uint8)


def int32(numbers: Any) -> npt.NDArray[np.int32]:
    return np.array(list(numbers), np.int32)


# --- bytes ---


def twin_fold(a: int, b: int) -> int:
    return (a * b & WORDS) ^ (a * b >> 64)


def twin_hash(name: bytes, seed: int) -> int:
    secret, state, first, last = seed ^ int(kernels._MULTIPLIER), seed, 0, 0
    if len(name) < 8:
        first = int.from_bytes(name, "big")
    else:
        at = 0
        while at < len(name) - 16:
            one, two = (int.from_bytes(name[i : i + 8], "little") for i in (at, at + 8))
            state = twin_fold(one ^ secret, two ^ state)
            at += 16
        first = int.from_bytes(name[-16:-8] if len(name) >= 16 else name[:8], "little")
        last = int.from_bytes(name[-8:], "little")
    return twin_fold(secret ^ len(name), twin_fold(first ^ secret, last ^ state))


@given(NAME, NAME, NAME, st.integers(0, WORDS))
@settings(deadline=None)
def test_a_hash_is_of_the_bytes_between_start_and_stop(
    before: bytes, name: bytes, after: bytes, seed: int
) -> None:
    text, start = uint8(before + name + after), len(before)
    assert kernels.hash_bytes(text, start, start + len(name), np.uint64(seed)) == twin_hash(name, seed)


@given(NAME, NAME, NAME, st.integers(0, 50))
@settings(deadline=None)
def test_bytes_are_the_same_or_not_and_copied_whole(
    before: bytes, name: bytes, other: bytes, flip: int
) -> None:
    text, at, size = uint8(before + name + other), len(before), len(name)
    for there in (name, other, name[:flip] + b"x" + name[flip + 1 :], name[::-1]):
        if len(there) >= size:
            assert kernels.same_bytes(text, at, uint8(b"ab" + there), 2, size) == (there[:size] == name)
    target = uint8(b"." * (size + 5))
    kernels.copy_bytes(text, at, target, 3, size)
    assert target.tobytes() == b"..." + name + b".."


@given(st.lists(st.text("a.;é", max_size=6).map(str.encode)), st.sampled_from(b".;x"))
@settings(deadline=None)
def test_names_with_a_byte_and_their_first_nodes(names: list[bytes], byte: int) -> None:
    text, starts, stops = lay(names)
    has = np.empty(len(names), np.bool_)
    assert kernels.has_byte(text, starts, stops, byte, has) == sum(bytes([byte]) in name for name in names)
    assert has.tolist() == [bytes([byte]) in name for name in names]
    ends = np.empty(len(names), np.int64)
    kernels.node_ends(text, starts, stops, ends)
    assert (ends - starts).tolist() == [len(name.split(b".")[0]) for name in names]


# --- the table of names ---


@given(st.lists(NAME, unique=True, min_size=1, max_size=100), st.integers(0, 3))
@settings(deadline=None)
def test_names_of_one_hash_are_told_apart_by_their_bytes(names: list[bytes], hashes: int) -> None:
    """A sender who could make names collide would get slow answers, never wrong ones."""
    interned = Interned(seed=1)
    interned.reserve(len(names), 4000)
    for i, name in enumerate(names):
        hashed = np.uint64(i % (hashes + 1))
        slot = kernels.probe(interned.arrays, uint8(name), 0, len(name), hashed)
        assert slot < 0
        assert kernels.insert(interned.arrays, ~slot, uint8(name), 0, len(name), hashed, i) == i
    for i, name in enumerate(names):
        assert kernels.probe(interned.arrays, uint8(name), 0, len(name), np.uint64(i % (hashes + 1))) == i
    ids, table = np.full(1024, -1, np.int32), np.zeros(1024, np.uint32)
    kernels.rehash_names(interned.table_ids, interned.table_hashes, ids, table)
    moved = interned.arrays._replace(ids=ids, hashes=table)
    for i, name in enumerate(names):
        assert kernels.probe(moved, uint8(name), 0, len(name), np.uint64(i % (hashes + 1))) == i


@given(st.lists(NAME, max_size=200), st.integers(0, 100), st.integers(0, 2000))
@settings(deadline=None)
def test_adding_stops_where_room_is_out(names: list[bytes], room: int, size: int) -> None:
    interned = Interned(seed=1)
    interned.offsets, interned.blob = np.zeros(room + 1, np.int64), np.empty(size, np.uint8)
    text, starts, stops = lay(names)
    ids = np.full(len(names), -9, np.int32)
    at, count = kernels.add_names(interned.arrays, 0, text, starts, stops, 0, ids)
    twin: dict[bytes, int] = {}
    for i, name in enumerate(names):
        if name not in twin and (len(twin) == room or sum(map(len, twin)) + len(name) > size):
            assert (at, count) == (i, len(twin))
            break
        assert ids[i] == twin.setdefault(name, len(twin))
    else:
        assert (at, count) == (len(names), len(twin))
    found = np.empty(len(names), np.int32)
    kernels.find_names(interned.arrays, text, starts, stops, found)
    assert found.tolist() == [twin.get(name, -1) for name in names]
    assert [kernels.find_name(interned.arrays, uint8(name)) for name in names] == found.tolist()


def test_a_table_is_at_most_sixty_percent_full() -> None:
    interned = Interned()
    interned.offsets, interned.blob = np.zeros(1000, np.int64), np.empty(1000, np.uint8)
    slots = len(interned.table_ids)
    full = [count for count in range(slots) if not kernels.has_room(interned.arrays, count, 1)]
    assert min(full) == slots * 3 // 5


@given(st.lists(NAME, min_size=1, unique=True), st.data())
@settings(deadline=None)
def test_names_are_joined_in_the_order_of_their_ids(names: list[bytes], data: st.DataObject) -> None:
    interned = Interned()
    interned.add_all(*lay(names))
    ids = data.draw(st.lists(st.integers(0, len(names) - 1)))
    joined = b"".join(names[i] + b"\n" for i in ids)
    out = uint8(b" " * (len(joined) + 1))
    kernels.join_names(interned.arrays, int32(ids), 10, out)
    assert out.tobytes() == joined + b" "


# --- characters and globs ---


@given(st.text(max_size=6))
@settings(deadline=None)
def test_characters_are_those_of_python(word: str) -> None:
    text, at, found = uint8(word.encode()), 0, []
    while at < len(text):
        code, size = kernels.next_character(text, at, len(text))
        found.append(chr(code))
        at += size
    assert "".join(found) == word


@given(NAME)
@settings(deadline=None)
def test_no_byte_leads_past_the_end(name: bytes) -> None:
    text = uint8(name)
    for at in range(len(text)):
        code, size = kernels.next_character(text, at, len(text))
        assert 1 <= size <= min(4, len(text) - at)
        if size == 1:
            assert code == name[at] if name[at] < 0x80 else 0xDC00 + name[at]


@given(
    st.lists(st.tuples(st.integers(95, 105), st.integers(95, 105)), max_size=3),
    st.booleans(),
    st.integers(94, 106),
)
@settings(deadline=None)
def test_a_class_is_its_ranges_or_all_else(ranges: list[tuple[int, int]], negated: bool, one: int) -> None:
    program = int32(
        [7, kernels.CLASS, negated, len(ranges), *(end for low_high in ranges for end in low_high), 97]
    )
    assert kernels.in_class(program, 1, one) == (any(low <= one <= high for low, high in ranges) != negated)


@given(
    st.lists(st.sampled_from([97, 98, 0xE9, kernels.ANY_RUN, kernels.ANY_ONE])), st.text("abé", max_size=8)
)
@settings(deadline=None)
def test_a_program_accepts_what_fnmatch_does(program: list[int], word: str) -> None:
    pattern = "".join({kernels.ANY_RUN: "*", kernels.ANY_ONE: "?"}.get(op) or chr(op) for op in program)
    text = uint8(b"ab" + word.encode() + b"b")
    accepted = kernels.accepts(int32(program), text, 2, len(text) - 1)
    assert accepted == fnmatch.fnmatchcase(word, pattern)


def test_a_mask_of_names_keeps_what_was_set() -> None:
    interned = Interned()
    interned.add_all(*lay([b"a", b"b", b"ab"]))
    out = np.array([False, True, False, False])
    kernels.match_names(int32([97, kernels.ANY_RUN]), interned.arrays, int32([2, 1, 0, 1]), out)
    assert out.tolist() == [True, True, True, False]


# --- the tree ---


def level(room: int, slots: int) -> kernels.Nodes:
    columns = (np.full(room, -7, np.int32) for _ in range(6))
    return kernels.Nodes(np.uint64(5), np.full(slots, -1, np.int32), *columns)


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=150)


@given(PAIRS, st.integers(0, 50))
@settings(deadline=None)
def test_a_node_is_made_once_for_each_parent_and_label(pairs: list[tuple[int, int]], room: int) -> None:
    nodes, children = level(room, 64), np.full(6, -1, np.int32)
    parents, labels = int32(p for p, _ in pairs), int32(label for _, label in pairs)
    out = np.full(len(pairs), -9, np.int32)
    at, count = kernels.add_nodes(nodes, 0, children, parents, labels, 0, out)
    twin: dict[tuple[int, int], int] = {}
    for i, pair in enumerate(pairs):
        if pair not in twin and len(twin) == min(room, 64 * 3 // 5):
            assert (at, count) == (i, len(twin))
            break
        assert out[i] == twin.setdefault(pair, len(twin))
    else:
        assert (at, count) == (len(pairs), len(twin))
    again = nodes._replace(slots=np.full(128, -1, np.int32))
    kernels.rehash_nodes(again, count)
    for pair in [(p, label) for p in range(6) for label in range(10)]:
        for table in (nodes, again):
            assert max(-1, kernels.probe_node(table, *pair)) == twin.get(pair, -1)
    for parent in range(6):
        found, node = [], children[parent]
        while node >= 0:
            found.append(node)
            node = nodes.sibling[node]
        assert found == sorted((node for (p, _), node in twin.items() if p == parent), reverse=True)
    assert nodes.leaf[:count].tolist() == nodes.child[:count].tolist() == [-1] * count
    assert nodes.below[:count].tolist() == [0] * count


@given(
    PAIRS,
    st.lists(st.sampled_from([(-1, 0), (-1, 0), (3, 0), (-1, 2), (4, 1)]), min_size=60, max_size=60),
    st.data(),
)
@settings(deadline=None)
def test_children_are_the_same_looked_up_walked_or_scanned(
    pairs: list[tuple[int, int]], state: list[tuple[int, int]], data: st.DataObject
) -> None:
    nodes, children = level(60, 128), np.full(6, -1, np.int32)
    out = np.empty(len(pairs), np.int32)
    made = int32(p for p, _ in pairs), int32(label for _, label in pairs)
    _, count = kernels.add_nodes(nodes, 0, children, *made, 0, out)
    nodes.leaf[:], nodes.below[:] = (int32(column) for column in zip(*state, strict=True))
    parents = data.draw(st.lists(st.integers(0, 5), unique=True))
    labels = data.draw(st.lists(st.integers(0, 9), unique=True))
    living = [node for node in range(count) if nodes.leaf[node] >= 0 or nodes.below[node] > 0]
    of_parents = [node for node in living if nodes.parent[node] in parents]
    of_labels = [node for node in living if nodes.label[node] in labels]
    of_both = sorted({*of_parents} & {*of_labels})

    picked = np.empty(len(parents) * len(labels), np.int32)
    found = kernels.pick_children(nodes, int32(parents), int32(labels), picked)
    assert sorted(picked[:found]) == of_both

    walked = np.empty(len(of_parents), np.int32)
    assert kernels.walk_children(nodes, children, int32(parents), walked) == len(of_parents)
    assert sorted(walked) == of_parents
    if of_parents:
        assert kernels.walk_children(nodes, children, int32(parents), walked[1:].copy()) == -1

    parent_ok, label_ok = np.isin(np.arange(6), parents), np.isin(np.arange(10), labels)
    scanned = np.empty(count + 1, np.int32)
    for by_parent, by_label, wanted in [
        (parent_ok, label_ok, of_both),
        (parent_ok, NONE, of_parents),
        (NONE, label_ok, of_labels),
        (NONE, NONE, living),
    ]:
        assert scanned[: kernels.scan_level(nodes, count, by_parent, by_label, scanned)].tolist() == wanted


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20))), st.sets(st.integers(0, 20)))
@settings(deadline=None)
def test_leaves_are_set_and_unset_once(named: list[tuple[int, int]], gone: set[int]) -> None:
    leaf, fresh = np.full(10, -1, np.int32), np.empty(len(named), np.int32)
    count = kernels.set_leaves(leaf, int32(n for n, _ in named), int32(s for _, s in named), fresh)
    twin = dict(named)
    assert fresh[:count].tolist() == list(twin)
    assert leaf.tolist() == [twin.get(node, -1) for node in range(10)]
    mask = np.isin(np.arange(max(gone, default=-1) + 1), list(gone))
    nodes = np.empty(10, np.int32)
    count = kernels.unset_leaves(leaf, mask, nodes)
    assert nodes[:count].tolist() == sorted(node for node, series in twin.items() if series in gone)
    assert leaf.tolist() == [-1 if twin.get(node, -1) in gone else twin.get(node, -1) for node in range(10)]


def test_climbing_counts_at_each_parent() -> None:
    at_node, below = int32([0, 2, 2, 3]), int32([10, 10, 10])
    kernels.climb(at_node, int32([2, 0, 1, 2]), below, -1)
    assert (at_node.tolist(), below.tolist()) == ([2, 1, 1, 2], [10, 8, 8])


# --- sorted paths ---


VOCABULARY = st.lists(
    st.text("ab-/é", min_size=1, max_size=20).map(str.encode), unique=True, min_size=1, max_size=30
)


@given(VOCABULARY, st.integers(0, 24), st.booleans())
@settings(deadline=None)
def test_words_of_labels_sort_as_their_bytes(names: list[bytes], at: int, dot: bool) -> None:
    interned = Interned()
    interned.add_all(*lay(names))
    words = np.empty(len(names), np.uint64)
    kernels.label_words(interned.arrays, int32(range(len(names))), at, ord(".") if dot else 0, words)
    parts = [(name + b"." * dot)[at : at + 8].ljust(8, b"\0") for name in names]
    assert words.tolist() == [int.from_bytes(part, "big") for part in parts]


@given(VOCABULARY, st.integers(1, 4), st.data())
@settings(deadline=None)
def test_paths_are_joined_in_their_order(names: list[bytes], depth: int, data: st.DataObject) -> None:
    interned = Interned()
    interned.add_all(*lay(names))
    label = st.integers(0, len(names) - 1)
    paths = data.draw(st.lists(st.lists(label, min_size=depth, max_size=depth)))
    order = data.draw(st.permutations(range(len(paths))))
    labels = np.array(paths, np.int32).reshape(-1, depth).T.copy()
    joined = b"".join(b".".join(names[one] for one in paths[i]) + b"\n" for i in order)
    assert kernels.paths_size(interned.arrays, labels) == len(joined)
    out = uint8(b" " * (len(joined) + 1))
    kernels.join_paths(interned.arrays, labels, np.array(order, np.intp), 10, out)
    assert out.tobytes() == joined + b" "
