from __future__ import annotations

from typing import Any

import pytest

from render.errors import ArgumentError
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import answers, difference
from tests.render.golden.series import START
from tests.render.memory import MemorySource

GOLDEN = answers("filter_data")


@pytest.mark.parametrize("answer", GOLDEN, ids=lambda answer: answer["target"])
def test_we_answer_as_graphite_web_does(answer: dict[str, Any], golden_source: MemorySource) -> None:
    found = difference(answer, golden_source)
    assert found is None


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
