"""The site over a transport in memory, with a clock and threads that the test moves."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from render.access import Asker, Door, NoKeys
from render.api import House
from render.api.response import Response
from render.assistants import Assistants
from render.config import Access, Http, Scope
from render.desk import Desk
from render.quick import LIGHT, Quick
from render.server import OPEN, Pools, Reporter, Site
from render.workers import Jobs, Workers
from storage.errors import CannotAsk
from storage.shard import Grid
from tests.render.api.store import MemoryStore, house
from tests.render.memory import Fetched

NO_WORKERS = Workers(0, Jobs(lambda question, cancelled: Response(b"")), lambda: None)
FORM = "application/x-www-form-urlencoded"


class Reactor(Clock):
    def callFromThread(self, call: Callable[..., object], *args: object) -> None:  # noqa: N802  # Twisted's name
        call(*args)


@dataclass
class Pool:
    """Does what it is given at once, or when `work` is called."""

    at_once: bool = True
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def callInThreadWithCallback(self, tell: Any, call: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        def run() -> None:
            try:
                outcome = True, call(*args, **kwargs)
            except Exception:
                outcome = False, Failure()
            tell(*outcome)

        self.waiting.append(run)
        if self.at_once:
            self.work()

    def work(self) -> None:
        for run in self.waiting:
            run()
        self.waiting.clear()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to a site."""

    def __init__(
        self,
        to: House | None = None,
        pool: Pool | None = None,
        door: Door = OPEN,
        workers: Workers | None = None,
    ) -> None:
        self.reactor, self.pool = Reactor(), pool or Pool()
        desk = Desk(to or house(), workers or NO_WORKERS, quick=Quick(cpu_s=600, seconds=600))
        pools = Pools(self.pool, self.pool)  # type: ignore[arg-type]  # a twin
        self.site = Site(desk, self.reactor, pools, Assistants(0, socket.socket, self.reactor), door)
        self.connect()

    def connect(self) -> None:
        self.transport = StringTransport()
        self.protocol = self.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.protocol.makeConnection(self.transport)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {headers.pop('Host', 'x')}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body and "Transfer_Encoding" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        self.protocol.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)

    def answers(self) -> list[Answer]:
        """What has come since the last time."""
        text, found = self.transport.value(), []
        self.transport.clear()
        while text:
            head, _, text = text.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = int(headers.get("content-length", "0"))
            found.append(Answer(int(first.split()[1]), headers, text[:length]))
            text = text[length:]
        return found

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.send(method, path, body, **headers)
        (answer,) = self.answers()
        return answer


def test_a_get_is_answered_with_its_length_and_stays_connected() -> None:
    client = Client()
    for _ in range(2):
        answer = client.ask("GET", "/render?target=a.d&from=-20min&rawData=1")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert answer.body.startswith(b"a.d,")
    assert not client.transport.disconnecting


def test_a_form_is_merged_with_the_url() -> None:
    body = urlencode({"target": "x", "format": "json"}).encode()
    answer = Client().ask("POST", "/render?target=a.d&format=raw", body, Content_Type=FORM)
    assert [series["target"] for series in answer.json] == ["a.d", "x"]


def test_the_metric_tree_as_grafana_asks_for_it() -> None:
    answer = Client().ask("POST", "/metrics/find?from=-6h&until=now", b"query=a.*", Content_Type=FORM)
    assert [node["text"] for node in answer.json] == ["b", "d"]


@pytest.mark.parametrize(
    "path",
    ["/version", "/health", "/render?target=x&format=json", "/nothing", "/metrics/find", "/functions/x"],
)
def test_every_answer_forbids_guessing_its_type(path: str) -> None:
    answer = Client().ask("GET", path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json


def test_what_is_nowhere_is_404() -> None:
    assert Client().ask("GET", "/%66oo%ff?x").status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/render", "GET, HEAD, POST"),
        ("POST", "/functions", "GET, HEAD"),
        ("DELETE", "/version", "GET, HEAD"),
    ],
)
def test_other_methods_are_405_and_told_which_are_allowed(method: str, path: str, allowed: str) -> None:
    answer = Client().ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/version", "/render?target=x", "/nothing"])
def test_a_head_has_the_length_and_no_body(path: str) -> None:
    client = Client()
    body = client.ask("GET", path).body
    client.send("HEAD", path)
    head, _, rest = client.transport.value().partition(b"\r\n\r\n")
    assert rest == b""
    assert f"content-length: {len(body)}" in head.decode().lower()


def test_a_wrong_request_is_400_with_all_that_is_wrong() -> None:
    answer = Client().ask("GET", "/render?target=x&format=gif&maxDataPoints=0")
    assert (answer.status, set(answer.json["parameters"])) == (400, {"format", "maxDataPoints"})


def test_a_body_that_is_too_long_is_refused_before_it_is_read() -> None:
    client = Client(house(Http(body_bytes_max=1000)))
    client.send("POST", "/render", Content_Type=FORM, Content_Length="1001", Expect="100-continue")
    (answer,) = client.answers()
    assert answer.status == 413
    assert "1001 bytes; at most 1000" in answer.json["error"]
    assert client.transport.disconnecting


def test_a_body_of_the_greatest_length_is_read() -> None:
    client = Client(house(Http(body_bytes_max=1000)))
    assert client.ask("POST", "/render", b"target=x&_=".ljust(1000, b"a"), Content_Type=FORM).status == 200


def test_a_body_without_a_length_is_refused_and_not_answered_twice() -> None:
    client = Client()
    client.send("POST", "/render", b"8\r\ntarget=x\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    (answer,) = client.answers()
    assert answer.status == 411


def test_a_fault_of_ours_is_logged_and_told_by_its_number_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        def find_series(self, pattern: str) -> Any:
            raise ZeroDivisionError("secret")

    client = Client(House(Broken()))
    with caplog.at_level(logging.ERROR):
        answer = client.ask("GET", "/render?target=x")
    assert answer.status == 500
    assert set(answer.json) == {"error", "request"}
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert answer.json["request"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert client.ask("GET", "/version").status == 200


def test_requests_beyond_those_that_wait_are_429_and_health_still_answers() -> None:
    pool = Pool(at_once=False)
    client = Client(house(Http(running_max=1, waiting_max=1)), pool)
    busy = []
    for _ in range(2):
        client.send("GET", "/render?target=x")
        busy.append(client.transport)
        client.connect()
    answer = client.ask("GET", "/render?target=x")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert client.ask("GET", "/health").status == 200
    assert [transport.value() for transport in busy] == [b"", b""]
    pool.work()
    assert [transport.value()[:12] for transport in busy] == [b"HTTP/1.1 200"] * 2
    pool.at_once = True
    assert client.ask("GET", "/render?target=x").status == 200


def test_nothing_is_evaluated_or_written_for_a_client_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    to, pool = house(), Pool(at_once=False)
    client = Client(to, pool)
    client.send("GET", "/render?target=x")
    client.protocol.connectionLost(Failure(ConnectionDone()))
    pool.work()
    assert client.transport.value() == b""
    assert isinstance(to.source, MemoryStore)
    assert to.source.fetches == []
    assert not caplog.records
    client.connect()
    pool.at_once = True
    assert client.ask("GET", "/render?target=x").status == 200


class Interrupted(MemoryStore):
    """What is read lets `meanwhile` happen first."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def grids(self, *args: Any, **kwargs: Any) -> list[Grid]:
        """Without a fetch."""
        return []

    def fetch(self, *args: Any, **kwargs: Any) -> list[Fetched]:
        self.meanwhile()
        return super().fetch(*args, **kwargs)


def test_a_client_that_hangs_up_frees_its_thread_at_the_next_step(caplog: pytest.LogCaptureFixture) -> None:
    store = Interrupted()
    store.add("a", 0, 60, [1.0])
    client = Client(House(store, http=Http(running_max=1, waiting_max=0)))

    def path(unit: str) -> str:
        targets = [f"timeShift(a,'{n}{unit}')" for n in (1, 2, 3)]
        return f"/render?format=json&from=-1h&{urlencode({'target': targets}, doseq=True)}"

    assert client.ask("GET", path("h")).status == 200
    assert len(store.fetches) == 3

    store.meanwhile = lambda: client.protocol.connectionLost(Failure(ConnectionDone()))
    client.send("GET", path("hours"))  # not known to be quick: a thread's
    assert len(store.fetches) == 4  # two more shifts are not read
    assert client.transport.value() == b""
    assert not caplog.records

    store.meanwhile = lambda: None
    client.connect()
    assert client.ask("GET", path("d")).status == 200  # nothing waits: it would be 429


def test_a_connection_without_a_request_is_closed_after_a_while() -> None:
    client = Client(house(Http(idle_s=10)))
    client.reactor.advance(9)
    assert not client.transport.disconnecting
    client.reactor.advance(2)
    assert client.transport.disconnecting


def test_pipelined_requests_are_answered_in_their_order() -> None:
    client = Client()
    client.protocol.dataReceived(
        b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /render?format=json HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    )
    assert [answer.body[:1] for answer in client.answers()] == [b'"', b"[", b'"', b"["]


def test_many_requests_in_a_row_do_not_hold_the_reactor_however_quick_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("render.desk.LIGHT", LIGHT._replace(seconds=600))
    pool = Pool()
    client = Client(pool=pool)
    path = "/render?target=a.d&format=json&from=-20min"
    assert client.ask("GET", path).status == 200
    pool.at_once = False
    client.protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 10)
    assert len(client.answers()) == 4
    pool.at_once = True
    pool.work()
    assert len(client.answers()) == 6


# --- who may ask ---


class Keys:
    """One token, `reader`."""

    def find(self, token: str, now: int) -> Asker | None:
        return Asker("reader", Scope.READ) if token == "reader" else None

    def any(self) -> bool:
        return True


LOCKED = Door(Access(hosts=("graphs.example.org",), origins=("https://our.example.org",)), Keys(), local=True)
READER = "Bearer reader"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize("path", ["/render?target=x", "/nothing", "/tags/tagSeries", "/health", "/version"])
def test_without_a_token_no_answer_tells_what_there_is(method: str, path: str) -> None:
    answer = Client(door=LOCKED).ask(method, path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json["error"] in ("a token that may read is needed", "a token that may write is needed")


def test_a_token_reads_and_does_not_change() -> None:
    client = Client(door=LOCKED)
    assert client.ask("GET", "/render?target=x&format=json", Authorization=READER).status == 200
    assert client.ask("POST", "/render", b"target=x", Authorization=READER).status == 200
    assert client.ask("GET", "/nothing", Authorization=READER).status == 404
    answer = client.ask("POST", "/tags/tagSeries", b"path=a;b=c", Authorization=READER)
    assert answer.status == 403
    assert answer.json == {"error": "'reader' may not: that needs a token that may write"}
    assert client.ask("GET", "/render?target=x", Authorization="Bearer other").status == 401


def test_another_hosts_name_is_421_before_all_else() -> None:
    client = Client(door=LOCKED)
    assert client.ask("GET", "/render?target=x", Host="evil.org", Authorization=READER).status == 421
    assert client.ask("GET", "/version", Host="graphs.example.org:8080", Authorization=READER).status == 200


def test_a_page_of_another_origin_reads_if_it_is_listed_and_asks_before() -> None:
    client = Client(door=LOCKED)
    answer = client.ask(
        "OPTIONS", "/render", Access_Control_Request_Method="POST", Origin="https://our.example.org"
    )
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://our.example.org"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    evil = client.ask("OPTIONS", "/render", Access_Control_Request_Method="POST", Origin="https://evil.org")
    assert evil.status == 403
    found = client.ask("GET", "/version", Origin="https://our.example.org", Authorization=READER)
    assert found.headers["access-control-allow-origin"] == "https://our.example.org"
    assert found.headers["vary"] == "Origin"
    assert (
        "access-control-allow-origin" not in client.ask("GET", "/version", Origin="https://evil.org").headers
    )


def test_every_answer_has_a_policy_for_what_is_in_it() -> None:
    client = Client()
    for path in ("/version", "/nothing", "/render?target=x&format=json", "/render?format=gif"):
        assert client.ask("GET", path).headers["content-security-policy"].startswith("default-src 'none'")
    assert "sandbox" in client.ask("GET", "/render?target=x&format=svg").headers["content-security-policy"]


def test_connections_beyond_the_bound_are_closed_and_others_live_on() -> None:
    client = Client(house(Http(connections_max=1)))
    first = client.protocol
    client.connect()
    assert client.transport.disconnected
    client.protocol.connectionLost(Failure(ConnectionDone()))
    first.connectionLost(Failure(ConnectionDone()))
    client.connect()
    assert client.ask("GET", "/version").status == 200


def test_a_byte_now_and_then_does_not_keep_a_connection() -> None:
    client = Client(house(Http(idle_s=10)))
    for byte in b"GET /version HT":
        client.protocol.dataReceived(bytes([byte]))
        client.reactor.advance(1)
    assert client.transport.disconnecting


# --- what it says of itself ---


def samples(text: bytes) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def counters(client: Client) -> dict[str, float]:
    text = client.ask("GET", "/metrics").body.decode()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[0] != "#"
    }


def requests(route: str, status: str) -> str:
    return f'plumbago_http_requests_total{{route="{route}",status="{status}"}}'


def test_metrics_without_a_query_are_counters_and_with_one_nodes() -> None:
    client = Client()
    answer = client.ask("GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert b"plumbago_http_connections 1.0" in answer.body
    assert client.ask("GET", "/metrics/").headers["content-type"].startswith("text/plain")
    assert client.ask("GET", "/metrics?from=-1h").headers["content-type"].startswith("text/plain")
    for path in ("/metrics?query=a.*", "/metrics/?from=-1h&%71uery=a.*"):
        assert [node["text"] for node in client.ask("GET", path).json] == ["b", "d"]
    assert client.ask("POST", "/metrics", b"query=a.*", Content_Type=FORM).status == 200
    assert client.ask("GET", "/metrics/find").status == 400
    assert client.ask("GET", "/metrics?query=").status == 400


def test_counters_are_for_who_may_read() -> None:
    client = Client(door=LOCKED)
    assert client.ask("GET", "/metrics").status == 401
    assert client.ask("GET", "/metrics", Authorization=READER).status == 200


def test_every_request_is_counted_once_under_one_of_few_names() -> None:
    client = Client(house(Http(body_bytes_max=2000)))
    asked = [
        ("/render?target=x&format=json", "/render", "2xx"), ("/render/?target=x&format=gif", "/render", "4xx"),
        ("/metrics/find?query=*", "/metrics/find", "2xx"), ("/metrics?query=*", "/metrics/find", "2xx"),
        ("/functions/absolute", "/functions/{name}", "2xx"), ("/tags/abc", "/tags/{tag}", "2xx"),
        ("/version", "/version", "2xx"), ("/no/thing", "none", "4xx"), ("/other", "none", "4xx"),
    ]  # fmt: skip
    for path, _, _ in asked:
        client.ask("GET", path)
    client.send("POST", "/render", Content_Type=FORM, Content_Length="2001")
    client.connect()
    found = counters(client)
    expected = {requests(route, status): 0 for _, route, status in asked}
    for _, route, status in asked:
        expected[requests(route, status)] += 1
    expected[requests("none", "4xx")] += 1  # 413, before anything is looked for
    assert {
        name: value for name, value in found.items() if name.startswith("plumbago_http_requests_t")
    } == expected
    assert found['plumbago_http_refused_total{status="413"}'] == 1
    assert counters(client)[requests("/metrics", "2xx")] == 1


def test_what_was_read_sent_and_refused_is_counted() -> None:
    client = Client(door=LOCKED)
    answer = client.ask("GET", "/render?target=a.d&from=-20min&format=json", Authorization=READER)
    client.ask("GET", "/render?target=a.d")
    client.ask("GET", "/render?target=a.d", Host="evil.org")
    found = samples(client.site.reception.counters())
    assert found["plumbago_render_series_read_total"] == 1
    assert found["plumbago_render_points_read_total"] >= 2
    assert found["plumbago_http_sent_bytes_total"] > len(answer.body)
    assert found['plumbago_http_refused_total{status="401"}'] == 1
    assert found['plumbago_http_refused_total{status="421"}'] == 1
    assert found['plumbago_http_request_seconds_count{route="/render"}'] == 2


def test_what_is_in_work_and_waits_is_told() -> None:
    pool = Pool(at_once=False)
    client = Client(house(Http(running_max=1)), pool)
    for _ in range(3):
        client.send("GET", "/render?target=x&format=json")
        client.connect()
    found = counters(client)
    assert (found["plumbago_http_requests_in_work"], found["plumbago_http_requests_waiting"]) == (1, 2)
    assert found["plumbago_http_connections"] == 4
    pool.work()
    assert counters(client)["plumbago_http_requests_waiting"] == 0


def test_a_client_that_has_gone_is_counted_once_as_499(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    pool = Pool(at_once=False)
    client = Client(house(Http(access_log=log)), pool)
    client.send("GET", "/render?target=x")
    client.protocol.connectionLost(Failure(ConnectionDone()))
    pool.work()
    client.site.observer.close()
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["status"] == 499
    assert samples(client.site.reception.counters())[requests("/render", "4xx")] == 1


def test_a_line_a_request_without_what_is_secret(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    to = house(Http(access_log=log, body_bytes_max=2000))
    client = Client(to, door=LOCKED)
    answer = client.ask(
        "GET", "/render?target=a.d&format=json", Authorization=READER, X_Request_Id="r1", Cookie="sid=reader"
    )
    client.ask("GET", "/version", Authorization="Bearer hunter2")
    client.ask("HEAD", "/version?token=hunter2", Authorization=READER)
    client.send("POST", "/render?a=b", Content_Length="2001", Authorization="Bearer hunter2")
    client.site.observer.close()
    text = log.read_text()
    assert "hunter2" not in text
    assert "Bearer" not in text
    assert "sid=" not in text
    first, unknown, head, refused = map(json.loads, text.splitlines())
    assert (first["id"], first["client"], first["name"]) == ("r1", "192.168.1.1", "reader")
    assert (first["path"], first["query"]) == ("/render", "target=a.d&format=json")
    assert (first["status"], first["bytes"], first["worker"]) == (200, len(answer.body), False)
    assert first["ms"] > 0
    assert (unknown["status"], unknown["name"]) == (401, "")
    assert (head["method"], head["bytes"], head["query"]) == ("HEAD", 0, "token=***")
    assert (refused["status"], refused["method"], refused["path"]) == (413, "POST", "/render")


def test_nothing_is_logged_of_a_request_unless_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert Client().ask("GET", "/render?target=x&format=json").status == 200
    assert not caplog.records


def test_a_slow_query_is_told_with_its_targets_and_plan(tmp_path: Path) -> None:
    class Slow(MemoryStore):
        def fetch(self, *args: Any, **kwargs: Any) -> list[Fetched]:
            until = time.monotonic() + 0.15
            while time.monotonic() < until:
                pass
            return super().fetch(*args, **kwargs)

    store = Slow()
    store.add("a", 0, 60, [1.0])
    log = tmp_path / "slow.log"
    client = Client(House(store, http=Http(slow_s=0.12, slow_log=log)))
    body = urlencode({"target": "scale(a,2)", "format": "json"}).encode()
    assert client.ask("POST", "/render", body, Content_Type=FORM, X_Request_Id="r2").status == 200
    assert client.ask("GET", "/render?format=json").status == 200
    found = counters(client)
    client.site.observer.close()
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["id"], line["targets"], line["series"]) == ("r2", ["scale(a,2)"], 1)
    assert line["seconds"] >= 0.15
    assert [step["step"] for step in line["steps"]] == ["scale(a,2)"]
    assert [step["step"] for step in line["steps"][0]["within"]] == ["a"]
    assert found["plumbago_http_slow_total"] == 1


def test_a_slow_query_that_fails_is_told_with_its_targets(caplog: pytest.LogCaptureFixture) -> None:
    to = house(Http(slow_s=1e-6))
    client = Client(replace(to, limits=replace(to.limits, points_max=1)))
    with caplog.at_level(logging.WARNING):
        assert client.ask("GET", "/render?target=servers.*.cpu&from=-1h&format=json").status == 413
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert (line["status"], line["targets"], line["window"]) == (413, ["servers.*.cpu"], [["-1h"], None])


class Writer:
    """Records what it is told; `every` None = there is none."""

    def __init__(self, every: float | None) -> None:
        self.every, self.told = every, list[Mapping[str, float]]()

    def tell(self, values: Mapping[str, float]) -> float:
        if self.every is None:
            raise CannotAsk("no server")
        self.told.append(values)
        return self.every


def reporting(client: Client, writer: Writer) -> None:
    pool: Any = client.pool
    Reporter(client.reactor, client.site.report, writer.tell, pool).start()
    client.reactor.advance(1)


def test_the_writer_is_told_as_often_as_it_says() -> None:
    client, writer = Client(), Writer(60)
    reporting(client, writer)
    assert writer.told == [{}]  # who asks first learns how often
    client.ask("GET", "/render?target=x&format=json")
    client.reactor.advance(59)
    assert len(writer.told) == 1
    client.reactor.advance(1)
    assert [told["render.requests"] for told in writer.told[1:]] == [1]
    client.reactor.advance(60)
    assert [told["render.requests"] for told in writer.told[1:]] == [1, 0]


def test_what_the_writer_missed_is_told_when_it_is_back() -> None:
    client, writer = Client(), Writer(10)
    reporting(client, writer)
    writer.every = None
    for _ in range(3):
        client.ask("GET", "/version")
        client.reactor.advance(10)
    writer.every = 10
    client.reactor.advance(10)
    assert [told["render.requests"] for told in writer.told[1:]] == [3]


@pytest.mark.parametrize("every", [0, None])
def test_where_nothing_is_wanted_it_is_asked_now_and_then(every: float | None) -> None:
    client, writer = Client(), Writer(every)
    reporting(client, writer)
    for _ in range(6):
        client.reactor.advance(10)
    assert all(told == {} for told in writer.told)
    writer.every = 60
    client.reactor.advance(10)
    client.reactor.advance(60)
    assert "render.requests" in writer.told[-1]


def test_an_answer_that_a_page_may_read_differs_by_origin_and_by_coding() -> None:
    client = Client(door=Door(Access(origins=("https://g.example.org",)), NoKeys(), local=True))
    client.send(
        "GET", "/render?target=a.d&format=json", Origin="https://g.example.org", Accept_Encoding="gzip"
    )
    head = client.transport.value().partition(b"\r\n\r\n")[0]
    assert b"Vary: Origin" in head
    assert b"Vary: Accept-Encoding" in head


def test_what_a_client_has_is_not_sent_again() -> None:
    client = Client()
    path = "/render?target=a.d&format=json&from=-20min"
    tag = client.ask("GET", path).headers["etag"]
    again = client.ask("GET", path, If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    assert "content-length" not in again.headers
    assert client.ask("POST", path, If_None_Match=tag).status == 200


def test_a_server_that_leaves_tells_no_more() -> None:
    client, writer, is_leaving = Client(), Writer(10), list[bool]()
    pool: Any = client.pool
    Reporter(client.reactor, client.site.report, writer.tell, pool).start(until=lambda: bool(is_leaving))
    client.reactor.advance(1)
    client.reactor.advance(10)
    is_leaving.append(True)
    for _ in range(3):
        client.reactor.advance(10)
    assert len(writer.told) == 2


def test_what_is_nowhere_is_counted_too() -> None:
    client = Client()
    assert client.ask("OPTIONS", "*").status == 404
    assert client.ask("GET", "/version").status == 200
    assert counters(client)[requests("none", "4xx")] == 1


class Broken(Writer):
    is_broken = False

    def tell(self, values: Mapping[str, float]) -> float:
        if self.is_broken:
            raise ZeroDivisionError("a fault of ours")
        return super().tell(values)


def test_a_report_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    client, writer = Client(), Broken(10)
    reporting(client, writer)
    writer.is_broken = True
    with caplog.at_level(logging.ERROR):
        client.reactor.advance(10)
    assert "a fault of ours" in caplog.text
    writer.is_broken = False
    client.reactor.advance(10)
    assert len(writer.told) == 2
