"""`plumbago render` and `plumbago query` on a real store; the server tests use a real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
from click.testing import CliRunner, Result

from render.cli import COMMANDS, plot_command, query_command
from storage.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two series that have a datapoint of a minute ago each."""
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder)
    series = store.create(["servers.web1.cpu", "servers.web2.cpu"])
    now = int(time.time())
    store.append(series, np.full(2, now - 60), np.array([12.5, 1e9]), now)
    store.close()
    return folder


def query(*arguments: str) -> Result:
    return CliRunner().invoke(query_command, [*arguments, "--tz", "UTC"])


# --- query ---


def test_query_knows_the_macros_of_the_configuration(data: Path, tmp_path: Path) -> None:
    (tmp_path / "plumbago.toml").write_text('[functions.define]\ndouble = "scale({{.argString}}, 2)"\n')
    arguments = (
        "double(servers.web1.cpu)",
        "--data",
        str(data),
        "--format",
        "json",
        "--config",
        str(tmp_path),
    )
    (found,) = json.loads(query(*arguments).stdout)
    assert found["target"] == "scale(servers.web1.cpu,2)"
    (tmp_path / "plumbago.toml").write_text('[functions.define]\nscale = "x"\n')
    assert "scale: is a function's name" in query(*arguments).stderr


def test_query_prints_a_table_with_a_column_a_series(data: Path) -> None:
    shown = query("servers.*.cpu", "--data", str(data), "--from", "-5min")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["servers.web1.cpu", "servers.web2.cpu"]
    assert any(line.split()[2:] == ["12.5", "1000000000"] for line in lines[1:])
    assert any(line.split()[2:] == ["-", "-"] for line in lines[1:])


def test_query_prints_json_and_csv_as_the_server_does(data: Path) -> None:
    body = json.loads(query("servers.web1.cpu", "--data", str(data), "--format", "json").stdout)
    assert [value for value, _ in body[0]["datapoints"] if value is not None] == [12.5]
    lines = query("servers.web1.cpu", "--data", str(data), "--format", "csv").stdout.splitlines()
    assert [line.split(",")[2] for line in lines if not line.endswith(",")] == ["12.5"]


def test_query_of_nothing_says_so_on_stderr(data: Path) -> None:
    shown = query("no.such", "--data", str(data))
    assert (shown.exit_code, shown.stdout.strip(), shown.stderr) == (0, "", "no series\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sum(a"], "plumbago: "),
        (["a", "--from", "1h"], "plumbago: from: '1h' is no time"),
        (["a", "--data", "no/such/folder"], "plumbago: no/such/folder holds no Plumbago store"),
        (["a", "--url", "http://127.0.0.1:9"], "plumbago: http://127.0.0.1:9: "),
        (["a", "--url", "file:///etc/passwd"], "plumbago: 'file:///etc/passwd' is no URL of a server"),
    ],
)
def test_an_error_is_one_line_and_status_1(data: Path, arguments: list[str], message: str) -> None:
    shown = query("--data", str(data), *arguments)
    assert shown.exit_code == 1
    assert shown.stderr.startswith(message)
    assert shown.stderr.count("\n") == 1


def test_every_option_has_its_environment_variable() -> None:
    for command in COMMANDS:
        for option in command.params:
            shown = option.param_type_name == "option" and not getattr(option, "hidden", False)
            if shown:
                assert (
                    option.envvar == f"PLUMBAGO_{option.opts[0].removeprefix('--').replace('-', '_').upper()}"
                )


# --- plot ---


def plot(*arguments: str) -> Result:
    return CliRunner().invoke(plot_command, [*arguments, "--tz", "UTC"])


def test_plot_draws_to_the_terminal(data: Path) -> None:
    shown = plot("servers.*.cpu", "--data", str(data), "--from", "-5min", "--title", "Both", "--height", "6")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0] == "Both"
    assert len([line for line in lines if "┤" in line]) == 6
    assert lines[-2:] == ["━━ servers.web1.cpu", "━━ servers.web2.cpu"]


@pytest.mark.parametrize("columns", [80, 200])
def test_plot_is_as_wide_as_the_terminal(data: Path, columns: int) -> None:
    asked = ["servers.*.cpu", "--data", str(data), "--from", "-5min", "--tz", "UTC"]
    shown = CliRunner().invoke(plot_command, asked, env={"COLUMNS": str(columns), "LINES": "24"})
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) == columns
    assert [len(line) for line in lines if "└" in line] == [columns]
    assert len(lines) <= 24


@pytest.mark.parametrize(("form", "begin"), [("png", b"\x89PNG"), ("svg", b"<svg "), ("pdf", b"%PDF-")])
def test_plot_draws_into_a_file_of_the_names_kind(
    data: Path, tmp_path: Path, form: str, begin: bytes
) -> None:
    file = tmp_path / f"cpu.{form}"
    shown = plot("servers.*.cpu", "--data", str(data), "--drawing", "template=dark", "-o", str(file))
    assert (shown.exit_code, shown.output) == (0, "")
    assert file.read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.gif"], "plumbago: x.gif: what is drawn is .png, .svg or .pdf"),
        (["-o", "x.png", "--drawing", "bgcolor"], "plumbago: --drawing 'bgcolor': write NAME=VALUE"),
        (["-o", "x.png", "--drawing", "bgcolor=nope"], "plumbago: bgcolor: 'nope' is no colour"),
        (["--from", "-2h", "--until", "-1h"], "no data"),
    ],
)
def test_plot_says_what_is_wrong_in_one_line(data: Path, arguments: list[str], message: str) -> None:
    shown = plot("servers.*.cpu", "--data", str(data), *arguments)
    assert shown.stderr.startswith(message)
    assert shown.stderr.count("\n") == 1


# --- render ---


class Server:
    """`plumbago render` as a process, on a port of its choice."""

    def __init__(self, data: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "plumbago", "render", "--data", str(data), *arguments]
        environment = {**os.environ, "PLUMBAGO_HTTP_PORT": "0"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self.url = f"http://{self.ready.split('http=')[1].split()[0]}" if self.ready else ""

    def get(self, path: str) -> bytes:
        with urlopen(self.url + path, timeout=30) as answer:
            body: bytes = answer.read()
            return body


@contextmanager
def ends_soon(process: subprocess.Popen[Any]) -> Iterator[None]:
    """What is done within it ends the process with status 0 within 2 s."""
    started = time.monotonic()
    yield
    try:
        assert process.wait(10) == 0
        assert time.monotonic() - started < 2
    finally:
        process.kill()


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    running = Server(data)
    yield running
    with ends_soon(running.process):
        running.process.send_signal(signal.SIGINT)


def test_the_server_says_where_it_listens_when_it_is_ready(server: Server, data: Path) -> None:
    assert server.ready == f"plumbago ready http={server.url.removeprefix('http://')} data={data}\n"
    assert json.loads(server.get("/health"))["series"] == 2


def test_datapoints_are_served_from_the_store(server: Server) -> None:
    (series,) = json.loads(server.get("/render?target=servers.web1.cpu&from=-5min&format=json"))
    assert 12.5 in [value for value, _ in series["datapoints"]]


def test_a_form_in_the_body_is_answered(server: Server) -> None:
    asked = {"target": "sumSeries(servers.*.cpu)", "from": "-5min", "maxDataPoints": "1", "format": "json"}
    form = urlencode(asked).encode()
    with urlopen(f"{server.url}/render", form, timeout=30) as answer:
        (series,) = json.load(answer)
    assert series["datapoints"][0][0] == 1e9 + 12.5


def test_query_asks_a_server(server: Server) -> None:
    shown = query("servers.web1.cpu", "--url", server.url, "--from", "-5min")
    assert "12.5" in shown.stdout
    wrong = query("sum(", "--url", server.url)
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith(f"plumbago: {server.url}: ")
    assert "target" in wrong.stderr


def test_many_clients_at_once_get_whole_answers(server: Server) -> None:
    path = "/render?target=servers.*.cpu&format=raw&from=-20h"
    with ThreadPoolExecutor(16) as clients:
        bodies = set(clients.map(server.get, [path + "&until=-1h"] * 48))
    assert {len(body.splitlines()) for body in bodies} == {2}


def test_a_client_that_sends_rubbish_harms_nobody(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for rubbish in (
        b"\0\xff\r\n\r\n",
        b"GET /render?target=%ff HTTP/9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9e9\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(rubbish)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    with pytest.raises(HTTPError):
        server.get("/nothing")
    assert server.get("/version") == b'"1.1.10"'


def test_the_server_takes_a_listening_socket_tells_a_pipe_that_it_is_ready_and_ends_at_sigterm(
    data: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        told, tell = os.pipe()
        handed = ["--fd", f"http={listening.fileno()}", "--ready-fd", str(tell)]
        command = [sys.executable, "-m", "plumbago", "render", "--data", str(data), *handed]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=(listening.fileno(), tell))
        os.close(tell)
        address = listening.getsockname()
    with os.fdopen(told, "rb") as ready:
        assert ready.read() == f"http={address[0]}:{address[1]}\n".encode()
    with urlopen(f"http://{address[0]}:{address[1]}/version", timeout=10) as answer:
        assert answer.read() == b'"1.1.10"'
    with (
        socket.create_connection(address),
        ends_soon(process),
    ):  # a connection that stays open is no reason to stay
        process.terminate()


def test_a_port_that_is_taken_or_a_folder_without_a_store_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, said in (
            (["--http-port", str(port)], "--http-port"),
            (["--http-port", "0"], "holds no"),
        ):
            command = [
                sys.executable,
                "-m",
                "plumbago",
                "render",
                "--data",
                str(tmp_path / "none"),
                *arguments,
            ]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
            assert said in done.stderr


def test_whoever_reads_no_more_ends_it_without_a_word(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create([f"a.{'b' * 200}{i}" for i in range(2000)])
    store.close()
    command = [sys.executable, "-m", "plumbago", "find", "a.*", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
