from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from storage import consolidation
from tests.render.functions.asking import ask
from tests.render.functions.rows import grouped, matrices
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START
from tests.render.memory import MemorySource

# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'groupByNode(alias(servers.*.cpu, "all (of them)"), 0, "sum")': "`all (` begins a call: of",
    "mapSeries(servers.*.*, 2)": "the series in the order of the groups; there a list of lists, which fails",
}
test_we_answer_as_graphite_web_does = golden_test("combine_groups", DEPARTURES)


@given(matrices(), st.integers(1, 3), st.sampled_from(["sum", "max", "multiply", "median", "count", "diff"]))
def test_a_group_is_aggregated_as_if_it_were_alone(
    rows: list[list[float | None]], groups: int, func: str
) -> None:
    source = grouped(rows, groups)
    until = START + 60 * len(rows[0])
    found = ask(source, f"groupByNode(a.*.*, 2, '{func}')", until=until)
    for name, one in zip(found.names, found, strict=True):
        mine = np.array([row for i, row in enumerate(rows) if f"g{i % groups}" == name], dtype=np.float64)
        expected = consolidation.columns(func, mine).values
        np.testing.assert_array_equal(one.values, expected)
    assert found.names == [f"g{i}" for i in range(min(groups, len(rows)))]


@given(matrices(), st.integers(1, 3))
def test_callbacks_and_aggregations_of_one_name_agree(rows: list[list[float | None]], groups: int) -> None:
    source = grouped(rows, groups)
    fast = ask(source, "groupByNode(a.*.*, 2, 'sumSeries')")
    generic = ask(source, "groupByNode(a.*.*, 2, 'sumSeriesWithWildcards')")
    alone = [ask(source, f"sumSeries(a.*.{name})") for name in fast.names]
    for i, one in enumerate(fast):
        np.testing.assert_array_equal(one.values, alone[i].blocks[0].values[0])
    assert fast.names == generic.names


def test_groups_of_different_steps_each_have_their_own(source: MemorySource) -> None:
    found = ask(source, "groupByNode(group(fine.*, coarse.*), 0, 'sum')")
    assert [(one.name, one.step) for one in found] == [("fine", 10), ("coarse", 300)]


def test_a_callback_may_be_any_function_of_one_list(source: MemorySource) -> None:
    assert ask(source, "groupByNode(servers.*.cpu, 1, 'removeEmptySeries')").names


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"applyByNode(servers.*.cpu, 2, '%', '{'%' * 1200}')", "newName: has 19200 characters with each %"),
        ("groupByTags(servers.*.cpu, 'sum', 'dc')", "'servers.db1.cpu' has no tag 'dc'"),
        ("groupByNode(servers.*.cpu, 1, 'sun')", "no aggregation 'sun', perhaps 'sum'"),
        ("groupByNode(servers.*.cpu, 1, 'timeShift')", "evaluates its own arguments"),
        ("groupByNode(odd.none, 1, 'removeEmptySeries')", "gives no series for 'none'"),
        (
            "reduceSeries(mapSeries(disk.*.*, 1), 'asPercent', 2, 'used', 'total')",
            "no series of 'disk.c.reduce",
        ),
        ("reduceSeries(mapSeries(disk.*.*, 1), 'asPercent', 3, 'used')", "'disk.a.total' has no node 3"),
    ],
)
def test_what_cannot_be_grouped_is_refused_with_the_reason(
    source: MemorySource, target: str, said: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        ask(source, target)
    assert said in str(raised.value)
