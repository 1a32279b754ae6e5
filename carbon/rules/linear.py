"""A Python pattern as google-re2 writes it: the same answer in linear time, or no translation at all.

Python's own parser reads the pattern, and the tree it gives is written anew: nothing that both understand, but
differently (`{,3}`, `[[:alpha:]]`, `\\11`, `\\Z`), can slip through. Names have no control characters, so that line
ends are of no account. What differs with letters and digits beyond ASCII is marked, not translated.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_REPEAT_MAX = 1000  # google-re2 takes no more


class Linear(NamedTuple):
    """`text` finds what the pattern finds, its groups counted alike; None: google-re2 cannot, for `reason`."""

    text: str | None
    reason: str
    letters: bool = False  # with names beyond ASCII the answer may differ: digits, case, word boundaries
    groups: bool = True  # the groups' places are Python's too
    nullable: bool = False  # may match nothing, after which Python goes on by a rule of its own
    repeats: int = 0  # those of no fixed number: each multiplies the ways in which Python tries to match
    choices: int = 1  # of alternatives: these multiply them too
    nested: bool = False  # a repeat in a repeat: the ways are exponential


def translate(pattern: str, flags: int = 0) -> Linear:
    """The translation of a pattern that `re.compile(pattern, flags)` takes."""
    # the module is Python's own, without a promise: what we do not know in its tree is not translated
    tree: Any = importlib.import_module("re._parser").parse(pattern, flags)
    writer = _Writer()
    try:
        text = writer.whole(tree)
    except _NoTranslationError as error:
        return Linear(None, str(error))
    return Linear(
        text,
        "",
        letters=writer.letters,
        groups=writer.groups,
        nullable=tree.getwidth()[0] == 0,
        repeats=writer.repeats,
        choices=writer.choices,
        nested=writer.nested,
    )


class _NoTranslationError(Exception):
    """Says what google-re2 does not have."""


class _Writer:
    """Writes a tree of Python's parser; notes on the way what else must be known of it."""

    def __init__(self) -> None:
        self.letters = self.nested = False
        self.groups = True
        self.repeats, self.choices = 0, 1
        self._either_case = self._beyond_ascii = False

    def whole(self, tree: Any) -> str:
        text = self._flagged(self.sequence(tree), tree.state.flags, 0)
        if self._either_case and self._beyond_ascii:  # Python takes ſ for an s
            raise _NoTranslationError("letters beyond ASCII in either case")
        return text

    def sequence(self, tree: Any) -> str:
        return "".join(self._node(str(op), value) for op, value in tree)

    def _node(self, op: str, value: Any) -> str:
        write = _NODES.get(op)
        if write is None:
            raise _NoTranslationError(_MISSING.get(op, f"what Python calls {op.lower()}"))
        return write(self, value)

    def literal(self, code: int) -> str:
        return self._character(code)

    def not_literal(self, code: int) -> str:
        return f"[^{self._character(code)}]"

    def any(self, _: None) -> str:
        return "(?s:.)"

    def one_of(self, members: list[tuple[Any, Any]]) -> str:
        return f"[{''.join(self._member(str(op), value) for op, value in members)}]"

    def _member(self, op: str, value: Any) -> str:
        if op == "NEGATE":
            return "^"
        if op == "RANGE":
            return f"{self._character(value[0])}-{self._character(value[1])}"
        if op == "CATEGORY":
            self.letters = True
            return _CATEGORIES[str(value)]
        if op == "LITERAL":
            return self._character(value)
        raise _NoTranslationError(f"what Python calls {op.lower()}")

    def branch(self, value: tuple[None, list[Any]]) -> str:
        self.choices *= len(value[1])
        return f"(?:{'|'.join(self.sequence(item) for item in value[1])})"

    def group(self, value: tuple[int | None, int, int, Any]) -> str:
        number, added, removed, tree = value
        text = self._flagged(self.sequence(tree), added, removed)
        return f"(?:{text})" if number is None else f"({text})"

    def _flagged(self, text: str, added: int, removed: int) -> str:
        if not (added | removed) & re.IGNORECASE:
            return text
        self.letters = self._either_case = True
        return f"(?{'' if added & re.IGNORECASE else '-'}i:{text})"

    def greedy(self, value: tuple[int, Any, Any]) -> str:
        low, high, tree = int(value[0]), int(value[1]), value[2]
        bounded = high <= _REPEAT_MAX
        if low > _REPEAT_MAX or (not bounded and str(value[1]) != "MAXREPEAT"):
            raise _NoTranslationError(f"more than {_REPEAT_MAX} repeats")
        before = self.repeats, self.choices
        text = self.sequence(tree)
        if high > 1:
            self.nested = self.nested or before != (self.repeats, self.choices)
            # what each of them leaves in a group after a turn that took nothing is not the same
            self.groups = self.groups and tree.getwidth()[0] > 0
        self.repeats += low != high
        return f"(?:{text}){{{low},{high if bounded else ''}}}"

    def lazy(self, value: tuple[int, Any, Any]) -> str:
        return self.greedy(value) + "?"

    def place(self, value: Any) -> str:
        name = str(value)
        self.letters = self.letters or name.endswith("BOUNDARY")
        return _PLACES[name]

    def _character(self, code: int) -> str:
        if 0xD800 <= code < 0xE000:
            raise _NoTranslationError("half a character")
        self._beyond_ascii = self._beyond_ascii or code > 127
        return chr(code) if chr(code).isalnum() else f"\\x{{{code:x}}}"


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_PLACES = {
    "AT_BEGINNING": r"\A",
    "AT_BEGINNING_STRING": r"\A",
    "AT_END": r"\z",
    "AT_END_STRING": r"\z",
    "AT_BOUNDARY": r"\b",
    "AT_NON_BOUNDARY": r"\B",
}
_NODES: dict[str, Callable[[_Writer, Any], str]] = {
    "LITERAL": _Writer.literal,
    "NOT_LITERAL": _Writer.not_literal,
    "ANY": _Writer.any,
    "IN": _Writer.one_of,
    "BRANCH": _Writer.branch,
    "SUBPATTERN": _Writer.group,
    "MAX_REPEAT": _Writer.greedy,
    "MIN_REPEAT": _Writer.lazy,
    "AT": _Writer.place,
}
_MISSING = {
    "ASSERT": "look-around",
    "ASSERT_NOT": "look-around",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a back-reference",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}
