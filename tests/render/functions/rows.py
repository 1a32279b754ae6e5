"""Rows of few values with gaps, drawn, and groups of series that have them."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.render.golden.series import START
from tests.render.memory import MemorySource

VALUES = st.one_of(st.none(), st.integers(-5, 5).map(float))


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float | None]]:
    points = draw(st.integers(1, 4))
    row = st.lists(VALUES, min_size=points, max_size=points)
    return draw(st.lists(row, min_size=1, max_size=9))


def grouped(rows: list[list[float | None]], groups: int) -> MemorySource:
    """Series a.<group>.<i>, groups in turn, so that a group's rows do not follow one another."""
    source = MemorySource()
    for i, row in enumerate(rows):
        source.add(f"a.{i:02}.g{i % groups}", START + 60, 60, row)
    return source
