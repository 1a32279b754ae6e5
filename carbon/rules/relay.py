"""relay-rules.conf: which destinations a name is relayed to.

Sections are asked in file order: `pattern` (searched for, in either case), `destinations` (host:port[:instance], with
commas between; an IPv6 host in []), `continue = true` to go on asking. Exactly one section has `default = true` in
place of a pattern and is asked last, wherever it stands. As carbon has it, but that a destination which is not among
the configured ones, and a section that says nothing about names, are errors and are not skipped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from carbon.rules.lines import Line
from carbon.rules.patterns import Pattern, PatternSet
from storage.errors import InvalidConfig
from storage.sections import Section, sections, text_of

RELAY_FILE = "relay-rules.conf"
_TRUTH = {
    "1": True,
    "yes": True,
    "true": True,
    "on": True,
    "0": False,
    "no": False,
    "false": False,
    "off": False,
}


class RelayRule(NamedTuple):
    where: str
    section: str
    pattern: Pattern | None  # None: the default
    destinations: tuple[str, ...]
    continues: bool


@dataclass(frozen=True)
class RelayRules:
    """The sections in the order in which they are asked, the default last."""

    rules: Sequence[RelayRule]
    _patterns: PatternSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = [rule.pattern for rule in self.rules if rule.pattern is not None]
        object.__setattr__(self, "_patterns", PatternSet(patterns))

    @classmethod
    def load(cls, folder: Path, destinations: Collection[str] | None = None) -> RelayRules | None:
        """The rules of a folder's file, None without one; raises InvalidConfig.

        `destinations` are those that are configured, None: not known.
        """
        path = folder / RELAY_FILE
        text = text_of(path)
        if text is None:
            return None
        rules = [_rule(section, destinations) for section in sections(str(path), text)]
        defaults = [rule for rule in rules if rule.pattern is None]
        if len(defaults) != 1:
            said = " and ".join(f"[{rule.section}]" for rule in defaults) or "none"
            raise InvalidConfig(
                str(path), 0, "default", f"exactly one section has default = true, not {said}"
            )
        return cls([*(rule for rule in rules if rule.pattern is not None), *defaults])

    def deciding(self, name: str) -> list[RelayRule]:
        """The rules that send a name somewhere, in order."""
        found: list[RelayRule] = []
        for number in (*self._patterns.matches(name), len(self.rules) - 1):
            found.append(self.rules[number])
            if not found[-1].continues:
                break
        return found

    def destinations(self, name: str) -> tuple[str, ...]:
        """Where a name is relayed to, as written, each once."""
        return tuple(dict.fromkeys(to for rule in self.deciding(name) for to in rule.destinations))

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._patterns.warnings


def _rule(section: Section, known: Collection[str] | None) -> RelayRule:
    section.allow_only(["pattern", "destinations", "continue", "default"])
    destinations = _destinations(section, known)
    default = _truth(section, "default")
    if default == ("pattern" in section.options):
        reason = "has either a pattern or default = true"
        raise InvalidConfig(section.path, section.line, f"[{section.name}]", reason)
    where = f"{RELAY_FILE}:{section.line}"
    pattern = None if default else _pattern(section)
    return RelayRule(
        where, section.name, pattern, destinations, pattern is not None and _truth(section, "continue")
    )


def _pattern(section: Section) -> Pattern:
    option = section.option("pattern")
    return Pattern(Line(section.path, option.line, option.value), option.value, flags=re.IGNORECASE)


def _destinations(section: Section, known: Collection[str] | None) -> tuple[str, ...]:
    option = section.option("destinations")
    written = [text.strip() for text in option.value.split(",")]
    for text in written:
        if not text:
            section.refuse(option, f"{option.value!r} has an empty destination")
        if known is not None and text not in known:
            section.refuse(option, f"{text!r} is not among the configured ones: {', '.join(sorted(known))}")
    return tuple(dict.fromkeys(written))


def _truth(section: Section, key: str) -> bool:
    if key not in section.options:
        return False
    option = section.option(key)
    truth = _TRUTH.get(option.value.lower())
    if truth is None:
        section.refuse(option, f"{option.value!r} is neither true nor false")
    return truth
