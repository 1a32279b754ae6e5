"""What series functions see of a request, so that none needs to know the plan."""

from __future__ import annotations

from datetime import tzinfo
from typing import Protocol

from render.series import SeriesList


class Context(Protocol):
    """What series functions need of a request.

    An answer made of `start`, `until` or `now` is that of these very seconds; `window` is for what all windows have in
    common whose ends lie in the same steps, such as a grid's first point, so that one answer serves them all.
    """

    @property
    def window(self) -> tuple[int, int]: ...  # start and until

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

    def may_wait(self) -> None:
        """To be called before what may wait for others, or matches a pattern of the user's: raises TooHeavy where a
        request must not, to be evaluated anew where it may.
        """
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

    def shifted(self, seconds: int) -> SeriesList:
        """Over the request's window, so many seconds later."""
        ...
