"""Counters are bounded, add up and are reported by carbon's names; rejects are logged one a minute and reason."""

from __future__ import annotations

import json
import logging
import socket
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon import backlog
from carbon.rules import filter as lists
from carbon.stats import (
    TICK_S,
    Report,
    Sources,
    Stats,
    Watchdog,
    is_address,
    kernel_drops,
    node,
    snapshot,
    totals_of,
)
from storage import naming


class Told(NamedTuple):
    totals: dict[str, float]
    gauges: dict[str, float]


# --- rejects ---


def test_of_a_flood_one_line_a_minute_is_logged_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    at = 0.0
    stats = Stats(clock=lambda: at)
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            stats.reject("bad value", sample=b"x")
        assert len(caplog.records) == 1
        at = 61.0
        stats.reject("bad value", sample=b"y")
    assert stats.rejected["bad value"] == 1001
    assert "999 more" in caplog.messages[1]


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_untrusted_text_is_shown_short_and_without_control_characters(sample: bytes | str) -> None:
    stats = Stats()
    stats.reject("bad value", sample=sample)
    (shown,) = stats.newest_rejects
    assert shown.sample.isprintable()
    assert len(shown.sample) <= 400


def test_untrusted_text_is_logged_short_and_without_control_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        Stats().reject("bad value", sample=b"\x1b[31m\n" + b"z" * 10_000)
    (message,) = caplog.messages
    assert "\x1b" not in message
    assert "\n" not in message
    assert len(message) < 400


def test_a_reject_is_counted_for_its_listener_and_its_address() -> None:
    stats = Stats()
    stats.reject("bad value", 2, source="10.0.0.1", listener="line")
    stats.reject("bad value", 3, source="pickle")
    stats.reject("bad value", 5, source="::1")
    stats.reject("bad value", 7)
    stats.reject("bad value", 0, source="line")
    assert dict(stats.rejected) == {"bad value": 17}
    assert dict(stats.rejected_by) == {("line", "bad value"): 2, ("pickle", "bad value"): 3}
    assert {at: one.rejects for at, one in stats.sources.rows()} == {"10.0.0.1": 2, "::1": 5}
    assert [one.source for one in stats.newest_rejects] == ["10.0.0.1", "pickle", "::1", ""]


def test_of_rejects_and_names_the_newest_twenty_are_kept() -> None:
    stats = Stats()
    for i in range(50):
        stats.reject(f"reason {i}")
    stats.newest_names.extend(f"a.{i}" for i in range(50))
    assert [one.reason for one in stats.newest_rejects] == [f"reason {i}" for i in range(30, 50)]
    assert list(stats.newest_names) == [f"a.{i}" for i in range(30, 50)]


def test_addresses_are_told_from_listeners() -> None:
    addresses = ["10.0.0.1", "::1", "fe80::1", "IPv4Address(type='TCP', host='h', port=1)", "/run/x"]
    assert all(map(is_address, addresses))
    assert not any(map(is_address, ["line", "udp", "relay-line", "self", "protobuf2"]))


# --- who sends ---

senders = st.lists(
    st.tuples(st.integers(0, 40).map(str), st.integers(0, 50), st.integers(0, 5)), max_size=300
)


@given(senders, st.integers(1, 12))
def test_whoever_sends_more_than_its_share_is_watched(sent: list[tuple[str, int, int]], size: int) -> None:
    sources, true, total = Sources(size), Counter[str](), 0
    for address, datapoints, rejects in sent:
        sources.add(address, datapoints=datapoints, rejects=rejects)
        true[address] += datapoints + rejects
        total += datapoints + rejects
    watched = dict(sources.rows())
    assert len(watched) == len(sources) <= size
    assert {address for address, n in true.items() if n > total / size} <= set(watched)
    for address, one in watched.items():
        assert one.datapoints + one.rejects <= true[address] <= one.weight
    assert sum(one.weight for one in watched.values()) == total


def test_the_counters_of_few_sources_are_exact() -> None:
    sources = Sources()
    for i in range(1000):
        sources.add(f"10.0.0.{i % 7}", datapoints=i, series=1, rejects=2)
    sources.add("", datapoints=5)
    rows = dict(sources.rows())
    assert len(rows) == 7
    assert rows["10.0.0.3"].datapoints == sum(range(3, 1000, 7))
    assert rows["10.0.0.3"].series == rows["10.0.0.3"].rejects / 2 == len(range(3, 1000, 7))
    assert [one.weight for one in rows.values()] == sorted(
        (one.weight for one in rows.values()), reverse=True
    )


# --- stages ---


# --- reports ---


def test_a_report_tells_what_came_since_the_last_by_carbons_names() -> None:
    stats = Stats()
    stats.received["line"] = 5
    report = Report(stats)
    stats.received["line"] += 90
    stats.received["pickle"] += 10
    stats.committed, stats.updates, stats.update_s, stats.creates = 80, 4, 0.5, 3
    stats.waiting, stats.connections, stats.dropped_creates, stats.udp_drops = 7, 2, 6, 9
    stats.bulk_queries, stats.bulk_query_names, stats.queries = 2, 50, 1
    stats.reject(lists.BLACKLISTED, 11, source="line")
    stats.reject(lists.NOT_WHITELISTED, 12, source="10.0.0.1")
    stats.reject(backlog.DROPPED, 13, source="udp")
    stats.stage_s["read"] += 0.25
    told = report.take()
    assert told.pop("memUsage") > 1e6
    assert told.pop("cpuUsage") >= 0
    assert {name: value for name, value in told.items() if value} == {
        "metricsReceived": 100.0, "committedPoints": 80.0, "updateOperations": 4.0, "creates": 3.0,
        "pointsPerUpdate": 20.0, "avgUpdateTime": 0.125, "droppedCreates": 6.0, "blacklistMatches": 11.0,
        "whitelistRejects": 12.0, "cache.overflow": 13.0, "cache.size": 7.0, "waitingDatapoints": 7.0,
        "cache.queries": 1.0, "cache.bulk_queries": 2.0, "cache.bulk_queries_average_size": 25.0,
        "activeConnections": 2.0, "rejectedPoints": 36.0, "udp.kernelDrops": 9.0,
        "listeners.line.metricsReceived": 90.0, "listeners.pickle.metricsReceived": 10.0,
        "listeners.line.rejected.blacklisted": 11.0, "listeners.udp.rejected.no_room_on_the_disk": 13.0,
        "rejected.blacklisted": 11.0, "rejected.not_whitelisted": 12.0, "rejected.no_room_on_the_disk": 13.0,
        "stages.read.seconds": 0.25,
    }  # fmt: skip
    again = report.take()
    assert {name for name, value in again.items() if value} <= {
        "memUsage", "cpuUsage", "activeConnections", "cache.size", "waitingDatapoints",
    }  # fmt: skip
    assert "errors" in again


def test_what_others_tell_is_reported_as_totals_and_gauges() -> None:
    sent = 5.0
    report = Report(
        Stats(), [lambda: Told({"destinations.b:2004:a.sent": sent}, {"destinations.b:2004:a.queued": 3.0})]
    )
    sent = 12.0
    told = report.take()
    assert told["destinations.b:2004:a.sent"] == 7.0
    assert told["destinations.b:2004:a.queued"] == 3.0


@given(st.text(), st.text())
def test_every_name_of_a_report_can_be_stored(listener: str, reason: str) -> None:
    stats = Stats()
    stats.received[listener] += 1
    stats.rejected_by[listener, reason] += 1
    stats.rejected[reason] += 1
    stats.stage_s[reason] += 1
    for name in totals_of(stats):
        assert not naming.fault(f"carbon.agents.h.{name}".encode(errors="surrogatepass"))


def test_a_node_is_one_node_whatever_the_text() -> None:
    assert node("web1.example.com") == "web1_example_com"
    assert node("a b/c") == "a_b_c"
    assert node("") == "unnamed"


def test_a_snapshot_is_json_with_every_counter() -> None:
    stats = Stats()
    stats.received["line"] += 3
    stats.reject("bad value", 2, sample=b"\x1bx", source="10.0.0.1", listener="line")
    stats.sources.add("10.0.0.1", datapoints=3, series=1)
    stats.newest_names.append("a" * 4096)
    stats.committed = 3
    told = json.loads(json.dumps(snapshot(stats)))
    assert told["received"] == {"line": 3}
    assert told["rejected_by"] == [["line", "bad value", 2]]
    assert told["sources"] == [["10.0.0.1", 3, 1, 2]]
    assert told["newest_names"] == ["a" * 200]
    assert told["newest_rejects"] == [["bad value", "b'\\x1bx'", "10.0.0.1"]]
    assert told["committed"] == 3
    assert told["cpu_s"] > 0
    counters = {name for name in vars(stats) if not name.startswith("_")} - {"clock"}
    assert counters <= set(told)


# --- the reactor, the kernel ---


def test_the_watchdog_keeps_the_longest_stall_until_the_report() -> None:
    at = 0.0
    stats = Stats(clock=lambda: at)
    watchdog, report = Watchdog(stats), Report(stats)
    for late in (0.0, 1.5, 0.1):
        at += TICK_S + late
        watchdog.tick()
    assert stats.max_stall_s == pytest.approx(1.5)
    assert report.take()["reactor.maxStall"] == pytest.approx(1.5)
    at += TICK_S
    watchdog.tick()
    assert report.take()["reactor.maxStall"] == pytest.approx(0)


@pytest.mark.skipif("drops" not in Path("/proc/net/udp").read_text(), reason="this kernel does not tell")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_datagrams_that_the_kernel_drops_are_seen(family: socket.AddressFamily, host: str) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as bound,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        try:
            bound.bind((host, 0))
        except OSError:
            pytest.skip("no such address here")
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        assert kernel_drops(bound) == 0
        for _ in range(500):
            sender.sendto(b"x" * 100, bound.getsockname()[:2])
        dropped = kernel_drops(bound)
        assert dropped is not None
        assert 400 < dropped < 500


def test_drops_of_another_socket_or_an_unreadable_file_are_not_known(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        assert kernel_drops(bound, tmp_path) is None
        (tmp_path / "udp").write_text("  sl  local_address … inode ref pointer drops\n 1: rubbish\n")
        assert kernel_drops(bound, tmp_path) is None
