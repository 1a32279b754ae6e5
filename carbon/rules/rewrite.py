"""rewrite-rules.conf: `regex = replacement`, in order, each applied to what the one before has made of the name.

Section [pre] is applied before the aggregation rules see the name, [post] after. The first `=` ends the regex, so
that it cannot have one. As carbon has it, but that a line which cannot be used is an error and is not skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from carbon.rules.lines import Line, lines_of
from carbon.rules.patterns import Pattern, Replacement

REWRITE_FILE = "rewrite-rules.conf"
_SECTIONS = ("pre", "post")


class RewriteRule(NamedTuple):
    pattern: Pattern
    replacement: Replacement

    def apply(self, name: str) -> str:
        return self.pattern.sub(self.replacement, name)


class Rewrites(NamedTuple):
    pre: tuple[RewriteRule, ...] = ()
    post: tuple[RewriteRule, ...] = ()


def load(folder: Path) -> Rewrites:
    """The rules of a folder's file; raises InvalidConfig."""
    rules: dict[str, list[RewriteRule]] = {}
    section = ""
    for line in lines_of(folder / REWRITE_FILE):
        if line.text.startswith("[") and line.text.endswith("]"):
            section = _section(line, rules)
        elif not section:
            line.refuse(repr(line.text), "stands before the first section, [pre] or [post]")
        else:
            rules[section].append(_rule(line))
    return Rewrites(*(tuple(rules.get(name, ())) for name in _SECTIONS))


def _section(line: Line, rules: dict[str, list[RewriteRule]]) -> str:
    section = line.text[1:-1].lower()
    if section not in _SECTIONS:
        line.refuse(line.text, "is no section; there are [pre] and [post]")
    if section in rules:
        line.refuse(line.text, "stands twice; Graphite would forget the rules of the first")
    rules[section] = []
    return section


def _rule(line: Line) -> RewriteRule:
    text, equals, replacement = line.text.partition("=")
    if not equals or not text.strip():
        line.refuse(repr(line.text), "is no rule; wanted is regex = replacement")
    pattern = Pattern(line, text.strip())
    return RewriteRule(pattern, pattern.replacement(replacement.strip()))
