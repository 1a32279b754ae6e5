"""The intake: what was sent = what was stored + what was refused by reason, on a full disk and a failing one too."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.backlog import DROPPED
from carbon.intake import Held, Intake
from carbon.names import Bytes, Ids, Integers, NameTable
from carbon.protocols.line import LineReader
from carbon.protocols.reader import Batch, Floats
from carbon.stats import Report, Stats
from storage.room import Floor, Room
from storage.store import Dropped, Store
from tests.carbon.memory import MemorySeries

NOW = 1_700_000_000


class House:
    def __init__(self, folder: Path) -> None:
        self.store, self.stats = Store(folder), Stats()
        self.names = NameTable(self.store, self.stats)
        self.intake = Intake(self.store, self.names, self.stats, lambda: NOW)

    def lines(self, text: str) -> None:
        self.intake.accept(LineReader(self.names, self.stats).feed(text.encode(), NOW), "line")

    def newest(self, name: str) -> float:
        _, series = self.store.find_series(name)
        (fetched,) = self.store.fetch(series, NOW - 600, NOW, NOW)
        return float(fetched.values[0][~np.isnan(fetched.values[0])][-1])


def test_sent_is_stored_and_refused_by_reason(tmp_path: Path) -> None:
    house = House(tmp_path)
    good = [f"m.{i} {i} {NOW - i}\n" for i in range(100)]
    bad = ["a\n", f"a x {NOW}\n", f"a..b 1 {NOW}\n", f"m.1 nan {NOW}\n", f"t;x 1 {NOW}\n"]
    bad += [f"m.1 1 {NOW + 601}\n", "m.1 1 1000\n"]
    house.lines("".join(good[:50] + bad + good[50:]))
    stats = house.stats
    assert stats.committed == len(good)
    assert dict(stats.rejected) == {
        "not three fields": 1,
        "bad value": 1,
        "empty node": 1,
        "value is NaN": 1,
        "timestamp too far in the future": 1,
        "timestamp older than the longest archive": 1,
        "bad tag": 1,
    }
    assert len(good) + len(bad) == stats.committed + stats.rejected.total()
    assert house.newest("m.0") == 0.0


def test_a_name_whose_values_are_all_bad_makes_no_series(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.lines(f"rate nan {NOW}\n")
    assert len(house.store) == 0


def test_names_that_came_as_objects_go_the_same_way(tmp_path: Path) -> None:
    house = House(tmp_path)
    names = [b"a.b", b"a..b", b"c;t=1;s=2", b"a.b"]
    house.intake.accept_columns(names, [NOW, NOW, -1, NOW - 60], [1, 2, 3, 4], "pickle")
    assert house.newest("a.b") == 1.0
    assert house.newest("c;s=2;t=1") == 3.0
    assert dict(house.stats.rejected) == {"empty node": 1}
    assert house.stats.committed == 3


def test_a_report_says_what_happened_since_the_last(tmp_path: Path) -> None:
    house = House(tmp_path)
    report = Report(house.stats)
    house.lines(f"a 1 {NOW}\nb 1 {NOW}\nbad\n")
    first, second = report.take(), report.take()
    assert (first["metricsReceived"], first["committedPoints"], first["creates"]) == (2, 2, 2)
    assert first["listeners.line.metricsReceived"] == 2
    assert first["rejected.not_three_fields"] == 1
    assert first["pointsPerUpdate"] == 2
    assert (second["metricsReceived"], second["rejected.not_three_fields"]) == (0, 0)
    assert second["memUsage"] > 1e6


class Shelf(MemorySeries):
    """A store in memory that raises `error` while it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.error: OSError | None = None
        self.stored: list[float] = []
        self.distrusted = False
        self.folder = Path("the-folder")

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids:
        self._check()
        return super().series_of(text, starts, stops)

    def append(self, series: Ids, timestamps: Integers, values: Floats, now: int) -> Dropped:
        self._check()
        old = timestamps < 0
        self.stored += values[~old].tolist()
        return Dropped(too_old=int(old.sum()))

    def distrust(self) -> None:
        self.distrusted = True


class Gate:
    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Full:
    """An intake on a shelf; datapoints have ascending values."""

    def __init__(self, *, buffer_bytes: int = 1 << 20, floor: Floor = Floor(0)) -> None:  # noqa: B008
        self.shelf, self.stats, self.gate = Shelf(), Stats(), Gate()
        self.names = NameTable(self.shelf, self.stats)
        self.now, self.tick = 0.0, 0.0
        self.room = Room(1 << 40, 1 << 40, 0, 0)
        self.mended = 0
        self.intake = Intake(
            self.shelf, self.names, self.stats, lambda: NOW, clock=self._clock, measure=lambda _: self.room,
            floor=floor, buffer_bytes=buffer_bytes, mend=self._mend,
        )  # fmt: skip
        self.intake.gates.append(self.gate)
        self.sent = 0

    def _clock(self) -> float:
        self.now += self.tick
        return self.now

    def _mend(self) -> None:
        self.mended += 1

    def send(self, count: int = 1, listener: str = "line", *, old: int = 0) -> None:
        ids = self.names.ids_of([b"name.%d" % (i % 7) for i in range(count)])
        values = np.arange(self.sent, self.sent + count, dtype=np.float64)
        timestamps = np.where(np.arange(count) < old, -1, NOW)
        self.intake.accept(Batch(ids, timestamps, values), listener)
        self.sent += count

    def fails(self, number: int) -> None:
        self.shelf.error = OSError(number, "words")

    def drain(self) -> None:
        while self.intake.retry():
            pass


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("send"), st.sampled_from(["line", "udp", "self"]), st.integers(1, 40), st.integers(0, 3)
        ),
        st.tuples(st.sampled_from(["full", "room", "retry", "no files"])),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_what_was_sent_is_stored_in_its_order_or_counted(
    steps: list[tuple[str, ...]],
) -> None:
    full = Full(buffer_bytes=4000)
    for step in steps:
        match step:
            case ("send", listener, count, old):
                full.send(int(count), listener, old=int(old))
            case ("full",):
                full.fails(errno.ENOSPC)
            case ("no files",):
                full.fails(errno.EMFILE)
            case ("room",):
                full.shelf.error = None
            case _:
                full.intake.retry()
        stats = full.stats
        assert stats.received.total() == stats.committed + stats.rejected.total() + stats.waiting == full.sent
        assert full.gate.paused == (full.intake.backlog.size >= 4000)
    full.shelf.error = None
    full.drain()
    assert full.intake.held is None
    assert full.stats.waiting == 0
    assert not full.gate.paused
    assert full.shelf.stored == sorted(full.shelf.stored)
    assert len(full.shelf.stored) == full.stats.committed == full.sent - full.stats.rejected.total()


def test_a_name_that_could_not_be_made_is_made_when_there_is_room() -> None:
    full = Full()
    full.fails(errno.ENOSPC)
    full.send(3)
    assert full.shelf.names == []
    full.shelf.error = None
    full.drain()
    assert (len(full.shelf.names), full.stats.creates, full.stats.committed) == (3, 3, 3)


def test_our_own_measurements_never_raise_and_are_dropped_when_no_more_can_wait() -> None:
    full = Full(buffer_bytes=600)
    full.fails(errno.ENOSPC)
    for _ in range(3):
        full.intake.accept_values({"carbon.agents.x.y": 1.0}, "self")
    assert (full.stats.waiting, full.stats.rejected[DROPPED]) == (1, 2)
    assert not full.gate.paused


def test_below_the_floor_data_waits_until_a_quarter_more_is_free() -> None:
    full = Full(floor=Floor(1000))
    full.room = Room(999, 1 << 40, 0, 0)
    full.intake.watch()
    full.send(5)
    assert full.intake.held is Held.FULL
    for free in (1000, 1249):
        full.room = Room(free, 1 << 40, 0, 0)
        full.drain()
        assert full.stats.waiting == 5
    full.room = Room(1250, 1 << 40, 0, 0)
    full.drain()
    assert (full.stats.committed, full.mended) == (5, 0)


def test_at_the_end_the_floor_may_be_used_up() -> None:
    full = Full(floor=Floor(1000))
    full.room = Room(10, 1 << 40, 0, 0)
    full.intake.watch()
    full.send(5)
    full.intake.retry(floor=False)
    assert full.stats.committed == 5


def test_what_an_error_cut_short_is_mended_before_what_waits_is_stored() -> None:
    full = Full()
    assert not full.intake.attempt(_raiser(errno.ENOSPC))
    full.send()
    assert (full.intake.held, full.stats.waiting) == (Held.FULL, 1)
    assert not full.intake.attempt(_raiser(errno.EIO))  # not even tried
    full.drain()
    assert (full.mended, full.stats.committed) == (1, 1)


def _raiser(number: int) -> Callable[[], object]:
    def work() -> None:
        raise OSError(number, "words")

    return work


def test_what_waits_is_stored_in_slices() -> None:
    full = Full()
    full.fails(errno.ENOSPC)
    for _ in range(20):
        full.send()
    full.shelf.error = None
    full.tick = 0.02
    assert full.intake.retry()
    assert 0 < full.stats.committed < 20
    full.send()  # waits behind the others
    full.drain()
    assert full.shelf.stored == sorted(full.shelf.stored)
    assert full.stats.committed == 21


def test_a_full_disk_is_told_of_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    full = Full()
    full.room = Room(12_345, 1 << 40, 0, 0)
    full.fails(errno.ENOSPC)
    for _ in range(3):
        full.send(2)
        full.intake.retry()
    full.now = 90.0
    full.shelf.error = None
    full.drain()
    begin, end = caplog.messages
    assert begin.startswith(
        "the disk of the-folder is full: 12,345 bytes free: data waits, at most 1048576 bytes"
    )
    assert end == "the-folder is written again after 90.0 s; 6 datapoints waited"
    assert full.stats.stalled_s == 90.0


def test_a_disk_that_fails_is_not_written_to_again(caplog: pytest.LogCaptureFixture) -> None:
    full = Full()
    full.send()
    full.intake.trouble(OSError(errno.EIO, "words"))  # as a sync in a thread does
    assert (full.intake.held, full.gate.paused, full.shelf.distrusted) == (Held.FAILED, True, True)
    assert full.stats.read_only
    full.send()
    full.now = 599.0
    full.drain()
    for number in (errno.ENOSPC, errno.EIO):
        full.intake.trouble(OSError(number, "words"))
    assert (full.intake.held, full.stats.waiting, full.stats.committed) == (Held.FAILED, 1, 1)
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    full.now = 600.0
    full.drain()
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL] * 2
    assert "the-folder" in caplog.messages[0]
    assert "start Plumbago again" in caplog.messages[0]


def test_what_waits_at_the_end_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    full = Full()
    full.fails(errno.ENOSPC)
    full.send(3)
    full.intake.retry(floor=False)
    full.intake.give_up()
    assert caplog.messages[-1] == "3 datapoints that waited for the-folder are lost"
    assert (full.stats.waiting, full.stats.rejected[DROPPED]) == (0, 3)


def test_a_report_tells_of_a_full_disk() -> None:
    full = Full()
    report = Report(full.stats)
    full.fails(errno.ENOSPC)
    full.send(3)
    full.now = 7.0
    full.intake.retry()
    told = report.take()
    assert (told["waitingDatapoints"], told["stalledSeconds"], told["readOnly"]) == (3.0, 7.0, 0.0)
