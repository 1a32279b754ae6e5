from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path as File
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.graph.colors import Color, parse
from render.graph.shapes import Box, Group, Path, Picture, Rectangle, Text
from render.graph.svg import encode
from render.graph.text import Font
from render.series import SeriesList
from tests.render.graph.drawing import NAN, block, draw_svg, two_waves, wave

GOLDEN = File(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"
BLACK = parse("black")
names = st.text(st.characters(), max_size=20)


def printable(text: str) -> str:
    """Without what XML cannot say, or reads as something else."""
    return "".join(c for c in text if c.isprintable() and c != "\N{REPLACEMENT CHARACTER}")


def around(*shapes: Rectangle | Path | Text | Group) -> str:
    return encode(Picture(100, 50, shapes))


@given(names, names)
def test_any_text_is_escaped_and_read_back(text: str, title: str) -> None:
    made = around(Group([Text(1, 2, text, Font(11), BLACK)], title))
    root = ElementTree.fromstring(made.encode())
    (read,) = root.iter(f"{SVG}text")
    assert printable(read.text or "") == printable(text)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "g", "title", "text")
    }


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><image href="http://x/"/>', "]]>", "&amp;", "a\x00b\ud800"]
)
def test_a_name_is_text_wherever_it_comes_to(name: str) -> None:
    listed = SeriesList([block([wave()], names=[name])])
    made = draw_svg(listed, title=name, vtitle=name, height="400")
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(made.encode()).iter()}
    assert tags <= {"svg", "g", "title", "text", "path", "rect", "clipPath"}


def test_pieces_are_moves_and_a_dot_is_a_line_to_itself() -> None:
    pieces = [np.array([[0.0, 1.04], [2.06, 3.0]]), np.array([[5.0, 5.0]])]
    made = around(Path(pieces, BLACK, 2.0))
    assert '<path d="M0.0,1.0,2.1,3.0M5.0,5.0,5.0,5.0" fill="none" stroke="#000000" stroke-width="2"' in made


def test_areas_are_closed_and_opacity_is_written_only_where_there_is_some() -> None:
    made = around(Path([np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])], fill=Color(1, 2, 3, 0.5)))
    assert 'd="M0.0,0.0,1.0,0.0,1.0,1.0Z" fill="#010203" fill-opacity="0.5"/>' in made
    assert "opacity" not in around(Rectangle(Box(0, 0, 5, 5), BLACK))


def test_what_is_cut_refers_to_nothing_outside() -> None:
    made = around(Group([], clip=Box(0, 0, 5, 5)), Group([], clip=Box(1, 1, 5, 5)))
    assert 'id="c1"' in made
    assert "url(#c2)" in made


# --- whole pictures, reviewed; PLUMBAGO_GOLDEN=write writes them anew ---


def waves_with_a_gap() -> str:
    values = wave(13, turns=1)
    values[5:7] = [NAN, NAN]
    listed = SeriesList(
        [
            block(
                [values, wave(13, 0, 30, 2)],
                names=["web1", "web2 <dashed>"],
                step=600,
                options=[{}, {"dashed": 4}],
            )
        ]
    )
    return draw_svg(listed, title="Requests & replies", vtitle="per second", width="300", height="160")


PICTURES: dict[str, Callable[[], str]] = {
    "line": waves_with_a_gap,
    "stacked": lambda: draw_svg(
        SeriesList([block([[1.0, 2.0, 2.0], [3.0, NAN, 1.0]], step=3600)]),
        areaMode="stacked", template="dark", width="200", height="120", yUnitSystem="none",
    ),
    "two_axes": lambda: draw_svg(
        SeriesList([block([wave(6), wave(6, 0, 3e9)], step=7200, options=[{}, {"secondYAxis": True}])]),
        width="260", height="140", lineMode="staircase", vtitleRight="bytes", yUnitSystem="binary",
    ),
    "pie": lambda: draw_svg(
        SeriesList([block([[5.0], [3.0], [1.0]], names=["used", "cached", "free"])]),
        graphType="pie", width="200", height="150", title="Memory",
    ),
    "tiny": lambda: draw_svg(two_waves(), width="64", height="64", minXStep="20"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were_reviewed(name: str) -> None:
    made, file = PICTURES[name](), GOLDEN / f"{name}.svg"
    if os.environ.get("PLUMBAGO_GOLDEN") == "write":
        file.write_text(made)
    assert made == file.read_text()
