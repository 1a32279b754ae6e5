"""whitelist.conf and blacklist.conf against what carbon does: any(re.search)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.rules.filter import Filter
from carbon.rules.lines import Line
from carbon.rules.patterns import Pattern
from storage.errors import InvalidConfig
from tests.carbon.rules.test_linear import names

LINES = [r"^a", r"b$", r"\.\.", r"\d", ".", "(?=a)a", "é"]


def patterns(texts: list[str]) -> tuple[Pattern, ...]:
    return tuple(Pattern(Line("x.conf", 1, text), text) for text in texts)


def read(folder: Path, *, black: str | None = None, white: str | None = None) -> Filter:
    for file, text in (("blacklist.conf", black), ("whitelist.conf", white)):
        if text is not None:
            (folder / file).write_text(text)
    return Filter.load(folder)


@given(st.lists(st.sampled_from(LINES)), st.lists(st.sampled_from(LINES)), names)
def test_the_blacklist_wins_and_an_empty_whitelist_allows_all(
    black: list[str], white: list[str], name: str
) -> None:
    expected = ""
    if any(re.search(text, name) for text in black):
        expected = "blacklisted"
    elif white and not any(re.search(text, name) for text in white):
        expected = "not whitelisted"
    assert Filter(patterns(black), patterns(white)).refusal(name) == expected


def test_absent_and_empty_files_allow_all(tmp_path: Path) -> None:
    assert read(tmp_path).refusal("a") == ""
    assert read(tmp_path, black="\n", white="# nothing\n\n").refusal("a") == ""


def test_comments_and_blanks_around_a_line_are_no_part_of_it(tmp_path: Path) -> None:
    rules = read(tmp_path, black="# ^a\n  # b\n\n  ^c  \r\n", white="^[bcd]")
    assert [rules.refusal(name) for name in ("a", "b", "cc", "d")] == [
        "not whitelisted",
        "",
        "blacklisted",
        "",
    ]


def test_the_line_that_decides_is_known(tmp_path: Path) -> None:
    rules = read(tmp_path, black="x\n#\ny\n", white="a\nb\n")
    places = [rule and rule.where for rule in map(rules.rule, ("axy", "ay", "b", "c"))]
    assert places == ["blacklist.conf:1", "blacklist.conf:3", "whitelist.conf:2", None]


def test_a_line_that_is_no_pattern_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"whitelist\.conf:2: pattern: '\*' is no regular expression"):
        read(tmp_path, white="a\n*\n")


def test_slow_lines_are_told_of(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, black="a\n(?!b)c\n").warnings
    assert "blacklist.conf:2" in warning
