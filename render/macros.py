"""Macros: the operator's own short names for targets, put in before a target is parsed. carbonapi's `define`.

    [functions.define]
    perMinute = "perSecond({{.argString}})|scale(60)"
    ratio = "divideSeries(sum({{index .args 0}}), sum({{index .args 1}}))"
    errors = "app.*.errors.{{index .kwargs \"code\"}}"

`perMinute(a.b)` and `a.b|perMinute()` are then `perSecond(a.b)|scale(60)`. `{{.argString}}` stands for all
arguments, as they are written; `{{.args}}` and `{{.kwargs}}` for those without and with a name, and
`{{index .args 0}}` or `{{index .kwargs "code"}}` for one. A macro may use others, but not itself.

Only calls are macros, not plain paths (carbonapi takes both), and what stands in quotes is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from render.errors import ArgumentError
from render.target import DEFAULT_LIMITS

MACROS_MAX = 1000
TEMPLATE_CHARS_MAX = 4096
_WITHIN_MAX = 16  # macros within macros

_NAME = r"[A-Za-z_][A-Za-z0-9_]*+"
_MACRO = re.compile(_NAME)
_CALL = re.compile(rf"\s*+({_NAME})\s*+\(")
_NAMED = re.compile(rf"\s*+({_NAME})\s*+=")
# what is passed over as it is: quoted texts, escaped characters, and all that has no meaning here
_PLAIN = re.compile(r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\\.|[^(){},|"'\\])++""", re.DOTALL)
_PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_WANTED = re.compile(
    r"""\.(?P<all>argString|args|kwargs)|index\s+(?:\.args\s+(?P<at>[0-9]{1,3})|\.kwargs\s+["`](?P<name>\w+)["`])"""
)
_PLACES = '{{.argString}}, {{.args}}, {{.kwargs}}, {{index .args 0}}, {{index .kwargs "name"}}'


class _Place(NamedTuple):
    """Where arguments stand in a template: all of them, one by its number, or one by its name."""

    all: str | None
    at: int | None
    name: str | None


@dataclass(frozen=True)
class _Template:
    pieces: Sequence[str | _Place]
    uses: frozenset[str]  # other macros


class _Arguments(NamedTuple):
    written: Sequence[str]
    plain: Sequence[str]
    named: Mapping[str, str]


class Macros:
    """Templates by name. Raises ValueError, which names the macro, for what cannot be one."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        if len(templates) > MACROS_MAX:
            raise ValueError(f"there are {len(templates)} macros; at most {MACROS_MAX}")
        self._templates = {name: _read(name, text, templates) for name, text in templates.items()}
        heights: dict[str, int] = {}
        for name in templates:
            if self._height(name, (), heights) > _WITHIN_MAX:
                raise ValueError(f"{name} has more than {_WITHIN_MAX} macros within one another")
        names = "|".join(sorted(map(re.escape, templates)))
        self._mentioned = re.compile(rf"(?<!\w)(?:{names})\s*+\(") if names else None

    @property
    def names(self) -> Sequence[str]:
        return list(self._templates)

    def expand(self, target: str) -> str:
        """A target with templates for all calls of macros; itself if there are none, or if it cannot be read: then
        the parser says where. Raises ArgumentError if a macro lacks an argument or the outcome is too long."""
        return self._expanded(target, _Budget(), 0)

    def _expanded(self, target: str, budget: _Budget, within: int) -> str:
        if self._mentioned is None or len(target) > DEFAULT_LIMITS.target_chars_max:
            return target
        if self._mentioned.search(target) is None:
            return target
        try:
            return _Reader(target, self, budget, within).whole()
        except _UnreadableError:
            return target

    def fill(self, name: str, given: Sequence[str], budget: _Budget, within: int) -> str | None:
        """The template of a macro with arguments as they are written; None if there is no such macro."""
        template = self._templates.get(name)
        if template is None:
            return None
        budget.count(name, within)
        arguments = _sorted_out(given)
        text = "".join(
            piece if isinstance(piece, str) else _put(name, piece, arguments) for piece in template.pieces
        )
        if len(text) > DEFAULT_LIMITS.target_chars_max:
            most = DEFAULT_LIMITS.target_chars_max
            raise ArgumentError(name, "arguments", f"make a target of {len(text)} characters; at most {most}")
        return self._expanded(text, budget, within + 1) if template.uses else text

    def _height(self, name: str, before: tuple[str, ...], known: dict[str, int]) -> int:
        """How many macros stand within one another, this one included; raises ValueError for too many."""
        if name in before:
            raise ValueError(f"{name} uses itself: {' → '.join((*before, name))}")
        if len(before) >= _WITHIN_MAX:
            raise ValueError(f"{before[0]} has more than {_WITHIN_MAX} macros within one another")
        if name not in known:
            others = self._templates[name].uses
            known[name] = 1 + max(
                (self._height(other, (*before, name), known) for other in sorted(others)), default=0
            )
        return known[name]


NO_MACROS = Macros({})


class _Budget:
    """How many macros may still be put into one target."""

    def __init__(self) -> None:
        self.left = DEFAULT_LIMITS.calls_max

    def count(self, name: str, within: int) -> None:
        self.left -= 1
        if self.left < 0 or within >= _WITHIN_MAX:
            most = f"{DEFAULT_LIMITS.calls_max} macros, {_WITHIN_MAX} within one another"
            raise ArgumentError(name, "arguments", f"a target has at most {most}")


class _UnreadableError(Exception):
    """The text is no target; the parser will say why."""


class _Reader:
    """Goes through a target's text and puts templates for calls; all else comes out as it was."""

    def __init__(self, text: str, macros: Macros, budget: _Budget, within: int) -> None:
        self.text, self.at, self.depth = text, 0, 0
        self._macros, self._budget, self._within = macros, budget, within

    def whole(self) -> str:
        text = self._expression()
        if self.at < len(self.text):
            raise _UnreadableError
        return text

    def _expression(self) -> str:
        """Up to a comma or parenthesis that is not its own: a path, a value or a call, and calls piped into."""
        text = self._call(None) if _CALL.match(self.text, self.at) else self._plain()
        while self.text.startswith("|", self.at):
            self.at += 1
            if _CALL.match(self.text, self.at) is None:
                raise _UnreadableError
            text = self._call(text)
        return text

    def _call(self, piped: str | None) -> str:
        """The call that begins here; `piped` is what stands before its pipe."""
        found = _CALL.match(self.text, self.at)
        self.depth += 1
        if found is None or self.depth > DEFAULT_LIMITS.nesting_max:
            raise _UnreadableError
        self.at = found.end()
        given = list(self._arguments())
        tail = self._plain()
        self.depth -= 1
        before = [] if piped is None else [piped]
        filled = self._macros.fill(found[1], [*before, *given], self._budget, self._within)
        if filled is not None:
            return filled + tail
        call = f"{found[0]}{','.join(given)}){tail}"
        return call if piped is None else f"{piped}|{call}"

    def _arguments(self) -> Iterator[str]:
        """Each argument as it is written, its macros put in; takes the parenthesis that closes."""
        start = self.at
        while True:
            named = _NAMED.match(self.text, self.at)
            if named is not None:
                self.at = named.end()
            argument = (named[0] if named else "") + self._expression()
            char = self.text[self.at : self.at + 1]
            if char not in (",", ")") or not char:
                raise _UnreadableError
            self.at += 1
            if char == ")" and not argument.strip() and not self.text[start : self.at - 1].strip():
                return  # no argument at all
            yield argument
            if char == ")":
                return

    def _plain(self) -> str:
        """Text without calls, such as a path; braces and what is in them belong to it."""
        start, opened = self.at, 0
        while self.at < len(self.text):
            if plain := _PLAIN.match(self.text, self.at):
                self.at = plain.end()
                continue
            char = self.text[self.at]
            if char in "\"'\\(" or (char in ")|" and opened):
                raise _UnreadableError
            if char in ")|" or (char == "," and not opened):
                break
            opened += (char == "{") - (char == "}")
            self.at += 1
        return self.text[start : self.at]


def _read(name: str, text: str, macros: Mapping[str, str]) -> _Template:
    """A template of the configuration."""
    if _MACRO.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name that a target can have: letters, digits and _")
    if len(text) > TEMPLATE_CHARS_MAX:
        raise ValueError(f"{name} has {len(text)} characters; at most {TEMPLATE_CHARS_MAX}")
    pieces: list[str | _Place] = []
    at = 0
    for place in _PLACE.finditer(text):
        wanted = _WANTED.fullmatch(place[1])
        if wanted is None:
            raise ValueError(f"{name}: {place[0]} is none of {_PLACES}")
        number = None if wanted["at"] is None else int(wanted["at"])
        pieces += [text[at : place.start()], _Place(wanted["all"], number, wanted["name"])]
        at = place.end()
    pieces.append(text[at:])
    used = re.findall(rf"({_NAME})\s*\(", text)
    return _Template(pieces, frozenset(used) & macros.keys())


def _sorted_out(given: Sequence[str]) -> _Arguments:
    written = [argument.strip() for argument in given]
    named = [_NAMED.match(argument) for argument in written]
    plain = [argument for argument, name in zip(written, named, strict=True) if name is None]
    by_name = {
        name[1]: argument[name.end() :].strip()
        for argument, name in zip(written, named, strict=True)
        if name is not None
    }
    return _Arguments(written, plain, by_name)


def _put(macro: str, place: _Place, given: _Arguments) -> str:
    """What stands for a place; raises ArgumentError if it was not given."""
    if place.all is not None:
        of = {
            "argString": given.written,
            "args": given.plain,
            "kwargs": [f"{name}={value}" for name, value in given.named.items()],
        }
        return ",".join(of[place.all])
    if place.at is not None:
        if place.at >= len(given.plain):
            takes = f"takes {place.at + 1} or more without a name; {len(given.plain)} are given"
            raise ArgumentError(macro, "arguments", takes)
        return given.plain[place.at]
    if place.name is None or place.name not in given.named:
        raise ArgumentError(macro, str(place.name), f"is missing: write {place.name}=…")
    return given.named[place.name]
