"""Quotients and powers of matrices: what is no number, or none that a float holds, is missing."""

from __future__ import annotations

import numpy as np

from render.series import Matrix
from storage.consolidation import Row


def ratio(dividends: Matrix, divisors: Matrix) -> Matrix:
    """NaN where the divisor is 0; the divisors may be one row or number for all."""
    with np.errstate(all="ignore"):
        out: Matrix = dividends / divisors
    np.copyto(out, np.nan, where=divisors == 0)
    return out


def power(base: Row, exponent: Row) -> Row:
    """base ** exponent where both are there and the outcome is a number that a float holds."""
    with np.errstate(all="ignore"):
        out = np.power(base, exponent)
    # inf where math.pow raises (overflow, 0 to a negative power); 1 for nan ** 0 and 1 ** nan
    invented = np.isinf(out) & np.isfinite(base) & np.isfinite(exponent)
    return np.where(invented | np.isnan(base) | np.isnan(exponent), np.nan, out)
