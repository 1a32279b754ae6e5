"""A rule set against carbon's pipeline written plainly, with Python's re."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.rules import ruleset
from carbon.rules.aggregation import AggregationRule, Feed
from carbon.rules.filter import Filter
from carbon.rules.lines import Line
from carbon.rules.patterns import Pattern
from carbon.rules.rewrite import RewriteRule, Rewrites
from carbon.rules.ruleset import Decision, RuleSet
from storage import naming
from storage.errors import InvalidConfig
from tests.effort import tries

FILES = {
    "blacklist.conf": "^bad\\.\n",
    "whitelist.conf": "^web\n^bad\n\\.cpu$\n",
    "rewrite-rules.conf": "[pre]\n^web-(\\d+) = web.\\1\n\n[post]\n\\.cpu$ = .load\n^gone.* =\n",
    "aggregation-rules.conf": "all.<m> (60) = sum web.*.<m>\n# two\nall.max.<m> (10) = max web.*.<m>\n",
    "relay-rules.conf": "[a]\npattern = ^web\ndestinations = h:1\n[d]\ndefault = true\ndestinations = h:2,h:3\n",
}

LISTED = st.lists(st.sampled_from(["^a", r"b\.", "1$", "c", r"(?!a)b"]), max_size=2)
REWRITE = st.lists(
    st.tuples(
        st.sampled_from(["^a", "b", r"\.", r"(\w)\.(\w)", "(a|b)+", "1", r"^(.*)$", r"(?<=a)\.", ""]),
        st.sampled_from(["", "c", r"\g<0>\g<0>", "a.b", "1", ".", ";a=1"]),
    ).filter(lambda rule: rule[0] or rule[1]),
    max_size=4,
)
AGGREGATE = st.lists(
    st.sampled_from(
        [
            "all.<x> (60) = sum <x>.*",
            "<x>.b (10) = max <x>.<y>",
            "a.b (1) = avg *.b",
            "t (60) = p90 a*",
            "<x> (60) = last b.<<x>>",
        ]
    ),
    max_size=3,
    unique=True,
)
NAMES = st.from_regex(r"[abc1]{1,3}(\.[abc1]{1,2}){0,3}", fullmatch=True)


def line(text: str) -> Line:
    return Line("x.conf", 1, text)


def listed(texts: list[str]) -> tuple[Pattern, ...]:
    return tuple(Pattern(line(text), text) for text in texts)


def rewrites(texts: list[tuple[str, str]]) -> tuple[RewriteRule, ...]:
    found = []
    for text, replacement in texts:
        pattern = Pattern(line(text), text)
        found.append(RewriteRule(pattern, pattern.replacement(replacement)))
    return tuple(found)


def plainly(
    name: str, black: list[str], white: list[str], pre: list[tuple[str, str]], rules: list[AggregationRule],
    post: list[tuple[str, str]], forward_all: bool,
) -> tuple[str | None, str, tuple[Feed, ...]]:  # fmt: skip
    """What carbon does, but for our departures: one feed an output, and names that cannot be are refused."""
    came = name
    if any(re.search(text, name) for text in black):
        return None, "blacklisted", ()
    if white and not any(re.search(text, name) for text in white):
        return None, "not whitelisted", ()
    for text, replacement in pre:
        name = re.sub(text, replacement, name)
    feeds: dict[str, Feed] = {}
    for rule in rules:
        if feed := rule.feed(name):
            feeds.setdefault(feed.output, feed)
    if not forward_all or name in feeds:
        return None, "" if feeds else "not aggregated", tuple(feeds.values())
    for text, replacement in post:
        name = re.sub(text, replacement, name)
    if name != came and naming.fault(name.encode()):
        return None, "rewritten to a bad name", ()
    return name, "", tuple(feeds.values())


@given(LISTED, LISTED, REWRITE, AGGREGATE, REWRITE, st.booleans(), st.lists(NAMES, max_size=6))
@settings(max_examples=tries(250))
def test_a_name_takes_the_way_that_carbon_gives_it(
    black: list[str], white: list[str], pre: list[tuple[str, str]], aggregates: list[str],
    post: list[tuple[str, str]], forward_all: bool, names: list[str],
) -> None:  # fmt: skip
    rules = [AggregationRule(line(text)) for text in aggregates]
    ours = RuleSet(
        Filter(listed(black), listed(white)),
        Rewrites(rewrites(pre), rewrites(post)),
        rules,
        forward_all=forward_all,
    )
    expected = [plainly(name, black, white, pre, rules, post, forward_all) for name in names]
    assert [decision[:3] for decision in ours.decide(names)] == expected
    touched = ours.touched(names)
    for at, name in enumerate(names):
        assert at in touched or expected[at] == (name, "", ())
        assert touched.get(at) != (name, "", (), ())


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    return tmp_path


def test_no_folder_and_an_empty_one_have_no_rules(tmp_path: Path) -> None:
    for rules in (RuleSet.load(None), RuleSet.load(tmp_path), RuleSet.load(tmp_path, relay=True)):
        assert rules.empty
        assert not rules.changed()
        assert rules.decide(["a", "b"]) == [Decision("a", "", (), ()), Decision("b", "", (), ())]
        assert rules.explain("a") == ["stored as a"]


def test_a_set_with_any_rule_is_not_empty(conf: Path) -> None:
    for file in ("blacklist.conf", "whitelist.conf", "rewrite-rules.conf", "aggregation-rules.conf"):
        folder = conf / file.removesuffix(".conf")
        folder.mkdir()
        (folder / file).write_text(FILES[file])
        assert not RuleSet.load(folder).empty, file
    assert not RuleSet.load(None, forward_all=False).empty


def test_the_files_of_a_folder_are_read(conf: Path) -> None:
    decided = RuleSet.load(conf).decide(["web-1.cpu", "bad.cpu", "db.load", "gone.cpu", "webs"])
    fed = (Feed("all.cpu", 60, "sum"), Feed("all.max.cpu", 10, "max"))
    assert [decision[:3] for decision in decided] == [
        ("web.1.load", "", fed),
        (None, "blacklisted", ()),
        (None, "not whitelisted", ()),
        (None, "rewritten to a bad name", ()),
        ("webs", "", ()),
    ]


def test_what_decided_is_explained_with_file_and_line(conf: Path) -> None:
    rules = RuleSet.load(conf, relay=True)
    assert rules.explain("web-1.cpu") == [
        "whitelist.conf:1: whitelisted by ^web",
        "rewrite-rules.conf:2: renamed to web.1.cpu",
        "aggregation-rules.conf:1: feeds all.cpu, sum every 60 s",
        "aggregation-rules.conf:3: feeds all.max.cpu, max every 10 s",
        "rewrite-rules.conf:5: renamed to web.1.load",
        "stored as web.1.load",
        "relay-rules.conf:1: [a] relays web.1.load to h:1",
        "relay-rules.conf:4: [d] relays all.cpu to h:2, h:3",
        "relay-rules.conf:4: [d] relays all.max.cpu to h:2, h:3",
    ]
    assert rules.explain("bad.cpu") == ["blacklist.conf:1: blacklisted by ^bad\\.", "refused: blacklisted"]
    assert rules.explain("db.load") == ["refused: not whitelisted"]


def test_without_forward_all_only_aggregates_go_on(conf: Path) -> None:
    rules = RuleSet.load(conf, forward_all=False)
    taken, missed = rules.decide(["web-1.cpu", "webs"])
    assert (taken.name, taken.refused, len(taken.feeds)) == (None, "", 2)
    assert (missed.name, missed.refused) == (None, "not aggregated")
    assert rules.explain("web-1.cpu")[-1] == "not stored itself: its aggregates are"


def test_relay_rules_are_read_when_asked_for(conf: Path) -> None:
    assert RuleSet.load(conf).relay is None
    with pytest.raises(InvalidConfig, match="relay-rules"):
        RuleSet.load(conf, relay=True, destinations=["h:1"])
    rules = RuleSet.load(conf, relay=True, destinations=["h:1", "h:2", "h:3"])
    assert rules.relay is not None
    assert rules.relay.destinations("db") == ("h:2", "h:3")


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_written_made_or_removed_is_a_change(conf: Path, file: str) -> None:
    rules = RuleSet.load(conf, relay=True)
    assert not rules.changed()
    (conf / file).write_text(FILES[file] + "# more\n")
    assert rules.changed()
    (conf / file).unlink()
    assert rules.changed()
    without = RuleSet.load(conf, relay=True)
    assert not without.changed()
    (conf / file).write_text(FILES[file])
    assert without.changed()
    assert not RuleSet.load(conf).changed()


def test_a_wrong_file_or_folder_raises(conf: Path) -> None:
    with pytest.raises(InvalidConfig, match="is no folder"):
        RuleSet.load(conf / "none")
    (conf / "aggregation-rules.conf").write_text("nonsense\n")
    with pytest.raises(InvalidConfig, match=r"aggregation-rules\.conf:1"):
        RuleSet.load(conf)


def test_names_that_grow_without_end_are_refused() -> None:
    grow = rewrites([("^(.*)$", r"\1\1")] * 1000)
    (decision,) = RuleSet(rewrites=Rewrites(grow)).decide(["ab"])
    assert (decision.name, decision.refused) == (None, "rewritten to a bad name")
    assert len(decision.steps) == 12


def test_slow_patterns_are_told_of_once_each(conf: Path) -> None:
    (conf / "blacklist.conf").write_text("(?=x)y\n")
    (conf / "rewrite-rules.conf").write_text("[pre]\n(a)\\1 = b\n")
    (conf / "aggregation-rules.conf").write_text("a (60) = sum (?!x).*\n")
    (conf / "relay-rules.conf").write_text(FILES["relay-rules.conf"].replace("^web", "(?<!a)b"))
    said = RuleSet.load(conf, relay=True).warnings
    assert [warning.split(": ")[0].split("/")[-1] for warning in said] == [
        "blacklist.conf:1", "rewrite-rules.conf:2", "aggregation-rules.conf:1", "relay-rules.conf:2",
    ]  # fmt: skip


@given(st.text("ab.;=é\x7f !~-", max_size=12))
def test_the_quick_look_at_a_name_agrees_with_naming(name: str) -> None:
    assert ruleset._is_bad(name) == bool(naming.fault(name.encode()))
    assert ruleset._is_bad("a" * 5000)
