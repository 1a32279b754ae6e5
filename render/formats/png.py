"""The picture as PNG, drawn with the shipped fonts: the same bytes on each machine."""

from __future__ import annotations

from render.formats.presentation import Presentation
from render.graph import raster, svg
from render.graph.picture import picture
from render.series import SeriesList


def encode(series: SeriesList, how: Presentation) -> bytes:
    """Raises ParameterError and TooMuch."""
    return raster.png(svg.encode(picture(series, how.drawing, how.zone)))
