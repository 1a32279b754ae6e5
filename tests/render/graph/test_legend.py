from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from render.graph.colors import NAMES
from render.graph.legend import Entry, legend
from render.graph.shapes import Box, Shape, Text
from render.graph.text import Font

BLACK = NAMES["black"]
FONT = Font(11)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=60)
entries = st.lists(
    st.builds(Entry, names, st.just(BLACK), st.sampled_from([0.0, 5.0]), st.booleans()), max_size=40
)


def boxes(shapes: list[Shape]) -> list[Box]:
    return [shape.box for shape in shapes if isinstance(shape, Text)]


def said(names: list[str], room: float, height: float) -> list[str]:
    laid = legend([Entry(name, BLACK) for name in names], room, height, FONT)
    return [shape.text for shape in laid.shapes(0, 0, BLACK) if isinstance(shape, Text)]


@given(entries, st.floats(10, 2000), st.floats(0, 400), st.floats(6, 40))
def test_it_stays_in_its_room_and_no_name_lies_on_another(
    listed: list[Entry], room: float, height: float, size: float
) -> None:
    laid = legend(listed, room, height, Font(size))
    assert laid.height <= height
    shown = boxes(laid.shapes(0, 0, BLACK))
    assert all(box.right <= room + 1e-6 and box.left >= 0 for box in shown)
    assert all(box.bottom <= laid.height + 1e-6 for box in shown)
    assert not any(a.overlaps(b) for i, a in enumerate(shown) for b in shown[:i])


@given(entries, st.floats(10, 2000), st.floats(0, 400))
def test_each_entry_is_there_or_counted(listed: list[Entry], room: float, height: float) -> None:
    laid = legend(listed, room, height, FONT)
    shown = [entry for row in laid.rows for entry, _ in row]
    assert shown == listed[: len(shown)]
    if laid.rows:
        assert len(shown) + laid.left_out == len(listed)


def test_a_few_names_share_a_row_and_more_have_columns() -> None:
    assert len(legend([Entry("a", BLACK)] * 3, 400, 200, FONT).rows) == 1
    rows = legend([Entry(f"servers.web{i}.cpu", BLACK) for i in range(9)], 400, 200, FONT).rows
    assert [len(row) for row in rows] == [3, 3, 3]


def test_what_names_share_is_cut_before_what_tells_them_apart() -> None:
    shown = said([f"datacenters.frankfurt.rack{i}.requests" for i in range(10, 20)], 320, 80)
    assert [name.rpartition("…")[2] for name in shown] == [f"{i}.requests" for i in range(10)]


def test_what_is_left_out_is_counted() -> None:
    assert said([f"series number {i}" for i in range(100)], 200, 60)[-1] == "… and 93 more"
