"""The keeper: the store is rolled up and synced in time, a failing disk stops it, jobs come once."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from carbon import keeper as keeping
from carbon.every import Timers
from carbon.intake import Held, Intake
from carbon.keeper import EXPIRE_S, ROLL_UP_S, SYNC_S, Keeper
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.stats import Stats
from storage.jobs import SyncFailed
from storage.ring import Ring
from storage.schema import Rules
from storage.store import Store

NOW = 1_700_000_040
CONFIG = {
    "storage-schemas.conf": "[all]\npattern = .*\nretentions = 60s:1d,5m:7d\n",
    "storage-aggregation.conf": "[all]\npattern = .*\nxFilesFactor = 0\naggregationMethod = sum\n",
}


class House:
    """A keeper whose syncs wait until they are let go, or fail with what they are told to."""

    def __init__(self, folder: Path, *, sync_s: float | None = SYNC_S, migrate: str = "off") -> None:
        for name, text in CONFIG.items():
            (folder / name).write_text(text)
        self.store, self.stats = Store(folder / "data", Rules.load(folder)), Stats()
        self.names = NameTable(self.store, self.stats)
        self.intake = Intake(self.store, self.names, self.stats, lambda: NOW)
        self.clock = MemoryReactorClock()
        self.syncs: list[tuple[Callable[[], None], Deferred[None]]] = []
        self.keeper = Keeper(
            self.store, self.intake, self.stats, Timers(self.stats, self.clock), sync_s=sync_s, migrate=migrate,
            now=lambda: NOW, clock=self.clock, in_thread=self._in_thread,
        )  # fmt: skip

    def _in_thread(self, work: Callable[..., None], *arguments: object) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.syncs.append((lambda: work(*arguments), done))
        return done

    def let_go(self) -> None:
        """Run the sync that waits, as its thread would."""
        work, done = self.syncs.pop()
        work()
        done.callback(None)

    def line(self, text: str) -> None:
        self.intake.accept(LineReader(self.names, self.stats).feed(f"{text}\n".encode(), NOW), "line")

    def pass_by(self, seconds: float) -> None:
        """In steps in which each timer has its turn."""
        for _ in range(round(seconds / ROLL_UP_S)):
            self.clock.advance(ROLL_UP_S)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_came_is_rolled_up_a_quarter_of_a_second_later(house: House) -> None:
    house.keeper.start()
    for minute in range(5):
        house.line(f"a.b 2 {NOW - 60 * minute}")
    house.pass_by(ROLL_UP_S)
    _, series = house.store.find_series("a.b")
    (coarse,) = house.store.fetch(series, NOW - 3 * 86_400, NOW, NOW)
    assert coarse.step == 300
    assert np.nansum(coarse.values) == 10


def test_a_sync_begins_when_the_one_before_has_ended(house: House) -> None:
    house.keeper.start()
    house.line(f"a 1 {NOW}")
    house.pass_by(SYNC_S)
    assert len(house.syncs) == 1
    house.line(f"a 2 {NOW - 60}")
    house.pass_by(2 * SYNC_S)
    assert len(house.syncs) == 1
    house.let_go()
    house.pass_by(SYNC_S)
    assert len(house.syncs) == 1


def test_nothing_new_is_no_sync(house: House) -> None:
    house.keeper.start()
    house.line(f"a 1 {NOW}")
    house.pass_by(SYNC_S)
    house.let_go()
    house.pass_by(SYNC_S)
    house.syncs.clear()  # what the rollup of the first has touched
    house.pass_by(4 * SYNC_S)
    assert house.syncs == []


def test_syncs_are_left_to_the_kernel_where_none_is_asked_for(tmp_path: Path) -> None:
    house = House(tmp_path, sync_s=None)
    house.keeper.start()
    house.line(f"a 1 {NOW}")
    house.pass_by(4 * SYNC_S)
    assert house.syncs == []


def test_a_sync_that_the_disk_refuses_ends_storing(house: House) -> None:
    house.keeper.start()
    house.line(f"a 1 {NOW}")
    house.pass_by(SYNC_S)
    house.syncs.pop()[1].errback(OSError(errno.EIO, "Input/output error"))
    assert house.intake.held is Held.FAILED
    assert house.stats.errors == 1
    house.pass_by(2 * SYNC_S)
    assert house.syncs == []


def test_a_sync_that_we_have_broken_is_told_and_tried_again(house: House) -> None:
    house.keeper.start()
    house.line(f"a 1 {NOW}")
    house.pass_by(SYNC_S)
    house.syncs.pop()[1].errback(ZeroDivisionError())
    assert house.intake.held is None
    assert house.stats.errors == 1
    house.line(f"a 2 {NOW}")
    house.pass_by(SYNC_S)
    assert len(house.syncs) == 1


@pytest.mark.parametrize(
    ("error", "held"),
    [
        (OSError(errno.ENOSPC, "full"), Held.FULL),
        (OSError(errno.EDQUOT, "quota"), Held.FULL),
        (SyncFailed(errno.EIO, "failing"), Held.FAILED),
        (OSError(errno.EACCES, "a job's own"), None),
    ],
)
def test_a_job_whose_error_is_the_disks_holds_datapoints_too(
    house: House, error: OSError, held: Held | None
) -> None:
    house.keeper._job_failed(error)
    assert house.intake.held is held


class Queue:
    """Jobs that are never done."""

    def __init__(self) -> None:
        self.added: list[tuple[str, Mapping[str, Any]]] = []

    def add(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.added.append((name, arguments))

    def waits(self, name: str) -> bool:
        return name in [each for each, _ in self.added[1:]]


def test_expiry_waits_once_however_often_its_time_comes(house: House) -> None:
    queue = house.keeper.jobs = Queue()  # type: ignore[assignment]  # all that the keeper needs of one
    house.keeper.start()
    for _ in range(5):
        house.clock.advance(EXPIRE_S)
    assert queue.added == [("expire", {}), ("expire", {})]  # one under way, one that waits


@pytest.mark.parametrize(
    ("how", "jobs"),
    [("off", []), ("lossless", [("migrate", {"lossy": False})]), ("all", [("migrate", {"lossy": True})])],
)
def test_series_are_migrated_at_start_as_far_as_asked(tmp_path: Path, how: str, jobs: list[object]) -> None:
    house = House(tmp_path, migrate=how)
    queue = house.keeper.jobs = Queue()  # type: ignore[assignment]
    house.keeper.start()
    assert queue.added == jobs


def test_the_end_syncs_and_says_that_it_was_clean(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(house.store, "run_sync", lambda _: done.append("synced"))
    monkeypatch.setattr(house.store, "closed_clean", lambda: done.append("clean"))
    house.line(f"a 1 {NOW}")
    _wait(house, Deferred.fromCoroutine(house.keeper.close()))
    assert done == ["synced", "clean"]


def test_the_end_does_not_wait_for_a_disk_that_stands_still(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, clean = Event(), []
    monkeypatch.setattr(keeping, "_LAST_SYNC_S", 0.0)
    monkeypatch.setattr(house.store, "run_sync", lambda _: stuck.wait(10))
    monkeypatch.setattr(house.store, "closed_clean", lambda: clean.append(True))
    house.line(f"a 1 {NOW}")
    _wait(house, Deferred.fromCoroutine(house.keeper.close()))
    stuck.set()
    assert clean == []


def _wait(house: House, ended: Deferred[None]) -> None:
    errors: list[object] = []
    ended.addErrback(errors.append)
    for _ in range(1_000):
        if ended.called:
            break
        house.clock.advance(0.01)
        Event().wait(0.001)
    assert ended.called
    assert errors == []


def test_begin_of_a_sync_that_fails_holds_datapoints(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def begin() -> list[tuple[Ring, object]]:
        raise OSError(errno.ENOSPC, "full")

    house.keeper.start()
    house.line(f"a 1 {NOW}")
    monkeypatch.setattr(house.store, "begin_sync", begin)
    house.pass_by(SYNC_S)
    assert "is full" in caplog.text
    assert house.syncs == []
    assert house.intake.held is None  # there is room, so the next second's retry went on
