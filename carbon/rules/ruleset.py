"""All of an operator's rules as one value: what becomes of each name, and which line of which file says so.

A file that is absent has no rules. A set never changes: when `changed()`, load another one; if that raises
InvalidConfig, this one goes on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from carbon.rules import aggregation, rewrite
from carbon.rules.aggregation import AGGREGATION_FILE, AggregationRule, Feed
from carbon.rules.filter import BLACKLIST_FILE, WHITELIST_FILE, Filter
from carbon.rules.patterns import PatternSet
from carbon.rules.relay import RELAY_FILE, RelayRules
from carbon.rules.rewrite import REWRITE_FILE, RewriteRule, Rewrites
from storage import naming
from storage.errors import InvalidConfig
from storage.sections import Stamp, stamp

BAD_NAME, NOT_AGGREGATED = "rewritten to a bad name", "not aggregated"
_FILES = (BLACKLIST_FILE, WHITELIST_FILE, REWRITE_FILE, AGGREGATION_FILE)


class Step(NamedTuple):
    """What one rule did to a name."""

    where: str  # file:line
    words: str


class Decision(NamedTuple):
    """What becomes of a name.

    `name` is what it is stored and relayed under: None if it is refused, or if only its aggregates are. `refused` is
    the reason, one of a small fixed set, "" if there is none; what is refused feeds nothing.
    """

    name: str | None
    refused: str
    feeds: tuple[Feed, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class RuleSet:
    """`forward_all`: names go on whether or not they feed an aggregate; without it only the aggregates do."""

    filter: Filter = field(default_factory=Filter)
    rewrites: Rewrites = field(default_factory=Rewrites)
    aggregations: Sequence[AggregationRule] = ()
    relay: RelayRules | None = None
    forward_all: bool = True
    folder: Path | None = None
    fingerprint: tuple[Stamp | None, ...] = ()
    _patterns: PatternSet = field(init=False, repr=False, compare=False)  # pre, aggregation, post in turn

    def __post_init__(self) -> None:
        patterns = [rule.pattern for rule in self.rewrites.pre]
        patterns += [rule.pattern for rule in self.aggregations]
        patterns += [rule.pattern for rule in self.rewrites.post]
        object.__setattr__(self, "_patterns", PatternSet(patterns))

    @classmethod
    def load(
        cls,
        folder: Path | None,
        *,
        forward_all: bool = True,
        relay: bool = False,
        destinations: Collection[str] | None = None,
    ) -> RuleSet:
        """The rules of a folder's files, None: none; raises InvalidConfig.

        relay-rules.conf is read only for `relay`; `destinations` are those that are configured, None: not known.
        """
        if folder is None:
            return cls(forward_all=forward_all)
        if not folder.is_dir():
            raise InvalidConfig(str(folder), 0, "folder", "is no folder; without one there are no rules")
        files = (*_FILES, RELAY_FILE) if relay else _FILES
        # taken before reading: a file that is written meanwhile then counts as changed
        fingerprint = tuple(stamp(folder / file) for file in files)
        return cls(
            Filter.load(folder),
            rewrite.load(folder),
            aggregation.load(folder),
            RelayRules.load(folder, destinations) if relay else None,
            forward_all,
            folder,
            fingerprint,
        )

    def changed(self) -> bool:
        """If a file was written, made or removed since it was read; a stat call for each."""
        return self.stamps() != self.fingerprint

    def stamps(self) -> tuple[Stamp | None, ...]:
        """The fingerprint that its files have now."""
        if self.folder is None:
            return self.fingerprint
        files = (*_FILES, RELAY_FILE)[: len(self.fingerprint)]
        return tuple(stamp(self.folder / file) for file in files)

    @property
    def empty(self) -> bool:
        """Whether every name goes on as it is and feeds nothing; where it is relayed to is another matter."""
        return self.forward_all and not (self.filter.black or self.filter.white or len(self._patterns))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should be told once, when the rules are loaded."""
        relayed = self.relay.warnings if self.relay else ()
        return (*self.filter.warnings, *self._patterns.warnings, *relayed)

    def decide(self, names: Sequence[str]) -> list[Decision]:
        """What becomes of each name; the names are valid."""
        touched = self.touched(names)
        return [touched.get(at) or Decision(name, "", (), ()) for at, name in enumerate(names)]

    def touched(self, names: Sequence[str]) -> dict[int, Decision]:
        """What becomes of those names, by their places, which the rules touch: the others go on as they are."""
        found: dict[int, Decision] = {}
        if self.empty:
            return found
        refusal, matches = self.filter.refusal, self._patterns.matches
        for at, name in enumerate(names):
            if refused := refusal(name):
                found[at] = Decision(None, refused, (), ())
            elif (numbers := matches(name)) or not self.forward_all:
                decision = self._follow(name, numbers)
                if decision != (name, "", (), ()):
                    found[at] = decision
        return found

    def _follow(self, name: str, found: Sequence[int]) -> Decision:
        """What becomes of a name in which these patterns were found."""
        steps: list[Step] = []
        pre, post = len(self.rewrites.pre), len(self.rewrites.pre) + len(self.aggregations)
        seen, found = self._rewrite(name, found, self.rewrites.pre, 0, steps)
        takers = (self.aggregations[number - pre] for number in found if pre <= number < post)
        fed = aggregation.feeds(takers, seen)
        steps += [Step(rule.where, _fed_words(feed)) for rule, feed in fed.values()]
        feeds = tuple(feed for _, feed in fed.values())
        if not self.forward_all or seen in fed:
            return Decision(None, "" if fed else NOT_AGGREGATED, feeds, tuple(steps))
        stored, _ = self._rewrite(seen, found, self.rewrites.post, post, steps)
        if stored != name and _is_bad(stored):
            return Decision(None, BAD_NAME, (), tuple(steps))
        return Decision(stored, "", feeds, tuple(steps))

    def _rewrite(
        self, name: str, found: Sequence[int], rules: Sequence[RewriteRule], first: int, steps: list[Step]
    ) -> tuple[str, Sequence[int]]:
        """The name after those of `rules` that match it, and the patterns found in what it has become.

        `found` are the patterns found in the name as it is; the number of the first rule's is `first`.
        """
        asked, last = first, first + len(rules)
        while (number := next((n for n in found if asked <= n < last), None)) is not None:
            asked = number + 1
            became = rules[number - first].apply(name)
            if became == name:
                continue
            name = became
            steps.append(Step(rules[number - first].pattern.where, f"renamed to {name}"))
            # names that grow without end must not
            found = self._patterns.matches(name) if len(name) <= naming.NAME_BYTES_MAX else ()
        return name, found

    def explain(self, name: str) -> list[str]:
        """What becomes of a name and which rule says so, in order, for the operator to read."""
        return list(self._explain(name))

    def _explain(self, name: str) -> Iterator[str]:
        (decision,) = self.decide([name])
        if rule := self.filter.rule(name):
            refused = self.filter.refusal(name)
            yield f"{rule.where}: {refused or 'whitelisted'} by {rule.text}"
        yield from (f"{step.where}: {step.words}" for step in decision.steps)
        if decision.refused:
            yield f"refused: {decision.refused}"
        elif decision.name is None:
            yield "not stored itself: its aggregates are"
        else:
            yield f"stored as {decision.name}"
        if self.relay is not None:
            for relayed in (decision.name, *(feed.output for feed in decision.feeds)):
                yield from () if relayed is None else _relay_words(self.relay, relayed)


def _fed_words(feed: Feed) -> str:
    return f"feeds {feed.output}, {feed.method} every {feed.frequency_s} s"


def _relay_words(relay: RelayRules, name: str) -> Iterator[str]:
    for rule in relay.deciding(name):
        yield f"{rule.where}: [{rule.section}] relays {name} to {', '.join(rule.destinations)}"


# nodes of visible ASCII, no tags: good names without asking further
_PLAIN = re.compile(r"[!-\-/-:<-~]+(?:\.[!-\-/-:<-~]+)*")


def _is_bad(name: str) -> bool:
    if len(name) <= naming.NAME_BYTES_MAX and _PLAIN.fullmatch(name):
        return False
    return bool(naming.fault(name.encode()))
