"""Users' regular expressions, with a bound on what they may cost: `search` and `sub` as Python means them.

Python's matcher tries one way to match after another, and a pattern such as (a+)+b has exponentially many. So
the ways are counted first: how a pattern's quantifiers and alternatives can share a text. What is cheap for a
text of that length runs in `re`; the rest in google-re2, whose time is linear, where it means the same (but that it
looks for no second match where it has found an empty one). What neither can do in bounded time, which is look-around
and back-references on long names, runs in a process of its own that is killed when its time is over.
"""

from __future__ import annotations

import importlib
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from render.errors import ArgumentError
from render.killable import Killable, TookTooLong

PATTERN_CHARS_MAX = 256
REPLACEMENT_CHARS_MAX = 1024
RESULT_CHARS_MAX = 16 * 1024
WAYS_QUICK = 1_000_000  # 5 ms a text; beyond it google-re2 is preferred
WAYS_MAX = 20_000_000  # 0.1 s a text; beyond it google-re2 is needed
WHOLE = "(^.*$)"  # Grafana wraps targets in aliasSub(…, "(^.*$)", "\\1 A")
KILLED_S = 0.5  # what all texts together may take in the process of a pattern that nothing else can do
_TEXT_CHARS_MAX = 1_000_000
_TEXTS_AT_ONCE = 256


def compile(function: str, argument: str, pattern: str) -> Pattern:  # noqa: A001  # read as patterns.compile
    """A user's pattern; raises ArgumentError, naming function and argument, if it cannot be used."""
    if len(pattern) > PATTERN_CHARS_MAX:
        reason = f"a pattern has at most {PATTERN_CHARS_MAX} characters, not {len(pattern)}"
        raise ArgumentError(function, argument, reason)
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ArgumentError(function, argument, f"{pattern!r} is no regular expression: {error}") from None
    return Pattern(function, argument, compiled, _linear(pattern))


class Pattern:
    """A compiled pattern. Its methods raise ArgumentError where a text would take too long."""

    def __init__(
        self, function: str, argument: str, compiled: re.Pattern[str], linear: Any | None = None
    ) -> None:
        self._function, self._argument = function, argument
        self._re, self._re2 = compiled, linear
        shape = _shape(compiled)
        self._max = _longest(shape, WAYS_MAX)
        self._quick = self._max if linear is None else _longest(shape, WAYS_QUICK)
        self._killable: Killable | None = None

    def search(self, text: str) -> object | None:
        """Something that is true, or None if the pattern is found nowhere in the text."""
        if len(text) <= self._quick:
            return self._re.search(text)
        try:
            found: object | None = self._matcher(text).search(text)
        except TookTooLong:
            raise self._too_long(text) from None
        return found

    def picks(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts it is found in."""
        if max(map(len, texts), default=0) <= self._quick:
            search = self._re.search
            return [search(text) is not None for text in texts]
        return [self.search(text) is not None for text in texts]

    def sub(self, replacement: str, text: str) -> str:
        """The text with all that matches replaced; \\1 and \\g<name> stand for groups."""
        matcher = self._re if len(text) <= self._quick else self._matcher(text)
        if matcher is self._re:
            out = self._sub(replacement, text)
        elif self._re2 is not None and matcher is self._re2:
            out = str(self._re2.sub(self._expansion(replacement), text))
        else:
            out = self._killable_sub(replacement, text)
        if len(out) > RESULT_CHARS_MAX:
            reason = f"makes a name of {len(out)} characters; at most {RESULT_CHARS_MAX}"
            raise ArgumentError(self._function, "replace", reason)
        return out

    def sub_all(self, replacement: str, texts: Sequence[str], check: Callable[[], None]) -> list[str]:
        """`sub` of each text; `check` is called now and then, to give up."""
        out: list[str] = []
        whole = self._around_whole(replacement)
        for at in range(0, len(texts), _TEXTS_AT_ONCE):
            check()
            some = texts[at : at + _TEXTS_AT_ONCE]
            if whole is None or any("\n" in text for text in some):
                out += [self.sub(replacement, text) for text in some]
            else:
                out += [text.join(whole) for text in some]
        return out

    def _around_whole(self, replacement: str) -> list[str] | None:
        """What stands around and between the text in a replacement of all of it.

        Joining takes a thirtieth of the time.
        """
        if self._re.pattern != WHOLE or "\0" in replacement:
            return None
        return self._sub(replacement, "\0").split("\0")

    def _sub(self, replacement: str, text: str) -> str:
        if len(replacement) > REPLACEMENT_CHARS_MAX:
            reason = f"has at most {REPLACEMENT_CHARS_MAX} characters, not {len(replacement)}"
            raise ArgumentError(self._function, "replace", reason)
        try:
            return self._re.sub(replacement, text)
        except (re.error, IndexError) as error:
            raise self._bad(replacement, str(error)) from None

    def _killable_sub(self, replacement: str, text: str) -> str:
        self._sub(replacement, "")  # says what is wrong with it
        try:
            return self._matcher(text).sub(replacement, text)  # type: ignore[no-any-return]
        except TookTooLong:
            raise self._too_long(text) from None

    def _matcher(self, text: str) -> Any:
        """What searches a text that `re` might take long for."""
        # google-re2 knows no letters but ASCII's, and its $ does not match before a last line end
        if self._re2 is not None and text.isascii() and "\n" not in text:
            return self._re2
        if len(text) <= self._max:
            return self._re
        if self._killable is None:
            self._killable = Killable(self._re.pattern, KILLED_S)
        return self._killable

    def _too_long(self, text: str) -> ArgumentError:
        reason = (
            f"{self._re.pattern!r} takes more than {KILLED_S:g} s, at last on a name of {len(text)} characters: "
            "use fewer of * + ? | and none within a repeated group, or no look-around and back-references"
        )
        return ArgumentError(self._function, self._argument, reason)

    def _expansion(self, replacement: str) -> Callable[[Any], str]:
        """The replacement as a function of a match, for google-re2, whose own reading of it is another."""
        self._sub(replacement, "")  # says what is wrong with it
        pieces: list[str | int] = []
        at = 0
        while at < len(replacement):
            found = _PIECE.match(replacement, at)
            if found is None:
                raise self._bad(replacement, "only \\1, \\g<name> and \\\\ can be used on names so long")
            plain, backslash, group = found[1], found[2], found[3] or found[4]
            if group:
                pieces.append(int(group) if group.isdigit() else self._re.groupindex[group])
            else:
                pieces.append(plain or backslash[0])
            at = found.end()
        return lambda match: "".join(
            piece if isinstance(piece, str) else match.group(piece) or "" for piece in pieces
        )

    def _bad(self, replacement: str, reason: str) -> ArgumentError:
        return ArgumentError(self._function, "replace", f"{replacement!r} is no replacement: {reason}")


class _Shape(NamedTuple):
    """How many ways a pattern has: a choice of places for its quantifiers, times one for its alternatives."""

    quantifiers: int
    alternatives: int
    nested: bool  # a group is repeated in which there are either: the ways are exponential
    anchored: bool  # matches at the text's begin only


# of a replacement: plain text, an escaped backslash, a group by number (\101 is an octal number) or name
_PIECE = re.compile(r"([^\\]+)|(\\\\)|\\([1-9][0-9]?)(?![0-9])|\\g<(\w+)>")
# of a pattern; what makes a group special after (? counts as plain text
_TOKEN = re.compile(
    r"""(?P<open>\(\??)|(?P<close>\))|(?P<bar>\|)|(?P<repeat>[*+?]|\{(?:\d+(?:,\d*)?|,\d+)\})
    |(?P<plain>\\.|\[\^?\]?(?:[^\]\\]|\\.)*\]|.)""",
    re.DOTALL | re.VERBOSE,
)
_LEADING = re.compile(r"\(*\^")


def _shape(compiled: re.Pattern[str]) -> _Shape:
    leading = _LEADING.match(compiled.pattern)
    anchor = leading.end() if leading and not compiled.flags & re.MULTILINE else 0
    quantifiers = alternatives = 0
    nested = bool(compiled.flags & re.VERBOSE)  # comments could hide anything
    opened: list[tuple[int, bool]] = []  # groups: where they begin, and whether there is a choice in them
    last = (0, False)  # the same of what stands before
    quantified = False  # a second quantifier in a row, as in *?, is no other choice
    for token in _TOKEN.finditer(compiled.pattern):
        kind = token.lastgroup
        if kind == "repeat" and not quantified:
            begin, choice = last
            quantifiers += 1
            nested = nested or (choice and token[0] != "?")
            anchor = 0 if begin < anchor else anchor
        if kind == "bar":
            alternatives += 1
        if kind in ("bar", "repeat"):
            opened = [(begin, True) for begin, _ in opened]
        if kind == "open":
            opened.append((token.start(), False))
        elif kind != "repeat":
            last = opened.pop() if kind == "close" else (token.start(), False)
        quantified = kind == "repeat"
    return _Shape(quantifiers, alternatives, nested, anchor > 0 and alternatives == 0)


def _longest(shape: _Shape, ways: int) -> int:
    """The longest text for which a pattern has at most so many ways; -1 if none is short enough."""
    if shape.nested:
        return -1
    choices = shape.quantifiers + (0 if shape.anchored else 1)

    def count(chars: int) -> int:
        return math.comb(chars + choices, choices) << shape.alternatives

    return bisect_right(range(_TEXT_CHARS_MAX), ways, key=count) - 1


def _linear(pattern: str) -> Any | None:
    """The pattern for google-re2; None if that is not installed, does not take it or means something else."""
    if "[:" in pattern or "{," in pattern:  # classes by name, and plain text, to google-re2
        return None
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        return None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None
