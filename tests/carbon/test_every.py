"""Timers: work is done every so often, and goes on after it has failed."""

from __future__ import annotations

import logging

import pytest
from twisted.internet.task import Clock

from carbon.every import Timers
from carbon.stats import Stats


class Work:
    def __init__(self) -> None:
        self.clock, self.stats = Clock(), Stats()
        self.timers = Timers(self.stats, self.clock)
        self.done: list[float] = []

    def do(self) -> None:
        self.done.append(self.clock.seconds())
        if len(self.done) == 2:
            raise ZeroDivisionError("the second time")


def test_work_is_done_again_and_again_and_a_failure_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.timers.every(10, work.do)
    with caplog.at_level(logging.ERROR):
        work.clock.pump([5.0] * 8)
    assert work.done == [10, 20, 30, 40]
    assert work.stats.errors == 1
    assert ["the second time" in str(record.exc_info) for record in caplog.records] == [True]


def test_work_may_be_done_at_once_too() -> None:
    work = Work()
    work.timers.every(10, work.do, at_once=True)
    assert work.done == [0]


def test_stopped_timers_do_nothing_more() -> None:
    work = Work()
    work.timers.every(1, work.do)
    work.timers.every(2, work.do, at_once=True)
    work.timers.stop()
    work.clock.pump([1.0] * 5)
    assert work.done == [0]
    work.timers.stop()
