from __future__ import annotations

from render.formats import png
from render.formats.presentation import Presentation
from render.graph.colors import parse
from render.graph.options import Options
from tests.render.graph.drawing import pixels, two_waves


def test_it_has_the_asked_size_and_the_series_colours() -> None:
    drawing = Options(width=200, height=100, line_width=3.0, color_list=(parse("ff8800"), parse("0088ff")))
    drawn = pixels(png.encode(two_waves(), Presentation(drawing=drawing)))
    assert drawn.shape == (100, 200, 3)
    for color in ((0xFF, 0x88, 0x00), (0x00, 0x88, 0xFF)):
        assert (drawn == color).all(axis=2).any()


def test_without_drawing_parameters_it_is_graphites_330_by_250() -> None:
    assert pixels(png.encode(two_waves(), Presentation())).shape[:2] == (250, 330)
