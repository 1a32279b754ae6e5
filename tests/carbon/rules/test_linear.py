"""Translations for google-re2: the same answers as Python's, or none."""

from __future__ import annotations

import re

import pytest
import re2  # type: ignore[import-untyped]  # has no types
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from carbon.rules.linear import translate
from tests.effort import tries

# what operators write, and what the two read differently
REAL = [
    r"(?i)a(?-i:b)", r"^collectd\.", r"\.count$", r"\.\.", r"^\.", r"\.$", r"", r"^", r"$", r".*", r"^(.*)$", r"(.*)",
    r"^carbon\.agents\.[^.]+\.", r"(?i)web\d+", r"(?i:WEB)[0-9]+", r"^(?P<env>prod|dev)\.(?P<host>\w+)\.",
    r"[^A-Za-z0-9_.\-]", r"a{,2}b", r"a{2}", r"a{1,}?b", r"[[:alpha:]]", r"\bload\b", r"\Ba", r"^a.*\Z",
    r"\Aa", r"(a|b|ab)(c|bcd)(d*)", r"(?:a|ab)(?:c|bcd)", r"a|ab|abc", r"[\w.]+?\d", r"\101", r"\x41",
    r"[]a]", r"[^]a]", r"a#b", r"(?x) a \. b  # words", r"(?m)^a$", r"(?s)a.b",
    r"(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)\11", r"[\d\-]+", r"\D\S\W", r"[^\W\d]", r"é+", r"[à-ü]", r"(a*)+b",
    r"(a?)*", r"(?:(a)|b)*", r"(a)|(b)", r"^(\w+)\.(\w+)\.", r"(?a:\w)", r";env=(?P<e>[^;]+)", r"a??b",
    r"(?i)[k-s]", r"a+b+", r"(?<=a)b", r"(?!a)b", r"(a)\1", r"(?>a+)b", r"a++b",
]  # fmt: skip


def _extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeats = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?", "+?", "??"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map("({})".format),
        inner.map("(?:{})".format),
        inner.map("(?i:{})".format),
        st.tuples(inner, repeats).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    )


ATOMS = ["a", "b", r"\.", ".", "[ab]", "[^.]", r"\d", r"\w", r"\b", "^", "$", "A", "é", ""]
patterns = st.recursive(st.sampled_from(ATOMS), _extended, max_leaves=8)
pytestmark = pytest.mark.filterwarnings("ignore:Possible nested set")
names = st.text("ab.1AB-;=_é٣Kſ", min_size=1, max_size=12)


def linear(pattern: str) -> object:
    options = re2.Options()
    options.log_errors = False
    text = translate(pattern).text
    return None if text is None else re2.compile(text, options)


def agree(pattern: str, name: str) -> None:
    known = translate(pattern)
    if known.text is None or (known.letters and not name.isascii()):
        return
    theirs, ours = re.search(pattern, name), linear(pattern).search(name)  # type: ignore[attr-defined]  # re2 has no types
    assert (theirs is None) == (ours is None)
    if theirs is not None and known.groups:
        assert ours.span() == theirs.span()
        assert ours.groups() == theirs.groups()


@pytest.mark.parametrize("pattern", REAL)
@given(names)
@settings(max_examples=tries(60))
@example("aB")
def test_what_operators_write_finds_the_same(pattern: str, name: str) -> None:
    agree(pattern, name)


@given(patterns, names)
@settings(max_examples=tries(600))
@example("(?:|a)*", "a")
@example("(?:a|b)??b", "ab")
@example(r"\B", "a")
def test_any_pattern_finds_the_same(pattern: str, name: str) -> None:
    try:
        re.compile(pattern)
    except re.error:
        assume(False)
    agree(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?<=a)b", "look-around"),
        (r"a(?!b)", "look-around"),
        (r"(a)\1", "a back-reference"),
        (r"(?P<x>a)(?P=x)", "a back-reference"),
        (r"(a)?(?(1)b|c)", "a back-reference"),
        (r"(?>a+)b", "an atomic group"),
        (r"a++b", "a possessive repeat"),
        (r"a{1001}", "more than 1000 repeats"),
        (r"a{5,2000}", "more than 1000 repeats"),
        (r"(?i)ſ", "letters beyond ASCII in either case"),
        ("(?i:\\u017f)", "letters beyond ASCII in either case"),
        ("\\ud800", "half a character"),
    ],
)
def test_what_google_re2_lacks_is_named(pattern: str, reason: str) -> None:
    assert translate(pattern)[:2] == (None, reason)


def test_what_is_common_is_translated() -> None:
    assert sum(translate(pattern).text is None for pattern in REAL) == 6


def test_digits_case_and_words_beyond_ascii_are_marked() -> None:
    for pattern in (r"\d", r"[\w]", r"\b", "(?i)a", "(?i:a)", r"[^\s]"):
        assert translate(pattern).letters, pattern
    for pattern in ("a", "é", "[^.]+", ".*", "[0-9]"):
        assert not translate(pattern).letters, pattern


def test_the_ways_to_match_are_counted() -> None:
    shape = translate(r"^(a|bc|d)\.[^.]+\.x?\.(?:[^.]+?)$")
    assert (shape.repeats, shape.choices, shape.nested) == (3, 3, False)
    assert translate(r"(a+)+").nested
    assert translate(r"(?:a|bc)*").nested
    assert not translate(r"a{3}").repeats
