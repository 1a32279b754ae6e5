from __future__ import annotations

import json
import pickle
import pickletools
from typing import Any

import msgpack  # type: ignore[import-untyped]  # has no stubs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.api import House, respond
from render.api.metrics import expand, find, get_metadata
from render.config import Http
from storage.errors import InvalidGlob
from storage.index import Last, Nodes
from tests.render.api.store import NOW, MemoryStore, ask, house

BRANCH = {"allowChildren": 1, "expandable": 1, "leaf": 0}
LEAF = {"allowChildren": 0, "expandable": 0, "leaf": 1}
SMALL = house()
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["0", "1", "-1", "now", "-1h", "UTC", "treejson", "completer", "json", "pickle", "msgpack", "a.b"]
    ),
)
names = (
    "query", "format", "wildcards", "leavesOnly", "groupByExpr", "from", "until", "now", "tz", "position",
    "jsonp", "automatic_variants", "local", "metric", "key",
)  # fmt: skip


def answer(path: str, **params: str | list[str]) -> Any:
    response = ask(path, SMALL, **params)
    assert response.status == 200, response.body
    return json.loads(response.body)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics/find", "/metrics/find/"])
def test_a_tree_has_branches_first_and_a_name_once(path: str) -> None:
    assert answer(path, query="a.*") == [
        {"text": "b", "id": "a.b", **BRANCH},
        {"text": "d", "id": "a.d", **LEAF},
    ]


def test_ids_keep_the_globs_of_the_query() -> None:
    assert answer("/metrics/find", query="[a].{b,d}") == [
        {"text": "b", "id": "[a].b", **BRANCH},
        {"text": "d", "id": "[a].d", **LEAF},
    ]


def test_nodes_of_several_branches_are_in_the_order_of_their_names() -> None:
    assert [node["text"] for node in answer("/metrics/find", query="{a,k}.*")] == ["b", "a", "d"]


def test_wildcards_add_a_star_before_all_if_there_are_several() -> None:
    assert answer("/metrics/find", query="a.*", wildcards="1")[0] == {"text": "*", "id": "a.*", **BRANCH}
    assert answer("/metrics/find", query="a.d", wildcards="1") == [{"text": "d", "id": "a.d", **LEAF}]


def test_nothing_found_is_an_empty_list() -> None:
    assert answer("/metrics/find", query="no.such") == []


def test_only_leaves_are_found_if_asked() -> None:
    found = answer("/metrics/find", query="a.*", leavesOnly="1")
    assert [(node["text"], node["leaf"]) for node in found] == [("b", 1), ("d", 1)]


def test_a_completer_gets_branches_with_a_dot_and_leaves_with_a_text() -> None:
    assert answer("/metrics/find", query="a.", format="completer", wildcards="1") == {
        "metrics": [
            {"path": "a.b.", "name": "b", "is_leaf": "0"},
            {"path": "a.b", "name": "b", "is_leaf": "1"},
            {"path": "a.d", "name": "d", "is_leaf": "1"},
            {"name": "*"},
        ]
    }


def test_a_completers_nodes_are_in_the_order_of_their_names() -> None:
    found = answer("/metrics/find", query="{a,k}.", format="completer")["metrics"]
    assert [node["path"] for node in found] == ["k.a", "a.b.", "a.b", "a.d"]


@pytest.mark.parametrize("form", ["treejson", "completer", "json"])
def test_what_json_has_to_escape_is_escaped(form: str) -> None:
    store = MemoryStore()
    for path in ('q"uo.t\\e', 'q"uo.ä', 'q"uo.tab\t'):
        store.add(path, NOW, 60, [1.0])
    found = json.loads(ask("/metrics/find", House(store), query='q"uo.*', format=form).body)
    nodes = found["metrics"] if form == "completer" else found
    named = {node["id" if form == "treejson" else "path"] for node in nodes}
    assert named == {'q"uo.t\\e', 'q"uo.ä', 'q"uo.tab\t'}


@pytest.mark.parametrize(
    ("query", "variants", "pattern"),
    [
        ("a..", "0", "a*.*"),
        ("a.b", "0", "a.b*"),
        ("a.b,d", "1", "a.{b,d*}"),
        ("a.b,d.", "1", "a.{b,d}.*"),
        ("a,b", "0", "a,b*"),
    ],
)
def test_what_is_typed_is_completed(query: str, variants: str, pattern: str) -> None:
    asked: list[str] = []

    class Asked(MemoryStore):
        def find(self, pattern: str) -> Nodes:
            asked.append(pattern)
            return super().find(pattern)

    store = Asked()
    store.add("a", NOW, 60, [1.0])
    ask("/metrics/find", House(store), query=query, format="completer", automatic_variants=variants)
    assert asked == [pattern]


def test_json_tells_how_far_back_a_leaf_reaches() -> None:
    interval = {"start": NOW - 86_400, "end": NOW}
    assert answer("/metrics/find", query="a.b", format="json") == [
        {"path": "a.b", "is_leaf": False},
        {"path": "a.b", "is_leaf": True, "intervals": [interval]},
    ]


def test_a_cluster_gets_paths_leaves_and_their_intervals_as_plain_lists() -> None:
    pickled = ask("/metrics/find/", SMALL, query="a.*", format="pickle", local="1")
    packed = ask("/metrics/find/", SMALL, query="a.*", format="msgpack", local="1")
    assert pickled.content_type == "application/pickle"
    assert packed.content_type == "application/x-msgpack"
    interval = (NOW - 86_400, NOW)
    nodes = [
        {"path": "a.b", "is_leaf": False},
        {"path": "a.b", "is_leaf": True, "intervals": [interval]},
        {"path": "a.d", "is_leaf": True, "intervals": [interval]},
    ]
    assert pickle.loads(pickled.body) == nodes
    assert msgpack.unpackb(packed.body, use_list=False) == tuple(
        {**node, "intervals": (interval,)} if "intervals" in node else node for node in nodes
    )
    opcodes = [opcode for opcode, _, _ in pickletools.genops(pickled.body)]
    assert max(opcode.proto for opcode in opcodes) == 2
    assert "GLOBAL" not in {opcode.name for opcode in opcodes}


def test_metadata_tells_how_a_metric_is_aggregated_or_that_there_is_none() -> None:
    found = answer("/metrics/get-metadata", metric=["a.b", "a.*", "zz"], key="aggregationMethod")
    error = {"error": "no such metric"}
    assert found == {"a.b": "average", "a.*": error, "zz": error}
    for key in ("", "xFilesFactor"):
        response = ask("/metrics/get-metadata", SMALL, metric="a.b", key=key)
        assert set(json.loads(response.body)["parameters"]) == {"key"}


def test_a_node_list_has_the_nodes_at_a_position_once() -> None:
    assert answer("/metrics/find", query="a.*", format="nodelist", position="0") == {"nodes": ["a"]}
    assert answer("/metrics/find", query="*", format="nodelist", position="3") == {"nodes": []}


def test_grafanas_metric_tree_sends_times_that_filter_nothing() -> None:
    found = answer("/metrics/find", query="servers.*", from_="-6h", until="-1")
    assert {"text": "web1", "id": "servers.web1", **BRANCH} in found


def test_all_that_is_wrong_with_a_find_is_told_at_once() -> None:
    response = ask(
        "/metrics/find", query="", format="xml", wildcards="z", from_="1h", jsonp="a b", position="x"
    )
    assert response.status == 400
    wrong = json.loads(response.body)["parameters"]
    assert set(wrong) == {"query", "format", "wildcards", "from", "jsonp", "position"}


def test_more_nodes_than_allowed_are_cut_and_the_header_says_so() -> None:
    to = house(Http(found_max=2))
    response = ask("/metrics/find", to, query="servers.*")
    assert len(json.loads(response.body)) == 2
    assert response.headers["X-Plumbago-Truncated"] == "2"
    response = ask("/metrics/expand", to, query=["a.*", "servers.*.cpu"])
    assert len(json.loads(response.body)["results"]) == 2
    assert response.headers["X-Plumbago-Truncated"] == "2"


def test_expand_gives_the_paths_of_all_queries_once() -> None:
    assert answer("/metrics/expand", query=["a.*", "x", "a.b"]) == {"results": ["a.b", "a.d", "x"]}
    assert answer("/metrics/expand") == {"results": []}


def test_expand_groups_by_query_if_asked() -> None:
    grouped = answer("/metrics/expand", query=["a.*", "zz"], groupByExpr="1", from_="x", until="y")
    assert grouped == {"results": {"a.*": ["a.b", "a.d"], "zz": []}}


def test_expand_leaves_branches_out_if_asked() -> None:
    assert answer("/metrics/expand", query=["*", "a.b.*"], leavesOnly="1") == {"results": ["a.b.c", "x"]}


def test_the_index_is_every_series_sorted() -> None:
    paths = answer("/metrics/index.json")
    assert paths == sorted(paths)
    assert {"a.b", "a.b.c", "servers.web1.cpu"} <= set(paths)
    assert ask("/metrics/index.json", jsonp="cb").body.startswith(b'cb(["')


def test_answers_about_names_are_not_cached() -> None:
    assert ask("/metrics/find", query="a").headers == {"Cache-Control": "no-cache", "Pragma": "no-cache"}


def test_a_glob_that_cannot_be_is_the_clients_fault() -> None:
    class Picky(MemoryStore):
        def find(self, pattern: str) -> Nodes:
            raise InvalidGlob("too many braces")

        def find_last(self, pattern: str) -> Last:
            raise InvalidGlob("too many braces")

    to = House(Picky())
    for path in ("/metrics/find", "/metrics/expand"):
        response = ask(path, to, query="{")
        assert (response.status, json.loads(response.body)) == (400, {"error": "too many braces"})


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(names), st.lists(texts, max_size=2)),
    st.sampled_from([find, expand, get_metadata]),
)
def test_any_request_is_answered_or_is_the_clients_fault(params: dict[str, list[str]], view: Any) -> None:
    assert respond(view, params, SMALL, NOW).status in (200, 400)
