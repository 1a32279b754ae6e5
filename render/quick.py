"""Requests that are answered in the reactor's thread: handing such a one to another thread costs more than it does.

What a request costs is known only from an answer: one that took a thread little is answered at once the next time it
is asked, for whatever window of about that age. It has bounds that are closer yet, may wait for nothing, and is given
to a thread where it comes to one of them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from render.config import Light
from render.request import Params

LIGHT = Light(points=20_000, seconds=0.02, nodes=500, waits=False)
TEXT_BYTES_MAX = 4096  # of a request's parameters
_QUICK_S = 0.005  # of a processor
_SLOW_S = 0.05  # by the clock: it may have waited for a disk
_AGAIN_S = 60.0  # after which one that was not quick when it had to be is tried again
_REQUESTS_MAX = 16_384
_TRIES, _SELDOM = 64, 8  # in vain, before it is looked only so seldom
_WINDOW = ("from", "until")


def key_of(path: str, accepted: Sequence[str], params: Params, now: int) -> int:
    """What requests have in common that cost about the same."""
    asked = (
        (name, *(map(_age, values, [now] * len(values)) if name in _WINDOW else values))
        for name, values in params.items()
    )
    return hash((path, *accepted, *asked))


def _age(text: str, now: int) -> int | str:
    """The order of magnitude, if it is a time in seconds."""
    return (now - int(text)).bit_length() if text.isdecimal() and len(text) < 19 else text


class Quick:
    """The requests that were quick, those that were asked for last. Threads tell it, the reactor asks."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        cpu_s: float = _QUICK_S,
        seconds: float = _SLOW_S,
    ) -> None:
        """Quick is what takes no more of a processor, and by the clock."""
        self._clock, self._cpu_s, self._seconds = clock, cpu_s, seconds
        self._from: OrderedDict[int, float] = OrderedDict()  # since when each may be answered at once
        self._lock = Lock()

    def has(self, key: int) -> bool:
        return self._from.get(key, float("inf")) <= self._clock()

    def took(self, key: int, cpu_s: float, seconds: float) -> None:
        """An answer was made by a thread."""
        with self._lock:
            if cpu_s > self._cpu_s or seconds > self._seconds:
                self._from.pop(key, None)
                return
            self._from.setdefault(key, 0.0)
            self._from.move_to_end(key)
            if len(self._from) > _REQUESTS_MAX:
                self._from.popitem(last=False)

    def was_not(self, key: int) -> None:
        """It had to be handed over after all."""
        with self._lock:
            self._from[key] = self._clock() + _AGAIN_S


class Luck:
    """Whether to look for a kept answer: where none was found for long, only now and then."""

    def __init__(self) -> None:
        self._left = _TRIES

    def says(self) -> bool:
        self._left -= 1
        return self._left > 0 or self._left % _SELDOM == 0

    def was_good(self) -> None:
        self._left = _TRIES
