from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import REGISTRY
from tests.render.functions.asking import ask
from tests.render.functions.rows import VALUES, grouped
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START
from tests.render.memory import MemorySource

_BY_TIME = (
    "series of different steps are aligned by time; there they are paired by position, whatever their times"
)
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'aggregate(servers.*.cpu, "first")': "every aggregation of storage can be used, there only some",
    "percentileOfSeries(servers.*.cpu, 100, true)": "the last value; there an IndexError",
    "sumSeries(fine.f1, servers.web1.cpu)": _BY_TIME,
    "sumSeries(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "averageSeries(fine.f2, servers.web2.cpu, coarse.c2)": _BY_TIME,
    "countSeries(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "percentileOfSeries(group(servers.web1.cpu, coarse.c1), 50)": _BY_TIME,
    "sumSeries(fine.f2, servers.web1.cpu)": _BY_TIME,
}
test_we_answer_as_graphite_web_does = golden_test("combine", DEPARTURES)


@pytest.mark.parametrize("name", [name for name, one in REGISTRY.functions.items() if one.group == "Combine"])
def test_every_function_has_an_example_that_gives_series(name: str, source: MemorySource) -> None:
    function = REGISTRY.functions[name]
    for example in function.examples:
        assert any(f"{known}(" in example for known in [name, *REGISTRY.others(function)])
        assert ask(source, example).names
    assert function.examples


@given(
    st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=12),
    st.floats(0.01, 100),
    st.booleans(),
)
def test_a_percentile_is_that_of_the_sorted_known_values(
    rows: list[list[float | None]], n: float, interpolate: bool
) -> None:
    source = grouped(rows, 1)
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


def test_series_of_different_steps_meet_at_their_times() -> None:
    source = MemorySource()
    source.add("a.fine", START, 60, [float(i) for i in range(20)])
    source.add("a.coarse", START, 300, [1000.0, 2000.0, 3000.0, 4000.0])
    found = ask(source, "sumSeries(a.*)", until=START + 900)
    # fine points of the first minutes (START + 60 …) belong to the bucket START, of which coarse has none
    block = found.blocks[0]
    assert (block.start, block.step) == (START, 300)
    assert block.values[0].tolist() == [2.5, 2007.0, 3012.0, 4015.0]


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


def test_a_percentage_that_cannot_be_is_refused_with_the_reason(source: MemorySource) -> None:
    with pytest.raises(ArgumentError, match=r"more than 0 and at most 100, not 100\.1"):
        ask(source, "percentileOfSeries(servers.*.cpu, 100.1)")


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
