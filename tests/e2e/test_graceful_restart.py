"""The renderer is stopped, and replaced, while clients ask it: real processes, real sockets."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psutil
import pytest

from render.leaving import SOON_S
from storage.schema import Rules
from storage.store import Store
from tests.e2e.server import Server, eventually

pytestmark = pytest.mark.timeout(300)

_CLIENTS = 4
_CONFIG = '[http]\nlight-points = 100\n[functions]\nmodules = ["ours"]\n'
_FUNCTIONS = """
import logging, time
from pathlib import Path
from render.functions.custom import *

HERE = Path(__file__).parent

@function("slowly", group="Tests", params=[SERIES, Param("seconds", "float", required=True)])
def slowly(context, series, seconds):
    (HERE / "begun").touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        context.check()
        time.sleep(0.01)
    return series

@function("stuck", group="Tests", params=[SERIES])
def stuck(context, series):
    (HERE / "begun").touch()
    time.sleep(60)  # without a look at whether somebody waits
    return series

@function("waits", group="Tests", params=[SERIES])
def waits(context, series):
    (HERE / "begun").touch()
    while not (HERE / "enough").exists():
        context.check()
        time.sleep(0.01)
    return series

@function("talks", group="Tests", params=[SERIES])
def talks(context, series):
    for _ in range(2000):
        logging.error("x" * 1000)
    return series
"""
_HEAVY, _LIGHT = "-4h", "-10min"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings, and a store with a datapoint of a minute ago."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "plumbago.toml").write_text(_CONFIG)
    (tmp_path / "config" / "ours.py").write_text(_FUNCTIONS)
    (tmp_path / "config" / "storage-schemas.conf").write_text("[a]\npattern = .*\nretentions = 60s:1d\n")
    now = int(time.time())
    with closing(written(tmp_path)) as store:
        store.append(store.create(["a.b"]), np.array([now - 60]), np.array([7.0]), now)
    return tmp_path


def written(folder: Path) -> Store:
    return Store(folder / "data", Rules.load(folder / "config"), writable=True)


# --- one that is stopped ---


class Renderer:
    """`plumbago render` on a socket that outlives it."""

    def __init__(self, folder: Path, *arguments: str, **options: Any) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listening.getsockname()[1]
        self._folder, self._arguments, self._options = folder, arguments, options
        self.start()

    def start(self) -> None:
        told, tell = os.pipe()
        command = [sys.executable, "-m", "plumbago", "render", "--data", str(self._folder / "data")]
        command += ["--config", str(self._folder / "config"), *self._arguments]
        command += ["--fd", f"http={self.listening.fileno()}", "--ready-fd", str(tell)]
        handed = (self.listening.fileno(), tell)
        self.process: subprocess.Popen[bytes] = subprocess.Popen(command, pass_fds=handed, **self._options)
        os.close(tell)
        with os.fdopen(told, "rb") as ready:
            assert ready.read().startswith(b"http=")

    def ask(self, target: str, since: str) -> bytes:
        """The whole answer of a client that waits for long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            path = f"/render?target={target}&from={since}&format=json"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b""
            while more := client.recv(65536):
                answer += more
                if b"Connection: close" not in answer and b"]}]" in answer:
                    break
            return answer

    def get(self, path: str) -> tuple[int, Any]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(client):
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())

    def has_begun(self) -> bool:
        """Whether it evaluates what it was asked."""
        return (self._folder / "config" / "begun").exists()

    def stop(self) -> tuple[int, float]:
        """(exit status, seconds)"""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10), time.monotonic() - began


@contextmanager
def running(folder: Path, *arguments: str, **options: Any) -> Iterator[Renderer]:
    renderer = Renderer(folder, *arguments, **options)
    try:
        yield renderer
    finally:
        renderer.process.kill()
        renderer.process.wait()
        renderer.listening.close()


def test_what_is_in_work_is_answered_and_who_comes_then_is_answered_by_the_next(folder: Path) -> None:
    with running(folder, "--render-workers", "1") as renderer, ThreadPoolExecutor(2) as clients:
        asked = clients.submit(renderer.ask, "slowly(a.b,0.9)", _HEAVY)
        eventually(renderer.has_begun)
        status, seconds = renderer.stop()
        assert (status, seconds < 1.8) == (0, True)
        assert asked.result().startswith(b"HTTP/1.1 200")
        assert b"7.0" in asked.result()
        waiting = clients.submit(renderer.ask, "a.b", _LIGHT)  # nobody accepts now
        renderer.start()
        assert waiting.result().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("target", ["slowly(a.b,20)", "stuck(a.b)"])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_it_ends_in_time_and_its_workers_with_it(folder: Path, target: str, workers: str) -> None:
    with running(folder, "--render-workers", workers) as renderer, ThreadPoolExecutor(1) as clients:
        asked = clients.submit(renderer.ask, target, _HEAVY)
        eventually(renderer.has_begun)
        below = psutil.Process(renderer.process.pid).children(recursive=True)
        status, seconds = renderer.stop()
        assert (status, seconds < 2) == (0, True)
        _, left = psutil.wait_procs(below, timeout=2)
        assert not left
        assert b"200" not in asked.result()[:20]


def test_a_log_that_nobody_reads_does_not_hold_its_end_up(folder: Path) -> None:
    """All that write to it wait, and with them whoever wants the logger's lock."""
    with (
        running(folder, "--render-workers", "0", stderr=subprocess.PIPE) as renderer,
        ThreadPoolExecutor(1) as clients,
    ):
        errors = renderer.process.stderr
        assert errors is not None
        asked = clients.submit(renderer.ask, "talks(a.b)", _LIGHT)
        eventually(lambda: select.select([errors], [], [], 0)[0])
        status, seconds = renderer.stop()
        assert (status, seconds < 2) == (0, True)
        assert not asked.exception()


# --- whether it should be asked ---


def test_ready_says_what_is_missing_and_takes_it_back(folder: Path) -> None:
    with running(folder, "--has-receiver", "--render-workers", "1") as renderer:
        status, answer = renderer.get("/health/ready")
        assert (status, answer["reasons"]) == (503, ["no receiver writes the store"])
        assert renderer.get("/health/live") == (200, {"live": True})
        with closing(written(folder)):
            eventually(lambda: renderer.get("/health/ready") == (200, {"ready": True, "reasons": []}))
            (nursery,) = psutil.Process(renderer.process.pid).children()
            nursery.kill()
            eventually(lambda: renderer.get("/health/ready")[1]["reasons"] == ["no worker can be started"])
            assert renderer.get("/health")[0] == 200
        eventually(lambda: len(renderer.get("/health/ready")[1]["reasons"]) == 2)


# --- one that is replaced ---


@pytest.fixture
def served(folder: Path) -> Iterator[Server]:
    server = Server(folder / "data", "--config", str(folder / "config"), "--render-workers", "1")
    yield server
    server.process.kill()


def replace(server: Server) -> None:
    """SIGHUP; returns when the old renderer has ended."""
    old = psutil.Process(server.children()["render"])
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: not old.is_running(), 60)


@dataclass
class Counts:
    answers: int = 0
    last_ones: int = 0  # answers that said that the connection ends with them
    broken: int = 0  # connections that ended without one
    refused: int = 0


def ask_on_and_on(port: int, stop: Event) -> Counts:
    """Without a pause, on one connection for as long as the server wants it."""
    counts, client = Counts(), http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not stop.is_set():
        try:
            client.request("GET", f"/render?target=a.b&format=json&from={_LIGHT}")
            answer = client.getresponse()
            assert (answer.status, b"a.b" in answer.read()) == (200, True)
        except ConnectionRefusedError:
            counts.refused += 1
        except (OSError, http.client.HTTPException):
            counts.broken += 1
            client.close()
        else:
            counts.answers += 1
            counts.last_ones += answer.will_close
    client.close()
    return counts


def test_no_request_fails_while_the_renderer_is_replaced_three_times(served: Server) -> None:
    stop = Event()
    receiver = served.children()["receive"]
    with ThreadPoolExecutor(_CLIENTS) as clients:
        asking = [clients.submit(ask_on_and_on, served.http, stop) for _ in range(_CLIENTS)]
        try:
            for _ in range(3):
                replace(served)
        finally:
            stop.set()
    for each in asking:
        counts = each.result()
        assert (counts.broken, counts.refused, counts.last_ones) == (0, 0, 3)
        assert counts.answers > 10
    assert served.children()["receive"] == receiver
    status, _, errors = served.stop()
    assert (status, errors) == (0, "plumbago: the renderer is replaced; the old one leaves\n" * 3)


def test_the_old_one_answers_what_it_was_asked_though_that_takes_long(served: Server, folder: Path) -> None:
    """And says so on a connection that is kept: it is not ready, and closes it with that answer."""
    old, kept = (
        psutil.Process(served.children()["render"]),
        http.client.HTTPConnection("127.0.0.1", served.http),
    )
    with ThreadPoolExecutor(1) as clients, closing(kept):
        asked = clients.submit(served.values, "waits(a.b)", **{"from": _HEAVY})
        eventually((folder / "config" / "begun").exists)
        served.process.send_signal(signal.SIGHUP)
        answer, body = eventually(lambda: not_ready(kept), 60)
        assert (answer.status, json.loads(body)["reasons"]) == (503, ["the server is about to end"])
        assert answer.will_close
        assert served.ask("/health/ready")[0] == 200
        assert len(renderers(served)) == 2
        too_long = time.monotonic() + SOON_S + 0.5  # for one that has to end soon
        eventually(lambda: time.monotonic() > too_long)
        (folder / "config" / "enough").touch()
        assert asked.result() == {"a.b": [7.0]}
        eventually(lambda: not old.is_running())


def not_ready(kept: http.client.HTTPConnection) -> tuple[http.client.HTTPResponse, bytes] | None:
    """What is told on the one connection, once that is no."""
    kept.request("GET", "/health/ready")
    answer = kept.getresponse()
    body = answer.read()
    return None if answer.status == 200 else (answer, body)


def renderers(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [each for each in children if "render" in each.cmdline()]


def test_settings_and_functions_are_read_anew_and_wrong_ones_change_nothing(
    served: Server, folder: Path
) -> None:
    ours, old = folder / "config" / "ours.py", served.children()["render"]
    ours.write_text("this is no Python")
    served.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(renderers(served)) == 2)
    eventually(lambda: len(renderers(served)) == 1, 60)
    assert served.children()["render"] == old
    assert served.values("slowly(a.b,0)") == {"a.b": [7.0]}
    ours.write_text(_FUNCTIONS.replace('"slowly"', '"calmly"'))
    replace(served)
    assert served.values("calmly(a.b,0)") == {"a.b": [7.0]}
    assert served.ask("/render", target="slowly(a.b,0)", format="json")[0] == 400
    status, _, errors = served.stop()
    assert status == 0
    assert "ours" in errors
    assert "plumbago: the new renderer ended with status 1: the old one stays\n" in errors
