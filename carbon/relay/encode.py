"""Columns of datapoints → the bytes that a destination reads: lines, or pickled frames. No object per datapoint.

Values lose nothing: a line's text is the shortest that reads back as the same float64 (carbon rounds to ten decimals),
a pickle has the eight bytes themselves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from carbon.relay import encode_kernels as kernels
from carbon.relay.number_kernels import INTEGER_BYTES_MAX, VALUE_BYTES_MAX

Ids = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

FRAME_DATAPOINTS_MAX = 500  # carbon's MAX_DATAPOINTS_PER_MESSAGE
FRAME_BYTES_MAX = 1 << 19  # carbon closes the connection at 1 MiB; 500 names of 4 KiB would be 2
_LINE_BYTES_MAX = 1 + VALUE_BYTES_MAX + 1 + INTEGER_BYTES_MAX + 1  # beside the name


class Chunk(NamedTuple):
    """Whole lines or frames that go out together, and how many datapoints they are."""

    data: bytes
    points: int


class Names(Protocol):
    """The table of names: name i is blob[offsets[i]:offsets[i + 1]]."""

    @property
    def blob(self) -> Bytes: ...
    @property
    def offsets(self) -> Integers: ...


class Format(StrEnum):
    """DESTINATION_PROTOCOL."""

    LINE = "line"
    PICKLE = "pickle"


def encode(
    form: Format,
    names: Names,
    ids: Ids,
    timestamps: Integers,
    values: Floats,
    *,
    datapoints_max: int = FRAME_DATAPOINTS_MAX,
) -> bytes:
    """All datapoints in their order, in whole lines, or frames of datapoints_max at most; empty for none."""
    if not len(ids):
        return b""
    columns = (names.blob, names.offsets, ids, timestamps, values)
    if form is Format.LINE:
        return encode_lines(*columns)
    return encode_pickle(*columns, datapoints_max=datapoints_max)


def encode_lines(blob: Bytes, offsets: Integers, ids: Ids, timestamps: Integers, values: Floats) -> bytes:
    size = int(kernels.name_bytes(offsets, ids)) + len(ids) * _LINE_BYTES_MAX
    out = np.empty(size, np.uint8)
    columns = _contiguous(ids, timestamps, values)
    return out[: kernels.write_lines(blob, offsets, *columns, out)].tobytes()


def encode_pickle(
    blob: Bytes,
    offsets: Integers,
    ids: Ids,
    timestamps: Integers,
    values: Floats,
    *,
    datapoints_max: int = FRAME_DATAPOINTS_MAX,
    bytes_max: int = FRAME_BYTES_MAX,
) -> bytes:
    """Frames of a 4-byte length and a pickle of protocol 2: [(name, (timestamp, value)), …]."""
    each = kernels.HEAD_BYTES + kernels.TAIL_BYTES + kernels.ITEM_BYTES_MAX  # a frame each, at the worst
    out = np.empty(int(kernels.name_bytes(offsets, ids)) + len(ids) * each, np.uint8)
    columns = _contiguous(ids, timestamps, values)
    return out[: kernels.write_frames(blob, offsets, *columns, datapoints_max, bytes_max, out)].tobytes()


def _contiguous(
    ids: Ids, timestamps: Integers, values: Floats
) -> tuple[Ids, Integers, npt.NDArray[np.uint64]]:
    """As kernels are compiled for: for other arrays each would be compiled anew."""
    return (
        np.require(ids, np.int32, ["C", "W"]),
        np.require(timestamps, np.int64, ["C", "W"]),
        np.require(values, np.float64, ["C", "W"]).view(np.uint64),
    )
