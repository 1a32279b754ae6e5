"""Fine → coarse under xFilesFactor, as whisper does it: pure, on arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage import consolidation


def rollup(
    values: npt.NDArray[np.float64], method: str, x_files_factor: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Reduce fine values (ratio, n) to coarse values (n,), and say which of them are to be stored.

    A coarse value counts if at least one fine one is known and known / ratio ≥ x_files_factor; else what the
    coarse archive holds stays.
    """
    reduced = consolidation.columns(method, values)
    enough = (reduced.known > 0) & (reduced.known / len(values) >= x_files_factor)
    return reduced.values, enough
