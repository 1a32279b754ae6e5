"""A reader's way to the writer: nothing is lost that can be held back, whatever becomes of the connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carbon.forward import DROPPED, WAITING, Forward, ReaderStats
from carbon.names import NameTable
from carbon.protocols.columns import DATAPOINTS_MAX, Arrived, ColumnsReader, Event, Gauges, Refused
from carbon.protocols.reader import Batch
from carbon.stats import Stats

QUEUE_BYTES = 100_000


class Writer:
    """The other end: what it was sent, in order; it takes so much of that as it is told to."""

    def __init__(self) -> None:
        self.names = NameTable(None, Stats())
        self.reader = ColumnsReader(self.names)
        self.came: list[Event] = []

    def write(self, data: bytes) -> None:
        self.came += self.reader.feed(data)

    def points(self, events: list[Event]) -> Iterator[tuple[str, str, str, int]]:
        for event in events:
            if isinstance(event, Arrived):
                for name, when in zip(
                    self.names.interned.names(event.batch.ids), event.batch.timestamps.tolist(), strict=True
                ):
                    yield event.listener, event.source, name, when


class House:
    def __init__(self, queue_bytes: int = QUEUE_BYTES) -> None:
        self.stats = ReaderStats()
        self.names = NameTable(None, self.stats)
        self.forward = Forward(
            self.names, self.stats, lambda: 0.0, datagrams={"udp"}, queue_bytes=queue_bytes
        )
        self.sent = 0  # datapoints, numbered by their timestamps

    def accept(
        self, names: list[str], listener: str = "line", source: str = "1.1.1.1"
    ) -> list[tuple[str, str, str, int]]:
        whens = np.arange(self.sent, self.sent + len(names), dtype=np.int64)
        self.sent += len(names)
        ids = self.names.ids_of([name.encode() for name in names])
        self.forward.accept(Batch(ids, whens, whens.astype(np.float64)), listener, source)
        return [(listener, source, name, when) for name, when in zip(names, whens.tolist(), strict=True)]


def test_what_is_accepted_goes_out_at_once_with_its_names_once() -> None:
    house, writer = House(), Writer()
    house.forward.connected_to(writer.write)
    sent = house.accept(["a", "b", "a"]) + house.accept(["b", "c"])
    assert list(writer.points(writer.came)) == sent
    assert writer.names.interned.names(np.arange(3, dtype=np.int32)) == ["a", "b", "c"]
    assert not house.forward.empty
    house.forward.taken(2)
    assert house.forward.empty


def test_while_enough_is_under_way_what_comes_is_joined_by_sender() -> None:
    house, writer = House(), Writer()
    house.forward.connected_to(writer.write)
    first = [point for _ in range(4) for point in house.accept(["a"])]
    one = [point for _ in range(5) for point in house.accept(["b"])]
    other = house.accept(["c"], source="2.2.2.2")
    one += house.accept(["d"])
    assert list(writer.points(writer.came)) == first
    house.forward.taken(2)
    assert len(writer.came) == 6
    assert list(writer.points(writer.came[4:])) == one + other


def test_streams_are_held_back_while_too_much_waits_and_lose_nothing() -> None:
    house, writer = House(), Writer()
    sent = []
    while not house.forward.gates.held:
        sent += house.accept(["a"] * 10)
    assert house.forward.gates.held == {WAITING}
    for _ in range(1000):
        sent += house.accept(["b"] * 10)  # read before the hold took effect
    house.forward.connected_to(writer.write)
    while not house.forward.empty:
        house.forward.taken(1)
    assert list(writer.points(writer.came)) == sent
    assert not house.forward.gates.held
    assert not house.stats.rejected


def test_datagrams_beyond_the_room_are_dropped_and_counted() -> None:
    house, writer = House(), Writer()
    count = 0
    while not house.stats.rejected and count < 100_000:
        house.accept(["a"] * 10, "udp", "")
        count += 10
    assert house.stats.rejected == {DROPPED: 10}
    assert count // 10 * (10 * 20 + 512) > 0.9 * QUEUE_BYTES  # as a batch and its datapoints are counted
    house.forward.connected_to(writer.write)
    while not house.forward.empty:
        house.forward.taken(1)
    assert len(list(writer.points(writer.came))) == count - 10


def test_a_large_batch_goes_in_frames_that_the_writer_does_at_once() -> None:
    house, writer = House(1 << 30), Writer()
    house.forward.connected_to(writer.write)
    sent = house.accept(["a"] * (DATAPOINTS_MAX * 2 + 1))
    assert [len(each.batch.ids) for each in writer.came if isinstance(each, Arrived)] == [
        DATAPOINTS_MAX, DATAPOINTS_MAX, 1,
    ]  # fmt: skip
    assert list(writer.points(writer.came)) == sent


def test_what_is_kept_is_no_view_of_a_large_room() -> None:
    house = House()
    room = np.zeros(1 << 16, np.int64)
    ids = np.zeros(1 << 16, np.int32)
    house.names.ids_of([b"a"])
    house.forward.accept(Batch(ids[:2], room[:2], np.zeros(2)), "line", "")
    (waiting,) = house.forward._waiting.values()
    assert waiting[0].ids.base is None


def test_rejects_are_told_with_a_sample_and_counted_ones_without() -> None:
    house, writer = House(), Writer()
    house.forward.connected_to(writer.write)
    house.stats.reject("bad value", 2, sample="é" * 500, source="1.1.1.1")
    house.stats.reject("bad value", 3, sample=b"later", source="1.1.1.1")
    house.stats.rejected["value is NaN"] += 7
    gauges = Gauges(5, 1, 0)
    house.forward.tell(gauges)
    assert writer.came == [
        Refused("", "bad value", "1.1.1.1", ("é" * 100).encode(), 5),
        Refused("", "value is NaN", "", b"", 7),
        gauges,
    ]
    house.stats.reject("bad value")
    house.forward.tell(gauges)  # the last ones are still under way
    assert len(writer.came) == 3
    house.forward.taken(3)
    house.forward.tell(gauges)
    assert writer.came[3:] == [Refused("", "bad value", "", b"", 1)]


def test_kinds_of_rejects_have_a_bound() -> None:
    stats = ReaderStats()
    for i in range(5_000):
        stats.reject("bad value", source=f"10.0.{i >> 8}.{i & 255}")
    told = stats.take_untold()
    assert len(told) < 1_100
    assert sum(each.datapoints for each in told) == 5_000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=20))
def test_every_reject_is_told_once(rejects: list[tuple[str, int, bool]]) -> None:
    stats, told = ReaderStats(), Counter[str]()
    wanted = Counter[str]()

    def tell() -> None:
        for each in stats.take_untold():
            told[each.reason] += each.datapoints

    for reason, count, then in rejects:
        wanted[reason] += count
        if then:
            stats.reject(reason, count)
            tell()
        else:
            stats.rejected[reason] += count
    tell()
    assert told == wanted


class Forwarding(RuleBasedStateMachine):
    """Writers come and go, each takes some of what it was sent; in the end all is taken, in each sender's order."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House()
        self.writer: Writer | None = None
        self.acknowledged = 0  # of the writer's events
        self.sent: list[tuple[str, str, str, int]] = []
        self.taken: list[tuple[str, str, str, int]] = []

    @rule(
        names=st.lists(st.sampled_from(["a", "b", "c.d", "e"]), min_size=1, max_size=50),
        source=st.sampled_from("xy"),
    )
    def accept(self, names: list[str], source: str) -> None:
        self.sent += self.house.accept(names, source=source)

    @rule()
    def connect(self) -> None:
        if self.writer is None:
            self.writer, self.acknowledged = Writer(), 0
            self.house.forward.connected_to(self.writer.write)

    @rule(count=st.integers(1, 5))
    def take(self, count: int) -> None:
        if self.writer is not None:
            some = self.writer.came[self.acknowledged : self.acknowledged + count]
            self.taken += self.writer.points(some)
            self.acknowledged += len(some)
            self.house.forward.taken(len(some))

    @rule()
    def tell(self) -> None:
        self.house.stats.reject("bad value")
        self.house.forward.tell(Gauges(self.house.sent, 0, 0))

    @rule()
    def die(self) -> None:
        if self.writer is not None:
            self.writer = None
            self.house.forward.disconnected()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert len(self.taken) + self.house.forward.datapoints == len(self.sent)

    def teardown(self) -> None:
        self.connect()
        for _ in range(len(self.sent) + 10):  # a datapoint a frame, at worst
            self.take(3)
        assert self.house.forward.empty
        for source in "xy":
            assert [each for each in self.taken if each[1] == source] == [
                each for each in self.sent if each[1] == source
            ]
        assert not self.house.forward.gates.held


TestForwarding = Forwarding.TestCase
