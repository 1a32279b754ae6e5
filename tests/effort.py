"""How many examples a property is tried on."""

from __future__ import annotations

import os

_CI = bool(os.environ.get("CI"))


def tries(count: int) -> int:
    """For `max_examples`: a third in CI, which draws the same ones each time and has fifteen minutes; all in
    `make test`, which draws others every time.
    """
    return max(10, count // 3) if _CI else count
