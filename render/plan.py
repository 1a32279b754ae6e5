"""From targets to series lists: parse → plan (names resolved, windows widened, cost counted) → evaluate.

    series = render(store, ["sumSeries(servers.*.cpu)"], start=…, until=…, now=…, zone=…)

A window is graphite's: the first datapoint lies after `start`, the last may lie on `until`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import cached_property
from typing import Any, TypeVar

from render.config import DEFAULT_LIMITS, Limits
from render.errors import ArgumentError, RenderError, TargetError, TooMuch, UnknownFunction
from render.explain import Trace
from render.extras import NO_EXTRAS, Extras
from render.functions import REGISTRY
from render.functions.fold import Fold
from render.functions.registry import Function, Param, convert
from render.lookups.tables import Lookups
from render.reading import Key, Part, Reading, Request, Source, Window
from render.series import SeriesList
from render.target import NO_VARIABLES, Call, Constant, Node, Pattern, parse
from storage.consolidation import canonical

T = TypeVar("T")

_PATTERN_CALL = "seriesByTag"  # a call that is a pattern by its whole text
_LISTS = ("seriesList", "seriesLists")
_VALUES_MAX = 128  # that a repeatable parameter takes, series lists aside


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
    cancelled: Callable[[], bool] = lambda: False,
    trace: Trace | None = None,
    extras: Extras = NO_EXTRAS,
    stitched: bool = False,
    admitted: Callable[[Request], None] = lambda _: None,
) -> list[SeriesList]:
    """One series list a target. What several targets share is read and evaluated once. Raises RenderError.

    `cancelled` tells when nobody waits for the answer any more; `trace` is told what is done, and `admitted` that it
    may be read. `stitched`: a long range is fine where there is fine data, and coarse before.
    """
    if len(targets) > limits.targets_max:
        raise TooMuch(f"{len(targets)} targets in a request; at most {limits.targets_max}")
    nodes = [parse(extras.macros.expand(target), variables=variables) for target in targets]
    window = Window(start, until)
    request = Request(source, limits, clock, _repeated(nodes), window, cancelled=cancelled, trace=trace)
    context = Context(window, now, zone, x_files_factor, variables, request, extras=extras, stitched=stitched)
    _admit(nodes, context)
    admitted(request)
    return [evaluate(node, context) for node in nodes]


def evaluate(target: Node, context: Context) -> SeriesList:
    """The series of a whole target; raises TargetError where that is a constant."""
    if isinstance(target, Constant):
        raise TargetError(repr(target.value), target.column, "a constant is no target, a path or a call")
    return context.evaluate(target)


@dataclass(frozen=True, eq=False)
class Context:
    """What a series function knows of its request; `start` and `until` are those it is evaluated over.

    What a function makes of `start`, `until` and `now` holds for these seconds only, so that its answer is not given
    for another window. `window` is for what all seconds of a step have in common, such as the grid's first point.
    """

    window: Window  # the first datapoint lies after its start
    at: int  # now, epoch seconds
    zone: tzinfo
    x_files_factor: float | None  # the request's; a function's own argument goes before it
    variables: Mapping[str, str]
    request: Request
    method: str | None = None  # the aggregation to read coarse archives by, None = each series' own
    part: Part | None = None  # of this pattern only these series are read
    stitched: bool = False  # long ranges are put together of all archives
    extras: Extras = NO_EXTRAS

    @property
    def start(self) -> int:
        """Epoch seconds, as the others."""
        return self._own_seconds(self.window.start)

    @property
    def until(self) -> int:
        return self._own_seconds(self.window.until)

    @property
    def now(self) -> int:
        self.request.may_recur = False
        return self.at

    def _own_seconds(self, seconds: int) -> int:
        self.request.is_of_one_window = True
        return seconds

    @property
    def lookups(self) -> Lookups:
        self.may_wait()
        return self.extras.lookups

    def check(self) -> None:
        """Raises Deadline when the request has taken too long."""
        self.request.check()

    def may_wait(self) -> None:
        """See Request."""
        self.request.may_wait()

    def fetch(self, pattern: str) -> SeriesList:
        """The series that a pattern names, over this window, under their paths."""
        factor = 0.0 if self.x_files_factor is None else self.x_files_factor
        if self.part is not None and self.part.pattern == pattern:
            return self.request.fetch_part(self.part, self.reading, self.at, factor)
        return self.request.fetch(pattern, self.reading, self.at, factor)

    @property
    def stacks(self) -> dict[str, SeriesList]:
        return self.request.stacks

    @property
    def reading(self) -> Reading:
        return Reading(self.window, self.method, self.stitched)

    def evaluate(self, node: Node, start: int | None = None, until: int | None = None) -> SeriesList:
        """The series of a tree over this window, or another."""
        there = self.over(start, until)
        if isinstance(node, Constant):
            raise TargetError(repr(node.value), node.column, "a constant is no series list")
        pattern = self.pattern_of(node)
        if isinstance(node, Pattern) or pattern is not None:
            return there.fetch(node.text)
        return there._shared(node)

    def step_of(self, node: Node) -> int:
        """The longest step of a tree's series, 1 if there are none; a pattern is not read for that."""
        pattern = self.pattern_of(node)
        if pattern is None:
            return max((block.step for block in self.evaluate(node).blocks), default=1)
        return max((grid.step for grid in self.request.grids(pattern, self.reading, self.at)), default=1)

    def pattern_of(self, node: Node) -> str | None:
        """The pattern that a node is, seriesByTag() too, which the store is asked for then; None = none."""
        if isinstance(node, Call) and node.function == _PATTERN_CALL:
            self.request.find_tagged(node.text, _expressions(node, self))
            return node.text
        return node.text if isinstance(node, Pattern) else None

    def evaluate_text(self, target: str) -> SeriesList:
        """The series of a target that a function has made up, such as applyByNode's template."""
        return self.evaluate(parse(self.extras.macros.expand(target), variables=self.variables))

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
        window = Window(
            self.window.start if start is None else start, self.window.until if until is None else until
        )
        if window.until - window.start > self.request.limits.span_s_max:
            raise TooMuch(
                f"a window of {window.until - window.start} s; at most {self.request.limits.span_s_max}"
            )
        return replace(self, window=window)

    def _shared(self, call: Call) -> SeriesList:
        shared = self.request.shared
        if self.part is not None or not shared or (key := _key(call)) not in shared:
            return _call(call, self)
        kept, at = self.request.evaluated, (key, self.reading)
        if at not in kept:
            kept[at] = _call(call, self)
        elif self.request.trace is not None:
            with self.request.trace.step(_text(call)) as step:
                step.made(kept[at])
                step.shared = True
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

    def shifted(self, seconds: int) -> SeriesList:
        """Over the window that begins and ends so much later."""
        start, until = self.context.window
        return self.evaluate(start + seconds, until + seconds)


@dataclass(frozen=True)
class _Asked(Expression):
    """Which windows are asked for; there is nothing in them."""

    windows: list[tuple[int | None, int | None]] = field(default_factory=list)

    def evaluate(self, start: int | None = None, until: int | None = None) -> SeriesList:
        self.windows.append((start, until))
        return SeriesList()


def _call(call: Call, context: Context) -> SeriesList:
    """Bind, convert and evaluate the arguments, then run the function."""
    context.check()
    function = _function(call.function)
    if context.request.trace is None:
        return _made(function, call, context)
    with context.request.trace.step(_text(call)) as step:
        made = _made(function, call, context)
        step.made(made)
    return made


def _made(function: Function, call: Call, context: Context) -> SeriesList:
    bound = _bind(function, call.args, dict(call.kwargs))
    if not function.params:
        return function.run(context)
    first, *others = function.params
    rest = [_argument(function, param, bound[param.name], context) for param in others]
    names = {param.name: value for param, value in zip(others, rest, strict=True)}
    widened, made = _asking(function, names, bound[first.name], context), None
    if function.fold is not None and (fold := function.fold(names)) is not None:
        made = _folded(fold, bound[first.name], widened)
    if made is None:
        made = function.run(context, _argument(function, first, bound[first.name], widened), *rest)
    return context.request.check_names(function.name, made)


def _asking(
    function: Function, arguments: dict[str, Any], nodes: Sequence[Node], context: Context
) -> Context:
    """The context in which a function's first argument is evaluated."""
    if function.earlier is not None:
        context = _widened(function.earlier, arguments, nodes, context)
    if function.asks_for is not None:
        context = replace(context, method=canonical(function.asks_for(arguments)))
    return context


def _folded(fold: Fold, nodes: Sequence[Node], context: Context) -> SeriesList | None:
    """An aggregate's outcome where its lists are long, part by part; None where all can or must be held at once."""
    parts = [list(_parts(node, context)) for node in nodes]
    if not any(parts):
        return None
    for node, theres in zip(nodes, parts, strict=True):
        for there in context.request.each_part(theres or [context]):
            fold.add(there.evaluate(node))
    return fold.done()


def _parts(node: Node, context: Context) -> Iterator[Context]:
    """Contexts in which a list of very many series is evaluated part by part, if that gives the same."""
    inner = node
    while (pattern := context.pattern_of(inner)) is None:
        if not isinstance(inner, Call) or not inner.args or not _function(inner.function).each:
            return
        inner = inner.args[0]
    for part in context.request.parts(pattern, context.reading, context.at):
        yield replace(context, part=part)


def _expressions(call: Call, context: Context) -> Sequence[str]:
    """The arguments of seriesByTag()."""
    function = _function(call.function)
    (param,) = function.params
    bound = _bind(function, call.args, dict(call.kwargs))
    expressions: Sequence[str] = _argument(function, param, bound[param.name], context)
    return expressions


def _widened(
    earlier: Callable[[dict[str, Any], int], int],
    arguments: dict[str, Any],
    nodes: Sequence[Node],
    context: Context,
) -> Context:
    """The context over the window that begins earlier by as much as the function wants.

    That may depend on the step ("5 points"): the ordinary window's, which of a call only evaluating it tells.
    """
    step = max(map(context.step_of, nodes), default=1) if _depends_on_step(earlier, arguments) else 1
    return context.over(context.window.start - earlier(arguments, step), None)


def _depends_on_step(earlier: Callable[[dict[str, Any], int], int], arguments: dict[str, Any]) -> bool:
    return earlier(arguments, 1) != earlier(arguments, 86_413)


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
            near = function.near(name)
            hint = f", perhaps {near!r}" if near else ""
            raise ArgumentError(function.name, name, f"there is no such parameter{hint}: {signature}")
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


def _admit(nodes: Sequence[Node], context: Context) -> None:
    """Tell the request what will be read, so far as that is known: of a pattern of which nothing is, its window."""
    asked = [one for node in nodes for one in _foreseen(node, context)]
    for one in asked:
        context.request.foresee(*one)
    known = {pattern for pattern, _ in asked}
    rest = (pattern for node in nodes for pattern in _patterns(node) if pattern not in known)
    context.request.admit([*asked, *((pattern, context.reading) for pattern in rest)], context.at)


def _foreseen(node: Node, context: Context) -> list[tuple[str, Reading]]:
    """What will be fetched for a tree; of one with a fault nothing, it is told when that is evaluated."""
    try:
        return list(_readings(node, context))
    except RenderError:
        return []


def _readings(node: Node, context: Context) -> Iterator[tuple[str, Reading]]:
    """The patterns of a tree as they will be read, but for what only evaluating tells: how much earlier so many points
    of a call's outcome are. Reads nothing.
    """
    pattern = context.pattern_of(node)
    if pattern is not None:
        yield pattern, context.reading
    if pattern is not None or not isinstance(node, Call):
        return
    function = _function(node.function)
    if not function.params:
        return
    bound = _bind(function, node.args, dict(node.kwargs))
    first, *others = function.params
    if function.lazy:
        if not function.custom and all(
            isinstance(argument, Constant) for param in others for argument in bound[param.name]
        ):
            yield from _lazy_readings(function, bound, context)
        return
    inner = [(one, context) for param in others for one in bound[param.name]]
    if (there := _first_in(function, bound, context)) is not None:
        inner += [(one, there) for one in bound[first.name]]
    for one, where in inner:
        yield from _readings(one, where)


def _lazy_readings(
    function: Function, bound: Mapping[str, Sequence[Node]], context: Context
) -> Iterator[tuple[str, Reading]]:
    """Those of a lazy function's first argument: it says itself which windows it asks for, of no series at all."""
    first, *others = function.params
    (node,) = bound[first.name]
    asked = _Asked(node, context)
    function.run(
        context, asked, *(_argument(function, param, list(bound[param.name]), context) for param in others)
    )
    for window in dict.fromkeys(asked.windows):
        yield from _readings(node, context.over(*window))


def _first_in(function: Function, bound: Mapping[str, Sequence[Node]], context: Context) -> Context | None:
    """The context that a function's first argument will be evaluated in before any other; None = who knows."""
    first, *others = function.params
    if function.earlier is None and function.asks_for is None:
        return context
    if not all(isinstance(node, Constant) for param in others for node in bound[param.name]):
        return None
    arguments = {param.name: _argument(function, param, list(bound[param.name]), context) for param in others}
    calls = any(context.pattern_of(node) is None for node in bound[first.name])
    if function.earlier is not None and calls and _depends_on_step(function.earlier, arguments):
        return context
    return _asking(function, arguments, bound[first.name], context)


def _patterns(node: Node) -> Iterator[str]:
    """The patterns that stand in a target, but for tags'."""
    if isinstance(node, Pattern):
        yield node.text
    elif isinstance(node, Call):
        for inner in (*node.args, *(value for _, value in node.kwargs)):
            yield from _patterns(inner)


def _repeated(nodes: Sequence[Node]) -> frozenset[Key]:
    """The keys of the calls and patterns that stand more than once."""
    seen: Counter[Key] = Counter()
    for node in nodes:
        _key(node, seen)
    return frozenset(key for key, times in seen.items() if times > 1)


def _key(node: Node, seen: Counter[Key] | None = None) -> Key:
    """What a node evaluates, whatever its place in the text; counts calls and patterns into `seen`."""
    if isinstance(node, Pattern):
        if seen is not None:
            seen[node.text] += 1
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
