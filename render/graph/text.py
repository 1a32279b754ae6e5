"""Text: which fonts there are, how wide a text is in each, and how one is cut to fit.

The fonts lie in fonts/, with their licences; fonts/advances.json is their table of widths, made by
tests/render/graph/make_advances.py. Kerning, which mostly makes text narrower, is not counted.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

FONTS = Path(__file__).parent / "fonts"
SANS, MONO = "Roboto", "DejaVu Sans Mono"
# What dashboards ask for → what there is. There is no serif: its names give the sans.
FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("sans", "sans-serif", "roboto", "arial", "helvetica", "dejavu sans", "verdana"), SANS
        ),
        **dict.fromkeys(("serif", "times", "times new roman", "georgia"), SANS),
        **dict.fromkeys(
            ("mono", "monospace", "courier", "courier new", "dejavu sans mono", "consolas"), MONO
        ),
    }
)
ELLIPSIS = "…"


@dataclass(frozen=True)
class Font:
    size: float  # pixels
    family: str = SANS
    bold: bool = False
    italic: bool = False

    @property
    def line(self) -> float:
        """Pixels from a line of text to the next."""
        return round(self.size * 1.35)

    @property
    def ascent(self) -> float:
        """Pixels of a capital letter above the line that text stands on."""
        return self.size * 0.74

    @property
    def face(self) -> str:
        """The key of the table of widths."""
        if self.family == MONO:
            return "mono"
        return ("bold" if self.bold else "regular") + ("-italic" if self.italic else "")

    def sized(self, size: float) -> Font:
        return Font(size, self.family, self.bold, self.italic)


@cache
def _advances(face: str) -> dict[str, int]:
    """Thousandths of the font's size by character."""
    runs = json.loads((FONTS / "advances.json").read_text())[face]
    return {chr(int(first) + i): width for first, run in runs.items() for i, width in enumerate(run)}


def width(text: str, font: Font) -> float:
    """Pixels."""
    advances = _advances(font.face)
    return sum(advances[c] if c in advances else _foreign(c) for c in text) * font.size / 1000


def _foreign(character: str) -> int:
    """A guess for what the font does not have, rather too wide: whoever shows an SVG has another font for it."""
    return 0 if unicodedata.combining(character) else 1000


def begin(text: str, room: float, font: Font) -> str:
    """As much of its beginning as has room (pixels)."""
    ends = accumulate(width(character, font) for character in text)
    return text[: next((i for i, end in enumerate(ends) if end > room), len(text))]


def cut(text: str, room: float, font: Font) -> str:
    """The text, or as much of its beginning and end as has room (pixels), with … between; "" if nothing has."""
    if width(text, font) <= room:
        return text
    advances = _advances(font.face)
    widths = [advances.get(c, 1000) * font.size / 1000 for c in text]
    left, right, used = 0, len(text), width(ELLIPSIS, font)
    if used > room:
        return ""
    while left < right:
        at = left if left <= len(text) - right else right - 1
        used += widths[at]
        if used > room:
            break
        left, right = (left + 1, right) if at == left else (left, right - 1)
    return text[:left] + ELLIPSIS + text[right:]
