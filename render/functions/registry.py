"""Registration of series functions: a decorator gives name, group, typed parameters and manual.

    @function("scale", group="Transform", params=[SERIES, Param("factor", "float", required=True)])
    def scale(context, series, factor):
        '''Multiply each datapoint by a constant.

        Example: scale(hosts.*.cpu.user, 0.01)
        '''

What the decorator holds gives `/functions`, the checks of arguments, the generated manual and completion.
A function takes the Context and its arguments already converted; it gives a SeriesList. `Example:` lines run
in tests.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from render.errors import ArgumentError, InvalidTime
from render.series import SeriesList
from render.timespec import parse_interval
from storage import consolidation
from storage.errors import UnknownAggregation

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
    # evaluates its own arguments: run(context, call) – for timeShift, useSeriesAbove and others that fetch again
    lazy: bool = False

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")

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
        for name in names:
            if name in self.functions:
                raise ValueError(f"two functions are called {name!r}")
            self.functions[name] = function(name)

    def near(self, name: str) -> str | None:
        lower = {known.lower(): known for known in self.functions}
        found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
        return lower[found[0]] if found else None


REGISTRY = Registry()


def function(
    *names: str,
    group: str,
    params: Sequence[Param],
    aggregator: bool = False,
    earlier: Callable[[dict[str, Any], int], int] | None = None,
    asks_for: Callable[[dict[str, Any]], str] | None = None,
    lazy: bool = False,
) -> Callable[[Callable[..., SeriesList]], Callable[..., SeriesList]]:
    """Register a series function under its name and its other names."""

    def register(run: Callable[..., SeriesList]) -> Callable[..., SeriesList]:
        REGISTRY.add(
            names, lambda name: Function(name, group, params, run, aggregator, earlier, asks_for, lazy)
        )
        return run

    return register


_INTEGER_MAX = 1 << 53  # beyond it neighbours cannot be told apart
_TRUE, _FALSE = {"true", "1"}, {"false", "0"}
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
    if text in REGISTRY.functions:
        return text
    consolidation.canonical(text.removesuffix("Series"))
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
    "date": _text,
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
