from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from render.errors import ArgumentError
from render.plan import render
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import answers, golden_test
from tests.render.golden.series import NOW, START
from tests.render.memory import MemorySource

GOLDEN = answers("graph")
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    "stacked(group(fine.f1,servers.web1.cpu))": "values of one time are stacked; there those of one place",
}
test_we_answer_as_graphite_web_does = golden_test("graph", DEPARTURES)


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


def test_series_of_several_steps_are_stacked_by_time(golden_source: MemorySource) -> None:
    target = "stacked(group(servers.web1.cpu,consolidateBy(fine.f1,'sum')))"
    lower, upper = ask(golden_source, target)
    plain, fine = (next(iter(ask(golden_source, path))) for path in ("servers.web1.cpu", "fine.f1"))
    assert (lower.step, upper.step) == (60, 60)
    at = (plain.start - lower.start) // 60 + 5
    assert upper.values[at] - lower.values[at] == pytest.approx(
        fine.values[(plain.start - fine.start) // 10 :][30:36].sum()
    )


def test_targets_stand_on_one_another_by_the_name_of_their_stack() -> None:
    source = holding([1.0, None], [10.0, 20.0], [100.0, 300.0])
    window = {"start": START, "until": START + 120, "now": NOW, "zone": UTC}
    targets = ["stacked(a.0)", "stacked(a.1, 'other')", "stacked(a.2)", "stacked(a.0, 'other')"]
    lists = render(source, targets, **window)
    assert [values(one) for one in lists] == [[[1, None]], [[10, 20]], [[101, 300]], [[11, None]]]


def test_a_missing_value_adds_nothing_to_the_stack_and_stays_missing() -> None:
    found = ask(holding([1.0, None], [10.0, 20.0], [None, 300.0]), "stacked(a.*)", until=START + 120)
    assert values(found) == [[1.0, None], [11.0, 20.0], [None, 320.0]]
