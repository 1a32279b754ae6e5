"""A row of numbers in the binary forms that put a byte before each: pickle's and MessagePack's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BYTES = 1 + 8


def tagged(row: npt.NDArray[np.float64], number: int, nothing: int) -> bytes:
    """Each number of a row (points,) as the byte `number` and 8 more, the highest first; NaN as `nothing` alone."""
    out = np.empty((len(row), _BYTES), np.uint8)
    missing = np.isnan(row)
    out[:, 0] = np.where(missing, nothing, number)
    out[:, 1:] = row.astype(">f8").view(np.uint8).reshape(-1, 8)
    if not missing.any():
        return out.tobytes()
    kept = np.ones(out.shape, np.bool_)
    kept[missing, 1:] = False
    return out[kept].tobytes()
