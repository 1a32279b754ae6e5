from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from render.api import House, respond
from render.api.render import view
from tests.effort import tries
from tests.render.api.store import NOW, MemoryStore, ask, house
from tests.render.golden.series import START

SMALL = house()
functions = st.sampled_from(
    ["sumSeries", "scale", "nope", "alias", "movingAverage", "timeShift", "constantLine"]
)
paths = st.sampled_from(
    ["a.b", "a.*", "servers.*.cpu", "no.such", "*", "a.{b,d}", "a.[", "", "randomWalk('x')"]
)
targets = st.one_of(
    paths,
    st.text(max_size=30),
    st.builds("{}({})".format, functions, paths),
    st.builds(
        "{}({},{})".format, functions, paths, st.sampled_from(["1", "-1", "0", "'1h'", "1e999", "'x'", "inf"])
    ),
    st.builds("{}|{}()".format, paths, functions),
)
forms = st.fixed_dictionaries(
    {"target": st.lists(targets, max_size=3)},
    optional={
        "from": st.lists(
            st.sampled_from(["-1h", "0", "-99999999999", "-1000y", str(START), "+1h"]), max_size=1
        ),
        "until": st.lists(st.sampled_from(["now", "99991231", "253402300799", "1"]), max_size=1),
        "now": st.lists(st.sampled_from(["19010101", "99991231", "-62135596800", "1"]), max_size=1),
        "tz": st.lists(st.sampled_from(["Asia/Tokyo", "America/New_York", "x"]), max_size=1),
        "format": st.lists(st.sampled_from(["json", "csv", "raw", "png", "svg", "gif"]), max_size=1),
        "maxDataPoints": st.lists(st.sampled_from(["1", "7", "100", "0", "999999999999999"]), max_size=1),
        "xFilesFactor": st.lists(st.sampled_from(["0.5", "1", "2"]), max_size=1),
        "jsonp": st.lists(st.sampled_from(["cb", "a b"]), max_size=1),
        "noNullPoints": st.lists(st.just("1"), max_size=1),
        "pretty": st.lists(st.just("1"), max_size=1),
    },
)


@settings(deadline=None, max_examples=tries(300))
@given(forms)
@example({"target": ["constantLine(5)"], "until": ["253402300799"], "tz": ["Asia/Tokyo"], "format": ["csv"]})
def test_any_request_is_answered_or_is_the_clients_fault(form: dict[str, list[str]]) -> None:
    response = respond(view, form, SMALL, NOW)
    assert response.status in (200, 400, 413)
    if response.status != 200:
        assert json.loads(response.body)["error"]


def test_grafanas_panel_gets_the_name_it_has_wrapped() -> None:
    wrapped = 'aliasSub(servers.web1.cpu, "(^.*$)", "\\1 A")'
    response = ask(
        "/render", target=wrapped, from_=str(NOW - 300), until=str(NOW), format="json", maxDataPoints="1085"
    )
    (series,) = json.loads(response.body)
    assert response.status == 200
    assert series["target"] == "servers.web1.cpu A"
    assert [at for _, at in series["datapoints"]] == [NOW - 240, NOW - 180, NOW - 120, NOW - 60, NOW]


def test_grafanas_health_check_is_a_list_of_one_line() -> None:
    response = ask(
        "/render", target="constantLine(100)", from_="now-1h", until="now", format="json", maxDataPoints="100"
    )
    (series,) = json.loads(response.body)
    assert {value for value, _ in series["datapoints"]} == {100.0}


GOLDEN = {
    "json": (
        "application/json",
        '[{"target":"a.b","tags":{"name":"a.b"},"datapoints":'
        "[[null,1600000260],[3.0,1600000320],[null,1600000380]]}]",
    ),
    "raw": ("text/plain; charset=utf-8", "a.b,1600000260,1600000440,60|None,3.0,None\n"),
    "csv": (
        "text/csv; charset=utf-8",
        "a.b,2020-09-13 14:31:00,\r\na.b,2020-09-13 14:32:00,3.0\r\na.b,2020-09-13 14:33:00,\r\n",
    ),
}


@pytest.mark.parametrize("form", GOLDEN)
def test_each_format_has_its_body(form: str) -> None:
    window = {"from_": str(START), "until": str(START + 180)}
    response = ask("/render", target="a.b", format=form, tz="Europe/Berlin", **window)
    assert (response.content_type, response.body.decode()) == GOLDEN[form]


@pytest.mark.parametrize(
    ("form", "kind"), [("png", "image/png"), ("svg", "image/svg+xml"), ("", "image/png")]
)
def test_pictures_are_drawn_with_the_drawing_parameters(form: str, kind: str) -> None:
    window = {"from_": str(START), "until": str(START + 1200)}
    plain = ask("/render", target="servers.web1.cpu", format=form, **window)
    titled = ask("/render", target="servers.web1.cpu", format=form, title="Load", **window)
    assert plain.status == titled.status == 200
    assert plain.content_type == kind
    assert plain.body != titled.body


def test_a_pies_targets_may_be_numbers_among_series_in_their_order() -> None:
    asked = {
        "format": "svg",
        "graphType": "pie",
        "valueLabels": "none",
        "from_": str(START),
        "until": str(START + 180),
    }
    body = ask("/render", target=["apples:12", "a.b", "pears:2.5"], **asked).body.decode()
    names = [name for name in ("apples", "a.b", "pears") if f"<title>{name}</title>" in body]
    assert names == ["apples", "a.b", "pears"]
    assert sorted(names, key=body.index) == names
    assert b"No data" in ask("/render", target="apples:12", format="svg").body


def test_a_wrong_drawing_parameter_is_answered_by_name() -> None:
    response = ask("/render", target="a.b", width="99999", bgcolor="nope")
    assert set(json.loads(response.body)["parameters"]) == {"width", "bgcolor"}


def test_jsonp_calls_with_json_and_leaves_other_formats_alone() -> None:
    response = ask("/render", target="no.such", jsonp="cb.x", format="json")
    assert (response.body, response.content_type) == (b"cb.x([])", "text/javascript")
    assert ask("/render", target="no.such", jsonp="cb.x", format="raw").body == b""


def test_targets_keep_their_order_and_come_twice_if_asked_twice() -> None:
    response = ask(
        "/render", target=["x", "a.d", "x"], format="json", from_=str(START), until=str(START + 180)
    )
    assert [series["target"] for series in json.loads(response.body)] == ["x", "a.d", "x"]


def test_max_data_points_counts_over_all_targets_windows() -> None:
    body = ask(
        "/render", target=["x", "servers.web1.cpu"], from_="-20min", maxDataPoints="4", format="json"
    ).body
    assert [len(series["datapoints"]) for series in json.loads(body)] == [4, 4]


def test_variables_of_the_request_go_into_templates() -> None:
    response = ask("/render", target="template(a.$node,node='b')", format="json", **{"template[node]": "d"})
    assert [series["target"] for series in json.loads(response.body)] == ["a.d"]


@pytest.mark.parametrize(("factor", "value"), [("0.1", 2.0), ("1", None)])
def test_the_requests_x_files_factor_decides_which_merged_points_count(
    factor: str, value: float | None
) -> None:
    window = {"from_": str(START - 60), "until": str(START + 120)}
    response = ask("/render", target="x", maxDataPoints="1", xFilesFactor=factor, format="json", **window)
    (series,) = json.loads(response.body)
    assert series["datapoints"] == [[value, START]]


def test_an_error_says_what_is_wrong_and_where() -> None:
    response = ask("/render", target="sum(a.b")
    answer = json.loads(response.body)
    assert response.status == 400
    assert answer["target"] == "sum(a.b"
    assert isinstance(answer["column"], int)


def test_all_wrong_parameters_are_answered_by_name() -> None:
    response = ask("/render", maxDataPoints="0", format="gif", tz="x")
    assert set(json.loads(response.body)["parameters"]) == {"maxDataPoints", "format", "tz"}


def test_an_answer_is_cached_only_for_as_long_as_is_asked() -> None:
    asked_again = ask("/render", target="x").headers["Cache-Control"]  # by its ETag
    assert "no-cache" in asked_again
    assert "no-store" not in asked_again
    assert "no-store" in ask("/render", target="x", noCache="1").headers["Cache-Control"]
    assert ask("/render", target="x", cacheTimeout="30").headers["Cache-Control"] == "max-age=30"


def test_what_is_no_fault_of_the_client_is_raised() -> None:
    class Broken(MemoryStore):
        def find_series(self, pattern: str) -> Any:
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        respond(view, {"target": ["x"]}, House(Broken()), NOW)
