"""How long does a glob take that finds 50,000 of 1,000,000 names, and how long one level of their tree?

The plain twin is fnmatch over a list of them. graphite-web walks folders: it gets 20,000 files, and its
time is multiplied by 50. That is to its favour: with more files it grows faster than in proportion.
"""

from __future__ import annotations

import fnmatch
import json
import statistics
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlencode

from benchmarks.measure import Row, seconds
from benchmarks.peers import GRAPHITE
from benchmarks.server import Server
from benchmarks.workbench import Workbench, names, store_of_names
from storage.store import Store

_GLOB = "*.*.*.requests.p99"
_FILES = 20_000
_LEVELS = ("*", "dc1.*", "dc1.web-0*", "*.*.checkout.*")
_LEVEL_MS = 20
# a completer's answer has every path; the default one, for a tree, has each last node once
_ASKED = {"query": _GLOB, "format": "completer"}


def rows(bench: Workbench) -> Iterator[Row]:
    folder, paths = store_of_names(bench)
    wanted = fnmatch.filter(paths, _GLOB)
    what = f"find: {len(wanted):,} of {len(paths):,} names"
    store = Store(folder, writable=False)
    if store.find_series(_GLOB)[0] != sorted(wanted):
        raise AssertionError("the two finds differ, so their times say nothing")
    ours = seconds(lambda: store.find_series(_GLOB), runs=21) * 1000
    store.close()
    plain = seconds(lambda: fnmatch.filter(paths, _GLOB), runs=3) * 1000
    yield Row(what, ours, "ms", "fnmatch over a list", plain, limit=50)
    with Server(folder) as server:
        _must_have(len(wanted), server.get("/metrics/find", **_ASKED))
        served = seconds(lambda: server.get("/metrics/find", **_ASKED), runs=9) * 1000
        levels = [_level(server, paths, glob) for glob in _LEVELS]
    yield from levels
    files = min(_FILES, len(paths))
    theirs = graphite_web(bench, files)
    peer = f"{GRAPHITE}, {files:,} files, × {len(paths) // files}"
    yield Row(f"{what}, over HTTP", served, "ms", peer, theirs and theirs * len(paths) / files * 1000)


def _level(server: Server, paths: list[str], glob: str) -> Row:
    """What a tree or Grafana's editor asks while one clicks; the slowest of many is what counts."""
    ours = partial(server.get, "/metrics/find", query=glob)
    ours()
    taken = sorted(seconds(ours, runs=1) * 1000 for _ in range(101))
    what = f"find: a level of {len(paths):,} names, {glob}, over HTTP, p99"
    return Row(what, taken[99], "ms", "the median", taken[50], limit=_LEVEL_MS)


def graphite_web(bench: Workbench, files: int) -> float | None:
    """Seconds for the glob in a tree of so many empty files: it looks at their names only."""
    if bench.peers.python is None:
        return None
    folder = bench.folder / "find-graphite"
    paths = names(files)
    for path in paths:
        file = folder / "whisper" / (path.replace(".", "/") + ".wsp")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    answers = bench.peers.graphite_web(folder, f"/metrics/find?{urlencode(_ASKED)}", runs=3)
    if answers is None:
        return None
    _must_have(len(fnmatch.filter(paths, _GLOB)), answers.body)
    return statistics.median(answers.seconds)


def _must_have(how_many: int, body: bytes | str) -> None:
    found = json.loads(body)["metrics"]
    if len(found) != how_many:
        raise AssertionError(f"{len(found):,} were found where {how_many:,} are")


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["find", *sys.argv[1:]]))
