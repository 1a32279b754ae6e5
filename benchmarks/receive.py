"""How fast, and for how much CPU, do metric lines become datapoints that a query sees?

100,000 names, 20 rounds a minute apart, over four TCP connections; once with every name new, once with all
names known. CPU is counted until all work is done: the coarser archives, or carbon's files. carbon-cache is given
fewer, for it would take minutes; that its datapoints are in its cache is enough for being queryable.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.lines import Receiver, Taken, make_lines, take
from benchmarks.measure import Row
from benchmarks.peers import CARBON
from benchmarks.server import Server
from benchmarks.workbench import STEP_S, Workbench, names, now_in_steps


def rows(bench: Workbench) -> Iterator[Row]:
    new, known = ours(bench.folder / "receive", bench.size(100_000), 20)
    peers_size = bench.size(10_000), 10
    theirs = carbon(bench, *peers_size)
    peer = f"{CARBON}, {peers_size[0]:,} × {peers_size[1]}"
    their_new, their_known = theirs or (None, None)
    yield Row(
        "receive: every name new, until queryable", new.per_s, "points/s", peer,
        their_new and their_new.per_s, times=10,
    )  # fmt: skip
    yield Row(
        "receive: names known, until queryable", known.per_s, "points/s", peer,
        their_known and their_known.per_s, limit=2e6,
    )  # fmt: skip
    yield Row(
        "receive: names known", known.cpu_s_a_million, "CPU-s a million", peer,
        their_known and their_known.cpu_s_a_million, limit=0.5, times=50,
    )  # fmt: skip


def ours(folder: Path, series: int, rounds: int) -> tuple[Taken, Taken]:
    with Server(folder) as server:
        return _twice(server, series, rounds)


def carbon(bench: Workbench, series: int, rounds: int) -> tuple[Taken, Taken] | None:
    cache = bench.peers.carbon_cache(bench.folder / "carbon")
    if cache is None:
        return None
    with cache:
        return _twice(cache, series, rounds)


def _twice(receiver: Receiver, series: int, rounds: int) -> tuple[Taken, Taken]:
    """Rounds that end half way to now with new names, then with the same names rounds until now."""
    warm = names(1000, ("warm.up",))
    take(receiver, warm, make_lines(warm, [now_in_steps()]))  # the first line loads, or compiles, kernels
    paths = names(series)
    times = [now_in_steps() - STEP_S * ago for ago in range(2 * rounds - 1, -1, -1)]
    new = take(receiver, paths, make_lines(paths, times[:rounds]))
    return new, take(receiver, paths, make_lines(paths, times[rounds:]))


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["receive", *sys.argv[1:]]))
