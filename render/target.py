"""The target language: text → an immutable tree of Pattern, Constant and Call.

    target     := expression                                 spaces and line ends between tokens are free
    expression := (call | path) ('|' call)*                  `a|f(1)` is `f(a,1)`
    call       := name '(' [argument (',' argument)*] ')'    name: ASCII letters, digits, '_'
    argument   := [name '='] (value | expression)            those with a name after the others
    value      := true | false | none | inf | number | "text" | 'text'    in any case; only as an argument
    number     := -?digits[.digits][e[-]digits]              before ',' or ')'; otherwise it begins a path
    path       := node ('.' node)*
    node       := (character | escape | enum)+               enum: '{' part (',' part)* '}', which may nest
    escape     := '\\' and one of ( ) { } , . ' " \\ | =       the backslash goes

`template(expression, 'x', …)` puts x for $1 into the paths of its expression, and
`template(expression, name='x', …)` for $name.

The grammar is that of graphite-web 1.1.10. Where that one stops early and answers with less than was asked
for (rubbish after the target, `f(a,.5)`, parentheses that do not close), this one raises TargetError. It
takes more in these: letters of any alphabet, nested enums, calls that have named arguments only, pipes into
and inside template().
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from render.errors import TargetError


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path expression, its escapes removed; `column` counts from 1, as everywhere here."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Constant:
    value: float | int | str | bool | None
    column: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; `text` is its source from the name to the `)`, without what is piped into it."""

    function: str
    args: tuple[Node, ...]
    kwargs: tuple[tuple[str, Node], ...]
    column: int
    text: str


Node: TypeAlias = Pattern | Constant | Call


@dataclass(frozen=True)
class Limits:
    """What one target may cost before anything is read."""

    target_chars_max: int = 16 * 1024  # VictoriaMetrics: 16 KiB; graphite-web: none
    nesting_max: int = 32  # calls within calls; a pipe nests too. graphite-web: Python's recursion limit
    calls_max: int = 500  # graphite-web: none
    variables_max: int = 64  # of one template(), the request's included
    expanded_chars_max: int = 64 * 1024  # of all paths of a target, after substitution


DEFAULT_LIMITS = Limits()
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def parse(
    target: str, *, variables: Mapping[str, str] = NO_VARIABLES, limits: Limits = DEFAULT_LIMITS
) -> Node:
    """The tree of a target: a Pattern or a Call. Raises TargetError.

    `variables` are the request's `template[name]`: inside template() they stand before the call's own.
    """
    if len(target) > limits.target_chars_max:
        reason = f"a target has at most {limits.target_chars_max} characters, this one has {len(target)}"
        raise TargetError(target[:64] + "…", limits.target_chars_max + 1, reason)
    parser = _Parser(target, limits)
    node = parser.target()
    return _Expansion(target, variables, limits).whole(node) if parser.templates else node


def patterns(node: Node) -> list[Pattern]:
    """All paths of a tree, in the order of the arguments."""
    found, stack = [], [node]
    while stack:
        node = stack.pop()
        if isinstance(node, Pattern):
            found.append(node)
        elif isinstance(node, Call):
            stack.extend(value for _, value in reversed(node.kwargs))
            stack.extend(reversed(node.args))
    return found


def first_path(text: str) -> str | None:
    """The path that a series' name is about: `a.b` for "a.b" and for "scale(sumSeries(a.b,c),2)".

    A name that ends with ")" is followed along first arguments, as graphite-web does; what comes after the
    path is not looked at. None where there is no path. Never raises.
    """
    if not text.endswith(")"):
        return text or None
    parser = _Parser(text, DEFAULT_LIMITS)
    if calls := _CALLS.match(text):
        parser.at = calls.end()
    found = _ARGUMENT.match(text, parser.at)
    if found is None or found.lastgroup != "path":
        return None
    try:
        return parser.path().text
    except TargetError:
        return None


_SYMBOLS = r"""(){},.'"\\|"""
_SPACE = r"[ \t\r\n]*+"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*+"
_PLAIN = rf"[^{_SYMBOLS}\s\x00-\x1f\x7f-\x9f\ud800-\udfff]++"
_PARTS = rf"(?:{_PLAIN}|\\[{_SYMBOLS}=])++"
_CALL = rf"(?P<call>{_NAME}){_SPACE}\({_SPACE}"
_PATH = rf"(?P<path>(?={_PLAIN}|[{{\\]))"
_NUMBER = r"-?[0-9]++(?:\.[0-9]++)?(?:[eE]-?[0-9]++)?"
_STRING = r"""(?:"(?:[^"\n\r\\]|""|\\[\s\S])*+"|'(?:[^'\n\r\\]|''|\\[\s\S])*+')"""
_LITERAL = (
    rf"(?P<keyword>(?ai:true|false|none|inf))(?![\w$]){_SPACE}"
    rf"|(?P<number>{_NUMBER}){_SPACE}(?=[,)]|\Z)"
    rf"|(?P<string>{_STRING}){_SPACE}"
)
_SPACES = re.compile(_SPACE)
_PIPE = re.compile(rf"\|{_SPACE}")
_SEPARATOR = re.compile(rf"([,)]){_SPACE}")
_RUN = re.compile(_PLAIN)
_ESCAPE = re.compile(rf"\\([{_SYMBOLS}=])")
_PART = re.compile(_PARTS)
_SIMPLE_PATH = re.compile(rf"{_PARTS}(?:\.{_PARTS})*+(?![\\{{}}.])")
_CALLS = re.compile(rf"{_SPACE}(?:{_NAME}{_SPACE}\({_SPACE})*+")
_EXPRESSION = re.compile(f"{_CALL}|{_PATH}")
_PIPED = re.compile(_CALL)
_VALUE = re.compile(f"{_LITERAL}|{_CALL}|{_PATH}")
_ARGUMENT = re.compile(f"(?P<named>{_NAME}){_SPACE}={_SPACE}|{_LITERAL}|{_CALL}|{_PATH}")
_KEYWORDS: dict[str, bool | float | None] = {"true": True, "false": False, "none": None, "inf": math.inf}


class _Parsed(NamedTuple):
    node: Node
    height: int  # how many calls stand within one another, at most


class _Parser:
    """Recursive descent: three Python frames a nested call, and at most `nesting_max` of those.

    `at` is the index of the next token: whoever takes a token takes the spaces after it too.
    """

    __slots__ = ("at", "calls", "limits", "templates", "text")

    def __init__(self, text: str, limits: Limits) -> None:
        self.text, self.limits = text, limits
        self.calls = 0
        self.templates = False
        self.at = 0
        self._spaces(0)

    def target(self) -> Node:
        found = _EXPRESSION.match(self.text, self.at)
        if found is None:
            raise self._unexpected(self.at, "a path or a call such as scale(a.b,2)")
        node = self._expression(found, 0).node
        if self.at < len(self.text):
            raise self._unexpected(self.at, "'|' or the end")
        return node

    def path(self) -> Pattern:
        """The path that begins here; it ends before the first character that cannot be part of one."""
        start = self.at
        simple = _SIMPLE_PATH.match(self.text, start)
        end = simple.end() if simple else self._path_end(start)
        self._spaces(end)
        text = self.text[start:end]
        return Pattern(_ESCAPE.sub(r"\1", text) if "\\" in text else text, start + 1)

    def _path_end(self, at: int) -> int:
        """Where the path that begins at an index ends, enums and all."""
        opened: list[int] = []  # where enums were opened that are not yet closed
        empty = True  # nothing has come since the last '.', '{' or ','
        while True:
            if part := _PART.match(self.text, at):
                at, empty = part.end(), False
            char = self.text[at : at + 1]
            if char == "{":
                opened.append(at)
                empty = True
            elif char == "\\":
                raise self._unexpected(at + 1, "one of ( ) { } , . ' \" \\ | = after a backslash")
            elif char and char in (",}" if opened else "."):
                if empty:
                    raise self._unexpected(at, "a name" if opened else "a node's name")
                if char == "}":
                    opened.pop()
                empty = char != "}"
            else:
                break
            at += 1
        if opened:
            allowed = "a name" if empty else "',' or '}'"
            raise self._unexpected(at, f"{allowed} (the '{{' of column {opened[-1] + 1} is open)")
        if empty:
            raise self._unexpected(at, "a node's name")
        return at

    def _expression(self, found: re.Match[str], depth: int) -> _Parsed:
        """A path or a call, and every `|call` after it: each takes what came before as its first argument."""
        parsed = self._call(found, (), depth) if found.lastgroup == "call" else _Parsed(self.path(), 0)
        while pipe := _PIPE.match(self.text, self.at):
            self.at = pipe.end()
            call = _PIPED.match(self.text, self.at)
            if call is None:
                raise self._unexpected(self.at, "a call such as scale(2)")
            parsed = self._call(call, (parsed,), depth)
        return parsed

    def _call(self, found: re.Match[str], piped: tuple[()] | tuple[_Parsed], depth: int) -> _Parsed:
        name, start = found["call"], self.at
        self._count(depth)
        self.at = found.end()
        args = [parsed.node for parsed in piped]
        kwargs: dict[str, Node] = {}
        height = piped[0].height if piped else 0
        separator = _SEPARATOR.match(self.text, self.at) if self.text.startswith(")", self.at) else None
        while separator is None or separator[1] != ")":
            height = max(height, self._argument(args, kwargs, depth + 1))
            separator = _SEPARATOR.match(self.text, self.at)
            if separator is None:
                opened = self.text.index("(", start) + 1
                raise self._unexpected(self.at, f"',' or ')' (the '(' of column {opened} is open)")
            self.at = separator.end()
        self.at = separator.end()
        if height >= self.limits.nesting_max:
            raise self._too_deep(start)
        call = Call(name, tuple(args), tuple(kwargs.items()), start + 1, self.text[start : separator.end(1)])
        if name == "template":
            self._check_template(call)
        return _Parsed(call, height + 1)

    def _argument(self, args: list[Node], kwargs: dict[str, Node], depth: int) -> int:
        """Read an argument into args or kwargs; gives its height."""
        start = self.at
        found = _ARGUMENT.match(self.text, start)
        if found is None or found.lastgroup != "named":
            if found is not None and kwargs:
                raise self._error(start, "an argument without a name stands after one with a name")
            node, height = self._value(found, depth)
            args.append(node)
            return height
        name = found["named"]
        if name in kwargs:
            raise self._error(start, f"{name!r} is given twice")
        self.at = found.end()
        kwargs[name], height = self._value(_VALUE.match(self.text, self.at), depth)
        return height

    def _value(self, found: re.Match[str] | None, depth: int) -> _Parsed:
        kind = found.lastgroup if found else None
        if found is None or kind is None:
            raise self._no_value()
        if kind == "call" or kind == "path":
            return self._expression(found, depth)
        text, start = found[kind], self.at
        value: float | int | str | bool | None
        if kind == "string":
            value = text[1:-1]
        else:
            value = _KEYWORDS[text.lower()] if kind == "keyword" else self._number(text)
        self.at = found.end()
        return _Parsed(Constant(value, start + 1), 0)

    def _number(self, text: str) -> int | float:
        try:
            number = int(text) if text.lstrip("-").isdigit() else float(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):  # more digits than int() takes, or than a float holds
            pass
        raise self._error(self.at, "a number beyond 1.8e308 (inf is written inf)")

    def _count(self, depth: int) -> None:
        self.calls += 1
        if self.calls > self.limits.calls_max:
            raise self._error(self.at, f"a target has at most {self.limits.calls_max} calls, one more stands")
        if depth >= self.limits.nesting_max:
            raise self._too_deep(self.at)

    def _check_template(self, call: Call) -> None:
        """template(path or call, literals …) or template(path or call, name=literal …)."""
        self.templates = True
        if not call.args or isinstance(call.args[0], Constant):
            raise self._error(call.column - 1, "template() takes a path or a call first; none stands in it")
        if len(call.args) > 1 and call.kwargs:
            start = call.kwargs[0][1].column - 1
            raise self._error(start, "template() takes all its values with names or all without; both stand")
        for node in (*call.args[1:], *(value for _, value in call.kwargs)):
            if not _is_literal(node):
                start = node.column - 1
                raise self._error(
                    start, "template() takes only numbers and quoted strings; another value stands"
                )

    def _spaces(self, at: int) -> None:
        found = _SPACES.match(self.text, at)
        self.at = found.end() if found else at

    def _no_value(self) -> TargetError:
        char = self.text[self.at : self.at + 1]
        if char in ("'", '"'):
            return self._error(self.at, f"a quoted string is not closed by {char} on its line")
        allowed = "a path, a call, a number, a quoted string, true, false, none or inf"
        return self._unexpected(self.at, allowed + (" (0.5 instead of .5)" if char == "." else ""))

    def _too_deep(self, at: int) -> TargetError:
        deep = f"{self.limits.nesting_max} deep"
        return self._error(at, f"calls nest at most {deep}, pipes included; one more stands")

    def _unexpected(self, at: int, allowed: str) -> TargetError:
        """What stands at an index of the text, and what is allowed there."""
        run = _RUN.match(self.text, at)
        stands = repr(run[0][:32] if run else self.text[at]) if at < len(self.text) else "the end"
        hint = " (the name of a call has only letters, digits and '_')" if stands == "'('" else ""
        return self._error(at, f"{stands} stands where {allowed} is allowed{hint}")

    def _error(self, at: int, reason: str) -> TargetError:
        return TargetError(self.text, at + 1, reason)


def _is_literal(node: Node) -> bool:
    """Whether template() takes it: as in graphite-web neither true nor none nor inf."""
    return isinstance(node, Constant) and type(node.value) in (int, float, str) and node.value != math.inf


class _Variables:
    """The variables of one template(): `$name` → value. The longest name first; values are not read again."""

    def __init__(self, values: Mapping[str, str | int | float]) -> None:
        self._values = values
        # not one regex of all names: a target may have hundreds of templates, and each would be compiled
        self._lengths = sorted({len(name) for name in values}, reverse=True)

    def pieces(self, text: str) -> Iterator[str]:
        """The text's pieces, one by one so that a caller can stop before it has grown too long."""
        head, *rest = text.split("$")
        yield head
        for part in rest:
            name = next((part[:n] for n in self._lengths if part[:n] in self._values), "")
            yield str(self._values[name]) if name else "$"
            yield part[len(name) :]

    def literal(self, text: str) -> str | int | float | None:
        """The value if the whole text is one `$name`: a number if it looks like one, else text."""
        value = self._values.get(text[1:]) if len(text) > 1 and text[0] == "$" else None
        if isinstance(value, str) and _NUMERIC.fullmatch(value):
            number = float(value)
            return number if math.isfinite(number) else value
        return value


# graphite-web takes [\d.]+ and fails on 10.0.0.1; here that stays text
_NUMERIC = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


class _Expansion:
    """Puts values for variables into the paths of a tree and takes its template() calls away.

    Each path is expanded by the innermost template() around it, as in graphite-web, and only once.
    """

    def __init__(self, target: str, variables: Mapping[str, str], limits: Limits) -> None:
        self._target, self._request, self._limits = target, variables, limits
        self._left = limits.expanded_chars_max

    def whole(self, node: Node) -> Node:
        """The whole target; a path that is all of it stays one, as no literal can stand there."""
        variables = None
        while isinstance(node, Call) and node.function == "template":
            variables = self._variables(node)
            node = node.args[0]
        if isinstance(node, Pattern):
            return self._path(node, variables) if variables else node
        return self._expand(node, variables)

    def _expand(self, node: Node, variables: _Variables | None) -> Node:
        if isinstance(node, Pattern):
            if variables is None:
                return node
            literal = variables.literal(node.text)
            return self._path(node, variables) if literal is None else Constant(literal, node.column)
        if isinstance(node, Constant):
            return node
        if node.function == "template":
            return self._expand(node.args[0], self._variables(node))
        return replace(
            node,
            args=tuple(self._expand(arg, variables) for arg in node.args),
            kwargs=tuple((name, self._expand(value, variables)) for name, value in node.kwargs),
        )

    def _path(self, node: Pattern, variables: _Variables) -> Pattern:
        pieces = []
        for piece in variables.pieces(node.text):
            self._left -= len(piece)
            if self._left < 0:
                reason = f"variables make paths longer than {self._limits.expanded_chars_max} characters"
                raise TargetError(self._target, node.column, reason)
            pieces.append(piece)
        text = "".join(pieces)
        if not text:
            raise TargetError(self._target, node.column, "variables leave nothing of the path")
        return Pattern(text, node.column)

    def _variables(self, template: Call) -> _Variables:
        values: dict[str, str | int | float] = {
            **{str(at): _literal(node) for at, node in enumerate(template.args[1:], 1)},
            **{name: _literal(node) for name, node in template.kwargs},
            **self._request,
        }
        if len(values) > self._limits.variables_max:
            reason = f"template() takes at most {self._limits.variables_max} variables and has {len(values)}"
            raise TargetError(self._target, template.column, reason)
        return _Variables(values)


def _literal(node: Node) -> str | int | float:
    if isinstance(node, Constant) and isinstance(node.value, (str, int, float)):
        return node.value
    raise TypeError(f"{node!r} came through the check of template()")
