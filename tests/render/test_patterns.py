from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from render import patterns
from render.errors import ArgumentError

ATOM = st.sampled_from(["a", "b", ".", r"\.", "[ab]", "[^a]", r"\w", r"\d", "(a)", "(a|b)", "(?:ab)"])
QUANTIFIED = st.tuples(ATOM, st.sampled_from(["", "", "*", "+", "?", "*?", "{2}", "{1,2}"])).map("".join)
PATTERN = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(QUANTIFIED, min_size=1, max_size=4).map("".join),
    st.sampled_from(["", "$", "|b"]),
).map("".join)
TEXT = st.text("abc.1 ", max_size=12)
REPLACEMENT = st.sampled_from(["", "x", "<\\g<0>>", "\\\\", "a\\\\b\\g<0>"])


def slow(pattern: str) -> patterns.Pattern:
    """A pattern that uses google-re2 for every text."""
    made = patterns.compile("f", "p", pattern)
    made._quick = -1
    return made


@given(PATTERN, TEXT)
def test_a_search_finds_what_re_finds(pattern: str, text: str) -> None:
    found = patterns.compile("f", "p", pattern).search(text)
    assert (found is not None) == (re.search(pattern, text) is not None)


@given(PATTERN, REPLACEMENT, TEXT)
def test_a_substitution_is_that_of_re(pattern: str, replacement: str, text: str) -> None:
    matcher = patterns.compile("f", "p", pattern)
    # after an empty match Python looks for another one at the same place, google-re2 does not
    assume(len(text) <= matcher._quick or re.search(pattern, "") is None)
    assert matcher.sub(replacement, text) == re.sub(pattern, replacement, text)


@given(PATTERN, REPLACEMENT, TEXT)
def test_google_re2_finds_and_replaces_the_same(pattern: str, replacement: str, text: str) -> None:
    pytest.importorskip("re2")
    assume(re.search(pattern, "") is None)
    matcher = slow(pattern)
    assert (matcher.search(text) is not None) == (re.search(pattern, text) is not None)
    assert matcher.sub(replacement, text) == re.sub(pattern, replacement, text)


def test_google_re2_replaces_groups_as_re_does() -> None:
    pytest.importorskip("re2")
    pattern, replacement = r"(?P<one>a+)(b)?(c|d)", r"[\3\g<one>\\\2\g<2>é]"
    for text in ("abc ad aab", "aaad", ""):
        assert slow(pattern).sub(replacement, text) == re.sub(pattern, replacement, text)


@pytest.mark.parametrize(("pattern", "text"), [(r"^\w+$", "é"), (r"(?i)É", "é"), ("a$", "a\n"), (r"\d", "٣")])
def test_texts_that_google_re2_reads_otherwise_are_left_to_re(pattern: str, text: str) -> None:
    assert re.search(pattern, text)
    assert slow(pattern).search(text) is not None


@pytest.mark.parametrize("replacement", [r"\9", r"\g<no>", r"\q", "\\"])
def test_a_wrong_replacement_is_refused_whatever_matches(replacement: str) -> None:
    for matcher in (patterns.compile("f", "p", "(a)"), slow("(a)")):
        with pytest.raises(ArgumentError, match=r"f\(\): replace: .* is no replacement"):
            matcher.sub(replacement, "a")


@given(
    st.lists(st.text("ab.\n"), max_size=5), st.sampled_from([r"\1 A", r"\1\1", "x", r"\\ \g<1>-\g<0>", ""])
)
def test_grafanas_pattern_is_replaced_as_re_does(texts: list[str], replacement: str) -> None:
    pattern = patterns.compile("f", "p", "(^.*$)")
    assert pattern.sub_all(replacement, texts, lambda: None) == [
        re.sub("(^.*$)", replacement, text) for text in texts
    ]


def test_a_long_list_can_be_given_up() -> None:
    calls: list[int] = []
    patterns.compile("f", "p", "a").sub_all("b", ["a"] * 1000, lambda: calls.append(1))
    assert len(calls) == 4


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|aa)+$",
        "(.*a){12}",
        "a*a*a*a*a*a*b",
        "(a?){30}a{30}",
        "(?:a|a|a)*$",
        "((a+)?)*b",
    ],
)
def test_an_explosive_pattern_answers_at_once_or_is_refused(pattern: str) -> None:
    matcher = patterns.compile("f", "p", pattern)
    started = time.perf_counter()
    matcher.search("a" * 60 + "!")
    assert time.perf_counter() - started < 1
    matcher._re2 = None
    started = time.perf_counter()
    with suppress(ArgumentError):  # what takes less than half a second is answered
        matcher.search("a" * 60 + "!")
    assert matcher._killable is not None
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("pattern", "quantifiers", "alternatives", "nested", "anchored"),
    [
        ("(^.*$)", 1, 0, False, True),
        ("^a+b?", 2, 0, False, True),
        ("(^a)?b", 1, 0, False, False),
        ("^a*a", 1, 0, False, True),
        ("^a|b", 0, 1, False, False),
        ("(?m)^a", 0, 0, False, False),
        ("(?x)a # b+", 1, 0, True, False),
        ("(a+)+", 2, 0, True, False),
        ("(a+)?", 2, 0, False, False),
        ("((a)+)", 1, 0, False, False),
        ("((a+)b)*", 2, 0, True, False),
        ("(a|b)*", 1, 1, True, False),
        ("(a|b)?", 1, 1, False, False),
        (r"(\(a*\))b*", 2, 0, False, False),
        ("[(+*]a[]*]", 0, 0, False, False),
        (r"[\]*]+", 1, 0, False, False),
        ("a{2,}b{3}c{x}", 2, 0, False, False),
        ("a*?b+?", 2, 0, False, False),
        ("(?P<n>a*)(?:b)(?=c*)", 2, 0, False, False),
    ],
)
def test_a_patterns_shape(
    pattern: str, quantifiers: int, alternatives: int, nested: bool, anchored: bool
) -> None:
    shape = patterns._shape(re.compile(pattern))
    assert shape[:] == (quantifiers, alternatives, nested, anchored)


def test_the_longest_text_has_no_more_ways_than_allowed() -> None:
    # two quantifiers and a begin: choose 3 of chars + 3
    shape = patterns._shape(re.compile("a*b*"))
    assert patterns._longest(shape, 1_000_000) == 179
    assert (182 * 181 * 180) // 6 <= 1_000_000 < (183 * 182 * 181) // 6
    # each alternative halves what is left
    assert patterns._longest(patterns._shape(re.compile("(a|b)a*b*")), 1_000_000) == 142
    assert patterns._longest(patterns._shape(re.compile("(a*)*")), 1_000_000) == -1


def test_patterns_that_are_none_or_too_long_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"f\(\): p: '\(' is no regular expression"):
        patterns.compile("f", "p", "(")
    with pytest.raises(ArgumentError, match="at most 256 characters, not 257"):
        patterns.compile("f", "p", "a" * 257)
    with pytest.raises(ArgumentError, match="at most 1024 characters, not 1025"):
        patterns.compile("f", "p", "a").sub("b" * 1025, "a")


def test_a_name_cannot_grow_without_bound() -> None:
    pattern = patterns.compile("f", "p", "a")
    with pytest.raises(ArgumentError, match="a name of 100000 characters; at most 16384"):
        pattern.sub("b" * 1000, "a" * 100)


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize("pattern", ["[[:alpha:]]", "a{,2}b", r"(a)\1", "(?=a)", "(?<=b)a", "a++"])
def test_what_google_re2_means_otherwise_or_does_not_know_is_left_to_re(pattern: str) -> None:
    compiled: Any = patterns.compile("f", "p", pattern)
    assert compiled._re2 is None
    assert (compiled.search("baa") is not None) == (re.search(pattern, "baa") is not None)
