"""How a picture looks: the template and what a request says otherwise, as colours and fonts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from render.graph.colors import Color, cycle
from render.graph.options import Options
from render.graph.shapes import Box, Picture, Rectangle, Shape, Text
from render.graph.templates import TEMPLATES
from render.graph.text import FAMILIES, Font, cut


@dataclass(frozen=True)
class Look:
    background: Color
    foreground: Color
    major: Color
    minor: Color
    lines: tuple[Color, ...]
    asked: bool  # whether the request names the lines' colours
    font: Font

    @property
    def title(self) -> Font:
        return Font(self.font.size * 1.2, self.font.family, True, self.font.italic)

    @property
    def faint(self) -> Color:
        """Of axes: less than the text, more than the grid."""
        return self.foreground.mixed(self.background, 0.5)

    def colors(self) -> Iterator[Color]:
        """Series by series; never ends. Colours that were asked for come again as they are."""
        return itertools.cycle(self.lines) if self.asked else cycle(self.lines, self.background)


def look(options: Options) -> Look:
    template = TEMPLATES[options.template]
    background = options.bgcolor or template.background
    foreground = options.fgcolor or template.foreground
    major, minor = template.major, template.minor
    if options.bgcolor or options.fgcolor:  # the template's grid may not be seen on it
        major, minor = background.mixed(foreground, 0.18), background.mixed(foreground, 0.08)
    lines = options.color_list or template.lines
    if options.bgcolor and not options.color_list and not _seen(lines, background):
        lines = TEMPLATES["light" if background.luminance > 0.18 else "dark"].lines
    return Look(
        background,
        foreground,
        options.major_grid_line_color or major,
        options.minor_grid_line_color or minor,
        lines,
        options.color_list is not None,
        Font(options.font_size, FAMILIES[options.font_name], options.font_bold, options.font_italic),
    )


def _seen(lines: tuple[Color, ...], background: Color) -> bool:
    return all(color.contrast(background) >= 2 for color in lines)


def ground(options: Options, look: Look) -> Rectangle:
    return Rectangle(Box(0, 0, options.width, options.height), look.background)


def no_data(options: Options, look: Look) -> Picture:
    """A picture that says that there is nothing to be seen."""
    font = look.font.sized(max(8.0, min(22.0, options.width / 9, options.height / 3)))
    said = cut("No data", options.width - 2, font)
    text = Text(options.width / 2, options.height / 2 + font.size * 0.36, said, font, look.faint, "middle")
    return Picture(
        options.width, options.height, [ground(options, look), text] if said else [ground(options, look)]
    )


def title(options: Options, look: Look, top: float, room: float) -> list[Shape]:
    """The title in the middle of the picture, under `top`."""
    said = cut(options.title, room, look.title)
    y = top + look.title.ascent
    return [Text(options.width / 2, y, said, look.title, look.foreground, "middle")] if said else []
