"""aggregation-rules.conf: carbon's answers for the same rules and names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carbon.rules import aggregation
from carbon.rules.aggregation import AggregationRule, Feed
from carbon.rules.lines import Line
from carbon.rules.patterns import PatternSet
from storage import consolidation
from storage.errors import InvalidConfig

GOLDEN = Path(__file__).parent / "golden"
CARBON: dict[str, Any] = json.loads((GOLDEN / "aggregation-rules.json").read_text())
METHODS: dict[str, Any] = json.loads((GOLDEN / "aggregation-methods.json").read_text())


def rule(text: str) -> AggregationRule:
    return AggregationRule(Line("/conf/aggregation-rules.conf", 3, text))


def read(folder: Path, text: str) -> tuple[AggregationRule, ...]:
    (folder / "aggregation-rules.conf").write_text(text)
    return aggregation.load(folder)


@pytest.mark.parametrize("carbons", CARBON["rules"], ids=lambda carbons: carbons["rule"])
def test_a_rule_gives_each_name_the_output_that_carbon_gives(carbons: dict[str, Any]) -> None:
    ours = rule(carbons["rule"])
    assert (ours.pattern.text, ours.frequency_s) == (carbons["regex"], carbons["frequency"])
    feeds = {name: ours.feed(name) for name in CARBON["names"]}
    assert {name: feed.output for name, feed in feeds.items() if feed} == carbons["outputs"]


def test_all_rules_together_find_what_carbon_finds() -> None:
    rules = [rule(carbons["rule"]) for carbons in CARBON["rules"]]
    together = PatternSet([one.pattern for one in rules])
    assert not together.warnings
    for name in CARBON["names"]:
        expected = [n for n, carbons in enumerate(CARBON["rules"]) if name in carbons["outputs"]]
        assert list(together.matches(name)) == expected, name


@pytest.mark.parametrize("case", METHODS["cases"], ids=lambda case: f"{len(case['values'])} values")
def test_methods_mean_what_they_mean_to_carbon(case: dict[str, Any]) -> None:
    values = np.array(case["values"], float)[:, np.newaxis]
    for method, answer in case["answers"].items():
        ours = rule(f"o (60) = {method} i").method
        (value,) = consolidation.columns(ours, values).values
        assert value == pytest.approx(answer, rel=1e-12, abs=1e-12), method
        if not method.startswith("p"):
            assert value == answer, method


def test_an_output_is_filled_with_the_fields() -> None:
    one = rule("<env>.applications.<app>.all.requests (60) = sum <env>.applications.<app>.*.requests")
    expected = Feed("prod.applications.shop.all.requests", 60, "sum")
    assert one.feed("prod.applications.shop.web1.requests") == expected
    assert one.feed("prod.applications.shop.web1.requests.p99") is None
    assert one.feed("prod.applications.shop.requests") is None


def test_methods_have_one_name_each() -> None:
    words = ["avg", "p999", "median", "last", "p99.9", "current", "p50"]
    methods = [rule(f"o (1) = {word} i").method for word in words]
    assert methods == ["average", "p99.9", "median", "last", "p99.9", "last", "p50"]


def test_a_long_name_is_taken_apart_alike() -> None:
    one = rule("<a>.<b>.<c> (60) = sum <a>.<<b>>.x<c>.*.*")
    name = "first." + "node." * 300 + "xlast.p.q"
    assert one.feed(name) == Feed("first." + "node." * 300 + "last", 60, "sum")


def test_an_output_is_fed_once_and_by_the_first_rule_that_says_so() -> None:
    rules = [rule("all (60) = sum a.*"), rule("all (10) = max *.b"), rule("<x> (60) = sum a.<x>")]
    fed = aggregation.feeds(iter(rules), "a.b")
    assert list(fed.values()) == [(rules[0], Feed("all", 60, "sum")), (rules[2], Feed("b", 60, "sum"))]


def test_no_file_is_no_rules(tmp_path: Path) -> None:
    assert aggregation.load(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a (60) = sum", ":1: 'a .60. = sum': is no rule"),
        ("a (60) sum b", ":1: .* is no rule"),
        ("a ( 60 ) = sum b", ":1: .* is no rule"),
        ("a (60) = sum b c", ":1: .* is no rule"),
        ("#\na (0) = sum b", r":2: \(0\): is no frequency"),
        ("a (-5) = sum b", ": is no frequency"),
        ("a (1.5) = sum b", ": is no frequency"),
        ("a (99999999999) = sum b", ": is no frequency"),
        ("a (60) = mean b", ":1: mean: no aggregation 'mean'"),
        ("<x>.all (60) = sum <y>.*", r": <x>.all: wants <x>, .* it has <y>"),
        ("<x>.all (60) = sum a.*", ": it has none|; it has none"),
        ("<<x>>.all (60) = sum <<x>>.a", ": has a < or > that belongs to no <field>"),
        ("a (60) = sum <x>.<x>", ": pattern: .* is no regular expression"),
        ("a (60) = sum *-<x>", ": pattern: .* is no regular expression"),
        ("a (60) = sum b\nc (60) = sum b\na (60) = max d", ":3: a: is made every 60 s with sum in line 1"),
        ("a (60) = sum b\na (10) = sum d", ":2: a: is made every 60 s"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=r"aggregation-rules\.conf.*" + words):
        read(tmp_path, text)


def test_one_output_of_several_patterns_is_no_fault(tmp_path: Path) -> None:
    first, second = read(tmp_path, "a (60) = avg b\na (60) = average c\n")
    assert first.feed("b") == second.feed("c")
