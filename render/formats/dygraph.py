"""`{"labels": ["Time", name, …], "data": [[milliseconds, value, …], …]}`, a row a time, for the chart library Dygraphs.

The times are those of all series: each value stands at its own, and null where its series has none. (In
graphite-web they are the first series', and values of others stand in their order, whatever their times.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import orjson

from render.errors import TooMuch
from render.formats import json
from render.formats.presentation import Presentation
from render.series import SeriesList

CELLS_MAX = 20_000_000  # some 100 MB of text
_MS = 1000


def encode(series: SeriesList, how: Presentation) -> bytes:
    """`{}` if there is no series; raises TooMuch."""
    if not series:
        return b"{}"
    grids = [block.start + np.arange(block.values.shape[1]) * block.step for block in series.blocks]
    times = np.unique(np.concatenate(grids))
    if len(times) * len(series) > CELLS_MAX:
        raise TooMuch(
            f"{len(times)} times of {len(series)} series; a dygraph table has {CELLS_MAX} values at most"
        )
    table = np.full((len(times), len(series)), np.nan)
    at = 0
    for block, grid in zip(series.blocks, grids, strict=True):
        table[np.searchsorted(times, grid), at : at + len(block)] = block.values.T
        at += len(block)
    labels = orjson.dumps(["Time", *series.names])
    body = b'{"labels":%s,"data":[%s]}' % (labels, _lines(times, table[:, series.order]))
    return json.indented(body) if how.pretty else body


def _lines(times: npt.NDArray[np.int64], table: npt.NDArray[np.float64]) -> bytes:
    texts = orjson.dumps(np.ascontiguousarray(table), option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    stamps = (times * _MS).tolist()
    return b",".join([b"[%d,%s]" % row for row in zip(stamps, texts, strict=False)])
