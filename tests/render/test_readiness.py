"""The reasons not to ask a server now."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from render.config import Http
from render.leaving import Leaving
from render.readiness import SILENT_S, Readiness, store_fault, writer_fault
from render.server import faults
from render.source import SharedStore
from storage.schema import Rules
from storage.store import Store
from tests.render.api.store import MemoryStore, house
from tests.render.test_server import Client, Pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Store(tmp_path, Rules.load(None), writable=True).close()
    return tmp_path


def test_what_may_block_is_seen_when_a_thread_has_looked() -> None:
    reasons = ["disk"]
    readiness = Readiness([lambda: reasons[-1]])
    assert readiness.reasons() == []
    readiness.look()
    reasons.append("")
    assert readiness.reasons() == ["disk"]
    readiness.look()
    assert readiness.reasons() == []


def test_what_is_cheap_is_seen_at_once() -> None:
    reasons = ["", "full"]
    readiness = Readiness([])
    readiness.also([lambda: reasons[0], lambda: reasons[1]])
    assert readiness.reasons() == ["full"]
    reasons[:] = ["ends", ""]
    assert readiness.reasons() == ["ends"]


def test_a_look_that_does_not_come_back_is_a_reason() -> None:
    clock = Clock()
    readiness = Readiness([], clock=clock.seconds)
    readiness.look()
    clock.advance(SILENT_S)
    assert readiness.reasons() == []
    clock.advance(1)
    assert readiness.reasons() == [f"the store has not answered for {SILENT_S + 1:.0f} s"]
    readiness.look()
    assert readiness.reasons() == []


def test_a_store_is_readable_until_its_files_are_gone(folder: Path) -> None:
    source = SharedStore(Store(folder, Rules.load(None), writable=False))
    assert store_fault(folder, source) == ""
    shutil.rmtree(folder)
    assert store_fault(folder, source) == "the store cannot be read"


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), sqlite3.OperationalError("disk I/O error")]
)
def test_a_store_that_fails_is_told_without_its_path(folder: Path, error: Exception) -> None:
    class Failing(MemoryStore):
        def refresh(self) -> None:
            raise error

    assert store_fault(folder, Failing()) == "the store cannot be read"


def test_a_writer_is_seen_as_long_as_it_has_the_store(folder: Path) -> None:
    assert writer_fault(folder) == "no receiver writes the store"
    store = Store(folder, Rules.load(None), writable=True)
    assert writer_fault(folder) == ""
    store.close()
    assert writer_fault(folder) != ""
    os.remove(folder / "lock")
    assert writer_fault(folder) != ""


def test_a_server_says_what_keeps_it_from_answering() -> None:
    pool = Pool(at_once=False)
    client = Client(house(Http(running_max=1, waiting_max=1)), pool)
    readiness = Readiness([])
    readiness.also(faults(client.site))
    assert readiness.reasons() == []
    for _ in range(2):
        client.send("GET", "/render?target=x")
        client.connect()
    assert readiness.reasons() == ["2 requests are being worked on or wait"]
    pool.work()
    assert readiness.reasons() == []
    client.site.leaving = Leaving(client.reactor, client.site.channels, lambda: None, lambda: None)
    client.site.leaving.gently(60)
    assert readiness.reasons() == ["the server is about to end"]
