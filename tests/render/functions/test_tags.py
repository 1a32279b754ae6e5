from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.config import Limits
from render.errors import ArgumentError, RenderError, TargetError, TooMuch
from tests.render.functions.asking import ask
from tests.render.golden.series import SERIES
from tests.render.memory import MemorySource

SOURCE = MemorySource.golden()
LOADS = ["load;dc=east;host=a", "load;dc=east;host=b", "load;dc=west;host=c"]


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("seriesByTag('name=load')", LOADS),
        ('seriesByTag("name=load","dc!=east")', LOADS[2:]),
        ("seriesByTag( 'name=load' ,\n \"host=~[ab]\" )", LOADS[:2]),
        ("seriesByTag('name=~l','dc!=~w')", LOADS[:2]),
        ("seriesByTag('host=c','name!=temp')", LOADS[2:]),
        ("seriesByTag('dc!=','host!=~(a|b)')", [LOADS[2], "temp;dc=west;host=c"]),
        ("seriesByTag('name=load','host=')", []),
        ("seriesByTag('name=servers.web1.cpu')", []),
        ("seriesByTag(tagExpressions='host=a')", LOADS[:1]),
    ],
)
def test_series_are_found_by_their_tags_in_the_order_of_their_paths(target: str, paths: list[str]) -> None:
    found = ask(SOURCE, target)
    assert found.names == paths
    assert set(found.expressions) <= {target}


def test_the_calls_own_text_is_what_outer_functions_print() -> None:
    assert ask(SOURCE, "seriesByTag('name=load',  \"dc=east\")|sumSeries()").names == [
        "sumSeries(seriesByTag('name=load',  \"dc=east\"))"
    ]
    assert ask(SOURCE, "scale(seriesByTag('host=a'),2)").names == ["scale(load;dc=east;host=a,2)"]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("seriesByTag('name=load')|groupByTags('max','dc')", ["load;dc=east", "load;dc=west"]),
        ("seriesByTag('host=c')|aliasByTags('name','dc')", ["load.west", "temp.west"]),
        (
            "aliasByTags(seriesByTag('host!=c','dc!='),'host')|applyByNode(0,\"seriesByTag('host=%')\")",
            LOADS[:2],
        ),
        ("movingAverage(seriesByTag('host=a'),5)", ["movingAverage(load;dc=east;host=a,5)"]),
        ("timeShift(seriesByTag('host=a'),'1h')", ['timeShift(load;dc=east;host=a, "-1h")']),
        ("template(sumSeries(seriesByTag('host=a')),x='1')", ["sumSeries(seriesByTag('host=a'))"]),
    ],
)
def test_the_call_stands_wherever_a_path_may(target: str, names: list[str]) -> None:
    assert ask(SOURCE, target).names == names


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("seriesByTag()", "tagExpressions: is missing"),
        ("seriesByTag(name)", "takes a quoted string, not a series list"),
        ("seriesByTag('a=b', 5)", "takes a quoted string, not 5"),
        ("odd.zero|seriesByTag('a=b')", "takes a quoted string, not a series list"),
        ("seriesByTag('a=b', other='c=d')", "other: there is no such parameter"),
        ("seriesByTag('nothing')", "'nothing' is no tag expression"),
        ("seriesByTag('a!=b')", "lack the tag"),
        ("seriesByTag('name=~(')", "no regular expression"),
        ("seriesByTag(" + "'a=b'," * 31 + "'a=b')", "32 are given; at most 31"),
        ("groupByNode(servers.*.cpu, 1, 'seriesByTag')", "takes a quoted string, not a series list"),
    ],
)
def test_arguments_that_are_no_expressions_are_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        ask(SOURCE, target)
    assert said in str(raised.value)


def test_the_series_are_counted_as_those_of_a_glob() -> None:
    few = Limits(series_max=2)
    assert len(ask(SOURCE, "seriesByTag('name=load','dc=east')", limits=few)) == 2
    with pytest.raises(TooMuch, match="names 3 series"):
        ask(SOURCE, "seriesByTag('name=load')", limits=few)


def test_what_several_targets_ask_for_is_looked_up_once() -> None:
    source = MemorySource.golden()
    ask(
        source,
        "group(seriesByTag('host=a'),movingAverage(seriesByTag('host=a'),5),scale(seriesByTag('host=a'),2))",
    )
    assert source.finds == ["seriesByTag"]


expressions = st.lists(
    st.sampled_from(["name=load", "dc=~e|w", "host!=a", "dc=", "host!=", "x", "name=~(", "=", "a=~(b+)+$"])
    | st.text(max_size=9),
    max_size=4,
)


@given(expressions, st.sampled_from("'\""))
def test_any_expressions_find_tagged_series_or_say_what_is_wrong(texts: list[str], quote: str) -> None:
    target = f"seriesByTag({','.join(quote + text + quote for text in texts)})"
    try:
        found = ask(SOURCE, target).names
    except (RenderError, TargetError) as error:
        assert str(error)  # noqa: PT017  # either outcome is right
    else:
        assert set(found) <= {path for path in SERIES if ";" in path}
