"""Workers behind the HTTP port: a real server whose heavy queries take as long as the test wants."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.e2e.server import Server, eventually
from tests.e2e.slowly import SLOWLY

pytestmark = pytest.mark.timeout(180)

_CONFIG = """
[http]
light-points = 100
heavy-waiting-max = 1
[cache]
bytes-max = 8000
[functions]
modules = ["slowly"]
"""
HEAVY = {"from": "-4h"}  # 240 points
LIGHT = {"from": "-10min"}
COUNT = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    (folder / "config").mkdir()
    (folder / "config" / "plumbago.toml").write_text(_CONFIG)
    (folder / "config" / "slowly.py").write_text(SLOWLY)
    (folder / "config" / "storage-schemas.conf").write_text("[a]\npattern = .*\nretentions = 60s:1d\n")
    started = Server(folder / "data", "--config", str(folder / "config"), "--render-workers", str(COUNT))
    started.send(f"a.b 7 {int(time.time()) - 60}\n".encode())
    eventually(lambda: started.values("a.b", **LIGHT).get("a.b"))
    yield started
    status, _, errors = started.stop()
    assert status == 0, errors


def forked(server: Server) -> list[psutil.Process]:
    """The workers' processes: those whose parent's parent is the renderer."""
    renderer = psutil.Process(server.children()["render"])
    (nursery,) = renderer.children()
    return [each for each in nursery.children() if each.nice() > renderer.nice()]  # the other is an assistant


def busy(server: Server) -> list[psutil.Process]:
    return [process for process in forked(server) if process.status() != psutil.STATUS_ZOMBIE]


def test_a_heavy_query_is_answered_as_a_light_one_is(server: Server) -> None:
    before = len(busy(server))
    assert server.values("slowly(a.b, 0)", **LIGHT) == {"a.b": [7]}
    assert len(busy(server)) == before
    assert server.values("slowly(a.b, 0)", **HEAVY) == {"a.b": [7]}
    assert busy(server)


def test_light_queries_do_not_wait_for_heavy_ones(server: Server) -> None:
    with ThreadPoolExecutor(COUNT) as pool:
        heavy = [pool.submit(server.values, f"slowly(a.b, {2 + i})", **HEAVY) for i in range(COUNT)]
        eventually(lambda: len(busy(server)) == COUNT)
        began = time.monotonic()
        assert server.values("a.b", **LIGHT) == {"a.b": [7]}
        assert time.monotonic() - began < 1.5
        assert not any(each.done() for each in heavy)
        assert [each.result() for each in heavy] == [{"a.b": [7]}] * COUNT


def test_a_query_that_takes_its_time_goes_on_in_a_worker(server: Server) -> None:
    began = time.monotonic()
    assert server.values("slowly(a.b, 0.6)", **LIGHT) == {"a.b": [7]}  # no data to speak of
    assert time.monotonic() - began > 0.8  # it has begun twice


def test_what_is_wrong_with_a_heavy_query_is_told_as_of_a_light_one(server: Server) -> None:
    status, body = server.ask("/render", format="json", target="slowly(a.b, -x)", **HEAVY)
    assert status == 400
    assert b"slowly" in body


def test_a_worker_that_is_killed_costs_the_one_query(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.ask, "/render", format="json", target="slowly(a.b, 20)", **HEAVY)
        worker = eventually(lambda: working(server))
        worker.kill()
        status, body = asked.result()
    assert status == 503
    assert b"more memory" in body
    assert server.values("a.b", **HEAVY) == {"a.b": [7]}


def working(server: Server) -> psutil.Process | None:
    """The worker that has a question: it wakes up again and again."""
    before = {process.pid: process.num_ctx_switches().voluntary for process in busy(server)}
    time.sleep(0.1)
    for process in busy(server):
        if process.pid in before and process.num_ctx_switches().voluntary > before[process.pid] + 3:
            return process
    return None


def test_a_client_that_hangs_up_ends_the_work(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.http)) as client:
        client.sendall(b"GET /render?target=slowly(a.b,25)&from=-4h&format=json HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: working(server))
    eventually(lambda: not working(server), seconds=10)


def test_too_many_heavy_queries_are_told_when_to_come_again(server: Server) -> None:
    def ask(_: int) -> int:
        return server.ask("/render", format="json", target="slowly(a.b, 3)", **HEAVY)[0]

    with ThreadPoolExecutor(COUNT + 4) as pool:
        asked = pool.map(ask, range(COUNT + 4))
        assert server.values("a.b", **LIGHT) == {"a.b": [7]}
        assert sorted(asked) == [200] * (COUNT + 1) + [429] * 3


def test_an_answer_that_is_too_large_to_keep_is_sent_as_it_comes(server: Server) -> None:
    targets = [f"alias(a.b, 'name {i}')" for i in range(20)]
    with socket.create_connection(("127.0.0.1", server.http)) as client:
        path = "/render?from=-4h&format=json&" + urllib.parse.urlencode({"target": targets}, doseq=True)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, _ = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert list(server.values(targets, **HEAVY)) == [f"name {i}" for i in range(20)]  # type: ignore[arg-type]


def test_clients_that_hang_up_within_an_answer_cost_no_worker(server: Server) -> None:
    targets = [f"alias(a.b, 'name {i}')" for i in range(90)]
    path = "/render?from=-23h&format=json&" + urllib.parse.urlencode({"target": targets}, doseq=True)
    for _ in range(2 * COUNT + 1):
        with socket.create_connection(("127.0.0.1", server.http)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(10) == b"HTTP/1.1 2"
    assert server.values("a.b", **HEAVY) == {"a.b": [7]}
    assert len(server.values(targets, **HEAVY)) == 90  # type: ignore[arg-type]


def test_nothing_is_left_when_the_renderer_is_killed(server: Server) -> None:
    renderer = psutil.Process(server.children()["render"])
    below = renderer.children(recursive=True)
    assert (
        len([each for each in below if each.nice() > renderer.nice()]) == COUNT
    )  # the others: nursery, assistant
    os.kill(renderer.pid, signal.SIGKILL)
    _, left = psutil.wait_procs(below, timeout=5)
    assert not left
    eventually(lambda: server.values("a.b", **HEAVY) == {"a.b": [7]})
