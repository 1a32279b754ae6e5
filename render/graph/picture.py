"""Series and options → a picture: a line graph or a pie."""

from __future__ import annotations

from datetime import tzinfo

from render.graph import line, pie
from render.graph.options import Options
from render.graph.shapes import Picture
from render.series import SeriesList


def picture(series: SeriesList, options: Options, zone: tzinfo) -> Picture:
    """Raises ParameterError for what a target says of colours, TooMuch for too many points."""
    return pie.draw(series, options) if options.graph_type == "pie" else line.draw(series, options, zone)
