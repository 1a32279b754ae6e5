"""How many times a second is sumSeries over 1,000 series of 24 hours answered as JSON?

Ours through HTTP; graphite-web inside its own process, without HTTP, on the same datapoints in whisper files.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from urllib.parse import urlencode

from benchmarks.measure import Row, seconds
from benchmarks.peers import GRAPHITE
from benchmarks.server import Server
from benchmarks.workbench import Workbench, fill_store, fill_whisper, make_day


def rows(bench: Workbench) -> Iterator[Row]:
    day = make_day(bench.size(1000))
    asked = {
        "target": "sumSeries(*.*.*.requests.p99)",
        "format": "json",
        "from": str(day.start),
        "until": str(day.now),
    }
    fill_store(bench.folder / "render", day)
    with Server(bench.folder / "render") as server:
        ours = seconds(lambda: server.get("/render", **asked), runs=21)
        answer = json.loads(server.get("/render", **asked))
    theirs = None
    if bench.peers.python is not None:
        folder = bench.folder / "render-graphite"
        fill_whisper(folder / "whisper", day, len(day.names))
        answers = bench.peers.graphite_web(folder, f"/render?{urlencode(asked)}", runs=3)
        if answers is not None:
            _must_agree(answer, json.loads(answers.body))
            theirs = 1 / statistics.median(answers.seconds)
    what = f"render: sumSeries over {len(day.names):,} × 24 h, JSON"
    yield Row(what, 1 / ours, "requests/s", f"{GRAPHITE}, no HTTP", theirs, times=80)


def _must_agree(ours: list[dict[str, object]], theirs: list[dict[str, object]]) -> None:
    """The values are multiples of an eighth: sums in any order are the same."""
    if [one["datapoints"] for one in ours] != [one["datapoints"] for one in theirs]:
        raise AssertionError("the two answers differ, so their times say nothing")


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["render", *sys.argv[1:]]))
