from __future__ import annotations

from datetime import UTC
from itertools import pairwise

import click
from hypothesis import given
from hypothesis import strategies as st

from render.formats.table import Column
from render.graph.terminal import plot
from tests.render.graph.drawing import START

values = st.one_of(st.none(), st.floats(-1e300, 1e300), st.integers(-5, 5).map(float))
columns = st.lists(
    st.builds(
        Column,
        st.text(max_size=90),
        st.dictionaries(st.integers(0, 50).map(lambda i: START + 60 * i), values),
    ),
    max_size=15,
)


def shown(columns: list[Column], width: int = 60, height: int = 10) -> list[str]:
    return click.unstyle(plot(columns, UTC, width, height)).splitlines()


@given(columns, st.integers(1, 200), st.integers(4, 60))
def test_any_series_are_lines_that_fit(listed: list[Column], width: int, height: int) -> None:
    lines = shown(listed, width, height)
    assert not lines or len(lines) >= height + 2
    assert all(len(line) <= max(width, 30) for line in lines[: height + 1])


def test_a_line_goes_up_from_the_left_to_the_right() -> None:
    rising = Column("up", {START + 60 * i: float(i) for i in range(100)})
    rows = shown([rising])[:10]
    begins = [len(row) - len(row.partition("┤")[2].lstrip()) for row in rows]
    assert all(below < above for above, below in pairwise(begins))
    assert rows[0].startswith(" 100┤")
    assert rows[-1].startswith("   0┤⣠")


def test_missing_points_are_not_drawn() -> None:
    gap: dict[int, float | None] = {START + 60 * i: (None if 30 <= i < 70 else 5.0) for i in range(100)}
    marks = next(
        row
        for row in shown([Column("gap", gap)], 110)
        if "⠤" in row or "⣀" in row or "⠒" in row or "⠉" in row
    )
    assert "     " in marks.rpartition("┤")[2].strip()


def test_each_series_has_its_colour_and_its_name() -> None:
    made = plot([Column("a", {START: 1.0}), Column("b\x1b[31m", {START: 9.0})], UTC, 60, 10)
    assert "\x1b[36m" in made
    assert "\x1b[33m" in made
    assert made.endswith("b\N{REPLACEMENT CHARACTER}[31m")


def test_many_names_are_counted_and_no_data_is_nothing() -> None:
    assert shown([Column(f"s{i}", {START: 1.0}) for i in range(20)])[-1] == "… and 8 more"
    assert plot([], UTC, 60, 10) == plot([Column("a", {START: None})], UTC, 60, 10) == ""
