"""Shapes → PDF, by ReportLab: lines stay lines and text stays text. Needs `plumbago[pdf]`."""

from __future__ import annotations

import io
from typing import Any

from render.errors import RenderError
from render.graph import text as texts
from render.graph.colors import Color
from render.graph.shapes import Box, Group, Path, Picture, Rectangle, Shape, Text
from render.graph.text import FONTS, MONO

_FILES = {
    "regular": "Roboto-Regular",
    "bold": "Roboto-Bold",
    "regular-italic": "Roboto-Italic",
    "bold-italic": "Roboto-BoldItalic",
    "mono": "DejaVuSansMono",
    "mono-bold": "DejaVuSansMono-Bold",
}
_POINT = 0.75  # of a pixel: 96 pixels are an inch


class NoPdf(RenderError):
    """The server has no ReportLab."""

    status = 501

    def __init__(self) -> None:
        super().__init__(
            "format=pdf needs ReportLab: pip install 'plumbago[pdf]'; svg and png need nothing more"
        )


def encode(picture: Picture) -> bytes:
    """One page of the picture's size. Raises NoPdf."""
    try:
        from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]  # it has no types
    except ImportError:
        raise NoPdf from None
    out = io.BytesIO()
    canvas = Canvas(out, (picture.width * _POINT, picture.height * _POINT), invariant=1)
    canvas.setTitle("Plumbago")
    canvas.scale(_POINT, -_POINT)
    canvas.translate(0, -picture.height)
    for shape in picture.shapes:
        _draw(canvas, shape)
    canvas.save()
    return out.getvalue()


def _draw(canvas: Any, shape: Shape) -> None:
    canvas.saveState()
    if isinstance(shape, Group):
        if shape.clip is not None:
            canvas.clipPath(_outline(canvas, shape.clip), stroke=0)
        for one in shape.shapes:
            _draw(canvas, one)
    elif isinstance(shape, Text):
        _text(canvas, shape)
    elif isinstance(shape, Path):
        _path(canvas, shape)
    else:
        _rectangle(canvas, shape)
    canvas.restoreState()


def _outline(canvas: Any, box: Box) -> Any:
    path = canvas.beginPath()
    path.rect(box.left, box.top, box.width, box.height)
    return path


def _rectangle(canvas: Any, shape: Rectangle) -> None:
    _fill(canvas, shape.fill)
    canvas.drawPath(_outline(canvas, shape.box), stroke=0, fill=1)


def _path(canvas: Any, shape: Path) -> None:
    path = canvas.beginPath()
    for piece in shape.pieces:
        (x, y), *rest = piece.tolist()
        path.moveTo(x, y)
        for x2, y2 in rest or [(x, y)]:
            path.lineTo(x2, y2)
        if shape.fill is not None:
            path.close()
    if shape.fill is not None:
        _fill(canvas, shape.fill)
    if shape.stroke is not None:
        canvas.setStrokeColorRGB(*(channel / 255 for channel in shape.stroke[:3]), alpha=shape.stroke.alpha)
        canvas.setLineWidth(shape.width)
        canvas.setLineJoin(0 if shape.sharp else 1)
        canvas.setLineCap(0 if shape.sharp or shape.dash else 1)
        if shape.dash:
            canvas.setDash(shape.dash, shape.dash)
    canvas.drawPath(path, stroke=int(shape.stroke is not None), fill=int(shape.fill is not None))


def _text(canvas: Any, shape: Text) -> None:
    _fill(canvas, shape.color)
    canvas.setFont(_font(shape), shape.font.size)
    canvas.translate(shape.x, shape.y)
    canvas.rotate(shape.turn)
    canvas.scale(1, -1)  # the page is turned over so that y grows downwards; letters are not to be
    wide = texts.width(shape.text, shape.font)
    left = {"start": 0.0, "middle": -wide / 2, "end": -wide}[shape.anchor]
    canvas.drawString(
        left, 0, "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shape.text)
    )


def _font(shape: Text) -> str:
    """The name of the font, which is put into the page's file."""
    from reportlab.pdfbase import pdfmetrics  # type: ignore[import-untyped]  # as above
    from reportlab.pdfbase.ttfonts import TTFont  # type: ignore[import-untyped]

    mono = "mono-bold" if shape.font.bold else "mono"
    file = _FILES[mono if shape.font.family == MONO else shape.font.face]
    if file not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(file, str(FONTS / f"{file}.ttf")))
    return file


def _fill(canvas: Any, color: Color) -> None:
    canvas.setFillColorRGB(*(channel / 255 for channel in color[:3]), alpha=color.alpha)
