"""Tagged paths against a list of them and conditions tried on each, in any order of adding, removing and asking."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage import tags as tags_module
from storage.index import Index
from storage.intern import lay
from storage.tags import ANY, EMPTY, Condition, Tagged, Texts
from tests.effort import tries


class Twin:
    """What tagged paths do, plainly."""

    def __init__(self) -> None:
        self.series: dict[str, int] = {}

    def find(self, conditions: Sequence[Condition]) -> tuple[list[str], list[int]]:
        found = sorted(path for path in self.series if fulfils(path, conditions))
        return found, [self.series[path] for path in found]

    def tags(self, conditions: Sequence[Condition], texts: Texts) -> list[str]:
        return sorted({tag for path in self.find(conditions)[0] for tag in own(path) if tag in texts})

    def values(self, tag: str, conditions: Sequence[Condition], texts: Texts) -> list[tuple[str, int]]:
        found = {own(path).get(tag, "") for path in self.find(conditions)[0]} - {""}
        every = [own(path).get(tag) for path in self.series]
        return [(text, every.count(text)) for text in sorted(found) if text in texts]


def own(path: str) -> dict[str, str]:
    """The tags of a path."""
    metric, *pairs = path.split(";")
    return {**dict(pair.split("=", 1) for pair in pairs), "name": metric}


def fulfils(path: str, conditions: Sequence[Condition]) -> bool:
    return all((own(path).get(tag, "") in texts) is among for tag, texts, among in conditions)


def matching(pattern: str) -> Texts:
    compiled = re.compile(pattern)
    return Texts(prefixes=("",), holds=lambda texts: [compiled.match(text) is not None for text in texts])


def exactly(*texts: str) -> Texts:
    return Texts(frozenset(texts))


def add(tagged: Tagged, named: dict[str, int]) -> None:
    tagged.add_all(*lay([path.encode() for path in named]), np.array(list(named.values()), np.int32))


def remove(tagged: Tagged, series: set[int]) -> None:
    gone = np.zeros(max(series, default=-1) + 1, np.bool_)
    gone[list(series)] = True
    tagged.remove(gone)


Step = dict[str, int] | set[int] | list[Condition]
METRIC = st.sampled_from(["a", "a.b", "a!", "é", "name"])
VALUE = st.sampled_from(["a", "ab", "a!", "b", "=", "a=b", "é", "ab" * 9])
PATH = st.builds(
    lambda metric, pairs: ";".join([metric, *(f"{tag}={pairs[tag]}" for tag in sorted(pairs))]),
    METRIC,
    st.dictionaries(st.sampled_from(["t", "a", "tt", "name", "é"]), VALUE, min_size=1),
)
SERIES = st.integers(0, 20)
TEXTS = st.one_of(
    st.frozensets(VALUE | METRIC | st.just(""), max_size=3).map(Texts),
    st.lists(st.sampled_from(["", "a", "ab", "b", "é", "zz"]), max_size=3).map(
        lambda some: Texts(prefixes=tuple(some))
    ),
    st.sampled_from(["a$", "a|b", ".*b", "(a.)?$", "[^a]", ""]).map(matching),
    st.builds(
        Texts, st.just(frozenset(["b"])), st.just(("a",)), st.just(lambda texts: [t != "ab" for t in texts])
    ),
)
TAG = st.sampled_from(["name", "t", "a", "tt", "é", "nosuch", "t=a"])
CONDITIONS = st.lists(st.builds(Condition, TAG, TEXTS, st.booleans()), max_size=3)


@given(
    st.lists(
        st.one_of(st.dictionaries(PATH, SERIES, max_size=8), st.sets(SERIES, max_size=5), CONDITIONS),
        max_size=12,
    ),
    st.sampled_from([0, 3, 4096]),
)
@example([{"a;name=b;t=a": 1, "b;name=a": 2}, [Condition("name", exactly("a"))]], 0)
@example([{"a;t=a": 1}, [], {1}, [Condition("t", EMPTY, False)], {"a;t=a": 2}, [Condition("t", ANY)]], 0)
@settings(max_examples=tries(150))
def test_tags_answer_as_conditions_tried_on_every_path(steps: list[Step], unlaid_max: int) -> None:
    tagged, twin = Tagged(unlaid_max=unlaid_max), Twin()
    for step in steps:
        if isinstance(step, dict):
            add(tagged, step)
            twin.series.update(step)
        elif isinstance(step, set):
            remove(tagged, step)
            twin.series = {path: series for path, series in twin.series.items() if series not in step}
        else:
            check(tagged, twin, step)
        assert len(tagged) == len(twin.series)
    check(tagged, twin, [Condition("nosuch", EMPTY)])
    assert tagged.paths() == sorted(twin.series)


def check(tagged: Tagged, twin: Twin, conditions: list[Condition]) -> None:
    paths, series = tagged.find(conditions)
    assert (paths, series.tolist()) == twin.find(conditions)
    assert series.dtype == np.int32
    for texts in (ANY, Texts(prefixes=("t", "a")), exactly("name")):
        assert tagged.tags(conditions, texts, most=99) == twin.tags(conditions, texts)
    for tag in ("name", "t", "a"):
        for texts in (ANY, Texts(prefixes=("ab", "a", "=")), exactly("a", "b"), matching(".b")):
            assert tagged.values(tag, conditions, texts, most=99) == twin.values(tag, conditions, texts)


@pytest.fixture(scope="module")
def many() -> tuple[Tagged, Twin]:
    """Paths enough that there are postings, that some came after those, and that some conditions leave many."""
    chance = random.Random(1)
    names = [
        f"m{i % 7};dc=dc{i % 3};host=web-{i % 2000:05d};os=linux" + (f";rack=r{i % 11}" if i % 5 else "")
        for i in range(14_000)
    ]
    chance.shuffle(names)
    tagged, twin = Tagged(), Twin()
    for at in range(0, len(names), 6_000):
        some = {name: at + i for i, name in enumerate(names[at : at + 6_000])}
        add(tagged, some)
        twin.series.update(some)
        tagged.tags(most=1)
    gone = set(chance.sample(range(len(names)), 1000))
    remove(tagged, gone)
    twin.series = {path: series for path, series in twin.series.items() if series not in gone}
    return tagged, twin


@pytest.mark.parametrize(
    "conditions",
    [
        [],
        [Condition("os", exactly("linux"))],
        [Condition("os", exactly("linux")), Condition("rack", EMPTY)],
        [Condition("os", exactly("linux"), False)],
        [Condition("rack", EMPTY, False)],
        [Condition("host", exactly("web-00007"))],
        [
            Condition("host", exactly("web-00007", "web-01234", "nosuch")),
            Condition("dc", exactly("dc1"), False),
        ],
        [
            Condition("host", Texts(prefixes=("web-000", "web-0000", "web-01"))),
            Condition("dc", matching("dc[12]")),
        ],
        [Condition("host", matching(r".*7$")), Condition("name", exactly("m3", "m4"))],
        [Condition("dc", matching("dc.*")), Condition("host", matching(".*9"), False)],
        [Condition("rack", matching("r1?$")), Condition("name", exactly("m1"))],
        [Condition("dc", exactly("dc0")), Condition("dc", exactly("dc1"))],
        [Condition("nosuch", exactly("a"))],
        [Condition("nosuch", exactly("a"), False), Condition("host", Texts(prefixes=("web-00001",)))],
    ],
)
def test_thousands_of_paths_are_found_as_by_one(
    many: tuple[Tagged, Twin], conditions: list[Condition]
) -> None:
    tagged, twin = many
    paths, series = tagged.find(conditions)
    assert (paths, series.tolist()) == twin.find(conditions)
    assert tagged.tags(conditions, most=99) == twin.tags(conditions, ANY)
    for tag, texts in [
        ("host", ANY),
        ("host", Texts(prefixes=("web-01",))),
        ("rack", matching("r1")),
        ("dc", ANY),
    ]:
        wanted = twin.values(tag, conditions, texts) if tag != "host" else None
        found = tagged.values(tag, conditions, texts, most=10_000)
        assert [value.text for value in found] == sorted(
            {own(p).get(tag, "") for p in paths} & {*map(str, _texts(tagged, tag, texts))}
        )
        assert wanted is None or found == wanted
        for most in (0, 1, 50, 900, 1100):
            assert tagged.values(tag, conditions, texts, most=most) == found[:most]


def _texts(tagged: Tagged, tag: str, texts: Texts) -> list[str]:
    return [value.text for value in tagged.values(tag, most=10_000) if value.text in texts]


def test_the_postings_are_laid_and_some_paths_came_later(many: tuple[Tagged, Twin]) -> None:
    """What the test above is about, seen from within."""
    tagged, _ = many
    assert 0 < tagged._laid < tagged._cut == len(tagged._names)


def test_nothing_is_made_before_tags_are_asked_for() -> None:
    tagged = Tagged()
    add(tagged, {f"m;host=h{i}": i for i in range(10_000)})
    remove(tagged, {7})
    before = tagged.nbytes
    assert tagged.series_of(b"m;host=h8") == 8
    assert len(tagged.paths()) == len(tagged) == 9_999
    assert tagged.nbytes == before
    tagged.tags(most=1)
    assert tagged.nbytes > before


def test_a_path_weighs_little() -> None:
    tagged = Tagged()
    names = {
        f"app.m{i % 50};dc=dc{i % 3};env=prod;host=web-{i // 50:05d};os=linux;rack=r{i // 50 % 97}": i
        for i in range(100_000)
    }
    add(tagged, names)
    tagged.tags(most=1)
    text = sum(map(len, names)) / len(names)
    assert tagged.nbytes / len(names) < text * 1.5 + 120


def test_values_that_begin_alike_are_cut_where_they_should_be() -> None:
    tagged = Tagged()
    texts = [f"{'x' * 40}{i:05d}{'y' * (i % 3)}" for i in range(2000)] + [f"{'x' * n}" for n in range(1, 40)]
    texts += [f"{'x' * 8}{i:08d}{9999 - i:08d}" for i in range(3000)]
    random.Random(3).shuffle(texts)
    add(tagged, {f"m;t={text}": i for i, text in enumerate(texts)})
    for most in (1, 7, 39, 40, 1000, 2000, 4000):
        assert [value.text for value in tagged.values("t", most=most)] == sorted(texts)[:most]


def test_values_told_apart_by_nothing_but_their_ends_end() -> None:
    tagged = Tagged()
    add(tagged, {"m;t=a" + "\0" * i: i for i in range(1500)})
    assert len(tagged.values("t", most=3)) == 3


def test_paths_of_many_shapes_are_sorted_as_python_sorts_them() -> None:
    chance = random.Random(4)
    tagged = Tagged()
    shapes = [("a", "b"), ("a", "b", "c"), ("b",), ("a-b", "c")]
    paths = list(
        {
            ";".join(
                [
                    chance.choice(["m", "m!", "m.a"]),
                    *(f"{tag}={chance.randrange(300)}" for tag in sorted(tags)),
                ]
            )
            for tags in chance.choices(shapes, k=6000)
        }
    )
    add(tagged, {path: i for i, path in enumerate(paths)})
    found, series = tagged.find([Condition("name", Texts(prefixes=("m",)))])
    assert found == sorted(paths)
    assert [paths[i] for i in series] == found


def test_more_conditions_than_there_are_bits_are_never_let_through() -> None:
    assert tags_module.CONDITIONS_MAX == 31
    tagged = Tagged()
    add(tagged, {";".join(["m", *(f"t{i:02d}=1" for i in range(40))]): 1})
    every = [Condition(f"t{i:02d}", exactly("1")) for i in range(31)]
    assert tagged.find(every)[0] == tagged.paths()
    assert tagged.find([*every[:30], Condition("t39", exactly("2"))])[0] == []


def test_text_that_no_path_can_have_finds_nothing() -> None:
    tagged = Tagged()
    add(tagged, {"a;t=?": 1})
    assert tagged.find([Condition("t", exactly("\ud800"))])[0] == []
    assert tagged.find([Condition("\ud800", exactly("?"))])[0] == []
    assert tagged.values("\ud800", most=1) == []


def test_an_index_keeps_plain_paths_from_tags() -> None:
    index = Index()
    index.add_all(*lay([b"a.b", b"a;t=1", b"a.c;t=2"]), np.array([1, 2, 3], np.int32))
    assert index.tagged.find([Condition("name", Texts(prefixes=("a",)))])[0] == ["a.c;t=2", "a;t=1"]
    index.remove([3, 1])
    assert [value.text for value in index.tagged.values("name", most=9)] == ["a"]
    assert len(index) == 1


@pytest.mark.parametrize("unlaid_max", [0, 1000])
@pytest.mark.parametrize("others", [0, 100])
def test_what_comes_while_values_are_matched_is_found_the_next_time(unlaid_max: int, others: int) -> None:
    """Its values were not there to be refused. Few paths are looked at one by one, many by postings."""
    tagged = Tagged(unlaid_max=unlaid_max)
    add(tagged, {"m;k=good": 0, "m;k=bad0": 1, **{f"o;k=good;n={i}": 2 + i for i in range(others)}})
    come = iter(range(1, 9))

    def holds(texts: Sequence[str]) -> list[bool]:
        number = next(come)
        add(tagged, {f"m;k=bad{number}": 500, **{f"o;k=good;n=new{number}{i}": 501 for i in range(50)}})
        assert tagged.tags(most=9)[0] == "k"  # has them cut and, perhaps, laid
        return [text.startswith("bad") for text in texts]

    conditions = [Condition("name", exactly("m")), Condition("k", Texts(prefixes=("",), holds=holds), False)]
    for _ in range(2):
        assert tagged.find(conditions)[0] == ["m;k=good"]
        assert [value.text for value in tagged.values("k", conditions, most=99)] == ["good"]


def test_threads_may_ask_while_paths_come_and_go() -> None:
    """Every answer is right for some moment: each path leads to its own series, and none is refused and found."""
    tagged, wrong = Tagged(), list[object]()
    names = [f"m{i % 5};host=h{i:05d};k={'even' if i % 2 == 0 else 'odd'}" for i in range(12_000)]
    conditions = [Condition("name", matching("m[0-3]")), Condition("k", exactly("odd"), False)]
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            paths, series = tagged.find(conditions)
            if paths != [names[i] for i in series] or any("odd" in path or "m4" in path for path in paths):
                wrong.append(paths)
            values = tagged.values("host", conditions, most=50)
            if [value.text for value in values] != sorted(value.text for value in values):
                wrong.append(values)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for at in range(0, len(names), 300):
        add(tagged, {name: at + i for i, name in enumerate(names[at : at + 300])})
        remove(tagged, {at, at + 1})
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    living = [i for i in range(len(names)) if i % 300 > 1 and i % 2 == 0 and i % 5 < 4]
    assert sorted(tagged.find(conditions)[1].tolist()) == living
