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
from tests.render.memory import MemorySource

_BY_TIME = (
    "series of different steps are aligned by time; there they are paired by position, whatever their times"
)
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'asPercent(seriesByTag("name=load"), seriesByTag("name=temp"), "dc")': "there an unset variable",
    "asPercent(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "asPercent(group(servers.web1.cpu, coarse.c1))": _BY_TIME,
    "asPercent(group(servers.web1.cpu, coarse.c1), 50)": (
        "a number is no reason to merge points; there they are merged and keep the old step"
    ),
    "asPercent(group(fine.*, coarse.*), none, 0)": _BY_TIME,
}
test_we_answer_as_graphite_web_does = golden_test("percent", DEPARTURES)


@given(matrices(), st.integers(1, 3))
def test_percentages_of_a_groups_sum_add_up_to_100(rows: list[list[float | None]], groups: int) -> None:
    source = grouped(rows, groups)
    found = ask(source, "asPercent(a.*.*, none, 2)")
    assert len(found) == len(rows)
    sums = ask(source, "groupByNode(a.*.*, 2, 'sum')")
    for i, total in enumerate(sums):
        mine = [one.values for one in found if one.name.partition(",")[0].endswith(f".g{i}")]
        added = consolidation.columns("sum", np.array(mine)).values
        there = np.isfinite(total.values) & (total.values != 0)
        np.testing.assert_allclose(added[there], 100.0)
        assert np.isnan(added[~there]).all()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("asPercent(disk.*.used, disk.{a,b}.total)", "one series or as many as the first list, 3, not 2"),
        ("asPercent(disk.*.used, true)", "takes a number or a series list, not True"),
    ],
)
def test_a_total_that_cannot_be_is_refused_with_the_reason(
    source: MemorySource, target: str, said: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        ask(source, target)
    assert said in str(raised.value)
