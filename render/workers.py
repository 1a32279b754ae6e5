"""Processes that answer heavy queries, so that these hold neither the light ones nor the interpreter's lock.

The server forks a *nursery* while it has no threads yet; the nursery forks a worker whenever one is asked for, which
has the server's names and compiled kernels at once and shares their memory. A worker answers one question after
another:

    ← its process number        then, for each question:
    → {path, params, body, now}
    ← {status, content_type, headers, reuse, account} · chunk … · an empty chunk

Each message is msgpack or bytes behind four bytes of length. Anything but silence from the server while a worker works
means that nobody waits any more. A worker that has died, or does not come to an end, is replaced by a new one.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, NoReturn

import msgpack  # type: ignore[import-untyped]  # it has none

from render.api.response import Response
from render.errors import Cancelled, Unavailable
from render.request import Params, Sent

_LOG = logging.getLogger(__name__)
_LENGTH = struct.Struct(">I")
_NICE = 10  # light queries go first where both want a processor
_LOOK_S = 0.05  # after so long without an answer is looked whether somebody still waits
_START_S = 30.0
_END = b""
_JOINED_BYTES = 1 << 16  # copying so much takes less than the kernel does
_WORKER, _ASSISTANT = b"w", b"a"
_PR_SET_PDEATHSIG = 1


class Question(NamedTuple):
    path: str
    params: Params
    body: bytes
    now: int  # epoch seconds


Answer = Callable[[Question, Callable[[], bool]], Response]  # the second says whether nobody waits any more
Run = Callable[[bytes], bytes]  # an assistant's answer to a message


class Jobs(NamedTuple):
    """What processes do."""

    answer: Answer
    run: Run = bytes


class Lost(Unavailable):
    """A worker has ended while it worked, or had to be ended."""


class Workers:
    """So many processes that answer; each is a thread's at a time."""

    def __init__(self, count: int, jobs: Jobs, apart: Callable[[], None]) -> None:
        """Call it before there are threads. `apart` is called first in the nursery, to let go what is not its own."""
        self.count, self.started, self.lost = count, 0, 0
        self._nursery = _fork_nursery(jobs, apart) if count else None
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)  # started when it is needed first

    @property
    def can_start(self) -> bool:
        """Whether the process lives that workers are forked of: it never speaks, what can be read is its end."""
        return self._nursery is None or not select.select([self._nursery], [], [], 0)[0]

    def ask(self, question: Question, cancelled: Callable[[], bool], seconds: float) -> Response:
        """The answer of whichever is free, waiting for one. It has to be read to its end, or `rest` closed.

        Raises Cancelled, and Lost if the worker ends or gives no sign for so many seconds.
        """
        worker = self._free.get()
        try:
            if worker is None or not worker.lives():
                worker = self._start()
            head = worker.ask(question, cancelled, seconds)
        except BaseException as error:
            self.give_back(None, lost=isinstance(error, Lost))
            raise
        return Response(**head, rest=_Rest(self, worker, cancelled, seconds))

    def give_back(self, worker: _Worker | None, *, lost: bool = False) -> None:
        """One that waits for a question again; None = one to be started when it is needed."""
        self.lost += lost
        self._free.put(worker)

    def _start(self) -> _Worker:
        self.started += 1
        return _Worker(self._fork(_WORKER))

    def start_assistant(self) -> socket.socket:
        """Our end of a new process that answers messages, each behind its length; the first is its process' number."""
        return self._fork(_ASSISTANT)

    def _fork(self, kind: bytes) -> socket.socket:
        assert self._nursery is not None
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._nursery, [kind], [theirs.fileno()])
        return ours


class _Worker:
    """The server's end of a worker."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._pid = connection, 0
        self._pid = int(msgpack.unpackb(self.receive(lambda: False, _START_S)))

    def lives(self) -> bool:
        """Whether it waits for a question: a worker never speaks unasked, so that what can be read is its end."""
        if select.select([self._socket], [], [], 0)[0]:
            self.kill()
            return False
        return True

    def ask(self, question: Question, cancelled: Callable[[], bool], seconds: float) -> dict[str, Any]:
        try:
            _send(self._socket, msgpack.packb(question))
        except OSError as error:
            raise self._lost() from error
        head: dict[str, Any] = msgpack.unpackb(self.receive(cancelled, seconds))
        return head

    def receive(self, cancelled: Callable[[], bool], seconds: float) -> bytes:
        """The next message."""
        until = time.monotonic() + seconds
        while not select.select([self._socket], [], [], _LOOK_S)[0]:
            if cancelled():
                self.kill()
                raise Cancelled
            if time.monotonic() > until:
                _LOG.error("worker %d has given no sign for %g s and is killed", self._pid, seconds)
                raise self._lost()
        try:
            return _receive(self._socket)
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> Lost:
        self.kill()
        return Lost(
            "the process that worked on the query has ended: it may have needed more memory than there is"
        )

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)
        self._socket.close()


class _Rest:
    """The chunks of an answer. The worker is free again when they are read, or replaced when they are not wanted."""

    def __init__(
        self, workers: Workers, worker: _Worker, cancelled: Callable[[], bool], seconds: float
    ) -> None:
        self._workers, self._cancelled, self._seconds = workers, cancelled, seconds
        self._worker: _Worker | None = worker

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        worker = self._worker
        if worker is None:
            raise StopIteration
        try:
            chunk = worker.receive(self._cancelled, self._seconds)
        except BaseException as error:
            self._leave(None, lost=isinstance(error, Lost))
            raise
        if not chunk:
            self._leave(worker)
            raise StopIteration
        return chunk

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._leave(None)

    __del__ = close  # a generator around this that was never begun closes nothing

    def _leave(self, worker: _Worker | None, *, lost: bool = False) -> None:
        self._worker = None
        self._workers.give_back(worker, lost=lost)


# --- the other side ---


def _fork_nursery(jobs: Jobs, apart: Callable[[], None]) -> socket.socket:
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    ours.close()
    with _only_here():
        apart()
        gc.freeze()  # collecting would touch, and so copy, what all share
        _nurse(theirs, jobs)
    raise AssertionError("a forked process has come back")


class _only_here:  # noqa: N801  # read as a word
    """What is done in a forked process ends with it: it never returns into the server's stack."""

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # they are for the server, and we end with it

    def __exit__(self, *raised: object) -> NoReturn:
        if raised[1] is not None:
            _LOG.error("a worker has failed: %r", raised[1])
        os._exit(1 if raised[1] is not None else 0)


def _nurse(control: socket.socket, jobs: Jobs) -> None:
    """Fork a process for each socket that comes; ends with the server."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    nursery = os.getpid()
    while True:
        asked, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        if os.fork() == 0:
            with _only_here():
                _end_with(nursery)
                control.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                connection = socket.socket(fileno=sockets[0])
                if asked == _WORKER:
                    os.nice(_NICE)
                    _work(connection, jobs.answer)
                else:
                    _assist(connection, jobs.run)
        os.close(sockets[0])


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, though it be in the midst of a step that takes long."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _work(connection: socket.socket, answer: Answer) -> None:
    _send(connection, msgpack.packb(os.getpid()))

    def left() -> bool:
        return bool(select.select([connection], [], [], 0)[0])

    with suppress(OSError):  # the server has gone, or nobody waits
        while True:
            path, values, body, now = msgpack.unpackb(_receive(connection))
            params = Sent(values)
            params.body = body
            response = answer(Question(path, params, body, now), left)
            _send(connection, msgpack.packb(_head(response)))
            for chunk in response.chunks():
                if chunk:
                    _send(connection, chunk)
            _send(connection, _END)


def _assist(connection: socket.socket, run: Run) -> None:
    _send(connection, os.getpid().to_bytes(4, "big"))
    with suppress(OSError), connection.makefile("rb") as asked:  # until the server has gone
        while length := asked.read(_LENGTH.size):
            _send(connection, run(asked.read(*_LENGTH.unpack(length))))


def _head(response: Response) -> Mapping[str, Any]:
    return {
        "body": b"",
        "content_type": response.content_type,
        "status": response.status,
        "headers": dict(response.headers),
        "reuse": response.reuse,
        "account": response.account,
    }


def _send(connection: socket.socket, message: bytes) -> None:
    length = _LENGTH.pack(len(message))
    if len(message) < _JOINED_BYTES:
        connection.sendall(length + message)
    else:
        connection.sendall(length)
        connection.sendall(message)


def _receive(connection: socket.socket) -> bytes:
    """The next message; raises OSError at the end."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    view, have = memoryview(buffer), 0
    while have < count:
        got = connection.recv_into(view[have:])
        if not got:
            raise ConnectionError("the other side has ended")
        have += got
    return bytes(buffer)
