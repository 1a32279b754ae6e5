"""How fast, and for how much CPU, do metric lines become datapoints that a query sees?

100,000 names, 20 rounds a minute apart, over four TCP connections: with every name new, with all names known, and
known in another order each round. CPU is counted until all work is done: the coarser archives, carbon's files,
VictoriaMetrics' parts. carbon-cache is given fewer, for it would take minutes; that its datapoints are in its cache is
enough for being queryable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.lines import Receiver, Taken, make_lines, take
from benchmarks.measure import Row
from benchmarks.peers import CARBON, CarbonCache
from benchmarks.server import Server
from benchmarks.victoria import VICTORIA, VictoriaMetrics, victoria
from benchmarks.workbench import STEP_S, Workbench, names, now_in_steps


class Story(NamedTuple):
    """The same names three times."""

    new: Taken
    known: Taken
    shuffled: Taken


def rows(bench: Workbench) -> Iterator[Row]:
    size, rounds = bench.size(100_000), 20
    with Server(bench.folder / "receive") as server:
        mine = _story(server, size, rounds)
    theirs = _theirs(victoria(bench.folder / "victoria"), size, rounds)
    carbon_size = bench.size(10_000), 10
    carbons = _theirs(bench.peers.carbon_cache(bench.folder / "carbon"), *carbon_size)
    carbon = f"{CARBON}, {carbon_size[0]:,} × {carbon_size[1]}"
    yield _rate("every name new, until queryable", mine.new, carbon, carbons and carbons.new, times=10)
    yield _rate("names known, until queryable", mine.known, carbon, carbons and carbons.known, limit=2e6)
    yield _cost("names known", mine.known, carbon, carbons and carbons.known, limit=0.5, times=80)
    yield _cost("names known", mine.known, VICTORIA, theirs and theirs.known, times=5)
    yield _cost("every name new", mine.new, VICTORIA, theirs and theirs.new, times=2)
    yield _cost("names shuffled", mine.shuffled, VICTORIA, theirs and theirs.shuffled, times=1)


def _rate(what: str, ours: Taken, peer: str, theirs: Taken | None, **must: float) -> Row:
    return Row(f"receive: {what}", ours.per_s, "points/s", peer, theirs and theirs.per_s, **must)


def _cost(what: str, ours: Taken, peer: str, theirs: Taken | None, **must: float) -> Row:
    figure = theirs and theirs.cpu_s_a_million
    return Row(f"receive: {what}", ours.cpu_s_a_million, "CPU-s a million", peer, figure, **must)


def _theirs(peer: CarbonCache | VictoriaMetrics | None, series: int, rounds: int) -> Story | None:
    if peer is None:
        return None
    with peer:
        return _story(peer, series, rounds)


def _story(receiver: Receiver, series: int, rounds: int) -> Story:
    """Rounds that end a third of the way to now with new names, then with the same names, then in other orders."""
    warm = names(1000, ("warm.up",))
    take(receiver, warm, make_lines(warm, [now_in_steps()]))  # the first line loads, or compiles, kernels
    paths = names(series)
    times = [now_in_steps() - STEP_S * ago for ago in range(3 * rounds - 1, -1, -1)]
    first, second, third = (times[at : at + rounds] for at in (0, rounds, 2 * rounds))
    return Story(
        take(receiver, paths, make_lines(paths, first)),
        take(receiver, paths, make_lines(paths, second)),
        take(receiver, paths, make_lines(paths, third, shuffled=True)),
    )


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["receive", *sys.argv[1:]]))
