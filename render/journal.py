"""Lines about requests, written by a thread of their own: the access log, and the log of slow queries.

A line is JSON. Whoever writes one never waits: while the disk is slow lines wait, up to a bound, and beyond it they are
dropped and counted. The file is opened again where logrotate has moved it, and rotated here when it has grown: so
several processes may write into it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition, Thread
from typing import Any
from urllib.parse import unquote

import orjson

from render.statistics import Note

_LOG = logging.getLogger(__name__)
_WAITING_BYTES_MAX = 4 << 20  # some ten thousand lines, and as much again while it is written
_FILE_BYTES_MAX = 64 << 20
_KEPT = 5  # files that were rotated
_GATHER_S = 0.1  # a thread that wakes up for each line would cost as much as a light request's parsing
_QUIET_S = 60.0  # between two lines in the log about what cannot be written
_CLOSE_S = 0.5  # for what still waits when all ends
_QUERY_CHARS_MAX = 2000
_TARGETS_MAX, _TARGET_CHARS_MAX = 20, 2000  # of a slow request
_STEPS_MAX = 200
_SLOW_EVERY_S = 1.0
# what no client has to send in a URL, as there are headers for it, but some do
_SECRET = re.compile(r"(?i)token|passw|secret|auth|api[-_]?key")
_BETWEEN = re.compile(r"([&;])")
_USER = re.compile(r"//[^/@]*@")


class Journal:
    """A file of lines."""

    def __init__(
        self,
        path: Path,
        *,
        file_bytes_max: int = _FILE_BYTES_MAX,
        kept: int = _KEPT,
        waiting_bytes_max: int = _WAITING_BYTES_MAX,
        gather_s: float = _GATHER_S,
    ) -> None:
        """Raises OSError if the file cannot be opened. Not before processes are forked: it has a thread."""
        self._file = File(path, file_bytes_max, kept)
        self._waiting_bytes_max, self._gather_s = waiting_bytes_max, gather_s
        self._changed = Condition()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._closed = False
        self.dropped = 0  # lines
        self._thread = Thread(target=self._run, name=f"journal {path.name}", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Have it written, with an end of line; never waits for the disk."""
        with self._changed:
            if self._bytes + len(line) > self._waiting_bytes_max or self._closed:
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) == 1:
                self._changed.notify()

    def close(self) -> None:
        """Write what waits, if the disk takes it."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while lines := self._next():
            try:
                self._file.append(b"\n".join((*lines, b"")))
            except OSError as error:
                self.dropped += len(lines)
                self._file.complain(error)
        self._file.close()

    def _next(self) -> list[bytes]:
        """All lines that wait, once more may have joined the first; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closed)
            self._changed.wait_for(lambda: self._closed, self._gather_s)
            lines, self._lines, self._bytes = self._lines, [], 0
            return lines


class File:
    """A file that others may move away, and that is moved away here when it has grown."""

    def __init__(self, path: Path, bytes_max: int, kept: int) -> None:
        self._path, self._bytes_max, self._kept = path, bytes_max, kept
        self._complained = -_QUIET_S
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def append(self, data: bytes) -> None:
        if not self._is_here():
            os.close(self._fd)
            self._fd = -1
            self._fd = self._open()
        if os.fstat(self._fd).st_size + len(data) > self._bytes_max:
            self.rotate()
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def _is_here(self) -> bool:
        """Whether what is open is still what the path names."""
        if self._fd < 0:
            return False
        try:
            named, opened = os.stat(self._path), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)

    def rotate(self) -> None:
        """path → path.1 → … → path.5, by the first of the processes that find it too long."""
        old = self._fd
        fcntl.flock(old, fcntl.LOCK_EX)
        try:
            if self._is_here():
                for number in range(self._kept, 1, -1):
                    with suppress(FileNotFoundError):
                        os.replace(f"{self._path}.{number - 1}", f"{self._path}.{number}")
                os.replace(self._path, f"{self._path}.1")
            self._fd = self._open()
        finally:
            if self._fd != old:
                os.close(old)
            else:
                fcntl.flock(old, fcntl.LOCK_UN)

    def complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained >= _QUIET_S:
            self._complained = time.monotonic()
            _LOG.error("%s cannot be written, its lines are dropped: %s", self._path, error)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


# --- lines ---


def access_line(note: Note, now: float) -> bytes:
    """A request that has ended, as JSON."""
    path, query = _asked(note)
    told = {
        "time": _time(now),
        "id": note.number,
        "client": note.client,
        "name": note.name,
        "method": note.method[:20],
        "path": path,
        "query": query,
        "status": note.status,
        "bytes": note.sent,
        "ms": round(note.seconds * 1e3, 3),
        "worker": note.worker,
    }
    if "cache" in note.account:
        told["cache"] = note.account["cache"]
    return _json(told)


class SlowQueries:
    """Writes about requests whose answer took long, one a second at most."""

    def __init__(
        self, slow_s: float, write: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`slow_s`: from so many seconds on an answer was slow; 0 = none ever is."""
        self._slow_s, self._write, self._clock = slow_s, write, clock
        self._last, self._left_out = -_SLOW_EVERY_S, 0

    def look_at(self, note: Note, now: float) -> bool:
        """Whether it was slow."""
        if not self._slow_s or note.made_s < self._slow_s:
            return False
        if self._clock() - self._last < _SLOW_EVERY_S:
            self._left_out += 1
        else:
            self._write(slow_line(note, now, self._left_out))
            self._last, self._left_out = self._clock(), 0
        return True


def slow_line(note: Note, now: float, left_out: int) -> bytes:
    """A request whose answer took long, and on what, as JSON. `left_out`: slow ones before it without a line."""
    account = note.account
    told: dict[str, Any] = {
        "time": _time(now),
        "slow": True,
        "id": note.number,
        "client": note.client,
        "name": note.name,
        "path": _asked(note)[0],
        "status": note.status,
        "targets": [str(target)[:_TARGET_CHARS_MAX] for target in account.get("targets", ())[:_TARGETS_MAX]],
        "window": account.get("window"),
        "seconds": round(note.made_s, 4),
        "waited": round(note.waited_s, 4),
        "worker": note.worker,
        "series": account.get("series", 0),
        "points": account.get("points", 0),
        "bytes_read": 8 * account.get("points", 0),
        "steps": _first_steps(account.get("steps", ())),
        "left_out": left_out,
    }
    return _json(told)


def _json(told: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(told)
    except TypeError:  # half of a pair of surrogates: no text, but a client may send it
        return json.dumps(told).encode()


def _first_steps(steps: Any) -> list[Mapping[str, Any]]:
    """Those of a plan, as many as one reads."""
    left = _STEPS_MAX

    def some(within: Any) -> list[Mapping[str, Any]]:
        nonlocal left
        found = []
        for step in within:
            if not left:
                break
            left -= 1
            found.append({**step, "within": some(step["within"])} if "within" in step else step)
        return found

    return some(steps)


def _asked(note: Note) -> tuple[str, str]:
    """Path and query as they were sent, without what is nobody's to read."""
    path, _, query = note.uri.partition(b"?")
    words = query[:_QUERY_CHARS_MAX].decode("utf-8", "replace")
    shown = path[:_QUERY_CHARS_MAX].decode("utf-8", "replace")
    return _USER.sub("//", shown, count=1), "".join(map(_without_secret, _BETWEEN.split(words)))


def _without_secret(parameter: str) -> str:
    name, sign, _ = parameter.partition("=")
    return f"{name}=***" if sign and _SECRET.search(unquote(name)) else parameter


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
