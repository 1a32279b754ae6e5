"""SVG → PNG by resvg, which two packages bring. Neither looks for fonts outside of fonts/ nor reads other files.

svg2png-py lets other threads run meanwhile; the package resvg stands in for it on machines for which it is not built.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from render.graph.text import FONTS

_SPEED = 3  # zlib's level: 6 takes twice as long for the same size
_AS_IT_IS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of rows: neither turned nor moved


def png(svg: str) -> bytes:
    """The picture as PNG, of the size that the SVG says."""
    try:
        import svg2png_py  # type: ignore[import-untyped]  # has a stub, but no marker
    except ImportError:
        return png_by_resvg(svg)
    pixels, width, height = svg2png_py.svg_to_rgba(svg, _fonts())
    return encode(np.frombuffer(pixels, np.uint8).reshape(height, width, 4))


def png_by_resvg(svg: str) -> bytes:
    """The same; holds the interpreter's lock while it draws."""
    from resvg import render, usvg

    options = usvg.Options.default()  # no other thread may use it; it is made in a quarter of a millisecond
    for path in sorted(FONTS.glob("*.ttf")):
        options.load_font_file(str(path))
    return bytes(render(usvg.Tree.from_str(svg, options), _AS_IT_IS))


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 4), straight alpha, as PNG; without the alpha if all is opaque."""
    height, width = pixels.shape[:2]
    kept = 3 if bool(np.all(pixels[:, :, 3] == 255)) else 4
    rows = np.zeros((height, 1 + width * kept), np.uint8)  # each begins with its filter: 0, none
    rows[:, 1:] = pixels[:, :, :kept].reshape(height, -1)
    kind = {3: 2, 4: 6}[kept]
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows.data, _SPEED)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@cache
def _fonts() -> Any:
    import svg2png_py

    fonts = svg2png_py.FontDatabase()
    for path in sorted(FONTS.glob("*.ttf")):
        fonts.load_font_file(str(path))
    return fonts
