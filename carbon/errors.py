"""The tree of carbon errors.

CarbonError
├── BadFrame             the peer's fault: the connection is closed and the reason counted
└── InvalidDestination   the user's: a destination that a relay cannot have
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carbon.protocols.reader import Batch


class CarbonError(Exception):
    """The root: `except CarbonError` is everything that this wing raises on purpose."""


class BadFrame(CarbonError):
    """A frame that cannot be read, or is refused; nothing that follows it on its connection can be trusted.

    `reason` is one of a small fixed set, fit to be counted under. `batch` has the datapoints of what came before it
    in the same piece of data, and is good; None if there were none.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.batch: Batch | None = None


class InvalidDestination(CarbonError):
    """The text of a destination that says none, or one that does not go with the others."""
