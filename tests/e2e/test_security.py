"""What guards a receiver, over real sockets: TLS, tokens, lists, bounds; one sender's malice is no other's loss."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import pickle
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # has no stubs
import pytest
import zstandard

from storage.schema import Rules
from storage.store import Store
from tests.authority import Authority, client_context
from tests.e2e.server import READY_S, eventually

pytestmark = pytest.mark.timeout(180)

TOKEN = "correct-horse-battery"
SOON_S = 1.0  # a datapoint is to be read after so long, whatever others do; 10 ms on a quiet machine
MIB = 1 << 20
_SAID = re.compile(r"plumbago ready (?P<ports>.*) data=.+\n")
_REJECTED = re.compile(r'plumbago_rejected_total\{listener="(.*)",reason="(.*)"\} (\d+)')

_CONFIG = """
[listener.admin]
idle = "2s"
[listener.secure]
port = 0
tls-certificate = "{certificate}"
tls-key = "{key}"
[listener.mutual]
port = 0
tls-certificate = "{certificate}"
tls-key = "{key}"
tls-client-ca = "{authority}"
[listener.mutualpickle]
kind = "pickle"
port = 0
tls-certificate = "{certificate}"
tls-key = "{key}"
tls-client-ca = "{authority}"
[listener.guarded]
port = 0
token-sha256 = "{digest}"
[listener.guardedpickle]
kind = "pickle"
port = 0
token = "{token}"
[listener.guardedadmin]
kind = "admin"
port = 0
token = "{token}"
[listener.listed]
port = 0
allow = "127.0.0.2/31"
[listener.listedudp]
kind = "udp"
port = 0
allow = "127.0.0.2/31"
[listener.msgpack]
port = 0
[listener.protobuf]
port = 0
[listener.unix]
path = "{unix}"
[listener.brief]
port = 0
idle = "1s"
[listener.flooded]
port = 0
"""


class Files:
    """A reader beside the receiver, of its files; for one thread."""

    def __init__(self, data: Path) -> None:
        self._store = Store(data, Rules.load(None), writable=False)

    def close(self) -> None:
        self._store.close()

    def value(self, name: str) -> float | None:
        """The newest value of a metric, None if it is not there."""
        self._store.refresh()
        series = self._store.lookup([name])
        if series[0] < 0:
            return None
        now = int(time.time())
        (found,) = self._store.fetch(series, now - 600, now, now)
        known = found.values[0][found.values[0] == found.values[0]]
        return float(known[-1]) if len(known) else None


class Receiver:
    """A `plumbago receive` of its own, all its listeners, and a reader beside it on its files."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "log"
        self.unix, config, pair = folder / "socket", folder / "config", authority.issue("server")
        config.mkdir()
        (config / "plumbago.toml").write_text(
            _CONFIG.format(
                certificate=pair.certificate, key=pair.key, authority=authority.certificate, token=TOKEN,
                digest=hashlib.sha256(TOKEN.encode()).hexdigest(), unix=self.unix,
            )
        )  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "plumbago",
            "receive",
            "--data",
            str(self.data),
            "--config",
            str(config),
        ]
        command += ["--line-port", "0", "--pickle-port", "0", "--admin-port", "0"]
        few = ["sh", "-c", 'ulimit -Sn 1024; exec "$@"', "-"]  # descriptors: it is to ask for more by itself
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*few, *command], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], READY_S)[0], "no ready line in time"
        found = _SAID.fullmatch(self.process.stdout.readline())
        assert found, self.log.read_text()
        said = (part.partition("=") for part in found["ports"].split(" "))
        self.ports = {name: int(at.rpartition(":")[2]) for name, _, at in said if ":" in at}
        self._files = Files(self.data)

    def stop(self) -> int:
        self._files.close()
        self.process.terminate()
        return self.process.wait(20)

    def connect(self, listener: str = "line", source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[listener]), 10, (source, 0))

    def send(self, data: bytes, listener: str = "line", source: str = "127.0.0.1") -> None:
        with self.connect(listener, source) as connection:
            connection.sendall(data)

    def value(self, name: str) -> float | None:
        """As Files says."""
        return self._files.value(name)

    def has(self, name: str) -> None:
        eventually(lambda: self.value(name) is not None)

    def rejected(self) -> dict[str, int]:
        """How many were refused since the start, by reason."""
        found: dict[str, int] = {}
        for _, reason, count in _REJECTED.findall(self.ask("GET", "/metrics")[1].decode()):
            found[reason] = found.get(reason, 0) + int(count)
        return found

    def ask(
        self, method: str, path: str, body: bytes = b"", listener: str = "admin", **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[listener], timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def own_memory(self) -> int:
        """Bytes that it has for itself, maps of files not counted."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"RssAnon:\s+(\d+) kB", text)[0]) << 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Receiver]:
    running = Receiver(tmp_path_factory.mktemp("receiver"), authority)
    yield running
    assert running.stop() == 0
    log = running.log.read_bytes()
    assert b"Traceback" not in log
    assert b"Unhandled" not in log
    assert not {0, 0x1B} & set(log), "control characters of senders came into the log"
    assert TOKEN.encode() not in log


@contextmanager
def counted(receiver: Receiver, **reasons: int) -> Iterator[None]:
    """So many are refused by each reason meanwhile (_ for blanks), no fewer and no more; others as they like."""
    before = receiver.rejected()
    yield

    def since() -> dict[str, int]:
        now = receiver.rejected()
        return {reason: now.get(told(reason), 0) - before.get(told(reason), 0) for reason in reasons}

    with suppress(AssertionError):
        eventually(lambda: since() == reasons, 5)
    assert since() == reasons


def told(reason: str) -> str:
    return reason.replace("_", " ")


@contextmanager
def others_unaffected(receiver: Receiver) -> Iterator[list[float]]:
    """A sender of one line after another on a connection of its own: each is there for a reader within SOON_S."""
    over, took = threading.Event(), list[float]()

    def send() -> None:
        with closing(Files(receiver.data)) as files, receiver.connect() as connection:
            while not over.is_set() or len(took) < 3:
                began, name = time.monotonic(), f"healthy.{time.monotonic_ns()}"
                connection.sendall(f"{name} 1 -1\n".encode())
                while files.value(name) is None and time.monotonic() < began + 20:
                    select.select([], [], [], 0.002)
                took.append(time.monotonic() - began)
                over.wait(0.02)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(60)
    assert took
    assert max(took) < SOON_S, sorted(took)[-5:]


@contextmanager
def memory_grows_less(receiver: Receiver, most: int) -> Iterator[Callable[[], None]]:
    """The receiver's own memory, looked at whenever the block asks for it and at its end."""
    before = receiver.own_memory()

    def look() -> None:
        grown = receiver.own_memory() - before
        assert grown < most, f"{grown / MIB:.1f} MiB"

    yield look
    look()


def is_closed(connection: socket.socket, within_s: float = 10) -> bool:
    """Whether the peer closes, sending nothing more."""
    connection.settimeout(within_s)
    try:
        return connection.recv(1) == b""
    except (TimeoutError, BlockingIOError):
        return False
    except OSError:
        return True


def is_refused(receiver: Receiver, listener: str, source: str = "127.0.0.1", data: bytes = b"") -> bool:
    """Whether a connection is closed at once, or after it has said something."""
    try:
        with receiver.connect(listener, source) as connection:
            connection.sendall(data)
            return is_closed(connection)
    except ConnectionError:
        return True


def framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def pickled(name: str) -> bytes:
    return framed(pickle.dumps([(name, (int(time.time()), 7.0))], 2))


def protobuf(name: str) -> bytes:
    """A Payload of one datapoint of now."""
    when, at = int(time.time()), bytearray()
    while when > 127:
        at.append(when & 127 | 128)
        when >>= 7
    point = b"\x08" + bytes(at) + bytes([when]) + b"\x11" + struct.pack("<d", 7.0)
    metric = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12" + bytes([len(point)]) + point
    return framed(b"\x0a" + bytes([len(metric)]) + metric)


# --- ways in ---


@pytest.mark.parametrize(
    ("listener", "data"),
    [
        ("line", lambda name: f"{name} 7 -1\n".encode()),
        ("line", lambda name: gzip.compress(f"{name} 7 -1\n".encode())),
        ("line", lambda name: zstandard.ZstdCompressor().compress(f"{name} 7 -1\n".encode())),
        ("pickle", pickled),
        ("pickle", lambda name: gzip.compress(pickled(name))),
        ("msgpack", lambda name: msgpack.packb([name, [int(time.time()), 7.0]])),
        ("protobuf", protobuf),
    ],
    ids=["line", "line-gzip", "line-zstd", "pickle", "pickle-gzip", "msgpack", "protobuf"],
)
def test_each_protocol_has_a_listener(
    receiver: Receiver, listener: str, data: Callable[[str], bytes], request: pytest.FixtureRequest
) -> None:
    name = f"ways.{request.node.callspec.id}"
    receiver.send(data(name), listener)
    receiver.has(name)
    assert receiver.value(name) == 7


def test_lines_come_by_a_unix_socket_and_by_http(receiver: Receiver) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(receiver.unix))
        connection.sendall(b"ways.unix 7 -1\n")
    status, said = receiver.ask("POST", "/metrics/ingest", b"ways.http 7 -1\nbad\n")
    assert (status, json.loads(said)["taken"]) == (200, 1)
    receiver.has("ways.unix")
    receiver.has("ways.http")


# --- TLS ---


@pytest.mark.parametrize(
    ("listener", "data"),
    [("mutual", lambda: b"tls.mutual 7 -1\n"), ("mutualpickle", lambda: pickled("tls.mutualpickle"))],
)
def test_with_a_client_ca_only_its_clients_send(
    receiver: Receiver, authority: Authority, tmp_path: Path, listener: str, data: Callable[[], bytes]
) -> None:
    trusted = authority.certificate
    strangers = client_context(trusted, Authority(tmp_path, "strangers").issue("stranger"))
    for context in (client_context(trusted), strangers):
        with receiver.connect(listener) as plain, suppress(OSError):
            tls = context.wrap_socket(plain, server_hostname="localhost")
            tls.sendall(data().replace(listener.encode(), b"x" * len(listener)))
            tls.recv(1)  # TLS 1.3 lets a client speak before it is told
    context = client_context(trusted, authority.issue("client"))
    with context.wrap_socket(receiver.connect(listener), server_hostname="localhost") as tls:
        tls.sendall(data())
    receiver.has(f"tls.{listener}")
    assert receiver.value(f"tls.{'x' * len(listener)}") is None


def test_tls_is_spoken_and_nothing_else(receiver: Receiver, authority: Authority) -> None:
    with receiver.connect("secure") as plain:
        plain.sendall(b"tls.plain 7 -1\n")
        assert is_closed(plain)
    context = client_context(authority.certificate)
    with context.wrap_socket(receiver.connect("secure"), server_hostname="localhost") as tls:
        assert tls.version() in ("TLSv1.2", "TLSv1.3")
        tls.sendall(b"tls.secure 7 -1\n")
    receiver.has("tls.secure")
    assert receiver.value("tls.plain") is None
    with pytest.raises(ssl.SSLError):  # whose certificate is not trusted is not spoken with
        ssl.create_default_context().wrap_socket(receiver.connect("secure"), server_hostname="localhost")


# --- tokens and lists ---


def test_a_token_opens_a_listener_and_nothing_else_does(receiver: Receiver) -> None:
    right = f"token {TOKEN}\n".encode()
    with counted(receiver, wrong_or_no_token=3):
        for first in (b"", b"token wrong-horse-battery\n", right.upper()):
            assert is_refused(receiver, "guarded", data=first + b"token.wrong 7 -1\n")
        receiver.send(right + b"token.line 7 -1\n", "guarded")
        receiver.send(right + pickled("token.pickle"), "guardedpickle")
        receiver.send(right + gzip.compress(pickled("token.gzip")), "guardedpickle")
        for name in ("token.line", "token.pickle", "token.gzip"):
            receiver.has(name)
    assert receiver.value("token.wrong") is None


def test_a_bearer_token_opens_the_admin_listener(receiver: Receiver) -> None:
    line = b"token.http 7 -1\n"
    found = [
        receiver.ask("POST", "/metrics/ingest", line, "guardedadmin", Authorization=given)[0]
        for given in ("", "Bearer wrong-horse-battery", f"Bearer {TOKEN}")
    ]
    assert found == [401, 401, 200]


def test_only_addresses_of_the_list_are_let_in(receiver: Receiver) -> None:
    with counted(receiver, address_not_allowed=2):
        assert is_refused(receiver, "listed", data=b"list.wrong 7 -1\n")
        for source, name in (("127.0.0.1", b"list.wrong"), ("127.0.0.3", b"list.udp")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.sendto(name + b" 7 -1\n", ("127.0.0.1", receiver.ports["listedudp"]))
        receiver.send(b"list.line 7 -1\n", "listed", source="127.0.0.2")
        receiver.has("list.line")
        receiver.has("list.udp")
    assert receiver.value("list.wrong") is None


# --- web pages: a browser sends what a page wants sent to any port, and asks nobody for a text ---

_PAGE = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.org\r\nContent-Type: text/plain\r\n"


def page(path: bytes, body: bytes) -> bytes:
    return _PAGE % path + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_a_web_page_sends_no_lines(receiver: Receiver) -> None:
    with receiver.connect() as connection:
        connection.sendall(page(b"/", b"page.line 7 -1\n"))
        assert is_closed(connection, 2)
    assert receiver.value("page.line") is None


def test_a_web_page_posts_no_datapoints(receiver: Receiver) -> None:
    for header in ({"Origin": "http://evil.org"}, {"Sec-Fetch-Site": "cross-site"}):
        status, _ = receiver.ask("POST", "/metrics/ingest", b"page.http 7 -1\n", **header)
        assert status == 403
    assert receiver.value("page.http") is None


# --- those who hold connections ---


def test_a_silent_connection_is_closed_and_one_that_speaks_is_not(receiver: Receiver) -> None:
    with receiver.connect("brief") as silent, receiver.connect("brief") as speaks:
        for number in range(5):
            speaks.sendall(b"idle.%d 7 -1\n" % number)
            select.select([], [], [], 0.4)
        assert is_closed(silent, 0.5)
        speaks.sendall(b"idle.last 7 -1\n")
        receiver.has("idle.last")


def test_of_a_flood_of_connections_a_bounded_number_is_let_in_and_others_are_served(
    receiver: Receiver,
) -> None:
    with ExitStack() as flood, others_unaffected(receiver):
        with counted(receiver, too_many_connections=1, too_many_connections_of_one_address=1):
            sources = ["127.0.0.2"] * 1000 + [f"127.0.0.{i % 4 + 3}" for i in range(4000)]
            there = [flood.enter_context(receiver.connect("flooded", source)) for source in sources[:1000]]
            assert is_refused(receiver, "flooded", "127.0.0.2")
            there += [flood.enter_context(receiver.connect("flooded", source)) for source in sources[1000:]]
            assert is_refused(receiver, "flooded", "127.0.0.7")
        assert not is_closed(there[0], 0)
        there[500].sendall(b"flood.in 7 -1\n")
        receiver.has("flood.in")
    eventually(lambda: b"plumbago_connections 0.0" in receiver.ask("GET", "/metrics")[1])
    receiver.send(b"flood.after 7 -1\n", "flooded", "127.0.0.2")
    receiver.has("flood.after")


def test_who_never_ends_a_line_or_a_request_harms_nobody(receiver: Receiver) -> None:
    """Slowloris: a byte now and then, on the line and the admin port."""
    head = b"POST /metrics/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    with ExitStack() as slow, others_unaffected(receiver):
        lines = [slow.enter_context(receiver.connect()) for _ in range(100)]
        requests = [slow.enter_context(receiver.connect("admin")) for _ in range(100)]
        for number, one in enumerate(requests):
            one.sendall((b"", b"GET /health HTTP/1.1\r\nX: ", head)[number % 3])
        began = time.monotonic()
        while time.monotonic() - began < 3:
            for one in (*lines, *requests):
                with suppress(OSError):  # closed in the meantime
                    one.sendall(b"x")
            select.select([], [], [], 0.3)
        assert all(is_closed(one) for one in requests)
        assert receiver.ask("GET", "/health")[0] == 200
        lines[0].sendall(b"\nslow.after 7 -1\n")
        receiver.has("slow.after")


# --- what is too large ---


def test_100_mb_without_a_newline_take_no_memory_and_the_line_after_them_counts(receiver: Receiver) -> None:
    piece = b"x" * MIB
    receiver.send(piece + b"\n")  # what the allocator keeps for one, it keeps for all
    with (
        counted(receiver, line_too_long=1),
        others_unaffected(receiver),
        memory_grows_less(receiver, 4 * MIB) as look,
        receiver.connect() as connection,
    ):
        for _ in range(100):
            connection.sendall(piece)
            look()
        connection.sendall(b"\nlong.after 7 -1\n")
        receiver.has("long.after")


PICKLES = {  # what hurts who unpickles, or who believes what a frame says of itself
    "memo of 4 billion": framed(b"\x80\x02]r\xff\xff\xff\xff."),
    "a command": framed(b"cos\nsystem\n(S'touch harmed'\ntR."),
    "nested": framed(b"\x80\x02" + b"]" * 500_000 + b"a" * 499_999 + b"."),
    "tuples": framed(b"\x80\x02)" + b"\x85" * 900_000 + b"."),
    "doubled": framed(b"\x80\x02]" + b"q\x00(h\x00h\x00l" * 60_000 + b"."),
    "bytes of 16 EiB": framed(b"\x80\x05\x96" + b"\xff" * 8 + b"."),
    "a long of 2 GiB": framed(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 99 + b"."),
    "a long of 100 KB": framed(b"\x80\x02\x8b" + struct.pack("<I", 100_000) + b"1" * 100_000 + b"."),
    "a frame of 2 GiB": b"\x7f\xff\xff\xff" + b"\x80\x02]",
    "a frame of nothing": framed(b""),
    "numbers of a megabyte": framed(b"\x80\x02]I" + b"9" * 900_000 + b"\na."),
}
BINARY = ("pickle", "line", "msgpack", "protobuf")


def test_pickle_bombs_cost_neither_memory_nor_the_time_of_others(receiver: Receiver) -> None:
    for listener in BINARY:
        drop(receiver, PICKLES["nested"], listener)  # what the allocator keeps for one, it keeps for all
    with others_unaffected(receiver), memory_grows_less(receiver, 48 * MIB) as look:
        for bomb in PICKLES.values():
            for listener in BINARY:
                drop(receiver, bomb, listener)
                look()
    assert not Path("harmed").exists()
    receiver.send(pickled("bombs.after"), "pickle")
    receiver.has("bombs.after")


def test_compressed_bombs_cost_neither_memory_nor_the_time_of_others(receiver: Receiver) -> None:
    zstd = zstandard.ZstdCompressor(level=1).compress(bytes(1024 * MIB))
    with others_unaffected(receiver), memory_grows_less(receiver, 64 * MIB) as look:
        for bomb in (zstd, gzip.compress(bytes(64 * MIB), 1), gzip.compress(b"x" * 64 * MIB, 1)):
            for listener in ("line", "pickle"):
                drop(receiver, bomb, listener)
                look()
    receiver.send(b"bombs.compressed 7 -1\n")
    receiver.has("bombs.compressed")


def test_compressed_rubbish_of_tiny_objects_costs_no_time_of_others(receiver: Receiver) -> None:
    with others_unaffected(receiver):
        drop(receiver, gzip.compress(bytes(16 * MIB), 1), "msgpack")


def drop(receiver: Receiver, bomb: bytes, listener: str) -> None:
    with receiver.connect(listener) as connection, suppress(OSError):
        connection.sendall(bomb)
        connection.shutdown(socket.SHUT_WR)
        is_closed(connection)


# --- names ---

EVIL = {
    "empty node": [b"../../etc/passwd", b"..", b".hidden", b"a..b", b"a/../../b"],
    "control character": [b"a\x1b[2J\x1b]0;owned\x07b", b"a\x00b", b"a\x7fb", "a\x9bb".encode()],
    "not utf8": [b"a\xff\xfeb", b"a\xc0\xafb", b"a\xed\xa0\x80b"],
    "too long": [b"a" * 4097],
    "bad tag": [b"a;b", b"a;=c", b"a;b="],
}


def test_names_that_would_hurt_a_terminal_or_a_file_system_are_refused_and_counted(
    receiver: Receiver,
) -> None:
    files = set(receiver.folder.rglob("*"))
    expected = {reason.replace(" ", "_"): 2 * len(names) for reason, names in EVIL.items()}
    with counted(receiver, **expected):
        for names in EVIL.values():
            for name in names:
                receiver.send(name + b" 7 -1\n")
                receiver.send(msgpack.packb([name, [int(time.time()), 7.0]]), "msgpack")
    receiver.send(b"/etc/passwd 7 -1\n")  # a name like any other, and no path
    receiver.has("/etc/passwd")
    made = set(receiver.folder.rglob("*")) - files
    assert all(path.is_relative_to(receiver.data) for path in made)
    assert not [path for path in made if "passwd" in path.name]
    assert not [path for path in receiver.folder.rglob("*") if path.is_symlink()]


def test_names_of_10_mb_are_refused_by_every_way_in(receiver: Receiver) -> None:
    name = b"n" * (10 * MIB)
    with others_unaffected(receiver):
        with counted(receiver, line_too_long=1):
            receiver.send(name + b" 7 -1\n")
        for listener, data in (
            ("pickle", pickled(name.decode())),
            ("msgpack", msgpack.packb([name, [1, 7.0]])),
            ("protobuf", framed(name)),
        ):
            with receiver.connect(listener) as connection:
                with suppress(OSError):
                    connection.sendall(data)
                assert is_closed(connection)
    with suppress(OSError):  # it may be closed while it is still being sent
        assert receiver.ask("POST", "/metrics/ingest", name + b" 7 -1\n")[0] == 413


def test_newlines_in_names_of_binary_protocols_make_no_lines(receiver: Receiver) -> None:
    with counted(receiver, control_character=2, white_space=0):
        receiver.send(pickled("evil.a\nevil.forged"), "pickle")
        receiver.send(protobuf("evil.b\nevil.forged"), "protobuf")
    assert receiver.value("evil.forged") is None
