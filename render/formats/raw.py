"""`name,start,end,step|1.5,None,…`, a line a series: graphite-web's raw."""

from __future__ import annotations

from render.formats.numbers import text
from render.formats.presentation import Presentation
from render.series import Series, SeriesList


def encode(series: SeriesList, how: Presentation) -> bytes:
    """A name is written as it is: it may hold commas and bars, so readers split at the last bar."""
    return b"".join(_line(one) for one in series)


def _line(one: Series) -> bytes:
    head = f"{one.name},{one.start},{one.end},{one.step}|".encode(errors="replace")
    return head + text(one.values).replace(b"null", b"None") + b"\n"
