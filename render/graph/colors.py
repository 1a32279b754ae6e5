"""Colours: what a request writes → red, green, blue and opacity."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Color(NamedTuple):
    red: int  # 0 … 255, as the next two
    green: int
    blue: int
    alpha: float = 1.0  # opacity, 0 … 1

    @property
    def hex(self) -> str:
        """`#rrggbb`, without the opacity."""
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"

    @property
    def luminance(self) -> float:
        """WCAG's relative luminance: 0 is black, 1 is white."""
        linear = [_linear(channel / 255) for channel in self[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(self, other: Color) -> float:
        """WCAG's contrast ratio: 1 … 21; 3 is what lines need, 4.5 what text needs."""
        dark, light = sorted((self.luminance, other.luminance))
        return (light + 0.05) / (dark + 0.05)

    def mixed(self, other: Color, part: float) -> Color:
        """This colour with a part (0 … 1) of another; the opacity stays."""
        red, green, blue = (round(a + (b - a) * part) for a, b in zip(self[:3], other[:3], strict=True))
        return Color(red, green, blue, self.alpha)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


_HEX = re.compile(r"(?:#|%23)?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?")
# graphite-web's names and their meanings, which are not CSS's
NAMES: Mapping[str, Color] = MappingProxyType(
    {
        "black": Color(0, 0, 0),
        "white": Color(255, 255, 255),
        "blue": Color(100, 100, 255),
        "green": Color(0, 200, 0),
        "red": Color(200, 0, 50),
        "yellow": Color(255, 255, 0),
        "orange": Color(255, 165, 0),
        "purple": Color(200, 100, 255),
        "brown": Color(150, 100, 50),
        "cyan": Color(0, 255, 255),
        "aqua": Color(0, 150, 150),
        "gray": Color(175, 175, 175),
        "grey": Color(175, 175, 175),
        "magenta": Color(255, 0, 255),
        "pink": Color(255, 100, 100),
        "gold": Color(200, 200, 0),
        "rose": Color(200, 150, 200),
        "darkblue": Color(0, 0, 255),
        "darkgreen": Color(0, 255, 0),
        "darkred": Color(255, 0, 0),
        "darkgray": Color(111, 111, 111),
        "darkgrey": Color(111, 111, 111),
    }
)


def parse(text: str) -> Color:
    """A name, RRGGBB or RRGGBBAA, with or without # before it. Raises ValueError with what is allowed."""
    named = NAMES.get(text.strip().lower())
    if named is not None:
        return named
    found = _HEX.fullmatch(text.strip())
    if found is None:
        shown = text if len(text) <= 32 else text[:32] + "…"
        raise ValueError(f"{shown!r} is no colour: write RRGGBB, RRGGBBAA or one of {', '.join(NAMES)}")
    red, green, blue = bytes.fromhex(found[1])
    return Color(red, green, blue, int(found[2], 16) / 255 if found[2] else 1.0)


def cycle(palette: Sequence[Color], background: Color) -> Iterator[Color]:
    """The palette's colours, then others made of them: six times as many before one comes again.

    Paler ones, darker ones (lighter ones on a dark background), then each mixed with one of its next three: always
    paler would soon be none that can be seen.
    """
    far = NAMES["black"] if background.luminance > 0.18 else NAMES["white"]
    while True:
        yield from palette
        yield from (color.mixed(background, 0.35) for color in palette)
        yield from (color.mixed(far, 0.4) for color in palette)
        for apart in (1, 2, 3):
            yield from (
                color.mixed(palette[(i + apart) % len(palette)], 0.5) for i, color in enumerate(palette)
            )
