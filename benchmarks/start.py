"""How long does the server take to start on 1,000,000 series, and how much memory does it need then?

Both processes together. The plain twin reads the same names from a text file into a tree of dicts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.lines import make_lines, take
from benchmarks.measure import Row
from benchmarks.server import Memory, Server
from benchmarks.workbench import Workbench, now_in_steps, store_of_names

_MIB_MAX = 2048
_TWIN = """
import json, re, sys, time
started, tree = time.perf_counter(), {}
for line in open(sys.argv[1]):
    branch = tree
    *above, leaf = line.rstrip().split(".")
    for node in above:
        branch = branch.setdefault(node, {})
    branch[leaf] = 1
taken = time.perf_counter() - started
kib = dict(re.findall(r"^(\\w+): +(\\d+) kB", open("/proc/self/smaps_rollup").read(), re.M))
json.dump([taken, int(kib["Rss"]) / 1024, int(kib["Pss"]) / 1024], sys.stdout)
"""


class Started(NamedTuple):
    seconds: float
    memory: Memory


def rows(bench: Workbench) -> Iterator[Row]:
    folder, paths = store_of_names(bench)
    twin = plain(bench.folder / "names.txt", paths)
    peer = "plain tree of dicts"
    with Server(folder):
        pass  # the first start after a change compiles the kernels
    with Server(folder) as server:
        what = f"start: {len(paths):,} series"
        yield Row(f"{what}, until ready", server.ready_s, "s", peer, twin.seconds, limit=10)
        server.get("/metrics/find", query="*.*.*.requests.p99")
        yield from _memory(f"{what}, one find", server.memory(), peer, twin.memory)
        take(server, paths, make_lines(paths, [now_in_steps()]))
        yield from _memory(f"{what}, a datapoint each", server.memory(), peer, twin.memory)


def _memory(what: str, ours: Memory, peer: str, theirs: Memory) -> Iterator[Row]:
    yield Row(f"{what}: resident", ours.rss, "MiB Rss", peer, theirs.rss, limit=_MIB_MAX)
    yield Row(f"{what}: resident", ours.pss, "MiB Pss", peer, theirs.pss, limit=_MIB_MAX)


def plain(file: Path, paths: list[str]) -> Started:
    file.write_text("\n".join(paths) + "\n")
    done = subprocess.run([sys.executable, "-c", _TWIN, str(file)], stdout=subprocess.PIPE, check=True)
    taken, rss, pss = json.loads(done.stdout)
    return Started(taken, Memory(rss, pss))


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["start", *sys.argv[1:]]))
