"""The patterns of an operator's rules files: Python's meaning, in linear time wherever google-re2 can.

Names come from anyone, and Python's matcher can take exponential time for a long one. So google-re2 decides which
patterns a name matches, all of them in one pass; what a match consists of is then asked of `re` where it has few
ways to try, else of google-re2. Only what google-re2 lacks (look-around, back-references) always runs in `re`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]  # has no types

from carbon.rules.linear import Linear, translate
from carbon.rules.lines import Line
from storage.naming import NAME_BYTES_MAX

PATTERN_CHARS_MAX = 16 * 1024  # lists of hosts have some thousand
REPLACEMENT_CHARS_MAX = 1024
WAYS_MAX = 1_000_000  # 5 to 10 ms
_SET_BYTES_MAX = 64 << 20  # 1,000 patterns with .* in them, asked of new names: with 8 MiB ten times slower


class Pattern:
    """One pattern and where it stands; raises InvalidConfig if it is none.

    `anchored` patterns must match from the name's begin, as re.match has it; others are searched for.
    """

    def __init__(self, line: Line, text: str, *, flags: int = 0, anchored: bool = False) -> None:
        self.line, self.text, self.where = line, text, line.where
        if len(text) > PATTERN_CHARS_MAX:
            line.refuse("pattern", f"has {len(text)} characters; at most {PATTERN_CHARS_MAX}")
        try:
            self._re = re.compile(text, flags)
            linear = translate(text, flags)
        except (re.error, OverflowError, RecursionError) as error:
            line.refuse("pattern", f"{text!r} is no regular expression: {error}")
        self.linear = linear.text and (rf"\A(?:{linear.text})" if anchored else linear.text)
        self.letters, self._groups = linear.letters, linear.groups
        self._substitutes = linear.groups and not linear.nullable
        self._find = self._re.match if anchored else self._re.search
        self._re2: Any = _compiled(self.linear) if self.linear else None
        self._quick = _longest(linear, anchored)
        self.warning = "" if self._re2 else self._warning(linear.reason or "too large a pattern")

    @property
    def groups(self) -> Mapping[str, int]:
        """The named groups and their numbers."""
        return self._re.groupindex

    def found(self, name: str) -> bool:
        """Whether `re` finds it in the name."""
        return self._find(name) is not None

    def fields(self, name: str) -> dict[str, str | None] | None:
        """What its named groups hold of the name; None if it does not match."""
        if not (self._groups and self._is_long(name)):
            match = self._find(name)
            return None if match is None else match.groupdict()
        other = self._re2.search(name)
        return other and {field: other.group(number) for field, number in self._re.groupindex.items()}

    def sub(self, replacement: Replacement, name: str) -> str:
        """The name with all that matches replaced, as re.sub does it."""
        if not (self._substitutes and self._is_long(name)):
            return self._re.sub(replacement.text, name)
        data, out, at = name.encode(), [], 0
        while (match := self._re2.search(data, at)) is not None:
            start, at_next = match.span()
            out += [data[at:start], replacement.expand(match)]
            at = at_next
        return b"".join([*out, data[at:]]).decode()

    def replacement(self, text: str) -> Replacement:
        return Replacement(self.line, self._re, text)

    def _is_long(self, name: str) -> bool:
        """Whether `re` might take long for it, and google-re2 says the same."""
        return len(name) > self._quick and bool(self._re2) and (not self.letters or name.isascii())

    def _warning(self, reason: str) -> str:
        return f"{self.line.path}:{self.line.number}: {self.text!r} has {reason}: slower, asked one by one"


class Replacement:
    """What stands in for a match: text with \\1, \\g<1>, \\g<name>; raises InvalidConfig if it is none."""

    def __init__(self, line: Line, pattern: re.Pattern[str], text: str) -> None:
        self.text = text
        if len(text) > REPLACEMENT_CHARS_MAX:
            line.refuse("replacement", f"has {len(text)} characters; at most {REPLACEMENT_CHARS_MAX}")
        try:
            pattern.sub(text, "")
        except (re.error, IndexError) as error:
            line.refuse("replacement", f"{text!r} is none for {pattern.pattern!r}: {error}")
        self._pieces: list[bytes | int] = []
        at = 0
        while at < len(text):
            piece = _PIECE.match(text, at)
            if piece is None:
                reason = (
                    f"in {text!r} only \\1, \\g<name> and \\\\ can be used, no blank or control character"
                )
                line.refuse("replacement", reason)
            self._pieces.append(_piece(piece, pattern))
            at = piece.end()

    def expand(self, match: Any) -> bytes:
        """The replacement of google-re2's match in bytes."""
        return b"".join(p if isinstance(p, bytes) else match.group(p) or b"" for p in self._pieces)


class PatternSet:
    """Tells which of many patterns a name matches."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)
        together = [
            number for number, pattern in enumerate(patterns) if pattern.linear and not pattern.warning
        ]
        self._sets = _sets([(number, str(patterns[number].linear)) for number in together], _SET_BYTES_MAX)
        self._singly = [(n, pattern.found) for n, pattern in enumerate(patterns) if n not in set(together)]
        self._letters = {n: patterns[n].found for n in together if patterns[n].letters}
        # the usual case in one call: no other way to ask, and the set's numbers are ours
        self._only = self._sets[0][0] if len(self._sets) == 1 and not self._singly else None

    def __len__(self) -> int:
        return len(self.patterns)

    def matches(self, name: str) -> Sequence[int]:
        """The numbers of the patterns that match a name, in order."""
        if self._only is not None and name.isascii():
            found = self._only(name)
            if found is None:
                return ()
            return sorted(found) if len(found) > 1 else found
        return self._matches(name)

    def _matches(self, name: str) -> list[int]:
        found = [numbers[at] for ask, numbers in self._sets for at in ask(name) or ()]
        singly = self._singly
        if not name.isascii():
            found = [number for number in found if number not in self._letters]
            singly = [*singly, *self._letters.items()]
        return sorted([*found, *(number for number, search in singly if search(name))])

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(pattern.warning for pattern in self.patterns if pattern.warning)


# --- google-re2 ---

_Ask = Callable[[str], list[int] | None]


def _options(bytes_max: int) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = bytes_max
    return options


def _compiled(text: str) -> Any | None:
    try:
        return re2.compile(text, _options(8 << 20))
    except re2.error:
        return None


def _sets(patterns: Sequence[tuple[int, str]], bytes_max: int) -> list[tuple[_Ask, list[int]]]:
    """Sets of as many patterns as find room, each with the patterns' numbers."""
    if not patterns:
        return []
    whole = re2.Set.SearchSet(_options(bytes_max))
    for _, text in patterns:
        whole.Add(text)
    try:
        whole.Compile()  # tries it out too: a set with no room to match would find nothing and not say so
    except re2.error:
        return _parted(patterns, bytes_max)
    return [(whole.Match, [number for number, _ in patterns])]


def _parted(patterns: Sequence[tuple[int, str]], bytes_max: int) -> list[tuple[_Ask, list[int]]]:
    if len(patterns) == 1:
        return _sets(patterns, bytes_max * 2)  # it compiled in less when it was alone
    half = len(patterns) // 2
    return _sets(patterns[:half], bytes_max) + _sets(patterns[half:], bytes_max)


def _longest(linear: Linear, anchored: bool) -> int:
    """The longest name for which `re` has at most WAYS_MAX ways to match a pattern; -1 if any has more."""
    if linear.nested:
        return -1
    choices = linear.repeats + (not anchored)

    def ways(chars: int) -> int:
        return math.comb(chars + choices, choices) * linear.choices

    return bisect_right(range(NAME_BYTES_MAX + 1), WAYS_MAX, key=ways) - 1


# --- replacements ---

# plain text, a backslash that stays or is doubled, a group by number (no octal one) or by name
_PIECE = re.compile(
    r"(?P<text>[^\\\x00-\x20\x7f-\x9f]+)|(?P<slash>\\\\)|(?P<kept>\\[^\w\s\\])"
    r"|\\(?P<number>[1-9][0-9]?)(?![0-9])|\\g<(?P<group>\w+)>"
)


def _piece(piece: re.Match[str], pattern: re.Pattern[str]) -> bytes | int:
    group = piece["number"] or piece["group"]
    if group is None:
        return b"\\" if piece["slash"] else (piece["text"] or piece["kept"]).encode()
    return int(group) if group.isdecimal() else pattern.groupindex[group]
