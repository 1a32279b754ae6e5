"""`[{"target": …, "datapoints": [{"y": value, "x": timestamp}, …]}, …]`, for the chart library of that name.

The text is the JSON answer's with other brackets, so that here, too, no Python object is made for a datapoint.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson

from render.formats import json
from render.formats.presentation import Presentation
from render.series import Block, SeriesList

_HEAD = b"["  # of a series; its name comes later, as it may have brackets


def encode(series: SeriesList, how: Presentation) -> bytes:
    laid = [row for block in series.blocks for row in _rows(block)]
    body = b"[" + b",".join([laid[i] for i in series.order]) + b"]"
    return json.indented(body) if how.pretty else body


def _rows(block: Block) -> Iterator[bytes]:
    points = block.values.shape[1]
    stamps, ends = json.stamps(block.start, block.step, points)
    keyed = stamps.tobytes().replace(b",", b',"x":').replace(b'],"x":', b"},")
    longer = np.arange(1, points + 1, dtype=np.uint64) * np.uint64(len('"x":'))
    stamps = np.frombuffer(bytearray(keyed), np.uint8)  # writable, as the kernel knows them
    values = np.ascontiguousarray(block.values)
    text, stops, _ = json.interleave(values, [_HEAD] * len(block), stamps, ends + longer, False)
    for name, start, stop in zip(block.names, [0, *stops[:-1]], stops, strict=True):
        datapoints = bytes(text[start + len(_HEAD) : stop]).replace(b"[", b'{"y":')
        yield b'{"target":%s,"datapoints":[%s' % (orjson.dumps(name), datapoints)
