from __future__ import annotations

import numpy as np
import pytest

from render.errors import ArgumentError
from tests.render.functions.asking import ask
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START
from tests.render.memory import MemorySource

_BY_TIME = (
    "series of different steps are aligned by time; there they are paired by position, whatever their times"
)
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    "divideSeries(servers.web1.cpu, coarse.c1)": _BY_TIME,
    "divideSeries(group(fine.f1, coarse.c1), coarse.c1)": _BY_TIME,
}
test_we_answer_as_graphite_web_does = golden_test("combine_pairs", DEPARTURES)


def test_pairs_of_different_steps_each_have_their_own(source: MemorySource) -> None:
    lists = "group(fine.f1, coarse.c1), group(fine.f2, coarse.c2)"
    for function in ("divideSeriesLists", "sumSeriesLists"):
        assert [one.step for one in ask(source, f"{function}({lists})")] == [10, 300]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("divideSeries(disk.*.used, disk.*.total)", "takes exactly 1 series, not 3"),
        ("sumSeriesLists(disk.*.used, disk.a.total)", "takes as many series as the first list, 3, not 1"),
    ],
)
def test_lists_that_cannot_be_paired_are_refused_with_the_reason(
    source: MemorySource, target: str, said: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        ask(source, target)
    assert said in str(raised.value)


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
