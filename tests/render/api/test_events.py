from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import api
from render.api import House, Response
from render.api.events import events, get_data
from render.request import Sent
from storage.events import DEFAULT_LIMITS, Event
from tests.render.api.store import NOW, MemoryStore, ask

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def post(to: House, body: object) -> Response:
    sent = Sent()
    sent.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    route = api.route("/events/")
    assert route is not None
    return api.respond(route.view, sent, to, NOW)


def wrong(body: object) -> set[str]:
    response = post(House(MemoryStore()), body)
    assert response.status == 400
    return set(json.loads(response.body)["parameters"])


@pytest.fixture
def house() -> House:
    """Three events: the first an hour ago, the last in an hour."""
    to = House(MemoryStore())
    post(to, {"what": "deployed", "tags": ["web", "v1"], "when": NOW - 3600, "data": {"by": ["x"]}})
    post(to, {"what": "failover", "tags": "db  web"})
    post(to, {"what": "planned", "when": NOW + 3600.9})
    return to


def found(to: House, **params: str) -> list[str]:
    response = ask("/events/get_data", to, **params)
    assert response.status == 200, response.body
    return [event["what"] for event in json.loads(response.body)]


def test_an_event_is_answered_in_graphite_webs_shape_with_its_data_as_given(house: House) -> None:
    (first, second) = json.loads(ask("/events/get_data", house, tags="web").body)
    assert first == {
        "when": NOW - 3600,
        "what": "deployed",
        "data": {"by": ["x"]},
        "tags": ["web", "v1"],
        "id": 1,
    }
    assert second == {"when": NOW, "what": "failover", "data": "", "tags": ["db", "web"], "id": 2}


def test_without_times_all_until_now_are_found_the_oldest_first(house: House) -> None:
    assert found(house) == ["deployed", "failover"]
    post(house, {"what": "first of all", "when": -5})
    assert found(house)[0] == "first of all"
    assert found(house, until="now+2h")[1:] == ["deployed", "failover", "planned"]
    assert found(house, from_="-30min", until="now") == ["failover"]


def test_tags_are_all_needed_unless_a_union_is_asked_for(house: House) -> None:
    assert found(house, tags="web v1") == found(house, tags="web v1", set="intersection") == ["deployed"]
    assert found(house, tags="v1 db", set="union") == ["deployed", "failover"]


def test_what_and_data_are_searched(house: House) -> None:
    assert found(house, search="FAIL") == ["failover"]
    assert found(house, search="by") == ["deployed"]


def test_one_event_has_a_date_and_one_that_is_not_there_is_404(house: House) -> None:
    one = json.loads(ask("/events/1", house).body)
    assert (one["what"], one["when"]) == ("deployed", "2020-09-13T11:50:00Z")
    for number in ("4", "x", "-1", "9" * 40, "١"):
        assert ask(f"/events/{number}", house).status == 404


def test_the_list_is_at_the_familys_own_path_too(house: House) -> None:
    assert ask("/events", house).body == ask("/events/get_data", house).body
    assert ask("/events/get_data", house, jsonp="cb").body.startswith(b'cb([{"when":')


def test_adding_is_a_change_and_asking_is_none() -> None:
    adding, asking = api.route("/events"), api.route("/events/get_data")
    assert adding is not None
    assert asking is not None
    assert adding.is_change("POST")
    assert not adding.is_change("GET")
    assert not asking.is_change("POST")


def test_all_that_is_wrong_with_an_event_is_told_at_once() -> None:
    assert wrong({"what": "", "tags": {"a": 1}, "when": "now", "data": "x" * 70_000}) == {
        "what", "tags", "when", "data",
    }  # fmt: skip
    assert wrong({"what": "x" * 1001, "tags": ["t"] * 65, "when": True}) == {"what", "tags", "when"}
    assert wrong({"what": "x", "when": 1e300, "tags": ["y" * 256]}) == {"when", "tags"}


@pytest.mark.parametrize("body", [b"{", b"from=-1d", b"[]", b'"x"', b"\xff", b'{"what":"\\ud800"}'])
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    assert wrong(body) == {"body"}


def test_wrong_questions_are_told_at_once() -> None:
    many = " ".join(f"t{i}" for i in range(DEFAULT_LIMITS.tags_max + 1))
    response = ask("/events/get_data", tags=many, set="xor", from_="1h", search="x" * 300)
    assert set(json.loads(response.body)["parameters"]) == {"tags", "set", "from", "search"}


def test_more_events_than_one_answer_has_are_told_in_a_header() -> None:
    class Many(MemoryStore):
        def events(self, asked: Any) -> tuple[list[Event], bool]:
            return [Event(1, "x", id=7)], True

    response = ask("/events/get_data", House(Many()))
    assert response.headers["X-Plumbago-Truncated"] == "1"


@given(
    JSON | st.fixed_dictionaries({"what": st.text()}, optional=dict.fromkeys(("tags", "when", "data"), JSON))
)
def test_any_body_is_an_event_or_is_the_clients_fault(body: object) -> None:
    to = House(MemoryStore())
    response = post(to, body)
    assert response.status in (200, 400)
    if response.status == 200:
        assert isinstance(body, dict)
        (answered,) = json.loads(ask("/events/get_data", to, until="99990101").body)
        assert answered == json.loads(response.body)
        assert orjson.dumps(answered["data"]) == orjson.dumps(body.get("data", ""))


@given(
    st.dictionaries(
        st.sampled_from(["from", "until", "tags", "set", "search", "jsonp"]), st.lists(st.text())
    ),
    st.sampled_from([events, get_data]),
)
def test_any_question_is_answered_or_is_the_clients_fault(params: dict[str, list[str]], view: Any) -> None:
    assert api.respond(view, params, House(MemoryStore()), NOW).status in (200, 400)
