"""A receiver that is started, loaded with numbered datapoints and ended at a random instant, again and again."""

from __future__ import annotations

import fcntl
import random
import re
import select
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from storage.schema import Rules
from storage.store import Store
from tests.torture.examine import Findings, examine
from tests.torture.ledger import LATE, LIVE, SWEEP, Kind, Ledger, write_rules

_PORTS = ("--pickle-port", "0", "--admin-port", "0")
READY_S = 90.0  # the first start ever compiles the kernels
_READY = re.compile(r"plumbago ready line=\S+:(\d+) .+\n")
_NAMES = {LIVE: 120, SWEEP: 150, LATE: 150}  # at first; others join all the time
_SWEEP_S = 20  # that the sweep goes on with a piece: a block of 120 slots lasts six
_SWEPT_S = 6 * 3600 - 120
_PAUSES_S = (0.0, 0.0, 0.005, 0.02)  # between pieces: at times the receiver has a backlog, at times it waits


class Receiver:
    """A `plumbago receive` of its own; `command` goes before it, `options` behind."""

    def __init__(
        self, data: Path, config: Path, log: Path, command: Sequence[str], options: Sequence[str]
    ) -> None:
        arguments = ["receive", "--data", str(data), "--config", str(config), "--line-port", "0"]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, sys.executable, "-m", "plumbago", *arguments, *_PORTS, *options],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        said = select.poll()  # select() knows no descriptor above 1,023
        said.register(self.process.stdout)
        assert said.poll(READY_S * 1000), "no ready line in time"
        found = _READY.fullmatch(self.process.stdout.readline())
        assert found, f"the receiver did not start: {log.read_text()[-2000:]}"
        self.port = int(found[1])

    def kill(self) -> None:
        self.process.kill()

    def gone(self) -> None:
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Line:
    """A connection to the receiver that knows how much of what it sent was read there."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        ours = self._socket.getsockname()[1]
        self._ledger, self._entry = ledger, re.compile(rf": \w+:{port:04X} \w+:{ours:04X} 01 \w+:(\w+) ")
        self._sent = 0
        self._unread: deque[tuple[int, range]] = deque()  # (bytes sent with it, datapoints) of each piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, numbers: range) -> None:
        data = self._ledger.lines(numbers)
        self._socket.sendall(data)
        self._sent += len(data)
        self._unread.append((self._sent, numbers))

    def note_read(self) -> None:
        """Enter in the ledger which pieces the receiver has read by now.

        What is not acknowledged is asked first: bytes on their way between both are then counted twice, not never.
        """
        unacknowledged = int.from_bytes(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        receiver = self._entry.search(Path("/proc/net/tcp").read_text())
        if receiver is None:
            return
        read, at = self._sent - unacknowledged - int(receiver[1], 16), time.monotonic()
        while self._unread and self._unread[0][0] <= read:
            self._ledger.was_read(self._unread.popleft()[1], at)


class Traffic:
    """Which datapoints come next: live ones, a sweep through hours, late ones, and new names all the time."""

    def __init__(self, ledger: Ledger, chance: random.Random, now: int) -> None:
        self._ledger, self._chance = ledger, chance
        self._swept = now - _SWEPT_S
        for kind, count in _NAMES.items():
            for _ in range(count):
                ledger.new_name(kind)

    def piece(self, now: int) -> range:
        """Enter some hundred datapoints in the ledger; gives their numbers."""
        chance, ledger = self._chance, self._ledger
        if chance.random() < 0.1:
            ledger.new_name(chance.choice([LIVE, SWEEP, LATE]))
        turn: Kind = chance.choice([LIVE, SWEEP, LATE])
        names = ledger.of_kind[turn.name]
        if turn is LATE:
            some = chance.choices(names, k=100)
            return ledger.add(some, [now - chance.randrange(_SWEPT_S) for _ in some])
        if turn is LIVE:
            return ledger.add(
                names, [now - (chance.randrange(20) if chance.random() < 0.1 else 0) for _ in names]
            )
        self._swept += _SWEEP_S
        if self._swept > now:
            self._swept = now - _SWEPT_S
        start = self._swept
        return ledger.add(
            names, [start - (chance.randrange(600) if chance.random() < 0.02 else 0) for _ in names]
        )


class Torture:
    """A data folder, the receivers that write it one after the other, and the ledger of all they were sent."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        data: Path | None = None,
        command: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.data, self.config, self.log = data or folder / "data", folder / "config", folder / "log"
        write_rules(self.config)
        self._command, self._options = command, options
        self.ledger, self.chance = Ledger(), random.Random(seed)
        self._traffic = Traffic(self.ledger, self.chance, int(time.time()))
        self.receiver: Receiver
        self._ended = 0.0  # the last receiver, in monotonic seconds

    def start(self) -> None:
        self.receiver = Receiver(self.data, self.config, self.log, self._command, self._options)

    def send_until(self, after_s: float, end: Callable[[], None]) -> None:
        """Send until `end`, called so many seconds from now and from another thread, has ended the receiver."""
        try:
            self.send_for(after_s, end)
        finally:
            self.receiver.gone()

    def send_for(self, seconds: float, end: Callable[[], None] = lambda: None) -> None:
        """Send, then call `end` from another thread; raises AssertionError if the receiver hangs up before."""
        over = threading.Event()

        def strike() -> None:
            self._ended = time.monotonic()
            over.set()
            end()

        timer = threading.Timer(seconds, strike)
        timer.start()
        try:
            with Line(self.receiver.port, self.ledger) as line:
                while not over.is_set():
                    line.send(self._traffic.piece(int(time.time())))
                    line.note_read()
                    over.wait(self.chance.choice(_PAUSES_S))
        except OSError as error:
            if not over.is_set():
                timer.cancel()
                raise AssertionError(
                    f"the receiver hung up by itself: {self.log.read_text()[-2000:]}"
                ) from error
        finally:
            timer.join()

    def examine(self, *, rolled_up: bool) -> Findings:
        """What a reader finds in the folder, as of the end of the last receiver."""
        store = Store(self.data, Rules.load(self.config), writable=False)
        try:
            return examine(store, self.ledger, ended=self._ended, now=int(time.time()), rolled_up=rolled_up)
        finally:
            store.close()
