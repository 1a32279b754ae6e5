"""The legend: names beside a sample of their line, in as many columns as fit, in no more room than there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from render.graph.colors import Color
from render.graph.shapes import Box, Path, Rectangle, Shape, Text, line
from render.graph.text import ELLIPSIS, Font, begin, cut, width

_NAME_MIN = 5.0  # of a letter m: what a name may be cut to before entries are left out


@dataclass(frozen=True)
class Entry:
    name: str
    color: Color
    dash: float = 0.0
    area: bool = False


@dataclass(frozen=True)
class Legend:
    """Laid out, not yet placed: each row's entries and how wide each of them is."""

    font: Font
    rows: tuple[tuple[tuple[Entry, float], ...], ...] = ()
    left_out: int = 0
    shared: int = 0  # so many characters begin all names: they are cut first

    @property
    def height(self) -> float:
        return len(self.rows) * self.font.line

    def shapes(self, left: float, top: float, color: Color) -> list[Shape]:
        shapes: list[Shape] = []
        for i, row in enumerate(self.rows):
            x, y = left, top + i * self.font.line + self.font.ascent
            for entry, room in row:
                name = _shortened(entry.name, self.shared, room - _sample(self.font), self.font)
                shapes += _entry(entry, name, x, y, self.font, color)
                x += room
            if self.left_out and i == len(self.rows) - 1:
                shapes.append(Text(x, y, _more(self.left_out), self.font, color))
        return shapes


def legend(entries: Sequence[Entry], room: float, height_max: float, font: Font) -> Legend:
    """All entries if they fit into room × height_max pixels, shortened as far as they must be; else the first."""
    rows_max = int(height_max // font.line)
    if rows_max < 1 or not entries:
        return Legend(font)
    widths = [_width(entry, font) for entry in entries]
    if sum(widths) <= room:  # one row, each as wide as it is
        return Legend(font, (tuple(zip(entries, widths, strict=True)),))
    widest, least = max(widths), _sample(font) + _NAME_MIN * font.size
    columns = max(1, int(room // widest), min(-(-len(entries) // rows_max), int(room // least)))
    fitting = rows_max * columns
    if len(entries) <= fitting:
        return Legend(font, _rows(entries, columns, min(widest, room / columns)), shared=_shared(entries))
    return _first(entries, columns, rows_max, room, font)


def _first(entries: Sequence[Entry], columns: int, rows: int, room: float, font: Font) -> Legend:
    """As many as fit with the number of the others at the end, for which whole entries make way."""
    each = room / columns
    said = -(-width(_more(len(entries)), font) // each)
    if said > columns:
        return Legend(font)
    shown = rows * columns - int(said)
    laid = _rows(entries[:shown], columns, each)
    if len(laid) < rows:  # all that is left of the last row is the number
        laid += ((),)
    return Legend(font, laid, len(entries) - shown, _shared(entries))


def _more(count: int) -> str:
    return f"… and {count:,} more"


def _rows(entries: Sequence[Entry], columns: int, each: float) -> tuple[tuple[tuple[Entry, float], ...], ...]:
    starts = range(0, len(entries), columns)
    return tuple(tuple((entry, each) for entry in entries[at : at + columns]) for at in starts)


def _sample(font: Font) -> float:
    """Pixels of a sample, and of the space before its name and after it."""
    return font.size * 2.9


def _width(entry: Entry, font: Font) -> float:
    return _sample(font) + width(entry.name, font) + 1


def _shared(entries: Sequence[Entry]) -> int:
    """How many characters begin all names: as many as begin the first and the last of them in order."""
    if len(entries) < 2:
        return 0
    first, last = min(entry.name for entry in entries), max(entry.name for entry in entries)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def _shortened(name: str, shared: int, room: float, font: Font) -> str:
    """The name cut to the room: what it shares with the others goes before what tells it from them."""
    if width(name, font) <= room:
        return name
    own = name[shared:]
    spare = room - width(own, font)
    if shared < 2 or spare < width(ELLIPSIS, font):
        return cut(own if shared > 1 else name, room, font)
    spare -= width(ELLIPSIS, font)
    return begin(name[:shared], spare, font) + ELLIPSIS + own


def _entry(entry: Entry, name: str, x: float, y: float, font: Font, color: Color) -> list[Shape]:
    """A piece of line, or of an area, and the name."""
    size, middle = font.size, round(y - font.size * 0.36)
    sample: Shape
    if entry.area:
        sample = Rectangle(Box(x, middle - size * 0.4, x + size * 1.1, middle + size * 0.4), entry.color)
    else:
        dash = min(entry.dash, size / 2.5)
        sample = Path([line(x, middle, x + size * 1.1, middle)], entry.color, size / 4, dash, sharp=True)
    return [sample, Text(x + size * 1.6, y, name, font, color)] if name else [sample]
