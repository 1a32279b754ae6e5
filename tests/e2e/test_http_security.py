"""What guards the HTTP API, over real sockets: hosts, tokens, proxies, origins, TLS, bounds. One server for all."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render import api
from tests.authority import Authority, client_context
from tests.e2e.server import READY_S, Server, eventually
from tests.e2e.slowly import SLOWLY
from tests.effort import tries

pytestmark = pytest.mark.timeout(180)

_CONFIG = """
[http]
body-bytes-max = 100000
idle-s = 2
tls-certificate = "{certificate}"
tls-key = "{key}"
[query]
duration-s = 2
targets-max = 80
[access]
hosts = ["metrics.example.org"]
origins = ["https://our.example.org"]
proxies = ["127.0.0.2/32"]
[functions]
modules = ["slowly"]
"""
PROXY = "127.0.0.2"
FORM = "application/x-www-form-urlencoded"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Guarded:
    """A server with TLS and one token of each scope, which were made before it was started."""

    def __init__(self, folder: Path) -> None:
        self.data, self.authority = folder / "data", Authority(folder / "authority")
        pair, config = self.authority.issue("server"), folder / "config"
        config.mkdir()
        (config / "plumbago.toml").write_text(_CONFIG.format(certificate=pair.certificate, key=pair.key))
        (config / "slowly.py").write_text(SLOWLY)
        self.tokens = {
            scope: self.token("add", scope, "--scope", scope) for scope in ("read", "write", "admin")
        }
        self.server = Server(self.data, "--config", str(config))
        self.context = client_context(self.authority.certificate)
        self.silent = self.connect()  # it asks for megabytes and reads none of them
        walks = "&".join(f"target=randomWalk('{n:x}')" for n in range(60))
        self.silent.sendall(self.head(f"GET /render?{walks}&format=json&from=-7d") + b"\r\n")

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.server.http), 30, (source, 0))
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def head(self, line: str) -> bytes:
        """The begin of a request of one who may read."""
        return f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.tokens['read']}\r\n".encode()

    def told(self, request: bytes) -> bytes:
        """All that is answered until the server closes the connection, "" if it says nothing."""
        received = bytearray()
        with self.connect() as connection, suppress(ConnectionError, ssl.SSLError):
            connection.sendall(request)
            while got := connection.recv(1 << 16):
                received += got
        return bytes(received)

    def token(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "plumbago", "token", *arguments, "--data", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=READY_S, check=True)
        return done.stdout.strip()

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        scope: str | None = "read",
        body: str | None = None,
        source: str = "127.0.0.1",
        **headers: str,
    ) -> Answer:
        asking = http.client.HTTPSConnection(
            "localhost", self.server.http, timeout=30, context=self.context, source_address=(source, 0)
        )
        if scope is not None:
            headers["Authorization"] = f"Bearer {self.tokens[scope]}"
        asking.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = asking.getresponse()
        try:
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            asking.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    yield made
    made.silent.close()
    status, _, log = made.server.stop()
    assert status == 0, log[-3000:]
    assert "Traceback" not in log, log[-3000:]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", log), "control characters of clients came into the log"
    assert not any(token in log for token in made.tokens.values())


def test_without_a_host_only_this_machine_is_listened_to(guarded: Guarded) -> None:
    addresses = re.findall(r"=(\S+):\d+", guarded.server.ready)
    assert len(addresses) >= 4
    assert set(addresses) == {"127.0.0.1"}


def test_what_is_asked_without_tls_gets_no_answer(guarded: Guarded) -> None:
    with socket.create_connection(("127.0.0.1", guarded.server.http), timeout=10) as plain:
        plain.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(1000).startswith(b"HTTP")


@pytest.mark.parametrize("path", ["/render?target=a&format=json", "/tags", "/no/such", "/metrics/index.json"])
def test_without_a_token_all_paths_are_alike(guarded: Guarded, path: str) -> None:
    answers = [guarded.ask(path, scope=None), guarded.ask("/other", scope=None)]
    assert [answer.status for answer in answers] == [401, 401]
    assert answers[0].body == answers[1].body


def test_who_may_not_change_things_is_not_told_what_there_is(guarded: Guarded) -> None:
    guarded.server.send(f"there.is 1 {int(time.time())}\n".encode())
    assert eventually(lambda: json.loads(guarded.ask("/metrics/find?query=there.*").body))
    for scope, status in ((None, 401), ("read", 403), ("write", 403)):
        answers = [
            guarded.ask(f"/tags/delSeries?path={path}", method="POST", scope=scope)
            for path in ("there.is", "there.is.not", "a;b")
        ]
        assert {(answer.status, answer.body) for answer in answers} == {(status, answers[0].body)}


def test_each_scope_may_what_it_is_for(guarded: Guarded) -> None:
    assert guarded.ask("/render?target=a&format=json").status == 200
    for scope, status in (("read", 403), ("write", 200), ("admin", 200)):
        form = {
            "method": "POST",
            "body": "path=disk;a=b",
            "Content_Type": "application/x-www-form-urlencoded",
        }
        path = "/tags/tagSeries?path=disk;a=b"
        answer = guarded.ask(path, scope=scope, **form)
        assert (answer.status == 403) is (status == 403), answer
    assert guarded.ask("/tags/delSeries", method="POST", scope="write").status == 403


def test_a_series_is_deleted_by_who_may_and_by_nobody_else(guarded: Guarded) -> None:
    now = int(time.time())
    guarded.server.send(
        f"disk.used;host=a{{1;dc=x 1 {now}\ndisk.used;host=b 1 {now}\nd* 1 {now}\ndd 1 {now}\n".encode()
    )

    def found() -> list[str]:
        answers = [
            guarded.ask("/tags/findSeries?expr=name=disk.used").body,
            guarded.ask("/metrics/find?query=d*").body,
        ]
        return [*json.loads(answers[0]), *(node["text"] for node in json.loads(answers[1]))]

    assert eventually(lambda: len(found()) == 4)
    form = {"method": "POST", "Content_Type": "application/x-www-form-urlencoded"}
    body = urllib.parse.urlencode({"path": ["disk.used;host=a{1;dc=x", "d*", "no.such"]}, doseq=True)
    for scope, status in ((None, 401), ("read", 403), ("write", 403)):
        assert guarded.ask("/tags/delSeries", scope=scope, body=body, **form).status == status
    assert len(found()) == 4
    answer = guarded.ask("/tags/delSeries", scope="admin", body=body, **form)
    assert (answer.status, json.loads(answer.body)) == (200, True)
    assert found() == ["disk.used;host=b", "dd"]


def test_a_token_that_is_removed_is_refused_at_once(guarded: Guarded) -> None:
    guarded.tokens["brief"] = guarded.token("add", "brief")
    assert guarded.ask("/version", scope="brief").status == 200
    guarded.token("remove", "brief")
    assert guarded.ask("/version", scope="brief").status == 401


def test_the_file_of_tokens_has_none_of_them_and_is_the_owners(guarded: Guarded) -> None:
    file = guarded.data / "tokens.json"
    assert file.stat().st_mode & 0o077 == 0
    assert guarded.data.stat().st_mode & 0o007 == 0
    assert not any(token in file.read_text() for token in guarded.tokens.values())


# --- a proxy that knows its users ---


def test_a_user_is_believed_from_the_proxys_address_and_from_no_other(guarded: Guarded) -> None:
    named = {"X_Forwarded_User": "ann", "X_Forwarded_For": PROXY, "Forwarded": f"for={PROXY}"}
    for source, status in ((PROXY, 200), ("127.0.0.1", 401), ("127.0.0.3", 401)):
        assert guarded.ask("/version", scope=None, source=source, **named).status == status
    assert guarded.ask("/version", scope=None, source=PROXY).status == 401
    assert guarded.ask("/version", scope=None, source=PROXY, X_Forwarded_User="").status == 401


def test_a_proxys_user_may_what_the_configuration_says_and_no_more(guarded: Guarded) -> None:
    answer = guarded.ask(
        "/tags/tagSeries?path=a;b=c", method="POST", scope=None, source=PROXY, X_Forwarded_User="ann"
    )
    assert (answer.status, b"'ann' may not" in answer.body) == (403, True)


def test_a_user_header_that_stands_twice_is_no_user(guarded: Guarded) -> None:
    request = b"GET /version HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: a\r\nx-forwarded-user: b\r\n\r\n"
    with guarded.connect(PROXY) as proxy:
        proxy.sendall(request)
        assert proxy.recv(1000).startswith(b"HTTP/1.1 400 ")
    with guarded.connect() as other:
        other.sendall(request)
        assert other.recv(1000).startswith(b"HTTP/1.1 401 ")


# --- pages of others ---


def test_a_page_whose_name_is_bound_to_us_is_refused(guarded: Guarded) -> None:
    assert guarded.ask("/version", Host="evil.example.com").status == 421
    assert guarded.ask("/version", Host=f"metrics.example.org:{guarded.server.http}").status == 200


def test_a_page_of_another_origin_changes_nothing(guarded: Guarded) -> None:
    for headers in ({"Origin": "https://evil.org"}, {"Sec_Fetch_Site": "cross-site"}):
        answer = guarded.ask("/tags/tagSeries?path=a;b=c", method="POST", scope="admin", **headers)
        assert answer.status == 403
        assert b"another origin" in answer.body
    assert "access-control-allow-origin" not in guarded.ask("/version", Origin="https://evil.org").headers
    listed = guarded.ask("/version", Origin="https://our.example.org")
    assert listed.headers["access-control-allow-origin"] == "https://our.example.org"


def test_no_page_of_another_origin_reads_by_a_script(guarded: Guarded) -> None:
    path = "/render?target=a&format=json&jsonp=steal"
    assert guarded.ask(path, Sec_Fetch_Dest="script", Sec_Fetch_Site="cross-site").status == 403
    assert guarded.ask("/render?target=a&format=json&jsonp=alert(1)").status == 400


@pytest.mark.parametrize("form", ["json", "svg", "csv", "raw"])
def test_what_comes_from_users_is_no_markup(guarded: Guarded, form: str) -> None:
    evil = "<script>alert(1)</script>"
    target = urllib.parse.quote(f'alias(constantLine(1),"{evil}")')
    answer = guarded.ask(f"/render?target={target}&format={form}&title={urllib.parse.quote(evil)}")
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not answer.headers["content-type"].startswith("text/html")
    assert "script-src" not in answer.headers["content-security-policy"]
    if form == "svg":
        assert evil.encode() not in answer.body
        assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/%3Cscript%3E", "/render?format=%3Cscript%3E", "/functions/%3Cscript%3E"])
def test_an_error_is_json(guarded: Guarded, path: str) -> None:
    answer = guarded.ask(path)
    assert answer.status in (400, 404)
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["error"]


def test_all_that_is_wrong_with_a_request_is_told_at_once(guarded: Guarded) -> None:
    answer = guarded.ask("/render?target=x&format=gif&maxDataPoints=-1&from=never&tz=Nowhere&jsonp=a(b")
    assert answer.status == 400
    assert set(json.loads(answer.body)["parameters"]) == {"format", "maxDataPoints", "from", "tz", "jsonp"}


def test_a_method_that_is_not_allowed_is_told_those_that_are(guarded: Guarded) -> None:
    for method, path, allowed in (
        ("PUT", "/render", "GET, HEAD, POST"),
        ("TRACE", "/version", "GET, HEAD"),
        ("GET", "/tags/delSeries", "POST"),
        ("DELETE", "/events/1", "GET, HEAD"),
    ):
        answer = guarded.ask(path, method=method, scope="admin")
        assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_a_query_that_costs_too_much_is_refused_with_the_numbers(guarded: Guarded) -> None:
    answer = guarded.ask("/render?format=json" + "&target=x" * 81)
    assert (answer.status, b"81 targets in a request; at most 80" in answer.body) == (413, True)
    answer = guarded.ask("/render?format=json&target=slowly(constantLine(1),20)")
    assert (answer.status, b"longer than 2 s" in answer.body) == (503, True), answer.body


def test_a_body_that_is_too_long_is_refused_before_it_is_read(guarded: Guarded) -> None:
    answer = guarded.ask("/render", method="POST", Content_Length="100001")
    assert answer.status == 413
    assert b"100001 bytes; at most 100000" in answer.body


def test_a_body_without_a_length_or_with_two_is_refused_and_nothing_after_it_answered(
    guarded: Guarded,
) -> None:
    """What follows would be a request of its own for who reads the length otherwise."""
    smuggled = guarded.head("GET /version") + b"\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    for lengths, status in (
        (chunked, 411),
        (b"Content-Length: 0\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\n" + chunked, 400),
        (chunked + b"Content-Length: 5\r\n", 400),
        (b"Transfer-Encoding: xchunked\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length: -1\r\n", 400),
    ):
        answer = guarded.told(guarded.head("POST /render") + lengths + b"\r\n0\r\n\r\n" + smuggled)
        assert answer.startswith(b"HTTP/1.1 %d " % status), (lengths, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, (lengths, answer)


def test_a_head_that_is_too_long_or_has_too_many_lines_is_not_answered(guarded: Guarded) -> None:
    begin = guarded.head("GET /version")
    for long in (
        b"GET /" + b"a" * 20_000,
        begin + b"X: " + b"a" * 20_000,
        begin + b"a: b\r\n" * 600,
    ):
        assert guarded.told(long + b"\r\n\r\n") in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n",
    ],
    ids=["line", "header", "body"],
)
def test_a_client_that_is_slow_is_cut(guarded: Guarded, begin: bytes) -> None:
    with guarded.connect() as slow:
        slow.sendall(begin)

        def is_cut() -> bool:
            slow.settimeout(0.2)
            try:
                slow.sendall(b"a")
                return slow.recv(100) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        eventually(is_cut, 30)


def test_a_client_that_never_reads_is_cut(guarded: Guarded) -> None:
    """After idle-s, and 15 s more in which it could still take what waits for it."""
    seen = select.poll()
    seen.register(guarded.silent, select.POLLERR | select.POLLHUP | select.POLLRDHUP)
    assert eventually(lambda: seen.poll(0))


def test_what_is_sent_is_never_500_and_tells_nothing_of_us(guarded: Guarded) -> None:
    paths = [
        "/render?target=" + "a(" * 3000,
        "/render?target=" + urllib.parse.quote("{" * 2000),
        "/render?target=x&from=99999999999999999999&format=json",
        "/render?target=" + urllib.parse.quote("grep(x,'(a+)+$')") + "&format=json",
        "/metrics/find?query=" + urllib.parse.quote("{a,b}" * 200),
        "/tags/findSeries?expr=" + urllib.parse.quote("a=~(a+)+$"),
        "/tags/%00", "/functions/../../etc/passwd", "/render?target[]=%ff%fe&format=json",
        "/render?target=x&width=99999999&format=png",
    ]  # fmt: skip
    for path in paths:
        answer = guarded.ask(path)
        assert answer.status < 500, (path, answer)
        assert b"Traceback" not in answer.body
        assert b"/render/" not in answer.body.replace(b"/render/'", b"")


NASTY = [
    "", " ", "x", "-1", "0", "1e400", "NaN", "9" * 30, "{a,b" * 40, "a(" * 200, "*", "**", "..", "../../etc/passwd",
    "%", "%00", "\x00", "\x1b[2J", "\x7f", "é", "\u202e", "\U0001f4a5", "<script>alert(1)</script>", "'\"\\", "a;b=c",
    "name=~(a+)+$", "=cmd|' /C calc'!A0", "constantLine(1)", "randomWalk('x')", "//evil.org", "https://evil.org",
    "127.0.0.2", "null", "cross-site", "same-origin", "script", "Bearer x", "Basic :::", "bytes=0-", "W/\"x\"",
    "zstd;q=x", FORM, "application/json", "multipart/form-data; boundary=b", "multipart/form-data",
]  # fmt: skip
HEADERS = [
    "Host", "Authorization", "Origin", "Referer", "Cookie", "Range", "Expect", "Accept", "Accept-Encoding", "Upgrade",
    "If-None-Match", "Content-Type", "Content-Encoding", "Transfer-Encoding", "X-Forwarded-User", "X-Request-Id",
    "X-HTTP-Method-Override", "Access-Control-Request-Method", "Sec-Fetch-Site", "Sec-Fetch-Dest", "", "a b", "é",
]  # fmt: skip
FIELDS = [
    "target", "target[]", "format", "from", "until", "now", "tz", "jsonp", "query", "path", "expr", "tag", "limit",
    "maxDataPoints", "noNullPoints", "width", "title", "pretty", "template[x]", "explain", "stitch", "wildcards",
]  # fmt: skip
Texts = st.sampled_from(NASTY) | st.text(max_size=20)
Lines = Texts.map(lambda text: re.sub(r"[\r\n]", "", text))
Paths = st.one_of(
    st.sampled_from([*api.ROUTES, "*", "//", "http://evil.org/render", "/..", "/metrics/find/../../x"]),
    st.builds("/{}/{}".format, st.sampled_from(["functions", "tags", "events", "."]), Texts.map(urllib.parse.quote)),
)  # fmt: skip
Fields = st.lists(st.tuples(st.sampled_from(FIELDS), Texts), max_size=5).map(urllib.parse.urlencode)
Bodies = st.one_of(
    st.just(b""), Fields.map(str.encode), st.binary(max_size=60),
    Texts.map(lambda text: json.dumps({"what": text}).encode()),
)  # fmt: skip
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "CONNECT",
    "PRI",
    "get",
    "G T",
    "",
]
STATUSES = {200, 204, 206, 304, 400, 401, 403, 404, 405, 411, 413, 416, 421, 429, 503}


@given(
    method=st.sampled_from(METHODS[:3]) | st.sampled_from(METHODS),
    path=Paths,
    query=Fields,
    version=st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""]),
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), Lines), max_size=4),
    body=Bodies,
    scope=st.sampled_from([None, "read", "admin"]),
)
@settings(max_examples=tries(500), suppress_health_check=list(HealthCheck))
def test_any_request_is_answered_or_refused_and_never_with_a_fault_of_ours(
    guarded: Guarded,
    method: str,
    path: str,
    query: str,
    version: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    scope: str | None,
) -> None:
    lines = [f"{method} {path}?{query} {version}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [] if "Host" in dict(headers) else ["Host: x"]
    lines += [] if scope is None else [f"Authorization: Bearer {guarded.tokens[scope]}"]
    told = guarded.told("\r\n".join([*lines, "", ""]).encode() + body)
    while told.startswith(b"HTTP/1.1 100 "):
        told = told.partition(b"\r\n\r\n")[2]
    head, _, rest = told.partition(b"\r\n\r\n")
    status, names = _read(head)
    assert status in STATUSES or told == b"", told[:2000]
    assert not {b"location", b"set-cookie", b"refresh"} & set(names), head
    assert b"Traceback" not in rest
    if names and rest and status >= 400:
        assert names[b"content-type"] == b"application/json"
        assert json.loads(rest)["error"]


def _read(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """The status and the headers of an answer; (0, {}) of none."""
    first, *lines = head.split(b"\r\n")
    parted = (line.partition(b": ") for line in lines)
    return int(first.split()[1]) if head else 0, {name.lower(): value for name, _, value in parted}


def test_an_address_others_reach_is_told_at_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--host", "0.0.0.0")
    try:
        read = http.client.HTTPConnection("127.0.0.1", server.http, timeout=30)
        read.request("GET", "/version")
        assert read.getresponse().read()
        read.request("POST", "/tags/tagSeries?path=a;b=c")
        assert read.getresponse().status == 401
        read.close()
    finally:
        _, _, errors = server.stop()
    assert "whoever reaches it may read: make a token" in errors
