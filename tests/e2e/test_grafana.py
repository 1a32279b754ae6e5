r"""What Grafana's Graphite data source asks, request by request, and what it needs to find in the answers.

The requests are those of its source (2026): POST /render as a form, each target of the frontend wrapped in
aliasSub(…, "(^.*$)", "\1 <refId>"), times as epoch seconds or as -6h, ids of the dashboard in headers.
"""

from __future__ import annotations

import gzip
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.e2e.server import Server, eventually

pytestmark = pytest.mark.timeout(180)
HEADERS = {
    "X-Dashboard-Id": "12",
    "X-Panel-Id": "2",
    "X-Panel-Plugin-Id": "timeseries",
    "X-Grafana-Org-Id": "1",
    "Accept": "application/json, text/plain, */*",
    "Accept-Encoding": "gzip",
    "User-Agent": "Grafana/13.0.0",
}
FORM = "application/x-www-form-urlencoded"
REF_ID = re.compile(r"(.*) ([A-Z])")


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: Message

    @property
    def json(self) -> Any:
        assert self.status == 200, self.body
        return json.loads(self.body)


class Grafana:
    """The requests of a data source whose URL is the server's."""

    def __init__(self, server: Server, end: int) -> None:
        self.server, self.end = server, end
        self.window = {"from": str(end - 600), "until": str(end)}

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Reply:
        return self._ask(path, query or {}, None, {})

    def post(
        self, path: str, form: Sequence[tuple[str, str]], query: Mapping[str, Any] | None = None
    ) -> Reply:
        return self._ask(path, query or {}, urlencode(form).encode(), {"Content-Type": FORM})

    def query(self, *targets: str, **options: str) -> Any:
        """A panel's: all targets in one request, told apart by what is behind the last space of each name."""
        wrapped = [
            ("target", f'aliasSub({target}, "(^.*$)", "\\1 {ref_id}")')
            for target, ref_id in zip(targets, "ABCDEFGH", strict=False)
        ]
        options = {**self.window, "format": "json", "maxDataPoints": "1024", **options}
        return self.post("/render", [*wrapped, *options.items()])

    def _ask(
        self, path: str, query: Mapping[str, Any], body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        url = f"http://127.0.0.1:{self.server.http}{path}"
        if query:
            url += "?" + urlencode(query, doseq=True)
        request = urllib.request.Request(url, body, {**HEADERS, **headers})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return _reply(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            return _reply(error.code, error.read(), error.headers)


def _reply(status: int, body: bytes, headers: Message) -> Reply:
    packed = headers.get("Content-Encoding") == "gzip"
    return Reply(status, gzip.decompress(body) if packed else body, headers)


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    running = Server(tmp_path_factory.mktemp("grafana") / "data")
    end = int(time.time()) // 60 * 60
    names = ["apps.web1.requests.count", "apps.web2.requests.count", "apps.web1.cpu"]
    names += ["disk.used;dc=ams;server=web1", "disk.used;dc=fra;server=web2"]
    stamps = range(end - 600, end, 60)
    running.send("".join(f"{name} {i + 1} {at}\n" for i, name in enumerate(names) for at in stamps).encode())
    eventually(lambda: running.values("disk.used;dc=fra;server=web2"))
    yield Grafana(running, end)
    running.stop()


def split(series: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Names by refId, as the data source sorts an answer to its queries."""
    found: dict[str, list[str]] = {}
    for one in series:
        name = REF_ID.fullmatch(one["target"])
        assert name, one["target"]
        found.setdefault(name[2], []).append(name[1])
        for value, at in one["datapoints"]:
            assert isinstance(at, int)
            assert value is None or isinstance(value, float)
        assert all(isinstance(tag, str) for tag in one["tags"].values())
    return found


def test_save_and_test_of_the_frontend_gets_its_line_without_any_times(grafana: Grafana) -> None:
    form = [
        ("target", 'aliasSub(constantLine(100), "(^.*$)", "\\1 A")'),
        ("format", "json"),
        ("maxDataPoints", "300"),
    ]
    answer = grafana.post("/render", form)
    assert answer.headers["Content-Type"].startswith("application/json")
    (line,) = answer.json
    assert line["target"].endswith(" A")
    assert {value for value, _ in line["datapoints"]} == {100.0}
    assert line["datapoints"][-1][1] - line["datapoints"][0][1] >= 86_398


def test_save_and_test_of_the_backend_gets_its_line_over_an_hour(grafana: Grafana) -> None:
    form = [
        ("from", str(grafana.end - 3600)), ("until", str(grafana.end)), ("format", "json"),
        ("maxDataPoints", "100"), ("target", "constantLine(100)"),
    ]  # fmt: skip
    (line,) = grafana.post("/render", form).json
    assert set(line) >= {"target", "datapoints", "tags"}
    assert [value for value, _ in line["datapoints"]] == [100.0] * 3


def test_a_panels_queries_come_back_under_their_ref_ids(grafana: Grafana) -> None:
    found = split(
        grafana.query(
            "apps.*.requests.count",
            "aliasByNode(apps.*.cpu, 1)",
            "sumSeries(apps.*.requests.count)",
            "seriesByTag('name=disk.used','dc=ams')",
            "alias(apps.web1.cpu, 'two words')",
            "summarize(apps.web1.cpu, '5min', 'sum', false)",
            "no.such.metric",
        ).json
    )
    assert found == {
        "A": ["apps.web1.requests.count", "apps.web2.requests.count"],
        "B": ["web1"],
        "C": ["sumSeries(apps.*.requests.count)"],
        "D": ["disk.used;dc=ams;server=web1"],
        "E": ["two words"],
        "F": ['summarize(apps.web1.cpu, "5min", "sum")'],
    }


def test_a_window_moved_by_a_second_and_a_relative_one_have_the_data(grafana: Grafana) -> None:
    moved = {"from": str(grafana.end - 601), "until": str(grafana.end + 1)}
    for window in (moved, {"from": "-6h", "until": "now"}):
        (one,) = grafana.query("apps.web1.cpu", **window).json
        assert [value for value, _ in one["datapoints"] if value is not None][:9] == [3.0] * 9


def test_metrictanks_and_cache_parameters_do_no_harm(grafana: Grafana) -> None:
    answer = grafana.query("apps.web1.cpu", cacheTimeout="60", meta="true")
    assert len(answer.json) == 1
    assert answer.headers["Cache-Control"] == "max-age=60"


def test_the_tree_of_metrics_is_browsed_level_by_level(grafana: Grafana) -> None:
    def level(query: str) -> list[tuple[str, bool]]:
        found = grafana.post("/metrics/find", [("query", query)], grafana.window).json
        return [(node["text"], bool(node["expandable"])) for node in found]

    assert ("apps", True) in level("*")
    assert level("apps.*") == [("web1", True), ("web2", True)]
    assert level("apps.web1.*") == [("requests", True), ("cpu", False)]
    assert level("apps.nobody.*") == []


def test_variables_are_expanded_and_tags_completed(grafana: Grafana) -> None:
    expanded = grafana.get("/metrics/expand", {"query": "apps.*.requests", **grafana.window}).json
    assert expanded["results"] == ["apps.web1.requests", "apps.web2.requests"]
    more = {"limit": 10_000, **grafana.window}
    completing = {"tagPrefix": "", "expr": ["name=disk.used"], **more}
    assert grafana.get("/tags/autoComplete/tags", completing).json == ["dc", "server"]
    completing = {"expr": ["name=disk.used", "dc=~a"], "tag": "server", "valuePrefix": "", **more}
    assert grafana.get("/tags/autoComplete/values", completing).json == ["web1"]


def test_functions_have_what_the_query_editor_reads(grafana: Grafana) -> None:
    text = grafana.get("/functions").body.decode()
    assert "Infinity" not in re.sub(r'"description":"(?:[^"\\]|\\.)*"', "", text)
    functions = json.loads(text)
    assert len(functions) >= 154
    for name, function in functions.items():
        assert function["name"] == name
        assert isinstance(function["group"], str)
        for param in function["params"]:
            assert isinstance(param["name"], str)
            assert isinstance(param["type"], str)
            assert isinstance(param.get("options", []), list)
            assert isinstance(param.get("suggestions", []), list)


def test_the_version_is_one_that_has_tags(grafana: Grafana) -> None:
    major, minor, _ = map(int, grafana.get("/version").json.split("."))
    assert (major, minor) >= (1, 1)


def test_annotations_come_from_events_and_from_targets(grafana: Grafana) -> None:
    event = {
        "what": "deploy",
        "tags": ["web", "v2"],
        "when": grafana.end - 120,
        "data": "<b>by</b> x",
    }
    grafana.server.post("/events/", json.dumps(event).encode())
    answer = grafana.get("/events/get_data", {**grafana.window, "tags": "web v2"})
    (found,) = answer.json
    assert {key: found[key] for key in event} == event
    assert grafana.get("/events/get_data", {"from": "-6h", "until": "now", "tags": "db"}).json == []
    (counted,) = grafana.query("events('web')", maxDataPoints="100000").json
    assert [at for value, at in counted["datapoints"] if value] == [event["when"]]


def test_a_get_with_a_body_adds_no_event(grafana: Grafana) -> None:
    before = grafana.get("/events").json
    url = f"http://127.0.0.1:{grafana.server.http}/events/"
    request = urllib.request.Request(url, b'{"what":"sneaked in"}', {"Content-Type": FORM}, method="GET")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200
    assert grafana.get("/events").json == before


def test_an_error_is_shown_as_it_is_said(grafana: Grafana) -> None:
    answer = grafana.query("sumSeries(apps.*.cpu")
    assert answer.status == 400
    assert "column" in json.loads(answer.body)
    answer = grafana.query("noSuchFunction(apps.*.cpu)")
    assert (answer.status, "no function 'noSuchFunction'" in answer.body.decode()) == (400, True)
