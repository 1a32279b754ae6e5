"""aggregation-rules.conf: `output_template (frequency) = method input_pattern`, which names feed which aggregates.

`<env>.apps.<app>.all.requests (60) = sum <env>.apps.<app>.*.requests`. In the pattern, `<field>` is part of a node,
`<<field>>` may cross dots, `*` alone is one node and within a node any part of it; the rest is a regular expression,
matched from the name's begin to its end. The meanings are those of carbon 1.1.10, which splits a pattern at its dots
and then replaces the stars, also those of a regular expression: `[^.]*` is read as `[^\\.][^.]*`.

Departures, each because carbon's way is silent: a field that the pattern does not have is an error and not a name
without aggregates; two rules with one template must agree in frequency and method (carbon takes those of the rule
whose datapoint comes first); a name feeds an aggregate once, however many rules say so (carbon counts it twice).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from carbon.rules.lines import Line, lines_of
from carbon.rules.patterns import Pattern
from storage import consolidation
from storage.errors import UnknownAggregation

AGGREGATION_FILE = "aggregation-rules.conf"
FREQUENCY_S_MAX = 366 * 86_400


class Feed(NamedTuple):
    """An aggregate: its name, how often it has a value, and its method by consolidation.py's own name."""

    output: str
    frequency_s: int
    method: str


class AggregationRule:
    def __init__(self, line: Line) -> None:
        """Raises InvalidConfig if the line is no rule."""
        left, equals, right = line.text.partition("=")
        if not equals or len(left.split()) != 2 or len(right.split()) != 2:
            line.refuse(repr(line.text), "is no rule; wanted is output (frequency) = method pattern")
        self.template, frequency = left.split()
        method, pattern = right.split()
        self.line, self.where = line, line.where
        self.frequency_s, self.method = _frequency(line, frequency), _method(line, method)
        self.pattern = Pattern(line, regex(pattern), anchored=True)
        self._pieces = _template(line, self.template, self.pattern.groups)

    def feed(self, name: str) -> Feed | None:
        """What a name feeds by this rule; None if its pattern does not match."""
        fields = self.pattern.fields(name)
        if fields is None:
            return None
        return Feed(_filled(self._pieces, fields), self.frequency_s, self.method)


def load(folder: Path) -> tuple[AggregationRule, ...]:
    """The rules of a folder's file; raises InvalidConfig."""
    rules = tuple(map(AggregationRule, lines_of(folder / AGGREGATION_FILE)))
    first: dict[str, AggregationRule] = {}
    for rule in rules:
        other = first.setdefault(rule.template, rule)
        if (other.frequency_s, other.method) != (rule.frequency_s, rule.method):
            reason = f"is made every {other.frequency_s} s with {other.method} in line {other.line.number}"
            rule.line.refuse(rule.template, f"{reason}; a name can hold one of them")
    return rules


# --- input patterns ---


def regex(pattern: str) -> str:
    """The regular expression of an input pattern, to be matched from the begin of a name."""
    return r"\.".join(map(_node, pattern.split("."))) + "$"


_CROSSING = re.compile(r"(?P<before>.*?)<<(?P<field>.*?)>>(?P<after>.*)")
_WITHIN = re.compile(r"(?P<before>[^<>]*)<(?P<field>[^>]*)>(?P<after>.*)")


def _node(node: str) -> str:
    """One node's part; only its first field is one, and beside a field a star is the regex's own."""
    for form, field in ((_CROSSING, ".+?"), (_WITHIN, "[^.]+?")):
        if found := form.fullmatch(node):
            return f"{found['before']}(?P<{found['field']}>{field}){found['after']}"
    return "[^.]+" if node == "*" else node.replace("*", "[^.]*")


# --- outputs ---

_FIELD = re.compile(r"<([^<>]*)>")


def _template(line: Line, template: str, groups: Mapping[str, int]) -> list[str]:
    """Text and fields in turn."""
    pieces = _FIELD.split(template)
    for text in pieces[::2]:
        if "<" in text or ">" in text:
            line.refuse(template, "has a < or > that belongs to no <field>")
    for field in pieces[1::2]:
        if field not in groups:
            there = ", ".join(f"<{group}>" for group in groups) or "none"
            line.refuse(template, f"wants <{field}>, which the input pattern does not have; it has {there}")
    return pieces


def _filled(pieces: list[str], fields: Mapping[str, str | None]) -> str:
    # a field that took no part is None, in carbon's words too
    return "".join(str(fields[piece]) if at % 2 else piece for at, piece in enumerate(pieces))


def _frequency(line: Line, text: str) -> int:
    number = text.lstrip("(").rstrip(")")
    if not number.isdecimal() or not 0 < int(number) <= FREQUENCY_S_MAX:
        line.refuse(text, f"is no frequency; wanted are seconds in brackets, (1) to ({FREQUENCY_S_MAX})")
    return int(number)


def _method(line: Line, method: str) -> str:
    try:
        return consolidation.canonical("p99.9" if method == "p999" else method)
    except UnknownAggregation as error:
        line.refuse(method, str(error))


def feeds(rules: Iterator[AggregationRule], name: str) -> dict[str, tuple[AggregationRule, Feed]]:
    """What a name feeds by rules of which each matches it, by output; the first rule for an output holds."""
    found: dict[str, tuple[AggregationRule, Feed]] = {}
    for rule in rules:
        feed = rule.feed(name)
        if feed is not None:
            found.setdefault(feed.output, (rule, feed))
    return found
