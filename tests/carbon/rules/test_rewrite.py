"""rewrite-rules.conf: sections, order, and what is no rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from carbon.rules import rewrite
from carbon.rules.rewrite import Rewrites
from storage.errors import InvalidConfig


def read(folder: Path, text: str) -> Rewrites:
    (folder / "rewrite-rules.conf").write_text(text)
    return rewrite.load(folder)


def test_rules_stand_in_their_sections_in_order(tmp_path: Path) -> None:
    rules = read(tmp_path, "# c\n[POST]\n^a = b\n[pre]\n(x+)\\.y=\\1 \n# d\nq =\n")
    assert [(rule.pattern.text, rule.replacement.text) for rule in rules.pre] == [
        (r"(x+)\.y", r"\1"),
        ("q", ""),
    ]
    assert [(rule.pattern.text, rule.pattern.where) for rule in rules.post] == [
        ("^a", "rewrite-rules.conf:3")
    ]
    assert rules.pre[0].apply("a.xx.y.b") == "a.xx.b"


def test_the_first_equals_sign_ends_the_regex(tmp_path: Path) -> None:
    (rule,) = read(tmp_path, "[pre]\n^a = b;tag=c\n").pre
    assert rule.apply("a.d") == "b;tag=c.d"


def test_no_file_is_no_rules(tmp_path: Path) -> None:
    assert rewrite.load(tmp_path) == Rewrites((), ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = b\n", ":1: 'a = b': stands before the first section"),
        ("[pre]\na\n", ":2: 'a': is no rule"),
        ("[pre]\n= b\n", ":2: '= b': is no rule"),
        ("[middle]\na = b\n", r":1: \[middle\]: is no section"),
        ("[pre]\na = b\n[Pre]\n", r":3: \[Pre\]: stands twice"),
        ("[pre]\n\n( = b\n", ":3: pattern: .* is no regular expression"),
        ("[pre]\na = \\1\n", ":2: replacement: "),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=r"rewrite-rules\.conf" + words):
        read(tmp_path, text)
