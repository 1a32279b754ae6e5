"""The supervisor, over children that are a few lines each: what it does with them when it is sent a signal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# a child says which it is and of what time; "slow" never gets ready, "bad" ends before, "dies" once it is
_SCRIPT = r"""
import os, sys
from dataclasses import dataclass
from pathlib import Path
from plumbago import Child, Supervisor
import subprocess, plumbago

HERE = Path(sys.argv[1])
CHILD = '''
import os, signal, sys, time
name, tell, how = sys.argv[1], int(sys.argv[2]), open(sys.argv[3]).read()
def say(what):  # in one piece, whatever others write
    os.write(1, f"{name} {what} {os.getpid()}\\n".encode())
def leave(*_):
    say("leaves")
    if how != "stays": os._exit(0)
signal.signal(signal.SIGQUIT, leave)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if how == "bad": sys.exit(7)
if how != "slow": os.write(tell, b"ready")
os.close(tell) if how != "slow" else None
say(how)
while True: time.sleep(10)
'''
class Small(Child):
    def start(self):
        self.ready, tell = os.pipe()
        command = [sys.executable, "-c", CHILD, self.name, str(tell), str(HERE / "how")]
        self.process = subprocess.Popen(command, pass_fds=(tell,), preexec_fn=plumbago._end_with_parent)
        os.close(tell)

children = [Small("receiver", [], {}), Small("renderer", [], {}, is_replaced=True)]
replace_s = float(os.environ.get("REPLACE_S", "1"))
sys.exit(Supervisor(children, lambda: os.write(1, b"all ready\n"), replace_s=replace_s).run())
"""


class Supervised:
    """The script; what it and its children print is read line by line."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.how = folder / "how"
        self.how.write_text("first")
        read, write = os.pipe()
        command = [sys.executable, "-c", _SCRIPT, str(folder)]
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            command, cwd=ROOT, stdout=write, stderr=write, **options
        )  # type: ignore[call-overload]  # what a test adds
        os.close(write)
        self._out, self.text = read, ""
        self.until("all ready")
        self.until("receiver first")
        self.until("renderer first")

    def until(self, words: str, seconds: float = 20.0) -> str:
        """What stands behind these words, once they are printed; each is found once."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(f"{words}(.*)\n", self.text)):
            assert select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))[0], self.text
            more = os.read(self._out, 4096)
            assert more, f"{words!r} was not printed before the end: {self.text}"
            self.text += more.decode()
        self.text = self.text[: found.start()] + self.text[found.end() :]
        return found[1].strip()

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    running = Supervised(tmp_path)
    yield running
    running.process.kill()


def test_sighup_starts_another_before_the_old_one_leaves(supervised: Supervised) -> None:
    supervised.how.write_text("second")
    supervised.hang_up()
    supervised.until("renderer second")
    supervised.until("plumbago: the renderer is replaced; the old one leaves")
    supervised.until("renderer leaves")
    assert supervised.stop() == 0
    assert "receiver" not in supervised.text


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("bad", "plumbago: the new renderer ended with status 7: the old one stays"),
        ("slow", "plumbago: the new renderer was not ready within 1 s: the old one stays"),
    ],
)
def test_one_that_does_not_get_ready_is_ended_and_the_old_one_stays(
    supervised: Supervised, how: str, words: str
) -> None:
    supervised.how.write_text(how)
    supervised.hang_up()
    if how == "slow":
        slow = int(supervised.until("renderer slow"))
    supervised.until(words)
    assert how == "bad" or not Path(f"/proc/{slow}").exists()
    assert "leaves" not in supervised.text
    supervised.how.write_text("third")  # and can be replaced the next time
    supervised.hang_up()
    supervised.until("renderer third")
    supervised.until("renderer leaves")
    assert supervised.stop() == 0


def test_sighups_while_one_starts_have_another_started_once(supervised: Supervised) -> None:
    supervised.how.write_text("slow")
    supervised.hang_up()
    supervised.until("renderer slow")
    supervised.how.write_text("newest")
    for _ in range(3):
        supervised.hang_up()
    supervised.until("the old one stays")
    supervised.until("renderer newest")
    supervised.until("renderer leaves")
    assert supervised.stop() == 0
    assert "newest" not in supervised.text


def test_an_old_one_that_dies_meanwhile_is_replaced_by_the_new_one(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, env={**os.environ, "REPLACE_S": "60"})
    supervised.how.write_text("slow")
    renderers = children(supervised)
    supervised.hang_up()
    slow = int(supervised.until("renderer slow"))
    supervised.how.write_text("after")
    os.kill(renderers[-1], signal.SIGKILL)
    supervised.until("the renderer ended; a new one is starting already")
    os.kill(slow, signal.SIGKILL)
    supervised.until("the renderer ended with status -9 and is started again")
    supervised.until("renderer after")
    assert supervised.process.poll() is None
    assert supervised.stop() == 0


def children(supervised: Supervised) -> list[int]:
    """Their process numbers, in the order in which they were started."""
    found = Path(f"/proc/{supervised.process.pid}/task/{supervised.process.pid}/children").read_text()
    return sorted(map(int, found.split()))


def test_of_old_ones_that_stay_the_oldest_end_when_they_are_too_many(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path)
    supervised.how.write_text("stays")
    left = []
    for _ in range(6):
        supervised.hang_up()
        supervised.until("renderer stays")
        left.append(int(supervised.until("renderer leaves")))
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in left[:3]):  # the first of all left by itself
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)
    assert all(Path(f"/proc/{pid}").exists() for pid in left[3:])
    assert supervised.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)


def test_a_terminal_that_is_closed_ends_all_and_nohup_keeps_it(tmp_path: Path) -> None:
    for ignored in (False, True):
        master, slave = pty.openpty()

        def hangs_on(slave: int = slave, ignored: bool = ignored) -> None:
            os.setsid()
            os.close(os.open(os.ttyname(slave), os.O_RDWR))  # the first that is opened is the session's
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

        supervised = Supervised(tmp_path, preexec_fn=hangs_on)
        os.close(slave)
        supervised.how.write_text("second")
        supervised.hang_up()  # somebody's kill
        supervised.until("renderer second")
        os.close(master)
        if ignored:
            supervised.until("renderer second")
            assert supervised.stop() == 0
        else:
            assert supervised.process.wait(10) == 0
