from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import REGISTRY
from render.plan import render
from render.series import SeriesList
from storage import consolidation
from tests.render.golden.compare import golden_test
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource

_BY_TIME = (
    "series of different steps are aligned by time; there they are paired by position, whatever their times"
)
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'aggregate(servers.*.cpu, "first")': "every aggregation of storage can be used, there only some",
    "percentileOfSeries(servers.*.cpu, 100, true)": "the last value; there an IndexError",
    'groupByNode(alias(servers.*.cpu, "all (of them)"), 0, "sum")': "`all (` begins a call: of",
    "mapSeries(servers.*.*, 2)": "the series in the order of the groups; there a list of lists, which fails",
    'asPercent(seriesByTag("name=load"), seriesByTag("name=temp"), "dc")': "there an unset variable",
    "sumSeries(fine.f1, servers.web1.cpu)": _BY_TIME,
    "sumSeries(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "averageSeries(fine.f2, servers.web2.cpu, coarse.c2)": _BY_TIME,
    "countSeries(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "percentileOfSeries(group(servers.web1.cpu, coarse.c1), 50)": _BY_TIME,
    "divideSeries(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "divideSeries(group(fine.f1, coarse.c1), coarse.c1)": _BY_TIME,
    "asPercent(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "asPercent(group(servers.web1.cpu, coarse.c1))": _BY_TIME,
    "asPercent(group(servers.web1.cpu, coarse.c1), 50)": (
        "a number is no reason to merge points; there they are merged and keep the old step"
    ),
    "asPercent(group(fine.*, coarse.*), none, 0)": _BY_TIME,
    "sumSeries(fine.f2, servers.web1.cpu)": _BY_TIME,
}
test_we_answer_as_graphite_web_does = golden_test("combine", DEPARTURES)


def ask(source: MemorySource, target: str, **more: Any) -> SeriesList:
    return render(source, [target], **{"start": START, "until": UNTIL, "now": NOW, "zone": UTC, **more})[0]


@pytest.mark.parametrize("name", [name for name, one in REGISTRY.functions.items() if one.group == "Combine"])
def test_every_function_has_an_example_that_gives_series(name: str, source: MemorySource) -> None:
    function = REGISTRY.functions[name]
    names = [other for other, one in REGISTRY.functions.items() if one.run is function.run]
    example = function.description.partition("Example: ")[2]
    assert any(f"{other}(" in example for other in names)
    assert ask(source, example).names


# --- against plain twins ---


VALUES = st.one_of(st.none(), st.integers(-5, 5).map(float))


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float | None]]:
    points = draw(st.integers(1, 4))
    row = st.lists(VALUES, min_size=points, max_size=points)
    return draw(st.lists(row, min_size=1, max_size=9))


def _filled(rows: list[list[float | None]], groups: int) -> MemorySource:
    """Series a.<group>.<i>, groups in turn, so that a group's rows do not follow one another."""
    source = MemorySource()
    for i, row in enumerate(rows):
        source.add(f"a.{i:02}.g{i % groups}", START + 60, 60, row)
    return source


@given(matrices(), st.integers(1, 3), st.sampled_from(["sum", "max", "multiply", "median", "count", "diff"]))
def test_a_group_is_aggregated_as_if_it_were_alone(
    rows: list[list[float | None]], groups: int, func: str
) -> None:
    source = _filled(rows, groups)
    until = START + 60 * len(rows[0])
    found = ask(source, f"groupByNode(a.*.*, 2, '{func}')", until=until)
    for name, one in zip(found.names, found, strict=True):
        mine = np.array([row for i, row in enumerate(rows) if f"g{i % groups}" == name], dtype=np.float64)
        expected = consolidation.columns(func, mine).values
        np.testing.assert_array_equal(one.values, expected)
    assert found.names == [f"g{i}" for i in range(min(groups, len(rows)))]


@given(matrices(), st.integers(1, 3))
def test_callbacks_and_aggregations_of_one_name_agree(rows: list[list[float | None]], groups: int) -> None:
    source = _filled(rows, groups)
    fast = ask(source, "groupByNode(a.*.*, 2, 'sumSeries')")
    generic = ask(source, "groupByNode(a.*.*, 2, 'sumSeriesWithWildcards')")
    alone = [ask(source, f"sumSeries(a.*.{name})") for name in fast.names]
    for i, one in enumerate(fast):
        np.testing.assert_array_equal(one.values, alone[i].blocks[0].values[0])
    assert fast.names == generic.names


@given(matrices(), st.integers(1, 3))
def test_percentages_of_a_groups_sum_add_up_to_100(rows: list[list[float | None]], groups: int) -> None:
    source = _filled(rows, groups)
    found = ask(source, "asPercent(a.*.*, none, 2)")
    assert len(found) == len(rows)
    sums = ask(source, "groupByNode(a.*.*, 2, 'sum')")
    for i, total in enumerate(sums):
        mine = [one.values for one in found if one.name.partition(",")[0].endswith(f".g{i}")]
        added = consolidation.columns("sum", np.array(mine)).values
        there = np.isfinite(total.values) & (total.values != 0)
        np.testing.assert_allclose(added[there], 100.0)
        assert np.isnan(added[~there]).all()


@given(
    st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=12),
    st.floats(0.01, 100),
    st.booleans(),
)
def test_a_percentile_is_that_of_the_sorted_known_values(
    rows: list[list[float | None]], n: float, interpolate: bool
) -> None:
    source = _filled(rows, 1)
    found = ask(source, f"percentileOfSeries(a.*.*, {n:.6f}, {interpolate})", until=START + 180)
    n = float(f"{n:.6f}")
    for point, value in enumerate(found.blocks[0].values[0] if n else ()):
        known = sorted(known for row in rows if (known := row[point]) is not None)
        np.testing.assert_allclose(value, _percentile(known, n, interpolate))


def _percentile(known: list[float], n: float, interpolate: bool) -> float:
    if not known:
        return np.nan
    rank = n / 100.0 * (len(known) + 1)
    whole = int(rank) if interpolate else int(np.ceil(rank))
    low = known[min(max(whole - 1, 0), len(known) - 1)]
    if not interpolate or whole >= len(known):
        return low
    return low + (rank - whole) * (known[whole] - low)


# --- grids ---


def test_series_of_different_steps_meet_at_their_times() -> None:
    source = MemorySource()
    source.add("a.fine", START, 60, [float(i) for i in range(20)])
    source.add("a.coarse", START, 300, [1000.0, 2000.0, 3000.0, 4000.0])
    found = ask(source, "sumSeries(a.*)", until=START + 900)
    # fine points of the first minutes (START + 60 …) belong to the bucket START, of which coarse has none
    block = found.blocks[0]
    assert (block.start, block.step) == (START, 300)
    assert block.values[0].tolist() == [2.5, 2007.0, 3012.0, 4015.0]


def test_pairs_of_different_steps_each_have_their_own(source: MemorySource) -> None:
    lists = "group(fine.f1, coarse.c1), group(fine.f2, coarse.c2)"
    for function in ("divideSeriesLists", "sumSeriesLists"):
        assert [one.step for one in ask(source, f"{function}({lists})")] == [10, 300]


def test_groups_of_different_steps_each_have_their_own(source: MemorySource) -> None:
    found = ask(source, "groupByNode(group(fine.*, coarse.*), 0, 'sum')")
    assert [(one.name, one.step) for one in found] == [("fine", 10), ("coarse", 300)]


def test_a_sum_of_sums_is_summed_over_time_and_other_aggregates_are_averaged() -> None:
    source = MemorySource()
    for path, aggregation in (("a.s1", "sum"), ("a.s2", "sum"), ("b.s1", "sum"), ("b.m", "max")):
        source.add(path, START, 60, [1.0], aggregation=aggregation)
    for target, method in (
        ("sumSeries(a.*)", "sum"),
        ("groupByNode(a.*, 0, 'sum')", "sum"),
        ("sumSeriesLists(a.s1, a.s2)", "sum"),
        ("sumSeries(b.*)", "average"),
        ("countSeries(a.*)", "average"),
        ("aggregate(a.*, 'count')", "average"),
        ("multiplySeries(a.*)", "average"),
        ("divideSeries(a.*, a.s1)", "average"),
        ("asPercent(a.*)", "average"),
    ):
        assert {one.consolidation for one in ask(source, target)} == {method}, target


# --- what is refused, and what is bounded ---


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"applyByNode(servers.*.cpu, 2, '%', '{'%' * 1200}')", "newName: has 19200 characters with each %"),
        (
            "percentileOfSeries(servers.*.cpu, 100.1)",
            "takes a percentage, more than 0 and at most 100, not 100.1",
        ),
        ("asPercent(disk.*.used, disk.{a,b}.total)", "one series or as many as the first list, 3, not 2"),
        ("asPercent(disk.*.used, true)", "takes a number or a series list, not True"),
        ("divideSeries(disk.*.used, disk.*.total)", "takes exactly 1 series, not 3"),
        ("sumSeriesLists(disk.*.used, disk.a.total)", "takes as many series as the first list, 3, not 1"),
        ("groupByTags(servers.*.cpu, 'sum', 'dc')", "'servers.db1.cpu' has no tag 'dc'"),
        ("groupByNode(servers.*.cpu, 1, 'sun')", "no aggregation 'sun', perhaps 'sum'"),
        ("groupByNode(servers.*.cpu, 1, 'timeShift')", "evaluates its own arguments"),
        ("groupByNode(servers.*.cpu, 1, 'removeEmptySeries')", None),
        ("groupByNode(odd.none, 1, 'removeEmptySeries')", "gives no series for 'none'"),
        (
            "reduceSeries(mapSeries(disk.*.*, 1), 'asPercent', 2, 'used', 'total')",
            "no series of 'disk.c.reduce",
        ),
        ("reduceSeries(mapSeries(disk.*.*, 1), 'asPercent', 3, 'used')", "'disk.a.total' has no node 3"),
    ],
)
def test_what_cannot_be_combined_is_refused_with_the_reason(
    source: MemorySource, target: str, said: str | None
) -> None:
    if said is None:
        assert ask(source, target).names
        return
    with pytest.raises(ArgumentError) as raised:
        ask(source, target)
    assert said in str(raised.value)


def test_a_name_made_of_thousands_of_names_is_cut() -> None:
    source = MemorySource()
    for i in range(3000):
        source.add(f"servers.web{i:04}.cpu", START, 60, [1.0, 1.0])
    for target in (
        "sumSeries(scale(servers.*.cpu, 2))",
        "asPercent(scale(servers.*.cpu, 2))",
        "powSeries(servers.*.cpu)",
        "groupByNode(scale(servers.*.cpu, 2), 0, 'sum')",
    ):
        one = next(iter(ask(source, target)))
        assert "servers.web0000.cpu" in one.expression
        assert one.expression.endswith((",…)", ",…))"))
        assert len(one.expression) < 4200
