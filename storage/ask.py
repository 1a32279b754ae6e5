"""A job done by whoever has the store: by the server that has it, over its control socket, or else here.

The socket is `control` in the data folder. One request a connection, one line of JSON; the answers are lines too:

    → {"job": "snapshot", "arguments": {"folder": "/backup/today"}}
    ← {"progress": [done, total, what]} …  {"line": "told on the way"} …  {"done": [lines]} or {"error": "why"}

Closing the connection stops the job.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from storage.errors import CannotAsk, JobFailed, StoreInUse
from storage.jobs import Progress, drive

SOCKET = "control"
_LOCK = "lock"  # the store's, which it holds as long as it writes
REQUEST_BYTES_MAX = 64 << 10
_ANSWER_BYTES_MAX = 16 << 20  # a line of "done"
_CONNECT_S = 10.0
_GONE = (errno.ENOENT, errno.ECONNREFUSED)  # no server, or one that was killed


class Show(Protocol):
    """Where a job's progress is shown."""

    def progress(self, progress: Progress) -> None: ...
    def line(self, line: str) -> None: ...


def run_job(
    data: Path, config: Path | None, name: str, arguments: Mapping[str, Any], show: Show
) -> list[str]:
    """Have a job done; gives the lines that tell how it ended. Raises StorageError or OSError."""
    try:
        connection = _connect(data)
    except OSError as error:
        if error.errno in _GONE:
            return _run_here(data, config, name, arguments, show)
        raise CannotAsk(
            f"the server that has {data} cannot be asked ({error.strerror}): be the user that it runs as"
        ) from None
    with connection:
        return _run_there(connection, name, arguments, show)


def tell(data: Path, values: Mapping[str, float]) -> float:
    """Have the server that has the store record what this process has measured, by the names below
    carbon.agents.<host>. Gives in how many seconds it wants to be told again, 0 = not at all.

    Raises CannotAsk if there is no such server, JobFailed if it refuses, and OSError.
    """
    try:
        connection = _connect(data)
    except OSError as error:
        raise CannotAsk(f"no server that has {data} can be told ({error.strerror})") from None
    with connection:
        connection.settimeout(_CONNECT_S)
        connection.sendall(json.dumps({"tell": dict(values)}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.readline(_ANSWER_BYTES_MAX) or "{}")
    if "answer" not in answer:
        raise JobFailed(str(answer.get("error", answer)))
    return float(answer["answer"])


def is_written(data: Path) -> bool:
    """Whether a process has the store to write it. Never blocks, and never takes the lock, not even to look: one that
    starts meanwhile would find it taken.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with socket_address(data) as address:
                probe.connect(address)
        except OSError as error:
            # one that has just started, or cannot make its socket, has the lock all the same
            return error.errno not in _GONE or _is_locked(data / _LOCK)
    return True


def _is_locked(path: Path) -> bool:
    """By the kernel's list of locks (proc_locks(5)); yes if that cannot be read."""
    try:
        inode = path.stat().st_ino
        listed = Path("/proc/locks").read_text()
    except FileNotFoundError:
        return path.exists()
    except OSError:
        return True
    # by the inode only: the device of a btrfs is another one there
    return re.search(rf"^\d+: FLOCK +ADVISORY +WRITE +\S+ \S+:{inode} ", listed, re.MULTILINE) is not None


@contextmanager
def socket_address(data: Path, *, name: str = SOCKET) -> Iterator[str]:
    """A socket's path by way of the open data folder: a path of its own may be longer than an address can be (107)."""
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{name}"
    finally:
        os.close(folder)


def _connect(data: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_S)
        with socket_address(data) as address:
            connection.connect(address)
        connection.settimeout(None)
    except OSError:
        connection.close()
        raise
    return connection


def _run_there(connection: socket.socket, name: str, arguments: Mapping[str, Any], show: Show) -> list[str]:
    connection.sendall(json.dumps({"job": name, "arguments": arguments}).encode() + b"\n")
    with connection.makefile("rb") as answers:
        while line := answers.readline(_ANSWER_BYTES_MAX):
            answer = json.loads(line)
            if "progress" in answer:
                show.progress(Progress(*answer["progress"]))
            elif "line" in answer:
                show.line(answer["line"])
            elif "done" in answer:
                return list(map(str, answer["done"]))
            else:
                raise JobFailed(str(answer.get("error", answer)))
    raise JobFailed("the server ended before the job was done; what was done by then stands")


def _run_here(
    data: Path, config: Path | None, name: str, arguments: Mapping[str, Any], show: Show
) -> list[str]:
    from storage.operations import OPERATIONS, Setting, find, start
    from storage.schema import Rules
    from storage.store import Store

    try:
        store = Store(data, Rules.load(config), durable=True)
    except StoreInUse as error:
        raise CannotAsk(f"{error}; it takes no requests: it is another command, or an older server") from None
    try:
        job = start(find(OPERATIONS, name), name, arguments, Setting(store, _now, show.line))
        return drive(job, show.progress)
    finally:
        store.close()


def _now() -> int:
    return int(time.time())
