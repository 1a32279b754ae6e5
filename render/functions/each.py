"""Change each series of a list and call the outcome as graphite-web does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from render.series import Block, Matrix, SeriesList


def each(
    series: SeriesList,
    name: str,
    change: Callable[[Block], Matrix],
    argument: str = "",
    *,
    fresh: bool = False,
    **tags: object,
) -> SeriesList:
    """Every block with the values `change(block)`, its series called `name(<old><argument>)`, tags added.

    `fresh`: graphite-web makes a new series there, so that drawing options are lost.
    """

    def one(block: Block) -> Block:
        names = [f"{name}({old}{argument})" for old in block.names]
        added = {tag: str(value) for tag, value in tags.items()}
        options = None if fresh else block.options
        changed = block.with_(change(block), options=options)
        return changed.renamed(names, block.tags.plus(**added))

    # overflow and division by zero are answers here (inf, NaN), not warnings
    with np.errstate(all="ignore"):
        return series.map(one)
