"""A Redis hash as a table, against Debian's redis-server on a free port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from render.config import RedisServer
from render.errors import Unavailable
from render.lookups.redis_hash import RedisHash, client

needs_server = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """A server on a Unix socket in a folder, until the end."""
    path = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                if "Ready to accept" in line or "ready to accept" in line:
                    break
            yield path
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("redis")) as path:
        with client(to(path)) as filled:
            filled.hset("hosts", mapping={f"web{i}": f"shop {i}" for i in range(3000)})
            filled.hset("hosts", "umlaut", "Büro")
            filled.hset("hosts", "bytes", b"\xff")
            filled.set("text", "no hash")
        yield path


def to(path: Path) -> RedisServer:
    return RedisServer(f"unix://{path}", ("hosts",), timeout_s=2.0)


class TestWithAServer:
    pytestmark = needs_server

    def test_fields_are_found_in_their_order(self, path: Path) -> None:
        table = RedisHash(client(to(path)), "hosts")
        assert table.ask([("web2",), ("none",), ("umlaut",), ("web0",)]) == ["shop 2", None, "Büro", "shop 0"]
        many = table.ask([(f"web{i}",) for i in range(2999, -1, -1)])
        assert many == [f"shop {i}" for i in range(2999, -1, -1)]

    def test_bytes_that_are_no_text_break_nothing(self, path: Path) -> None:
        assert RedisHash(client(to(path)), "hosts").ask([("bytes",)]) == ["\ufffd"]

    def test_a_key_that_is_not_there_has_no_aliases_and_one_that_is_no_hash_gives_no_answer(
        self, path: Path
    ) -> None:
        assert RedisHash(client(to(path)), "nothing").ask([("web1",)]) == [None]
        with pytest.raises(Unavailable, match="Redis gives no answer"):
            RedisHash(client(to(path)), "text").ask([("web1",)])

    def test_a_server_that_has_begun_again_is_asked_again(self, tmp_path: Path) -> None:
        with running(tmp_path) as there:
            table = RedisHash(client(to(there)), "hosts")
            assert table.ask([("a",)]) == [None]
        with pytest.raises(Unavailable):
            table.ask([("a",)])
        with running(tmp_path):
            assert table.ask([("a",)]) == [None]


def test_nobody_there_is_said_without_the_address() -> None:
    with pytest.raises(Unavailable) as raised:
        RedisHash(client(RedisServer("redis://:secret@127.0.0.1:1/0", ("k",))), "k").ask([("a",)])
    assert "secret" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            RedisHash(client(RedisServer(url, ("k",), timeout_s=0.05)), "k").ask([("a",)])
        assert time.monotonic() - begun < 2  # of itself it would wait for 5 s and longer
