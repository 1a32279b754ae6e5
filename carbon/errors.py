"""The tree of carbon errors.

CarbonError
└── BadFrame   the peer's fault: the connection is closed and the reason counted
"""

from __future__ import annotations

from collections.abc import Sequence


class CarbonError(Exception):
    """The root: `except CarbonError` is everything that this wing raises on purpose."""


class BadFrame(CarbonError):
    """A frame that cannot be read, or is refused; nothing that follows it on its connection can be trusted.

    `reason` is one of a small fixed set, fit to be counted under. `names`, `timestamps` and `values` are the
    datapoints of the whole frames that came before it in the same piece of data, and are good.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.names: Sequence[bytes] = ()
        self.timestamps: Sequence[float] = ()
        self.values: Sequence[float] = ()
