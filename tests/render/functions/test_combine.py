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
    for example in function.examples:
        assert any(f"{known}(" in example for known in [name, *REGISTRY.others(function)])
        assert ask(source, example).names
    assert function.examples


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


# --- carbonapi's defaults and matching ---


def _named(**rows: list[float | None]) -> MemorySource:
    source = MemorySource()
    for name, row in rows.items():
        source.add(name.replace("_", "."), START + 60, 60, row)
    return source


PAIRED = _named(a_x=[1.0, 2.0], a_y=[3.0, None], a_z=[5.0, 6.0], b_x=[10.0, 20.0], b_z=[30.0, None])
BY_NAME = "aliasByNode(a.*, 1), aliasByNode(b.*, 1)"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # by name: the number stands for b.y, and what is missing of a series stays missing where the function says so
        (f"sumSeriesLists({BY_NAME}, 100)", {"x,x": [11, 22], "y,100": [103, 100], "z,z": [35, 6]}),
        (f"multiplySeriesLists({BY_NAME}, 2)", {"x,x": [10, 40], "y,2": [6, None], "z,z": [150, None]}),
        (f"divideSeriesLists({BY_NAME}, 2)", {"x,x": [0.1, 0.1], "y,2": [1.5, None], "z,z": [1 / 6, None]}),
        (f"powSeriesLists({BY_NAME}, 2)", {"x,x": [1, 2**20], "y,2": [9, None], "z,z": [5**30, None]}),
        (f"diffSeriesLists({BY_NAME}, matching=true)", {"x,x": [-9, -18], "z,z": [-25, 6]}),
        # an empty list
        ("diffSeriesLists(a.x, no.such, 1)", {"a.x,1": [0, 1]}),
        ("diffSeriesLists(no.such, a.x, 1)", {"1,a.x": [0, -1]}),
        ("powSeriesLists(a.x, no.such, default=2)", {"a.x,2": [1, 4]}),
        ("divideSeriesLists(a.x, no.such, 0)", {"a.x,0": [None, None]}),
        # one for all, and lists of one length in order
        ("sumSeriesLists(a.*, b.x, 0)", {"a.x,b.x": [11, 22], "a.y,b.x": [13, 20], "a.z,b.x": [15, 26]}),
        ("sumSeriesLists(a.{x,z}, b.*, 7)", {"a.x,b.x": [11, 22], "a.z,b.z": [35, 6]}),
        ("sumSeriesLists(no.such, no.such, 7)", {}),
    ],
)
def test_lists_of_different_series_are_paired(target: str, expected: dict[str, list[float]]) -> None:
    found = ask(PAIRED, target, until=START + 120)
    function = target.partition("Lists(")[0]
    assert found.names == [f"{function}({names})" for names in expected]
    for one, row in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(one.values, np.array(row, dtype=np.float64))


def test_a_number_stands_on_the_grid_of_its_partner(source: MemorySource) -> None:
    found = ask(source, "sumSeriesLists(group(coarse.c1, fine.f1), disk.a.used, 1, true)")
    assert [(one.name, one.step) for one in found] == [
        ("sumSeries(coarse.c1,1)", 300),
        ("sumSeries(fine.f1,1)", 10),
    ]


@pytest.mark.parametrize("name", ["sum", "diff", "multiply", "divide", "pow"])
def test_without_a_default_lists_are_equally_long(name: str) -> None:
    for more in ("", ", matching=false"):
        with pytest.raises(ArgumentError, match="takes as many series as the first list, 3, not 2"):
            ask(PAIRED, f"{name}SeriesLists(a.*, b.*{more})")


def test_a_power_of_pairs_is_pow_series_of_each(source: MemorySource) -> None:
    lists = ask(source, "powSeriesLists(servers.*.cpu, servers.*.mem)")
    for host, one in zip(("db1", "web1", "web2", "web3"), lists, strict=True):
        (alone,) = ask(source, f"powSeries(servers.{host}.cpu, servers.{host}.mem)")
        np.testing.assert_array_equal(one.values, alone.values)
