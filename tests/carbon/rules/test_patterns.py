"""Patterns alone and many at once: `re`'s answers, in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carbon.rules import patterns
from carbon.rules.lines import Line
from carbon.rules.patterns import Pattern, PatternSet
from storage.errors import InvalidConfig
from tests.carbon.rules.test_linear import REAL, names
from tests.carbon.rules.test_linear import patterns as any_patterns
from tests.effort import tries

pytestmark = pytest.mark.filterwarnings("ignore:Possible nested set")
LINE = Line("/conf/rules.conf", 7, "")
BAD = r"^(a+)+\.(?P<rest>.*)$"
LONG = "a" * 3000


def pattern(text: str, *, flags: int = 0, anchored: bool = False) -> Pattern:
    return Pattern(LINE, text, flags=flags, anchored=anchored)


def asked_slowly(one: Pattern) -> Pattern:
    """The pattern with google-re2 preferred for names of any length."""
    one._quick = -1
    return one


@given(st.lists(st.sampled_from(REAL), max_size=12), st.lists(names, max_size=8), st.booleans())
def test_a_set_finds_what_each_of_its_patterns_finds(
    texts: list[str], asked: list[str], anchored: bool
) -> None:
    together = PatternSet([pattern(text, anchored=anchored) for text in texts])
    for name in asked:
        find = re.match if anchored else re.search
        assert list(together.matches(name)) == [n for n, text in enumerate(texts) if find(text, name)]


@given(st.sampled_from(REAL), st.sampled_from(["", "x", r"<\1>", r"\g<0>\g<0>", r"\\1", "é", r"\."]), names)
@settings(max_examples=tries(500))
def test_a_name_is_rewritten_as_re_rewrites_it(text: str, replacement: str, name: str) -> None:
    substitutes(text, replacement, name)


@given(any_patterns, st.sampled_from(["", "x", r"<\1>", r"\g<0>."]), names)
@settings(max_examples=tries(400))
def test_any_pattern_rewrites_as_re_does(text: str, replacement: str, name: str) -> None:
    substitutes(text, replacement, name)


def substitutes(text: str, replacement: str, name: str) -> None:
    try:
        expected = re.sub(text, replacement, name)
    except re.error:
        assume(False)
    one = pattern(text)
    assert one.sub(one.replacement(replacement), name) == expected
    one = asked_slowly(one)
    assert one.sub(one.replacement(replacement), name) == expected


@given(
    st.sampled_from(["^(?P<a>[^.]+?)\\.(?P<b>.+?)$", r"(?P<a>a)?(?P<b>b*)", r"(?P<a>\w)|(?P<b>\.)"]), names
)
def test_fields_are_those_of_re(text: str, name: str) -> None:
    match = re.match(text, name)
    expected = None if match is None else match.groupdict()
    assert pattern(text, anchored=True).fields(name) == expected
    assert asked_slowly(pattern(text, anchored=True)).fields(name) == expected


def test_what_a_repeat_of_nothing_leaves_in_a_group_is_asked_of_re() -> None:
    for text in ("(a*)+b", "(a?)+b", "(|a)+b", "(a|b?)+a"):
        substitutes(text, r"<\1>", "aab")


def test_a_short_name_is_no_way_out_of_linear_time() -> None:
    one = pattern("^(a+)+$")
    started = time.process_time()
    assert one.sub(one.replacement("x"), "a" * 26 + "-") == "a" * 26 + "-"
    assert time.process_time() - started < 0.5


def test_a_pattern_with_exponentially_many_ways_takes_no_time() -> None:
    one = pattern(BAD)
    started = time.process_time()
    assert not PatternSet([one]).matches(LONG)
    assert one.fields(LONG) is None
    assert one.sub(one.replacement("x"), LONG) == LONG
    assert one.sub(one.replacement(r"\g<rest>"), LONG + ".b") == "b"
    assert time.process_time() - started < 1


def test_what_google_re2_cannot_do_is_asked_of_re_and_said() -> None:
    one = pattern(r"a(?!b)")
    assert one.warning == "/conf/rules.conf:7: 'a(?!b)' has look-around: slower, asked one by one"
    together = PatternSet([pattern("b"), one, pattern(r"(.)\1")])
    assert [list(together.matches(name)) for name in ("ab", "ac", "aa", "c")] == [[0], [1], [1, 2], []]
    assert together.warnings == (one.warning, together.patterns[2].warning)
    assert "back-reference" in together.warnings[1]


def test_names_beyond_ascii_are_asked_as_python_has_letters() -> None:
    together = PatternSet(
        [pattern(r"^\w+$"), pattern(r"\d"), pattern("é"), pattern("k", flags=re.IGNORECASE)]
    )
    assert list(together.matches("é٣")) == [0, 1, 2]
    assert list(together.matches("\u212a-é")) == [2, 3]  # the sign for Kelvin
    assert list(together.matches("e3K")) == [0, 1, 3]


@pytest.mark.parametrize("text", ["(", "*a", "a{2,1}", "(?P<1>a)", r"\q", "(?P<a>b)(?P<a>c)", "a" * 20_000])
def test_what_is_no_pattern_is_named_with_its_place(text: str) -> None:
    with pytest.raises(InvalidConfig, match=r"^/conf/rules\.conf:7: pattern: "):
        pattern(text)


@pytest.mark.parametrize(
    "text", [r"\2", r"\g<no>", r"\g<1", "\\", r"\q", r"\n", "a b", "a\tb", r"\0", r"\101", "x" * 2000]
)
def test_what_is_no_replacement_is_named_with_its_place(text: str) -> None:
    with pytest.raises(InvalidConfig, match=r"^/conf/rules\.conf:7: replacement: "):
        pattern("(a)").replacement(text)


def test_patterns_that_find_no_room_together_are_asked_in_several_sets() -> None:
    texts = [rf"^(.*)\.app{number}\.(.*)\.cpu" for number in range(200)]
    several = patterns._sets(list(enumerate(texts)), 300_000)
    assert len(several) >= 2
    assert [number for _, numbers in several for number in numbers] == list(range(200))
    for name, expected in (("a.app7.b.cpu", [7]), ("a.app199.b.cpu", [199]), ("a.b", [])):
        assert [numbers[at] for ask, numbers in several for at in ask(name) or ()] == expected
    together = PatternSet([pattern(text) for text in texts])
    together._sets, together._only = several, None
    assert list(together.matches("a.app7.b.app150.c.cpu")) == [7, 150]


def test_a_set_without_patterns_finds_nothing() -> None:
    assert not PatternSet([]).matches("a")
