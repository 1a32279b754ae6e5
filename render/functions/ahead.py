"""Series that reach beyond now: a store's data ends there, a request's window need not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from render.functions.context import Context, Expression
from render.functions.window import check_points, cut, preview_points
from render.series import Block, SeriesList


def reaching(context: Context, function: str, block: Block) -> Block:
    """The block with missing points up to the request's `until`, if that lies ahead of now.

    Raises ArgumentError or TooMuch if those are more than a function may make.
    """
    points = (context.until - block.start) // block.step + 1
    missing = points - block.values.shape[1]
    if context.until <= context.now or block.fixed_end is not None or missing <= 0:
        return block
    check_points(function, "until", points, series=len(block))
    return block.with_(np.pad(block.values, ((0, 0), (0, missing)), constant_values=np.nan))


class History(NamedTuple):
    """What was known before `end` (epoch seconds), which is now or, if that is earlier, the request's until."""

    series: SeriesList
    end: int
    widened_s: int  # by how much the window that was read begins before the request's

    def within(self, context: Context, block: Block) -> Block:
        """A block made of one of the series, cut to the request's window."""
        return cut(block, preview_points(context, block, self.widened_s))


def read_history(context: Context, expression: Expression, seconds: int) -> History:
    """The series over the request's window up to now, and over as many seconds before that end if it is shorter."""
    end = min(context.until, context.now)
    start = min(context.start, end - seconds)
    return History(expression.evaluate(start=start, until=end), end, context.start - start)
