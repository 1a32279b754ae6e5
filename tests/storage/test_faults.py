"""Every call to the operating system fails once, or is the last before a kill: nothing is lost, nothing is made up."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from storage.disk import SystemDisk
from storage.retention import Archive, Retention
from storage.schema import Schema
from storage.shard import Shard

NOW = 1_700_000_000
SCHEMA = Schema(Retention((Archive(10, 40), Archive(60, 40), Archive(600, 8))), "average,max", 0.0)
ROWS = 3
ROUNDS, ROUND_S = 14, 130


class Killed(BaseException):
    """The process ends here."""


class CountingDisk(SystemDisk):
    """The real disk, whose call number `fails_at` does what `how` says, and maybe all after it."""

    def __init__(self, fails_at: int = -1, how: Callable[[str], None] = lambda call: None) -> None:
        self.calls, self._fails_at, self._how = 0, fails_at, how

    def _count(self, call: str) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            self._how(call)

    def write(self, file: int, data: memoryview, offset: int) -> None:
        try:
            self._count("write")
        except OSError:
            os.pwrite(file, data[: len(data) // 3], offset)  # a part of it was done
            raise
        super().write(file, data, offset)

    def sync(self, file: int) -> None:
        self._count("sync")
        super().sync(file)

    def reserve(self, file: int, offset: int, size: int) -> None:
        self._count("reserve")
        super().reserve(file, offset, size)

    def resize(self, file: int, size: int) -> None:
        self._count("resize")
        super().resize(file, size)

    def give_back(self, file: int, offset: int, size: int) -> None:
        if self.calls + 1 == self._fails_at:
            self.calls += 1  # a hole that cannot be made is no error
            return
        self._count("give_back")
        super().give_back(file, offset, size)

    def rename(self, old: Path, new: Path) -> None:
        self._count("rename")
        super().rename(old, new)


Step = list[Callable[[Shard], None]]


def workload() -> list[tuple[Step, dict[tuple[int, int], float]]]:
    """Steps, and what each stores by (row, slot of 10 s): heads, late values, gaps, packing, a wrap."""
    chance, value, steps = random.Random(7), 0.0, []
    for round_ in range(ROUNDS):
        now = NOW + round_ * ROUND_S
        ages = [0, 10, 20] if round_ % 3 else [0, 150, 290, 330]
        stored, rows, times = {}, [], []
        for age in ages:
            for row in range(ROWS):
                if chance.random() < 0.8:
                    rows.append(row)
                    times.append(now - age)
        values = [value + i for i in range(len(rows))]
        value += len(rows)
        stored = {(r, t // 10): v for r, t, v in zip(rows, times, values, strict=True)}
        columns = np.array(rows), np.array(times), np.array(values)

        def append(shard: Shard, columns: tuple = columns, now: int = now) -> None:
            shard.append(*columns, now)

        def pack(shard: Shard, now: int = now) -> None:
            shard.pack_some(now, 4)

        step: Step = [append, Shard.roll_up, lambda shard: shard.seal_ahead(4) and None]
        step += [pack] if round_ % 4 == 0 else []
        step += [sync] if round_ % 2 else []
        steps.append((step, stored))
    return steps


def sync(shard: Shard) -> None:
    for ring, begun in shard.begin_sync():
        begun.run()
        ring.end_sync(begun)


def run(step: Step, shard: Shard) -> None:
    for part in step:
        part(shard)


def opened(folder: Path, disk: CountingDisk, *, durable: bool) -> Shard:
    shard = Shard(folder, SCHEMA, ROWS, writable=True, durable=durable, pack_after=120, disk=disk)
    for ring in shard.every_ring():
        ring.places.quiet_s = 0.0
    return shard


def check(
    shard: Shard, sent: dict[tuple[int, int], list[float]], sure: dict[tuple[int, int], float], now: int
) -> None:
    """What is sure is there or what came later, nothing else is, and the coarse archives are made of it."""
    rows = np.arange(ROWS)
    first = now // 10 - 39
    fine = shard.rings[0].read(rows, first, 40)
    for row in range(ROWS):
        for i, value in enumerate(fine[row].tolist()):
            at = (row, first + i)
            assert np.isnan(value) or value in sent.get(at, ()), f"invented at {at}"
            if at in sure:
                assert value >= sure[at], f"lost at {at}"
    start = -(-first // 6)
    inside = fine[:, start * 6 - first :]
    inside = inside[:, : inside.shape[1] // 6 * 6].reshape(ROWS, -1, 6)
    with np.errstate(all="ignore"):
        known = ~np.isnan(inside)
        highest = np.where(known.any(axis=2), np.nanmax(np.where(known, inside, -np.inf), axis=2), np.nan)
    np.testing.assert_array_equal(shard.ring(1, "max").read(rows, start, inside.shape[1]), highest)


def calls_of(folder: Path, *, durable: bool) -> int:
    disk = CountingDisk()
    shard = opened(folder, disk, durable=durable)
    for step, _ in workload():
        run(step, shard)
    shard.close()
    return disk.calls


@pytest.mark.parametrize("part", range(2))
def test_a_kill_at_any_call_loses_nothing_and_invents_nothing(tmp_path: Path, part: int) -> None:
    def kill(call: str) -> None:
        raise Killed

    total = calls_of(tmp_path / "count", durable=False)
    assert total > 80
    for n in range(1 + part, total + 1, 2):
        folder, disk = tmp_path / str(n), CountingDisk(n, kill)
        sent: dict[tuple[int, int], list[float]] = {}
        sure: dict[tuple[int, int], float] = {}
        now = NOW
        try:
            shard = opened(folder, disk, durable=False)
            for number, (step, stored) in enumerate(workload()):
                now = NOW + number * ROUND_S
                for at, value in stored.items():
                    sent.setdefault(at, []).append(value)
                run(step, shard)
                sure |= stored
        except Killed:
            pass
        again = opened(folder, CountingDisk(), durable=False)
        again.roll_up()
        check(again, sent, sure, now)
        again.append(np.arange(ROWS), np.full(ROWS, now + 10), np.full(ROWS, 1e6), now + 10)
        assert (again.rings[0].read(np.arange(ROWS), now // 10 + 1, 1) == 1e6).all()
        again.close()


def test_what_failed_once_can_be_done_again(tmp_path: Path) -> None:
    total = calls_of(tmp_path / "count", durable=False)
    for n in range(1, total + 1):
        folder, number = tmp_path / str(n), errno.ENOSPC if n % 2 else errno.EIO

        def fail(call: str, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        disk = CountingDisk(n, fail)
        sent: dict[tuple[int, int], list[float]] = {}
        sure: dict[tuple[int, int], float] = {}
        try:
            shard = opened(folder, disk, durable=False)
        except OSError:
            shard = opened(folder, disk, durable=False)
        for round_, (step, stored) in enumerate(workload()):
            failed = False
            for at, value in stored.items():
                sent.setdefault(at, []).append(value)
            for part in step:
                try:
                    part(shard)
                except OSError:
                    failed = True
                    part(shard)
            sure |= stored
            if failed or round_ == ROUNDS - 1:
                check(shard, sent, sure, NOW + round_ * ROUND_S)
        shard.close()


def test_a_sync_that_failed_is_never_taken_for_done(tmp_path: Path) -> None:
    """The kernel forgets that pages could not be written: the next fdatasync would succeed without them."""

    class Failing(CountingDisk):
        def sync(self, file: int) -> None:
            super().sync(file)
            if self.calls > 20:
                self.calls = -(1 << 30)
                raise OSError(errno.EIO, "the disk is broken")

    shard = opened(tmp_path, Failing(), durable=True)
    refused = 0
    for step, _ in workload():
        try:
            run(step, shard)
        except OSError:
            refused += 1
    assert refused > ROUNDS // 3
    shard.close()


def test_a_rollup_that_found_no_room_is_done_again(tmp_path: Path) -> None:
    class Full(SystemDisk):
        full = False

        def write(self, file: int, data: memoryview, offset: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "full")
            super().write(file, data, offset)

    disk = Full()
    shard = Shard(tmp_path, SCHEMA, 1, writable=True, disk=disk)
    block_s = shard.rings[1].geometry.block * 60
    for i in range(2):
        shard.append(np.zeros(1, int), np.array([NOW + i * block_s]), np.ones(1), NOW + i * block_s)
        shard.roll_up()
    now = NOW + 2 * block_s
    with pytest.raises(OSError, match="full"):  # which of the two needs room is not the point
        disk.full = True
        shard.append(np.zeros(1, int), np.array([now]), np.ones(1), now)
        shard.roll_up()
    disk.full = False
    shard.append(np.zeros(1, int), np.array([now]), np.ones(1), now)
    with pytest.raises(OSError, match="full"):
        disk.full = True
        shard.roll_up()
    disk.full = False
    shard.roll_up()
    for method in ("average", "max"):
        assert shard.ring(1, method).read(np.zeros(1, int), now // 60, 1).tolist() == [[1.0]]
