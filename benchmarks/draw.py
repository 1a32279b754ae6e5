"""How many pictures a second are drawn of 10 series of 24 hours, as PNG of 800 × 400 pixels?

Ours through HTTP; graphite-web inside its own process, without HTTP, on the same datapoints in whisper files, each
asked to draw anew. A line graph with its legend, and the same series stacked.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlencode

import numpy as np

from benchmarks.measure import Row, seconds
from benchmarks.peers import GRAPHITE
from benchmarks.server import Server
from benchmarks.workbench import Day, Workbench, fill_store, fill_whisper, make_day

_SERIES = 10
_PNG = b"\x89PNG"


def rows(bench: Workbench) -> Iterator[Row]:
    day = _loads(make_day(_SERIES))
    asked = {"target": "*.*.*.*.*", "width": "800", "height": "400", "noCache": "1"}
    asked |= {"format": "png", "from": str(day.start), "until": str(day.now)}
    fill_store(bench.folder / "draw", day)
    folder = bench.folder / "draw-graphite"
    if bench.peers.python is not None:
        fill_whisper(folder / "whisper", day, len(day.names))
    with Server(bench.folder / "draw") as server:
        for mode in ("none", "stacked"):
            wanted = {**asked, "areaMode": mode}
            if not server.get("/render", **wanted).startswith(_PNG):
                raise AssertionError("what was drawn is no PNG, so its time says nothing")
            ours = seconds(partial(server.get, "/render", **wanted), runs=21)
            theirs = None
            answers = bench.peers.graphite_web(folder, f"/render?{urlencode(wanted)}", runs=11)
            if answers is not None:
                theirs = 1 / statistics.median(answers.seconds)
            what = f"draw: {_SERIES} series × 24 h, 800 × 400, areaMode={mode}"
            yield Row(what, 1 / ours, "pictures/s", f"{GRAPHITE}, no HTTP", theirs, times=1)


def _loads(day: Day) -> Day:
    """The day with values that rise and fall as loads do, some noise on them; its gaps stay."""
    points, series = day.values.shape
    hours = np.linspace(0, 24, points)[:, None] + np.arange(series)
    noise = np.random.default_rng(7).normal(0, 2, day.values.shape)
    values = 40 + 30 * np.sin(hours * np.pi / 6) + noise
    return day._replace(values=np.where(np.isnan(day.values), np.nan, np.round(values, 2)))


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["draw", *sys.argv[1:]]))
