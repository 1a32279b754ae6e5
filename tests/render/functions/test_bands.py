from __future__ import annotations

import numpy as np
import pytest

from render.errors import ArgumentError
from render.functions.bands import quantile, side_by_side, split, student
from tests.render.functions.asking import ask
from tests.render.memory import MemorySource


@pytest.mark.parametrize(("percent", "deviations"), [(68.27, 1.0), (95, 1.96), (99.73, 3.0)])
def test_a_band_of_so_many_percent_is_so_many_deviations_wide(percent: float, deviations: float) -> None:
    assert quantile("x", percent) == pytest.approx(deviations, abs=1e-3)


@pytest.mark.parametrize("percent", [0, 100, -1, 1e300])
def test_a_band_of_nothing_or_of_everything_is_refused(percent: float) -> None:
    with pytest.raises(ArgumentError, match=r"x\(\): band: takes a percentage between 0 and 100"):
        quantile("x", percent)


@pytest.mark.parametrize(  # of printed tables
    ("freedom", "exact"), [(4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (1e9, 1.960)]
)
def test_few_values_make_a_band_wider(freedom: float, exact: float) -> None:
    assert student(1.959964, np.array([freedom]))[0] == pytest.approx(exact, rel=0.02)


def test_what_is_made_of_a_series_stands_side_by_side_in_the_lists_order() -> None:
    series = ask(MemorySource.golden(), "sortByName(group(fine.*,coarse.*,servers.web1.*),reverse=true)")

    def twice(block):  # type: ignore[no-untyped-def]
        return [block.with_(names=[f"{name}{mark}" for name in block.names]) for mark in "-+"]

    found = side_by_side(series, twice)
    assert found.names == [f"{name}{mark}" for name in series.names for mark in "-+"]
    assert [one.step for one in found] == [one.step for one in series for _ in "-+"]
    assert side_by_side(series.pick([]), twice).names == []


def test_numbers_in_the_lists_order_come_to_the_blocks_that_have_the_series() -> None:
    series = ask(MemorySource.golden(), "sortByName(group(servers.db1.cpu,coarse.c1,fine.*))")
    numbers = np.array([[i, -i] for i in range(4)], np.float64)
    for block, mine in zip(series.blocks, split(series, numbers), strict=True):
        assert [series.names[int(i)] for i in mine[:, 0]] == list(block.names)
    assert split(series.pick([]), numbers[:0]) == []
