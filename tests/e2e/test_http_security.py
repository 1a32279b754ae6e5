"""What guards the HTTP API, over real sockets: hosts, tokens, origins, TLS, bounds. One server for all."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.authority import Authority, client_context
from tests.e2e.server import READY_S, Server, eventually

pytestmark = pytest.mark.timeout(180)

_CONFIG = """
[http]
body-bytes-max = 100000
idle-s = 2
tls-certificate = "{certificate}"
tls-key = "{key}"
[access]
hosts = ["metrics.example.org"]
origins = ["https://our.example.org"]
"""


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
        self.tokens = {
            scope: self.token("add", scope, "--scope", scope) for scope in ("read", "write", "admin")
        }
        self.server = Server(self.data, "--config", str(config))
        self.context = client_context(self.authority.certificate)

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
        **headers: str,
    ) -> Answer:
        asking = http.client.HTTPSConnection("localhost", self.server.http, timeout=30, context=self.context)
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
    assert made.server.stop()[0] == 0


def test_what_is_asked_without_tls_gets_no_answer(guarded: Guarded) -> None:
    with socket.create_connection(("127.0.0.1", guarded.server.http), timeout=10) as plain:
        plain.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(1000).startswith(b"HTTP")


@pytest.mark.parametrize("path", ["/render?target=a&format=json", "/tags", "/no/such", "/metrics/index.json"])
def test_without_a_token_all_paths_are_alike(guarded: Guarded, path: str) -> None:
    answers = [guarded.ask(path, scope=None), guarded.ask("/other", scope=None)]
    assert [answer.status for answer in answers] == [401, 401]
    assert answers[0].body == answers[1].body


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
    assert not any(token in file.read_text() for token in guarded.tokens.values())


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


def test_a_body_that_is_too_long_is_refused_before_it_is_read(guarded: Guarded) -> None:
    answer = guarded.ask("/render", method="POST", Content_Length="100001")
    assert answer.status == 413
    assert b"100001 bytes; at most 100000" in answer.body


def test_a_client_that_is_slow_is_cut(guarded: Guarded) -> None:
    plain = socket.create_connection(("127.0.0.1", guarded.server.http), timeout=30)
    with guarded.context.wrap_socket(plain, server_hostname="localhost") as slow:
        slow.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ")

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
