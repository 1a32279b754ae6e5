"""The control socket: what is asked over it is done, one job at a time, between datapoints."""

from __future__ import annotations

import json
import math
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from carbon.control import DUTY, JobQueue, listen
from storage.ask import REQUEST_BYTES_MAX, run_job, socket_address, tell
from storage.errors import CannotAsk, InvalidJob, InvalidName, JobFailed
from storage.jobs import Job, Progress
from storage.operations import Operation, Setting
from storage.store import Store

pytestmark = pytest.mark.timeout(30)


class Table(dict[str, Operation]):
    """Jobs to try the queue with."""

    def __init__(self) -> None:
        self.closed: Queue[str] = Queue()
        self.goal = Event()
        self.reached = 0
        super().__init__(
            count=Operation(self.count, {"to": int}),
            lasting=Operation(self.count, {"to": int}, goes_on=True),
            wait=Operation(self.wait, {}),
            talk=Operation(self.talk, {"lines": int}),
            fail=Operation(self.fail, {}),
            broken=Operation(self.broken, {}),
        )

    def count(self, setting: Setting, to: int) -> Job:
        try:
            for self.reached in range(to):
                yield Progress(self.reached, to, "things")
        except GeneratorExit:
            self.closed.put("count")
            raise
        self.goal.set()
        return [f"counted to {to}"]

    def wait(self, setting: Setting) -> Job:
        try:
            while not self.goal.is_set():
                yield Progress(0, 0, "nothing")
        except GeneratorExit:
            self.closed.put("wait")
            raise
        return ["waited"]

    def talk(self, setting: Setting, lines: int) -> Job:
        for self.reached in range(lines):
            setting.tell("x" * 10_000)
            yield Progress(self.reached, lines, "lines")
        return []

    def fail(self, setting: Setting) -> Job:
        yield Progress(0, 0, "nothing")
        raise InvalidName("no such name")

    def broken(self, setting: Setting) -> Job:
        yield Progress(0, 0, "nothing")
        raise ZeroDivisionError("oh")


class Served:
    """A queue on a control socket, with a reactor of its own in a thread."""

    def __init__(self, data: Path) -> None:
        self.data, self.table = data, Table()
        self.store = Store(data)
        self.reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted's
        self.queue = JobQueue(self.store, self.reactor, time.time, table=self.table)
        self.told: list[Mapping[str, float]] = []
        self.stop_listening = listen(
            self.reactor, data, self.queue, {"stats": lambda: {"errors": 3}}, self.take
        )
        self.thread = Thread(target=lambda: self.reactor.run(installSignalHandlers=False))
        self.thread.start()

    def take(self, values: Mapping[str, float]) -> float:
        self.told.append(values)
        return 60.0

    def call(self, work: Callable[[], object]) -> None:
        """Do something in the reactor's thread."""
        done = Event()
        self.reactor.callFromThread(work)
        self.reactor.callFromThread(done.set)
        assert done.wait(10)

    def stop(self) -> None:
        self.call(self.queue.close)
        self.call(self.stop_listening)
        self.reactor.callFromThread(self.reactor.stop)
        self.thread.join()
        self.store.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    running = Served(tmp_path / "data")
    yield running
    running.stop()


class Client:
    def __init__(self, served: Served, request: bytes = b"") -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        with socket_address(served.data) as address:
            self.socket.connect(address)
        self.answers = self.socket.makefile("rb")
        self.socket.sendall(request)

    def next(self, key: str) -> Any:
        """The next answer of a kind."""
        while line := self.answers.readline():
            answer = json.loads(line)
            if key in answer:
                return answer[key]
            assert not {"done", "error"} & set(answer), answer
        raise AssertionError("closed")

    def last(self, key: str) -> Any:
        """The answer of a kind after others of any kind."""
        *_, line = self.answers
        return json.loads(line)[key]

    def closed(self) -> bool:
        return not self.answers.readline()


def request(job: str, **arguments: Any) -> bytes:
    return json.dumps({"job": job, "arguments": arguments}).encode() + b"\n"


class Shown:
    def __init__(self) -> None:
        self.seen: list[Progress | str] = []

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def line(self, line: str) -> None:
        self.seen.append(line)


def ask(served: Served, name: str, arguments: Mapping[str, Any]) -> tuple[list[str], list[Progress | str]]:
    shown = Shown()
    return run_job(served.data, None, name, arguments, shown), shown.seen


def test_a_job_tells_how_it_goes_and_ends(served: Served) -> None:
    lines, seen = ask(served, "count", {"to": 50_000})
    assert lines == ["counted to 50000"]
    assert seen
    assert all(isinstance(one, Progress) and one.total == 50_000 for one in seen)
    assert ask(served, "talk", {"lines": 2})[1][:2] != []


def test_the_end_of_a_job_is_the_end_of_its_connection(served: Served) -> None:
    client = Client(served, request("count", to=3))
    assert client.next("done") == ["counted to 3"]
    assert client.closed()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"hello\n", "no JSON"),
        (b"\xff\n", "no JSON"),
        (b"[" * 50_000 + b"\n", "no JSON"),
        (b"3\n", "a request is"),
        (b"{}\n", "a request is"),
        (b'{"job": "count"}\n', "a request is"),
        (b'{"job": "count", "arguments": {"to": 1}, "more": 1}\n', "a request is"),
        (b'{"ask": "stats", "arguments": {}}\n', "a request is"),
        (b'{"ask": "time"}\n', "'time' is no question; there are: stats"),
        (request("dig"), "'dig' is no job; there are: broken, count"),
        (request("count"), "to must be given"),
        (request("count", to="many"), "to is 'many', and must be a whole number"),
        (request("count", to=True), "to is True"),
        (request("count", to=1, depth=2), "'depth' is no argument"),
        (b"x" * (REQUEST_BYTES_MAX + 1), "more than 65,536 bytes"),
        (request("wait") + request("wait"), "one request a connection"),
    ],
)
def test_a_wrong_request_is_one_error_line_and_the_end(served: Served, sent: bytes, said: str) -> None:
    client = Client(served, sent)
    assert said in client.next("error")
    assert client.closed()
    assert ask(served, "count", {"to": 2})[0] == ["counted to 2"]


def test_a_question_is_answered_at_once_whatever_job_is_under_way(served: Served) -> None:
    working = Client(served, request("wait"))
    working.next("progress")
    asking = Client(served, b'{"ask": "stats"}\n')
    assert asking.next("answer") == {"errors": 3}
    assert asking.closed()
    served.table.goal.set()
    assert working.next("done") == ["waited"]


def test_errors_of_a_job_come_to_who_asked(served: Served) -> None:
    with pytest.raises(JobFailed, match="no such name"):
        ask(served, "fail", {})
    with pytest.raises(JobFailed, match="ZeroDivisionError: oh; the server's log says more"):
        ask(served, "broken", {})


def test_who_hangs_up_stops_the_job(served: Served) -> None:
    client = Client(served, request("count", to=10**9))
    client.next("progress")
    client.answers.close()
    client.socket.close()
    assert served.table.closed.get(timeout=10) == "count"
    assert ask(served, "count", {"to": 2})[0] == ["counted to 2"]


def test_a_job_that_goes_on_does_so_without_its_client(served: Served) -> None:
    waiting = Client(served, request("wait"))
    lasting = Client(served, request("lasting", to=5))
    assert "waiting for wait" in lasting.next("line")
    lasting.answers.close()
    lasting.socket.close()
    waiting.answers.close()
    waiting.socket.close()  # stops the job before it
    assert served.table.closed.get(timeout=10) == "wait"
    assert served.table.goal.wait(10)


def test_of_two_clients_the_second_waits_and_is_told_so(served: Served) -> None:
    first = Client(served, request("wait"))
    first.next("progress")
    second = Client(served, request("count", to=2))
    assert second.next("line") == "waiting for wait"
    second.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        second.socket.recv(1)
    served.table.goal.set()
    assert first.next("done") == ["waited"]


def test_a_client_that_does_not_read_holds_its_job_back(served: Served) -> None:
    client = Client(served, request("talk", lines=5_000))
    client.next("line")
    before = -1
    while served.table.reached != before:  # still until the socket is full
        before = served.table.reached
        served.call(lambda: None)
        Event().wait(0.2)
    assert before < 1_000
    assert client.last("done") == []


def test_at_the_end_of_the_server_jobs_are_closed_and_told(served: Served) -> None:
    running = Client(served, request("wait"))
    waiting = Client(served, request("count", to=2))
    waiting.next("line")
    served.call(served.queue.close)
    assert served.table.closed.get(timeout=10) == "wait"
    assert "the server stops" in running.next("error")
    assert "the server stops" in waiting.next("error")


def test_the_socket_is_for_its_owner_alone_and_replaces_one_that_was_left(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 20) / ("name" * 20)
    data.mkdir(parents=True)
    assert len(str(data / "control")) > 108
    with socket_address(data) as address:
        left = socket.socket(socket.AF_UNIX)
        left.bind(address)
    left.close()
    served = Served(data)
    try:
        assert stat.filemode((data / "control").lstat().st_mode) == "srw-------"
        assert ask(served, "count", {"to": 2})[0] == ["counted to 2"]
    finally:
        served.stop()
    assert not (data / "control").exists()


# --- the queue by itself ---


class Busy:
    """Seconds on a clock that only work moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def job(self, setting: Setting, slices: int, cost_ms: int) -> Job:
        for i in range(slices):
            self.seconds += cost_ms / 1000
            yield Progress(i, slices, "slices")
        return []


def queue_pause(clock: Clock) -> float:
    """Seconds until the next call."""
    call: Any = clock.getDelayedCalls()[0]
    return float(call.getTime() - clock.seconds())


@pytest.mark.parametrize("cost_ms", [1, 5, 50, 200])
def test_jobs_take_no_more_than_their_part_of_the_time(tmp_path: Path, cost_ms: int) -> None:
    clock, busy, store = Clock(), Busy(), Store(tmp_path)
    table = {"work": Operation(busy.job, {"slices": int, "cost_ms": int})}
    queue = JobQueue(store, clock, lambda: 0.0, spent=busy, table=table)
    queue.add("work", {"slices": 5000, "cost_ms": cost_ms})
    longest = 0.0
    while clock.getDelayedCalls():
        before = busy.seconds
        clock.advance(queue_pause(clock))
        longest = max(longest, busy.seconds - before)
    assert busy.seconds == pytest.approx(5 * cost_ms)
    assert busy.seconds / (clock.seconds() + busy.seconds) <= DUTY + 0.01
    assert longest <= max(0.025, cost_ms / 1000) + 1e-6
    store.close()


def test_a_queue_has_room_for_so_many_jobs(tmp_path: Path) -> None:
    clock, store, table = Clock(), Store(tmp_path), Table()
    queue = JobQueue(store, clock, lambda: 0.0, table=table)
    for _ in range(16):
        queue.add("wait", {})
    assert queue.waits("wait")
    with pytest.raises(InvalidJob, match="16 jobs wait already"):
        queue.add("wait", {})
    queue.close()
    assert not clock.getDelayedCalls()
    store.close()


# --- what another process tells of itself ---


def test_what_is_told_is_taken_and_answered_with_when_to_come_again(served: Served) -> None:
    assert tell(served.data, {"render.requests": 12, "render.p99Ms": 0.5}) == 60.0
    assert tell(served.data, {}) == 60.0
    assert served.told == [{"render.requests": 12.0, "render.p99Ms": 0.5}, {}]


@pytest.mark.parametrize(
    "values",
    [
        {"": 1}, {"a b": 1}, {"a..b": 1}, {".a": 1}, {"a;b=c": 1}, {"x" * 65: 1}, {"a": "1"}, {"a": True}, {"a": None},
        {"a": math.nan}, {"a": math.inf}, {"a": 10**400}, {"a": [1]}, {f"a{i}": 1 for i in range(201)},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_name_or_number_is_refused_and_nothing_of_it_is_taken(
    served: Served, values: dict[str, Any]
) -> None:
    with pytest.raises(JobFailed):
        tell(served.data, {"good": 1, **values})
    assert served.told == []


def test_where_there_is_no_server_nobody_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotAsk):
        tell(tmp_path, {"a": 1})
