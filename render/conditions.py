"""Tag expressions as users write them → conditions on tags: `tag=v`, `tag!=v`, `tag=~regex`, `tag!=~regex`.

A regular expression is anchored at a value's begin, not at its end, as in graphite-web. What of it is plain text
becomes texts and prefixes that the store looks up: Grafana's `(web1|web2|…)` may be as long as a target, and costs no
matching at all. The rest is matched within the bounds of patterns.py, and only against values that begin so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from render import patterns
from render.errors import ArgumentError
from storage.tags import ANY, CONDITIONS_MAX, EMPTY, Condition, Texts

_FUNCTION, _ARGUMENT = "seriesByTag", "tagExpressions"
EXPRESSION_CHARS_MAX = 16 * 1024  # as a whole target
_TEXTS_AT_ONCE = 32  # a single one may take 0.1 s
_SHOWN_MAX = 80

_EXPRESSION = re.compile(r"([^;!=]+)(!?)=(~?)([^;]*)")
# a character that stands for itself; \| is left to the regex engine, so that choices can be split
_LITERAL = r"(?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9|])"
_TEXT = rf"{_LITERAL}*+"
_PLAIN = re.compile(
    rf"\^?(?P<before>{_TEXT})"
    rf"(?:\((?:\?:)?(?P<choice>{_TEXT}(?:\|{_TEXT})*+)\)(?P<after>{_TEXT}))?"
    r"(?P<end>\.\*\$?|\$)?"
)
_CHOICES = re.compile(rf"\^?(?P<choice>{_TEXT}(?:\|{_TEXT})++)")
_BEGIN = re.compile(rf"\^?({_TEXT})([*?{{]?)")
_LAST = re.compile(rf"{_LITERAL}\Z")
_SOMETHING = re.compile(r"\^?(?:\.\+|\(\.\+\))\$?")
_FLAGS = re.compile(r"\(\?[aimsux]+\)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def read_conditions(
    expressions: Sequence[str], check: Callable[[], None], *, narrow: bool = True
) -> list[Condition]:
    """The conditions of tag expressions; raises ArgumentError.

    `narrow`: one at least must need its tag, or nearly all series would be found. `check` is called now and then
    while values are matched, to give up.
    """
    if len(expressions) > CONDITIONS_MAX:
        raise _wrong(f"{len(expressions)} are given; at most {CONDITIONS_MAX}")
    conditions = [_condition(expression, check) for expression in expressions]
    if narrow and not any(condition.needs_tag for condition in conditions):
        raise _wrong(
            "each of them is fulfilled by series that lack the tag: one must not be, such as 'tag=value' or 'tag!='"
        )
    return conditions


def _condition(expression: str, check: Callable[[], None]) -> Condition:
    found = _EXPRESSION.fullmatch(expression)
    if found is None:
        allowed = "tag=value, tag!=value, tag=~regex or tag!=~regex, without ';'"
        raise _wrong(f"{_shown(expression)} is no tag expression: it takes {allowed}")
    tag, negated, regex, value = found.groups()
    if not regex:
        return Condition(tag, Texts(frozenset([value])), among=not negated)
    if _SOMETHING.fullmatch(value):  # to have the tag, which is cheaper to tell than to match
        return Condition(tag, EMPTY, among=bool(negated))
    return Condition(tag, read_texts(value, check), among=not negated)


def read_texts(pattern: str, check: Callable[[], None]) -> Texts:
    """The texts that a regular expression matches from their begin on; raises ArgumentError."""
    if len(pattern) > EXPRESSION_CHARS_MAX:
        raise _wrong(f"a pattern has at most {EXPRESSION_CHARS_MAX} characters, not {len(pattern)}")
    if plain := _plain(pattern):
        return plain
    patterns.compile(_FUNCTION, _ARGUMENT, pattern)  # says what is wrong with it as it was written
    flags = _FLAGS.match(pattern)
    begin = flags.end() if flags else 0
    anchored = patterns.compile(_FUNCTION, _ARGUMENT, f"{pattern[:begin]}^(?:{pattern[begin:]})")

    def holds(texts: Sequence[str]) -> list[bool]:
        out: list[bool] = []
        for at in range(0, len(texts), _TEXTS_AT_ONCE):
            check()
            out += anchored.picks(texts[at : at + _TEXTS_AT_ONCE])
        return out

    return Texts(prefixes=(_prefix(pattern),), holds=holds)


def prefixed(prefix: str) -> Texts:
    return Texts(prefixes=(prefix,)) if prefix else ANY


def _plain(pattern: str) -> Texts | None:
    """The texts of a pattern that is only text, perhaps with a choice between some; None if it is more."""
    found = _CHOICES.fullmatch(pattern)
    if found:
        return Texts(prefixes=tuple(map(_unescaped, found["choice"].split("|"))))
    found = _PLAIN.fullmatch(pattern)
    if found is None:
        return None
    before, after = _unescaped(found["before"]), _unescaped(found["after"] or "")
    texts = [f"{before}{_unescaped(one)}{after}" for one in (found["choice"] or "").split("|")]
    return Texts(frozenset(texts)) if found["end"] == "$" else Texts(prefixes=tuple(texts))


def _prefix(pattern: str) -> str:
    """What all that a pattern matches begins with."""
    if "|" in pattern:  # may be another beginning
        return ""
    found = _BEGIN.match(pattern)
    if found is None:
        return ""
    return _unescaped(_LAST.sub("", found[1]) if found[2] else found[1])


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…")


def _wrong(reason: str) -> ArgumentError:
    return ArgumentError(_FUNCTION, _ARGUMENT, reason)
