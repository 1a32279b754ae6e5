"""The end of a server, with a clock that the test moves: by itself, and on the site's connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from render.api.response import Response
from render.leaving import SOON_S, Leaving
from tests.render.test_server import Client, Pool

GENTLY_S = 20.0


@dataclass(eq=False)
class Connection:
    """Busy until a moment; closed when it is told to, or by its client."""

    clock: Clock
    busy_until: float = 0.0
    closed: bool = False

    @property
    def is_busy(self) -> bool:
        return self.clock.seconds() < self.busy_until or self.closed

    def loseConnection(self) -> None:  # noqa: N802  # Twisted's name
        self.closed = True


class End:
    """A Leaving of such connections, and what it has done."""

    def __init__(self, *busy_until: float) -> None:
        self.clock = Clock()
        self.connections = {Connection(self.clock, until) for until in busy_until}
        self.deaf, self.over = [], []  # type: list[float], list[float]
        note = self.clock.seconds
        self.leaving = Leaving(
            self.clock, self.connections, lambda: self.deaf.append(note()), lambda: self.over.append(note())
        )

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            self.clock.advance(0.01)
            self.connections -= {each for each in self.connections if each.closed}


@given(
    st.lists(st.floats(0, 60), max_size=5),
    st.sampled_from(["gently", "soon", "gently, then soon"]),
    st.floats(0, GENTLY_S),
)
def test_it_is_over_once_and_in_time_whatever_its_connections_do(
    busy_until: list[float], how: str, then: float
) -> None:
    end = End(*busy_until)
    if "gently" in how:
        end.leaving.gently(GENTLY_S)
        end.pass_time(then)
    if "soon" in how:
        end.leaving.soon()
    most = {"gently": GENTLY_S, "soon": 0, "gently, then soon": then}[how] + SOON_S
    end.pass_time(GENTLY_S + 2 * SOON_S)
    assert (len(end.deaf), len(end.over)) == (1, 1)
    assert end.over[0] <= most + 0.1


def test_gently_it_waits_for_clients_that_do_nothing() -> None:
    end = End(0)
    end.leaving.gently(GENTLY_S)
    end.pass_time(GENTLY_S - 1)
    assert not end.over
    assert not any(each.closed for each in end.connections)
    end.connections.clear()  # it hangs up
    end.pass_time(0.1)
    assert end.over


def test_soon_it_waits_for_what_is_in_work_and_no_longer() -> None:
    end = End(0.7, 0)
    end.leaving.soon()
    end.pass_time(0.6)
    assert not any(each.closed for each in end.connections)  # the idle one may be about to ask
    end.pass_time(0.3)
    assert end.over == [pytest.approx(0.8, abs=0.1)]


def test_without_connections_it_is_over_at_once() -> None:
    for soon in (False, True):
        end = End()
        if soon:
            end.leaving.soon()
        else:
            end.leaving.gently(GENTLY_S)
        end.pass_time(0.02)
        assert end.over


# --- on the site's connections ---


def leaving(client: Client) -> list[str]:
    """What its site has told when it leaves."""
    told: list[str] = []
    client.site.leaving = Leaving(
        client.reactor, client.site.channels, lambda: told.append("deaf"), lambda: told.append("over")
    )
    return told


def is_closing(client: Client) -> bool:
    return client.transport.disconnecting


def gently(client: Client) -> None:
    assert client.site.leaving is not None
    client.site.leaving.gently(GENTLY_S)


def test_each_answer_is_the_last_on_its_connection() -> None:
    client = Client()
    told = leaving(client)
    assert "connection" not in client.ask("GET", "/version").headers
    gently(client)
    client.reactor.advance(5)
    assert not is_closing(client)  # nobody is cut off who may be about to ask
    answer = client.ask("GET", "/version")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert is_closing(client)
    assert told == ["deaf"]


def test_what_was_asked_before_is_answered_and_is_the_last() -> None:
    pool = Pool(at_once=False)
    client = Client(pool=pool)
    leaving(client)
    client.send("GET", "/render?target=x&format=json")
    gently(client)
    pool.work()
    (answer,) = client.answers()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert is_closing(client)


@dataclass
class Streaming:
    """Workers whose one answer has two parts, between which the server begins to leave."""

    soon: bool
    client: Client | None = None
    count: int = 1
    started: int = 0
    lost: int = 0
    can_start: bool = True

    def ask(self, *_: object) -> Response:
        return Response(b"", rest=self._parts())

    def _parts(self) -> Iterator[bytes]:
        yield b"first"
        assert self.client is not None
        assert self.client.site.leaving is not None
        if self.soon:
            self.client.site.leaving.soon()
        else:
            self.client.site.leaving.gently(GENTLY_S)
        yield b"last"


@pytest.mark.parametrize("soon", [False, True])
def test_an_answer_that_has_begun_is_written_to_its_end(soon: bool) -> None:
    workers = Streaming(soon)
    client = workers.client = Client(workers=workers)  # type: ignore[arg-type]  # a twin
    told = leaving(client)
    client.send("GET", "/metrics/index.json")
    head, _, body = client.transport.value().partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()
    assert (b"first" in body, b"last" in body, body[-5:]) == (True, True, b"0\r\n\r\n")
    assert is_closing(client) == soon
    assert told == ["deaf"]
    if not soon:  # then the next is the last
        client.transport.clear()
        assert client.ask("GET", "/version").headers["connection"] == "close"


def test_a_connection_is_busy_from_its_request_until_all_is_written() -> None:
    pool = Pool(at_once=False)
    client = Client(pool=pool)
    assert not client.protocol.is_busy
    client.send("GET", "/render?target=x")
    assert client.protocol.is_busy
    pool.work()
    assert not client.protocol.is_busy
    client.protocol.loseConnection()
    assert client.protocol.is_busy
