"""The index against a dict of paths and a recursive matcher, in any order of adding, removing and asking."""

from __future__ import annotations

import random
import threading
from fnmatch import fnmatchcase
from itertools import compress, pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.errors import InvalidGlob
from storage.index import Index, Last
from storage.intern import lay
from tests.effort import tries


class Twin:
    """What an index does, plainly."""

    def __init__(self) -> None:
        self.series: dict[str, int] = {}

    def find(self, pattern: str) -> dict[str, tuple[int, bool]]:
        """path → (series, branch)"""
        if ";" in pattern:
            return {pattern: (self.series[pattern], False)} if pattern in self.series else {}
        plain = [path for path in self.series if ";" not in path]
        branches = {path[:i] for path in plain for i, character in enumerate(path) if character == "."}
        wanted = [one.split(".") for one in expand(pattern)]
        return {
            path: (self.series.get(path, -1), path in branches)
            for path in {*plain, *branches}
            if any(all(one) and matches(path.split("."), one) for one in wanted)
        }


def expand(pattern: str) -> list[str]:
    """The texts of a pattern with braces; no classes with braces in them."""
    close = pattern.find("}")
    if close < 0:
        return [pattern]
    first = pattern.rindex("{", 0, close)
    parts = pattern[first + 1 : close].split(",")
    return [text for part in parts for text in expand(pattern[:first] + part + pattern[close + 1 :])]


def matches(nodes: list[str], globs: list[str]) -> bool:
    if not globs:
        return not nodes
    if globs == ["**"]:
        return bool(nodes)
    if globs[0] == "**":
        return any(matches(nodes[i:], globs[1:]) for i in range(len(nodes) + 1))
    return bool(nodes) and fnmatchcase(nodes[0], globs[0]) and matches(nodes[1:], globs[1:])


def add(index: Index, named: dict[str, int]) -> None:
    index.add_all(*lay([path.encode() for path in named]), np.array(list(named.values()), np.int32))


def check_last(last: Last, wanted: list[tuple[str, tuple[int, bool]]]) -> None:
    leaves = [path.rpartition(".")[2] for path, (series, _) in wanted if series >= 0]
    branches = [path.rpartition(".")[2] for path, (_, branch) in wanted if branch]
    assert sorted(last.names) == sorted({*leaves, *branches})
    assert set(compress(last.names, last.leaf)) == set(leaves)
    assert set(compress(last.names, last.branch)) == set(branches)
    assert (last.leaves, last.branches) == (len(leaves), len(branches))


def check(index: Index, twin: Twin, pattern: str) -> None:
    wanted = sorted(twin.find(pattern).items())
    found = index.find(pattern)
    assert found.paths == [path for path, _ in wanted]
    assert found.series.tolist() == [series for _, (series, _) in wanted]
    assert found.branch.tolist() == [branch for _, (_, branch) in wanted]
    check_last(index.find_last(pattern), wanted)
    paths, series = index.find_series(pattern)
    leaves = [(path, one) for path, (one, _) in wanted if one >= 0]
    assert (paths, series.tolist()) == ([path for path, _ in leaves], [one for _, one in leaves])
    assert [str(column.dtype) for column in (found.series, found.branch, series)] == [
        "int32",
        "bool",
        "int32",
    ]


# some sort before the dot that follows a node, some after; one is a wildcard's beginning of another
LABELS = ["a", "b", "ab", "a-b", "a!", "a/", "b]", "é", "ab" * 9]
PATH = st.lists(st.sampled_from(LABELS), min_size=1, max_size=5).map(".".join)
TAGGED = st.tuples(PATH, st.sampled_from([";t=a", ";t=b.c", ";a=1;t=é"])).map("".join)
GLOB = st.sampled_from(
    [*LABELS, "*", "**", "?", "a*", "*b", "?b", "[ab]", "[!a]", "{a,b}", "{a*,é}", "zz", ""]
)
SPANNING = st.sampled_from(["{a.b,b}", "{a,b.{a,**}}", "{*.a,*}", "{a.*,}", "{**,a}"])
PATTERN = st.lists(GLOB | GLOB | SPANNING, min_size=1, max_size=4).map(".".join) | TAGGED | PATH
SERIES = st.integers(0, 30)


@given(
    st.lists(
        st.dictionaries(PATH | PATH | TAGGED, SERIES, max_size=12) | st.sets(SERIES) | PATTERN,
        max_size=12,
    )
)
@example([{"a": 1}, "*", {"a.b": 2}, "*", "a.**", "**", {1}, "*", {2}, "*", {"a.b": 3}, "**"])
@example([{"a.b": 1, "a-b.b": 2, "a-b": 3, "a": 4}, "**", "*", "*.*"])
@example([{"a;t=b.c": 1}, "a;t=b.c", "*", "**", {1}, "a;t=b.c", {"a;t=b.c": 2}, "a;t=b.c"])
@settings(max_examples=tries(120), deadline=None)
def test_an_index_finds_what_a_dict_and_a_recursive_matcher_find(steps: list[object]) -> None:
    index, twin = Index(), Twin()
    for step in steps:
        if isinstance(step, dict):
            add(index, step)
            twin.series.update(step)
        elif isinstance(step, set):
            index.remove(list(step))
            twin.series = {path: series for path, series in twin.series.items() if series not in step}
        else:
            assert isinstance(step, str)
            check(index, twin, step)
        assert len(index) == len(twin.series)
    check(index, twin, "**")
    assert index.all_paths() == sorted(twin.series)


@pytest.fixture(scope="module")
def many() -> tuple[Index, Twin]:
    """Names enough that look-ups, walks and scans are each the fastest for some pattern."""
    parts = (
        [f"dc{i}" for i in range(3)],
        [f"web-{i:03d}" for i in range(40)],
        [f"service{i}" for i in range(6)],
        ["requests", "cpu", "disk.sda", "disk-sda"],
        ["p50", "p99", "count"],
    )
    names = [".".join(nodes) for nodes in product(*parts)] + [f"top{i}" for i in range(50)]
    random.Random(1).shuffle(names)
    index, twin = Index(), Twin()
    for at in range(0, len(names), 1777):
        some = {name: at + i for i, name in enumerate(names[at : at + 1777])}
        add(index, some)
        twin.series.update(some)
    return index, twin


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "dc1",
        "dc1.*",
        "dc?.web-0[0-3]?",
        "*.*.service3.*",
        "*.*.service3.requests.p99",
        "*.*.*.requests.p99",
        "*.web-00{1,2,7}.*.cpu.p*",
        "dc1.web-001.service0.*",
        "dc1.web-001.service0.cpu.p99",
        "dc1.web-001.service0.disk.sda.p99",
        "dc1.web-001.service0.cpu.p98",
        "{dc0,dc2}.web-01*.{service1,service5}.{cpu,disk.*}.count",
        "**.sda",
        "dc1.**.p99",
        "**.web-01?.**",
        "{dc1.*,dc?.web-001}.service2.cpu.p99",
        "{dc1.web-001,dc?.*}",
        "**.*.**.p99",
        "*.*.*.*.*",
        "top[1-3]?",
        "nothing.*",
    ],
)
def test_thousands_of_names_are_found_as_by_one(many: tuple[Index, Twin], pattern: str) -> None:
    check(*many, pattern)


def test_all_paths_are_sorted_as_python_sorts_them(many: tuple[Index, Twin]) -> None:
    index, twin = many
    paths = index.all_paths()
    assert paths == sorted(twin.series)
    assert all(a < b for a, b in pairwise(paths))


def test_a_name_weighs_little() -> None:
    index = Index()
    add(index, {f"servers.web-{i // 100}.metric-{i % 100}": i for i in range(20_000)})
    index.find("**")
    assert index.nbytes / len(index) < 100


def test_a_name_longer_than_any_before_grows_the_vocabulary() -> None:
    index = Index()
    add(index, {"a": 0})
    add(index, {"x" * 4000 + "." + "y" * 90: 1})
    assert index.find_series("x*.y*")[0] == ["x" * 4000 + "." + "y" * 90]


def test_a_path_of_a_thousand_nodes_costs_the_others_nothing() -> None:
    index, deep = Index(), ".".join(["n"] * 1000)
    add(index, {deep: 0, "a.b": 1})
    assert index.find_series("**.n.**")[0] == [deep]
    assert index.find_series("*.b")[0] == ["a.b"]
    assert index.all_paths() == ["a.b", deep]


def test_many_wide_places_are_sorted_by_more_than_one_key() -> None:
    """Sixteen places of 100 labels each are more than 63 bits."""
    labels = [f"{i * 37 % 100:02d}" for i in range(100)]
    twin = Twin()
    twin.series = {".".join(labels[(i * (j + 1)) % 100] for j in range(16)): i for i in range(300)}
    index = Index()
    add(index, twin.series)
    check(index, twin, "*" + ".*" * 15)


def test_labels_with_common_beginnings_are_sorted_whenever_they_come() -> None:
    index, twin = Index(), Twin()
    labels = [
        a + b
        for a in ("a", "b.a", "web-site-", "é")
        for b in ("", "-", "b", "/", "0", "00000000", "00000001")
    ]
    random.Random(2).shuffle(labels)
    for i, label in enumerate(labels):
        named = {label: i, label + ".x": i + 100}
        add(index, named)
        twin.series.update(named)
        check(index, twin, "*")
        check(index, twin, "**")


def test_ten_thousand_paths_of_one_pattern_are_each_found_once() -> None:
    index = Index()
    add(index, {f"a.n{i}": i for i in range(0, 3000, 3)})
    pattern = "{a," + ",".join(f"a.n{i}" for i in range(3000)) + "}"
    assert index.find_series(pattern)[1].size == 1000


def test_a_pattern_that_cannot_be_is_refused() -> None:
    for find in (Index().find, Index().find_series):
        with pytest.raises(InvalidGlob, match="column 3"):
            find("a.[b")


def test_text_that_no_name_can_have_finds_nothing() -> None:
    index = Index()
    add(index, {"a": 1, "?;t=a": 2})
    for pattern in ["\ud800", "\ud800;t=a", "a;t=a", ";", "", ".", "a.", ".a", "a..a"]:
        assert index.find(pattern).paths == []


def test_names_of_no_series_are_passed_over() -> None:
    index = Index()
    add(index, {"a": -1, "b": 1, "c;t=a": -1, "d;t=a": 2})
    assert (len(index), index.all_paths()) == (2, ["b", "d;t=a"])
    assert index.find("a").paths == index.find("c;t=a").paths == []


def test_of_a_path_named_twice_at_once_the_last_series_counts() -> None:
    index = Index()
    index.add_all(*lay([b"a.b", b"a.b", b"a;t=1", b"a;t=1"]), np.array([1, 2, 3, 4], np.int32))
    assert index.find_series("a.b")[1].tolist() == [2]
    assert index.find_series("a;t=1")[1].tolist() == [4]
    assert len(index) == 2
    index.remove([2])
    assert index.find("**").paths == []


def test_threads_may_ask_while_names_come() -> None:
    """Every answer is the names from the first to some one, whole."""
    index, names = Index(), [f"n{i % 7}.web-{i:05d}" for i in range(4000)]
    wrong: list[object] = []

    def ask() -> None:
        seen = 0
        while seen < len(names):
            paths, series = index.find_series("n*.*")
            if sorted(series.tolist()) != list(range(len(paths))) or len(paths) < seen:
                wrong.append((len(paths), seen))
                return
            if paths != [names[i] for i in series]:
                wrong.append(paths)
                return
            seen = len(paths)

    asking = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in asking:
        thread.start()
    for at in range(0, len(names), 100):
        add(index, {name: at + i for i, name in enumerate(names[at : at + 100])})
    for thread in asking:
        thread.join()
    assert wrong == []
