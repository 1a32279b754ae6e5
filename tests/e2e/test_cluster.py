"""A real graphite-web with us in its CLUSTER_SERVERS: what it answers of our data is what we answer.

Skipped where its Python is not installed: PLUMBAGO_PEERS names its virtual environment, or .venv-peers is there,
which the benchmarks make.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.server import Server, eventually

ROOT = Path(__file__).parents[2]
_PEERS = Path(os.environ.get("PLUMBAGO_PEERS") or ROOT / ".venv-peers")
PYTHON = _PEERS / "bin/python"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not PYTHON.exists(), reason="graphite-web is not installed"),
]
NAMES = ("servers.web1.cpu", "servers.web1.mem", "servers.web2.cpu", "servers.db1.cpu")
TAGGED = ("load;host=web1", "load;host=web2")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A server with ten minutes of data, and a time at their end."""
    running = Server(tmp_path_factory.mktemp("cluster") / "data")
    end = int(time.time()) // 60 * 60
    lines = [
        f"{name} {number * 10 + i} {end - 600 + i * 60}\n"
        for number, name in enumerate((*NAMES, *TAGGED))
        for i in range(1, 10)
        if (number + i) % 4
    ]
    running.send("".join(lines).encode())
    eventually(lambda: running.values("load;host=web2"))
    yield running, end
    running.stop()


def through_graphite_web(
    folder: Path,
    server: Server,
    urls: Sequence[str],
    *,
    form: str = "pickle",
    post: bool = False,
    events: Sequence[object] = (),
) -> list[Any]:
    """The JSON of each URL, as graphite-web answers it."""
    asked = {
        "folder": str(folder),
        "servers": [f"127.0.0.1:{server.http}?format={form}"],
        "post": post,
        "events": events,
        "urls": urls,
    }
    script = Path(__file__).with_name("graphite_member.py")
    done = subprocess.run(
        [str(PYTHON), "-W", "ignore", str(script)], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [(status, base64.b64decode(body)) for status, body in json.loads(done.stdout)]
    assert [status for status, _ in answers] == [200] * len(urls), answers
    return [json.loads(body) for _, body in answers]


@pytest.mark.parametrize(("form", "post"), [("pickle", False), ("pickle", True), ("msgpack", False)])
def test_what_graphite_web_renders_of_our_data_is_what_we_render(
    filled: tuple[Server, int], tmp_path: Path, form: str, post: bool
) -> None:
    server, end = filled
    window = {"from": end - 600, "until": end, "now": end, "format": "json", "noCache": 1}
    targets = [
        "servers.*.cpu",
        "servers.{web1,db1}.*",
        "sumSeries(servers.*.cpu)",
        "aliasByNode(scale(servers.web1.*,2),2)",
        "seriesByTag('name=load')",
        "aliasByTags(seriesByTag('name=load','host=web1'),'host')",
        "timeShift(servers.web1.cpu,'5min')",
        "no.such.*",
    ]
    urls = [f"/render?{urlencode({**window, 'target': target})}" for target in targets]
    answers = through_graphite_web(tmp_path, server, urls, form=form, post=post)
    for target, theirs in zip(targets, answers, strict=True):
        ours = server.get("/render", **window, target=target)
        assert sorted(theirs, key=_target) == sorted(ours, key=_target), target
        if target != "no.such.*":
            assert any(value is not None for one in theirs for value, _ in one["datapoints"]), target


def test_what_graphite_web_finds_of_our_names_is_what_we_find(
    filled: tuple[Server, int], tmp_path: Path
) -> None:
    server, end = filled
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/metrics/find", {"query": "*"}),
        ("/metrics/find", {"query": "servers.*", "from": end - 600, "until": end}),
        ("/metrics/find", {"query": "servers.web1.", "format": "completer", "wildcards": 1}),
        ("/metrics/find", {"query": "servers.web1.*", "format": "nodelist", "position": 2}),
        ("/metrics/expand", {"query": "servers.*.cpu"}),
        ("/metrics/expand", {"query": ["servers.*", "*"], "groupByExpr": 1}),
        ("/metrics/index.json", {}),
        ("/tags/autoComplete/tags", {"expr": "name=load"}),
        ("/tags/autoComplete/values", {"expr": "name=load", "tag": "host"}),
    ]
    urls = [f"{path}?{urlencode(parameters, doseq=True)}" for path, parameters in asked]
    answers = through_graphite_web(tmp_path, server, urls)
    for (path, parameters), theirs in zip(asked, answers, strict=True):
        assert theirs == server.get(path, **parameters), path
        assert theirs, path


def test_events_are_answered_and_counted_as_graphite_web_does(
    filled: tuple[Server, int], tmp_path: Path
) -> None:
    server, end = filled
    events = [
        {"what": "deployed", "tags": ["deploy", "web"], "when": end - 300, "data": "1.2"},
        {"what": "deployed", "tags": "deploy db", "when": end - 300},
        {"what": "failover", "tags": ["db"], "when": end - 60.5},
        {"what": "silence", "when": end - 10},
    ]
    for event in events:
        server.post("/events/", json.dumps(event).encode())
    window = {"from": end - 600, "until": end}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/events/get_data", {**window, "tags": tags, "set": how})
        for tags in ("deploy", "deploy web", "db deploy", "no such")
        for how in ("union", "intersection")
    ]
    asked.append(("/events/get_data", window))
    targets = ["events('*')", "events('deploy')", "events('deploy','db')", "drawAsInfinite(events('db'))"]
    asked += [("/render", {**window, "format": "json", "target": target}) for target in targets]
    urls = [f"{path}?{urlencode(parameters)}" for path, parameters in asked]
    answers = through_graphite_web(tmp_path, server, urls, events=events)
    for (path, parameters), theirs in zip(asked, answers, strict=True):
        assert server.get(path, **parameters) == theirs, (path, parameters)
    assert len(answers[-5]) == 4
    assert sum(value or 0 for value, _ in answers[-1][0]["datapoints"]) == 2


def _target(one: dict[str, Any]) -> str:
    return str(one["target"])
