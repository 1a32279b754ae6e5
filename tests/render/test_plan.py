from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import reading
from render.config import Limits
from render.errors import (
    ArgumentError,
    Cancelled,
    Deadline,
    RenderError,
    TargetError,
    TooMuch,
    UnknownFunction,
)
from render.plan import Context, Expression, evaluate, render
from render.reading import Request, Window
from render.series import SeriesList
from render.target import Constant, parse
from storage.errors import InvalidGlob
from tests.render.golden.series import NOW, SERIES, START, UNTIL
from tests.render.memory import Fetched, MemorySource


def ask(source: MemorySource, *targets: str, **more: Any) -> list[SeriesList]:
    return render(source, targets, **{"start": START, "until": UNTIL, "now": NOW, "zone": UTC, **more})


def context(source: MemorySource, **limits: Any) -> Context:
    return Context(Window(START, UNTIL), NOW, UTC, None, {}, Request(source, Limits(**limits)))


# --- paths ---


def test_a_pattern_gives_its_series_in_the_order_of_their_paths(source: MemorySource) -> None:
    (found,) = ask(source, "servers.*.cpu")
    assert found.names == [f"servers.{host}.cpu" for host in ("db1", "web1", "web2", "web3")]
    assert found.expressions == ["servers.*.cpu"] * 4
    assert found.tags[0] == {"name": "servers.db1.cpu"}
    assert len(found.blocks) == 1
    block = found.blocks[0]
    assert (block.start, block.step, block.end) == (START + 60, 60, UNTIL + 60)
    points = SERIES["servers.web1.cpu"]
    first = (START + 60 - points.start) // 60
    assert block.values[1].tolist() == points.values[first : first + 20]


def test_series_of_different_steps_keep_the_order_of_their_paths(source: MemorySource) -> None:
    source.add("mixed.a", START, 60, [1.0])
    source.add("mixed.b", START, 300, [2.0])
    source.add("mixed.c", START, 60, [3.0])
    (found,) = ask(source, "mixed.*")
    assert found.names == ["mixed.a", "mixed.b", "mixed.c"]
    assert [one.step for one in found] == [60, 300, 60]


def test_tags_come_from_the_path(source: MemorySource) -> None:
    (found,) = ask(source, "load;dc=west;host=c")
    assert found.tags == [{"name": "load", "dc": "west", "host": "c"}]


def test_series_by_tag_is_a_pattern_whose_expression_is_its_text(source: MemorySource) -> None:
    (found,) = ask(source, "seriesByTag('name=load', \"dc=east\")")
    assert found.names == ["load;dc=east;host=a", "load;dc=east;host=b"]
    assert set(found.expressions) == {"seriesByTag('name=load', \"dc=east\")"}


def test_a_series_consolidates_as_it_is_aggregated(source: MemorySource) -> None:
    source.add("own.sum", START, 60, [1.0], aggregation="sum")
    source.add("own.last", START, 60, [1.0], aggregation="last")
    (found,) = ask(source, "own.*")
    assert [one.consolidation for one in found] == ["last", "sum"]


def test_a_pattern_without_series_is_an_empty_list_and_nothing_is_read(source: MemorySource) -> None:
    (found,) = ask(source, "sumSeries(no.such.*)")
    assert len(found) == 0
    assert source.fetches == []


@given(st.data())
def test_parts_of_a_fetch_make_one_block_in_the_order_of_the_paths(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    left = data.draw(st.permutations(range(count)))
    missing = data.draw(st.integers(0, count - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, count - missing), max_size=3)))
    parts = np.split(np.array(left[missing:], dtype=np.intp), cuts)

    class Parted(MemorySource):
        def fetch(
            self,
            series: npt.NDArray[np.int32],
            start: int,
            until: int,
            now: int,
            method: str | None = None,
            *,
            stitched: bool = False,
        ) -> list[Fetched]:
            return [Fetched(at, start, 60, np.column_stack((at, at * 10.0))) for at in parts]

    source = Parted()
    for i in range(count):
        source.add(f"a.{i:02}", 0, 60, [], aggregation="sum" if i % 2 else "last")
    (found,) = ask(source, "a.*")
    kept = sorted(left[missing:])
    assert len(found.blocks) == 1
    assert found.names == [f"a.{i:02}" for i in kept]
    assert [one.values.tolist() for one in found] == [[i, i * 10.0] for i in kept]
    assert [one.consolidation for one in found] == ["sum" if i % 2 else "last" for i in kept]


def test_a_glob_that_the_store_refuses_is_the_targets_fault() -> None:
    class Refusing(MemorySource):
        def find_series(self, pattern: str) -> tuple[list[str], npt.NDArray[np.int32]]:
            raise InvalidGlob("too many alternatives")

    with pytest.raises(TargetError, match="too many alternatives") as raised:
        ask(Refusing(), "sumSeries(a.{b,c})")
    assert raised.value.status == 400


# --- sharing ---


def test_a_pattern_is_found_and_read_once_a_window_whatever_the_targets(source: MemorySource) -> None:
    ask(source, "servers.*.cpu", "sumSeries(servers.*.cpu)", "scale(servers.*.cpu,2)", "servers.*.mem")
    assert source.finds == ["servers.*.cpu", "servers.*.mem"]
    assert source.fetches == [(4, START, UNTIL), (4, START, UNTIL)]


def test_a_call_that_stands_twice_is_evaluated_once(source: MemorySource) -> None:
    first, second, third = ask(
        source, "scale(odd.zero, 2)", "alias( scale(odd.zero,2), 'x')", "scale(odd.zero, 2.0)"
    )
    assert second.blocks[0].values is first.blocks[0].values
    assert third.blocks[0].values is not first.blocks[0].values


def test_equal_numbers_that_print_differently_are_not_shared(source: MemorySource) -> None:
    first, second = ask(source, "asPercent(odd.zero,1)", "asPercent(odd.zero,1.0)")
    assert (first.names, second.names) == (["asPercent(odd.zero,1)"], ["asPercent(odd.zero,1.0)"])


# --- arguments ---


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("scale(odd.zero, factor=2)", ["scale(odd.zero,2)"]),
        ("scale(seriesList=odd.zero, factor=2)", ["scale(odd.zero,2)"]),
        ("odd.zero|scale(2)", ["scale(odd.zero,2)"]),
        ('scale(odd.zero,"2")', ["scale(odd.zero,2)"]),
        ("group()", []),
        ("groupByNodes(odd.zero, 'sum', nodes=1)", ["zero"]),
        ("aggregate(odd.zero, 'sum', none)", ["sumSeries(odd.zero)"]),
    ],
)
def test_arguments_are_bound_by_place_and_by_name(
    source: MemorySource, target: str, names: list[str]
) -> None:
    assert ask(source, target)[0].names == names


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("offset(odd.zero)", "offset(): factor: is missing: offset(seriesList, factor)"),
        ("offset(odd.zero, 1, 2)", "3 are given, 2 are taken: offset(seriesList, factor)"),
        (f"aliasByNode(odd.zero{',1' * 129})", "aliasByNode(): nodes: 129 are given; at most 128"),
        ("scale(odd.zero, factor=1, by=2)", "scale(): by: there is no such parameter"),
        ("scale(odd.zero, 1, factor=2)", "scale(): factor: is given twice"),
        ("sumSeries()", "sumSeries(): seriesLists: is missing: sumSeries(*seriesLists)"),
        ("scale(odd.zero, odd.zero)", "scale(): factor: takes a number, not a series list"),
        ("scale(2, 2)", "scale(): seriesList: takes a series list, not 2"),
        ("sumSeries(odd.zero, 2)", "sumSeries(): seriesLists: takes a series list, not 2"),
        ("groupByNode(odd.zero, 1, sum)", "groupByNode(): callback: takes an aggregation or a function"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(source: MemorySource, target: str, said: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        ask(source, target)
    assert said in str(raised.value)


def test_nothing_is_read_for_an_argument_that_cannot_be_a_series(source: MemorySource) -> None:
    with pytest.raises(ArgumentError):
        ask(source, "scale(odd.zero, servers.*.cpu)")
    assert source.fetches == []


def test_an_unknown_function_is_refused_with_the_nearest_name(source: MemorySource) -> None:
    with pytest.raises(UnknownFunction, match="'sumSeris', perhaps 'sumSeries'") as raised:
        ask(source, "sumSeris(odd.zero)")
    assert raised.value.status == 400


def test_a_constant_is_no_target(source: MemorySource) -> None:
    with pytest.raises(TargetError):
        evaluate(Constant(5, 1), context(source))
    with pytest.raises(TargetError):
        context(source).evaluate(Constant("a", 1))


def test_variables_fill_templates(source: MemorySource) -> None:
    (found,) = ask(source, "template(servers.$host.cpu, host='none')", variables={"host": "web1"})
    assert found.names == ["servers.web1.cpu"]


# --- windows ---


def test_a_window_of_points_is_read_earlier_by_as_many_steps(source: MemorySource) -> None:
    (found,) = ask(source, "movingAverage(coarse.c1, 3)")
    assert source.fetches == [(1, START - 900, UNTIL)]
    assert [one.start for one in found] == [START + 300]


def test_a_window_of_time_is_read_once(source: MemorySource) -> None:
    ask(source, "movingAverage(coarse.c1, '15min')")
    assert source.fetches == [(1, START - 900, UNTIL)]


def test_windows_of_nested_calls_add_up(source: MemorySource) -> None:
    ask(source, "movingAverage(scale(movingAverage(coarse.c1, '10min'),2), '15min')")
    assert source.fetches == [(1, START - 1500, UNTIL)]


def test_a_function_over_another_window_reads_that_one_only(source: MemorySource) -> None:
    ask(source, "timeShift(sumSeries(coarse.*), '1h')")
    assert source.fetches == [(2, START - 3600, UNTIL - 3600)]


def test_an_expression_is_evaluated_over_any_window_and_tells_its_text(source: MemorySource) -> None:
    expression = Expression(parse("a.b|scale(2)|alias('x', newName=\"y\")"), context(source))
    assert expression.text == 'alias(scale(a.b,2),"x",newName="y")'
    assert len(Expression(parse("coarse.*"), context(source)).evaluate(START - 600, START)) == 2
    assert source.fetches == [(2, START - 600, START)]


# --- xFilesFactor ---


@pytest.mark.parametrize(
    ("target", "request_factor", "known"),
    [
        ("sumSeries(gaps.*)", None, [True, True, True]),
        ("sumSeries(gaps.*)", 0.5, [True, True, False]),
        ("aggregate(gaps.*, 'sum', 0.9)", 0.5, [True, False, False]),
        ("aggregate(gaps.*, 'sum', 0)", 0.9, [True, True, True]),
        ("sumSeries(setXFilesFactor(gaps.*, 0.9))", 0.5, [True, False, False]),
        ("sumSeries(setXFilesFactor(gaps.*, 0))", 0.9, [True, True, True]),
        ("groupByNode(gaps.*, 0, 'sum')", 0.5, [True, True, False]),
        ("sumSeries(scale(gaps.*, 1))", 0.5, [True, True, False]),
    ],
)
def test_the_functions_own_factor_comes_before_the_requests(
    target: str, request_factor: float | None, known: list[bool]
) -> None:
    source = MemorySource()
    rows: list[list[float | None]] = [[1, 1, 1], [1, 1, None], [1, None, None]]
    for i, values in enumerate(rows):
        source.add(f"gaps.{i}", START + 60, 60, values)
    (found,) = ask(source, target, until=START + 180, x_files_factor=request_factor)
    assert np.isfinite(found.blocks[0].values[0]).tolist() == known


# --- limits ---


def test_too_many_series_are_refused_before_reading(source: MemorySource) -> None:
    with pytest.raises(TooMuch, match=r"'servers\.\*\.\*' names 11 series.* at most 10: narrow") as raised:
        ask(source, "servers.*.*", limits=Limits(series_max=10))
    assert raised.value.status == 413
    assert source.fetches == []


def test_the_series_of_all_targets_count_together_but_each_once(source: MemorySource) -> None:
    ask(source, "servers.*.cpu", "sumSeries(servers.*.cpu)", "servers.*.mem", limits=Limits(series_max=8))
    with pytest.raises(TooMuch, match="names 3 series, 11 with what"):
        ask(source, "servers.*.cpu", "servers.*.mem", "servers.*.requests", limits=Limits(series_max=8))


def test_too_many_points_are_refused_before_reading() -> None:
    source = MemorySource()
    for i in range(1000):
        source.add(f"a.{i:03}", START, 10 if i == 5 else 300, [])
    with pytest.raises(
        TooMuch, match=r"would read 4116 points, 4 of each of 1000 series; at most 4115"
    ) as raised:
        ask(source, "a.*", limits=Limits(points_max=4_115))
    assert "narrow the pattern or the window" in str(raised.value)
    assert source.fetches == []
    ask(source, "a.*", limits=Limits(points_max=4_116))


@pytest.mark.parametrize(
    "limits", [Limits(points_max=159), Limits(points_read_max=159), Limits(series_max=7)]
)
def test_what_all_targets_cost_counts_together(source: MemorySource, limits: Limits) -> None:
    with pytest.raises(TooMuch, match="with what the request reads beside"):
        ask(source, "servers.*.cpu", "servers.*.mem", limits=limits)
    ask(source, "servers.*.cpu", "servers.*.cpu", limits=limits)
    ask(
        source,
        "servers.*.cpu",
        "servers.*.mem",
        limits=Limits(series_max=8, points_max=160, points_read_max=160),
    )


def test_what_all_targets_read_is_counted_before_any_is_read(source: MemorySource) -> None:
    with pytest.raises(TooMuch):
        ask(source, "servers.*.cpu", "scale(servers.*.mem, 2)", limits=Limits(points_read_max=159))
    assert source.fetches == []


def test_an_earlier_window_counts_too(source: MemorySource) -> None:
    limits = Limits(points_max=100)
    ask(source, "servers.*.cpu", limits=limits)
    with pytest.raises(TooMuch, match="would read 120 points, 30 of each of 4 series"):
        ask(source, "movingAverage(servers.*.cpu, '10min')", limits=limits)


def test_names_that_grow_within_names_are_refused(source: MemorySource) -> None:
    target = "servers.*.cpu"
    for _ in range(3):
        target = f"asPercent({target})"
    assert len(ask(source, target)[0]) == 4
    with pytest.raises(TooMuch, match=r"asPercent\(\) makes names of \d+ characters; at most 200"):
        ask(source, target, limits=Limits(name_chars_max=200))


def test_too_many_targets_are_refused(source: MemorySource) -> None:
    with pytest.raises(TooMuch, match="3 targets in a request; at most 2"):
        ask(source, "a", "b", "c", limits=Limits(targets_max=2))


def test_a_request_is_given_up_at_its_deadline(source: MemorySource) -> None:
    ticks = iter(range(1000))
    target = "sumSeries(" * 8 + "odd.zero" + ")" * 8
    with pytest.raises(Deadline, match="longer than 5 s") as raised:
        ask(source, target, limits=Limits(duration_s=5), clock=lambda: next(ticks))
    assert raised.value.status == 503
    assert source.fetches == []


def test_a_request_is_given_up_when_nobody_waits_for_it(source: MemorySource) -> None:
    asked = iter([False, False, False])
    with pytest.raises(Cancelled):
        ask(source, "scale(scale(scale(odd.zero, 2), 2), 2)", cancelled=lambda: next(asked, True))
    assert source.fetches == []


def test_callbacks_and_groups_look_at_the_clock(source: MemorySource) -> None:
    def ticking(seconds: float, target: str) -> None:
        ticks = iter(range(1000))
        ask(source, target, limits=Limits(duration_s=seconds), clock=lambda: next(ticks))

    for target in ("groupByNode(servers.*.*, 1, 'sum')", "groupByNode(servers.*.*, 1, 'countSeries')"):
        ticking(6, target)
        with pytest.raises(Deadline):
            ticking(5, target)


# --- callbacks ---


def test_a_function_is_called_by_name_with_lists(source: MemorySource) -> None:
    here = context(source)
    lists = [here.fetch("odd.zero"), here.fetch("odd.negative")]
    assert here.call("sumSeries", *lists).names == ["sumSeries(odd.zero,odd.negative)"]
    assert here.call("group", SeriesList.concat(lists)).names == ["odd.zero", "odd.negative"]


@pytest.mark.parametrize("name", ["scale", "timeShift", "nosuch", "divideSeries"])
def test_a_callback_that_needs_more_than_a_list_is_refused(source: MemorySource, name: str) -> None:
    here = context(source)
    with pytest.raises(RenderError):
        here.call(name, here.fetch("odd.zero"))


def test_targets_made_by_functions_see_the_requests_window_and_variables(source: MemorySource) -> None:
    request = Request(source, Limits())
    there = Context(Window(START, UNTIL), NOW, UTC, None, {"1": "zero"}, request).over(START - 600, None)
    assert there.evaluate_text("template(odd.$1, 'none')").names == ["odd.zero"]
    assert source.fetches == [(1, START - 600, UNTIL)]


# --- parts ---


@pytest.fixture
def long_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of more than 40 points are long."""
    monkeypatch.setattr(reading, "FOLDED_POINTS", 40)
    monkeypatch.setattr(reading, "_PART_POINTS", 40)


@pytest.mark.parametrize(
    "target",
    [
        "sumSeries(servers.*.*)",
        "averageSeries(servers.*.cpu, servers.*.mem)",
        "groupByNode(servers.*.*, 1, 'max')",
        "groupByNodes(servers.*.*, 'sumSeries', 0, 2)",
        "sumSeriesWithWildcards(servers.*.*, 1)",
        "aggregate(scale(absolute(servers.*.cpu), 2), 'stddev', 0.5)",
        "groupByNode(servers.*.*, 1, 'median')",
        "maxSeries(movingAverage(servers.*.cpu, 3))",
    ],
)
@pytest.mark.usefixtures("long_lists")
def test_long_lists_give_the_same_part_by_part(target: str) -> None:
    source = MemorySource.golden()
    limits = Limits(points_max=100)
    folded = "median" not in target
    (ours,) = ask(source, target, limits=limits if folded else Limits())
    assert (max(series for series, _, _ in source.fetches) <= 2) is folded
    reading.FOLDED_POINTS = 1_000_000  # the fixture puts it back
    (whole,) = ask(MemorySource.golden(), target)
    assert [(one.name, one.expression, one.tags) for one in ours] == [
        (one.name, one.expression, one.tags) for one in whole
    ]
    for a, b in zip(ours, whole, strict=True):
        np.testing.assert_allclose(a.values, b.values, rtol=1e-12)


@pytest.mark.usefixtures("long_lists")
def test_a_list_that_stands_twice_is_read_once_if_it_can_be_held() -> None:
    source = MemorySource.golden()
    ask(source, "sumSeries(servers.*.cpu)", "maxSeries(servers.*.cpu)")
    assert [series for series, _, _ in source.fetches] == [4]
    ask(source, "sumSeries(servers.*.cpu)", "maxSeries(servers.*.cpu)", limits=Limits(points_max=79))
    assert [series for series, _, _ in source.fetches] == [4, 2, 2, 2, 2]


@pytest.mark.usefixtures("long_lists")
def test_what_is_read_part_by_part_has_a_bound_too() -> None:
    source = MemorySource.golden()
    with pytest.raises(TooMuch, match="at most 79"):
        ask(source, "sumSeries(servers.*.cpu)", limits=Limits(points_read_max=79))
    assert source.fetches == []


@pytest.mark.usefixtures("long_lists")
def test_series_of_several_steps_are_held_at_once_after_all() -> None:
    source = MemorySource.golden()
    (ours,) = ask(source, "sumSeries(servers.*.cpu, fine.*)")
    reading.FOLDED_POINTS = 1_000_000
    (whole,) = ask(MemorySource.golden(), "sumSeries(servers.*.cpu, fine.*)")
    np.testing.assert_array_equal(ours.blocks[0].values, whole.blocks[0].values)
