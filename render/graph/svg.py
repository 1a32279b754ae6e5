"""Shapes as SVG. Text is escaped, nothing outside of the file is referred to, and there is no script in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import count
from xml.sax.saxutils import escape

import numpy as np
import orjson

from render.graph.colors import Color
from render.graph.shapes import Box, Group, Path, Picture, Points, Shape, Text
from render.graph.text import MONO

# XML 1.0 has no place for these characters, not even escaped
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# who shows the SVG may not have our fonts; these are about as wide
_FAMILIES = {MONO: "'DejaVu Sans Mono',Menlo,Consolas,monospace"}
_SANS = "Roboto,'Helvetica Neue',Arial,sans-serif"


def encode(picture: Picture) -> str:
    """The whole file; coordinates have one digit after the point."""
    size = f'width="{picture.width}" height="{picture.height}" viewBox="0 0 {picture.width} {picture.height}"'
    clips = count(1)
    body = "\n".join(_shape(shape, lambda: f"c{next(clips)}") for shape in picture.shapes)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} xml:space="preserve">'
    return f"{head}\n{body}\n</svg>\n"


def _shape(shape: Shape, new_id: Callable[[], str]) -> str:
    if isinstance(shape, Group):
        return _group(shape, new_id)
    if isinstance(shape, Text):
        return _text(shape)
    return _path(shape) if isinstance(shape, Path) else _rectangle(shape.box, _paint("fill", shape.fill))


def _group(group: Group, new_id: Callable[[], str]) -> str:
    title = f"<title>{_escaped(group.title)}</title>" if group.title else ""
    body = "\n".join(_shape(shape, new_id) for shape in group.shapes)
    if group.clip is None:
        return f"<g>{title}{body}</g>"
    name = new_id()
    clip = f'<clipPath id="{name}">{_rectangle(group.clip, "")}</clipPath>'
    return f'{clip}<g clip-path="url(#{name})">{title}{body}</g>'


def _rectangle(box: Box, paint: str) -> str:
    place = f'x="{_n(box.left)}" y="{_n(box.top)}" width="{_n(box.width)}" height="{_n(box.height)}"'
    return f"<rect {place}{paint}/>"


def _path(path: Path) -> str:
    paint = _paint("fill", path.fill) if path.fill else ' fill="none"'
    if path.stroke is not None:
        corners = "" if path.sharp else ' stroke-linejoin="round" stroke-linecap="round"'
        if path.dash:  # round ends would fill short gaps
            corners = ' stroke-linejoin="round"'
        dash = f' stroke-dasharray="{_n(path.dash)}"' if path.dash else ""
        paint += f'{_paint("stroke", path.stroke)} stroke-width="{_n(path.width)}"{corners}{dash}'
    return f'<path d="{_pieces(path.pieces, "Z" if path.fill else "")}"{paint}/>'


def _pieces(pieces: Sequence[Points], end: str) -> str:
    """`M` and the points of each piece, which are lines' ends from the second on."""
    if not pieces:
        return ""
    # all numbers are written at once: a piece may have two points, and there may be many
    laid = np.concatenate([piece if len(piece) > 1 else np.repeat(piece, 2, axis=0) for piece in pieces])
    numbers = orjson.dumps(np.round(laid, 1).ravel(), option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1]
    if len(pieces) == 1:
        return f"M{numbers}{end}"
    words = numbers.split(",")
    out, at = [], 0
    for piece in pieces:
        stop = at + 2 * max(2, len(piece))
        out.append(f"M{','.join(words[at:stop])}{end}")
        at = stop
    return "".join(out)


def _text(text: Text) -> str:
    x, y = _n(text.x), _n(text.y)
    turn = f' transform="rotate({_n(text.turn)} {x} {y})"' if text.turn else ""
    anchor = f' text-anchor="{text.anchor}"' if text.anchor != "start" else ""
    family = _FAMILIES.get(text.font.family, _SANS)
    style = ' font-weight="bold"' if text.font.bold else ""
    style += ' font-style="italic"' if text.font.italic else ""
    font = f' font-family="{family}" font-size="{_n(text.font.size)}"{style}'
    return (
        f'<text x="{x}" y="{y}"{anchor}{turn}{font}{_paint("fill", text.color)}>{_escaped(text.text)}</text>'
    )


def _paint(what: str, color: Color) -> str:
    opacity = f' {what}-opacity="{color.alpha:.3g}"' if color.alpha < 1 else ""
    return f' {what}="{color.hex}"{opacity}'


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text), {'"': "&quot;"})


def _n(number: float) -> str:
    """One digit after the point, none if it is a whole number."""
    return f"{number:.1f}".removesuffix(".0")
