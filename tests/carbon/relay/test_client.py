"""A client: nothing is lost that is not counted, whatever its destination does."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from carbon.relay.client import TICK_S, Client, Limits
from carbon.relay.destination import Destination
from carbon.relay.encode import Chunk
from carbon.relay.spool import Spool
from carbon.relay.window import Keep
from storage.disk import SystemDisk
from tests.carbon.relay.links import FakePeer, chunk, numbers
from tests.effort import tries

HERE = Destination("127.0.0.1", 2004, "a")
SECOND = {"retry_first_s": 1.0, "retry_max_s": 8.0, "jitter": 0.0}


class Bench:
    """A client, its peer, and what it told."""

    def __init__(
        self, folder: Path | None = None, *, spool_bytes: int = 1 << 20, disk: Any = None, **limits: Any
    ) -> None:
        self.clock = Clock()
        self.peer = FakePeer(self.clock)
        self.told: list[str] = []
        spool = None
        if folder is not None:
            spool = Spool(
                folder, "t", self.clock.seconds, spool_bytes, segment_bytes=300, disk=disk or SystemDisk()
            )
        self.client = self.peer.client = Client(
            HERE, self.peer.connect, self.clock, Limits(**{**SECOND, **limits}), spool,
            on_full=lambda: self.told.append("full"), on_room=lambda: self.told.append("room"),
            uniform=lambda: 0.5,
        )  # fmt: skip

    def offer(self, *wanted: int) -> list[bool]:
        return [self.client.offer(chunk(number)) for number in wanted]

    def connected(self, *, room: int = 1 << 40) -> Bench:
        self.client.start()
        self.peer.up = True
        self.peer.answer(room=room)
        return self

    def down(self) -> Bench:
        """Started, and a first try has failed."""
        self.peer.up = False
        self.client.start()
        return self

    @property
    def got(self) -> list[int]:
        return numbers(bytes(self.peer.link.data))


# --- the way through ---


def test_what_is_offered_is_written_at_once_and_in_order() -> None:
    bench = Bench().connected()
    bench.offer(1, 2, 3)
    assert bench.got == [1, 2, 3]
    assert (bench.client.counters.sent, bench.client.counters.batches, bench.client.queued) == (3, 3, 0)


def test_what_was_offered_before_the_connection_follows_when_it_is_made() -> None:
    bench = Bench()
    bench.offer(1, 2)
    bench.connected()
    bench.offer(3)
    assert bench.got == [1, 2, 3]
    assert bench.client.counters.until_connected == 2


def test_a_connection_that_has_enough_is_given_no_more_until_it_takes_more() -> None:
    bench = Bench().connected(room=25)
    bench.offer(1, 2, 3, 4, 5)
    assert bench.got == [1, 2, 3]
    assert (bench.client.queued, bench.client.counters.until_ready) == (2, 2)
    bench.peer.link.take(5)
    assert bench.got == [1, 2, 3, 4]


def test_what_is_urgent_goes_first_even_if_the_queue_is_full() -> None:
    bench = Bench(queue_max=2).connected(room=0)
    bench.peer.link.paused = True
    bench.offer(1, 2, 3)
    assert bench.client.offer(chunk(9), urgent=True)
    bench.peer.link.take(1 << 20)
    assert bench.got[0] == 9


def test_what_is_urgent_has_a_bound_too(tmp_path: Path) -> None:
    bench = Bench(queue_max=8, hard_share=1.5)
    assert [bench.client.offer(chunk(i), urgent=True) for i in range(30)].count(True) == 24
    assert bench.client.counters.full_drops == 6
    spooling = Bench(tmp_path, queue_max=8).down()
    assert all(spooling.client.offer(chunk(i), urgent=True) for i in range(30))
    assert spooling.client.counters.spooled == 30


# --- a full queue ---


def test_with_flow_control_a_full_queue_tells_and_takes_up_to_its_hard_limit() -> None:
    bench = Bench(queue_max=8, hard_share=1.5)
    assert bench.offer(*range(20)) == [True] * 12 + [False] * 8
    assert bench.told == ["full"]
    assert bench.client.counters.full_drops == 8
    bench.connected()
    assert bench.told == ["full", "room"]
    assert bench.got == list(range(12))


def test_without_flow_control_what_a_full_queue_cannot_take_is_dropped_and_counted() -> None:
    bench = Bench(queue_max=8, flow_control=False)
    assert bench.offer(*range(20)) == [True] * 8 + [False] * 12
    assert bench.client.counters.full_drops == 12


def test_there_is_room_again_below_the_low_mark_only() -> None:
    bench = Bench(queue_max=10, low_share=0.5).connected(room=5)
    bench.offer(*range(12))
    assert (bench.told, bench.client.queued) == (["full"], 11)
    bench.peer.link.take(50)
    assert (bench.told, bench.client.queued) == (["full"], 6)
    bench.peer.link.take(5)
    assert (bench.told, bench.client.queued) == (["full", "room"], 5)


def test_a_chunk_larger_than_the_queue_is_taken_when_that_is_empty() -> None:
    bench = Bench(queue_max=8, flow_control=False)
    assert bench.client.offer(chunk(1, points=100))
    assert not bench.client.offer(chunk(2))


# --- connections that fail, or are lost ---


def test_tries_come_ever_later_and_anew_after_a_steady_connection() -> None:
    bench = Bench(steady_s=5.0).down()
    bench.peer.advance(1 + 2 + 4 + 8 + 8 + 0.5)
    assert bench.peer.tries == 6
    bench.peer.up = True
    bench.peer.advance(8)
    assert bench.client.connected
    bench.peer.up = False
    bench.peer.link.lose()  # at once: it was no good
    bench.peer.advance(7.5)
    assert bench.peer.tries == 7
    bench.peer.up = True
    bench.peer.advance(1)
    bench.peer.advance(6)
    bench.peer.up = False
    bench.peer.link.lose()
    bench.peer.advance(1.5)
    assert bench.peer.tries == 9


def due(call: Any) -> float:
    time: float = call.getTime()
    return time


@given(st.floats(0, 1))
def test_pauses_are_scattered(random: float) -> None:
    bench = Bench(jitter=0.5)
    bench.client.uniform = lambda: random
    bench.down()
    (when,) = [time for time in map(due, bench.clock.getDelayedCalls()) if time > TICK_S]
    assert when == pytest.approx(1 + 0.5 * (2 * random - 1))


def test_what_had_not_arrived_is_sent_again_in_order_before_the_rest() -> None:
    bench = Bench(keep=Keep(0, 0)).connected(room=55)
    bench.offer(1, 2, 3)
    bench.peer.link.arrive()
    bench.peer.advance(TICK_S)
    bench.offer(4, 5, 6, 7)
    bench.peer.link.lose()
    bench.peer.advance(1.2)
    assert bench.got == [4, 5, 6, 7]
    assert bench.client.counters.resent == 3


def test_of_what_has_arrived_the_last_is_sent_again_if_it_is_new() -> None:
    bench = Bench(keep=Keep(25, 10)).connected()
    bench.offer(1, 2, 3, 4, 5)
    bench.peer.link.arrive()
    bench.peer.advance(1)
    bench.peer.link.lose()
    bench.peer.advance(1)
    assert bench.got == [3, 4, 5]
    bench.peer.link.arrive()
    bench.peer.advance(11)
    bench.peer.link.lose()
    bench.peer.advance(2)
    assert bench.got == []


def test_a_connection_that_takes_nothing_for_too_long_is_reset() -> None:
    bench = Bench(stalled_s=5.0).connected()
    bench.peer.advance(20)
    assert bench.client.counters.slow_resets == 0  # nothing was to be taken
    bench.offer(1)
    bench.peer.advance(4)
    bench.peer.link.arrived = 5  # a part is taken
    bench.peer.advance(4)
    assert bench.client.counters.slow_resets == 0
    bench.peer.advance(2)
    assert bench.client.counters.slow_resets == 1
    assert bench.peer.link.aborted
    bench.peer.link.lose()
    bench.peer.advance(1)
    assert bench.got == [1]


def test_a_connection_without_a_handshake_is_a_try_that_failed() -> None:
    bench = Bench()
    bench.client.start()
    bench.offer(1)
    bench.client.lost(object(), "bad certificate")  # type: ignore[arg-type]  # one that was never made
    bench.peer.up = True
    bench.peer.advance(1.2)
    assert bench.got == [1]
    assert bench.client.counters.failures == 1


def test_memory_is_bounded_while_a_connection_takes_everything() -> None:
    bench = Bench(keep=Keep(100, 10.0)).connected()
    for number in range(1000):
        bench.offer(number)
        bench.peer.link.arrive()
    assert bench.client._window.nbytes <= 250


# --- the spool ---


def test_while_a_destination_is_down_chunks_go_to_the_disk_and_from_there_to_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.offer(1, 2)
    bench.down()
    bench.offer(3, 4)
    assert (bench.client.queued, bench.client.counters.spooled) == (0, 4)
    bench.peer.up = True
    bench.peer.advance(1.2)
    assert bench.got == [1, 2, 3, 4]
    bench.peer.link.arrive()
    bench.peer.advance(12)
    assert bench.client.gauges()["spoolBytes"] == 0


def test_what_a_full_queue_cannot_take_goes_to_the_disk_and_no_one_is_held_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, queue_max=3).connected(room=5)
    bench.offer(*range(10))
    assert (bench.client.queued, bench.client.counters.spooled, bench.told) == (3, 6, [])
    bench.peer.link.take(1 << 20)
    bench.peer.advance(TICK_S)
    assert bench.got == list(range(10))


def test_live_chunks_go_before_spooled_ones_which_keep_to_their_rate(tmp_path: Path) -> None:
    bench = Bench(tmp_path, spool_bytes_s=200.0).down()
    bench.offer(*range(100))
    bench.peer.up = True
    bench.peer.advance(1.2)
    assert len(bench.got) <= 20 + 4  # what a second may take
    before = len(bench.got)
    for number in range(1000, 1030):
        bench.peer.link.paused, at = True, len(bench.got)
        bench.offer(number)
        bench.peer.advance(TICK_S)
        bench.peer.link.take(1 << 20)
        assert bench.got[at] == number
    spooled = [number for number in bench.got[before:] if number < 1000]
    assert spooled == list(range(before, before + len(spooled)))
    assert 58 <= len(spooled) <= 62  # three seconds of 20 chunks


def test_spooled_chunks_that_had_not_arrived_are_read_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep=Keep(0, 0)).down()
    bench.offer(*range(20))
    bench.peer.up = True
    bench.peer.advance(1.2)
    assert bench.got == list(range(20))
    bench.peer.link.arrived = 55
    bench.peer.advance(TICK_S)
    bench.peer.link.lose()
    bench.peer.advance(3)
    assert bench.got == list(range(5, 20))


def test_a_spool_that_refuses_leaves_the_queue_its_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path, spool_bytes=100, queue_max=3).down()
    kept = bench.offer(*range(10))
    spooled = bench.client.counters.spooled
    assert 1 <= spooled <= 3
    assert kept.count(True) == spooled + 4  # the queue's hard limit
    assert bench.told == ["full"]
    bench.peer.up = True
    bench.peer.advance(1.2)
    assert sorted(bench.got) == list(range(spooled + 4))
    assert bench.told == ["full", "room"]


class FailingDisk(SystemDisk):
    def write(self, file: int, data: memoryview, offset: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fails_costs_no_more_than_the_spool(tmp_path: Path) -> None:
    bench = Bench(tmp_path, disk=FailingDisk()).down()
    assert bench.offer(*range(10)) == [True] * 10
    bench.peer.up = True
    bench.peer.advance(1.2)
    assert bench.got == list(range(10))
    assert bench.client.totals()["spoolRefused"] > 0


# --- the end ---


def stopped(bench: Bench, within_s: float = 5.0) -> list[float]:
    """Begin to stop; the list has the time when that was done."""
    when: list[float] = []
    bench.client.stop(within_s).addCallback(lambda _: when.append(bench.clock.seconds()))
    return when


def test_stopping_waits_until_all_has_arrived() -> None:
    bench = Bench().connected(room=15)
    link = bench.peer.link
    bench.offer(1, 2, 3)
    when = stopped(bench)
    bench.peer.advance(1)
    assert when == []
    link.take(1 << 20)
    bench.peer.advance(1)
    assert (when, link.closed) == ([], False)
    link.arrive()
    bench.peer.advance(TICK_S)
    assert len(when) == 1
    assert link.closed
    assert numbers(bytes(link.data)) == [1, 2, 3]
    assert bench.clock.getDelayedCalls() == []


def test_what_has_not_arrived_when_the_time_is_over_is_counted() -> None:
    bench = Bench().connected(room=15)
    bench.offer(1, 2, 3)
    bench.peer.link.arrived = 10
    when = stopped(bench, 2)
    bench.peer.advance(2.2)
    assert len(when) == 1
    assert bench.client.counters.dropped_at_stop == 2
    assert not bench.client.offer(chunk(4))
    assert bench.client.counters.dropped_at_stop == 3


def test_what_has_not_arrived_when_the_time_is_over_is_spooled_for_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path).connected(room=15)
    bench.offer(1, 2, 3)
    bench.peer.link.arrived = 10
    stopped(bench, 2)
    bench.peer.advance(2.2)
    assert bench.client.counters.dropped_at_stop == 0
    again = Bench(tmp_path).connected()
    again.peer.advance(TICK_S)
    assert again.got == [2, 3]


def test_stopping_without_a_connection_does_not_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path).down()
    bench.offer(1)
    assert stopped(bench) == [0.0]
    assert bench.clock.getDelayedCalls() == []
    assert Spool(tmp_path, "t", bench.clock.seconds)


def test_a_client_that_was_never_started_can_be_stopped() -> None:
    bench = Bench()
    bench.offer(1)
    assert stopped(bench) == [0.0]
    assert bench.client.counters.dropped_at_stop == 1


# --- whatever happens ---

Steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 6)),
        st.tuples(st.just("take"), st.integers(1, 80)),
        st.tuples(st.just("arrive"), st.integers(0, 1)),
        st.tuples(st.just("lose"), st.integers(0, 1)),
        st.tuples(st.just("up"), st.integers(0, 1)),
        st.tuples(st.just("pass"), st.integers(1, 30)),
    ),
    max_size=40,
)


@given(Steps, st.booleans(), st.booleans(), st.sampled_from([0, 150, 1 << 20]))
@settings(max_examples=tries(200))
def test_all_that_is_offered_arrives_or_is_counted(
    steps: list[tuple[str, int]], flow_control: bool, last_room: bool, spool_bytes: int
) -> None:
    """A peer keeps what has arrived; what was under way when its connection was lost, it may not have."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder) if spool_bytes else None, spool_bytes=spool_bytes, queue_max=6,
            flow_control=flow_control, spool_bytes_s=300.0, keep=Keep(20, 1.0),
        )  # fmt: skip
        history = History(bench)
        for kind, number in steps:
            history.actions[kind](number)
        assert history.dropped == bench.client.counters.full_drops
        if last_room:
            history.recover()
            wanted = set(history.accepted)
        else:
            stopped(bench, 1.0)
            history.run(1.5)
            assert bench.clock.getDelayedCalls() == []
            missing = len(set(history.accepted) - history.kept)
            lost = bench.client.counters.dropped_at_stop
            if not spool_bytes:
                assert missing <= lost
            next_one = Bench(Path(folder) if spool_bytes else None, spool_bytes=1 << 20).connected()
            next_one.peer.advance(5)
            history.kept |= set(next_one.got)
            assert len(set(history.accepted) - history.kept) <= lost
            wanted = history.kept
        assert wanted <= history.kept
        assert bench.told == ["full", "room"] * (len(bench.told) // 2) + ["full"] * (len(bench.told) % 2)


class History:
    """What a peer has in the end, over all its connections."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.accepted: list[int] = []
        self.dropped = 0
        self.kept: set[int] = set()
        self.next = 0
        bench.peer.up = False
        bench.client.start()
        self.actions: dict[str, Callable[[int], None]] = {
            "offer": self.offer,
            "take": self.take,
            "arrive": lambda _: self.arrive(),
            "lose": lambda _: self.lose(),
            "up": self.up,
            "pass": lambda ticks: self.run(ticks * TICK_S),
        }

    def offer(self, count: int) -> None:
        for _ in range(count):
            self.next += 1
            if self.bench.client.offer(chunk(self.next)):
                self.accepted.append(self.next)
            else:
                self.dropped += 1

    def take(self, room: int) -> None:
        for link in self.bench.peer.links:
            link.take(room)

    def arrive(self) -> None:
        for link in self.bench.peer.links:
            link.arrive()
            self.kept |= set(numbers(bytes(link.data)))

    def lose(self) -> None:
        for link in list(self.bench.peer.links):
            self.kept |= set(numbers(bytes(link.data[: link.arrived // 10 * 10])))
            link.lose()

    def up(self, yes: int) -> None:
        self.bench.peer.up = bool(yes)

    def run(self, seconds: float) -> None:
        self.bench.peer.advance(seconds)

    def recover(self) -> None:
        """All is well from here on."""
        self.up(1)
        for _ in range(400):
            self.take(1 << 20)
            self.arrive()
            self.run(TICK_S)
            if self.bench.client.settled and not self.bench.client.spool:
                break
        self.run(2)
        self.arrive()


def test_counters_have_carbons_names() -> None:
    bench = Bench().connected()
    bench.client.offer(Chunk(b"x" * 10, 7))
    names = bench.client.totals() | bench.client.gauges()
    carbon = "attemptedRelays sent batchesSent relayMaxQueueLength fullQueueDrops queuedUntilReady"
    carbon += " queuedUntilConnected slowConnectionReset"
    assert set(carbon.split()) <= set(names)
    assert (names["sent"], names["attemptedRelays"], names["relayMaxQueueLength"]) == (7, 7, 7)
    assert bench.client.gauges()["relayMaxQueueLength"] == 0
