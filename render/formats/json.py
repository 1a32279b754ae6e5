"""`[{"target": …, "tags": {…}, "datapoints": [[value, timestamp], …]}, …]`, Graphite's main answer.

No Python object is made for a datapoint: orjson writes the matrix of values, a kernel puts a timestamp after
each. A value that is missing, and ±infinity, is null; graphite-web writes 1e9999 for infinity, which not all
clients read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import orjson

from render.formats import kernels
from render.formats.consolidate import consolidated
from render.formats.presentation import Presentation
from render.series import Block, SeriesList

_CHUNK_BYTES = 1 << 20
_POINTS_AT_ONCE = 1 << 16  # their text, some 2 MiB, stays in the cache between orjson and the kernel


def encode(series: SeriesList, how: Presentation) -> bytes:
    """The series as JSON; `[]` if none of them has a point."""
    rows = list(_in_order(_fitted(series, how), how))
    body = b"".join([b"[", *(row[1:] for row in rows[:1]), *rows[1:], b"]"])  # without the first comma
    return indented(body) if how.pretty else body


def chunks(series: SeriesList, how: Presentation) -> Iterator[bytes]:
    """The same piece by piece, made as they are taken, in one line whatever is asked for."""
    pieces: list[bytes | memoryview] = [b"["]
    size = 1
    for row in _in_order(_fitted(series, how), how):
        pieces.append(row if size > 1 else row[1:])  # without the first comma
        size += len(row)
        if size > _CHUNK_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 2
    yield b"".join([*pieces, b"]"])


def _fitted(series: SeriesList, how: Presentation) -> SeriesList:
    if how.max_data_points is None or not any(block.values.size for block in series.blocks):
        return series
    return consolidated(series, how.max_data_points)


def _in_order(series: SeriesList, how: Presentation) -> Iterator[memoryview]:
    """Each series' row; those of one block after the other are not held all at once."""
    if not any(block.values.size for block in series.blocks):
        return
    rows = (row for block in series.blocks for row in _rows(block, how))
    if not np.array_equal(series.order, np.arange(len(series))):
        laid = list(rows)
        rows = (laid[i] for i in series.order)
    yield from (row for row in rows if row is not None)


def indented(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)


def _rows(block: Block, how: Presentation) -> Iterator[memoryview | None]:
    """`,{…}` for each series of a block; None for one that is left out as it has only missing points."""
    # graphite-web's timestamps stop at the series' end, though values may go on
    points = min(block.values.shape[1], max(0, (block.end - block.start) // block.step + 1))
    per_s = how.timestamps_per_s
    texts, text_ends = stamps(block.start * per_s, block.step * per_s, points)
    at_once = max(1, _POINTS_AT_ONCE // max(1, points))
    for first in range(0, len(block), at_once):
        values = np.ascontiguousarray(block.values[first : first + at_once, :points])
        heads = [_head(block.names[first + i], block.tags[first + i]) for i in range(len(values))]
        text, ends, kept = interleave(values, heads, texts, text_ends, how.no_null_points)
        starts = [0, *ends[:-1]]
        for start, end, count in zip(starts, ends, kept, strict=True):
            yield text[start:end] if count or not how.no_null_points else None


def _head(name: str, tags: dict[str, str]) -> bytes:
    return b',%s,"datapoints":[' % orjson.dumps({"target": name, "tags": tags})[:-1]


def stamps(start: int, step: int, points: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """`,<timestamp>],` of each point, end to end, and where each ends."""
    text = np.empty(points * kernels.STAMP_BYTES_MAX, np.uint8)
    ends = np.empty(points, np.uint64)
    used = kernels.write_stamps(int(start), int(step), text, ends)
    return text[:used], ends


def interleave(
    values: npt.NDArray[np.float64],
    heads: list[bytes],
    texts: npt.NDArray[np.uint8],
    text_ends: npt.NDArray[np.uint64],
    no_null_points: bool,
) -> tuple[memoryview, list[int], list[int]]:
    """The series' text end to end, where each ends, and how many points each has."""
    series, points = values.shape
    numbers = np.frombuffer(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY), np.uint8)
    head_ends = np.cumsum([len(head) for head in heads]).astype(np.uint64)
    head_text = np.frombuffer(b"".join(heads), np.uint8)
    size = len(numbers) + len(head_text) + series * (len(texts) + points + 2)
    out = np.empty(size, np.uint8)
    ends, kept = np.empty(series, np.int64), np.empty(series, np.int64)
    kernels.write_json(numbers, head_text, head_ends, texts, text_ends, no_null_points, out, ends, kept)
    return out.data, ends.tolist(), kept.tolist()
