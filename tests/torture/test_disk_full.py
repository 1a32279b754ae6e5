"""The disk fills up, by bytes or by files, and gets room again; or it fails. Nothing is lost without being counted."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
import pytest

from carbon.backlog import DROPPED
from carbon.intake import Held, Intake
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.service import mend
from carbon.stats import Stats
from storage.room import Floor
from storage.schema import Rules
from storage.store import Store
from tests.torture.disks import Disk, Ext4, Tmpfs, needs_root
from tests.torture.examine import examine
from tests.torture.harness import Line, Torture, Traffic
from tests.torture.ledger import LATE, LIVE, NEVER, SWEEP, Ledger, write_rules

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

RESUME_S = 5.0
_BUFFER = "256K"
_HELD_BACK_S = 1.0  # a sender that cannot go on for so long is held back
_FULL_S = 1.5  # a retry at least goes in vain
_PIECES = 300
_MIB = 1 << 20


class Scarce(NamedTuple):
    """A disk, what is left of it when it is full, and the receiver's options."""

    make: Callable[[Path], Disk]
    bytes_left: int
    files_left: int
    options: Sequence[str] = ()

    def fill(self, disk: Disk) -> None:
        disk.fill(bytes_left=self.bytes_left, files_left=self.files_left)


def _ext4(folder: Path) -> Disk:
    return Ext4(folder, 400 * _MIB)


def _tmpfs(folder: Path) -> Disk:
    return Tmpfs(folder, 300 * _MIB, 500)


_FEW_BYTES = {"bytes_left": 10 * _MIB, "files_left": 900}
_FEW_FILES = {"bytes_left": 300 * _MIB, "files_left": 12}
_NO_FLOOR = ("--min-free", "0")
SCARCE = [
    pytest.param(Scarce(_ext4, 1 * _MIB, 900), id="ext4-bytes", marks=pytest.mark.torture),
    # readers take room here, as much as the store has holes: the floor is to be higher
    pytest.param(Scarce(_tmpfs, 90 * _MIB, 400, ("--min-free", "100M")), id="tmpfs-bytes"),
    pytest.param(Scarce(_ext4, 0, 900, _NO_FLOOR), id="ext4-no-floor", marks=pytest.mark.torture),
    pytest.param(Scarce(_ext4, 300 * _MIB, 0), id="ext4-files", marks=pytest.mark.torture),
    pytest.param(Scarce(_tmpfs, 100 * _MIB, 0), id="tmpfs-files", marks=pytest.mark.torture),
]


class Sender(Thread):
    """Sends until it is told to stop, and then until the receiver has read it all."""

    def __init__(self, torture: Torture) -> None:
        super().__init__(daemon=True)
        self._torture = torture
        self._traffic = Traffic(torture.ledger, torture.chance, int(time.time()))
        self._over = Event()
        self.sent_at = time.monotonic()
        self._hung_up = False
        self.start()

    def run(self) -> None:
        try:
            self._send()
        except OSError:
            self._hung_up = True

    def _send(self) -> None:
        ledger = self._torture.ledger
        with Line(self._torture.receiver.port, ledger) as line:
            while not self._over.is_set():
                numbers = self._traffic.piece(int(time.time()))
                line.send(numbers)
                self.sent_at = time.monotonic()
                line.note_read()
            while float(ledger.columns().read_at[-1]) == NEVER:
                line.note_read()
                time.sleep(0.02)

    def held_back(self) -> bool:
        return time.monotonic() - self.sent_at > _HELD_BACK_S

    def stop(self) -> None:
        self._over.set()
        self.join(20)
        assert not self.is_alive(), "the receiver does not read what was sent"
        assert not self._hung_up, "the receiver hung up"


def read_count(torture: Torture) -> int:
    """How many datapoints the receiver is known to have read."""
    return int((torture.ledger.columns().read_at < NEVER).sum())


@pytest.fixture
def torture(tmp_path: Path) -> Iterator[Torture]:
    """Not started; ended afterwards."""
    torture = Torture(tmp_path, random.randrange(1 << 32), data=tmp_path / "disk" / "data")
    yield torture
    if hasattr(torture, "receiver"):
        torture.receiver.kill()
        torture.receiver.gone()


def start(torture: Torture, options: Sequence[str], command: Sequence[str] = ()) -> None:
    torture._options, torture._command = ["--sync", "0.5", *options], command
    torture.start()


def wait_until(
    what: Callable[[], object], seconds: float, words: str, torture: Torture | None = None
) -> float:
    """Gives how long it took."""
    started = time.monotonic()
    while not what():
        said = (torture.receiver.process.poll(), torture.log.read_text()) if torture is not None else ()
        assert time.monotonic() - started < seconds, (words, *said)
        time.sleep(0.05)
    return time.monotonic() - started


_READ = """
import sys, zlib
from pathlib import Path
from storage.store import Store
store, until = Store(Path(sys.argv[1]), writable=False), int(sys.argv[2])
_, series = store.find_series("{late,sweep}.*")
parts = store.fetch(series, until - 5 * 3600, until, until)
print(sum(int((part.values > 0).sum()) for part in parts), [zlib.crc32(part.values.tobytes()) for part in parts])
"""


def read_in_a_process(torture: Torture, until: int) -> tuple[int, str]:
    """What a reader of its own finds of the five hours before: how many datapoints, and a sum of all their bits."""
    command = [sys.executable, "-c", _READ, str(torture.data), str(until)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    count, _, bits = done.stdout.partition(" ")
    return int(count), bits


def newest_value(store: Store) -> float:
    """The highest number of any late datapoint that a reader finds."""
    store.refresh()
    now = int(time.time())
    fetched = store.fetch(store.find_series(f"{LATE.name}.*")[1], now - 5 * 3600, now, now)
    return max(float(np.nanmax(part.values, initial=0.0)) for part in fetched)


def log_of(torture: Torture) -> str:
    return torture.log.read_text()


def end(torture: Torture) -> tuple[int, float]:
    """(exit status, seconds it took) of a SIGTERM."""
    started = time.monotonic()
    torture.receiver.process.send_signal(signal.SIGTERM)
    torture.receiver.gone()
    return int(torture.receiver.process.returncode), time.monotonic() - started


@needs_root()
@pytest.mark.parametrize("scarce", SCARCE)
def test_senders_are_held_back_and_all_arrives_when_there_is_room(
    tmp_path: Path, torture: Torture, scarce: Scarce
) -> None:
    with scarce.make(tmp_path / "disk") as disk:
        start(torture, ["--buffer", _BUFFER, *scarce.options])
        sender = Sender(torture)
        wait_until(lambda: read_count(torture) > 10_000, 60, "nothing was taken", torture)
        scarce.fill(disk)
        wait_until(sender.held_back, 30, "the sender was never held back", torture)
        until = int(time.time())
        before = read_in_a_process(torture, until)
        assert before[0] > 1000
        time.sleep(_FULL_S)
        assert read_in_a_process(torture, until) == before
        assert sender.held_back()
        reader = Store(torture.data, Rules.load(torture.config), writable=False)
        stored = newest_value(reader)
        disk.empty()
        took = wait_until(lambda: newest_value(reader) > stored, RESUME_S, "it did not go on", torture)
        reader.close()
        resumed = sender.sent_at
        wait_until(lambda: sender.sent_at > resumed + 0.5, RESUME_S, "the sender is still held back", torture)
        sender.stop()
        status, _ = end(torture)
        found = torture.examine(rolled_up=False)
    assert status == 0
    assert (found.lost, found.invented) == (0, ())
    assert found.read > 0
    holds, ends = log_of(torture).count("is full:"), log_of(torture).count("is written again")
    assert holds == ends, log_of(torture)
    assert holds == 1 or scarce.options == _NO_FLOOR  # without a floor the last bytes go back and forth
    print(f"went on {took:.2f} s after there was room; {found.read} looked for, none lost")


@needs_root()
@pytest.mark.parametrize(
    ("left", "buffer_bytes"),
    [
        pytest.param(_FEW_BYTES, 4 * _MIB, id="bytes"),
        pytest.param(_FEW_FILES, 4 * _MIB, id="files", marks=pytest.mark.torture),
        pytest.param(_FEW_BYTES, 64 * _MIB, id="bytes-all-wait", marks=pytest.mark.torture),
        pytest.param(_FEW_FILES, 64 * _MIB, id="files-all-wait", marks=pytest.mark.torture),
    ],
)
def test_what_was_sent_is_stored_or_counted(tmp_path: Path, left: dict[str, int], buffer_bytes: int) -> None:
    """Of datagrams, which nobody can hold back; no floor, so that every error comes up."""
    write_rules(tmp_path / "config")
    with Ext4(tmp_path / "disk", 400 * _MIB) as disk:
        disk.fill(**left)
        store, stats, now = (
            Store(disk.folder / "data", Rules.load(tmp_path / "config")),
            Stats(),
            int(time.time()),
        )
        names = NameTable(store, stats)
        intake = Intake(
            store,
            names,
            stats,
            lambda: now,
            mend=lambda: mend(store),
            floor=Floor(0),
            buffer_bytes=buffer_bytes,
        )
        reader, ledger = LineReader(names, stats), Ledger()
        for kind in (LATE, SWEEP):
            for _ in range(1000):
                ledger.new_name(kind)
        for piece in range(_PIECES):
            if piece == _PIECES * 9 // 10:
                assert intake.held is Held.FULL
                disk.empty()
                while intake.retry():
                    pass
                assert intake.held is None
            names_sent = ledger.of_kind[LATE.name] + (ledger.of_kind[SWEEP.name] if piece >= 20 else [])
            numbers = ledger.add(names_sent, [now - piece * 70] * len(names_sent))
            intake.accept(reader.whole(ledger.lines(numbers), now), "udp")
            intake.attempt(store.roll_up)
            if piece % 10 == 0:
                intake.retry()
            ledger.was_read(numbers, 0.0)
        found = examine(store, ledger, ended=0.0, now=now, rolled_up=True)
        store.close()
    assert found.invented == ()
    assert found.unrolled == 0
    assert (found.read, stats.received.total(), stats.waiting) == (len(ledger), len(ledger), 0)
    assert found.lost == stats.rejected[DROPPED] == stats.rejected.total()
    assert (found.lost > 0) == (buffer_bytes == 4 * _MIB)


@needs_root()
def test_sigterm_on_a_full_disk_ends_in_time_and_tells_what_is_lost(tmp_path: Path, torture: Torture) -> None:
    with _ext4(tmp_path / "disk") as disk:
        start(torture, [])
        disk.fill(bytes_left=0, files_left=0)
        time.sleep(0.5)
        with Line(torture.receiver.port, torture.ledger) as line:
            for kind in (LIVE, LATE):
                torture.ledger.new_name(kind)
            numbers = torture.ledger.add([0, 1], [int(time.time())] * 2)  # names that have no place
            line.send(numbers)
            wait_until(lambda: _all_read(torture, line), 5, "the receiver does not read", torture)
        status, took = end(torture)
    assert status == 0
    assert took < 2.5
    assert "3 datapoints that waited" in log_of(torture) or "2 datapoints that waited" in log_of(torture)


def _all_read(torture: Torture, line: Line) -> bool:
    line.note_read()
    return float(torture.ledger.columns().read_at[-1]) < NEVER


def _inject(calls: str, error: str, when: str) -> list[str]:
    """strace as a grandchild, so that the process is the receiver; a system call's error from `when` on."""
    return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}",
            "-e", f"inject={calls}:error={error}:when={when}"]  # fmt: skip


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.parametrize(
    ("calls", "error", "when"),
    [
        ("fdatasync", "EIO", "150+"),
        pytest.param("fdatasync", "ENOSPC", "150+", marks=pytest.mark.torture),
        pytest.param("pwrite64", "EROFS", "4000+", marks=pytest.mark.torture),
    ],
)
def test_a_disk_that_fails_makes_the_receiver_read_only(
    torture: Torture, calls: str, error: str, when: str
) -> None:
    torture.data.parent.mkdir()
    start(torture, [], _inject(calls, error, when))
    sender = Sender(torture)
    wait_until(lambda: "read-only" in log_of(torture), 30, "nobody told", torture)
    # it has the kernel's buffers to fill before
    wait_until(sender.held_back, 30, "the sender was never held back", torture)
    assert read_in_a_process(torture, int(time.time()))[0] > 1000
    status, took = end(torture)
    assert status == 1
    assert took < 2.5
    assert log_of(torture).count("CRITICAL") == 1
    if calls == "fdatasync":
        assert (torture.data / "boot").read_text() == "failed"
    else:
        assert (torture.data / "boot").read_text() != "closed"
    start(torture, [])  # goes back to the last sync
    assert not torture.examine(rolled_up=False).invented
