"""What waits is bounded, keeps its order, and holds streams back when there is too much of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.backlog import DROPPED, Backlog
from carbon.gates import Gates
from carbon.protocols.reader import Batch
from carbon.stats import Stats


class RecordingGate:
    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def batch(first: int, count: int) -> Batch:
    numbers = np.arange(first, first + count)
    return Batch(numbers.astype(np.int32), numbers.astype(np.int64), numbers.astype(np.float64))


def taken(backlog: Backlog) -> list[int]:
    out: list[int] = []
    while len(backlog):
        backlog.take_first(lambda batch, *_: out.extend(batch.ids.tolist()))
    return out


@given(st.lists(st.tuples(st.sampled_from(["line", "pickle", "udp", "self"]), st.integers(1, 200))))
def test_streams_lose_nothing_and_all_that_waits_comes_in_order(sent: list[tuple[str, int]]) -> None:
    stats, gate = Stats(), RecordingGate()
    gates = Gates()
    backlog = Backlog(20_000, stats, gates)
    gates.append(gate)
    first, streamed, dropped = 0, 0, 0
    for listener, count in sent:
        before = stats.waiting
        backlog.add(batch(first, count), listener, "")
        first += count
        streamed += count if listener in ("line", "pickle") else 0
        dropped += count if stats.waiting == before else 0
        assert gate.paused == (backlog.size >= 20_000)
        assert backlog.size <= 20_000 or listener in ("line", "pickle") or stats.waiting == before
    assert stats.rejected[DROPPED] == dropped
    assert stats.waiting == first - dropped >= streamed
    numbers = taken(backlog)
    assert numbers == sorted(numbers)
    assert (len(numbers), stats.waiting, backlog.size) == (first - dropped, 0, 0)


def test_a_row_that_waits_does_not_keep_the_rows_that_its_reader_had() -> None:
    backlog = Backlog(1 << 20, Stats(), Gates())
    many = batch(0, 10_000)
    backlog.add(Batch(many.ids[:1], many.timestamps[:1], many.values[:1]), "line", "")
    kept: list[Batch] = []
    backlog.take_first(lambda batch, *_: kept.append(batch))
    assert [column.base for column in kept[0]] == [None] * 3


def test_what_raises_waits_on() -> None:
    backlog = Backlog(1 << 20, Stats(), Gates())
    backlog.add(batch(0, 3), "line", "")

    def refuse(*_: object) -> None:
        raise OSError

    for _ in range(2):
        with pytest.raises(OSError):
            backlog.take_first(refuse)
    assert taken(backlog) == [0, 1, 2]


def test_what_is_dropped_at_the_end_is_counted() -> None:
    stats = Stats()
    backlog = Backlog(1 << 20, stats, Gates())
    backlog.add(batch(0, 3), "line", "")
    backlog.add(batch(3, 2), "udp", "")
    assert backlog.drop() == 5
    assert (len(backlog), stats.waiting, stats.rejected[DROPPED]) == (0, 0, 5)
