from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.functions.nodes import keys, list_keys, members, path_of
from render.series import Block, SeriesList, Tags

NAME = st.text("ab", min_size=1, max_size=2)
PATH = st.lists(NAME, min_size=1, max_size=3).map(".".join)
NODE = st.one_of(st.integers(-3, 3), st.sampled_from(["name", "dc", "1"]))


def block(paths: list[str]) -> Block:
    values = np.zeros((len(paths), 1))
    return Block(values, 0, 60, paths, paths, Tags(paths), ["average"] * len(paths))


def key_of(path: str, nodes: list[int | str]) -> str:
    """graphite-web's aggKey(), one series."""
    plain, *pairs = path.split(";")
    tags = {"name": plain, **dict(pair.split("=", 1) for pair in pairs)}
    parts = plain.split(".")
    found = []
    for node in nodes:
        there = isinstance(node, int) and -len(parts) <= node < len(parts)
        found.append(parts[node] if there and isinstance(node, int) else tags.get(str(node), ""))
    return ".".join(found)


@given(st.lists(st.one_of(PATH, PATH.map(lambda path: path + ";dc=x;1=y"))), st.lists(NODE, max_size=3))
def test_keys_are_nodes_or_tags(paths: list[str], nodes: list[int | str]) -> None:
    assert keys(block(paths), nodes) == [key_of(path, nodes) for path in paths]


def test_keys_of_a_list_come_in_its_order() -> None:
    series = SeriesList([block(["a.1", "a.2"]), block(["a.3"])], np.array([2, 0, 1]))
    assert list_keys(series, [1]) == ["3", "1", "2"]
    assert list_keys(SeriesList(), [1]) == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.b", "a.b"),
        ("a.b;c=d.e", "a.b"),
        ("scale(a.b;c=d,2)", "a.b"),
        ("sumSeries(scale(a.*.c,2),d)", "a.*.c"),
        ("divideSeries(a.b,MISSING)", "a.b"),
        ("a (b", "a (b"),
        ("5)", "5)"),
        ("", ""),
    ],
)
def test_a_name_is_about_the_first_path_in_it(name: str, path: str) -> None:
    assert path_of(name) == path


@given(st.lists(NAME))
def test_members_are_the_places_of_each_key(keys: list[str]) -> None:
    places = members(keys)
    assert list(places) == list(dict.fromkeys(keys))
    assert sorted(i for at in places.values() for i in at) == list(range(len(keys)))
    assert all(keys[i] == key for key, at in places.items() for i in at)
