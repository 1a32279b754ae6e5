"""Globs against fnmatch and a recursive expansion of braces."""

from __future__ import annotations

import fnmatch
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage import glob
from storage.errors import InvalidGlob
from storage.glob import compile_node, compile_path, exactly
from storage.index import Index
from storage.intern import Interned, lay

CLASS = st.builds(
    lambda no, first, rest: f"[{no}{first}{rest}]",
    st.sampled_from(["", "!"]),
    st.sampled_from([*"]ab-^é{,", "a-c", "c-a", "--a"]),
    st.text("abc-^!é,{}*?[", max_size=3),
)
PLAIN = st.text("abcé-]}", min_size=1, max_size=3)
PIECE = st.sampled_from(["*", "?", "**"]) | PLAIN | CLASS
NODE = st.lists(PIECE, max_size=5).map("".join)
TEXT = st.text("abcé-]}^!,{*?[", max_size=8)


def braced(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.lists(inner, min_size=1, max_size=3).map(lambda parts: "{" + ",".join(parts) + "}")
    return st.lists(groups | st.sampled_from(["a", "b", "*", "?", "[ab]", "[,}]"]), max_size=3).map("".join)


def twin_expand(pattern: str) -> list[str]:
    """All texts that the innermost first group stands for, and so on; classes are left alone."""
    open_at, at = -1, 0
    commas: list[int] = []
    while at < len(pattern):
        if pattern[at] == "[":
            at = pattern.index("]", at + 2 + (pattern[at + 1] == "!"))
        elif pattern[at] == "{":
            open_at, commas = at, []
        elif pattern[at] == "," and open_at >= 0:
            commas.append(at)
        elif pattern[at] == "}" and open_at >= 0:
            edges = [open_at, *commas, at]
            before, after = pattern[:open_at], pattern[at + 1 :]
            parts = [pattern[a + 1 : b] for a, b in pairwise(edges)]
            return [text for part in parts for text in twin_expand(before + part + after)]
        at += 1
    return [pattern]


def twin_accepts(pattern: str, node: str) -> bool:
    return any(fnmatch.fnmatchcase(node, text) for text in twin_expand(pattern))


@given(NODE, TEXT)
@example("*a*b", "aab")
@example("a*", "a")
@example("", "")
@example("[!a]", "é")
@example("*[!é]b", "éb")
@settings(deadline=None)
def test_a_node_is_matched_as_fnmatch_does(pattern: str, node: str) -> None:
    assert compile_node(pattern).accepts(node) == fnmatch.fnmatchcase(node, pattern)


@given(st.recursive(st.sampled_from(["", "a", "b", "ab", "*", "c?"]), braced, max_leaves=12), TEXT)
@example("{a}", "a")
@example("{a,b{c,d}}", "bd")
@example("x{a,}", "x")
@example("{}", "")
@settings(deadline=None)
def test_braces_stand_for_each_of_their_alternatives(pattern: str, node: str) -> None:
    assert compile_node(pattern).accepts(node) == twin_accepts(pattern, node)
    for text in twin_expand(pattern):
        if not set(text) & set("*?["):
            assert compile_node(pattern).accepts(text)


@given(NODE, st.lists(TEXT, unique=True, min_size=1))
@settings(deadline=None)
def test_a_vocabulary_is_matched_name_by_name(pattern: str, nodes: list[str]) -> None:
    names = Interned()
    ids = names.add_all(*lay([node.encode() for node in nodes]))
    matcher = compile_node(pattern)
    wanted = [matcher.accepts(node) for node in nodes]
    assert matcher.mask(names).tolist() == wanted
    assert matcher.mask(names, ids[::-1].copy()).tolist() == wanted[::-1]


@pytest.mark.parametrize("pattern", ["abc", "a[b]c", "[*]", "[[]", "a]b", "}", "{a,b}", "a{b,c}d", "a,b"])
def test_literals_are_never_scanned_for(pattern: str) -> None:
    assert compile_node(pattern).programs == ()


def test_lone_closing_signs_and_commas_stand_for_themselves() -> None:
    for text in ["]", "}", ",", "a]", "a}b,c", "a{b,c}}"]:
        assert all(compile_node(text).accepts(one) for one in twin_expand(text))


def test_case_counts() -> None:
    assert not compile_node("Web*").accepts("web1")


def _shown(pattern: str) -> list[str]:
    """The paths of a pattern as text, alternatives of a node joined by |, programs as *."""
    return [
        ".".join(
            "**"
            if one.any_depth
            else "|".join([x.decode() for x in one.literals] + ["*"] * len(one.programs))
            for one in path
        )
        for path in compile_path(pattern)
    ]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.b", ["a.b"]),
        ("a.{b,c}.d", ["a.b|c.d"]),
        ("a.{b.c,d}.e", ["a.d.e", "a.b.c.e"]),
        ("{a.b,c.d}", ["a.b", "c.d"]),
        ("{a,a}.{b.c,b.c}", ["a.b.c"]),
        ("a{.b,c}", ["ac", "a.b"]),
        ("**", ["**.*"]),
        ("a.**", ["a.**.*"]),
        ("**.**.a", ["**.a"]),
        ("{**,a}.b", ["a.b", "**.b"]),
        ("a**.b", ["*.b"]),
        ("a..b", []),
        ("", []),
        (".a", []),
        ("a.", []),
        ("a.{b,}.c", ["a.b.c"]),
        ("{}", []),
        ("a{..}b", []),
    ],
)
def test_a_path_becomes_matchers_node_by_node(pattern: str, paths: list[str]) -> None:
    assert _shown(pattern) == paths


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a.[b", r"column 3.*unclosed \["),
        ("a.[]", r"column 3.*unclosed \["),
        ("a.[!]", r"column 3.*unclosed \["),
        ("a.x[b.c]", r"column 4.*not closed before the next dot"),
        ("a.{b", r"column 3.*unclosed \{"),
        ("é{a,{b}", r"column 2.*unclosed \{"),
        ("a\ud800*", r"column 2.*UTF-8"),
        ("a." + "{" * 33 + "}" * 33, r"column 35.*32 allowed"),
    ],
)
def test_what_cannot_be_a_glob_is_refused_at_its_column(pattern: str, words: str) -> None:
    with pytest.raises(InvalidGlob, match=words):
        compile_path(pattern)


def test_a_path_is_no_node() -> None:
    for pattern in ["a.b", "{a.b,c}", "."]:
        with pytest.raises(InvalidGlob, match="dot"):
            compile_node(pattern)


MANY = "{" + ",".join(f"n{i}" for i in range(glob.ALTERNATIVES_MAX)) + "}"


@pytest.mark.parametrize(
    "pattern",
    [
        "{a,b}" * 14,
        "{a,b}" * 100_000,
        "{a,b,c,d,e,f,g,h,i,j}" * 5,
        ".".join(["{a,b}" * 12] * 3),
        ".".join(["{a,b.c}"] * 14),
        MANY[:-1] + ",x}",
        "{" + ",".join(["{a,b}" * 12] * 3) + "}",
        MANY + "a" * 200,
        "a" * (glob.ALTERNATIVES_BYTES_MAX + 1),
    ],
)
def test_more_alternatives_than_allowed_are_refused_before_they_are_made(pattern: str) -> None:
    before = time.process_time()
    with pytest.raises(InvalidGlob, match=r"stands for [\d,]+ alternatives .* 10,000 of 1,000,000 bytes"):
        compile_path(pattern)
    assert time.process_time() - before < 1


def test_as_many_alternatives_as_allowed_are_fine() -> None:
    assert len(compile_path(MANY)[0][0].literals) == glob.ALTERNATIVES_MAX
    hundred = "{" + ",".join(f"n{i}" for i in range(100)) + "}"
    assert len(compile_path(".".join([hundred] * 10))) == 1  # node for node: 1,000, not 100 ** 10


@pytest.mark.parametrize("pattern", ["*a" * 100 + "b", "a*" * 100 + "b", "*" * 500 + "b", "?*" * 100 + "b"])
def test_a_hostile_pattern_takes_time_in_proportion_to_its_length(pattern: str) -> None:
    names = Interned()
    names.add_all(*lay([b"a" * length for length in range(1, 256)]))
    matcher = compile_node(pattern)
    matcher.mask(names, np.zeros(1, np.int32))
    before = time.process_time()
    assert not matcher.mask(names).any()
    assert time.process_time() - before < 1


NAME = st.lists(st.text("ab-]}^!,{*?[", min_size=1, max_size=5), min_size=1, max_size=3).map(".".join)
TAGGED = st.builds("{};t={}".format, NAME, st.text("ab*?[{", min_size=1, max_size=3))


@given(st.sets(NAME | TAGGED, min_size=1, max_size=6))
@example({"a*", "ab", "a[*]", "{a,b}*", "?", "**", "x"})
@settings(deadline=None)
def test_a_glob_of_exactly_one_path_finds_that_and_no_other(names: set[str]) -> None:
    paths = sorted(names)
    index = Index()
    blob, starts, stops = lay([path.encode() for path in paths])
    index.add_all(blob, starts, stops, np.arange(len(paths), dtype=np.int32))
    for path in paths:
        assert index.find_series(exactly(path))[0] == [path]
    assert index.find_series(exactly("c" + paths[0]))[0] == []
