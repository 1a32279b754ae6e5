"""plumbago serve as a process: what goes in over real sockets comes out over HTTP."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.server import Server, eventually

pytestmark = pytest.mark.timeout(180)


def plumbago(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plumbago", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=90, env={**os.environ, **environment}
    )


def test_lines_datagrams_and_pickles_come_out_as_json(server: Server) -> None:
    now = int(time.time())
    server.send(f"app.web1.requests.count 5 {now}\r\napp.web2.requests.count\t7  {now}\nbad\n".encode())
    server.send_udp(f"app.web3.requests.count 11 {now}".encode(), b"app.web4.load nan 1\n")
    payload = pickle.dumps([("app.web5.requests.count", (now, "13"))], protocol=2)
    server.send(struct.pack("!L", len(payload)) + payload, server.pickle)
    eventually(lambda: len(server.values("app.*.requests.count")) == 4)
    assert server.values("sumSeries(app.*.requests.count)") == {"sumSeries(app.*.requests.count)": [36.0]}
    assert [node["text"] for node in server.get("/metrics/find", query="app.*")] == [
        "web1",
        "web2",
        "web3",
        "web5",
    ]
    assert server.get("/metrics/expand", query="app.*.requests.*")["results"] == [
        f"app.web{i}.requests.count" for i in (1, 2, 3, 5)
    ]


def test_a_datapoint_is_queryable_at_once(server: Server) -> None:
    server.send(f"warm.up 1 {int(time.time())}\n".encode())
    eventually(lambda: server.values("warm.up"))
    started = time.monotonic()
    server.send(f"quick.one 1 {int(time.time())}\n".encode())
    eventually(lambda: server.values("quick.one"))
    assert time.monotonic() - started < 1


def test_sigterm_ends_with_0_and_nothing_received_is_lost(tmp_path: Path) -> None:
    server, now = Server(tmp_path / "data"), int(time.time())
    lines = [f"m.{i:05} {i} {now}\n" for i in range(20_000)]
    server.send("".join(lines).encode())
    status, seconds, errors = server.stop()
    assert (status, errors) == (0, "")
    assert seconds < 2.5
    again = Server(tmp_path / "data")
    assert again.values("countSeries(m.*)")["countSeries(m.*)"][-1] == 20_000
    assert again.stop(signal.SIGINT)[0] == 0


def test_a_killed_receiver_loses_nothing_it_had_taken_and_is_started_again(server: Server) -> None:
    now = int(time.time())
    with socket.create_connection(("127.0.0.1", server.line)) as connection:
        connection.sendall(b"".join(b"k.%d %d %d\n" % (i, i, now) for i in range(5000)))
        eventually(lambda: server.values("countSeries(k.*)"))
        eventually(lambda: server.values("countSeries(k.*)")["countSeries(k.*)"][-1] == 5000)
    os.kill(server.children()["receive"], signal.SIGKILL)
    server.send(f"after.kill 1 {now}\n".encode())  # taken by the socket, which never closed
    eventually(lambda: server.values("after.kill"), 30)
    assert server.values("sumSeries(k.*)")["sumSeries(k.*)"][-1] == sum(range(5000))


def test_children_end_when_their_parent_is_killed(server: Server, tmp_path: Path) -> None:
    assert len(server.children()) == 2
    server.stop(signal.SIGKILL)
    again = eventually(lambda: restarted(tmp_path / "data"), 20)
    assert again.stop()[0] == 0


def restarted(data: Path) -> Server | None:
    """A new server on the folder; None while another process still holds it."""
    try:
        return Server(data)
    except AssertionError as error:
        assert "in use by another writer" in str(error)  # noqa: PT017  # else it is a failure
        return None


def test_a_killed_renderer_is_started_again(server: Server) -> None:
    os.kill(server.children()["render"], signal.SIGKILL)
    eventually(lambda: server.ask("/version")[0] == 200, 30)


def test_a_port_taken_is_one_clear_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = plumbago(
            "serve",
            "--data",
            str(tmp_path),
            "--line-port",
            "0",
            "--pickle-port",
            "0",
            "--admin-port",
            "0",
            "--http-port",
            port,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--http-port" in done.stderr


def test_a_data_folder_in_use_is_one_clear_line_and_status_1(server: Server, tmp_path: Path) -> None:
    done = plumbago(
        "serve",
        "--data",
        str(tmp_path / "data"),
        "--line-port",
        "0",
        "--pickle-port",
        "0",
        "--admin-port",
        "0",
        "--http-port",
        "0",
    )
    assert done.returncode == 1
    assert "in use by another writer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("plumbago.toml", "line-port = 0\nlin-port = 3\n", ":2: lin-port: no such setting"),
        ("plumbago.toml", 'http-port = "many"\n', ":1: http-port:"),
        ("plumbago.toml", "http-port = \n", "line 1"),
        ("storage-schemas.conf", "[a]\npattern = x\nretentions = 10q:1h\n", "storage-schemas.conf:3"),
        ("storage-aggregation.conf", "[a]\npattern = x\nxFilesFactor = 2\n", "storage-aggregation.conf:3"),
    ],
)
def test_a_bad_configuration_says_file_line_and_key(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    done = plumbago(
        "serve", "--config", str(tmp_path), "--data", str(tmp_path / "d"),
        *(
            ("--line-port", "0", "--pickle-port", "0", "--admin-port", "0", "--http-port", "0")
            if name != "plumbago.toml"
            else ()
        ),
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_come_from_options_then_environment_then_the_file(tmp_path: Path) -> None:
    (tmp_path / "plumbago.toml").write_text('data = "/from/file"\n')
    from_file = plumbago("find", "x", "--config", str(tmp_path))
    assert "/from/file" in from_file.stderr
    from_environment = plumbago("find", "x", "--config", str(tmp_path), PLUMBAGO_DATA="/from/environment")
    assert "/from/environment" in from_environment.stderr
    from_option = plumbago("find", "x", "--config", str(tmp_path), "--data", "/from/option")
    assert "/from/option" in from_option.stderr
    assert plumbago("serve", "--line-port", "many").returncode == 2


def test_rules_are_reloaded_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "storage-schemas.conf").write_text("[old]\npattern = .\nretentions = 60s:1h\n")
    server = Server(tmp_path / "data", "--config", str(tmp_path))
    try:
        (tmp_path / "storage-schemas.conf").write_text("[new]\npattern = .\nretentions = 5s:2h\n")

        def made_by_the_new_rules() -> bool:
            name = f"r.{time.monotonic_ns()}"
            server.send(f"{name} 1 {int(time.time())}\n".encode())
            eventually(lambda: server.values(name))
            return (
                "5s:2h"
                in plumbago("info", name, "--data", str(tmp_path / "data"), "--config", str(tmp_path)).stdout
            )

        eventually(made_by_the_new_rules, 30)
    finally:
        server.stop()


def test_the_command_line_sends_finds_queries_and_explains(server: Server, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    sent = plumbago("send", "--line-port", str(server.line), "cli.a.count 5", "cli.b.count 7")
    assert sent.returncode == 0
    eventually(lambda: len(server.values("cli.*.count")) == 2)
    assert plumbago("find", "cli.*", "--data", data).stdout == "cli.a.\ncli.b.\n"
    table = plumbago("query", "sumSeries(cli.*.count)", "--from", "-10min", "--data", data)
    assert "12" in table.stdout
    over_http = plumbago(
        "query", "sumSeries(cli.*.count)", "--url", f"http://127.0.0.1:{server.http}", "--format", "json"
    )
    assert '"sumSeries(cli.*.count)"' in over_http.stdout
    explained = plumbago("info", "cli.a.count", "--data", data).stdout
    assert "1m:30d,15m:5y" in explained
    assert "sum" in explained
    assert plumbago("query", "nosuch(", "--data", data).returncode == 1


def test_what_a_user_gets_wrong_is_400_with_json(server: Server) -> None:
    for target in ("sumSeries(", "nosuchFunction(a)", "scale(a,'x')", "a b"):
        status, body = server.ask("/render", target=target, format="json")
        assert status == 400, (target, body)
        assert b'"error"' in body
        assert b"Traceback" not in body


def test_the_host_is_measured(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--collect-host")
    try:
        found = eventually(lambda: server.values("hosts.*.load.*"), 30)
        assert len(found) == 3
        assert server.values("hosts.*.memory.available")
    finally:
        server.stop()
