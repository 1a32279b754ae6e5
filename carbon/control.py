"""The control socket: jobs that a running server is asked to do, one at a time, between datapoints.

The protocol is told in storage/ask.py. A job goes on in slices in the reactor's thread, as that is the thread that
writes; between them the reactor is left alone for long enough that jobs take no more than their part of its time.
A question is answered at once, whatever jobs there are:

    → {"ask": "stats"}
    ← {"answer": {…}} or {"error": "why"}

So is what another process of ours tells of itself, with the seconds until it is to tell that again:

    → {"tell": {"render.requests": 12, …}}
    ← {"answer": 60.0} or {"error": "why"}
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from storage import operations
from storage.ask import REQUEST_BYTES_MAX, SOCKET, socket_address
from storage.errors import InvalidJob, StorageError
from storage.jobs import Job, Progress
from storage.operations import OPERATIONS, Operation, Setting
from storage.store import Store

_log = logging.getLogger(__name__)

DUTY = 0.3  # of the reactor's time, at most
_SLICE_S = 0.02  # short slices are joined up to this
_PROGRESS_S = 0.2  # between two reports of it
_WAITING_MAX = 16
_CONNECTIONS_MAX = 32
_REQUEST_S = 10  # for a request to arrive
_TOLD_MAX = 200  # values at once
_TOLD_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,7}")
_UNREAD_S = 60  # for a client to go on reading: the jobs behind its own wait too


class Clock(Protocol):
    """What the queue needs of a reactor."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...  # noqa: A002, N802


class Asker(Protocol):
    """Who asked for a job."""

    holds: bool  # it does not read its answers at the moment

    def tell(self, answer: Mapping[str, Any]) -> None: ...
    def end(self, answer: Mapping[str, Any]) -> None: ...


@dataclass(eq=False)
class _Waiting:
    name: str
    operation: Operation
    job: Job
    asker: Asker | None  # None: the server itself, or one who hung up on a job that goes on
    moves: int  # of the store, when the job was asked for


class JobQueue:
    """The jobs of a receiver: the first of them is under way, in slices."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        now: Callable[[], float],
        *,
        spent: Callable[[], float] = time.perf_counter,
        failed: Callable[[OSError], None] = lambda error: None,
        table: Mapping[str, Operation] = OPERATIONS,
    ) -> None:
        """`now` gives epoch seconds, `spent` seconds on the clock by which slices are measured.

        `failed` is told of the operating system's errors: they may be the store's.
        """
        self._store, self._clock, self._now, self._spent, self._failed = store, clock, now, spent, failed
        self._table = table
        self._queue: deque[_Waiting] = deque()
        self._call: Any = None
        self._reported = 0.0

    def add(self, name: str, arguments: Mapping[str, Any], asker: Asker | None = None) -> None:
        """Have a job done after those that wait already; raises InvalidJob."""
        if len(self._queue) >= _WAITING_MAX:
            raise InvalidJob(f"{_WAITING_MAX} jobs wait already: ask again when some are done")
        operation = operations.find(self._table, name)
        waiting = _Waiting(name, operation, _NOTHING, asker, self._store.moves)
        setting = Setting(self._store, lambda: int(self._now()), lambda line: _tell(waiting, line))
        waiting.job = operations.start(operation, name, arguments, setting)
        self._queue.append(waiting)
        if len(self._queue) > 1 and asker is not None:
            asker.tell({"line": f"waiting for {', '.join(one.name for one in list(self._queue)[:-1])}"})
        self.go_on()

    def waits(self, name: str) -> bool:
        """Whether such a job waits behind another."""
        return any(one.name == name for one in list(self._queue)[1:])

    def left_by(self, asker: Asker) -> None:
        """Whoever asked has hung up: stop its job, but for one that goes on."""
        for one in [one for one in self._queue if one.asker is asker]:
            one.asker = None
            if not one.operation.goes_on:
                _log.info("%s: stopped, as its client hung up", one.name)
                self._remove(one)

    def close(self) -> None:
        """Stop all; what they have done stands."""
        for one in list(self._queue):
            self._remove(one)
            if one.asker is not None:
                one.asker.end({"error": "the server stops; what was done by now stands"})
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _remove(self, one: _Waiting) -> None:
        self._queue.remove(one)
        try:
            one.job.close()
        except Exception:
            _log.exception("%s: could not be stopped cleanly", one.name)

    def go_on(self, *, pause: float = 0.0) -> None:
        """Go on with the first job, if there is one: one was added, or an asker reads again."""
        if self._queue and self._call is None:
            self._call = self._clock.callLater(pause, self._slice)

    def _slice(self) -> None:
        self._call = None
        if not self._queue:
            return
        one, began = self._queue[0], self._spent()
        while not (one.asker is not None and one.asker.holds):
            progress = self._step(one)
            if progress is None or self._spent() - began >= _SLICE_S:
                break
        else:
            return  # until `go_on`, or until it hangs up
        self.go_on(pause=(self._spent() - began) * (1 - DUTY) / DUTY)

    def _step(self, one: _Waiting) -> Progress | None:
        """One slice of a job; None if that was its end."""
        try:
            progress = next(one.job)
        except StopIteration as end:
            answer = {"done": end.value}
        except StorageError as error:
            answer = {"error": str(error)}
        except OSError as error:
            self._failed(error)
            answer = {"error": str(error)}
        except Exception as error:
            _log.exception("%s failed", one.name)
            answer = {"error": f"{type(error).__name__}: {error}; the server's log says more"}
        else:
            if one.asker is not None and self._clock.seconds() - self._reported >= _PROGRESS_S:
                self._reported = self._clock.seconds()
                one.asker.tell({"progress": progress})
            return progress
        self._queue.remove(one)
        _end(one, answer, worth_a_line=self._store.moves != one.moves)
        return None


def _never() -> Job:
    yield Progress(0, 0, "")
    return []


_NOTHING = _never()


def _tell(one: _Waiting, line: str) -> None:
    if one.asker is not None:
        one.asker.tell({"line": line})
    else:
        _log.info("%s: %s", one.name, line)


def _end(one: _Waiting, answer: Mapping[str, Any], *, worth_a_line: bool = True) -> None:
    """Answer who asked; what the server did by itself is logged if it failed or changed anything."""
    if one.asker is not None:
        one.asker.end(answer)
    elif "error" in answer:
        _log.error("%s: %s", one.name, answer["error"])
    else:
        for line in answer["done"]:
            _log.log(logging.INFO if worth_a_line else logging.DEBUG, "%s: %s", one.name, line)


# --- the socket ---

Answers = Mapping[str, Callable[[], Any]]  # question → what gives its answer, fit for JSON, at once
NO_ANSWERS: Answers = MappingProxyType({})
Told = Callable[
    [Mapping[str, float]], float
]  # takes values by name, gives the seconds until they are wanted again


def nobody_told(values: Mapping[str, float]) -> float:
    """Takes nothing, and does not want to be told again."""
    return 0.0


class Control(LineOnlyReceiver, TimeoutMixin):
    """One connection: one request, its answers. An Asker."""

    delimiter = b"\n"
    MAX_LENGTH = REQUEST_BYTES_MAX
    transport: Any  # of a Unix connection: more than ITransport says

    def __init__(
        self,
        clock: Clock,
        queue: JobQueue,
        connections: set[Control],
        answers: Answers = NO_ANSWERS,
        told: Told = nobody_told,
    ) -> None:
        self.callLater = clock.callLater  # type: ignore[method-assign]  # as TimeoutMixin wants it
        self._queue, self._connections, self._answers, self._told = queue, connections, answers, told
        self._asked = False
        self.holds = False

    def connectionMade(self) -> None:  # noqa: N802
        self._connections.add(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(_REQUEST_S)
        if len(self._connections) > _CONNECTIONS_MAX:
            self._refuse(f"{_CONNECTIONS_MAX} clients are connected already")

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        if self.transport.disconnecting:
            return
        if self._asked:
            self._refuse("one request a connection")
            return
        self.setTimeout(None)
        self._asked = True
        try:
            kind, name, values = _request(line)
            if kind == "ask":
                self.end({"answer": _answer(self._answers, name)})
            elif kind == "tell":
                self.end({"answer": self._told(_numbers(values))})
            else:
                self._queue.add(name, values, self)
        except StorageError as error:
            self._refuse(str(error))

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        self._refuse(f"a request of more than {REQUEST_BYTES_MAX:,} bytes")

    def timeoutConnection(self) -> None:  # noqa: N802
        if self._asked or self.transport.disconnecting:  # what was sent is not read
            self.transport.abortConnection()
        else:
            self._refuse(f"no request within {_REQUEST_S} s")

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        self.setTimeout(None)
        self._connections.discard(self)
        self.holds = False
        self._queue.left_by(self)
        self._queue.go_on()

    def _refuse(self, why: str) -> None:
        self._queue.left_by(self)
        self.end({"error": why})

    # --- an asker ---

    def tell(self, answer: Mapping[str, Any]) -> None:
        """Send a line; that may make us hold (see pauseProducing)."""
        self.transport.write(json.dumps(answer).encode() + b"\n")

    def end(self, answer: Mapping[str, Any]) -> None:
        self.tell(answer)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self.setTimeout(_UNREAD_S)

    # --- a producer: the transport says when too much is unread ---

    def pauseProducing(self) -> None:  # noqa: N802
        self.holds = True
        self.setTimeout(_UNREAD_S)

    def resumeProducing(self) -> None:  # noqa: N802
        self.holds = False
        self.setTimeout(None)
        self._queue.go_on()

    def stopProducing(self) -> None:  # noqa: N802
        self.holds = False


def _request(line: bytes) -> tuple[str, str, Mapping[str, Any]]:
    """("job", its name, arguments), ("ask", question, {}), or ("tell", "", values); raises InvalidJob."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"a request that is no JSON: {error}") from None
    match request:
        case {"job": str(name), "arguments": dict(arguments), **rest} if not rest:
            return "job", name, arguments
        case {"ask": str(name), **rest} if not rest:
            return "ask", name, {}
        case {"tell": dict(values), **rest} if not rest:
            return "tell", "", values
    raise InvalidJob('a request is {"job": name, "arguments": {…}}, {"ask": name} or {"tell": {name: value}}')


def _numbers(told: Mapping[str, Any]) -> Mapping[str, float]:
    """What is told, checked; raises InvalidJob."""
    if len(told) > _TOLD_MAX:
        raise InvalidJob(f"{len(told)} values are told; at most {_TOLD_MAX}")
    for name, value in told.items():
        if _TOLD_NAME.fullmatch(name) is None:
            raise InvalidJob(f"{name[:100]!r} is no name such as render.requests")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidJob(f"{name}: is no number")
    return {name: float(value) for name, value in told.items()}


def _answer(answers: Answers, name: str) -> Any:
    if name not in answers:
        raise InvalidJob(f"{name!r} is no question; there are: {', '.join(answers) or 'none'}")
    return answers[name]()


class ControlFactory(Factory):
    noisy = False

    def __init__(
        self, clock: Clock, queue: JobQueue, answers: Answers = NO_ANSWERS, told: Told = nobody_told
    ) -> None:
        self._clock, self._queue, self._answers, self._told = clock, queue, answers, told
        self._connections: set[Control] = set()

    def buildProtocol(self, addr: IAddress | None) -> Control:  # noqa: N802
        return Control(self._clock, self._queue, self._connections, self._answers, self._told)


def listen(
    reactor: Any, data: Path, queue: JobQueue, answers: Answers = NO_ANSWERS, told: Told = nobody_told
) -> Callable[[], None]:
    """Listen on the data folder's control socket; gives what stops that."""
    try:
        return listen_in(reactor, data, SOCKET, ControlFactory(reactor, queue, answers, told))
    except CannotListenError as error:
        why = f"{data / SOCKET} cannot be made ({error.socketError})"
        _log.warning("%s: commands that write must wait until the server stops", why)
        return lambda: None


def listen_in(reactor: Any, data: Path, name: str, factory: Factory) -> Callable[[], None]:
    """Listen on a socket in the data folder, for this user alone; gives what stops that. Raises CannotListenError.

    Whoever calls this has the store's lock, so a socket that is there was left by a server that is gone.
    """
    path = data / name
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    opened = ExitStack()
    address = opened.enter_context(
        socket_address(data, name=name)
    )  # open to the end: Twisted removes the socket by it
    before = os.umask(0o177)  # from the first moment on: a chmod would come too late
    try:
        port = reactor.listenUNIX(address, factory, mode=0o600)
    except CannotListenError:
        opened.close()
        raise
    finally:
        os.umask(before)

    def stop() -> None:
        maybeDeferred(port.stopListening).addBoth(lambda _: opened.close())

    return stop
