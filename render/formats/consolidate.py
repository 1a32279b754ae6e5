"""maxDataPoints: series with fewer points, as graphite-web thins them before it writes JSON.

Points merge in runs that begin at multiples of the run's seconds, so that runs stay the same when a window
moves on; what lies before the first such multiple is dropped. Each series merges by its own aggregation
(consolidateBy) and xFilesFactor.
"""

from __future__ import annotations

import numpy as np

from render.series import Block, SeriesList
from storage import consolidation


def consolidated(series: SeriesList, max_data_points: int) -> SeriesList:
    """At most about max_data_points (≥ 1) points each; 1 is one point at the series' own start.

    How many points merge depends on the window from the first start to the last end of all the series.
    """
    if not series.blocks:
        return series
    start = min(block.start for block in series.blocks)
    seconds = max(block.end for block in series.blocks) - start
    return series.map(lambda block: _thinned(block, max_data_points, seconds))


def _thinned(block: Block, max_data_points: int, seconds: int) -> Block:
    if max_data_points == 1:
        return _merged(block, max(1, block.values.shape[1]), drop=0, nudge=0)
    if max_data_points * block.step >= seconds:
        return block
    size = -(-seconds // (block.step * max_data_points))
    run = size * block.step
    nudge = run + block.start % block.step - block.start % run
    return _merged(block, size, max(0, nudge // block.step - 1), nudge)


def _merged(block: Block, size: int, drop: int, nudge: int) -> Block:
    """Runs of `size` points after the first `drop`; the end stays: it bounds what is shown."""
    values = block.values[:, drop:]
    out = np.empty((len(block), -(-values.shape[1] // size)))
    methods = np.array([consolidation.canonical(name) for name in block.consolidations])
    for method in set(methods.tolist()):
        mine = np.flatnonzero(methods == method)
        chosen = values if len(mine) == len(block) else values[mine]
        out[mine] = consolidation.buckets(method, chosen, size, block.x_files_factor)
    return block.with_(out, start=block.start + nudge, step=block.step * size, fixed_end=block.end)
