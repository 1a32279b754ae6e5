"""Functions that say how series are drawn: group Graph. They set options and change no datapoint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from render.errors import ArgumentError
from render.functions.context import Context
from render.functions.registry import SERIES, Param, function
from render.series import Block, SeriesList, Tags
from render.timespec import parse_time


@function("alpha", group="Graph", params=[SERIES, Param("alpha", "float", required=True)])
def alpha(context: Context, series: SeriesList, opacity: float) -> SeriesList:
    """The series drawn with an opacity from 0 to 1.

    Example: alpha(servers.web1.cpu, 0.5)
    """
    return series.map(lambda block: _drawn(block, alpha=opacity))


@function("areaBetween", group="Graph", params=[SERIES])
def area_between(context: Context, series: SeriesList) -> SeriesList:
    """The area between two series, the lower first.

    Example: areaBetween(servers.web1.{cpu,mem})
    """
    if len(series) != 2:
        raise ArgumentError("areaBetween", "seriesList", f"takes two series, not {len(series)}")
    name = f"areaBetween({series.expressions[1]})"
    tags = series.tags[1] | {"areaBetween": "1"}

    def bound(which: int, **options: object) -> SeriesList:
        drawn = series.pick([which]).map(lambda block: _drawn(block, stacked=True, **options))
        return drawn.map(lambda block: block.with_(names=[name], tags=Tags([tags])))

    return SeriesList.concat([bound(0, invisible=True), bound(1)])


@function("color", group="Graph", params=[SERIES, Param("theColor", "string", required=True)])
def color(context: Context, series: SeriesList, the_color: str) -> SeriesList:
    """The series drawn in a colour: a name such as `red`, or `ff8800`.

    Example: color(servers.web1.cpu, "red")
    """
    return series.map(lambda block: _drawn(block, color=the_color))


@function("dashed", group="Graph", params=[SERIES, Param("dashLength", "integer", default=5)])
def dashed(context: Context, series: SeriesList, dash_length: int = 5) -> SeriesList:
    """The series drawn as dashed lines.

    Example: dashed(servers.web1.cpu, 3)
    """

    def drawn(block: Block) -> Block:
        names = _shown(block, lambda name: f"dashed({name}, {dash_length:g})")
        return _drawn(names, dashed=dash_length).with_(tags=block.tags.plus(dashed=str(dash_length)))

    return series.map(drawn)


@function("drawAsInfinite", group="Graph", params=[SERIES])
def draw_as_infinite(context: Context, series: SeriesList) -> SeriesList:
    """The series drawn as a line over the whole height wherever it is not 0: for events, such as deploys.

    Example: drawAsInfinite(servers.web3.requests)
    """

    def drawn(block: Block) -> Block:
        names = _shown(block, lambda name: f"drawAsInfinite({name})")
        return _drawn(names, drawAsInfinite=True).with_(tags=block.tags.plus(drawAsInfinite="1"))

    return series.map(drawn)


@function("lineWidth", group="Graph", params=[SERIES, Param("width", "float", required=True)])
def line_width(context: Context, series: SeriesList, width: float) -> SeriesList:
    """The series drawn with a line of so many pixels.

    Example: lineWidth(servers.web1.cpu, 3)
    """
    return series.map(lambda block: _drawn(block, lineWidth=width))


@function("secondYAxis", group="Graph", params=[SERIES])
def second_y_axis(context: Context, series: SeriesList) -> SeriesList:
    """The series drawn against the axis on the right, for another unit than that of the others.

    Example: secondYAxis(servers.web1.cpu)
    """

    def drawn(block: Block) -> Block:
        names = _shown(block, lambda name: f"secondYAxis({name})")
        return _drawn(names, secondYAxis=True).with_(tags=block.tags.plus(secondYAxis="1"))

    return series.map(drawn)


@function("stacked", group="Graph", params=[SERIES, Param("stack", "string")])
def stacked(context: Context, series: SeriesList, stack: str | None = None) -> SeriesList:
    """Each series on top of those before it: its values plus all of theirs, drawn as areas.

    What other calls of the request have stacked before on the same `stack` lies below. A missing value adds nothing and
    stays missing. With a name for the `stack` the series keep theirs. Series of different steps are brought to their
    least common multiple.

    Example: stacked(servers.*.cpu)
    Example: stacked(servers.*.mem, "memory")
    """
    if not series:
        return series
    below = context.stacks.get(stack or _DEFAULT_STACK, SeriesList())
    whole = SeriesList.concat([below, series]).on_one_grid()
    with np.errstate(all="ignore"):
        heights = np.nancumsum(whole.values, axis=0)
    top = whole.pick([len(whole) - 1])
    context.stacks[stack or _DEFAULT_STACK] = SeriesList([top.with_(heights[-1:])])
    block = whole.with_(np.where(np.isnan(whole.values), np.nan, heights)).pick(range(len(below), len(whole)))
    names, tags = block.names, block.tags
    if stack is None:
        names, tags = [f"stacked({name})" for name in names], tags.plus(stacked=_DEFAULT_STACK)
    return SeriesList([_drawn(block.with_(options=None).renamed(names, tags), stacked=True)])


_DEFAULT_STACK = "__DEFAULT__"


@function(
    "verticalLine",
    group="Graph",
    params=[Param("ts", "date", required=True), Param("label", "string"), Param("color", "string")],
)
def vertical_line(
    context: Context, ts: str, label: str | None = None, color: str | None = None
) -> SeriesList:
    """A line over the whole height at a time within the window; relative times are the request's.

    Example: verticalLine("-5min", "deploy", "blue")
    """
    at = parse_time(ts, context.now, context.zone)
    if not context.start <= at <= context.until:
        allowed = f"from {context.start} to {context.until}"
        raise ArgumentError("verticalLine", "ts", f"takes a time in the window, {allowed}, not {ts!r} ({at})")
    name = label or ""
    block = Block(
        np.ones((1, 2)), at, 1, [name], [name], Tags([{"name": name}]), ["average"],
        context.x_files_factor or 0.0, fixed_end=at,
    )  # fmt: skip
    options = {"drawAsInfinite": True, "color": color} if color else {"drawAsInfinite": True}
    return SeriesList([_drawn(block, **options)])


def _drawn(block: Block, **options: object) -> Block:
    """The block with these options beside those that its series have."""
    return block.with_(options=[{**old, **options} for old in block.options or [{}] * len(block)])


def _shown(block: Block, name: Callable[[str], str]) -> Block:
    """The block under other names; outer functions print the expressions as they were."""
    return block.with_(names=[name(old) for old in block.names])
