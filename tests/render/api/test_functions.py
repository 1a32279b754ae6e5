from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from render.functions import REGISTRY
from tests.render import golden
from tests.render.api.store import ask


def answer(path: str, **params: str) -> Any:
    response = ask(path, **params)
    assert response.status == 200
    return json.loads(response.body)


def test_a_function_is_described_in_graphite_webs_words() -> None:
    offset = answer("/functions/offset")
    assert offset.pop("description").startswith("Each datapoint plus a constant.")
    assert offset == {
        "name": "offset",
        "function": "offset(seriesList, factor)",
        "module": "render.functions.transform",
        "group": "Transform",
        "params": [
            {"name": "seriesList", "type": "seriesList", "required": True},
            {"name": "factor", "type": "float", "required": True},
        ],
    }


@pytest.mark.parametrize("path", ["/functions", "/functions/"])
def test_all_functions_are_listed_by_name(path: str) -> None:
    assert set(answer(path)) == set(REGISTRY.functions)


def test_functions_can_be_grouped_and_a_group_alone_be_asked_for() -> None:
    grouped = answer("/functions", grouped="1")
    assert {name for group in grouped.values() for name in group} == set(REGISTRY.functions)
    assert answer("/functions", group="Transform") == grouped["Transform"]
    assert answer("/functions", group="None such") == {}


def test_an_aggregations_parameter_lists_what_it_takes() -> None:
    callback = next(p for p in answer("/functions/groupByNode")["params"] if p["name"] == "callback")
    assert {"sum", "averageSeries", "last"} <= set(callback["options"])
    assert callback["options"] == sorted(callback["options"])


def test_infinity_is_written_as_graphite_web_writes_it() -> None:
    assert b'"default":1e9999' in ask("/functions/interpolate").body
    for path in ("/functions", "/functions/interpolate"):
        assert b"nfinity" not in ask(path).body.replace(b"Infinity is", b"")


def test_all_functions_have_graphite_webs_keys_and_types() -> None:
    theirs = json.loads((Path(golden.__file__).parent / "signatures.json").read_text())
    types = {param["type"] for one in theirs.values() for param in one["params"]}
    optional = {"required", "default", "multiple", "options", "suggestions"}
    for name, one in answer("/functions").items():
        assert list(one) == ["name", "function", "description", "module", "group", "params"], name
        assert one["name"] == name
        for param in one["params"]:
            assert {"name", "type"} <= set(param) <= {"name", "type"} | optional, (name, param)
            assert param["type"] in types, (name, param)


def test_pretty_has_indents_and_sorted_keys() -> None:
    body = ask("/functions/scale", pretty="1").body.decode()
    assert body == json.dumps(json.loads(body), indent=2, sort_keys=True, ensure_ascii=False)


def test_a_function_that_is_not_there_is_404_with_the_nearest() -> None:
    response = ask("/functions/sumSerie")
    assert response.status == 404
    assert json.loads(response.body)["error"] == "Function not found: sumSerie"
    assert json.loads(response.body)["near"] == "sumSeries"
    assert ask("/functions/scale/").status == 404


def test_there_are_no_pie_functions() -> None:
    assert answer("/functions", type="pie") == {}


def test_an_editor_is_told_what_may_come_next() -> None:
    found = answer("/complete", target='summarize(a, "1h", "su')
    assert found == {
        "start": 19,
        "words": [{"text": '"sum"', "kind": "value", "about": "func: an aggregation such as 'sum'"}],
        "path": None,
    }
    assert answer("/complete", target="sumSeries(servers.w")["path"] == "servers.w"
    assert len(answer("/complete")["words"]) == len(REGISTRY.functions)
