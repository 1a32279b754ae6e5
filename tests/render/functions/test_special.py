from __future__ import annotations

import numpy as np
import pytest

from render.errors import ArgumentError
from storage.events import Event
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START, UNTIL
from tests.render.memory import MemorySource

test_we_answer_as_graphite_web_does = golden_test("special")


def test_points_merge_by_what_consolidate_by_says(golden_source: MemorySource) -> None:
    found = ask(golden_source, "consolidateBy(group(fine.*,servers.*.cpu),'max')")
    assert {one.consolidation for one in found} == {"max"}
    assert {one.consolidation for one in ask(golden_source, "cumulative(fine.*)")} == {"sum"}


def test_a_factor_is_of_the_series_it_is_set_for(golden_source: MemorySource) -> None:
    target = "group(xFilesFactor(servers.*.cpu,0.5),fine.*)"
    assert [one.x_files_factor for one in ask(golden_source, target)] == [0.5] * 4 + [0.0] * 2


def test_a_threshold_has_a_label_and_a_colour(golden_source: MemorySource) -> None:
    (found,) = ask(golden_source, "threshold(5.5,'limit','red')")
    assert (found.name, found.expression) == ("limit", "constantLine(5.5)")
    assert dict(found.options) == {"color": "red"}
    (found,) = ask(golden_source, "threshold(5.5)")
    assert (found.name, dict(found.options)) == ("5.5", {})


def test_a_random_walk_takes_small_steps_from_0(golden_source: MemorySource) -> None:
    (found,) = ask(golden_source, "randomWalk('walk',10)")
    assert (found.name, found.start, found.end, found.step) == ("walk", START, UNTIL, 10)
    assert found.values[0] == 0.0
    moves = np.diff(found.values)
    assert len(moves) == 119
    assert np.all(np.abs(moves) <= 0.5)
    assert np.std(moves) > 0.1


@pytest.mark.parametrize("name", ["randomWalk", "randomWalkFunction", "time", "timeFunction"])
@pytest.mark.parametrize("step", [0, -1])
def test_a_step_that_is_none_is_refused(name: str, step: int) -> None:
    """graphite-web makes points until its memory is full."""
    with pytest.raises(ArgumentError, match=f"takes 1 second or more, not {step}"):
        ask(holding(), f"{name}('x',{step})")
    with pytest.raises(ArgumentError, match="step"):
        ask(holding(), f"sin('x',1,{step})")


@pytest.mark.parametrize("target", ["time('x',1)", "sin('x',1,1)", "randomWalk('x',1)", "identity('x')"])
def test_more_points_than_a_series_may_have_are_refused(target: str) -> None:
    with pytest.raises(ArgumentError, match="at most 1000000"):
        ask(holding(), target, start=0)


def test_a_fallback_is_for_no_series_and_not_for_no_datapoints() -> None:
    source = holding([None])
    assert ask(source, "fallbackSeries(a.0,constantLine(1))").names == ["a.0"]
    assert ask(source, "fallbackSeries(b.0,constantLine(1))").names == ["1.0"]


def test_an_aggregation_that_is_none_is_refused() -> None:
    with pytest.raises(ArgumentError, match="is not one of sum, average"):
        ask(holding([1.0]), "consolidateBy(a.0,'mode')")


def test_a_first_value_and_a_gap_are_no_change() -> None:
    row = [None, 5.0, None, 5.0, 6.0, None, 5.0]
    found = ask(holding(row), "changed(a.0)", until=START + 420)
    assert values(found) == [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]]


def test_what_is_for_graphite_web_is_evaluated_here(golden_source: MemorySource) -> None:
    inner = "smartSummarize(servers.*.cpu, '5min')"
    there, here = (ask(golden_source, target) for target in (f"graphiteWeb({inner}, disk.a.used)", inner))
    assert there.names == [*here.names, "disk.a.used"]
    assert values(there)[:-1] == values(here)


def with_events() -> MemorySource:
    source = holding()
    for when, tags in [(START, "a b"), (START + 5, "a"), (START + 5, "b a"), (UNTIL - 1, "b"), (UNTIL, "a")]:
        source.add_event(Event(when, "x", tuple(tags.split())))
    return source


@pytest.mark.parametrize(
    ("tags", "counts"),
    [
        ("'a'", {0: 1, 5: 2}),
        ("'b','a'", {0: 1, 5: 1}),
        ("'*'", {0: 1, 5: 2, UNTIL - 1 - START: 1}),
        ("'*','a'", {}),
    ],
)
def test_events_with_all_of_the_tags_are_counted_each_second(tags: str, counts: dict[int, int]) -> None:
    (found,) = ask(with_events(), f"events({tags})")
    assert (found.start, found.end, found.step, found.consolidation) == (START, UNTIL, 1, "sum")
    assert found.name == found.expression == f"events({tags})".replace("'", '"').replace(",", ", ")
    assert {i: value for i, value in enumerate(found.values) if value == value} == counts


def test_events_of_a_long_window_are_counted_in_longer_steps() -> None:
    (found,) = ask(with_events(), "events('*')", start=START - 86_400 * 9 - 3)
    assert (found.step, found.start % 10, found.end % 10) == (10, 0, 0)
    assert np.nansum(found.values) == 4
    (found,) = ask(with_events(), "events('*')", start=UNTIL - 100 * 366 * 86_400)
    assert len(found.values) <= 100_000


def test_events_of_too_many_tags_are_refused() -> None:
    with pytest.raises(ArgumentError, match="65 are given; at most 64"):
        ask(holding(), "events(" + ",".join(["'x'"] * 65) + ")")
