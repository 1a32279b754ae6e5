"""What a real renderer says of itself: Prometheus' text, stored series, its logs, workers included."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.server import Server, eventually
from tests.e2e.slowly import SLOWLY

pytestmark = pytest.mark.timeout(180)

_CONFIG = """
[http]
light-points = 100
access-log = "{folder}/access.log"
slow-log = "{folder}/slow.log"
slow-s = 0.2
[report]
every = 1
[functions]
modules = ["slowly"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    (folder / "config").mkdir()
    (folder / "config" / "plumbago.toml").write_text(_CONFIG.format(folder=folder))
    (folder / "config" / "slowly.py").write_text(SLOWLY)
    (folder / "config" / "storage-schemas.conf").write_text("[a]\npattern = .*\nretentions = 1s:1d\n")
    started = Server(folder / "data", "--config", str(folder / "config"), "--render-workers", "1")
    started.send(f"a.b 7 {int(time.time()) - 60}\n".encode())
    eventually(lambda: started.values("a.b", **{"from": "-80s"}).get("a.b"))
    yield started
    status, _, errors = started.stop()
    assert status == 0, errors


def logged(path: Path, number: str) -> dict[str, Any]:
    """The line about a request."""

    def found() -> list[dict[str, Any]]:
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if line["id"] == number]

    (line,) = eventually(found, 10)
    return dict(line)


def ask(server: Server, path: str, number: str) -> bytes:
    """The answer to a request with that id."""
    with socket.create_connection(("127.0.0.1", server.http), timeout=20) as client:
        head = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {number}\r\nConnection: close\r\n\r\n"
        )
        client.sendall(head.encode())
        with client.makefile("rb") as answer:
            return answer.read()


def samples(server: Server) -> dict[str, float]:
    status, text = server.ask("/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_counters_are_stored_as_series(server: Server) -> None:
    host = "".join(c if c.isalnum() or c in "-_" else "_" for c in socket.gethostname())
    about = f"carbon.agents.{host}.render"

    def stored(name: str) -> list[float]:
        server.values("a.b", **{"from": "-80s"})  # as else there would be nothing to count
        return server.values(f"{about}.{name}", **{"from": "-60s"}).get(f"{about}.{name}", [])

    assert sum(eventually(lambda: stored("requests"))) >= 1
    assert max(eventually(lambda: stored("p99Ms"))) > 0
    assert sum(eventually(lambda: stored("pointsRead"))) > 0
    assert max(eventually(lambda: stored("memUsage"))) > 1e6
    names = {node["text"] for node in server.get("/metrics/find", query=f"{about}.*")}
    assert {"requests", "errors", "refused", "queueTime", "p99Ms", "cacheHits", "workersLost"} <= names


def test_a_workers_query_is_counted_and_logged_with_its_plan(server: Server, folder: Path) -> None:
    before = samples(server)
    answer = ask(server, "/render?target=slowly(a.b,0.5)&from=-300s&until=-1s&format=json", "heavy-1")
    assert b" 200 " in answer.splitlines()[0]
    line = logged(folder / "access.log", "heavy-1")
    assert (line["status"], line["worker"], line["client"]) == (200, True, "127.0.0.1")
    assert line["ms"] > 500
    slow = logged(folder / "slow.log", "heavy-1")
    assert (slow["targets"], slow["worker"], slow["series"]) == (["slowly(a.b,0.5)"], True, 1)
    assert slow["points"] == pytest.approx(299, abs=2)
    (step,) = slow["steps"]
    assert step["seconds"] >= 0.4
    assert [inner["step"] for inner in step["within"]] == ["a.b"]
    after = samples(server)
    read = "plumbago_render_points_read_total"
    assert after[read] - before[read] == pytest.approx(299, abs=2)
    assert after["plumbago_render_workers_started_total"] >= 1
    assert after["plumbago_http_slow_total"] - before["plumbago_http_slow_total"] == 1


def test_an_answer_given_again_is_no_workers_and_reads_nothing(server: Server, folder: Path) -> None:
    until = int(time.time()) // 100 * 100 - 1000  # long over
    path = f"/render?target=a.b&from={until - 300}&until={until}&format=json"
    for number in ("again-1", "again-2"):
        assert b" 200 " in ask(server, path, number).splitlines()[0]
    first, second = (logged(folder / "access.log", number) for number in ("again-1", "again-2"))
    assert (first["cache"], first["worker"]) == ("miss", True)
    assert (second["cache"], second["worker"]) == ("hit", False)
    assert second["bytes"] == first["bytes"] > 0
    assert samples(server)["plumbago_render_cache_hits_total"] >= 1


def test_a_worker_that_is_lost_is_counted_and_its_query_told_with_its_targets(
    server: Server, folder: Path
) -> None:
    before = samples(server)["plumbago_render_workers_lost_total"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, server, "/render?target=slowly(a.b,20)&from=-301s&format=json", "lost-1")
        (nursery,) = psutil.Process(server.children()["render"]).children()
        eventually(lambda: samples(server)["plumbago_http_requests_heavy"] == 1)
        time.sleep(1.2)  # it has the question, and the last slow one's line is a second old
        for worker in nursery.children():
            worker.kill()
        assert b" 503 " in asked.result().splitlines()[0]
    assert samples(server)["plumbago_render_workers_lost_total"] == before + 1
    line = logged(folder / "slow.log", "lost-1")
    assert (line["status"], line["targets"], line["worker"]) == (503, ["slowly(a.b,20)"], True)


def test_counters_cost_no_more_than_milliseconds_and_need_no_thread(server: Server) -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        samples(server)
        took.append(time.monotonic() - began)
    assert min(took) < 0.05
    assert samples(server)['plumbago_http_requests_total{route="/metrics",status="2xx"}'] >= 5


def test_what_the_log_waits_with_is_written_at_the_end(folder: Path) -> None:
    """Last: the server of its own."""
    (folder / "other").mkdir()
    (folder / "other" / "plumbago.toml").write_text(f'[http]\naccess-log = "{folder}/other.log"\n')
    other = Server(folder / "data2", "--config", str(folder / "other"))
    for number in range(20):
        ask(other, "/version", f"n-{number}")
    other.stop()
    ids = [json.loads(line)["id"] for line in (folder / "other.log").read_text().splitlines()]
    assert ids == [f"n-{number}" for number in range(20)]
