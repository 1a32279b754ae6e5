from __future__ import annotations

import pytest

from render.functions import REGISTRY, short_forms
from tests.render.functions.asking import ask, of_rows, values
from tests.render.memory import MemorySource

NONE = None
# carbonapi's own expectations of aggregate() for these three series
ROWS = ([1, NONE, 2, 3, 4, 5], [2, NONE, 3, NONE, 5, 6], [3, NONE, 4, 5, 6, NONE])
EXPECTED = {
    "avg": [2, NONE, 3, 4, 5, 5.5],
    "avg_zero": [2, NONE, 3, 8 / 3, 5, 11 / 3],
    "count": [3, NONE, 3, 2, 3, 2],
    "current": [3, NONE, 4, 5, 6, 6],
    "diff": [-4, NONE, -5, -2, -7, -1],
    "first": [1, NONE, 2, 3, 4, 5],
    "last": [3, NONE, 4, 5, 6, 6],
    "max": [3, NONE, 4, 5, 6, 6],
    "median": [2, NONE, 3, 4, 5, 5.5],
    "min": [1, NONE, 2, 3, 4, 5],
    "multiply": [6, NONE, 24, NONE, 120, NONE],
    "range": [2, NONE, 2, 2, 2, 1],
    "rangeOf": [2, NONE, 2, 2, 2, 1],
    "total": [6, NONE, 9, 8, 15, 11],
}


@pytest.mark.parametrize("func", EXPECTED)
def test_each_short_form_and_its_series_form_aggregate(func: str) -> None:
    for name in {func, f"{func}Series"} & set(short_forms.NAMES):
        (found,) = of_rows(f"{name}(a.0, a.*, a.1)|alias('x')", *ROWS)  # as many lists as one likes
        (once,) = of_rows(f"{name}(a.*)", *ROWS)
        assert values(of_rows(f"{name}(a.*)", *ROWS))[0] == pytest.approx(EXPECTED[func])
        assert once.name == f"{func}Series(a.*)"
        assert once.tags["aggregatedBy"] == func
        assert found.name == "x"


def test_there_are_the_23_that_graphite_web_has_not() -> None:
    assert len(short_forms.NAMES) == 23
    assert all(REGISTRY.functions[name].aggregator for name in short_forms.NAMES)


@pytest.mark.parametrize("name", short_forms.NAMES)
def test_as_a_callback_it_is_the_aggregation(name: str, golden_source: MemorySource) -> None:
    func = short_forms.FUNCS[name]
    by_name = ask(golden_source, f"groupByNode(servers.*.*, 2, '{name}')")
    (alone,) = ask(golden_source, f"aggregate(servers.*.cpu, '{func}')")
    assert by_name.names == ["cpu", "mem", "requests"]
    assert values(by_name)[0] == values(ask(golden_source, f"{name}(servers.*.cpu)"))[0]
    assert next(iter(by_name)).expression == f"{func}Series(servers.*.*)"
    assert alone.name == f"{func}Series(servers.*.cpu)"


def test_of_no_series_there_is_none(golden_source: MemorySource) -> None:
    assert not ask(golden_source, "max(no.such)")
