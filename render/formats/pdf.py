"""The picture as PDF, for reports. Needs `plumbago[pdf]`."""

from __future__ import annotations

from render.formats.presentation import Presentation
from render.graph import pdf
from render.graph.picture import picture
from render.series import SeriesList


def encode(series: SeriesList, how: Presentation) -> bytes:
    """Raises ParameterError, TooMuch, and NoPdf without ReportLab."""
    return pdf.encode(picture(series, how.drawing, how.zone))
