from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import aggregation
from render.functions.aggregation import EXPRESSION_CHARS_MAX
from render.series import Block, SeriesList, Tags
from storage import consolidation

PAIRS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)


def block(tags: Tags, names: list[str], start: int = 0, step: int = 60) -> Block:
    values = np.arange(2.0 * len(names)).reshape(len(names), 2)
    return Block(values, start, step, names, names, tags, ["average"] * len(names))


@given(st.lists(st.tuples(st.lists(PAIRS, min_size=1, max_size=3), PAIRS), min_size=1, max_size=3))
def test_an_aggregate_has_the_tags_that_all_its_series_share(
    blocks: list[tuple[list[dict[str, str]], dict[str, str]]],
) -> None:
    each = [{**own, **added} for owns, added in blocks for own in owns]
    common = {k: v for k, v in each[0].items() if all(one.get(k) == v for one in each)}
    series = SeriesList(block(Tags(owns, added), ["n"] * len(owns)) for owns, added in blocks)
    (found,) = aggregation.aggregate(series, "sum").tags
    assert found == {"name": "sumSeries(n)", **common, "aggregatedBy": "sum"}


@given(st.lists(st.lists(PAIRS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_groups_have_the_tags_that_their_series_share(groups: list[list[dict[str, str]]]) -> None:
    owns = [own for group in groups for own in group]
    series = SeriesList([block(Tags(owns), ["n"] * len(owns))])
    places, at = {}, 0
    for i, group in enumerate(groups):
        places[str(i)] = range(at, at + len(group))
        at += len(group)
    found = aggregation.aggregate_groups(series, places, "sum", check=lambda: None)
    alone = [aggregation.aggregate(series.pick(list(rows)), "sum") for rows in places.values()]
    assert found.names == list(places)
    assert found.expressions == ["sumSeries(n)"] * len(groups)
    assert found.tags == [one.tags[0] for one in alone]
    for i, one in enumerate(found):
        assert one.values.tolist() == alone[i].blocks[0].values[0].tolist()


@given(st.integers(1, 20), st.floats(0, 1), st.data())
def test_a_point_counts_if_the_known_part_is_large_enough(
    series: int, factor: float, data: st.DataObject
) -> None:
    known = data.draw(st.integers(0, series))
    column = np.array([[1.0]] * known + [[np.nan]] * (series - known))
    counts = known > 0 and known / series >= factor
    assert np.isfinite(aggregation.reduce("sum", column, factor)).tolist() == [counts]


@given(st.lists(st.sampled_from(["a", "b.c", "d" * 30]), max_size=400))
def test_expressions_are_joined_once_each(expressions: list[str]) -> None:
    assert aggregation.joined(expressions) == ",".join(dict.fromkeys(expressions))


def test_a_long_join_is_cut_between_two_names() -> None:
    names = [f"name{i}" for i in range(2000)]
    joined = aggregation.joined(names)
    assert len(joined) <= EXPRESSION_CHARS_MAX + 2
    assert joined.endswith(",…")
    assert ",".join(names).startswith(joined[:-1])
    assert aggregation.joined(["x" * 10_000]) == "x" * 10_000


def test_an_aggregations_name_is_shown_without_series() -> None:
    assert aggregation.label("f", "sumSeries") == "sum"
    assert aggregation.label("f", "current") == "current"
    with pytest.raises(ArgumentError, match=r"f\(\): func: no aggregation 'Series'"):
        aggregation.label("f", "SeriesSeries")


def test_consolidation_is_kept_where_it_makes_sense() -> None:
    assert aggregation.consolidation_of("total", ["sum", "sum"]) == "sum"
    assert aggregation.consolidation_of("sum", ["sum", "max"]) == "average"
    assert aggregation.consolidation_of("count", ["sum", "sum"]) == "average"


@given(st.integers(1, 4), st.integers(1, 4))
def test_lists_together_share_a_grid_and_keep_their_series(first: int, second: int) -> None:
    lists = [
        SeriesList([block(Tags(["n"] * rows), [f"n{i}" for i in range(rows)], 0, step)])
        for rows, step in ((first, 60), (second, 120))
    ]
    blocks = aggregation.together(*lists)
    assert [list(one.names) for one in blocks] == [one.names for one in lists]
    assert len({(one.start, one.step, one.values.shape[1]) for one in blocks}) == 1
    for one, mine in zip(blocks, lists, strict=True):
        size = 120 // mine.blocks[0].step
        expected = consolidation.buckets("average", mine.blocks[0].values, size)
        np.testing.assert_array_equal(one.values[:, : expected.shape[1]], expected)
