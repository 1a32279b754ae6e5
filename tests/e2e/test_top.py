"""plumbago top shows what a running server does, live in a terminal too."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server, eventually
from tests.e2e.test_serve import plumbago

pytestmark = pytest.mark.timeout(180)


def counted(folder: Path) -> dict[str, Any]:
    done = plumbago("top", "--json", "--data", str(folder))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_came_in_and_what_was_refused_is_shown(server: Server, tmp_path: Path) -> None:
    now = int(time.time())
    server.send(
        b"".join(b"top.m%d %d %d\n" % (i, i, now) for i in range(50)) + b"top.\x1b[31mred 1 2\ntop.x nope 1\n"
    )
    eventually(lambda: counted(tmp_path / "data")["received"].get("line", 0) >= 50)
    found = counted(tmp_path / "data")
    assert found["committed"] >= 50
    assert sum(found["rejected"].values()) == 2
    shown = plumbago("top", "--once", "--data", str(tmp_path / "data"))
    assert shown.returncode == 0, shown.stderr
    assert "LISTENER" in shown.stdout
    assert "REFUSED, AS" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert len(shown.stdout.splitlines()) <= 24


def test_on_a_terminal_it_is_live_until_ctrl_c(server: Server, tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "plumbago", "top", "--data", str(tmp_path / "data")]
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True
    )
    shown = b""

    def frames() -> int:
        nonlocal shown
        while select.select([terminal], [], [], 0)[0]:
            shown += os.read(terminal, 65536)
        return shown.count(b"\x1b[Hplumbago  process ")

    eventually(lambda: frames() >= 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    frames()
    os.close(terminal)
    os.close(inner)
    assert shown.endswith(b"\x1b[?25h\x1b[?1049l")
    assert b"Traceback" not in shown


def test_without_a_server_one_line_says_what_to_do(tmp_path: Path) -> None:
    done = plumbago("top", "--once", "--data", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "start `plumbago serve" in done.stderr
