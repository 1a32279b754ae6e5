"""seriesByTag: the function that finds series by their tags. groupByTags() and aliasByTags() are in their families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from render.errors import ArgumentError
from render.functions.context import Context
from render.functions.registry import Param, function


@function(
    "seriesByTag",
    group="Special",
    params=[Param("tagExpressions", "string", required=True, multiple=True)],
)
def series_by_tag(context: Context, tag_expressions: Sequence[str]) -> NoReturn:
    """The series whose tags fulfil all expressions, in the order of their paths.

    "tag=value" is a tag with this value and "tag!=value" one with another or none; "tag=~regex" and "tag!=~regex" take
    a regular expression that must match from the value's begin, and need not reach its end. The metric itself is the
    tag `name`. A series without a tag has "" for its value, so "tag=" is to lack the tag and "tag!=" to have it. One
    expression at least must not be fulfilled by series that lack its tag. Series that have no tags are not found.

    Example: seriesByTag("name=load", "dc=~east|west", "host!=c")
    """
    # the plan takes the call for a pattern, whose whole text is what outer functions print
    raise ArgumentError("seriesByTag", "tagExpressions", "the call can only stand in a target")
