"""The newest datapoints, as CarbonLink asks for them, from the store's own files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.newest import WINDOW_S, Newest, Nowhere
from storage.schema import Rules
from storage.store import Store
from tests.effort import tries

NOW = 1_700_000_000
SCHEMAS = "[fast]\npattern = ^f\\.\nretentions = 1s:2h\n[slow]\npattern = .*\nretentions = 10s:6h,1m:1d\n"
AGGREGATIONS = "[sums]\npattern = ^f\\.\nxFilesFactor = 0\naggregationMethod = sum\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("newest")
    (folder / "storage-schemas.conf").write_text(SCHEMAS)
    (folder / "storage-aggregation.conf").write_text(AGGREGATIONS)
    made = Store(folder / "data", Rules.load(folder), durable=False)
    yield made
    made.close()


def put(store: Store, name: str, points: dict[int, float]) -> None:
    series = np.repeat(store.create([name]), len(points)).astype(np.int32)
    store.append(series, np.array(list(points)), np.array(list(points.values())), NOW)


def newest(store: Store, *names: str) -> list[dict[int, float]]:
    found = Newest(store, lambda: NOW + 0.5).newest(names)
    return [dict(zip(when.tolist(), values.tolist(), strict=True)) for when, values in found]


POINTS = st.dictionaries(st.integers(0, WINDOW_S + 600), st.floats(-1e6, 1e6), max_size=8)


@given(st.lists(st.tuples(st.sampled_from(["f", "s"]), POINTS), max_size=4))
@settings(max_examples=tries(40))
def test_the_newest_hour_is_that_of_a_dict(store: Store, metrics: list[tuple[str, dict[int, float]]]) -> None:
    first, names, expected = len(store), [], []
    for number, (kind, points) in enumerate(metrics):
        names.append(f"{kind}.of{first + number}.n{number}")
        step = {"f": 1, "s": 10}[kind]
        put(store, names[-1], {NOW - age: value for age, value in points.items()})
        kept: dict[int, float] = {}
        for age, value in points.items():
            slot = (NOW - age) // step * step
            if slot > (NOW - WINDOW_S) // step * step:
                kept[slot] = value
        expected.append(kept)
    assert newest(store, *names) == expected


def test_names_that_are_unknown_or_none_have_no_datapoints(store: Store) -> None:
    put(store, "f.a", {NOW: 1.5})
    asked = ["x", "a..b", "f.a", "", "t;", "é\x07", "n" * 5000, "f.a"]
    assert newest(store, *asked) == [{}, {}, {NOW: 1.5}, {}, {}, {}, {}, {NOW: 1.5}]
    assert newest(store) == []


def test_tags_may_come_in_any_order(store: Store) -> None:
    put(store, "s;t=1;u=2", {NOW: 1.0})
    assert newest(store, "s;u=2;t=1") == [{NOW: 1.0}]


def test_the_aggregation_is_the_series_own(store: Store) -> None:
    store.create(["f.a", "s.a"])
    source = Newest(store, lambda: NOW)
    assert [source.aggregation(name) for name in ("f.a", "s.a", "x", "a..b")] == [
        "sum",
        "average",
        None,
        None,
    ]


def test_without_a_store_nothing_is_known() -> None:
    assert [len(values) for _, values in Nowhere().newest(["a", "b"])] == [0, 0]
    assert Nowhere().aggregation("a") is None
