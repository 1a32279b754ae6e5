"""What listeners need of what lies behind them: the receiver's pipeline, or in a reader the way to the writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from carbon.gates import Gates
from carbon.names import NameTable
from carbon.protocols.reader import Batch


class Takes(Protocol):
    """Where datapoints go."""

    @property
    def gates(self) -> Gates: ...

    @property
    def now(self) -> Callable[[], float]:
        """Gives epoch seconds."""
        ...

    def accept(self, batch: Batch | None, listener: str, source: str = "") -> None: ...


class Inward(Protocol):
    @property
    def incoming(self) -> NameTable:
        """The ids of what is accepted are its."""
        ...

    @property
    def intake(self) -> Takes: ...
