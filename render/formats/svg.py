"""The picture as SVG: text stays text, so that it can be searched and read aloud; a series' name is its title."""

from __future__ import annotations

from render.formats.presentation import Presentation
from render.graph import svg
from render.graph.picture import picture
from render.series import SeriesList


def encode(series: SeriesList, how: Presentation) -> bytes:
    """Raises ParameterError and TooMuch."""
    return svg.encode(picture(series, how.drawing, how.zone)).encode()
