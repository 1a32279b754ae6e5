"""relay-rules.conf against a plain walk through its sections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.rules.lines import Line
from carbon.rules.patterns import Pattern
from carbon.rules.relay import RelayRule, RelayRules
from storage.errors import InvalidConfig
from tests.carbon.rules.test_linear import names

GOOD = """\
# the rest
[default]
default = true
destinations = 127.0.0.1:2004:a, [::1]:2104:b

[web]
pattern = ^web\\d
destinations = h1:2004, h1:2004,h2:2004:a
continue = Yes
[cpu]
pattern = CPU$
destinations = h2:2004:a,h3:2004
"""


def read(folder: Path, text: str, *, known: set[str] | None = None) -> RelayRules:
    (folder / "relay-rules.conf").write_text(text)
    rules = RelayRules.load(folder, known)
    assert rules is not None
    return rules


sections = st.lists(
    st.tuples(
        st.sampled_from(["^A", "b$", r"\d", "(?<!x)a", "é", "K"]),
        st.lists(st.sampled_from("pqrs"), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=6,
)


@given(sections, names)
def test_sections_are_walked_in_order_until_one_does_not_continue(
    written: list[tuple[str, list[str], bool]], name: str
) -> None:
    line = Line("relay-rules.conf", 1, "")
    rules = [
        RelayRule("", "s", Pattern(line, text, flags=re.IGNORECASE), tuple(to), goes_on)
        for text, to, goes_on in written
    ]
    expected: list[str] = []
    for text, to, goes_on in [*written, ("", ["z"], False)]:
        if re.search(text, name, re.IGNORECASE):
            expected += [one for one in to if one not in expected]
            if not goes_on:
                break
    assert RelayRules([*rules, RelayRule("", "d", None, ("z",), False)]).destinations(name) == tuple(
        dict.fromkeys(expected)
    )


def test_destinations_stay_as_written_each_once(tmp_path: Path) -> None:
    rules = read(tmp_path, GOOD)
    assert rules.destinations("web1.load") == ("h1:2004", "h2:2004:a", "127.0.0.1:2004:a", "[::1]:2104:b")
    assert rules.destinations("web1.cpu") == ("h1:2004", "h2:2004:a", "h3:2004")
    assert rules.destinations("other") == ("127.0.0.1:2004:a", "[::1]:2104:b")
    assert [rule.where for rule in rules.deciding("WEB1.cpu")] == [
        "relay-rules.conf:6",
        "relay-rules.conf:10",
    ]


def test_a_destination_that_is_not_configured_is_an_error(tmp_path: Path) -> None:
    known = {"127.0.0.1:2004:a", "[::1]:2104:b", "h1:2004", "h2:2004:a"}
    with pytest.raises(InvalidConfig, match=r"conf:12: destinations: 'h3:2004' is not among the configured"):
        read(tmp_path, GOOD, known=known)
    assert read(tmp_path, GOOD, known=known | {"h3:2004"})


def test_no_file_is_no_rules(tmp_path: Path) -> None:
    assert RelayRules.load(tmp_path) is None


DEFAULT = "[d]\ndefault = true\ndestinations = a:1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":0: default: exactly one section has default = true, not none"),
        ("[a]\npattern = b\ndestinations = c:1\n", ": default: exactly one"),
        (DEFAULT + DEFAULT.replace("[d]", "[e]"), r"exactly one .* not \[d\] and \[e\]"),
        (DEFAULT + "[e]\ndestinations = c:1\n", r":4: \[e\]: has either a pattern or default = true"),
        (DEFAULT + "[e]\ndefault = no\ndestinations = c:1\n", r":4: \[e\]: has either"),
        (DEFAULT + "[e]\ndefault = true\npattern = x\ndestinations = c:1\n", r":4: \[e\]: has either"),
        (DEFAULT + "[e]\npattern = x\n", ":4: destinations: is missing"),
        (
            DEFAULT + "[e]\npattern = x\ndestinations = a:1,,b:1\n",
            ":6: destinations: .* an empty destination",
        ),
        (DEFAULT + "[e]\npattern = (\ndestinations = a:1\n", ":5: pattern: .* is no regular expression"),
        (
            DEFAULT + "[e]\npattern = x\ncontinue = maybe\ndestinations = a:1\n",
            ":6: continue: 'maybe' is neither",
        ),
        (DEFAULT + "[e]\npattern = x\nservers = a:1\ndestinations = a:1\n", ":6: servers: is unknown"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=r"relay-rules\.conf.*" + words):
        read(tmp_path, text)
