from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from render.graph.raster import encode, png, png_by_resvg
from render.series import SeriesList
from tests.render.graph.drawing import block, draw_svg, pixels, two_waves

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))
DRAWERS = (png, png_by_resvg)


@given(shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape)), st.booleans())
def test_pixels_are_read_back_as_they_were(
    drawn: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], opaque: bool
) -> None:
    drawn = drawn.copy()
    if opaque:
        drawn[:, :, 3] = 255
    read = pixels(encode(drawn))
    assert np.array_equal(read, drawn[:, :, : read.shape[2]])
    assert (read.shape[2] == 3) == bool((drawn[:, :, 3] == 255).all())


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (330, 120)])
def test_a_picture_has_the_size_that_was_asked_and_its_series_colour(
    draw: Callable[[str], bytes], width: int, height: int
) -> None:
    listed = SeriesList([block([[1.0] * 50], options=[{"color": "ff8800", "lineWidth": 5.0}])])
    drawn = pixels(draw(draw_svg(listed, width=str(width), height=str(height), bgcolor="102030")))
    assert drawn.shape[:2] == (height, width)
    assert drawn[0, 0, :3].tolist() == [0x10, 0x20, 0x30]
    assert int((drawn[:, :, :3] == [0xFF, 0x88, 0x00]).all(axis=2).sum()) > width


@pytest.mark.parametrize("draw", DRAWERS)
def test_text_is_drawn_with_the_shipped_fonts(draw: Callable[[str], bytes]) -> None:
    asked = {"width": "160", "height": "100", "hideAxes": "true", "hideLegend": "true"}
    without = pixels(draw(draw_svg(two_waves(), **asked)))
    for style in ({}, {"fontBold": "1"}, {"fontItalic": "1"}, {"fontName": "mono"}):
        written = pixels(draw(draw_svg(two_waves(), **asked, title="MMMMM", **style)))
        dark = (written[:25, :, 0].astype(int) < 128).sum() - (without[:25, :, 0].astype(int) < 128).sum()
        assert dark > 50


def test_both_draw_about_the_same() -> None:
    made = draw_svg(two_waves(), width="200", height="120", title="Both")
    one, other = (pixels(draw(made))[:, :, :3].astype(int) for draw in DRAWERS)
    assert np.abs(one - other).max() <= 2


def test_the_largest_picture_is_drawn() -> None:
    body = png(draw_svg(two_waves(), width="4000", height="3000"))
    assert body[16:24] == (4000).to_bytes(4, "big") + (3000).to_bytes(4, "big")
    assert len(body) < 1_000_000


def test_transparency_stays() -> None:
    drawn = pixels(png(draw_svg(two_waves(), bgcolor="ffffff00", width="60", height="60")))
    assert drawn[0, 0].tolist()[3] == 0
