"""What series functions see of a request, so that none needs to know the plan."""

from __future__ import annotations

from datetime import tzinfo
from typing import Protocol

from render.series import SeriesList


class Context(Protocol):
    """What series functions need of a request."""

    @property
    def start(self) -> int: ...  # epoch seconds; the first datapoint lies after it

    @property
    def until(self) -> int: ...

    @property
    def now(self) -> int: ...

    @property
    def zone(self) -> tzinfo: ...

    @property
    def x_files_factor(self) -> float | None: ...

    @property
    def stacks(self) -> dict[str, SeriesList]:
        """What stacked() has reached so far, by the stack's name; kept for the request's later calls."""
        ...

    def check(self) -> None:
        """Raises Deadline when the request has taken its time."""
        ...

    def call(self, name: str, *lists: SeriesList) -> SeriesList:
        """What a series function, named by the user, makes of lists."""
        ...

    def evaluate_text(self, target: str) -> SeriesList:
        """What a target makes that a function has put together."""
        ...


class Expression(Protocol):
    """A lazy function's first argument: not evaluated yet."""

    @property
    def text(self) -> str: ...

    def evaluate(self, *, start: int, until: int) -> SeriesList: ...
