"""Operations on a running server: what a command does is seen over HTTP while datapoints come in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import whisper

from tests.e2e.server import Server, eventually
from tests.e2e.test_serve import plumbago

pytestmark = pytest.mark.timeout(180)


@contextmanager
def sending(server: Server) -> Iterator[list[int]]:
    """Lines that come in all the time; gives how many were sent so far."""
    stop, sent = Event(), [0]

    def send() -> None:
        while not stop.is_set():
            now = int(time.time())
            server.send(b"".join(b"live.m%d %d %d\n" % (i, i, now) for i in range(200)))
            sent[0] += 200
            stop.wait(0.02)

    thread = Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def tree(folder: Path, files: int) -> None:
    """Whisper files of a day, each with its number in its newest slots; last written a minute ago."""
    now = int(time.time())
    first = folder / "old" / "m0.wsp"
    first.parent.mkdir(parents=True)
    whisper.create(str(first), [(60, 1440)], 0.5, "average")
    whisper.update_many(str(first), [(now - 60 * i, 7.0) for i in range(1, 9)], now)
    data = first.read_bytes()
    for i in range(files):
        path = folder / "old" / f"m{i}.wsp"
        path.write_bytes(data)
        os.utime(path, (now - 60, now - 60))
    (folder / "old" / "bad.wsp").write_bytes(data[:-5])


def test_a_running_server_takes_in_whisper_files_while_lines_come_in(server: Server, tmp_path: Path) -> None:
    tree(tmp_path / "tree", 1500)
    data = ("--data", str(tmp_path / "data"))
    with sending(server) as sent:
        done = subprocess.run(
            [sys.executable, "-m", "plumbago", "import", "whisper", "tree", "--data", "data"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert sent[0] > 0
    assert "imported   1,500 files, 12,000 datapoints" in done.stdout
    assert "verified   1,500 files, 0 of them differ" in done.stdout
    assert "skipped old/bad.wsp: " in done.stderr
    assert server.values("maxSeries(old.*)")["maxSeries(old.*)"] == [7.0] * 8
    total = "sumSeries(live.*)"
    eventually(lambda: server.values(total).get(total, [0])[-1] == sum(range(200)))
    assert plumbago("info", "old.m3", *data).returncode == 0


def test_what_is_deleted_restored_and_renamed_is_seen_over_http(server: Server, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    now = int(time.time())
    server.send(b"".join(b"app.h%d.load %d %d\n" % (i, i, now) for i in range(1, 4)))
    eventually(lambda: len(server.values("app.*.load")) == 3)
    assert plumbago("delete", "app.{h1,h2}.**", *data).stdout.startswith("deleted    2 series")
    eventually(lambda: list(server.values("app.*.load")) == ["app.h3.load"])
    assert [line.split()[-1] for line in plumbago("trash", *data).stdout.splitlines()] == [
        "app.h1.load",
        "app.h2.load",
    ]
    assert plumbago("restore", "app.h2.*", *data).stdout == "restored   1 series\n"
    eventually(lambda: server.values("app.h2.load") == {"app.h2.load": [2.0]})
    assert plumbago("rename", "app.h3.load", "app.third.load", *data).returncode == 0
    eventually(lambda: server.values("app.third.load") == {"app.third.load": [3.0]})
    server.send(b"app.h3.load 33 %d\napp.h1.load 11 %d\n" % (now, now))  # new series
    eventually(lambda: server.values("app.h3.load") == {"app.h3.load": [33.0]})
    eventually(lambda: server.values("app.h1.load") == {"app.h1.load": [11.0]})
    wrong = plumbago("rename", "app.h3.load", "app.h2.load", *data)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "there is a series of this name already" in wrong.stderr
    assert plumbago("migrate", *data).returncode == 0
    assert plumbago("expire", *data).returncode == 0


def test_a_snapshot_of_a_running_server_serves_the_same_answers(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    try:
        now = int(time.time())
        lines = [b"s.m%d %d %d\n" % (i, i * k, now - 60 * k) for i in range(600) for k in range(1, 40)]
        server.send(b"".join(lines))
        eventually(lambda: server.values("countSeries(s.*)").get("countSeries(s.*)", [0])[-1] == 600)
        eventually(lambda: len(server.values("s.m599")["s.m599"]) == 39)
        window = {"from": str(now - 3000), "until": str(now - 60)}
        wanted = server.values("s.m*", **window)
        with sending(server):
            done = plumbago("snapshot", str(tmp_path / "copy"), "--data", str(tmp_path / "data"))
            assert done.returncode == 0, done.stderr
    finally:
        assert server.stop()[0] == 0
    done = plumbago("restore", "--from", str(tmp_path / "copy"), "--data", str(tmp_path / "back"))
    assert done.returncode == 0, done.stderr
    again = Server(tmp_path / "back")
    try:
        assert again.values("s.m*", **window) == wanted
    finally:
        again.stop()


def test_a_command_that_is_stopped_stops_its_job(server: Server, tmp_path: Path) -> None:
    tree(tmp_path / "tree", 2500)
    command = [sys.executable, "-m", "plumbago", "import", "whisper", str(tmp_path / "tree")]
    process = subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: server.values("countSeries(old.*)"), 30)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.endswith("plumbago: stopped; what was done by then stands\n")
    before = plumbago("find", "old.*", "--data", str(tmp_path / "data")).stdout.count("\n")
    assert 0 < before < 2500
    done = plumbago("import", "whisper", str(tmp_path / "tree"), "--data", str(tmp_path / "data"))
    assert "imported   2,500 files" in done.stdout
    assert server.stop()[0] == 0


def test_retentions_that_change_are_migrated_by_the_server_itself(tmp_path: Path) -> None:
    schemas = tmp_path / "storage-schemas.conf"
    schemas.write_text("[all]\npattern = .\nretentions = 60s:1h\n")
    config = ("--config", str(tmp_path))
    server = Server(tmp_path / "data", *config)
    try:
        now = int(time.time())
        server.send(b"g.a 5 %d\n" % (now - 120))
        eventually(lambda: server.values("g.a"))
        schemas.write_text("[all]\npattern = .\nretentions = 60s:2h\n")
        described = ("info", "g.a", "--data", str(tmp_path / "data"), *config)
        eventually(lambda: "60 s × 120" in plumbago(*described).stdout, 40)
        assert server.values("g.a") == {"g.a": [5.0]}
        server.send(b"g.a 6 %d\n" % now)
        eventually(lambda: server.values("g.a") == {"g.a": [5.0, 6.0]})
    finally:
        assert server.stop()[0] == 0
