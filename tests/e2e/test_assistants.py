"""Assistants behind the HTTP port: many clients ask at once for what is quick, and one that fails costs nobody."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.e2e.server import Server, eventually

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor has the reactor only"),
]

CLIENTS = 8
POINTS = 60
NOW = int(time.time()) // 60 * 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("assistants")
    (folder / "storage-schemas.conf").write_text("[a]\npattern = .*\nretentions = 60s:1d\n")
    started = Server(folder / "data", "--config", str(folder), "--render-workers", "1")
    lines = [f"a.b {i} {NOW - 60 * i}\n" for i in range(1, POINTS)]
    started.send("".join(lines).encode())
    eventually(lambda: len(started.values("a.b", **{"from": f"{NOW - 3600}"}).get("a.b", [])) == POINTS - 1)
    yield started
    status, _, errors = started.stop()
    assert status == 0, errors


def assistants(server: Server) -> list[psutil.Process]:
    """The nursery's children that are as important as the server: workers give way."""
    renderer = psutil.Process(server.children()["render"])
    (nursery,) = renderer.children()
    as_nice = [each for each in nursery.children() if each.nice() == renderer.nice()]
    return [each for each in as_nice if each.status() != psutil.STATUS_ZOMBIE]


def ask_for(server: Server, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> float:
    """Clients ask for windows that differ, and check each answer; the longest that one has waited."""
    until = time.monotonic() + seconds
    together = threading.Barrier(CLIENTS + 1)

    def client(number: int) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=30)
        together.wait()
        longest, count = 0.0, 0
        while time.monotonic() < until:
            count += 1
            points = 1 + (number * 7 + count) % (POINTS - 2)
            began = time.monotonic()
            window = f"from={NOW - 60 * points - 1}&until={NOW - 60}"
            # the address differs, so that no kept answer is given
            connection.request("GET", f"/render?target=a.b&format=json&{window}&noCache=1")
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            assert json.loads(body)[0]["datapoints"] == [
                [float(i), NOW - 60 * i] for i in range(points, 0, -1)
            ]
            longest = max(longest, time.monotonic() - began)
        connection.close()
        return longest

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(client, number) for number in range(CLIENTS)]
        together.wait()
        meanwhile()
        return max(each.result() for each in asked)


def used_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def crowd(server: Server) -> psutil.Process:
    """Ask until there is an assistant that answers; gives it."""
    for _ in range(20):
        ask_for(server, 1.0)
        for process in assistants(server):
            if used_s(process) > 0.05:
                return process
    raise AssertionError("nobody helps the reactor")


def test_many_that_ask_at_once_are_answered_by_another_process_too(server: Server) -> None:
    crowd(server)
    assert len(assistants(server)) <= 3


def test_one_that_is_killed_costs_no_answer_and_is_replaced(server: Server) -> None:
    first = crowd(server)
    ask_for(server, 2.0, first.kill)
    assert crowd(server).pid != first.pid


def test_one_that_says_nothing_is_killed_and_its_questions_are_answered(server: Server) -> None:
    silent = crowd(server)

    def stop() -> None:
        time.sleep(0.2)
        os.kill(silent.pid, signal.SIGSTOP)

    assert ask_for(server, 2.0, stop) < 15
    eventually(lambda: silent.pid not in [each.pid for each in assistants(server)])
