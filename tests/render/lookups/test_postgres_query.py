"""A query as a table, against Debian's postgresql on a Unix socket in a folder of the test's own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from render.config import Database
from render.errors import Unavailable
from render.lookups.postgres_query import Connection, PostgresQuery

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
USER = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name  # the server refuses to be root
SQL = """
CREATE TABLE hosts (name text, dc text, owner text, rack int);
INSERT INTO hosts VALUES ('web1', 'dc1', 'shop', 7), ('web1', 'dc2', 'lab', 8), ('web2', 'dc1', NULL, 9);
"""
needs_server = [
    pytest.mark.peer,
    pytest.mark.skipif(BIN is None, reason="postgresql is not installed"),
    pytest.mark.skipif(
        os.getuid() == 0 and shutil.which("runuser") is None, reason="there is no other user to be"
    ),
]


def run(*command: str) -> None:
    before = ["runuser", "-u", USER, "--"] if os.getuid() == 0 else []
    subprocess.run([*before, *command], check=True, capture_output=True, cwd="/")


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, str(BIN)
        folder.chmod(0o700)
        if os.getuid() == 0:
            shutil.chown(folder, USER)
            for parent in [*folder.parents][:3]:  # pytest's own folders let nobody else through
                if parent.stat().st_uid == 0 and parent != Path("/tmp"):
                    parent.chmod(0o711)
        run(f"{self.bin}/initdb", "-D", f"{folder}/data", "-U", USER, "-A", "trust", "--no-sync")

    @property
    def dsn(self) -> str:
        return f"host={self.folder} port=5999 dbname=postgres user={USER}"

    def start(self) -> None:
        settings = f"-k {self.folder} -p 5999 -c listen_addresses= -c fsync=off"
        run(
            f"{self.bin}/pg_ctl",
            "-D",
            f"{self.folder}/data",
            "-o",
            settings,
            "-l",
            f"{self.folder}/log",
            "-w",
            "start",
        )

    def stop(self) -> None:
        run(f"{self.bin}/pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("pg"))
    made.start()
    with psycopg.connect(made.dsn, autocommit=True) as connection:
        connection.execute(SQL)
    try:
        yield made
    finally:
        made.stop()


def table(server: Server, query: str, **more: Any) -> PostgresQuery:
    database = Database(server.dsn, {"q": query}, **{"timeout_s": 2.0, **more})
    return PostgresQuery(Connection("inventory", database), query)


OWNER = "SELECT owner FROM hosts WHERE name = %s AND dc = %s"


class TestWithAServer:
    pytestmark = needs_server

    def test_the_first_column_of_the_first_row_is_the_alias(self, server: Server) -> None:
        found = table(server, OWNER)
        assert found.width == 2
        asked = [("web1", "dc2"), ("web9", "dc1"), ("web2", "dc1"), ("web1", "dc1")]
        assert found.ask(asked) == ["lab", None, None, "shop"]
        assert table(server, "SELECT rack, owner FROM hosts WHERE name = %s ORDER BY rack").ask(
            [("web1",)]
        ) == ["7"]
        assert table(server, "SELECT %s || '%%'").ask([("a",)]) == ["a%"]
        assert found.ask([]) == []

    def test_many_keys_are_found_in_their_order(self, server: Server) -> None:
        names = [(f"n{i}",) for i in range(2500)]
        assert table(server, "SELECT %s || '!'").ask(names) == [f"n{i}!" for i in range(2500)]

    def test_what_a_name_says_is_no_part_of_the_query(self, server: Server) -> None:
        names = ["'; DROP TABLE hosts; --", "x' OR '1'='1", "%s", "\\", "a\nb"]
        assert table(server, OWNER).ask([(name, "dc1") for name in names]) == [None] * 5
        assert table(server, "SELECT %s::text").ask([(name,) for name in names]) == names

    def test_nothing_can_be_written(self, server: Server) -> None:
        with pytest.raises(Unavailable):
            table(server, "INSERT INTO hosts (name) VALUES (%s) RETURNING name").ask([("new",)])
        assert table(server, "SELECT count(*) FROM hosts WHERE name = %s").ask([("new",)]) == ["0"]

    def test_a_slow_query_is_ended_and_the_next_is_answered(self, server: Server) -> None:
        connection = Connection("inventory", Database(server.dsn, {}, timeout_s=0.1))
        with pytest.raises(Unavailable, match="database 'inventory' gives no answer"):
            PostgresQuery(connection, "SELECT pg_sleep(9), %s").ask([("a",)])
        assert PostgresQuery(connection, "SELECT %s || ''").ask([("a",)]) == ["a"]

    def test_threads_take_turns(self, server: Server) -> None:
        shared = table(server, "SELECT %s || ''")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda i: shared.ask([(f"n{i}",)]), range(50)))
        assert answers == [[f"n{i}"] for i in range(50)]

    def test_a_database_that_was_restarted_is_asked_again(self, server: Server) -> None:
        found = table(server, OWNER)
        assert found.ask([("web1", "dc1")]) == ["shop"]
        server.stop()
        with pytest.raises(Unavailable):
            found.ask([("web1", "dc1")])
        server.start()
        assert found.ask([("web1", "dc1")]) == ["shop"]


def test_nobody_there_is_said_without_the_address() -> None:
    database = Database("host=127.0.0.1 port=1 user=u password=secret", {})
    with pytest.raises(Unavailable) as raised:
        PostgresQuery(Connection("inventory", database), "SELECT %s").ask([("a",)])
    assert "secret" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)
