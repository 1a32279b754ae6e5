from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("google.protobuf", reason="the protobuf library is not installed")

from render import api
from render.api import House, Response
from render.config import Http, Limits
from render.request import Sent
from tests.render.api.store import NOW, ask, house
from tests.render.formats.carbonapi_messages import V2, V3, read

SMALL = house()


def post(path: str, message: Any, to: House = SMALL) -> Response:
    sent = Sent(format=["carbonapi_v3_pb"])
    sent.body = message if isinstance(message, bytes) else message.SerializeToString()
    route = api.route(path)
    assert route is not None
    return api.respond(route.view, sent, to, NOW)


def fetching(*parts: dict[str, Any]) -> Any:
    message = V3["MultiFetchRequest"]()
    for part in parts:
        message.metrics.add(**{"startTime": NOW - 600, "stopTime": NOW, **part})
    return message


def test_each_name_of_a_body_is_fetched_over_its_own_window() -> None:
    asked = fetching(
        {"name": "servers.*.cpu", "pathExpression": "servers.*.*"},
        {"name": "x", "startTime": NOW - 300},
        {"name": "sumSeries(servers.*.cpu)"},
        {"name": "no.such"},
    )
    answer = post("/render/", asked)
    assert (answer.status, answer.content_type) == (200, "application/x-carbonapi-v3-pb")
    found = read(V3, "MultiFetchResponse", answer.body).metrics
    paths = [(one.name, one.pathExpression, NOW - one.requestStartTime) for one in found]
    assert paths == [
        ("servers.db1.cpu", "servers.*.*", 600),
        ("servers.web1.cpu", "servers.*.*", 600),
        ("servers.web2.cpu", "servers.*.*", 600),
        ("servers.web3.cpu", "servers.*.*", 600),
        ("sumSeries(servers.*.cpu)", "sumSeries(servers.*.cpu)", 600),
        ("x", "x", 300),
    ]
    assert {len(one.values) for one in found if one.name != "x"} == {10}
    assert len(found[-1].values) == 5


@pytest.mark.parametrize("form", ["carbonapi_v2_pb", "protobuf", "protobuf3", "carbonapi_v3_pb"])
def test_targets_of_a_url_are_answered_in_messages_too(form: str) -> None:
    window = {"from_": str(NOW - 600), "until": str(NOW)}
    body = ask("/render", target="servers.web1.cpu", format=form, **window).body
    messages = V3 if form == "carbonapi_v3_pb" else V2
    (one,) = read(messages, "MultiFetchResponse", body).metrics
    (plain,) = json.loads(ask("/render", target="servers.web1.cpu", format="json", **window).body)
    assert (one.name, one.startTime) == (plain["target"], plain["datapoints"][0][1])
    assert [v or None for v in one.values] == [v or None for v, _ in plain["datapoints"]]


def test_each_glob_of_a_body_is_found() -> None:
    answer = post("/metrics/find/", V3["MultiGlobRequest"](metrics=["a.*", "zz", "*"]))
    found = read(V3, "MultiGlobResponse", answer.body).metrics
    assert [one.name for one in found] == ["a.*", "zz", "*"]
    assert [(match.path, match.isLeaf) for match in found[0].matches] == [
        ("a.b", False), ("a.b", True), ("a.d", True),
    ]  # fmt: skip
    old = read(V2, "GlobResponse", ask("/metrics/find", query="a.*", format="protobuf").body)
    assert (old.name, old.matches[0].path, len(old.matches)) == ("a.*", "a.b", 3)


def test_more_nodes_than_allowed_are_cut_and_the_header_says_so() -> None:
    to = house(Http(found_max=2))
    answer = post("/metrics/find", V3["MultiGlobRequest"](metrics=["servers.*", "a.*"]), to)
    found = read(V3, "MultiGlobResponse", answer.body).metrics
    assert [len(one.matches) for one in found] == [2, 0]
    assert answer.headers["X-Plumbago-Truncated"] == "2"


def test_info_tells_how_a_metric_is_kept() -> None:
    plain = json.loads(ask("/info", target="a.b").body)
    assert plain == {
        "name": "a.b",
        "aggregationMethod": "average",
        "maxRetention": 86_400,
        "xFilesFactor": 0.5,
        "retentions": [
            {"secondsPerPoint": 10, "numberOfPoints": 360},
            {"secondsPerPoint": 60, "numberOfPoints": 1440},
        ],
    }
    old = read(V2, "InfoResponse", ask("/info/", target="a.b", format="protobuf").body)
    assert (old.name, old.maxRetention) == ("a.b", 86_400)
    answer = post("/info/", V3["MultiMetricsInfoRequest"](names=["a.b", "zz", "a.*", "x"]))
    found = read(V3, "MultiMetricsInfoResponse", answer.body).metrics
    assert [one.name for one in found] == ["a.b", "x"]
    for name in ("zz", "a.*"):
        assert ask("/info", target=name).status == 404


def test_a_carbonapi_that_finds_out_what_we_speak_takes_version_3() -> None:
    for answer in (post("/_internal/capabilities/", b""), ask("/_internal/capabilities/")):
        message = read(V3, "CapabilityResponse", answer.body)
        assert message.supportedProtocols[0] == "carbonapi_v3_pb"
    plain = json.loads(ask("/_internal/capabilities", format="json").body)
    assert plain["supportedProtocols"][0] == "carbonapi_v3_pb"


def test_what_cannot_be_asked_is_told() -> None:
    def wrong(path: str, message: Any) -> set[str]:
        answer = post(path, message)
        assert answer.status == 400
        return set(json.loads(answer.body)["parameters"])

    assert wrong("/render", b"\x0a\x05abc") == {"body"}
    assert wrong("/render", fetching({"name": "x", "startTime": NOW})) == {"body"}
    assert wrong("/render", fetching({"name": "x", "stopTime": 2**62})) == {"body"}
    assert wrong("/metrics/find", b"") == {"query"}
    assert wrong("/metrics/find", V3["MultiGlobRequest"](metrics=["a"] * 1001)) == {"query"}
    assert wrong("/info", b"\x0b") == {"body"}
    assert wrong("/info", b"") == {"target"}
    assert post("/metrics/find", V3["MultiGlobRequest"](metrics=["{" * 9])).status == 400


def test_more_names_than_a_request_may_have_are_refused_with_numbers() -> None:
    to = House(SMALL.source, Limits(targets_max=1))
    answer = post("/render", fetching({"name": "x"}, {"name": "a.b", "startTime": NOW - 60}), to)
    assert (answer.status, json.loads(answer.body)["error"]) == (413, "2 targets in a request; at most 1")


@given(
    st.binary(max_size=30), st.sampled_from(["/render", "/metrics/find", "/info", "/_internal/capabilities"])
)
def test_any_body_is_answered_or_is_the_clients_fault(body: bytes, path: str) -> None:
    assert post(path, body).status in (200, 400, 404)
