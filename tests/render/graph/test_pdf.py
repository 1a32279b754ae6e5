from __future__ import annotations

import re
import zlib
from base64 import a85decode

import pytest

from render.graph import pdf
from render.graph.shapes import Picture
from render.series import SeriesList
from tests.render.graph.drawing import block, draw, two_waves

pytest.importorskip("reportlab")


def content(picture: Picture) -> str:
    """What the page's drawing commands are."""
    body = pdf.encode(picture)
    streams = re.findall(rb"/ASCII85Decode /FlateDecode[^>]*>>\s*stream\r?\n(.*?)endstream", body, re.DOTALL)
    (stream, *_) = streams
    return zlib.decompress(a85decode(b"<~" + stream.strip(), adobe=True)).decode("latin-1")


def test_a_page_has_the_pictures_size_in_points() -> None:
    body = pdf.encode(draw(two_waves(), width="400", height="200"))
    assert body.startswith(b"%PDF-")
    assert re.search(rb"/MediaBox \[ ?0 0 300 150 ?\]", body)


def test_lines_and_colours_are_drawn() -> None:
    listed = SeriesList([block([[1.0, 2.0, 3.0]], options=[{"color": "ff0000", "dashed": 5}])])
    commands = content(draw(listed, title="A title"))
    assert "1 0 0 RG" in commands
    assert "[5 5] 0 d" in commands
    assert commands.count(" Tj") >= 5


def test_the_same_picture_is_the_same_bytes() -> None:
    assert pdf.encode(draw(two_waves())) == pdf.encode(draw(two_waves()))


@pytest.mark.parametrize(
    "params",
    [{"graphType": "pie"}, {"fontName": "mono", "fontBold": "1"}, {"yMax": "20"}, {"title": "漢\ud800\x00"}],
)
def test_all_kinds_of_shapes_are_drawn(params: dict[str, str]) -> None:
    assert pdf.encode(draw(two_waves(), **params)).rstrip().endswith(b"%%EOF")


def test_without_reportlab_the_answer_says_what_to_install() -> None:
    assert pdf.NoPdf.status == 501
    assert "plumbago[pdf]" in str(pdf.NoPdf())
