"""whitelist.conf and blacklist.conf: which names come in at all.

One regular expression a line, searched for in the name. The blacklist is asked first and wins; a whitelist that is
empty or absent allows every name. As carbon has it, but that a line which is no pattern is an error and is not
skipped, and that a file that is there is in force (carbon also wants USE_WHITELIST).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carbon.rules.lines import lines_of
from carbon.rules.patterns import Pattern, PatternSet

WHITELIST_FILE, BLACKLIST_FILE = "whitelist.conf", "blacklist.conf"
BLACKLISTED, NOT_WHITELISTED = "blacklisted", "not whitelisted"


@dataclass(frozen=True)
class Filter:
    black: Sequence[Pattern] = ()
    white: Sequence[Pattern] = ()
    _black: PatternSet = field(init=False, repr=False, compare=False)
    _white: PatternSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_black", PatternSet(self.black))
        object.__setattr__(self, "_white", PatternSet(self.white))

    @classmethod
    def load(cls, folder: Path) -> Filter:
        """The lists of a folder; raises InvalidConfig."""
        return cls(_read(folder / BLACKLIST_FILE), _read(folder / WHITELIST_FILE))

    def refusal(self, name: str) -> str:
        """Why a name does not come in; "" if it does."""
        if self.black and self._black.matches(name):
            return BLACKLISTED
        if self.white and not self._white.matches(name):
            return NOT_WHITELISTED
        return ""

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self._black.warnings, *self._white.warnings)

    def rule(self, name: str) -> Pattern | None:
        """The first line that decides about a name; None if no line does."""
        for patterns in (self._black, self._white):
            if found := patterns.matches(name):
                return patterns.patterns[found[0]]
        return None


def _read(path: Path) -> tuple[Pattern, ...]:
    return tuple(Pattern(line, line.text) for line in lines_of(path))
