"""Rings: the nodes that carbon and carbon-c-relay choose, to the last of 100,000 names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.errors import InvalidDestination
from carbon.relay.destination import Destination, parse_destinations
from carbon.relay.hashring import Flavour, HashRing, HashType, JumpRing, hasher, make_ring
from tests.carbon.relay.golden import FILE, Spec, ask_c_relay, ask_carbon, digest, names, specs
from tests.effort import tries

GOLDEN: list[dict[str, Any]] = json.loads(FILE.read_text())
PATHS = [name.encode() for name in names(100_000)]
THREE = parse_destinations(["127.0.0.1:2004:a", "127.0.0.1:2104:b", "127.0.0.1:2204:c"])

Names = st.lists(st.binary(max_size=70), min_size=1, max_size=20)


def spec_of(golden: dict[str, Any]) -> Spec:
    return Spec(*(golden[field] for field in Spec._fields))


def rows_of(spec: Spec, count: int) -> list[list[int]]:
    """Ours, as carbon gives them: no more nodes than there are."""
    nodes = spec.ring().nodes_of(PATHS[:count])
    return [[node for node in row if node >= 0] for row in nodes.tolist()]


def short(golden: dict[str, Any]) -> str:
    return "-".join(str(golden[field]) for field in Spec._fields)


# --- against what they have chosen ---


def test_the_golden_rings_are_all_that_there_are() -> None:
    assert [spec_of(golden) for golden in GOLDEN] == specs()


@pytest.mark.parametrize("golden", GOLDEN, ids=short)
def test_nodes_are_those_that_the_peer_has_chosen(golden: dict[str, Any]) -> None:
    spec = spec_of(golden)
    rows = rows_of(spec, spec.names)
    assert rows[: len(golden["rows"])] == golden["rows"]
    assert digest(rows) == golden["digest"]


@pytest.mark.peer
def test_nodes_are_those_that_carbon_chooses() -> None:
    if "PLUMBAGO_PEERS" not in os.environ:
        pytest.skip("PLUMBAGO_PEERS names no environment that has carbon")
    python = str(Path(os.environ["PLUMBAGO_PEERS"]) / "bin/python")
    has_mmh3 = subprocess.run([python, "-c", "import mmh3"], capture_output=True).returncode == 0
    asked = [
        spec._replace(names=2000)
        for spec in specs()
        if spec.whose == "carbon" and (has_mmh3 or spec.hash != "mmh3_ch")
    ]
    for spec, rows in zip(asked, ask_carbon(python, asked, names(2000)), strict=True):
        assert rows_of(spec, 2000) == rows, spec


@pytest.mark.peer
def test_nodes_are_those_that_carbon_c_relay_chooses() -> None:
    program = shutil.which("carbon-c-relay")
    if program is None:
        pytest.skip("carbon-c-relay is not installed")
    for spec in specs():
        if spec.whose == "carbon-c-relay":
            assert rows_of(spec, 3000) == ask_c_relay(program, spec, names(3000)), spec


@pytest.mark.parametrize(
    ("hash_type", "name", "place", "nodes"),
    [
        (HashType.CARBON, b"hosts.worker1.cpu", 64833, "cab"),
        (HashType.CARBON, b"hosts.worker2.cpu", 38509, "b"),
        (HashType.CARBON, b"hosts.worker1.load", 64076, "a"),
        (HashType.CARBON, b"stats.foo.bar", 63532, "a"),
        (HashType.CARBON, b"a;b=c", 9457, "a"),
        (HashType.FNV1A, b"hosts.worker1.cpu", 59573, "b"),
        (HashType.FNV1A, b"hosts.worker2.cpu", 35749, "a"),
        (HashType.FNV1A, b"hosts.worker1.load", 57163, "a"),
        (HashType.FNV1A, b"stats.foo.bar", 49210, "b"),
        (HashType.MMH3, b"hosts.worker1.cpu", 1140056332, ""),
        (HashType.MMH3, b"stats.foo.bar", 500155776, ""),
    ],
)
def test_known_places_and_nodes(hash_type: HashType, name: bytes, place: int, nodes: str) -> None:
    assert hasher(hash_type)([name]).tolist() == [place]
    ring = make_ring(THREE, hash_type, replicas=len(nodes) or 1, diverse=False)
    found = "".join(str(THREE[node].instance) for node in ring.nodes_of([name])[0])
    assert found.startswith(nodes)


def test_the_first_places_of_a_known_ring() -> None:
    carbon, fnv1a = HashRing(THREE, HashType.CARBON), HashRing(THREE, HashType.FNV1A)
    assert (carbon.places[:4].tolist(), carbon.nodes[:4].tolist()) == ([330, 398, 474, 784], [2, 0, 0, 2])
    assert (fnv1a.places[:4].tolist(), fnv1a.nodes[:4].tolist()) == ([218, 329, 536, 611], [1, 2, 1, 0])


# --- kernels and their plain twins ---


def plain_fnv1a(name: bytes, bits: int) -> int:
    state, prime = {32: (0x811C9DC5, 0x01000193), 64: (0xCBF29CE484222325, 0x100000001B3)}[bits]
    for byte in name:
        state = (state ^ byte) * prime % 2**bits
    return state


def plain_murmur3(name: bytes) -> int:
    def mixed(k: int) -> int:
        k = k * 0xCC9E2D51 % 2**32
        return (k << 15 | k >> 17) % 2**32 * 0x1B873593 % 2**32

    state, whole = 0, len(name) // 4 * 4
    for at in range(0, whole, 4):
        state ^= mixed(int.from_bytes(name[at : at + 4], "little"))
        state = ((state << 13 | state >> 19) % 2**32 * 5 + 0xE6546B64) % 2**32
    state ^= mixed(int.from_bytes(name[whole:], "little")) ^ len(name)
    state = (state ^ state >> 16) * 0x85EBCA6B % 2**32
    state = (state ^ state >> 13) * 0xC2B2AE35 % 2**32
    state ^= state >> 16
    return state - 2**32 if state >= 2**31 else state


def plain_jump(key: int, buckets: int) -> int:
    chosen, following = -1, 0
    while following < buckets:
        chosen = following
        key = (key * 2862933555777941757 + 1) % 2**64
        following = int((chosen + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return chosen


def plain_jump_nodes(name: bytes, left: list[int], replicas: int) -> list[int]:
    key, left = plain_fnv1a(name, 64), list(left)
    found: list[int] = []
    while left and len(found) < replicas:
        bucket = plain_jump(key, len(left))
        found.append(left[bucket])
        key ^= key >> 12
        key ^= key << 25 & (2**64 - 1)
        key ^= key >> 27
        key = key * 2685821657736338717 % 2**64
        left[bucket] = left[-1]
        left.pop()
    return found


@given(Names)
def test_fnv1a_is_its_plain_twin(paths: list[bytes]) -> None:
    folded = [(h >> 16) ^ (h & 0xFFFF) for h in (plain_fnv1a(path, 32) for path in paths)]
    assert hasher(HashType.FNV1A)(paths).tolist() == folded


@given(Names)
def test_murmur3_is_its_plain_twin(paths: list[bytes]) -> None:
    assert hasher(HashType.MMH3)(paths).tolist() == list(map(plain_murmur3, paths))


@given(Names, st.integers(1, 12), st.integers(1, 12))
def test_jump_hashing_is_its_plain_twin(paths: list[bytes], count: int, replicas: int) -> None:
    ring = JumpRing([Destination(f"h{i}", 1) for i in range(count)], replicas=replicas)
    wanted = [plain_jump_nodes(path, list(range(count)), replicas) for path in paths]
    assert ring.nodes_of(paths).tolist() == wanted


# --- what holds for every ring ---

Clusters = st.lists(
    st.tuples(st.sampled_from("abcde"), st.none() | st.sampled_from("xyz")),
    min_size=1,
    max_size=8,
    unique=True,
).map(lambda pairs: [Destination(host, 2004, instance) for host, instance in pairs])


@given(Clusters, st.sampled_from(HashType), st.sampled_from(Flavour), st.integers(1, 5), st.booleans())
@settings(max_examples=tries(40))
def test_replicas_are_distinct_and_as_many_as_there_can_be(
    cluster: list[Destination], hash_type: HashType, flavour: Flavour, replicas: int, diverse: bool
) -> None:
    if flavour is Flavour.C_RELAY and hash_type is HashType.FNV1A:  # it looks at instances only
        cluster = [each._replace(instance=f"{each.host}{each.instance}") for each in cluster]
    ring = make_ring(cluster, hash_type, replicas=replicas, diverse=diverse, flavour=flavour)
    servers = len({each.host for each in cluster}) if diverse else len(cluster)
    for row in ring.nodes_of(PATHS[:50]).tolist():
        found = [cluster[node] for node in row if node >= 0]
        assert len(found) == min(replicas, servers)
        assert len({each.host for each in found} if diverse else set(found)) == len(found)


@pytest.mark.parametrize("hash_type", HashType)
def test_a_node_that_goes_moves_only_its_own_names(hash_type: HashType) -> None:
    cluster = [Destination(f"10.0.0.{i}", 2004) for i in range(10)]
    if hash_type is HashType.FNV1A:
        cluster = [each._replace(instance=each.host[-1]) for each in cluster]
    before = make_ring(cluster, hash_type).nodes_of(PATHS[:20_000])[:, 0]
    after = make_ring(cluster[:-1], hash_type).nodes_of(PATHS[:20_000])[:, 0]
    moved = before != after
    # a place that a collision had pushed aside may come back
    assert np.count_nonzero(moved & (before != 9)) <= 100
    assert 0.02 < np.mean(before == 9) < 0.25


def test_nodes_that_cannot_be_told_apart_are_refused() -> None:
    same = parse_destinations(["h:1", "h:2"])
    for hash_type in (HashType.CARBON, HashType.FNV1A, HashType.MMH3):
        with pytest.raises(InvalidDestination, match="the same to the hash ring"):
            make_ring(same, hash_type)
    make_ring(same, HashType.FNV1A, flavour=Flavour.C_RELAY)
    with pytest.raises(InvalidDestination, match="'h1:1:a' and 'h2:1:a' are the same"):
        make_ring(parse_destinations(["h1:1:a", "h2:1:a"]), HashType.FNV1A, flavour=Flavour.C_RELAY)
    make_ring(same, HashType.JUMP)
    with pytest.raises(InvalidDestination, match="needs a destination"):
        make_ring([], HashType.CARBON)


def test_no_names_have_no_nodes() -> None:
    for hash_type in HashType:
        assert make_ring(THREE, hash_type).nodes_of([]).shape == (0, 1)


def test_buckets_are_in_the_order_of_instances() -> None:
    cluster = parse_destinations(["h1:1", "h2:1:10", "h3:1:9", "h4:1", "h5:1:b", "h6:1:a"])
    order = [2, 1, 5, 4, 0, 3]
    ring = JumpRing(cluster)
    assert ring.nodes_of(PATHS[:200])[:, 0].tolist() == [
        plain_jump_nodes(path, order, 1)[0] for path in PATHS[:200]
    ]
