"""How much faster than graphite-web is each series function over 100 series of 24 hours, and some over 10,000?

Ours in this process, without HTTP and JSON, over a store; graphite-web in a process of its own, without them, too,
over whisper files with the same datapoints. Times are the processor's, so that what else the machine does is in
neither. VictoriaMetrics 1.79 does not serve /render, so it stands beside none. Both read the datapoints anew each time,
as a request does. What each function is asked comes from its registered parameters; TARGETS has what must mean
something.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import Row, cpu_seconds, seconds
from benchmarks.peers import GRAPHITE
from benchmarks.server import Server
from benchmarks.workbench import (
    STEP_S,
    Day,
    Workbench,
    add_names,
    fill_store,
    fill_whisper,
    make_day,
    names,
    now_in_steps,
)
from render.errors import RenderError
from render.functions import REGISTRY
from render.functions.registry import Function, Param
from render.plan import render
from render.source import SharedStore
from storage.store import Store

ALL = "*.*.*.requests.p99"
_SERIES, _MANY, _MANY_THERE, _MOST = 100, 10_000, 1_000, 100_000
_SHOWN = 10  # of the functions, those with the lowest ratios
_WORST, _MEDIAN = 5, 40
_RUNS, _RUNS_THERE = 5, 3
_MEMORY_MIB = 300
_BY_TYPE = {
    "seriesList": ALL,
    "seriesLists": f"mapSeries({ALL},2)",
    "float": "50",
    "integer": "5",
    "intOrInf": "5",
    "node": "2",
    "nodeOrTag": "2",
    "tag": "'name'",
    "interval": "'1h'",
    "intOrInterval": "'1h'",
    "aggFunc": "'average'",
    "aggOrSeriesFunc": "'sum'",
    "string": "'x'",
    "any": "'x'",
}
TARGETS = {
    "aliasQuery": f"aliasQuery({ALL},'^.*$','dc1.web-000.checkout.requests.p99','%g')",
    "aliasSub": f"aliasSub({ALL},'web-0*([0-9]+)','\\1')",
    "applyByNode": f"applyByNode({ALL},1,'sumSeries(%.*.requests.p99)')",
    "areaBetween": f"areaBetween(group(minSeries({ALL}),maxSeries({ALL})))",
    "cactiStyle": f"cactiStyle({ALL},'si')",
    "color": f"color({ALL},'red')",
    "consolidateBy": f"consolidateBy({ALL},'max')",
    "diffSeriesLists": f"diffSeriesLists({ALL},{ALL})",
    "divideSeries": f"divideSeries({ALL},dc1.web-000.cart.requests.p99)",
    "filterSeries": f"filterSeries({ALL},'max','>',50)",
    "grep": f"grep({ALL},'cart')",
    "holtWintersAberration": f"holtWintersAberration({ALL},3,'12h','1h')",
    "holtWintersConfidenceArea": "holtWintersConfidenceArea(dc1.web-000.cart.requests.p99,3,'12h','1h')",
    "holtWintersConfidenceBands": f"holtWintersConfidenceBands({ALL},3,'12h','1h')",
    "holtWintersForecast": f"holtWintersForecast({ALL},'12h','1h')",
    "integralByInterval": f"integralByInterval({ALL},'1h')",
    "legendValue": f"legendValue({ALL},'avg','max')",
    "mapSeries": f"reduceSeries(mapSeries({ALL},1),'sumSeries',2,'cart','mail')",
    "powSeries": f"powSeries(scale({ALL},0.00001))",
    "reduceSeries": f"reduceSeries(mapSeries({ALL},1),'diffSeries',2,'cart','mail')",
    "removeBetweenPercentile": f"removeBetweenPercentile(transformNull({ALL}),50)",
    "round": f"round({ALL},1)",
    "setXFilesFactor": f"setXFilesFactor({ALL},0.5)",
    "smartSummarize": f"smartSummarize({ALL},'1h','sum')",
    "timeStack": f"timeStack({ALL},'1h',0,3)",
    "timeSlice": f"timeSlice({ALL},'-12h','-1h')",
    "useSeriesAbove": f"useSeriesAbove(transformNull({ALL}),50,'mail','cart')",
    "verticalLine": "verticalLine('-1h','x')",
    "weightedAverage": "weightedAverage(*.*.cart.requests.p99,*.*.mail.requests.p99,1)",
}
TARGETS["map"], TARGETS["reduce"] = TARGETS["mapSeries"], TARGETS["reduceSeries"]
# the index of tags and that of events are databases there
LEFT_OUT = {"seriesByTag", "events"}
_LARGE = {
    f"sumSeries({ALL})": 100,
    f"groupByNode({ALL},2,'sum')": 100,
    f"asPercent({ALL})": 100,
    f"percentileOfSeries({ALL},95)": 100,
    f"aliasByNode(highestAverage({ALL},10),1)": 80,
}
_WINDOWS = {f"movingMedian({ALL},'1h')": 100, f"movingWindow({ALL},'1h','p95')": 100}


class Ours(NamedTuple):
    source: SharedStore
    day: Day

    def ask(self, target: str) -> None:
        start, now = self.day.start, self.day.now
        render(self.source, [target], start=start, until=now, now=now, zone=UTC)


def rows(bench: Workbench) -> Iterator[Row]:
    yield from _every(bench)
    yield from _longer(bench)
    yield from _many(bench)
    yield from _memory(bench)


def targets() -> dict[str, str]:
    """A target for each of graphite-web's functions, and of ours that it may have: it says which it has not."""
    return {
        name: TARGETS.get(name) or _target(function)
        for name, function in REGISTRY.functions.items()
        if name not in LEFT_OUT
    }


def _target(function: Function) -> str:
    needed = [param for param in function.params if param.required or param is function.params[0]]
    return f"{function.name}({','.join(map(_argument, needed))})"


def _argument(param: Param) -> str:
    if param.options and param.type == "string":
        return repr(param.options[0])
    return _BY_TYPE.get(param.type, "'-1h'")


def _opened(folder: Path, day: Day) -> Ours:
    fill_store(folder, day)
    return Ours(SharedStore(Store(folder, writable=False)), day)


def _every(bench: Workbench) -> Iterator[Row]:
    """The worst, the median, the slowest; one through HTTP; and windows of an hour."""
    day = make_day(_SERIES)
    ours = _opened(bench.folder / "functions", day)
    folder = bench.folder / "functions-graphite"
    fill_whisper(folder / "whisper", day, _SERIES)
    asked = {**targets(), **{target: target for target in _WINDOWS}}
    there = bench.peers.graphite_targets(folder, list(asked.values()), day.start, day.now, runs=_RUNS_THERE)
    mine = _taken(ours, asked)
    compared = sorted(
        (_row(name, mine[name], None if there is None else there.get(target)) for name, target in asked.items()
         if name in mine and name not in _WINDOWS and (there is None or there.get(target) is not None)),
        key=_ratio,
    )  # fmt: skip
    what = f"functions: of {len(compared)} over {_SERIES} × 24 h"
    yield compared[0]._replace(what=f"{what} the worst, {compared[0].what}", times=_WORST)
    middle = compared[len(compared) // 2]
    yield middle._replace(what=f"{what} the median, {middle.what}", times=_MEDIAN)
    for one in compared[1:_SHOWN]:
        yield one._replace(what=f"functions: {one.what}")
    for target, times in _WINDOWS.items():
        if there is None or there.get(target) is not None:
            theirs = None if there is None else there[target]
            yield _row(f"functions: {target}", mine[target], theirs, times)
        else:
            yield _row(
                f"functions: {target} (which it has not: movingMedian)",
                mine[target],
                there[next(iter(_WINDOWS))],
                times,
            )
    with Server(bench.folder / "functions") as server:
        get = partial(
            server.get, "/render", target=f"sumSeries({ALL})", format="json",
            until=str(day.now), **{"from": str(day.start)},
        )  # fmt: skip
        theirs = None if there is None else there[f"sumSeries({ALL})"]
        yield _row("functions: sumSeries through HTTP, JSON (by the clock)", seconds(get, runs=21), theirs)


def _taken(ours: Ours, asked: dict[str, str]) -> dict[str, float]:
    """Seconds of each, but for what cannot be asked so."""
    taken = {}
    for name, target in asked.items():
        try:
            ours.ask(target)
        except RenderError as error:
            print(f"functions: {target}: {error}", file=sys.stderr)
            continue
        taken[name] = cpu_seconds(partial(ours.ask, target), runs=_RUNS)
    return taken


def _row(what: str, ours_s: float, theirs_s: float | None, times: float | None = None) -> Row:
    return Row(
        what, ours_s * 1000, "CPU-ms", GRAPHITE, None if theirs_s is None else theirs_s * 1000, times=times
    )


def _ratio(row: Row) -> float:
    return row.ratio or 0.0


def _longer(bench: Workbench) -> Iterator[Row]:
    """Bands with a week before them, of which the season is a day."""
    base = make_day(10)
    points = 8 * 1440
    timestamps = np.arange(base.now - (points - 1) * STEP_S, base.now + 1, STEP_S)
    whole = Day(base.names, timestamps, np.tile(base.values, (8, 1)))
    ours = _opened(bench.folder / "bands", whole)
    ours = ours._replace(day=base)
    folder = bench.folder / "bands-graphite"
    fill_whisper(folder / "whisper", whole, len(whole.names))
    target = f"holtWintersConfidenceBands({ALL})"
    there = bench.peers.graphite_targets(folder, [target], base.start, base.now, runs=1)
    taken = cpu_seconds(partial(ours.ask, target))
    theirs = None if there is None else there[target]
    yield _row("functions: holtWintersConfidenceBands, 10 × 24 h after 7 d", taken, theirs, 50)


def _many(bench: Workbench) -> Iterator[Row]:
    """Over very many series; graphite-web's time is that for a tenth of them, ten times."""
    how_many, there_many = bench.size(_MANY), bench.size(_MANY_THERE)
    day = make_day(how_many)
    ours = _opened(bench.folder / "many", day)
    folder = bench.folder / "many-graphite"
    fill_whisper(folder / "whisper", day, there_many)
    there = bench.peers.graphite_targets(folder, list(_LARGE), day.start, day.now, runs=1)
    for target, times in _LARGE.items():
        taken = cpu_seconds(partial(ours.ask, target))
        few = None if there is None else there[target]
        theirs = None if few is None else few * how_many / there_many
        what = f"functions: {target.replace(ALL, '…')} over {how_many:,} (there {there_many:,}, times 10)"
        yield _row(what, taken, theirs, times)


def _memory(bench: Workbench) -> Iterator[Row]:
    """Anonymous memory, sampled each few milliseconds, above what the process had before."""
    how_many = bench.size(_MOST)
    folder = bench.folder / "most"
    now = _fill_most(folder, how_many)
    source = SharedStore(Store(folder, writable=False))
    before, most, done = _anonymous_mib(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], _anonymous_mib())

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.perf_counter()
    render(source, [f"sumSeries({ALL})"], start=now - 86_400, until=now, now=now, zone=UTC)
    taken = time.perf_counter() - started
    done.set()
    watching.join()
    yield Row(
        f"functions: memory of sumSeries over {how_many:,} × 24 h, {taken:.1f} s", most[0] - before, "MiB",
        "all of them as a matrix", how_many * 1440 * 8 / (1 << 20), limit=_MEMORY_MIB,
    )  # fmt: skip


def _fill_most(folder: Path, how_many: int) -> int:
    """So many series of a day; their values come row by row, as all at once would be a gigabyte. Gives `now`."""
    store, now = Store(folder), now_in_steps()
    series = add_names(store, names(how_many, ("requests.p99",)))
    dice = np.random.default_rng(7)
    for timestamp in range(now - 1439 * STEP_S, now + 1, STEP_S):
        values = dice.integers(0, 100_000, how_many) / 8
        store.append(series, np.full(how_many, timestamp), values, now)
    store.roll_up()
    store.close()
    return now


def _anonymous_mib() -> float:
    text = Path("/proc/self/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Anonymous:")) / 1024


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["functions", *sys.argv[1:]]))
