"""How long does it take to find series by tags among 1,000,000 with eight tags each, and to complete tags as one types?

The plain twin holds the same series as a dict from (tag, value) to a set of their numbers, which is quick, and big.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice

from benchmarks.measure import Row, seconds
from benchmarks.server import Server
from benchmarks.workbench import Workbench, add_names
from render.conditions import read_conditions
from storage.index import Index
from storage.store import Store

_SERVICES, _METRICS = 5, 20  # of a host, and of a service
_FOUND_MS = _COMPLETED_MS = 20
_RUNS = 21
Postings = dict[tuple[str, str], set[int]]


def rows(bench: Workbench) -> Iterator[Row]:
    paths = tagged_names(bench.size(1_000_000))
    folder = bench.folder / "tags"
    store = Store(folder)
    add_names(store, paths)
    store.close()
    store = Store(folder, writable=False)
    what = f"tags: {len(paths):,} series"
    index = store.index
    before = index.nbytes
    taken = _once(lambda: index.tagged.tags(most=1))
    plain: Postings = defaultdict(set)
    twin_s = _once(lambda: _fill(plain, paths))
    yield Row(f"{what}, postings made", taken, "s", "dict of sets", twin_s)
    twin_bytes = sum(map(sys.getsizeof, plain.values())) + sys.getsizeof(plain)
    yield Row(
        f"{what}, postings", (index.nbytes - before) / len(paths), "bytes/series",
        "dict of sets", twin_bytes / len(paths),
    )  # fmt: skip
    yield from _finds(what, index, paths, plain)
    store.close()
    with Server(folder) as server:
        yield from _completions(what, server, plain)


def tagged_names(how_many: int) -> list[str]:
    """Names such as app.metric03;dc=dc1;env=prod;host=web-00042.example.com;…, host by host as agents send them."""
    every = (
        f"app.metric{metric:02d};dc=dc{host % 3 + 1};env={'prod' if host % 10 else 'dev'};"
        f"host=web-{host:05d}.example.com;os=linux;rack=r{host % 97:02d};"
        f"service=service{(host * _SERVICES + service) % 40:02d};version=1.{host % 13}"
        for host in count()
        for service in range(_SERVICES)
        for metric in range(_METRICS)
    )
    return list(islice(every, how_many))


def _once(work: Callable[[], object]) -> float:
    """The seconds of the one and only run: what it makes stays."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _fill(postings: Postings, paths: list[str]) -> None:
    for i, path in enumerate(paths):
        metric, *pairs = path.split(";")
        postings["name", metric].add(i)
        for pair in pairs:
            tag, _, value = pair.partition("=")
            postings[tag, value].add(i)


def _finds(what: str, index: Index, paths: list[str], plain: Postings) -> Iterator[Row]:
    hosts = len({value for tag, value in plain if tag == "host"})
    for said, exact, tag, regex in (
        ("one host's", ("host", f"web-{hosts // 2:05d}.example.com"), "service", "service.*"),
        ("by a regex over hosts", ("name", "app.metric03"), "host", r"web-\d+42\."),
        ("a service's of some racks", ("service", "service07"), "rack", "r[1-4]"),
    ):
        conditions = read_conditions([f"{exact[0]}={exact[1]}", f"{tag}=~{regex}"], lambda: None)

        def theirs(exact: tuple[str, str] = exact, tag: str = tag, regex: str = regex) -> list[str]:
            match = re.compile(regex).match
            some = [series for (one, value), series in plain.items() if one == tag and match(value)]
            return sorted(paths[i] for i in plain[exact] & set().union(*some))

        ours = partial(index.tagged.find, conditions)
        if ours()[0] != theirs():
            raise AssertionError("the two find other series, so their times say nothing")
        yield Row(
            f"{what}, {len(ours()[0]):,} found, {said}", seconds(ours, runs=_RUNS) * 1000, "ms",
            "dict of sets", seconds(theirs, runs=3) * 1000, limit=_FOUND_MS,
        )  # fmt: skip


def _completions(what: str, server: Server, plain: Postings) -> Iterator[Row]:
    """Over HTTP, what Grafana asks while one types; the slowest of many is what counts."""
    for said, path, asked in (
        ("tags", "/tags/autoComplete/tags", {"expr": "env=prod"}),
        ("hosts of env=prod", "/tags/autoComplete/values", {"tag": "host", "expr": "env=prod"}),
        ("hosts by prefix", "/tags/autoComplete/values", {"tag": "host", "valuePrefix": "web-001"}),
        (
            "names of a host",
            "/tags/autoComplete/values",
            {"tag": "name", "expr": "host=web-00042.example.com"},
        ),
    ):
        ours = partial(server.get, path, limit="100", **asked)
        ours()
        taken = sorted(_once(ours) for _ in range(101))
        yield Row(
            f"{what}, complete {said}, over HTTP, p99", taken[99] * 1000, "ms",
            "the median", taken[50] * 1000, limit=_COMPLETED_MS,
        )  # fmt: skip


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["tags", *sys.argv[1:]]))
