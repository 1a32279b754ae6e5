"""Registration of series functions: a decorator gives name, group, typed parameters and manual.

    @function("scale", group="Transform", params=[SERIES, Param("factor", "float", required=True)])
    def scale(context, series, factor):
        '''Multiply each datapoint by a constant.

        Example: scale(hosts.*.cpu.user, 0.01)
        '''

What the decorator holds gives `/functions`, the checks of arguments, the generated manual and completion.
A function takes the Context and its arguments already converted; it gives a SeriesList. `Example:` lines run
in tests. What cannot be registered is a ValueError when the module is imported.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from render.errors import ArgumentError, InvalidTime
from render.series import SeriesList
from render.timespec import parse_interval, parse_time
from storage import consolidation
from storage.errors import UnknownAggregation

if TYPE_CHECKING:
    from render.functions.fold import Fold

# graphite-web's aggFunc: what aggregate, summarize, filterSeries … take
AGGREGATIONS = (
    "average", "avg", "avg_zero", "median", "sum", "total", "min", "max", "diff", "stddev", "count",
    "range", "rangeOf", "multiply", "last", "current",
)  # fmt: skip


@dataclass(frozen=True)
class Param:
    """One parameter, in graphite-web's words (its types: seriesList, float, integer, interval, node …)."""

    name: str
    type: str
    required: bool = False
    default: object = None
    multiple: bool = False
    options: Sequence[object] | None = None
    suggestions: Sequence[object] | None = None

    @property
    def takes(self) -> str:
        """Its type in words: "a whole number"."""
        return _WORDS[self.type]


SERIES = Param("seriesList", "seriesList", required=True)
SERIES_LISTS = Param("seriesLists", "seriesList", required=True, multiple=True)


@dataclass(frozen=True)
class Function:
    name: str
    group: str
    params: Sequence[Param]
    run: Callable[..., SeriesList]
    aggregator: bool = False  # may be named as the callback of groupByNode and its kin
    # how many seconds of earlier data the first argument needs: earlier(arguments by name, step) → seconds
    earlier: Callable[[dict[str, Any], int], int] | None = None
    # which of the aggregations that coarse archives keep the first argument's series are read by, given the arguments
    asks_for: Callable[[dict[str, Any]], str] | None = None
    # each series of its first argument makes its own of the outcome, whatever other series are there
    each: bool = False
    # the aggregation that it is, given the arguments by name, so that very many series need not be held at once
    fold: Callable[[dict[str, Any]], Fold | None] | None = None
    # evaluates its own arguments: run(context, call) – for timeShift, useSeriesAbove and others that fetch again
    lazy: bool = False
    # the user's own: what it does is its own affair
    custom: bool = False

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def summary(self) -> str:
        """The description's first sentence."""
        paragraph = self.description.partition("\n\n")[0].replace("\n", " ")
        return re.split(r"(?<=[.:;])\s", paragraph, maxsplit=1)[0]

    @property
    def examples(self) -> list[str]:
        """Targets that show it."""
        return [
            line.removeprefix(_EXAMPLE) for line in self.description.splitlines() if line.startswith(_EXAMPLE)
        ]

    @property
    def place(self) -> str:
        """Where it is written: `render.functions.transform, line 31`."""
        written = inspect.unwrap(self.run)
        code = getattr(written, "__code__", None)  # not everything that can be called has one
        return f"{written.__module__}" + (f", line {code.co_firstlineno}" if code else "")

    def near(self, parameter: str) -> str | None:
        """The name of the parameter that is spelled most like this."""
        return _nearest(parameter, [param.name for param in self.params])

    @property
    def signature(self) -> str:
        parts = []
        for p in self.params:
            text = f"*{p.name}" if p.multiple else p.name
            if p.default is not None:
                text += f"={p.default!r}"
            elif not p.required and not p.multiple:
                text += "=None"
            parts.append(text)
        return f"{self.name}({', '.join(parts)})"


@dataclass
class Registry:
    functions: dict[str, Function] = field(default_factory=dict)

    def add(self, names: Sequence[str], function: Callable[[str], Function]) -> None:
        """All the names or none. Raises ValueError if one is taken, with both places, or cannot be."""
        made = {name: function(name) for name in names}
        for name, new in made.items():
            _check(new)
            if (known := self.functions.get(name)) is not None:
                raise ValueError(f"two functions are called {name!r}: {known.place}, and {new.place}")
        self.functions.update(made)

    def remove(self, names: Iterable[str]) -> None:
        """Without these: what a module had added before it failed."""
        for name in names:
            self.functions.pop(name, None)

    def near(self, name: str) -> str | None:
        return _nearest(name, self.functions)

    def others(self, function: Function) -> list[str]:
        """The other names of a function: its short form, or what that is short for."""
        return [
            name for name, one in self.functions.items() if one.run is function.run and name != function.name
        ]


REGISTRY = Registry()


def function(
    *names: str,
    group: str,
    params: Sequence[Param],
    aggregator: bool = False,
    earlier: Callable[[dict[str, Any], int], int] | None = None,
    asks_for: Callable[[dict[str, Any]], str] | None = None,
    each: bool = False,
    fold: Callable[[dict[str, Any]], Fold | None] | None = None,
    lazy: bool = False,
) -> Callable[[Callable[..., SeriesList]], Callable[..., SeriesList]]:
    """Register a series function under its name and its other names."""

    def register(run: Callable[..., SeriesList]) -> Callable[..., SeriesList]:
        REGISTRY.add(
            names,
            lambda name: Function(name, group, params, run, aggregator, earlier, asks_for, each, fold, lazy),
        )
        return run

    return register


_EXAMPLE = "Example: "
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _nearest(name: str, known: Iterable[str]) -> str | None:
    lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return lower[found[0]] if found else None


def _check(function: Function) -> None:
    """Raises ValueError if a target could not name a function so, or what it takes is not what it says."""
    if _NAME.fullmatch(function.name) is None:
        raise ValueError(f"{function.name!r} is no name that a target can have: letters, digits and _")
    for param in function.params:
        if param.type not in _CONVERTERS:
            known = ", ".join(_CONVERTERS)
            raise ValueError(
                f"{function.name}(): {param.name} has the type {param.type!r}; there are {known}"
            )
    given = len(function.params) + 1
    try:
        inspect.signature(function.run).bind(*[None] * given)
    except TypeError as error:
        raise ValueError(
            f"{function.name}() cannot be called with the context and {given - 1} parameters: {error}"
        ) from None


_INTEGER_MAX = 1 << 53  # beyond it neighbours cannot be told apart
_TRUE, _FALSE = {"true", "1"}, {"false", "0"}
_SOME_DAY = 1_600_000_000  # of a leap year: feb29 is a date
_INTERVAL_OR_INT = re.compile(r"-?\d+\Z")


def convert(function: Function, param: Param, value: Any) -> Any:
    """An argument as the type that its parameter asks for; raises ArgumentError with what is allowed.

    Values come from the parser as SeriesList (evaluated), float, int, str, bool or None.
    """
    if value is None and not param.required and not param.multiple:
        return param.default
    if param.options is not None and any(value is option for option in param.options):
        return value  # smartSummarize's true and false, among strings
    try:
        converted = _CONVERTERS[param.type](value)
    except UnknownAggregation as error:
        raise ArgumentError(function.name, param.name, str(error)) from None
    except (TypeError, ValueError, OverflowError, InvalidTime) as error:
        said = f": {error}" if isinstance(error, InvalidTime) else ""
        shown = "a series list" if isinstance(value, SeriesList) else repr(value)
        raise ArgumentError(
            function.name, param.name, f"takes {_WORDS[param.type]}, not {shown}{said}"
        ) from None
    if param.options is not None and converted not in param.options:
        near = difflib.get_close_matches(str(value), [str(o) for o in param.options], n=1)
        hint = f", perhaps {near[0]!r}" if near else ""
        allowed = ", ".join(str(o) for o in param.options)
        raise ArgumentError(function.name, param.name, f"{value!r} is not one of {allowed}{hint}")
    return converted


def _series(value: Any) -> SeriesList:
    if not isinstance(value, SeriesList):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, (bool, SeriesList)):
        raise TypeError
    number = float(value)
    if math.isnan(number):
        raise ValueError
    return number


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number) or abs(number) > _INTEGER_MAX:
        raise ValueError
    return int(number)


def _integer_or_inf(value: Any) -> float | int:
    return math.inf if _number(value) == math.inf else _integer(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or value == 1:
        return True
    if text in _FALSE or value == 0:
        return False
    raise ValueError


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _node_or_tag(value: Any) -> int | str:
    return value if isinstance(value, str) else _integer(value)


def _interval(value: Any) -> str:
    text = _text(value)
    parse_interval(text)
    return text


def _integer_or_interval(value: Any) -> int | str:
    if isinstance(value, str) and not _INTERVAL_OR_INT.match(value):
        return _interval(value)
    return _integer(value)


def _aggregation(value: Any) -> str:
    """An aggFunc; the name as it was given, as it is part of the output's name."""
    consolidation.canonical(_text(value))
    return str(value)


def _aggregation_or_function(value: Any) -> str:
    text = _text(value)
    if text not in REGISTRY.functions:
        try:
            consolidation.canonical(text.removesuffix("Series"))
        except UnknownAggregation as error:
            near = REGISTRY.near(text)
            functions = f" and functions, perhaps {near!r}" if near else " and functions"
            raise UnknownAggregation(f"{error}{functions}") from None
    return text


def _date(value: Any) -> str:
    """A time in Graphite's words; the function reads it again, with the request's clock and zone."""
    text = _text(value)
    parse_time(text, _SOME_DAY, UTC)
    return text


def _anything(value: Any) -> Any:
    return value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "seriesList": _series,
    "seriesLists": _series,
    "float": _number,
    "integer": _integer,
    "intOrInf": _integer_or_inf,
    "boolean": _boolean,
    "string": _text,
    "node": _integer,
    "nodeOrTag": _node_or_tag,
    "tag": _text,
    "interval": _interval,
    "intOrInterval": _integer_or_interval,
    "aggFunc": _aggregation,
    "aggOrSeriesFunc": _aggregation_or_function,
    "date": _date,
    "any": _anything,
}
_WORDS = {
    "seriesList": "a series list",
    "seriesLists": "what mapSeries() gives",
    "float": "a number",
    "integer": "a whole number",
    "intOrInf": "a whole number or inf",
    "boolean": "true or false",
    "string": "a quoted string",
    "node": "a node's number",
    "nodeOrTag": "a node's number or a tag's name",
    "tag": "a tag's name",
    "interval": "an interval such as '1h' or '5min'",
    "intOrInterval": "a number of points or an interval such as '5min'",
    "aggFunc": "an aggregation such as 'sum'",
    "aggOrSeriesFunc": "an aggregation or a function such as 'sum'",
    "date": "a time such as '-1d' or '20240101'",
    "any": "anything",
}
