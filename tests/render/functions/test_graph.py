from __future__ import annotations

from typing import Any

import pytest

from render.errors import ArgumentError
from tests.render.functions.asking import ask, holding
from tests.render.golden.compare import answers, golden_test
from tests.render.memory import MemorySource

GOLDEN = answers("graph")
test_we_answer_as_graphite_web_does = golden_test("graph")


@pytest.mark.parametrize(
    "answer", [one for one in GOLDEN if "series" in one], ids=lambda answer: answer["target"]
)
def test_options_are_those_of_graphite_web(answer: dict[str, Any], golden_source: MemorySource) -> None:
    for ours, theirs in zip(ask(golden_source, answer["target"]), answer["series"], strict=True):
        assert {key: value for key, value in ours.options.items() if key != "color"} == theirs["options"]


def test_a_colour_is_of_each_series_it_is_set_for(golden_source: MemorySource) -> None:
    target = "group(color(servers.web1.*,'red'),color(dashed(servers.db1.*),'blue'))"
    found = [(one.options.get("color"), one.options.get("dashed")) for one in ask(golden_source, target)]
    assert found == [("red", None)] * 3 + [("blue", 5)] * 2


def test_a_new_series_has_lost_how_the_old_one_was_drawn(golden_source: MemorySource) -> None:
    (kept,) = ask(golden_source, "scale(dashed(servers.web1.cpu),2)")
    (lost,) = ask(golden_source, "derivative(dashed(servers.web1.cpu))")
    assert (dict(kept.options), dict(lost.options)) == ({"dashed": 5}, {})


def test_a_vertical_line_outside_the_window_is_refused() -> None:
    with pytest.raises(ArgumentError, match="takes a time in the window"):
        ask(holding(), "verticalLine('-1d','x')")


def test_an_area_is_between_two_series() -> None:
    with pytest.raises(ArgumentError, match="takes two series, not 3"):
        ask(holding([1.0], [2.0], [3.0]), "areaBetween(a.*)")
