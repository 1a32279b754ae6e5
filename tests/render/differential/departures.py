"""The rules by which our answers to drawn cases differ from graphite-web's on purpose."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Departure:
    reason: str
    functions: str  # an expression that their names match
    targets: str = ""  # one for something in the target
    differences: str = ""  # one for something in what differs: compare.difference's words
    when: Callable[[Mapping[str, Any], str], bool] = lambda case, difference: True

    def explains(self, name: str, case: Mapping[str, Any], difference: str) -> bool:
        return (
            re.fullmatch(self.functions, name) is not None
            and re.search(self.targets, case["target"]) is not None
            and re.search(self.differences, difference) is not None
            and self.when(case, difference)
        )


def _nearly(case: Mapping[str, Any], difference: str) -> bool:
    """Whether both values that differ do so by less than a millionth."""
    return _within(difference, 1e-12)


def _root_nearly(case: Mapping[str, Any], difference: str) -> bool:
    """The same for roots of squares, of which a float loses 1e-4 where values are a million."""
    return _within(difference, 1e-2)


def _within(difference: str, most: float) -> bool:
    values = re.search(r" is (\S+), there (\S+)$", difference)
    return values is not None and math.isclose(float(values[1]), float(values[2]), rel_tol=1e-6, abs_tol=most)


def _mixed(case: Mapping[str, Any], difference: str) -> bool:
    """Whether the target has series of several steps."""
    steps = (r"\bfine\b", r"\bcoarse\b", r"\b(web|disk|odd|load)\b|seriesByTag")
    return sum(re.search(step, case["target"]) is not None for step in steps) > 1


_COMBINING = (
    r"sum|avg|averageSeries|.+Series|.+SeriesLists|.+WithWildcards|applyByNode|groupBy.+|asPercent|pct|aggregate"
    r"|stacked|areaBetween|weightedAverage"
)
_PERCENTILES = r"nPercentile|percentileOfSeries|remove.+Percentile|averageOutsidePercentile"

DEPARTURES: tuple[Departure, ...] = (
    Departure(
        "series of different steps are aligned by time; there they are paired by position, whatever their times",
        _COMBINING,
        differences=r"^(start|end|step|point)\b| points, there",
        when=_mixed,
    ),
    Departure(
        "each series stays on its own grid; there all have the first one's begin",
        "timeStack|timeShift",
        differences="^start is",
        when=_mixed,
    ),
    Departure(
        "finer series begin with the rest; there before",
        "(moving|exponentialMoving).*",
        differences="points, there|^start is",
        when=_mixed,
    ),
    Departure("the reference is looked at by time; there by position", "transformNull", "fine", "^point"),
    Departure(
        "points stay at their times; there they move by what the window is off the step",
        "(moving|exponentialMoving).*",
        "'90s'",
        "^start is",
    ),
    Departure("nothing is moved; there all points are gone", "delay", r",0\)$", "points, there 0$"),
    Departure(
        "there the line is reckoned from the year 1970 on, which loses what comes after nine digits",
        "linearRegression",
        differences="^point",
        when=_nearly,
    ),
    Departure(
        "the values of each window are added up anew; there what has left leaves its rounding behind",
        "stdev",
        differences="^point",
        when=_root_nearly,
    ),
    Departure(
        "rounding of what is 0", "holtWintersAberration", differences=r"is 0\.0, there .*e-1\d", when=_nearly
    ),
    Departure(
        "a datapoint counts with its own time; there with one up to a step earlier",
        "timeSlice",
        differences=r"^point .* is (nan, there [-\d]|[-\d].*, there None)",
    ),
    Departure(
        "there is no such percentile; there some value, or nothing of nothing",
        _PERCENTILES,
        r",(-1|-3\.75|1000|0)\b",
        "^refused: .*: takes a percentage",
    ),
    Departure(
        "there is no such window; there nothing but missing points",
        "stdev",
        r",(0|-1)\b",
        "^refused: .*: points:",
    ),
    Departure(
        "there is no such logarithm; there it fails where a datapoint is above 0",
        "log",
        r",(0|1|-1)\)$",
        "^refused: .*: base:",
    ),
    Departure(
        "a name has a tag once; there as often as it is given",
        "groupByTags",
        r"'(dc|host|name)'.*'\1'",
        "^name is",
    ),
    Departure(
        "a deviation of infinities is 0 or infinite; there no number",
        ".*",
        r"\.inf.*stddev|stddev.*\.inf",
        "is (0.0|inf), there nan$",
    ),
    Departure(
        "what has no average, as infinities of both signs have none, goes; there it stays",
        "averageOutsidePercentile",
        r"\.inf",
        "^0 series",
    ),
    Departure(
        "every series may fulfil it: graphite-web's tag database, which has no part in these answers, refuses that",
        "seriesByTag",
        differences="^refused: .*one must not be",
    ),
    Departure(
        "a line without a label has an empty name; there null",
        "verticalLine",
        r"\('\d+'\)$",
        "^name is '', there None",
    ),
)
