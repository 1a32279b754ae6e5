"""How fast are answers over HTTP, and how long does a light query wait while heavy ones are worked on?

Beside graphite-web under gunicorn and VictoriaMetrics, on the same datapoints and through the same clients. Windows
move from request to request, so that no kept result answers, but for the row that says so. VictoriaMetrics 1.79 has
no /render: its own query_range is asked for the same series. Pictures are draw's question, levels of names find's.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import whisper

from benchmarks.client import SPAN, Asked, Client, load, requests_a_second
from benchmarks.gunicorn import SERVED, graphite_web
from benchmarks.measure import Row
from benchmarks.server import Server
from benchmarks.tags import tagged_names
from benchmarks.victoria import VICTORIA, VictoriaMetrics, victoria
from benchmarks.workbench import STEP_S, Day, Workbench, add_names, fill_store, fill_whisper, make_day, names
from storage.schema import Rules
from storage.store import Store

_DAY_POINTS, _HOUR_S, _YEAR_POINTS = 1440, 3600, 8760
_RETENTION_DAYS = 390
_SOME = 100  # series, of these hosts
_HOSTS = r"web-00[0-9]"
_HEAVY = 2_000  # series that a heavy query reads: 24 h of them are 2.9 M datapoints
_CONNECTIONS, _SECONDS, _WARM_S = 8, 3, 1
_WARM, _ROUND = 6_000, 5_200  # windows that warming up uses up, and a round
_ROUNDS = 3  # of all, in turns, as other work on the machine comes and goes
_LIGHT_RUNS, _PAUSE_S = 1000, 0.005
_SOME_MS = 57  # carbonapi's
_FOUND_MS = 20


class Served(NamedTuple):
    """A server and how it is asked."""

    name: str
    port: int
    cpu_s: Callable[[], float]  # of all its processes so far
    is_graphite: bool = True

    def asked(self, target: str, day: Day, step: int, points: int) -> Asked:
        """`target`: a glob."""
        first = int(day.timestamps[0])
        if self.is_graphite:
            return Asked(f"/render?{urlencode({'target': target, 'format': 'json'})}", first, step, points)
        regex = target.replace(".", r"\.").replace("*", r"[^.]+")
        match = "=~" if regex != target.replace(".", r"\.") else "="
        query = f'{{__name__{match}"{_escaped(regex) if match == "=~" else target}"}}'
        url = f"/api/v1/query_range?{urlencode({'query': query, 'step': step})}"
        return Asked(url, first, step, points, ("start", "end"))


def _escaped(regex: str) -> str:
    return regex.replace("\\", "\\\\")


def rows(bench: Workbench) -> Iterator[Row]:
    yield from _of_a_day(bench)
    yield from _of_a_year(bench)
    yield from _by_tags(bench)


def _of_a_day(bench: Workbench) -> Iterator[Row]:
    day = _minutes(bench.size(_HEAVY))
    few = day._replace(names=day.names[:_SOME], values=day.values[:, :_SOME])
    fill_store(bench.folder / "http", day)
    with ExitStack() as running:
        server = running.enter_context(Server(bench.folder / "http"))
        ours = Served("plumbago", server.http_port, server.cpu_s)
        peers = _peers(bench, few, running)
        one, some = day.names[0], f"*.{_HOSTS}.*.requests.p99"
        yield from _one_series(bench.folder, ours, peers, one, day)
        what = f"http: {len(few.names)} series × 24 h, JSON"
        ask = partial(_median_s, glob=some, day=day, step=STEP_S, points=_DAY_POINTS, runs=11)
        mine = ask(ours) * 1000
        _must_agree(ours, peers, some, few)
        for peer in peers:
            times, limit = (15, _SOME_MS) if peer.is_graphite else (1, None)
            yield Row(what, mine, "ms", peer.name, ask(peer) * 1000, limit, times)
        yield _light_beside_heavy(bench.folder, ours, one, day)


def _peers(bench: Workbench, day: Day, running: ExitStack) -> list[Served]:
    """Those that are installed, with these datapoints."""
    folder, peers = bench.folder / "http-graphite", []
    if bench.peers.python is not None:
        fill_whisper(folder / "whisper", day, len(day.names))
        graphite = graphite_web(bench.peers, folder)
        if graphite is not None:
            running.enter_context(graphite)
            peers.append(Served(SERVED, graphite.port, graphite.cpu_s))
    metrics = victoria(bench.folder / "http-victoria", retention="2y")
    if metrics is not None:
        _fill_victoria(running.enter_context(metrics), day)
        peers.append(Served(VICTORIA, metrics.http_port, metrics.cpu_s, is_graphite=False))
    return peers


def _minutes(series: int) -> Day:
    """24 hours and what windows move over."""
    day = make_day(series)
    before = day.timestamps[0] + np.arange(-SPAN, 0) * STEP_S
    return Day(
        day.names,
        np.concatenate([before, day.timestamps]),
        np.concatenate([day.values[-SPAN:], day.values]),
    )


def _one_series(folder: Path, ours: Served, peers: list[Served], name: str, day: Day) -> Iterator[Row]:
    what = f"http: one series, 24 h, JSON, {_CONNECTIONS} connections"
    mine, *others = _in_turns(folder, [ours, *peers], name, day, range(1, _ROUNDS + 1))
    for peer, theirs in zip(peers, others, strict=True):
        times = 6 if peer.is_graphite else None
        yield Row(what, mine.a_second, "requests/s", peer.name, theirs.a_second, times=times)
        # what else the machine does, and how many processors there are, is not in it
        yield Row(what, mine.a_cpu_second, "requests/CPU-s", peer.name, theirs.a_cpu_second)
    what = f"{what}, the same again"
    graphite = [peer for peer in peers if peer.is_graphite]  # the other is run without its cache
    mine, *others = _in_turns(folder, [ours, *graphite], name, day, [0] * _ROUNDS)
    for peer, theirs in zip(graphite, others, strict=True):
        yield Row(what, mine.a_second, "requests/s", peer.name, theirs.a_second, times=6)
        yield Row(what, mine.a_cpu_second, "requests/CPU-s", peer.name, theirs.a_cpu_second)


class _Rates(NamedTuple):
    """Requests answered."""

    a_second: float
    a_cpu_second: float


def _in_turns(
    folder: Path, every: list[Served], name: str, day: Day, numbers: Sequence[int]
) -> Iterator[_Rates]:
    """Each one's best of these rounds: clients may all have come to one of gunicorn's two processes."""
    rounds = [[_rates(folder, served, name, day, number) for served in every] for number in numbers]
    for taken in zip(*rounds, strict=True):
        yield max(taken)


def _rates(folder: Path, served: Served, name: str, day: Day, number: int) -> _Rates:
    """`number` of the round, whose windows are its own; 0 = the same again and again."""
    asked, script = served.asked(name, day, STEP_S, _DAY_POINTS), folder / "wrk.lua"
    run = partial(requests_a_second, served.port, script, connections=_CONNECTIONS)
    with Client(served.port) as client:
        client.get(asked.at(_WARM - 1))  # the first of all may wait for kernels to be compiled
    script.write_text(asked.script(0, min(number, 1)))
    run(seconds=_WARM_S)
    script.write_text(asked.script(_WARM + (number - 1) * _ROUND if number else 0, min(number, 1)))
    before = served.cpu_s()
    rate = run(seconds=_SECONDS)
    return _Rates(rate, rate * _SECONDS / (served.cpu_s() - before))


def _median_s(served: Served, glob: str, day: Day, *, step: int, points: int, runs: int) -> float:
    """The median seconds of an answer, one request after another."""
    asked, taken = served.asked(glob, day, step, points), []
    with Client(served.port) as client:
        client.get(asked.at(0))
        for i in range(1, runs + 1):
            url, started = asked.at(i), time.perf_counter()
            client.get(url)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _light_beside_heavy(folder: Path, ours: Served, name: str, day: Day) -> Row:
    """What is asked by four without a pause needs no interpreter here: wrk asks it."""
    asked = ours.asked(name, day, STEP_S, _DAY_POINTS)
    heavy = ours.asked("groupByNode(*.*.*.requests.p99,2,'sum')", day, STEP_S, _DAY_POINTS)
    script = folder / "heavy.lua"
    script.write_text(heavy.script(0, 1))
    with Client(ours.port) as client:
        _p99_s(client, asked, 0)
        taken = []
        for number in range(1, _ROUNDS + 1):
            alone = _p99_s(client, asked, (2 * number - 1) * _LIGHT_RUNS)
            with load(ours.port, script, connections=4, seconds=60) as heavies:
                time.sleep(1)  # the workers are there then
                taken.append((alone, _p99_s(client, asked, 2 * number * _LIGHT_RUNS)))
                heavies.terminate()
    alone, beside = map(statistics.median, zip(*taken, strict=True))
    what = f"http: one series, p99 while 4 ask for groups of {len(day.names):,} × 24 h"
    return Row(what, beside * 1000, "ms", "its p99 alone", alone * 1000, times=1 / 3)


def _p99_s(client: Client, asked: Asked, at: int) -> float:
    taken = []
    for i in range(at, at + _LIGHT_RUNS):
        url, started = asked.at(i), time.perf_counter()
        client.get(url)
        taken.append(time.perf_counter() - started)
        time.sleep(_PAUSE_S)
    return sorted(taken)[len(taken) * 99 // 100]


def _of_a_year(bench: Workbench) -> Iterator[Row]:
    day, config = _hours(bench.size(1000)), bench.folder / "http-config"
    config.mkdir()
    (config / "storage-schemas.conf").write_text(f"[all]\npattern = .\nretentions = 1h:{_RETENTION_DAYS}d\n")
    fill_store(bench.folder / "http-year", day, Rules.load(config))
    ask = partial(_median_s, glob="*.*.*.requests.p99", day=day, step=_HOUR_S, points=_YEAR_POINTS)
    what = f"http: {len(day.names):,} series × a year of hours, JSON"
    with Server(bench.folder / "http-year", "--config", str(config)) as server:
        ours = ask(Served("plumbago", server.http_port, server.cpu_s), runs=5)
    folder = bench.folder / "http-year-graphite"
    if bench.peers.python is not None:
        _fill_hours(folder / "whisper", day)
    graphite = graphite_web(bench.peers, folder)
    if graphite is not None:
        with graphite:
            yield Row(
                what, ours, "s", SERVED, ask(Served(SERVED, graphite.port, graphite.cpu_s), runs=1), times=8
            )
    metrics = victoria(bench.folder / "http-year-victoria", retention="2y")
    if metrics is not None:
        with metrics:
            _fill_victoria(metrics, day)
            theirs = ask(Served(VICTORIA, metrics.http_port, metrics.cpu_s, is_graphite=False), runs=3)
        yield Row(what, ours, "s", VICTORIA, theirs, times=1)


def _hours(series: int) -> Day:
    """A year of a value an hour, and what windows move over."""
    day, count = make_day(1), _YEAR_POINTS + SPAN
    last = day.now // _HOUR_S * _HOUR_S
    random = np.random.default_rng(42)
    values = random.integers(0, 100_000, (count, series)) / 8
    values[1:][random.random((count - 1, series)) < 0.05] = np.nan  # a file's first tells where it begins
    timestamps = np.arange(last - (count - 1) * _HOUR_S, last + 1, _HOUR_S)
    return Day(names(series, ("requests.p99",)), timestamps, values)


def _fill_hours(folder: Path, day: Day) -> None:
    """The datapoints as whisper files: written as they lie there, as update_many takes some ms a file and a day."""
    for name, values in zip(day.names, day.values.T, strict=True):
        file = folder / (name.replace(".", "/") + ".wsp")
        file.parent.mkdir(parents=True, exist_ok=True)
        whisper.create(str(file), [(_HOUR_S, _RETENTION_DAYS * 24)], aggregationMethod="average", sparse=True)
        slots = np.zeros(len(values), [("timestamp", ">u4"), ("value", ">f8")])
        known = ~np.isnan(values)
        slots["timestamp"][known], slots["value"][known] = day.timestamps[known], values[known]
        with file.open("r+b") as written:
            written.seek(whisper.info(str(file))["archives"][0]["offset"])
            written.write(slots.tobytes())


def _fill_victoria(metrics: VictoriaMetrics, day: Day) -> None:
    for name, values in zip(day.names, day.values.T, strict=True):
        known = ~np.isnan(values)
        metrics.fill(name, day.timestamps[known].tolist(), values[known].tolist())
    metrics.settle(day.names)


def _by_tags(bench: Workbench) -> Iterator[Row]:
    """Series found among many by tags, and their last hour as JSON; there are no datapoints."""
    paths, folder = tagged_names(bench.size(1_000_000)), bench.folder / "http-tags"
    store = Store(folder)
    add_names(store, paths)
    store.close()
    host = paths[len(paths) // 2].partition("host=")[2].partition(";")[0]
    with Server(folder) as server, Client(server.http_port) as client:
        for said, exact, regex in (
            ("one host's", f"host={host}", "service=~service.*"),
            ("a rack's of some services", "rack=r07", "service=~service0[1-4]"),
        ):
            url = f"/tags/findSeries?{urlencode([('expr', exact), ('expr', regex)])}"
            found = client.get(url).count(b";dc=")
            taken = sorted(_seconds(client, url) for _ in range(101))
            what = f"http: {found:,} of {len(paths):,} series by tags, {said}, p99"
            yield Row(what, taken[99] * 1000, "ms", "the median", taken[50] * 1000, limit=_FOUND_MS)


def _seconds(client: Client, url: str) -> float:
    started = time.perf_counter()
    client.get(url)
    return time.perf_counter() - started


def _must_agree(ours: Served, peers: list[Served], glob: str, day: Day) -> None:
    """The same series, and from graphite-web the same datapoints, in whatever order and writing."""
    answers = []
    for served in (ours, *peers):
        asked = served.asked(glob, day, STEP_S, _DAY_POINTS)
        with urlopen(f"http://127.0.0.1:{served.port}{asked.at(3)}") as answer:
            found = json.load(answer)
        if served.is_graphite:
            answers.append({one["target"]: one["datapoints"] for one in found})
        elif len(found["data"]["result"]) != len(day.names):
            raise AssertionError(f"{served.name} found {len(found['data']['result'])} series")
    if any(answer != answers[0] or len(answer) != len(day.names) for answer in answers):
        raise AssertionError("the answers differ, so their times say nothing")


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["http", *sys.argv[1:]]))
