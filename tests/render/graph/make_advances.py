"""Writes render/graph/fonts/advances.json: how wide each character of the shipped fonts is.

Run with fontTools installed: `python -m tests.render.graph.make_advances`. {face: {first character: widths}}, in
thousandths of the font's size, for runs of characters that follow each other.
"""

from __future__ import annotations

import json

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]  # it has no types

from render.graph.text import FONTS

FACES = {
    "regular": "Roboto-Regular",
    "bold": "Roboto-Bold",
    "regular-italic": "Roboto-Italic",
    "bold-italic": "Roboto-BoldItalic",
    "mono": "DejaVuSansMono",
}


def advances(file: str) -> dict[str, list[int]]:
    """First character of a run → widths of the run's characters."""
    font = TTFont(FONTS / f"{file}.ttf")
    units, metrics = font["head"].unitsPerEm, font["hmtx"].metrics
    widths = {code: round(metrics[glyph][0] / units * 1000) for code, glyph in font.getBestCmap().items()}
    runs: dict[int, list[int]] = {}
    first = -1
    for code in sorted(widths):
        if code - 1 not in widths:
            first = code
        runs.setdefault(first, []).append(widths[code])
    return {str(first): run for first, run in runs.items()}


def table() -> str:
    return json.dumps({face: advances(file) for face, file in FACES.items()}, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    (FONTS / "advances.json").write_text(table())
