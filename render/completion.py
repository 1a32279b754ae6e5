"""What may stand where a target's text ends: functions, names of parameters, values. Paths are /metrics/find's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from render.functions import REGISTRY
from render.functions.registry import AGGREGATIONS, Function, Param
from render.target import DEFAULT_LIMITS

_SERIES = ("seriesList", "seriesLists", "any")
_NAMED = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*")


class Word(NamedTuple):
    text: str  # what to write in place of what has been begun
    kind: str  # function, parameter or value
    about: str


@dataclass(frozen=True)
class Completion:
    start: int  # where the begun word begins: `words` replace the text from there on
    words: Sequence[Word]
    path: str | None  # what of a path has been written, if a path may stand here; None = it may not


def complete(text: str) -> Completion:
    """What may come next after a target's text. Never raises: for a text that cannot become a target, no words."""
    if len(text) > DEFAULT_LIMITS.target_chars_max:
        return Completion(len(text), (), None)
    place = _place(text)
    begun = text[place.start :]
    if text[: place.start].rstrip().endswith(")"):  # only a pipe, a comma or another parenthesis may come
        return Completion(place.start, (), None)
    call = place.calls[-1] if place.calls else None
    function = REGISTRY.functions.get(call.name) if call else None
    if call is None or function is None:
        return Completion(place.start, _functions(begun), begun)
    param = _param(function, call)
    takes_series = param is not None and param.type in _SERIES and not begun.startswith(("'", '"'))
    words = [
        *(_values(param, begun) if param else ()),
        *(_functions(begun) if takes_series else ()),
        *(_parameters(function, call, begun) if call.named is None else ()),
    ]
    return Completion(place.start, words, begun if takes_series else None)


@dataclass
class _Call:
    """A call that is open where the text ends."""

    name: str
    given: int  # arguments without a name before the one that has been begun
    named: str | None = None  # the name of the begun one, if it has one
    names: set[str] = field(default_factory=set)  # those before


class _Place(NamedTuple):
    calls: list[_Call]
    start: int  # of the begun word


def _place(text: str) -> _Place:
    """Which calls are open at the end, and where the last word begins."""
    calls: list[_Call] = []
    start, quote, braces, piped = 0, "", 0, 0
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote, start = char, i
        elif char in "{}":
            braces += 1 if char == "{" else -1
        elif char == "(":
            calls.append(_Call(text[start:i].strip(), piped))
            start, piped = i + 1, 0
        elif char == ")" and calls:
            calls.pop()
            start = i + 1
        elif char == "," and calls and braces <= 0:
            call = calls[-1]
            if call.named:
                call.names.add(call.named)
            call.given += call.named is None
            call.named, start, piped = None, i + 1, 0
        elif char == "=" and calls and (found := _NAMED.fullmatch(text, start, i + 1)):
            calls[-1].named, start = found[1], i + 1
        elif char == "|":
            start, piped = i + 1, 1
    return _Place(calls, start + len(text[start:]) - len(text[start:].lstrip()))


def _param(function: Function, call: _Call) -> Param | None:
    if call.named is not None:
        return next((param for param in function.params if param.name == call.named), None)
    for i, param in enumerate(function.params):
        if i == call.given or param.multiple:
            return param
    return None


def _functions(begun: str) -> list[Word]:
    low = begun.lower()
    return [
        Word(f"{name}(", "function", one.summary)
        for name, one in sorted(REGISTRY.functions.items(), key=lambda item: item[0].lower())
        if name.lower().startswith(low)
    ]


def _parameters(function: Function, call: _Call, begun: str) -> Iterator[Word]:
    """Those that have not been given yet, by name."""
    for param in function.params[call.given :]:
        if (
            param.name not in call.names
            and param.name.lower().startswith(begun.lower())
            and not param.multiple
        ):
            yield Word(f"{param.name}=", "parameter", f"takes {param.takes}")


def _values(param: Param, begun: str) -> Iterator[Word]:
    """What is suggested for a parameter, as it is written."""
    suggested = [*(param.options or ()), *(param.suggestions or ())]
    if param.type in ("aggFunc", "aggOrSeriesFunc"):
        suggested = [*AGGREGATIONS]
    if param.type == "boolean":
        suggested = [True, False]
    low = begun.lower().lstrip("'\"")
    for value in dict.fromkeys(suggested):
        if value is not None and str(value).lower().startswith(low):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield Word(
                f'"{value}"' if isinstance(value, str) else text, "value", f"{param.name}: {param.takes}"
            )
