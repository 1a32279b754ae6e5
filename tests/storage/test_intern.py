"""Interned against a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import name_kernels as kernels
from storage.intern import Interned, lay
from tests.effort import tries

NAMES = st.lists(st.binary(max_size=40) | st.sampled_from([b"", b"a.b", b"a" * 16, b"a" * 17, b"\xff\n"]))


def _ids_of(twin: dict[bytes, int], names: list[bytes]) -> list[int]:
    return [twin.setdefault(name, len(twin)) for name in names]


@given(st.lists(NAMES), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_names_get_dense_ids_in_the_order_in_which_they_first_come(
    batches: list[list[bytes]], seed: int
) -> None:
    interned = Interned(seed=seed)
    twin: dict[bytes, int] = {}
    for names in batches:
        known = [twin.get(name, -1) for name in names]
        assert interned.find_all(*lay(names)).tolist() == known
        assert interned.add_all(*lay(names)).tolist() == _ids_of(twin, names)
        assert len(interned) == len(twin)
        assert interned.find_all(*lay(names)).tolist() == [twin[name] for name in names]
    everything = [name.decode("utf-8", "surrogateescape") for name in twin]
    assert interned.names(np.arange(len(twin))) == everything
    assert [interned.name(i) for i in range(len(twin))] == everything


@given(NAMES)
@settings(deadline=None)
def test_one_by_one_is_as_all_at_once(names: list[bytes]) -> None:
    one = Interned()
    twin: dict[bytes, int] = {}
    assert [one.find(name) for name in names] == [-1] * len(names)
    assert [one.add(name) for name in names] == _ids_of(twin, names)
    assert [one.find(name) for name in names] == [twin[name] for name in names]


def test_thousands_of_names_outgrow_every_array_and_keep_their_ids() -> None:
    names = [f"servers.web-{i:05d}.cpu".encode() for i in range(20_000)]
    interned = Interned()
    for at in range(0, len(names), 999):
        interned.add_all(*lay(names[at : at + 999]))
    assert interned.find_all(*lay(names)).tolist() == list(range(len(names)))
    assert interned.find_all(*lay([name + b"x" for name in names])).max() == -1
    shuffled = np.random.default_rng(0).permutation(len(names))
    assert interned.names(shuffled) == [names[i].decode() for i in shuffled]
    assert interned.nbytes / len(names) < 100


def test_a_slice_of_a_larger_text_is_a_name_like_any_other() -> None:
    text = np.frombuffer(b"xx web.cpu 1 2\nweb.cpu.user", np.uint8)  # not writable
    interned = Interned()
    ids = interned.add_all(text, np.array([3, 15]), np.array([10, 27]))
    assert interned.names(ids) == ["web.cpu", "web.cpu.user"]
    assert interned.add_all(text, np.array([15]), np.array([22])).tolist() == [0]


def test_a_kernel_may_insert_what_was_reserved() -> None:
    interned = Interned()
    interned.reserve(5_000, 50_000)
    arrays = interned.arrays
    for i in range(5_000):
        name = np.frombuffer(bytearray(b"%09d" % i), np.uint8)
        hashed = np.uint64(kernels.hash_bytes(name, 0, len(name), arrays.seed))
        assert kernels.has_room(arrays, i, len(name))
        slot = ~kernels.probe(arrays, name, 0, len(name), hashed)
        assert kernels.insert(arrays, slot, name, 0, len(name), hashed, i) == i
    interned.commit(5_000)
    assert interned.arrays.ids is arrays.ids
    assert interned.find_all(*lay([b"%09d" % i for i in range(5_000)])).tolist() == list(range(5_000))


def test_an_id_that_was_never_given_has_no_name() -> None:
    interned = Interned()
    interned.add(b"a")
    for ids in ([1], [-1], [0, 1]):
        with pytest.raises(IndexError, match="1 name"):
            interned.names(np.array(ids))
    for one in (1, -1):
        with pytest.raises(IndexError, match=f"id {one}"):
            interned.name(one)
    assert interned.names(np.array([], np.int32)) == []


def test_each_instance_has_a_seed_of_its_own() -> None:
    assert Interned().seed != Interned().seed


@settings(max_examples=tries(20), deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_hashes_of_similar_names_spread_over_all_low_bits(seed: int) -> None:
    names = [f"servers.web-{i:04d}.cpu.{j}".encode() for i in range(256) for j in "ab"]
    text, starts, stops = lay(names)
    low = [
        int(kernels.hash_bytes(text, a, b, np.uint64(seed))) & 0xFF
        for a, b in zip(starts, stops, strict=True)
    ]
    assert np.bincount(low, minlength=256).max() < 14  # two are expected in each
