"""From targets to series lists: parse → plan (names resolved, windows widened, cost counted) → evaluate.

    series = render(store, ["sumSeries(servers.*.cpu)"], start=…, until=…, now=…, zone=…)

A window is graphite's: the first datapoint lies after `start`, the last may lie on `until`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from render.config import DEFAULT_LIMITS, Limits
from render.errors import ArgumentError, Deadline, TargetError, TooMuch, UnknownFunction
from render.functions import REGISTRY
from render.functions.registry import Function, Param, convert
from render.series import Block, Matrix, SeriesList, Tags
from render.target import NO_VARIABLES, Call, Constant, Node, Pattern, parse
from storage.consolidation import canonical
from storage.errors import InvalidGlob

T = TypeVar("T")
Key: TypeAlias = Hashable
SeriesIds = npt.NDArray[np.int32]

_PATTERN_CALL = "seriesByTag"  # a call that is a pattern by its whole text: the store knows tags
_LISTS = ("seriesList", "seriesLists")
_VALUES_MAX = 128  # that a repeatable parameter takes, series lists aside
_PROBED = 16  # series that tell how many points a big fetch would give


class Fetched(Protocol):
    """Series that share one grid; `positions` says which of the asked ones. storage.store.Fetched is one."""

    @property
    def positions(self) -> npt.NDArray[np.intp]: ...
    @property
    def start(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def values(self) -> Matrix: ...


class Source(Protocol):
    """What a query needs of the store."""

    def find_series(self, pattern: str) -> tuple[list[str], SeriesIds]:
        """The paths that a pattern names, sorted, and their series."""
        ...

    def fetch(
        self, series: SeriesIds, start: int, until: int, now: int, method: str | None = None
    ) -> Sequence[Fetched]:
        """The datapoints in (start, until]; series that have no such window come in none of the answers.

        `method`: the aggregation to read coarse archives by, where they keep several.
        """
        ...

    def consolidations(self, series: SeriesIds) -> list[str]:
        """Each series' own aggregation."""
        ...


def render(
    source: Source,
    targets: Sequence[str],
    *,
    start: int,
    until: int,
    now: int,
    zone: tzinfo,
    x_files_factor: float | None = None,
    variables: Mapping[str, str] = NO_VARIABLES,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> list[SeriesList]:
    """One series list a target. What several targets share is read and evaluated once. Raises RenderError."""
    if len(targets) > limits.targets_max:
        raise TooMuch(f"{len(targets)} targets in a request; at most {limits.targets_max}")
    nodes = [parse(target, variables=variables) for target in targets]
    request = Request(source, limits, clock, shared=_repeated(nodes))
    context = Context(start, until, now, zone, x_files_factor, variables, request)
    return [evaluate(node, context) for node in nodes]


def evaluate(target: Node, context: Context) -> SeriesList:
    """The series of a whole target; raises TargetError where that is a constant."""
    if isinstance(target, Constant):
        raise TargetError(repr(target.value), target.column, "a constant is no target, a path or a call")
    return context.evaluate(target)


class Window(NamedTuple):
    start: int  # epoch seconds
    until: int


class Reading(NamedTuple):
    """What of a series is read."""

    window: Window
    method: str | None  # the aggregation to read coarse archives by, None = the series' own


class Found(NamedTuple):
    """What a pattern names."""

    paths: list[str]
    series: SeriesIds
    consolidations: list[str]


class Request:
    """What a request has read so far, so that nothing is read twice, and what it has cost.

    `shared` holds the keys of the calls that stand more than once in the targets: their outcome is kept.
    """

    def __init__(
        self,
        source: Source,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        shared: frozenset[Key] = frozenset(),
    ) -> None:
        self.source, self.limits, self.shared = source, limits, shared
        self._clock, self._deadline = clock, clock() + limits.duration_s
        self._found: dict[str, Found] = {}
        self._fetched: dict[tuple[str, Reading], SeriesList] = {}
        self.evaluated: dict[tuple[Key, Reading], SeriesList] = {}
        self.series = 0
        self.points = 0

    def check(self) -> None:
        """Raises Deadline when the time is over. Called between steps; long loops call it too."""
        if self._clock() > self._deadline:
            raise Deadline(self.limits.duration_s)

    def check_names(self, function: str, series: SeriesList) -> SeriesList:
        """The list as it is; raises TooMuch if its names have grown too long."""
        chars = sum(sum(map(len, block.names)) for block in series.blocks)
        if chars > self.limits.name_chars_max:
            most = self.limits.name_chars_max
            raise TooMuch(
                f"{function}() makes names of {chars} characters; at most {most}: use alias() within"
            )
        return series

    def find(self, pattern: str) -> Found:
        found = self._found.get(pattern)
        if found is None:
            try:
                paths, series = self.source.find_series(pattern)
            except InvalidGlob as error:
                raise TargetError(pattern, 1, str(error)) from error
            found = self._found[pattern] = Found(paths, series, self.source.consolidations(series))
        return found

    def fetch(self, pattern: str, reading: Reading, now: int, x_files_factor: float) -> SeriesList:
        """The series of a pattern in a window. Raises TooMuch before reading what the limits do not allow."""
        fetched = self._fetched.get((pattern, reading))
        if fetched is None:
            self.check()
            found, (window, method) = self.find(pattern), reading
            self._count_series(pattern, len(found.series))
            self._estimate(pattern, found.series, window, now)
            parts = self.source.fetch(found.series, *window, now, method) if len(found.series) else ()
            self._count_points(pattern, sum(part.values.size for part in parts))
            fetched = self._fetched[pattern, reading] = _listed(pattern, found, parts, x_files_factor)
        return fetched

    def _count_series(self, pattern: str, count: int) -> None:
        self.series += count
        if self.series > self.limits.series_max:
            raise TooMuch(
                f"{pattern!r} names {count} series, {self.series} with what the request has read before; "
                f"at most {self.limits.series_max}: narrow the pattern"
            )

    def _estimate(self, pattern: str, series: SeriesIds, window: Window, now: int) -> None:
        """Raises TooMuch if the points of a few series say that those of all would be too many.

        Nothing is read where even a point a second would not be too many. Series of one pattern may have
        different steps, hence `_count_points` counts once more when they have been read.
        """
        if self.points + len(series) * (window.until - window.start) <= self.limits.points_max:
            return
        few = series[np.unique(np.linspace(0, len(series) - 1, _PROBED, dtype=np.intp))]
        points = max((part.values.shape[1] for part in self.source.fetch(few, *window, now)), default=0)
        if self.points + points * len(series) > self.limits.points_max:
            raise self._too_many_points(pattern, points * len(series), f"about {points} x {len(series)}")

    def _count_points(self, pattern: str, points: int) -> None:
        if self.points + points > self.limits.points_max:
            raise self._too_many_points(pattern, points, str(points))
        self.points += points

    def _too_many_points(self, pattern: str, points: int, said: str) -> TooMuch:
        before = f", {self.points} have been read before" if self.points else ""
        return TooMuch(
            f"{pattern!r} would read {said} points{before}; at most {self.limits.points_max} a request: "
            "narrow the pattern or the window"
        )


@dataclass(frozen=True, eq=False)
class Context:
    """What a series function knows of its request; `start` and `until` are those it is evaluated over."""

    start: int  # epoch seconds; the first datapoint lies after it
    until: int
    now: int
    zone: tzinfo
    x_files_factor: float | None  # the request's; a function's own argument goes before it
    variables: Mapping[str, str]
    request: Request
    method: str | None = None  # the aggregation to read coarse archives by, None = each series' own

    def check(self) -> None:
        """Raises Deadline when the request has taken too long."""
        self.request.check()

    def fetch(self, pattern: str) -> SeriesList:
        """The series that a pattern names, over this window, under their paths."""
        factor = 0.0 if self.x_files_factor is None else self.x_files_factor
        return self.request.fetch(pattern, self._reading, self.now, factor)

    @property
    def _reading(self) -> Reading:
        return Reading(Window(self.start, self.until), self.method)

    def evaluate(self, node: Node, start: int | None = None, until: int | None = None) -> SeriesList:
        """The series of a tree over this window, or another."""
        there = self.over(start, until)
        if isinstance(node, Pattern) or (isinstance(node, Call) and node.function == _PATTERN_CALL):
            return there.fetch(node.text)
        if isinstance(node, Constant):
            raise TargetError(repr(node.value), node.column, "a constant is no series list")
        return there._shared(node)

    def evaluate_text(self, target: str) -> SeriesList:
        """The series of a target that a function has made up, such as applyByNode's template."""
        return self.evaluate(parse(target, variables=self.variables))

    def call(self, name: str, *arguments: object) -> SeriesList:
        """Call a function by its name with arguments that are evaluated already: a callback."""
        self.check()
        function = _function(name)
        if function.lazy:
            raise ArgumentError(name, "callback", "it evaluates its own arguments, so it cannot be one")
        bound = _bind(function, arguments, {})
        given = [
            _given(param, [convert(function, param, value) for value in bound[param.name]])
            for param in function.params
        ]
        return function.run(self, *given)

    def over(self, start: int | None, until: int | None) -> Context:
        """This context with another window."""
        if start is None and until is None:
            return self
        start, until = self.start if start is None else start, self.until if until is None else until
        if until - start > self.request.limits.span_s_max:
            raise TooMuch(f"a window of {until - start} s; at most {self.request.limits.span_s_max}")
        return replace(self, start=start, until=until)

    def _shared(self, call: Call) -> SeriesList:
        shared = self.request.shared
        if not shared or (key := _key(call)) not in shared:
            return _call(call, self)
        kept, at = self.request.evaluated, (key, self._reading)
        if at not in kept:
            kept[at] = _call(call, self)
        return kept[at]


@dataclass(frozen=True)
class Expression:
    """An argument that a lazy function evaluates by itself, over any window."""

    node: Node
    context: Context

    @cached_property
    def text(self) -> str:
        return _text(self.node)

    def evaluate(self, start: int | None = None, until: int | None = None) -> SeriesList:
        return self.context.evaluate(self.node, start, until)


def _call(call: Call, context: Context) -> SeriesList:
    """Bind, convert and evaluate the arguments, then run the function."""
    context.check()
    function = _function(call.function)
    bound = _bind(function, call.args, dict(call.kwargs))
    if not function.params:
        return function.run(context)
    first, *others = function.params
    rest = [_argument(function, param, bound[param.name], context) for param in others]
    widened, names = context, {param.name: value for param, value in zip(others, rest, strict=True)}
    if function.earlier is not None:
        widened = _widened(function.earlier, names, bound[first.name], context)
    if function.asks_for is not None:
        widened = replace(widened, method=canonical(function.asks_for(names)))
    made = function.run(context, _argument(function, first, bound[first.name], widened), *rest)
    return context.request.check_names(function.name, made)


def _widened(
    earlier: Callable[[dict[str, Any], int], int],
    arguments: dict[str, Any],
    nodes: list[Node],
    context: Context,
) -> Context:
    """The context over the window that begins earlier by as much as the function wants.

    That may depend on the step ("5 points"), which only reading the ordinary window tells: so ask for two
    steps first, and read only if the answers differ.
    """
    seconds = earlier(arguments, 1)
    if seconds != earlier(arguments, 86_413):
        lists = [context.evaluate(node) for node in nodes]
        step = max((block.step for one in lists for block in one.blocks), default=1)
        seconds = earlier(arguments, step)
    return context.over(context.start - seconds, None)


def _argument(function: Function, param: Param, nodes: list[Node], context: Context) -> Any:
    return _given(param, [_value(function, param, node, context) for node in nodes])


def _given(param: Param, values: list[Any]) -> Any:
    """What a parameter gets: all its values if it takes several, the one, or its default."""
    if param.multiple:
        return values
    return values[0] if values else param.default


def _value(function: Function, param: Param, node: Node, context: Context) -> Any:
    if isinstance(node, Constant):
        return convert(function, param, node.value)
    if function.lazy and param.type in _LISTS:
        return Expression(node, context)
    if param.type not in (*_LISTS, "any"):
        return convert(function, param, SeriesList())  # says what it takes, and reads nothing for that
    return convert(function, param, context.evaluate(node))


def _function(name: str) -> Function:
    function = REGISTRY.functions.get(name)
    if function is None:
        raise UnknownFunction(name, REGISTRY.near(name))
    return function


def _bind(function: Function, args: Sequence[T], kwargs: Mapping[str, T]) -> dict[str, list[T]]:
    """What each parameter is given, by place or by name; raises ArgumentError, which shows the signature."""
    bound: dict[str, list[T]] = {param.name: [] for param in function.params}
    left = list(args)
    for param in function.params:
        take = len(left) if param.multiple else 1
        bound[param.name], left = left[:take], left[take:]
    signature = function.signature
    if left:
        most = len(args) - len(left)
        raise ArgumentError(
            function.name, "arguments", f"{len(args)} are given, {most} are taken: {signature}"
        )
    for name, value in kwargs.items():
        if name not in bound:
            raise ArgumentError(function.name, name, f"there is no such parameter: {signature}")
        if bound[name]:
            raise ArgumentError(function.name, name, f"is given twice: {signature}")
        bound[name] = [value]
    for param in function.params:
        if param.type not in _LISTS and len(bound[param.name]) > _VALUES_MAX:
            reason = f"{len(bound[param.name])} are given; at most {_VALUES_MAX}"
            raise ArgumentError(function.name, param.name, reason)
        if param.required and not bound[param.name]:
            raise ArgumentError(function.name, param.name, f"is missing: {signature}")
    return bound


def _listed(pattern: str, found: Found, parts: Sequence[Fetched], x_files_factor: float) -> SeriesList:
    """What was fetched as one block a grid, in the order of the paths."""
    grids: dict[tuple[int, int, int], list[Fetched]] = {}
    for part in parts:
        if len(part.positions):
            grids.setdefault((part.start, part.step, part.values.shape[1]), []).append(part)
    blocks, places = [], []
    for (start, step, _), same in grids.items():
        at, values = _merged(same)
        whole = len(at) == len(found.paths)
        names = found.paths if whole else [found.paths[i] for i in at]
        methods = found.consolidations if whole else [found.consolidations[i] for i in at]
        expressions = [pattern] * len(names)
        blocks.append(
            Block(
                values, start, step, names, expressions, Tags(names), methods, x_files_factor=x_files_factor
            )
        )
        places.append(at)
    return SeriesList(blocks, np.argsort(np.concatenate(places)) if len(blocks) > 1 else None)


def _merged(parts: list[Fetched]) -> tuple[npt.NDArray[np.intp], Matrix]:
    """Parts on one grid as one matrix, their positions ascending; copies nothing if they are so already."""
    positions = np.concatenate([part.positions for part in parts])
    if len(parts) == 1 and bool(np.all(positions[1:] > positions[:-1])):
        return positions, parts[0].values
    order = np.argsort(positions)
    rows = np.empty_like(order)
    rows[order] = np.arange(len(order))
    values = np.empty((len(order), parts[0].values.shape[1]))
    at = 0
    for part in parts:
        values[rows[at : at + len(part.positions)]] = part.values
        at += len(part.positions)
    return positions[order], values


def _repeated(nodes: Sequence[Node]) -> frozenset[Key]:
    """The keys of the calls that stand more than once."""
    seen: Counter[Key] = Counter()
    for node in nodes:
        _key(node, seen)
    return frozenset(key for key, times in seen.items() if times > 1)


def _key(node: Node, seen: Counter[Key] | None = None) -> Key:
    """What a node evaluates, whatever its place in the text; counts calls into `seen`."""
    if isinstance(node, Pattern):
        return node.text
    if isinstance(node, Constant):
        return (type(node.value), node.value)  # 1, 1.0 and true are equal in Python and print differently
    args = tuple(_key(arg, seen) for arg in node.args)
    kwargs = tuple((name, _key(value, seen)) for name, value in node.kwargs)
    key = (node.function, args, kwargs)
    if seen is not None:
        seen[key] += 1
    return key


def _text(node: Node) -> str:
    """A node as a target; a call that is piped into stands as one with that argument."""
    if isinstance(node, Pattern):
        return node.text
    if isinstance(node, Constant):
        return f'"{node.value}"' if isinstance(node.value, str) else str(node.value)
    arguments = [*map(_text, node.args), *(f"{name}={_text(value)}" for name, value in node.kwargs)]
    return f"{node.function}({','.join(arguments)})"
