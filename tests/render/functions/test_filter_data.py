from __future__ import annotations

import pytest

from render.errors import ArgumentError
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START

test_we_answer_as_graphite_web_does = golden_test("filter_data")


def test_each_series_has_its_own_percentile() -> None:
    source = holding([1.0, 2.0, 3.0, 4.0], [10.0, None, 30.0, 20.0], [None] * 4)
    found = ask(source, "removeAbovePercentile(a.*,50)", until=START + 240)
    assert values(found) == [[1.0, 2.0, 3.0, None], [10.0, None, None, 20.0], [None] * 4]
    found = ask(source, "removeBelowPercentile(a.*,50)", until=START + 240)
    assert values(found) == [[None, None, 3.0, 4.0], [None, None, 30.0, 20.0], [None] * 4]


@pytest.mark.parametrize("name", ["removeAbovePercentile", "removeBelowPercentile"])
@pytest.mark.parametrize("n", [0, -1, 101])
def test_a_percentile_that_cannot_be_is_refused(name: str, n: int) -> None:
    with pytest.raises(ArgumentError, match="takes a percentage, more than 0 and at most 100"):
        ask(holding([1.0]), f"{name}(a.0,{n})")
