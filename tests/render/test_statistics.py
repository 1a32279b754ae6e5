from __future__ import annotations

import math
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from render.api.cache import CacheStatistics
from render.statistics import BOUNDS_S, GONE, Exposition, Live, Note, Report, Statistics

LIVE = Live(
    connections=3, in_work=2, waiting=1, heavy=1, series=9, refreshes=4, workers_started=2, workers_lost=1,
    cache=CacheStatistics(hits=5, misses=6, entries=7, bytes=8), dropped_lines=10,
)  # fmt: skip


def ended(
    *, route: str = "/render", status: int = 200, seconds: float = 0.1, sent: int = 10, waited_s: float = 0.0
) -> Note:
    note = Note("1", "192.0.2.1", "GET", b"/render?target=x", route, account={"series": 2, "points": 30})
    note.status, note.seconds, note.sent, note.waited_s = status, seconds, sent, waited_s
    return note


ENDED = st.builds(
    ended,
    route=st.sampled_from(["/render", "/metrics/find", "none"]),
    status=st.sampled_from([200, 304, 400, 401, 413, 429, 499, 500, 503]),
    seconds=st.floats(0, 100) | st.sampled_from(BOUNDS_S),
    sent=st.integers(0, 1 << 30),
)


def samples(statistics: Statistics, live: Live = LIVE) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels, these by their names."""
    text = Exposition(statistics, lambda: live).text().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.lists(ENDED, max_size=20))
def test_what_prometheus_reads_is_what_was_counted(notes: list[Note]) -> None:
    statistics = Statistics()
    for note in notes:
        statistics.count(note)
    found = samples(statistics)
    for (route, digit), count in Counter((note.route, note.status // 100) for note in notes).items():
        assert found["plumbago_http_requests_total", route, f"{digit}xx"] == count
    for route in {note.route for note in notes}:
        seconds = [note.seconds for note in notes if note.route == route]
        assert found["plumbago_http_request_seconds_count", route] == len(seconds)
        assert math.isclose(found["plumbago_http_request_seconds_sum", route], sum(seconds), abs_tol=1e-9)
        for bound in (*BOUNDS_S, math.inf):
            le = "+Inf" if bound == math.inf else str(bound)
            below = sum(each <= bound for each in seconds)
            assert found["plumbago_http_request_seconds_bucket", le, route] == below
    for status in (401, 413, 429, 503):
        count = sum(note.status == status for note in notes)
        assert found.get(("plumbago_http_refused_total", str(status)), 0) == count
    assert ("plumbago_http_refused_total", "400") not in found
    assert found["plumbago_http_sent_bytes_total",] == sum(note.sent for note in notes)
    assert found["plumbago_render_points_read_total",] == 30 * len(notes)
    assert found["plumbago_render_series_read_total",] == 2 * len(notes)


def test_what_is_as_it_is_now_is_told_beside() -> None:
    found = samples(Statistics())
    assert {name[0]: value for name, value in found.items() if name[0].startswith("plumbago_")}.items() >= {
        "plumbago_http_connections": 3,
        "plumbago_http_requests_in_work": 2,
        "plumbago_http_requests_waiting": 1,
        "plumbago_http_requests_heavy": 1,
        "plumbago_render_series": 9,
        "plumbago_render_catalogue_refreshes_total": 4,
        "plumbago_render_workers_started_total": 2,
        "plumbago_render_workers_lost_total": 1,
        "plumbago_render_cache_hits_total": 5,
        "plumbago_render_cache_misses_total": 6,
        "plumbago_render_cache_entries": 7,
        "plumbago_render_cache_bytes": 8,
        "plumbago_http_dropped_log_lines_total": 10,
    }.items()
    names = {name[0] for name in found}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_gc_collections_total"} <= names


def test_without_a_cache_nothing_is_told_of_one() -> None:
    assert not [name for name in samples(Statistics(), Live()) if "cache" in name[0]]


def test_two_of_them_share_nothing() -> None:
    first, second = Statistics(), Statistics()
    first.count(ended())
    assert ("plumbago_http_requests_total", "/render", "2xx") in samples(first)
    assert ("plumbago_http_requests_total", "/render", "2xx") not in samples(second)


def test_a_report_has_what_came_since_the_last_that_was_taken() -> None:
    statistics = Statistics()
    report = Report(statistics, lambda: LIVE)
    statistics.count(ended(waited_s=0.004))
    statistics.count(ended(status=500))
    for _ in range(2):  # nobody took the first
        values = report.take()
        assert (values["render.requests"], values["render.errors"]) == (2, 1)
        assert values["render.queueTime"] == 2.0  # milliseconds
        assert (values["render.seriesRead"], values["render.pointsRead"]) == (4, 60)
    report.taken()
    statistics.count(ended(status=429))
    values = report.take()
    assert (values["render.requests"], values["render.errors"], values["render.refused"]) == (1, 0, 1)
    assert values["render.cacheHits"] == 0
    assert values["render.cacheEntries"] == 7
    assert all(math.isfinite(value) for value in values.values())


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300))
def test_the_99th_part_is_at_or_above_it_so_many(seconds: list[float]) -> None:
    statistics = Statistics()
    report = Report(statistics, Live)
    for each in seconds:
        statistics.count(ended(seconds=each))
    values = report.take()
    for name, part in (("render.p50Ms", 0.5), ("render.p99Ms", 0.99)):
        shown = values[name]
        assert sum(each * 1e3 <= shown for each in seconds) >= part * len(seconds)
        assert sum(each * 1e3 < shown for each in seconds) < part * len(seconds)
    assert values["render.maxMs"] == max(seconds) * 1e3


def test_no_requests_have_no_milliseconds() -> None:
    report = Report(Statistics(), Live)
    assert "render.p99Ms" not in report.take()


def test_a_client_that_is_gone_has_waited_to_the_end() -> None:
    note = Note("1", "", "GET", b"/", began=time.perf_counter() - 5)
    note.end(GONE, 0)
    assert note.made_s >= 5
    made = Note("1", "", "GET", b"/", began=time.perf_counter() - 5)
    made.made({})
    made_s = made.made_s
    made.end(GONE, 100)
    assert made.made_s == made_s


def test_an_answer_of_the_cache_is_no_workers() -> None:
    for cache, worker in (("hit", False), ("miss", True)):
        note = Note("1", "", "GET", b"/", worker=True)
        note.made({"cache": cache})
        assert note.worker is worker
