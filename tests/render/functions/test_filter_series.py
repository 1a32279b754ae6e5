from __future__ import annotations

import pytest

from render.errors import ArgumentError
from tests.render.functions.asking import ask, holding, of_rows
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START

# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    "averageOutsidePercentile(odd.{none,zero,negative},50)": "one without datapoints goes; there a TypeError",
    "removeBetweenPercentile(servers.*.cpu,70)": "missing datapoints do not count; there a TypeError",
    "mostDeviant(odd.*,10)": "too large is infinite; there an OverflowError",
    'useSeriesAbove(servers.*.requests,300,"requests","cpu")': "gaps do not count; there a TypeError",
}
test_we_answer_as_graphite_web_does = golden_test("filter_series", DEPARTURES)


def test_series_without_datapoints_pass_where_no_number_would_be_above() -> None:
    source = holding([None, None], [1.0, 2.0])
    kept = {
        op: ask(source, f"filterSeries(a.*,'max','{op}',5)").names for op in ("=", "!=", ">", ">=", "<", "<=")
    }
    none: list[str] = []
    both = ["a.0", "a.1"]
    assert kept == {"=": none, "!=": both, ">": none, ">=": none, "<": both, "<=": both}


def test_equal_series_keep_their_order() -> None:
    source = holding([1.0], [3.0], [1.0], [None], [3.0])
    assert ask(source, "highest(a.*,9,'max')").names == ["a.1", "a.4", "a.0", "a.2", "a.3"]
    assert ask(source, "lowest(a.*,9,'max')").names == ["a.3", "a.0", "a.2", "a.1", "a.4"]


def test_series_without_datapoints_are_outside_nothing() -> None:
    source = holding([1.0, 1.0], [None, None], [5.0, 5.0], [2.0, 2.0], [None, 9.0])
    assert ask(source, "averageOutsidePercentile(a.*,75)").names == ["a.0", "a.3", "a.4"]
    # at the first time 1 and 5 are the ends of 1, 2, 5; at the second 2 and 9 those of 1, 2, 5, 9
    assert ask(source, "removeBetweenPercentile(a.*,75)").names == ["a.0", "a.2", "a.3", "a.4"]


def test_series_of_different_steps_are_compared_time_by_time() -> None:
    source = holding([1.0] * 10, [2.0] * 10, [9.0] * 10)
    source.add("a.3", START + 300, 300, [2.0, 2.0])
    assert ask(source, "removeBetweenPercentile(a.*,95)", until=START + 600).names == ["a.0", "a.2"]


@pytest.mark.parametrize(
    ("target", "argument"),
    [
        ("averageOutsidePercentile(a.0,101)", "n"),
        ("removeBetweenPercentile(a.0,-1)", "n"),
        ("grep(a.0,'(')", "pattern"),
        ("exclude(a.0,'*')", "pattern"),
        ("useSeriesAbove(a.0,0,'(','x')", "search"),
        ("filterSeries(a.0,'max','~',1)", "operator"),
        ("highest(a.0)", "n"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(target: str, argument: str) -> None:
    with pytest.raises(ArgumentError) as error:
        ask(holding([1.0]), target)
    assert error.value.argument == argument


def test_another_series_is_used_where_one_is_above_a_number() -> None:
    source = holding([1.0], [7.0, None])
    for path in ("b.0", "b.1"):
        source.add(path, START + 60, 60, [0.5])
    assert ask(source, "useSeriesAbove(a.*,5,'^a','b')").names == ["b.1"]
    assert ask(source, "useSeriesAbove(a.*,9,'^a','b')").names == []


def test_highest_and_lowest_by_minimum_and_maximum() -> None:
    rows = ([1.0, 9.0], [4.0, 5.0], [3.0, 3.0], [None, None])
    assert of_rows("highestMin(a.*, 2)", *rows).names == ["a.1", "a.2"]
    assert of_rows("lowestMax(a.{0,1,2}, 2)", *rows).names == ["a.2", "a.1"]
    assert of_rows("lowestMin(a.{0,1,2}, 2)", *rows).names == ["a.0", "a.2"]


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ("", ["a.1", "a.2"]),
        (", 'AND'", ["a.1", "a.2"]),
        (", 'and'", ["a.1", "a.2"]),
        (", 'OR'", ["a.0", "a.1", "a.2", "a.3"]),
        (", 'XOR'", ["a.0", "a.3"]),
        (", type='SUB'", ["a.0"]),
    ],
)
def test_lists_are_joined_as_sets_of_names(how: str, names: list[str]) -> None:
    rows = ([0.0], [1.0], [2.0], [3.0])
    assert of_rows(f"join(a.{{0,1,2}}, a.{{1,2,3}}{how})", *rows).names == names


def test_what_is_joined_are_the_first_lists_series() -> None:
    (found,) = of_rows("join(alias(a.0, 'x'), alias(a.1, 'x'))", [0.0], [1.0])
    assert found.values.tolist() == [0.0]
    with pytest.raises(ArgumentError, match="not one of AND, OR, XOR, SUB"):
        of_rows("join(a.0, a.0, 'NOT')", [0.0])


N = None
# carbonapi's own expectations
LONG: list[list[float | None]] = [
    [1, 2, -1, 7, 8, 20, 23, 12, 8, N],
    [1, 2, -1, 7, 8, 20, 23, 12, N, N],
    [1, 2, -1, 7, 8, 20, 23, N, N, N],
    [N] * 10,
    [0] * 10,
]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("removeZeroSeries(a.*)", ["a.0", "a.1", "a.2"]),
        ("removeZeroSeries(a.*, 0.000001)", ["a.0", "a.1", "a.2"]),
        ("removeZeroSeries(a.*, 0.8)", ["a.0", "a.1"]),
        ("removeZeroSeries(a.*, 1)", []),
        ("removeEmptySeries(a.*, 0.8)", ["a.0", "a.1", "a.4"]),
        ("removeZeroSeries(no.such, 0.5)", []),
    ],
)
def test_series_with_too_few_points_other_than_0_go(target: str, names: list[str]) -> None:
    assert of_rows(target, *LONG).names == names
