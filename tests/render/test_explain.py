"""The trace: what a request did, step by step, and that its seconds add up."""

from __future__ import annotations

from datetime import UTC

import pytest

from render import reading
from render.explain import Step, Trace, as_text
from render.plan import render
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource


def traced(*targets: str) -> Trace:
    ticks = iter(range(10_000))
    trace = Trace(lambda: next(ticks))
    render(MemorySource.golden(), targets, start=START, until=UNTIL, now=NOW, zone=UTC, trace=trace)
    return trace


def seconds(steps: list[Step]) -> float:
    return sum(step.seconds + seconds(step.within) for step in steps)


def test_a_step_a_call_and_a_pattern_each_within_the_one_that_asks() -> None:
    (outer,) = traced("sumSeries(scale(servers.*.cpu,2))").steps
    assert outer.words == "sumSeries(scale(servers.*.cpu,2))"
    (scaled,) = outer.within
    (read,) = scaled.within
    assert (outer.series, scaled.series, read.series) == (1, 4, 4)
    assert (outer.points, scaled.points, read.points) == (20, 80, 80)
    assert (outer.bytes, scaled.bytes, read.bytes) == (0, 0, 640)


def test_the_seconds_of_steps_are_their_own() -> None:
    steps = list(traced("sumSeries(scale(servers.*.cpu,2))").steps)
    assert seconds(steps) == 5  # ticks from the first step's begin to its end
    assert all(step.seconds > 0 for step in steps)


def test_what_is_taken_from_an_equal_step_says_so() -> None:
    first, second = traced("scale(servers.*.cpu,2)", "absolute(scale(servers.*.cpu,2))").steps
    assert not first.shared
    (again,) = second.within
    assert again.shared
    assert again.series == 4
    assert again.within == []


def test_windows_of_a_pattern_that_are_one_read_are_one_step() -> None:
    first, second = traced("scale(servers.*.cpu,2)", "movingAverage(servers.*.cpu,'10min')").steps
    (read,) = first.within
    assert (read.words, read.series, read.points, read.bytes) == ("servers.*.cpu", 4, 120, 960)
    assert (first.points, second.points) == (80, 80)
    assert second.within == []


def test_parts_are_counted_and_the_first_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FOLDED_POINTS", 40)
    monkeypatch.setattr(reading, "_PART_POINTS", 20)
    (outer,) = traced("sumSeries(servers.*.cpu)").steps
    assert outer.parts == 4
    assert [step.words for step in outer.within] == ["servers.*.cpu"]
    assert outer.bytes + outer.within[0].bytes == 640
    assert "in 4 parts" in as_text([outer.as_dict()])


def test_the_text_has_a_line_a_step() -> None:
    text = as_text([step.as_dict() for step in traced("sumSeries(scale(servers.*.cpu,2))").steps])
    assert [line.split("  ")[-1].strip() for line in text.splitlines()] == [
        "step",
        "sumSeries(scale(servers.*.cpu,2))",
        "scale(servers.*.cpu,2)",
        "servers.*.cpu",
    ]


def test_long_targets_are_cut() -> None:
    (step,) = traced(f"alias(servers.web1.cpu,'{'x' * 500}')").steps
    assert len(step.words) == 120
