"""Routes: which destinations a name goes to, by every method of carbon's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import InvalidDestination
from carbon.relay.destination import Destination, parse_destinations
from carbon.relay.hashring import FastRing, HashType, make_ring
from carbon.relay.router import NOWHERE, Method, Router
from tests.carbon.relay.golden import names

PATHS = [name.encode() for name in names(3000)]
CLUSTER = [Destination(f"10.0.0.{i // 2}", 2004 + i % 2, "ab"[i % 2]) for i in range(8)]
HASHING = [Method.CONSISTENT, Method.AGGREGATED, Method.FAST, Method.FAST_AGGREGATED]


class TextRules:
    """Rules by the first node of a name."""

    def __init__(self, rules: dict[str, tuple[str, ...]]) -> None:
        self.rules = rules
        self.asked: list[str] = []

    def destinations(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        return self.rules.get(name.split(".")[0], ())


def test_constant_is_all_destinations() -> None:
    router = Router(Method.CONSTANT, CLUSTER[:3])
    assert router.routes([b"a", b"b"]) == [(0, 1, 2)] * 2


@pytest.mark.parametrize("method", HASHING)
@pytest.mark.parametrize(("replicas", "diverse"), [(1, True), (3, True), (3, False)])
def test_hashing_is_what_the_ring_says(method: Method, replicas: int, diverse: bool) -> None:
    router = Router(method, CLUSTER, replicas=replicas, diverse=diverse)
    if method in (Method.FAST, Method.FAST_AGGREGATED):
        nodes = FastRing(CLUSTER, HashType.MMH3, replicas=replicas, diverse=diverse).nodes_of(PATHS)
    else:
        nodes = make_ring(CLUSTER, HashType.CARBON, replicas=replicas, diverse=diverse).nodes_of(PATHS)
    wanted = [tuple(sorted(node for node in row if node >= 0)) for row in nodes.tolist()]
    assert router.routes(PATHS) == wanted
    assert router.routes(PATHS, lambda name: ()) == wanted
    assert {len(route) for route in wanted} == {replicas}


@given(st.lists(st.sampled_from(PATHS), max_size=30), st.sampled_from(HASHING), st.sampled_from(HashType))
def test_a_route_does_not_depend_on_who_is_asked_with_it(
    paths: list[bytes], method: Method, hash_type: HashType
) -> None:
    if hash_type is HashType.JUMP and method in (Method.FAST, Method.FAST_AGGREGATED):
        return
    router = Router(method, CLUSTER, hash_type=hash_type, replicas=2)
    together = router.routes(paths)
    assert together == [
        Router(method, CLUSTER, hash_type=hash_type, replicas=2).routes([p])[0] for p in paths
    ]
    assert [router.sets[route] for route in router.route_ids(paths)] == together


@pytest.mark.parametrize("method", [Method.AGGREGATED, Method.FAST_AGGREGATED])
def test_what_feeds_an_aggregate_goes_where_that_goes(method: Method) -> None:
    def aggregates(name: str) -> Sequence[str]:
        return {"a.1": ["all"], "a.2": ["all"], "b.1": ["all", "other", "third"]}.get(name, [])

    router = Router(method, CLUSTER)
    plain = dict(
        zip(["all", "other", "third", "c"], router.routes([b"all", b"other", b"third", b"c"]), strict=True)
    )
    everything = tuple(sorted({*plain["all"], *plain["other"], *plain["third"]}))
    assert len(everything) > 1
    assert router.routes([b"a.1", b"b.1", b"c", b"a.2"], aggregates) == [
        plain["all"], everything, plain["c"], plain["all"],
    ]  # fmt: skip


def test_consistent_hashing_asks_for_no_aggregates() -> None:
    router = Router(Method.CONSISTENT, CLUSTER)
    assert router.routes([b"a"], lambda name: ["all"]) == router.routes([b"a"])


def test_rules_say_it_by_their_texts() -> None:
    rules = TextRules(
        {
            "a": ("10.0.0.0:2005:b",),
            "b": (" 10.0.0.1:2004:a ", "10.0.0.0:2005:b"),
            "c": ("10.0.0.0:2005", "?"),
        }
    )
    router = Router(Method.RULES, CLUSTER, rules=rules)
    assert router.routes([b"a.x", b"b.x", b"c.x", b"d.x", b"a.y"]) == [(1,), (1, 2), (), (), (1,)]
    assert router.route_ids([b"c.x", b"d.x"]).tolist() == [NOWHERE, NOWHERE]


def test_rules_are_asked_for_names_that_are_no_utf8() -> None:
    rules = TextRules({})
    assert Router(Method.RULES, CLUSTER, rules=rules).routes([b"\xff.x"]) == [()]
    assert rules.asked[0].encode(errors="surrogateescape") == b"\xff.x"


def test_sets_of_destinations_have_one_id_each() -> None:
    router = Router(Method.CONSISTENT, CLUSTER, replicas=3, diverse=False)
    ids = router.route_ids(PATHS)
    assert ids.dtype == np.int32
    assert len(router.sets) == len(set(router.sets)) == len(np.unique(ids)) + 1
    assert (router.route_ids(PATHS) == ids).all()
    assert router.sets[NOWHERE] == ()


def test_many_replicas_of_many_nodes_are_told_apart() -> None:
    cluster = [Destination(f"h{i}", 1) for i in range(300)]
    router = Router(Method.CONSISTENT, cluster, replicas=20)
    nodes = make_ring(cluster, HashType.CARBON, replicas=20).nodes_of(PATHS[:500])
    assert router.routes(PATHS[:500]) == [tuple(sorted(row)) for row in nodes.tolist()]


def test_no_names_have_no_routes() -> None:
    for method in (*HASHING, Method.CONSTANT):
        assert Router(method, CLUSTER).routes([], lambda name: [name]) == []


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="needs rules"):
        Router(Method.RULES, CLUSTER)
    with pytest.raises(ValueError, match="0 replicas"):
        Router(Method.CONSISTENT, CLUSTER, replicas=0)
    with pytest.raises(InvalidDestination, match="the same to the hash ring"):
        Router(Method.CONSISTENT, parse_destinations(["h:1", "h:2"]))
    with pytest.raises(InvalidDestination, match="no places"):
        Router(Method.FAST, CLUSTER, hash_type=HashType.JUMP)
