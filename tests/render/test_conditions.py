"""Tag expressions against Python's own regular expressions, tried on every text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.conditions import prefixed, read_conditions, read_texts
from render.errors import ArgumentError
from storage.tags import CONDITIONS_MAX, EMPTY

TEXTS = ["", "a", "b", "ab", "aab", "a.b", "axb", "a|b", "ba", "web1", "web12", "x(1)", "ü", "A", "a b"]


def unchecked() -> None:
    """There is time."""


def picked(pattern: str) -> list[str]:
    texts = read_texts(pattern, unchecked)
    return [text for text in TEXTS if text in texts]


PIECE = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        ".",
        "\\.",
        "\\|",
        "|",
        "a|b",
        "(a|b)",
        "(?:a|ab)",
        "()",
        "*",
        "?",
        "+",
        ".*",
        "$",
        "^",
        "[ab]",
    ]
)
PATTERN = st.lists(
    PIECE | st.sampled_from(["web", "ü", "{2}", "\\d", "\\(", "(", ")", "(?i)"]), max_size=6
).map("".join)


@given(PATTERN)
def test_a_pattern_matches_from_the_begin_as_pythons_match_does(pattern: str) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error:
        with pytest.raises(ArgumentError):
            read_texts(pattern, unchecked)
        return
    try:
        found = picked(pattern)
    except ArgumentError as error:
        assert "(?i)" in pattern or "takes more than" in str(error)  # noqa: PT017  # flags in the middle
        return
    assert found == [text for text in TEXTS if compiled.match(text)]


@pytest.mark.parametrize(
    "pattern",
    [
        "web1",
        "^web1$",
        "web.*",
        "(web1|web2)$",
        "^(?:web1|db\\.a)",
        "a|b|c",
        "pre-(a|b)-post$",
        ".*",
        "",
        "^$",
        "(|a)$",
    ],
)
def test_plain_text_is_not_matched_but_looked_up(pattern: str) -> None:
    assert read_texts(pattern, unchecked).holds is None


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("web[0-9]+", "web"),
        ("^web\\.a\\d", "web.a"),
        ("webs?[1]", "web"),
        ("webs*[1]", "web"),
        ("webs{2}", "web"),
        ("webs+[1]", "webs"),
        ("a\\.?[b]", "a"),
        ("[ab]", ""),
        ("web[1]|db", ""),
        ("(?i)web", ""),
    ],
)
def test_the_rest_is_matched_against_texts_that_begin_so(pattern: str, prefix: str) -> None:
    texts = read_texts(pattern, unchecked)
    assert (texts.prefixes, texts.holds is None) == ((prefix,), False)


def test_a_choice_may_be_as_long_as_grafana_makes_it() -> None:
    hosts = [f"web-{i:04d}.example.com" for i in range(500)]
    pattern = "^(" + "|".join(map(re.escape, hosts)) + ")$"
    texts = read_texts(pattern, unchecked)
    assert texts.exact == frozenset(hosts)
    assert texts.holds is None


@pytest.mark.parametrize(
    ("expression", "tag", "among", "value"),
    [
        ("a=b", "a", True, "b"),
        ("a!=b", "a", False, "b"),
        ("a=b=c", "a", True, "b=c"),
        ("a= b c ", "a", True, " b c "),
        ("a=", "a", True, ""),
        ("a!=", "a", False, ""),
        ("a=~^b$", "a", True, "b"),
        ("a!=~(b)$", "a", False, "b"),
        ("ä b=ü", "ä b", True, "ü"),
    ],
)
def test_an_expression_is_a_tag_an_operator_and_a_value(
    expression: str, tag: str, among: bool, value: str
) -> None:
    (condition,) = read_conditions([expression], unchecked, narrow=False)
    assert (condition.tag, condition.among, condition.texts.exact) == (tag, among, frozenset([value]))


@pytest.mark.parametrize("regex", [".+", "^.+", ".+$", "(.+)", "^(.+)$"])
def test_to_match_anything_is_to_have_the_tag(regex: str) -> None:
    assert read_conditions([f"a=~{regex}"], unchecked) == [("a", EMPTY, False)]
    assert read_conditions([f"a!=~{regex}"], unchecked, narrow=False) == [("a", EMPTY, True)]


@pytest.mark.parametrize(
    "expression", ["", "a", "=b", "!=b", "~b", "a=b;c", "a;b=c", "a!b", "a!b=c", "a=~(", "a=~[b-a]"]
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ArgumentError, match=r"seriesByTag\(\): tagExpressions"):
        read_conditions(["a=b", expression], unchecked)


@pytest.mark.parametrize(
    "expressions", [["a!=b"], ["a="], ["a=~.*"], ["a=~"], ["a!=~b"], ["a=~b?$", "c!=d"], ["a!=~.+"], []]
)
def test_one_expression_must_need_its_tag(expressions: Sequence[str]) -> None:
    with pytest.raises(ArgumentError, match="lack the tag"):
        read_conditions(expressions, unchecked)
    assert len(read_conditions([*expressions, "z!="], unchecked)) == len(expressions) + 1


def test_there_are_no_more_conditions_than_the_store_takes() -> None:
    read_conditions(["a=b"] * CONDITIONS_MAX, unchecked)
    with pytest.raises(ArgumentError, match="32 are given; at most 31"):
        read_conditions(["a=b"] * 32, unchecked)


def test_a_choice_is_not_longer_than_a_target_may_be() -> None:
    with pytest.raises(ArgumentError, match="at most 16384 characters, not 16385"):
        read_texts("|".join(["a"] * 8193), unchecked)


@pytest.mark.parametrize("pattern", ["(a+)+(b?", "(?P<", "\\9", "x" * 200 + "[a]" * 30])
def test_a_pattern_that_cannot_be_is_refused(pattern: str) -> None:
    with pytest.raises(ArgumentError):
        read_texts(pattern, unchecked)


def test_a_pattern_that_would_backtrack_answers_at_once() -> None:
    assert "a" * 4000 not in read_texts("(a+)+$x", unchecked)


def test_among_short_texts_a_long_one_is_matched_alike() -> None:
    holds = read_texts("(a|b)+c", unchecked).holds
    assert holds is not None
    assert holds(["abc", "ab" * 2000 + "c", "xabc", "ab" * 2000, "c"]) == [True, True, False, False, False]


def test_time_is_looked_at_while_many_texts_are_matched() -> None:
    looks: list[int] = []
    holds = read_texts("a[b]", lambda: looks.append(1)).holds
    assert holds is not None
    assert holds(["ab"] * 1000) == [True] * 1000
    assert len(looks) == 32


def test_a_prefix_is_plain_text() -> None:
    assert [text for text in TEXTS if text in prefixed("a.")] == ["a.b"]
    assert [text for text in TEXTS if text in prefixed("")] == TEXTS
