"""Names, small sets of rules as an operator writes them, and what plain Python makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from carbon.rules.aggregation import Feed
from carbon.rules.ruleset import RuleSet
from storage import naming
from storage.errors import InvalidName

NODES = st.text("abx", min_size=1, max_size=2)
PLAIN = st.lists(NODES, min_size=1, max_size=3).map(".".join)
TAGS = st.sampled_from(["", "", "", ";t=1;s=2", ";s=2;t=1", ";t=0;t=1;s=2", ";t", ";t=~1"])
NAMES = st.builds(str.__add__, PLAIN, TAGS)

_LISTED = st.lists(st.sampled_from(["^a\\.", "b$", "x", "a.*b", "s=2"]), max_size=2, unique=True)
_REWRITES = st.lists(
    st.sampled_from(["^a = z", "b = ", "^x\\. = x..", "(a+)$ = \\1.end", "^b\\.(\\w+) = \\1.b"]),
    max_size=2,
    unique=True,
)
_AGGREGATES = st.lists(
    st.sampled_from(
        [
            "sum.<n> (10) = sum <n>.*",
            "all.<n> (60) = count a.<<n>>",
            "<n>.b (60) = max <n>.*",
            "bad..<n> (10) = sum <n>.b",
            "z.most (20) = max z.*",
        ]
    ),
    max_size=3,
    unique=True,
)


class Book(NamedTuple):
    """The files' lines."""

    black: Sequence[str] = ()
    white: Sequence[str] = ()
    pre: Sequence[str] = ()
    post: Sequence[str] = ()
    aggregates: Sequence[str] = ()
    forward_all: bool = True

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "blacklist.conf").write_text("\n".join(self.black))
        (folder / "whitelist.conf").write_text("\n".join(self.white))
        rewrites = ["[pre]", *self.pre, "[post]", *self.post]
        (folder / "rewrite-rules.conf").write_text("\n".join(rewrites))
        (folder / "aggregation-rules.conf").write_text("\n".join(self.aggregates))

    def load(self, folder: Path) -> RuleSet:
        self.write(folder)
        return RuleSet.load(folder, forward_all=self.forward_all)


BOOKS = st.builds(Book, _LISTED, _LISTED, _REWRITES, _REWRITES, _AGGREGATES, st.booleans())


class Plain(NamedTuple):
    """What becomes of one datapoint's name."""

    name: str | None
    refused: str
    feeds: tuple[Feed, ...]


def plain(rules: RuleSet, name: str) -> Plain:
    try:
        canonical = naming.canonical(name)
    except InvalidName:
        return Plain(None, "bad tag", ())
    (decision,) = rules.decide([canonical])
    return Plain(decision.name, decision.refused, decision.feeds)
