"""Our answers against graphite-web's: what `make.py` wrote, and how the two differ."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from render.errors import RenderError
from render.plan import render
from render.series import Series
from tests.render.golden import series as golden
from tests.render.memory import MemorySource

HERE = Path(__file__).parent
TOLERANCE = 1e-9
NONE: Mapping[str, str] = MappingProxyType({})


def answers(family: str) -> list[dict[str, Any]]:
    """graphite-web's, one a target."""
    found: list[dict[str, Any]] = json.loads((HERE / f"{family}.json").read_text())
    return found


def golden_test(family: str, departures: Mapping[str, str] = NONE) -> Callable[..., None]:
    """A test, one a target of the family, that we answer as graphite-web does.

    `departures` are the targets that we answer otherwise, and why; one that differs no more fails.
    """
    golden_answers = answers(family)
    assert set(departures) <= {answer["target"] for answer in golden_answers}

    @pytest.mark.parametrize("answer", golden_answers, ids=lambda answer: answer["target"])
    def test(answer: dict[str, Any], golden_source: MemorySource) -> None:
        found = difference(answer, golden_source)
        if answer["target"] in departures:
            assert found is not None, "this is no departure any more"
        else:
            assert found is None

    return test


def difference(
    answer: Mapping[str, Any], source: MemorySource, start: int = golden.START, until: int = golden.UNTIL
) -> str | None:
    """The first thing in which our answer differs, or None. Where graphite-web fails we refuse with a
    RenderError.
    """
    try:
        (ours,) = render(
            source,
            [answer["target"]],
            start=start,
            until=until,
            now=until,
            zone=UTC,
            x_files_factor=answer.get("xFilesFactor"),
        )
    except RenderError as error:
        return None if "error" in answer else f"refused: {error}"
    if "error" in answer:
        return f"answered {ours.names}, there: {answer['error']}"
    theirs = answer["series"]
    if len(ours) != len(theirs):
        return f"{len(ours)} series {ours.names}, there {len(theirs)} {[one['name'] for one in theirs]}"
    return next(filter(None, map(_different, ours, theirs)), None)


def _different(ours: Series, theirs: Mapping[str, Any]) -> str | None:
    for key in ("name", "expression", "start", "end", "step", "tags"):
        mine = getattr(ours, key)
        if mine != theirs[key]:
            return f"{key} is {mine!r}, there {theirs[key]!r}"
    if len(ours.values) != len(theirs["values"]):
        return f"{len(ours.values)} points, there {len(theirs['values'])}"
    largest = max((abs(v) for v in theirs["values"] if v is not None and math.isfinite(v)), default=0.0)
    for i, (mine, other) in enumerate(zip(ours.values.tolist(), theirs["values"], strict=True)):
        if not _close(mine, other, TOLERANCE * min(largest, 1.0)):
            return f"point {i} of {ours.name} is {mine}, there {other}"
    return None


def _close(mine: float, other: float | None, most: float) -> bool:
    """Whether two datapoints are the same, within TOLERANCE of their size or by `most`; NaN is no data there, too."""
    if other is None or math.isnan(other):
        return math.isnan(mine)
    return math.isclose(mine, other, rel_tol=TOLERANCE, abs_tol=most)
