"""What a site does with requests of ill will, in memory; tests/e2e/test_http_security.py has real sockets."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from render.access import Door, NoKeys
from render.config import Access, Http, Scope
from tests.render.api.store import house
from tests.render.test_server import LOCKED, READER, Answer, Client, Keys

NOT_UTF8 = b"\xff\xfe"


def told(client: Client, *lines: bytes, body: bytes = b"") -> Answer:
    """The one answer to a request with these lines."""
    client.protocol.dataReceived(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]) + body)
    (answer,) = client.answers()
    return answer


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Authorization", 401),
        (b"Origin", 403),
        (b"Sec-Fetch-Site", 403),
        (b"X-Forwarded-User", 200),
        (b"Accept-Encoding", 200),
        (b"Content-Type", 200),
    ],
)
def test_a_header_of_any_bytes_is_no_fault_of_ours(header: bytes, status: int) -> None:
    proxied = Door(Access(Scope.WRITE, proxies=(ip_network("192.168.1.1"),)), NoKeys(), local=True)
    line = (
        b"POST /tags/tagSeries?path=a;b=c HTTP/1.1" if status == 403 else b"POST /render?format=raw HTTP/1.1"
    )
    assert told(Client(door=proxied), line, b"Host: x", header + b": " + NOT_UTF8).status == status


def test_a_host_of_any_bytes_is_another_hosts_name() -> None:
    assert told(Client(), b"GET /version HTTP/1.1", b"Host: " + NOT_UTF8 + b".org").status == 421


def test_a_length_of_thousands_of_digits_is_refused() -> None:
    client = Client()
    client.protocol.dataReceived(
        b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
    )
    assert client.transport.disconnecting


def test_no_answer_names_the_version_of_what_serves_it() -> None:
    assert "/" not in Client().ask("GET", "/version").headers.get("server", "")


def test_a_client_that_takes_nothing_is_cut_off_for_good() -> None:
    client = Client(house(Http(idle_s=10)))
    assert client.ask("GET", "/version").status == 200
    client.reactor.advance(11)
    assert client.transport.disconnecting
    client.reactor.advance(16)
    assert client.transport.disconnected


def test_a_request_that_is_refused_at_its_head_is_not_answered_before_those_that_came_first() -> None:
    client = Client(house(Http(body_bytes_max=1000)))
    client.protocol.dataReceived(
        b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nPOST /render HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"
    )
    assert [answer.status for answer in client.answers()] == [200, 413]


@pytest.mark.parametrize(
    "path", ["/tags/delSeries?path=a.d", "/tags/delSeries?path=no.such", "/tags/delSeries"]
)
def test_who_may_not_is_told_the_same_whatever_there_is(path: str) -> None:
    client = Client(door=LOCKED)
    assert client.ask("POST", path).json == {"error": "a token that may admin is needed"}
    answer = client.ask("POST", path, Authorization=READER)
    assert (answer.status, answer.json) == (
        403, {"error": "'reader' may not: that needs a token that may admin"}
    )  # fmt: skip


def test_a_host_that_is_not_ours_is_not_even_told_that_a_token_is_wrong() -> None:
    client = Client(door=Door(Access(), Keys(), local=True))
    for path in ("/version", "/nothing"):
        answer = client.ask("GET", path, Host="evil.example.com", Authorization="Bearer wrong")
        assert answer.status == 421
        assert "token" not in answer.json["error"]
