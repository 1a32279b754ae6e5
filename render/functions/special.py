"""Functions that make lines up, and those that say how a series is to be read: groups Special and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from render.errors import ArgumentError
from render.functions import kernels
from render.functions.context import Context
from render.functions.each import each
from render.functions.registry import SERIES, SERIES_LISTS, Param, function
from render.functions.window import check_points
from render.reading import Source
from render.series import Block, Matrix, SeriesList, Tags
from storage.events import Asked

_STEP = Param("step", "integer", default=60)
_NAME = Param("name", "string", required=True)


@function("changed", group="Special", params=[SERIES], each=True)
def changed(context: Context, series: SeriesList) -> SeriesList:
    """1 where a datapoint is another than the one before it, else 0, also where there is none.

    Example: changed(servers.web1.mem)
    """

    def marked(block: Block) -> Matrix:
        out = np.empty_like(block.values)
        kernels.changes(block.values, out)
        return out

    return each(series, "changed", marked)


_CONSOLIDATIONS = ("sum", "average", "avg", "avg_zero", "min", "max", "first", "last")  # graphite-web's
_KEPT_TOO = (
    "count",
    "median",
    "p50",
    "p75",
    "p90",
    "p95",
    "p99",
    "p99.9",
)  # what an archive can keep besides


@function(
    "consolidateBy",
    group="Special",
    params=[
        SERIES,
        Param(
            "consolidationFunc",
            "string",
            required=True,
            options=(*_CONSOLIDATIONS, *_KEPT_TOO),
        ),
    ],
    asks_for=lambda given: str(given["consolidationFunc"]),
    each=True,
)
def consolidate_by(context: Context, series: SeriesList, consolidation_func: str) -> SeriesList:
    """The series with another way of merging their points where there are more than are shown.

    Coarse archives that keep several aggregations are read by the one that is asked for: with "max" the highest
    value of each interval, where otherwise it would be the highest of averages.

    Example: consolidateBy(servers.web1.requests, "sum")
    """
    argument = f',"{consolidation_func}"'
    named = each(series, "consolidateBy", lambda b: b.values, argument, consolidateBy=consolidation_func)
    return named.map(lambda block: block.with_(consolidations=[consolidation_func] * len(block)))


@function("cumulative", group="Special", params=[SERIES], asks_for=lambda given: "sum", each=True)
def cumulative(context: Context, series: SeriesList) -> SeriesList:
    """The series whose points merge into their sum, as counts should: consolidateBy() with `sum`, and called so.

    Example: cumulative(servers.web1.requests)
    """
    return consolidate_by(context, series, "sum")


@function(
    "setXFilesFactor",
    "xFilesFactor",
    group="Special",
    params=[SERIES, Param("xFilesFactor", "float", required=True)],
    each=True,
)
def set_x_files_factor(context: Context, series: SeriesList, x_files_factor: float) -> SeriesList:
    """The series with another part of points that must be known for a merged point to count.

    It holds for these series and what is made of them. (In graphite-web it also changes other arguments and
    targets that are evaluated later.)

    Example: summarize(xFilesFactor(servers.web1.cpu, 0.5), "10min", "avg")
    """
    shown = str(x_files_factor)
    return series.map(
        lambda block: block.with_(x_files_factor=x_files_factor, tags=block.tags.plus(xFilesFactor=shown))
    )


@function("graphiteWeb", group="Special", params=[SERIES_LISTS])
def graphite_web(context: Context, lists: Sequence[SeriesList]) -> SeriesList:
    """The series as they are. carbonapi has a graphite-web evaluate what stands in it; here all its functions are
    evaluated on the spot, and nothing is asked of another server.

    Example: sumSeries(graphiteWeb(smartSummarize(servers.*.cpu, "5min")))
    """
    return SeriesList.concat(lists)


@function(
    "fallbackSeries",
    group="Special",
    params=[SERIES, Param("fallback", "seriesList", required=True)],
)
def fallback_series(context: Context, series: SeriesList, fallback: SeriesList) -> SeriesList:
    """The series, or the fallback if the pattern names none. Missing datapoints stay: those are transformNull()'s.

    Example: fallbackSeries(servers.web7.cpu, constantLine(0))
    """
    return series or fallback


@function(
    "substr",
    group="Special",
    params=[SERIES, Param("start", "node", default=0), Param("stop", "node", default=0)],
    each=True,
)
def substr(context: Context, series: SeriesList, start: int = 0, stop: int = 0) -> SeriesList:
    """The series called by the nodes start … stop - 1 of their path (0: to its end), without functions.

    Example: substr(sumSeries(servers.*.cpu), 0, 2)
    """

    def short(name: str) -> str:
        left, right = name.rfind("(") + 1, name.find(")")
        path = name[left : right if right >= 0 else None]
        nodes = path.split(".")[start : stop or None]
        return ".".join(nodes).partition(",")[0]

    return series.map(lambda block: block.with_(names=[short(name) for name in block.names]))


@function("constantLine", group="Special", params=[Param("value", "float", required=True)])
def constant_line(context: Context, value: float) -> SeriesList:
    """A level line at a number: three points, at the window's begin, middle and end.

    Example: constantLine(42.5)
    """
    return SeriesList([_level(context, value)])


@function(
    "threshold",
    group="Graph",
    params=[Param("value", "float", required=True), Param("label", "string"), Param("color", "string")],
)
def threshold(
    context: Context, value: float, label: str | None = None, color: str | None = None
) -> SeriesList:
    """A level line at a number with a label and a colour of its own.

    Example: threshold(90, "too much", "red")
    """
    block = _level(context, value)
    return SeriesList(
        [
            block.with_(
                names=[label] if label else block.names,
                options=[{"color": color}] if color else None,
            )
        ]
    )


@function("identity", group="Calculate", params=[_NAME])
def identity(context: Context, name: str) -> SeriesList:
    """A datapoint a minute whose value is its own time in epoch seconds, for tests and calculations with time.

    Example: identity("the.time")
    """
    times = _times(context, "identity", 60)
    return _made_up(context, name, times, 60, times.astype(float), f'identity("{name}")')


@function("timeFunction", "time", group="Transform", params=[_NAME, _STEP])
def time_function(context: Context, name: str, step: int = 60) -> SeriesList:
    """A datapoint a step (seconds) whose value is its own time in epoch seconds.

    Example: timeFunction("the.time", 10)
    """
    times = _times(context, "timeFunction", step)
    return _made_up(context, name, times, step, times.astype(float), name)


@function(
    "sinFunction",
    "sin",
    group="Transform",
    params=[_NAME, Param("amplitude", "integer", default=1), _STEP],
)
def sin_function(context: Context, name: str, amplitude: int = 1, step: int = 60) -> SeriesList:
    """A datapoint a step (seconds): the sine of its time in epoch seconds, times the amplitude.

    Example: sinFunction("the.sine", 2)
    """
    times = _times(context, "sinFunction", step)
    return _made_up(context, name, times, step, np.sin(times.astype(float)) * amplitude, name)


_EVENT_STEPS = (1, 10, 60, 300, 3600, 86_400, 7 * 86_400, 365 * 86_400)
_EVENT_POINTS_MAX = 100_000
_EVENT_TAGS_MAX = 64


class Remembering(Protocol):
    """A request whose source knows events."""

    @property
    def source(self) -> Source: ...

    def count_events(self, asked: Asked, step: int) -> npt.NDArray[np.float64]: ...


class Recalling(Context, Protocol):
    """A context that has such a request."""

    @property
    def request(self) -> Remembering: ...


@function("events", group="Special", params=[Param("tags", "string", required=True, multiple=True)])
def events(context: Recalling, tags: Sequence[str]) -> SeriesList:
    """How many events with all of the tags there were each second, missing where none; `*` stands for all events.
    A point of a window of more than a day is more than a second: 10, 60, 300 …, up to 100,000 points.

    Example: drawAsInfinite(events("deploy", "web"))
    """
    if len(tags) > _EVENT_TAGS_MAX:
        raise ArgumentError("events", "tags", f"{len(tags)} are given; at most {_EVENT_TAGS_MAX}")
    seconds = context.until - context.start
    step = next((step for step in _EVENT_STEPS if seconds <= step * _EVENT_POINTS_MAX), _EVENT_STEPS[-1])
    start, until = context.start - context.start % step, context.until - context.until % step
    asked = Asked(start, until, () if list(tags) == ["*"] else tags)
    name = 'events("' + '", "'.join(tags) + '")'
    counts = context.request.count_events(asked, step)
    block = Block(
        counts[None, :], start, step, [name], [name], Tags([{"name": name}]), ["sum"],
        context.x_files_factor or 0.0,
    )  # fmt: skip
    return SeriesList([block])


@function("randomWalkFunction", "randomWalk", group="Special", params=[_NAME, _STEP])
def random_walk(context: Context, name: str, step: int = 60) -> SeriesList:
    """A datapoint a step (seconds): first 0, then each at most 0.5 above or below the one before, by chance.

    Example: randomWalk("the.drunkard")
    """
    times = _times(context, "randomWalkFunction", step)
    moves = np.random.default_rng().random(len(times)) - 0.5
    return _made_up(context, name, times, step, np.concatenate(([0.0], np.cumsum(moves)))[:-1], name)


def line(
    context: Context,
    numbers: npt.NDArray[np.float64],
    names: Sequence[str],
    expressions: Sequence[str],
    tags: Tags,
) -> Block:
    """Level lines, one a number, as graphite-web draws them: points at the window's begin, middle and end."""
    step = max((context.until - context.start) // 2, 1)
    return Block(
        np.repeat(numbers[:, None], 3, axis=1),
        context.start,
        step,
        names,
        expressions,
        tags,
        ["average"] * len(numbers),
        context.x_files_factor or 0.0,
        fixed_end=context.until,
    )


def _level(context: Context, value: float) -> Block:
    name = str(value)
    own: list[Mapping[str, str]] = [{"name": name}]
    return line(context, np.array([value]), [name], [f"constantLine({name})"], Tags(own))


def _times(context: Context, function_: str, step: int) -> npt.NDArray[np.int64]:
    """The request's start and every step after it, before until; raises ArgumentError if too many."""
    if step <= 0:
        raise ArgumentError(function_, "step", f"takes 1 second or more, not {step}")
    check_points(function_, "step", (context.until - context.start) // step)
    return np.arange(context.start, context.until, step, dtype=np.int64)


def _made_up(
    context: Context,
    name: str,
    times: npt.NDArray[np.int64],
    step: int,
    values: npt.NDArray[np.float64],
    expression: str,
) -> SeriesList:
    """One series on the request's own grid, called `name`; as in graphite-web it ends at until."""
    return SeriesList(
        [
            Block(
                values[None, :], context.start, step, [name], [expression], Tags([name]), ["average"],
                context.x_files_factor or 0.0, fixed_end=context.until,
            )
        ]
    )  # fmt: skip
