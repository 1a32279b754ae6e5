"""The receiver's middle: from a reader's batches to a store and a relay, by rules that change while it runs."""

from __future__ import annotations

import errno
import logging
import math
import pickle
import struct
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from carbon.aggregate import GRACE_S, LATE
from carbon.config import Aggregating, Limits, Relaying, Settings
from carbon.intake import AGGREGATOR, Intake
from carbon.names import Bytes, Ids, Integers, NameTable
from carbon.pipeline import RELAY_FULL, Pipeline
from carbon.protocols.line import LineReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.reader import Floats
from carbon.relay.connection import Connect
from carbon.relay.destination import Destination, parse_destinations
from carbon.relay.router import Method, Router
from carbon.ruled import BAD_OUTPUT
from carbon.stats import Stats
from storage import naming
from storage.errors import InvalidConfig
from storage.store import Dropped
from tests.carbon.memory import MemorySeries
from tests.carbon.relay.links import FakePeer
from tests.carbon.relay.test_encode import read_lines
from tests.carbon.rulebook import BOOKS, NAMES, Book
from tests.effort import tries

NOW = 1_700_000_000
HOUR_S = 3600
Threads = Callable[..., Deferred[Any]]


class Shelf(MemorySeries):
    """A store in memory: two series below `q.`, an hour back and a minute ahead; it raises `error` while it has one."""

    folder = Path("the-folder")

    def __init__(self) -> None:
        super().__init__()
        self.error: OSError | None = None
        self.points: dict[tuple[str, int], float] = {}
        self.appended = 0

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Ids:
        self._check()
        return super().series_of(text, starts, stops)

    def make(self, name: bytes) -> int:
        assert not naming.fault(name)
        if name.startswith(b"q.") and name not in self.names:
            if sum(known.startswith(b"q.") for known in self.names) >= 2:
                return -1
        return super().make(name)

    def why_refused(self, name: str) -> str:
        return "quota of q."

    def append(self, series: Ids, timestamps: Integers, values: Floats, now: int) -> Dropped:
        self._check()
        old, ahead = timestamps < now - HOUR_S, timestamps > now + 60
        for one, when, value in zip(series, timestamps, values, strict=True):
            if now - HOUR_S <= when <= now + 60:
                self.points[self.names[one].decode(), int(when)] = float(value)
                self.appended += 1
        return Dropped(int(old.sum()), int(ahead.sum()), 0)

    def distrust(self) -> None:
        pass

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def of(self, name: str) -> list[float]:
        return [value for (known, _), value in sorted(self.points.items()) if known == name]


def at_once(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """For a thread that is never seen to run."""
    return maybeDeferred(work, *arguments)


class Gate:
    paused = False

    def is_paused(self) -> bool:
        return self.paused

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class House:
    def __init__(
        self,
        folder: Path,
        book: Book | None = None,
        *,
        relay: Relaying = Relaying(),  # noqa: B008  # frozen
        limits: Limits = Limits(),  # noqa: B008  # frozen
        stored: bool = True,
        threads: Threads = at_once,
    ) -> None:
        self.folder, self.clock, self.gate = folder, Clock(), Gate()
        self.shelf, self.stats = Shelf(), Stats(clock=self.clock.seconds)
        folder.mkdir(exist_ok=True)
        if book is not None:
            book.write(folder)
        forward_all = book is None or book.forward_all
        given = Settings(limits=limits, relay=relay, aggregator=Aggregating(forward_all=forward_all))
        self.peers: list[FakePeer] = []
        self.pipeline = Pipeline(
            given, folder, self.shelf if stored else None, self.stats, self._intake, self.clock,
            folder, in_thread=threads, connect=self._peer,
        )  # fmt: skip
        self.intake = self.pipeline.intake
        self.intake.gates.append(self.gate)
        if self.pipeline.relay is not None:
            for peer, client in zip(self.peers, self.pipeline.relay.clients, strict=True):
                peer.client = client
            self.pipeline.relay.start()
        self._line, self._datagrams = (LineReader(self.pipeline.incoming, self.stats) for _ in range(2))
        self._pickle = PickleReader(self.pipeline.incoming, self.stats)
        self.sent = 0

    def _peer(self, destination: Destination) -> Connect:
        self.peers.append(FakePeer(self.clock))
        self.peers[-1].up = True
        return self.peers[-1].connect

    def _intake(self, names: NameTable) -> Intake:
        return Intake(self.shelf, names, self.stats, self.now, buffer_bytes=5000, clock=self.clock.seconds)

    def now(self) -> float:
        return NOW + self.clock.seconds()

    def send(
        self, *points: tuple[str, float, float], listener: str = "line", source: str = "10.0.0.1"
    ) -> None:
        """(name, value, timestamp) by a listener's own protocol."""
        self.sent += len(points)
        now = int(self.now())
        lines = "".join(f"{name} {value!r} {when!r}\n" for name, value, when in points).encode()
        match listener:
            case "line":
                for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
                    self.intake.accept(self._line.feed(part, now), listener, source)
            case "udp":
                self.intake.accept(self._datagrams.whole(lines, now), listener, source)
            case "pickle":
                body = pickle.dumps([(name, (when, value)) for name, value, when in points], protocol=2)
                frame = struct.pack("!L", len(body)) + body
                self.intake.accept(self._pickle.feed(frame, now), listener, source)
            case _:
                names, values, whens = zip(*points, strict=True)
                self.intake.accept_columns([name.encode() for name in names], whens, values, listener)

    def reload(self, book: Book) -> bool:
        book.write(self.folder)
        return bool(result_of(Deferred.fromCoroutine(self.pipeline.reload())))

    def reload_unchanged(self) -> bool:
        return bool(result_of(Deferred.fromCoroutine(self.pipeline.reload())))

    def emit(self) -> None:
        """As the receiver does every second, and all slices of it."""
        self.pipeline.emit()
        self.clock.pump([0.0] * 20)

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.emit()

    def got(self, peer: int) -> dict[str, list[float]]:
        found: defaultdict[str, list[float]] = defaultdict(list)
        for name, _, value in read_lines(bytes(self.peers[peer].link.data)):
            found[name.decode()].append(value)
        return dict(found)

    def check_sums(self) -> None:
        stats = self.stats
        taken = stats.committed + stats.only_aggregated + stats.only_relayed + stats.waiting
        assert self.sent + stats.received[AGGREGATOR] == taken + stats.rejected.total()
        assert self.shelf.appended == stats.committed


def result_of(done: Deferred[Any]) -> Any:
    """Of what needs no more time; raises what it failed with."""
    results: list[Any] = []
    failures: list[Any] = []
    done.addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    return results[0]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def relaying(method: str, *, count: int = 3, **more: Any) -> Relaying:
    destinations = tuple(f"10.0.0.{i}:2004:{i}" for i in range(1, count + 1))
    return Relaying(destinations=destinations, method=method, protocol="line", spool=0, **more)


# --- sent = stored + refused by reason ---

ODD_NAMES = st.sampled_from(["a..b", "q.1", "q.2", "q.3", ".", "a\x07b", "é", "a;", "n" * 4097])
POINTS = st.lists(
    st.tuples(
        st.one_of(NAMES, NAMES, ODD_NAMES),
        st.sampled_from([1.0, 2.5, 1e300, math.nan, math.inf]),
        st.sampled_from([NOW, NOW, NOW - 20, NOW - 90, -1, NOW - HOUR_S - 1, NOW + 5000, 1e12, 0]),
    ),
    min_size=1,
    max_size=15,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["line", "udp", "pickle", "self", "other"]), POINTS),
        st.tuples(st.just("send"), st.sampled_from(["line", "udp"]), POINTS),
        st.tuples(st.just("rules"), BOOKS),
        st.tuples(st.sampled_from(["full", "room", "retry", "emit"])),
    ),
    max_size=14,
)


@given(
    BOOKS,
    STEPS,
    st.sampled_from(["", "constant", "consistent-hashing", "aggregated-consistent-hashing"]),
    st.one_of(st.none(), st.integers(1, 5)),
    st.booleans(),
)
@settings(max_examples=tries(40))
def test_whatever_happens_all_that_was_sent_is_stored_or_counted(
    scratch: Path, book: Book, steps: list[Any], method: str, quota: int | None, stored: bool
) -> None:
    relay = relaying(method) if method else Relaying()
    limits = Limits(new_series_a_second=quota, new_series_a_second_per_source=quota)
    house = House(scratch, book, relay=relay, limits=limits, stored=stored or not method)
    for step in steps:
        match step:
            case ("send", listener, points):
                points = [point for point in points if _is_for(listener, point)]
                if points:
                    house.send(*points, listener=listener)
            case ("rules", rules):
                house.reload(rules)
            case ("full",):
                house.shelf.error = OSError(errno.ENOSPC, "words")
            case ("room",):
                house.shelf.error = None
            case ("retry",):
                house.intake.retry()
            case _:
                house.pass_time(15)
        house.check_sums()
    house.shelf.error = None
    while house.intake.retry():
        pass
    result_of(Deferred.fromCoroutine(house.pipeline.drain()))
    house.check_sums()
    assert house.stats.waiting == 0
    if house.pipeline.relay is not None:
        told = house.pipeline.relay.stats().totals
        assert told["unroutedDatapoints"] <= house.stats.rejected["bad tag"]


def _is_for(listener: str, point: tuple[str, float, float]) -> bool:
    """A pickle with so long a text is no pickle; what comes as columns is numbers of our own."""
    if listener == "pickle":
        return len(point[0]) <= naming.NAME_BYTES_MAX
    return listener in ("line", "udp") or math.isfinite(point[1])


def test_all_of_many_listeners_are_added_up(tmp_path: Path) -> None:
    book = Book(black=["^bad"], pre=["^old = new", "^worse = ."], aggregates=["all (10) = sum x.*"])
    house = House(tmp_path, book)
    for listener in ("line", "udp", "pickle", "admin"):
        house.send(
            ("a", 1, NOW), ("bad.a", 1, NOW), ("old.b", 1, NOW), ("worse", 1, NOW), ("x.1", 1, NOW),
            ("x.1", 2, NOW), ("a", 1, NOW - 2 * HOUR_S), ("q.1", 1, NOW), ("q.2", 1, NOW), ("q.3", 1, NOW),
            listener=listener,
        )  # fmt: skip
    house.check_sums()
    assert house.stats.rejected == {
        "blacklisted": 4,
        "rewritten to a bad name": 4,
        "timestamp older than the longest archive": 4,
        "quota of q.": 4,
    }
    assert house.stats.rejected_by["pickle", "blacklisted"] == 1
    assert house.stats.committed == 24
    assert dict(house.stats.sources.rows())["10.0.0.1"].datapoints == 30


# --- rules that come and go ---


def test_rules_appear_change_and_vanish_while_it_runs(tmp_path: Path) -> None:
    house = House(tmp_path, Book())
    house.send(("a.1", 1, NOW), ("b.1", 2, NOW))
    assert house.intake.ruled is None
    assert house.reload(Book(black=["^a"], pre=["^b = c"]))
    house.send(("a.1", 3, NOW + 1), ("b.1", 4, NOW + 1), ("a.2", 5, NOW), ("d", 6, NOW))
    assert house.reload(Book(post=["^a = z"]))
    house.send(("a.1", 7, NOW + 2), ("b.1", 8, NOW + 2), ("d", 9, NOW + 2))
    assert not house.reload_unchanged()
    assert house.reload(Book())
    house.send(("a.1", 10, NOW + 3), ("b.1", 11, NOW + 3))
    found = {name: house.shelf.of(name) for name in ("a.1", "a.2", "b.1", "c.1", "z.1", "d")}
    expected = {"a.1": [1, 10], "a.2": [], "b.1": [2, 8, 11], "c.1": [4], "z.1": [7], "d": [6, 9]}
    assert found == expected
    house.check_sums()


def test_wrong_rules_are_told_once_and_the_old_ones_stay(tmp_path: Path) -> None:
    house = House(tmp_path, Book(black=["^a"]))
    with pytest.raises(InvalidConfig, match=r"blacklist.conf:1: .*"):
        house.reload(Book(black=["("]))
    assert not house.reload_unchanged()
    house.send(("a", 1, NOW), ("b", 1, NOW))
    assert (house.stats.committed, house.stats.rejected["blacklisted"]) == (1, 1)
    with pytest.raises(InvalidConfig, match=r"blacklist.conf:2: .*"):
        house.reload(Book(black=["^a", "("]))
    assert house.reload(Book(black=["^b"]))
    house.send(("a", 1, NOW), ("b", 1, NOW))
    assert (house.stats.committed, house.stats.rejected["blacklisted"]) == (2, 2)


class Pending:
    """Threads that run when they are told to."""

    def __init__(self) -> None:
        self.works: list[Callable[[], object]] = []

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.works.append(lambda: maybeDeferred(work, *arguments).chainDeferred(done))
        return done

    def run(self) -> None:
        self.works.pop(0)()


def test_while_rules_are_read_the_old_ones_go_on_and_are_not_read_twice(tmp_path: Path) -> None:
    threads = Pending()
    house = House(tmp_path, Book(black=["^a"]), threads=threads)
    Book(black=["^b"]).write(tmp_path)
    answers = [Deferred.fromCoroutine(house.pipeline.reload()) for _ in range(2)]
    house.send(("a", 1, NOW), ("b", 1, NOW))
    assert (len(threads.works), house.shelf.names) == (1, [b"b"])
    threads.run()
    assert [result_of(answer) for answer in answers] == [True, False]
    house.send(("a", 1, NOW), ("b", 1, NOW))
    assert house.shelf.names == [b"b", b"a"]


# --- aggregates ---


def test_aggregates_are_stored_and_relayed_and_not_ruled_again(tmp_path: Path) -> None:
    rules = Book(
        black=["^all"], post=["1$ = one"], aggregates=["all.<n>1 (10) = sum <n>.*", "more (10) = max all.*"]
    )
    house = House(tmp_path, rules, relay=relaying("constant", count=2))
    house.send(("a.1", 1, NOW), ("a.2", 2, NOW + 1))
    house.pass_time(10 + GRACE_S - 1)
    assert house.shelf.of("all.a1") == []
    house.pass_time(1)
    expected = {"a.one": [1], "a.2": [2], "all.a1": [3]}
    assert {name: house.shelf.of(name) for name in (*expected, "more", "all.aone")} == {
        **expected,
        "more": [],
        "all.aone": [],
    }
    assert house.got(0) == house.got(1) == expected
    assert house.stats.received[AGGREGATOR] == 1
    house.check_sums()


def test_without_forward_all_only_aggregates_go_on(tmp_path: Path) -> None:
    house = House(tmp_path, Book(aggregates=["all.<n> (10) = sum <n>.*"], forward_all=False))
    house.send(("a.1", 1, NOW), ("a.2", 2, NOW), ("b", 3, NOW))
    assert (house.stats.only_aggregated, dict(house.stats.rejected)) == (2, {"not aggregated": 1})
    house.pass_time(12)
    assert house.shelf.points == {("all.a", NOW): 3.0}
    house.check_sums()


def test_what_is_open_at_the_end_is_stored(tmp_path: Path) -> None:
    house = House(tmp_path, Book(aggregates=["all.<n> (60) = sum <n>.*"]))
    house.send(("a.1", 1, NOW), ("a.2", 2, NOW))
    result_of(Deferred.fromCoroutine(house.pipeline.drain()))
    assert house.shelf.of("all.a") == [3]


def test_what_comes_too_late_for_an_aggregate_is_stored_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path, Book(aggregates=["all.<n> (10) = sum <n>.*"]))
    house.send(("a.1", 1, NOW - 600), ("a.1", 1, NOW - 610))
    with caplog.at_level(logging.WARNING, "carbon.pipeline"):
        house.pass_time(20)
    assert caplog.messages == [f"datapoints that are in no aggregate: 2 {LATE}"]
    told = house.pipeline.measures()
    assert told.totals == {
        "aggregateDatapointsSent": 0,
        "aggregator.dropped.too_late_to_aggregate": 2,
        "aggregator.dropped.too_far_ahead": 0,
        "aggregator.dropped.aggregator_full": 0,
        "aggregator.dropped.too_many_aggregates": 0,
    }
    assert told.gauges == {"allocatedBuffers": 1, "bufferedDatapoints": 0}
    assert house.stats.committed == 2
    house.check_sums()


def test_an_aggregate_with_a_bad_name_is_counted_by_its_values(tmp_path: Path) -> None:
    house = House(tmp_path, Book(aggregates=["all..<n> (10) = sum <n>.*"]))
    for at in range(0, 30, 10):
        house.send(("a.1", 1, NOW + at))
    house.pass_time(45)
    assert dict(house.stats.rejected) == {BAD_OUTPUT: 3}
    house.check_sums()


def test_many_aggregates_are_merged_in_a_thread_and_stored_in_slices(tmp_path: Path) -> None:
    threads = Pending()
    house = House(tmp_path, Book(aggregates=["all.<n> (10) = sum <n>.*"]), threads=threads)
    house.send(*((f"n{i}.x", 1, NOW) for i in range(25_000)))
    house.pass_time(12)
    assert (len(threads.works), house.stats.received[AGGREGATOR]) == (1, 0)
    house.send(("n0.x", 2, NOW + 10), ("n1.x", 3, NOW))  # comes while the thread is at it
    house.pass_time(10)
    assert (len(threads.works), house.stats.received[AGGREGATOR]) == (1, 0)
    threads.run()
    assert house.stats.received[AGGREGATOR] == 10_000  # and the reactor does other work
    house.clock.advance(0)
    assert house.stats.received[AGGREGATOR] == 25_000
    house.pass_time(10)
    assert (house.shelf.of("all.n0"), house.shelf.of("all.n1")) == ([1, 2], [4])
    house.check_sums()


def test_the_end_waits_for_aggregates_that_are_under_way(tmp_path: Path) -> None:
    threads = Pending()
    house = House(tmp_path, Book(aggregates=["all.<n> (10) = sum <n>.*"]), threads=threads)
    house.send(*((f"n{i}.x", 1, NOW) for i in range(10_001)))
    house.pass_time(12)
    house.send(("n5.x", 7, NOW + 10))
    drained = Deferred.fromCoroutine(house.pipeline.drain())
    house.clock.advance(1)
    assert len(threads.works) == 1
    assert house.shelf.of("all.n5") == []
    threads.run()
    house.clock.pump([0.0, 0.01, 0.01, 0.0])
    assert drained.called
    assert house.shelf.of("all.n5") == [1, 7]
    assert house.stats.received[AGGREGATOR] == 10_002


def test_aggregates_that_cannot_be_made_are_an_error_and_others_follow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path, Book(aggregates=["all.<n> (10) = sum <n>.*"]), threads=_failing)
    house.send(*((f"n{i}.x", 1, NOW) for i in range(10_001)))
    house.pass_time(12)
    assert house.stats.errors == 1
    assert "aggregates are lost" in caplog.text
    house.send(("n0.x", 5, NOW + 10))
    house.pass_time(10)
    assert house.shelf.of("all.n0") == [5]


def _failing(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    def fail() -> None:
        raise MemoryError

    return maybeDeferred(fail)


# --- the relay ---

_RULES = """[one]
pattern = ^a
destinations = 10.0.0.1:2004:1
[rest]
default = true
destinations = {rest}
"""


def test_rules_say_where_names_go_also_those_that_are_read_later(tmp_path: Path) -> None:
    (tmp_path / "relay-rules.conf").write_text(_RULES.format(rest="10.0.0.2:2004:2"))
    house = House(tmp_path, Book(pre=["^old = a"]), relay=relaying("rules", count=2))
    house.send(("a", 1, NOW), ("b", 2, NOW), ("old", 3, NOW))
    (tmp_path / "relay-rules.conf").write_text(_RULES.format(rest="10.0.0.1:2004:1, 10.0.0.2:2004:2"))
    assert house.reload_unchanged()
    house.send(("a", 4, NOW + 1), ("b", 5, NOW + 1))
    assert house.got(0) == {"a": [1, 3, 4], "b": [5]}
    assert house.got(1) == {"b": [2, 5]}
    assert house.stats.creates == 2


def test_relaying_by_rules_needs_rules(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"relay-rules.conf"):
        House(tmp_path, relay=relaying("rules"))


def test_a_relay_rule_for_an_unknown_destination_is_refused_and_the_old_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "relay-rules.conf").write_text(_RULES.format(rest="10.0.0.2:2004:2"))
    house = House(tmp_path, relay=relaying("rules", count=2))
    (tmp_path / "relay-rules.conf").write_text(_RULES.format(rest="10.0.0.9:2004:2"))
    with pytest.raises(InvalidConfig, match=r"10\.0\.0\.9"):
        house.reload_unchanged()
    house.send(("b", 1, NOW))
    assert house.got(1) == {"b": [1]}


@pytest.mark.parametrize("stored", [True, False])
def test_hashing_sends_each_name_to_the_nodes_of_its_ring(tmp_path: Path, stored: bool) -> None:
    asked = relaying("consistent-hashing", replication=2)
    house = House(tmp_path, relay=asked, stored=stored)
    names = [f"servers.web{i}.load" for i in range(200)]
    house.send(*((name, i, NOW) for i, name in enumerate(names)))
    router = Router(Method.CONSISTENT, parse_destinations(asked.destinations), replicas=2)
    routes = router.routes([name.encode() for name in names])
    for peer in range(3):
        assert house.got(peer) == {name: [i] for i, name in enumerate(names) if peer in routes[i]}
    assert (house.stats.committed, house.stats.only_relayed) == ((200, 0) if stored else (0, 200))
    house.check_sums()


def test_aggregated_hashing_sends_what_feeds_an_aggregate_to_one_node(tmp_path: Path) -> None:
    book = Book(aggregates=["all.<n> (10) = sum <n>.*"])
    house = House(tmp_path, book, relay=relaying("aggregated-consistent-hashing"))
    house.send(*((f"n{i % 10}.x{i}", i, NOW) for i in range(100)))
    where = [{name.split(".")[0] for name in house.got(peer)} for peer in range(3)]
    assert sum(map(len, where)) == len(set.union(*where)) == 10
    assert sum(map(bool, where)) > 1


def test_a_full_queue_holds_senders_back_until_there_is_room(tmp_path: Path) -> None:
    house = House(tmp_path, relay=relaying("constant", count=2, queue_max=100))
    for peer in house.peers:
        peer.link.take(1)
    while not house.intake.gates.held:
        house.send(*((f"n{i}", i, NOW) for i in range(5)))
        assert house.sent < 200
    house.send(("after", 1, NOW))  # was read before the pause took effect
    assert house.intake.gates.held == {RELAY_FULL}
    assert house.gate.paused
    house.peers[0].link.take(1 << 30)
    assert house.intake.gates.held == {RELAY_FULL}
    house.peers[1].link.take(1 << 30)
    assert not house.gate.is_paused()
    assert house.got(0) == house.got(1)
    assert sum(map(len, house.got(0).values())) == house.sent > 100


def test_our_own_measurements_are_relayed_before_what_waits(tmp_path: Path) -> None:
    house = House(tmp_path, relay=relaying("constant", count=1))
    house.peers[0].link.take(1)
    house.send(("first", 1, NOW))
    house.send(("waits", 1, NOW))
    house.intake.accept_values({"carbon.agents.x.y": 1.0}, "self")
    house.peers[0].link.take(1 << 30)
    assert list(house.got(0)) == ["first", "carbon.agents.x.y", "waits"]


def test_aggregates_wait_while_the_disk_is_full_and_are_dropped_when_no_more_can(tmp_path: Path) -> None:
    house = House(tmp_path, Book(aggregates=["all.<n> (10) = sum <n>.*"]))
    house.send(*((f"n{i}.x", 1, NOW) for i in range(300)))
    house.shelf.error = OSError(errno.ENOSPC, "words")
    house.pass_time(12)
    assert house.stats.rejected["no room on the disk"] == 300
    house.check_sums()
