from __future__ import annotations

import os
import unicodedata
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.formats.table import Column
from render.graph.terminal import plot
from tests.render.graph.drawing import NAN, START, wave

GOLDEN = Path(__file__).parent / "golden"

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


@given(st.text(max_size=300), st.integers(16, 200))
def test_a_name_takes_no_more_columns_than_there_are(name: str, width: int) -> None:
    line = shown([Column(name, {START: 1.0})], width)[-1]
    assert sum(columns_of(character) for character in line) <= width


def columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


@given(st.integers(4, 60))
def test_a_label_stands_where_its_value_is_drawn(height: int) -> None:
    ends = Column("ends", {START: 0.0, START + 60: 0.0, START + 6000: 100.0})
    numbers = [row.partition("┤")[0].strip() for row in shown([ends], 60, height)[:height]]
    assert len(list(filter(None, numbers))) >= 2
    for i, number in enumerate(numbers):
        if number:
            level = Column("level", {START + 60 * k: float(number) for k in range(101)})
            rows = shown([ends, level], 60, height)[:height]
            assert i == max(range(height), key=lambda at: len(rows[at].partition("┤")[2].replace(" ", "")))


def test_the_window_is_that_of_missing_points_too() -> None:
    ended = Column("a", {START + 60 * i: 5.0 if i < 50 else None for i in range(100)})
    marks = max(len(row.partition("┤")[2]) for row in shown([ended], 106)[:10])
    assert 48 <= marks <= 52


def test_a_few_rows_have_a_label_each_second() -> None:
    labels = [
        row.partition("┤")[0].strip() for row in shown([Column("a", {START: 0.0, START + 60: 50.0})])[:11]
    ]
    assert len(list(filter(None, labels))) >= 4


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


# --- whole plots, reviewed; PLUMBAGO_GOLDEN=write writes them anew ---


@pytest.mark.parametrize(("width", "height"), [(80, 12), (200, 18)])
def test_plots_are_as_they_were_reviewed(width: int, height: int) -> None:
    high, low = wave(288, 20, 90, 2), wave(288, 5, 40, 3)
    low[60:90] = [NAN] * 30
    listed = [
        Column(name, {START + 300 * i: None if v != v else v for i, v in enumerate(row)})
        for name, row in (("servers.web1.cpu", high), ("servers.web2.cpu", low))
    ]
    made = "\n".join(shown(listed, width, height)) + "\n"
    file = GOLDEN / f"terminal_{width}.txt"
    if os.environ.get("PLUMBAGO_GOLDEN") == "write":
        file.write_text(made)
    assert made == file.read_text()
    assert {len(line) for line in made.splitlines()[height : height + 1]} == {width}
