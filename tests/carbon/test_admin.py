"""The admin listener over HTTP: what each request is answered, and that no request is answered 500."""

from __future__ import annotations

import gzip
import hashlib
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from carbon.admin import Admin, Site
from carbon.config import Kind, Listener, Settings
from carbon.intake import Intake
from carbon.limits import Sources
from carbon.listen import LOCAL, NOT_ALLOWED, TOO_FAST, TOO_MANY, TOO_MANY_OF_ONE
from carbon.pipeline import Pipeline
from carbon.protocols.ingest import BODY_BYTES_MAX
from carbon.protocols.reader import Batch
from carbon.protocols.token import WRONG_TOKEN
from carbon.stats import Stats
from storage.store import Store
from tests.effort import tries

NOW = 1_700_000_000
ONE, OTHER = "10.0.0.1", "10.0.0.2"
TOKEN = "correct-horse-battery"
LINES = f"a.b 1 {NOW}\nc.d 2 {NOW}\n".encode()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answers(written: bytes, *, head: bool = False) -> list[Answer]:
    """All that a server has written."""
    found = []
    while written:
        top, _, written = written.partition(b"\r\n\r\n")
        first, *lines = top.decode().split("\r\n")
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head else int(headers["content-length"])
        found.append(Answer(int(first.split(" ")[1]), headers, written[:length]))
        written = written[length:]
    return found


class House:
    """A site on a store of its own, and what was accepted: (source, datapoints)."""

    def __init__(self, folder: Path, *, rate: float | None = None, **given: Any) -> None:
        self.stats, self.clock = Stats(), Clock()
        self.store = Store(folder)
        self.accepted: list[tuple[str, int]] = []

        def intake(names: Any) -> Intake:
            return Intake(self.store, names, self.stats, lambda: float(NOW))

        self.pipeline = Pipeline(Settings(), None, self.store, self.stats, intake, self.clock, folder)
        listener = Listener("admin", **{"kind": Kind.ADMIN, "idle": 60, **given})
        rates = None if rate is None else Sources(rate, self.clock.seconds)
        self.site = Site(
            Admin(listener, self.pipeline, self._accept, self.stats, rates=rates), listener, self.clock
        )

    def _accept(self, batch: Batch | None, source: str) -> None:
        self.accepted.append((source, 0 if batch is None else len(batch.ids)))

    def connect(self, source: str = ONE) -> Connection:
        return Connection(self, source)

    def ask(self, method: str, path: str, body: bytes = b"", *, source: str = ONE, **headers: str) -> Answer:
        """The answer to one request on a connection of its own."""
        connection = self.connect(source)
        connection.send(request(method, path, body, **headers))
        (answer,) = answers(connection.said, head=method == "HEAD")
        return answer


class Connection:
    def __init__(self, house: House, source: str) -> None:
        address: Any = UNIXAddress(b"") if source == LOCAL else IPv4Address("TCP", source, 4711)
        site: Any = house.site
        self.channel: Any = site.buildProtocol(address)
        self.channel.callLater = house.clock.callLater  # as TimeoutMixin says to
        self.transport = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]  # Twisted's
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    @property
    def said(self) -> bytes:
        return bytes(self.transport.value())  # type: ignore[no-untyped-call]  # Twisted's

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting)

    def lose(self) -> None:
        self.channel.connectionLost()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- POST /metrics/ingest ---


def test_lines_are_taken_and_counted_and_the_first_refused_are_shown(house: House) -> None:
    answer = house.ask("POST", "/metrics/ingest", LINES + b"bad\n\x1b[2Jx 1 2 3\n")
    assert answer.status == 200
    assert answer.json["taken"] == 2
    assert answer.json["refused"] == {"not three fields": 2}
    assert [sample["line"] for sample in answer.json["samples"]] == [3, 4]
    assert b"\x1b" not in answer.body
    assert house.accepted == [(ONE, 2)]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress), ("identity", bytes)],
)
def test_a_compressed_body_is_read(house: House, encoding: str, encode: Any) -> None:
    answer = house.ask("POST", "/metrics/ingest", encode(LINES), Content_Encoding=encoding)
    assert (answer.status, answer.json["taken"]) == (200, 2)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (LINES, "br", 415),
        (LINES, "gzip, gzip, gzip", 415),
        (LINES, "gzip", 400),
        (gzip.compress(LINES, mtime=0)[:-9], "gzip", 400),
        (gzip.compress(b"x" * (BODY_BYTES_MAX + 1)), "gzip", 413),
        (zstandard.ZstdCompressor().compress(b"x" * (BODY_BYTES_MAX + 1)), "zstd", 413),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_decompressed_is_refused(
    house: House, body: bytes, encoding: str, status: int
) -> None:
    answer = house.ask("POST", "/metrics/ingest", body, Content_Encoding=encoding)
    assert answer.status == status
    assert answer.json["error"]
    assert house.accepted == []
    assert house.stats.rejected.total() == 1


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_there(house: House) -> None:
    connection = house.connect()
    head = request("POST", "/metrics/ingest", Expect="100-continue")
    connection.send(head.replace(b"Content-Length: 0", b"Content-Length: %d" % (BODY_BYTES_MAX + 1)))
    (answer,) = answers(connection.said)
    assert (answer.status, connection.closed) == (413, True)
    assert str(BODY_BYTES_MAX) in answer.json["error"]
    connection.send(LINES)
    assert house.accepted == []


@pytest.mark.parametrize("cut", [0, 1, 3, 1000])
def test_a_body_of_unknown_length_is_refused_even_if_it_is_there(house: House, cut: int) -> None:
    head = request("POST", "/metrics/ingest", Transfer_Encoding="chunked").replace(
        b"Content-Length: 0\r\n", b""
    )
    stream = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(LINES), LINES)
    connection = house.connect()
    at = len(head) + cut
    connection.send(stream[:at])
    connection.send(stream[at:])
    assert [answer.status for answer in answers(connection.said)] == [411]
    assert connection.closed
    assert house.accepted == []


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_is_lines_too(house: House, kind: str) -> None:
    answer = house.ask("POST", "/metrics/ingest", LINES, Content_Type=kind)
    assert (answer.status, answer.json["taken"]) == (200, 2)


def test_an_empty_body_takes_nothing(house: House) -> None:
    assert house.ask("POST", "/metrics/ingest").json == {"taken": 0, "refused": {}, "samples": []}


def test_an_address_that_sent_too_much_is_told_to_wait(tmp_path: Path) -> None:
    house = House(tmp_path, rate=10)
    assert house.ask("POST", "/metrics/ingest", LINES * 15).status == 200
    refused = house.ask("POST", "/metrics/ingest", LINES)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert house.ask("POST", "/metrics/ingest", LINES, source=OTHER).status == 200
    house.clock.advance(2.1)
    assert house.ask("POST", "/metrics/ingest", LINES).status == 200
    assert dict(house.stats.rejected) == {TOO_FAST: 1}


def test_while_senders_are_held_back_nothing_is_taken_and_health_says_why(house: House) -> None:
    assert house.ask("GET", "/health").json == {"ready": True, "held back": []}
    house.pipeline.intake.gates.hold("the disk is full")
    health, refused = house.ask("GET", "/health"), house.ask("POST", "/metrics/ingest", LINES)
    assert (health.status, health.json) == (503, {"ready": False, "held back": ["the disk is full"]})
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "the disk is full" in refused.json["error"]
    assert house.accepted == []
    house.pipeline.intake.gates.release("the disk is full")
    assert house.ask("GET", "/health").status == 200


# --- GET /metrics ---


def test_metrics_are_read_by_prometheus_own_parser(house: House) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    house.stats.received["line"] = 7
    house.stats.reject('a "quoted"\nreason', source="line")
    answer = house.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in parser.text_string_to_metric_families(answer.body.decode())}
    assert [sample.value for sample in families["plumbago_received_datapoints"].samples] == [7]
    assert families["plumbago_rejected"].samples[0].labels["reason"] == 'a "quoted"\nreason'


@pytest.mark.parametrize("path", ["/metrics", "/health"])
def test_head_is_answered_as_get_without_the_body(house: House, path: str) -> None:
    got, head = house.ask("GET", path), house.ask("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    assert int(head.headers["content-length"]) > 0
    assert head.headers["content-type"] == got.headers["content-type"]


# --- who may, and what there is ---


WRONG = [
    "",
    "Bearer wrong-horse-battery",
    TOKEN,
    f"Basic {TOKEN}",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/metrics/ingest"), ("GET", "/metrics"), ("GET", "/nowhere")]
)
def test_without_the_token_every_page_is_401(tmp_path: Path, method: str, path: str, given: str) -> None:
    house = House(tmp_path, token=hashlib.sha256(TOKEN.encode()).digest())
    answer = house.ask(method, path, Authorization=given)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert TOKEN.encode() not in answer.body
    assert dict(house.stats.rejected) == {WRONG_TOKEN: 1}


def test_with_the_token_all_is_as_without_one(tmp_path: Path) -> None:
    house = House(tmp_path, token_sha256=hashlib.sha256(TOKEN.encode()).digest())
    assert house.ask("POST", "/metrics/ingest", LINES, Authorization=f"Bearer {TOKEN}").json["taken"] == 2
    assert house.ask("GET", "/nowhere", Authorization=f"Bearer {TOKEN}").status == 404


def test_an_address_that_is_not_allowed_is_403_and_a_unix_socket_is_ours(tmp_path: Path) -> None:
    house = House(tmp_path, allow=(ip_network("10.0.0.2/32"),))
    found = [house.ask("GET", "/health", source=source).status for source in (ONE, OTHER, LOCAL)]
    assert found == [403, 200, 200]
    assert dict(house.stats.rejected) == {NOT_ALLOWED: 1}


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/metrics/ingest/x", "/../etc/passwd", "/%2e%2e/x", "//metrics"]
)
def test_a_page_that_there_is_not_is_404_and_names_those_that_there_are(house: House, path: str) -> None:
    answer = house.ask("GET", path)
    assert answer.status == 404
    assert "/metrics/ingest, /metrics, /health" in answer.json["error"]


def test_parameters_are_no_part_of_the_page(house: House) -> None:
    assert house.ask("GET", "/health?x=1").status == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/metrics/ingest", "POST"), ("HEAD", "/metrics/ingest", "POST"), ("POST", "/metrics", "GET"),
     ("DELETE", "/health", "GET"), ("get", "/health", "GET"), ("BREW", "/metrics", "GET")],
)  # fmt: skip
def test_a_method_that_a_page_has_not_is_405_with_those_it_has(
    house: House, method: str, path: str, allowed: str
) -> None:
    answer = house.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


# --- connections ---


def test_requests_follow_one_another_on_a_connection(house: House) -> None:
    connection = house.connect()
    stream = (
        request("POST", "/metrics/ingest", LINES) + request("GET", "/health") + request("GET", "/nowhere")
    )
    for at in range(len(stream)):
        connection.send(stream[at : at + 1])
    assert [answer.status for answer in answers(connection.said)] == [200, 200, 404]
    assert not connection.closed


def test_a_request_that_never_becomes_whole_is_closed_however_often_a_byte_comes(house: House) -> None:
    """Slowloris: in the first line, in the headers, in the body."""
    head = request("POST", "/metrics/ingest", b"x" * 100)[:-100]
    for begin, more in ((b"", b"G"), (b"GET /health HTTP/1.1\r\n", b"X-A: b\r\n"), (head, b"x")):
        connection = house.connect()
        connection.send(begin)
        for _ in range(7):
            house.clock.advance(10)
            connection.send(more)
        assert connection.closed, begin


def test_a_connection_between_requests_is_closed_when_it_is_idle(house: House) -> None:
    connection = house.connect()
    for _ in range(5):
        house.clock.advance(50)
        connection.send(request("GET", "/health"))
        assert not connection.closed
    house.clock.advance(61)
    assert connection.closed


def test_connections_are_bounded_in_all_and_of_one_address_and_places_become_free(tmp_path: Path) -> None:
    house = House(tmp_path, connections_max=3, connections_per_source_max=2)
    there = [house.connect(source) for source in (ONE, ONE, ONE, OTHER, OTHER)]
    assert [connection.closed for connection in there] == [False, False, True, False, True]
    assert dict(house.stats.rejected) == {TOO_MANY_OF_ONE: 1, TOO_MANY: 1}
    for connection in there:
        connection.lose()
    assert house.ask("GET", "/health").status == 200
    assert not house.connect(OTHER).closed


# --- nothing is 500 ---

KNOWN = {200, 400, 401, 403, 404, 405, 411, 413, 415, 429, 503}
words = st.sampled_from(
    [b"GET", b"POST", b" ", b"/metrics", b"/metrics/ingest", b"/health", b" HTTP/1.1", b"\r\n", b"\r\n\r\n",
     b"Content-Length: 5", b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip",
     b"Content-Type: multipart/form-data", b"Expect: 100-continue", b"Authorization: Bearer \xff", b"5\r\na b 1\r\n",
     b"\x1f\x8b\x08\x00", b"\0", b"Connection: close", b"Upgrade: h2c"]
)  # fmt: skip
rubbish = st.lists(words | st.binary(max_size=8), max_size=25).map(b"".join)
posts = st.builds(
    lambda body, encoding, kind: request(
        "POST", "/metrics/ingest", body, Content_Encoding=encoding, Content_Type=kind
    ),
    st.binary(max_size=60) | rubbish,
    st.sampled_from(["", "gzip", "deflate", "zstd", "gzip,zstd", "ü", "x" * 99]),
    st.sampled_from(["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]),
)


@given(rubbish | posts, st.integers(0, 200))
@settings(max_examples=tries(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_no_answer_is_500_and_nothing_is_raised(house: House, stream: bytes, cut: int) -> None:
    connection = house.connect()
    connection.send(stream[:cut])
    if not connection.closed:
        connection.send(stream[cut:])
    said = connection.said.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    for line in said.split(b"\r\n"):
        if line.startswith(b"HTTP/1."):
            assert int(line.split()[1]) in KNOWN
    connection.lose()
