from __future__ import annotations

from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from render.formats import svg
from render.formats.presentation import Presentation
from render.graph.options import Options
from tests.render.graph.drawing import two_waves


def texts(presentation: Presentation) -> list[str]:
    root = ElementTree.fromstring(svg.encode(two_waves(), presentation))
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_it_is_drawn_as_asked_in_the_zone() -> None:
    drawing = Options(width=600, title="Two")
    assert "15 Nov" in texts(Presentation(drawing=drawing))
    assert "Two" in texts(Presentation(drawing=drawing))
    assert "15 Nov" not in texts(Presentation(ZoneInfo("Asia/Tokyo"), drawing=drawing))
