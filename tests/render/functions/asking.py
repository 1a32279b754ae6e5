"""How the tests of function families ask: a target over the golden window, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from render.extras import Extras
from render.lookups.tables import Aliases, Key, Lookups
from render.plan import render
from render.series import SeriesList
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource


class Fixed:
    """A table of aliases that never changes; `asked` tells what it has been asked."""

    def __init__(self, aliases: Mapping[Key, str], width: int = 1) -> None:
        self.aliases, self.width = aliases, width
        self.asked: list[Sequence[Key]] = []

    def ask(self, keys: Sequence[Key]) -> Aliases:
        self.asked.append(keys)
        return [self.aliases.get(key) for key in keys]


# the tables that the manual's examples name
EXTRAS = Extras(
    lookups=Lookups(
        {"hosts": Fixed({("cpu",): "load"})},
        {("inventory", "owner"): Fixed({("web1",): "shop", ("db1",): "data"})},
    )
)


def ask(source: MemorySource, target: str, **more: Any) -> SeriesList:
    window = {"start": START, "until": UNTIL, "now": NOW, "zone": UTC, "extras": EXTRAS}
    return render(source, [target], **{**window, **more})[0]


def values(found: SeriesList) -> list[list[float | None]]:
    """The datapoints of each series, None where there is none."""
    return [[None if v != v else v for v in one.values.tolist()] for one in found]


def of_rows(target: str, *rows: Sequence[float | None], step: int = 60) -> SeriesList:
    """A target over series a.0, a.1 … that have these datapoints in the window and no others."""
    return ask(holding(*rows, step=step), target, until=START + step * len(rows[0]))


def holding(*rows: Sequence[float | None], step: int = 60) -> MemorySource:
    """Series a.0, a.1 … whose first point is the first in the golden window."""
    source = MemorySource()
    for i, row in enumerate(rows):
        source.add(f"a.{i}", START - START % step + step, step, row)
    return source
