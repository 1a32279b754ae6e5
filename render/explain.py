"""What a request has done: steps with their series, points, bytes and seconds, as a tree and as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from render.series import SeriesList

_WORDS_MAX = 120


@dataclass
class Step:
    """A pattern that was read, or a call with what it has called; `seconds` are without those of the steps within."""

    words: str
    series: int = 0
    points: int = 0
    bytes: int = 0  # read of the store
    parts: int = 1  # one after another; the steps within show the first
    shared: bool = False  # taken from an equal step before
    seconds: float = 0.0
    within: list[Step] = field(default_factory=list)

    def made(self, series: SeriesList, *, read: int = 0) -> None:
        self.series, self.points = len(series), sum(block.values.size for block in series.blocks)
        self.bytes += read

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what says nothing is left out."""
        shown = {
            "step": self.words, "series": self.series, "points": self.points, "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
        }  # fmt: skip
        if self.parts > 1:
            shown["parts"] = self.parts
        if self.shared:
            shown["shared"] = True
        if self.within:
            shown["within"] = [step.as_dict() for step in self.within]
        return shown


class Trace:
    """Collects the steps of a request; one thread's."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._open = [Step("request")]
        self._muted = 0

    @property
    def steps(self) -> Sequence[Step]:
        return self._open[0].within

    def step(self, words: str) -> _Open:
        return _Open(self, Step(words if len(words) <= _WORDS_MAX else f"{words[: _WORDS_MAX - 1]}…"))

    def begin(self, step: Step) -> float:
        """The clock."""
        if not self._muted:
            self._open[-1].within.append(step)
        self._open.append(step)
        return self._clock()

    def end(self, began: float) -> None:
        step, took = self._open.pop(), self._clock() - began
        outer = self._open[-1]
        step.seconds += took
        outer.seconds -= took
        if self._muted:  # what a later part does counts for the step that goes through them
            outer.seconds += step.seconds
            outer.bytes += step.bytes

    @contextmanager
    def part(self) -> Iterator[None]:
        """One more part, which does what the first has done: its steps are not listed again."""
        self._open[-1].parts += 1
        self._muted += 1
        try:
            yield
        finally:
            self._muted -= 1


class _Open:
    """A step while it is done: a class, as each request has some, and a generator takes thrice its time."""

    __slots__ = ("_began", "_step", "_trace")

    def __init__(self, trace: Trace, step: Step) -> None:
        self._trace, self._step = trace, step

    def __enter__(self) -> Step:
        self._began = self._trace.begin(self._step)
        return self._step

    def __exit__(self, *raised: object) -> None:
        self._trace.end(self._began)


def as_text(steps: Sequence[Mapping[str, Any]]) -> str:
    """A table of what `Step.as_dict` gives: a line a step, what is called within it below."""
    lines = [f"{'series':>9} {'points':>13} {'read':>10} {'ms':>9}  step"]
    lines += [line for step in steps for line in _lines(step, 0)]
    return "\n".join(lines)


def _lines(step: Mapping[str, Any], depth: int) -> Iterator[str]:
    more = f"  (in {step['parts']} parts)" if "parts" in step else "  (shared)" if "shared" in step else ""
    read = f"{step['bytes'] / 1e6:,.1f} MB" if step["bytes"] else "-"
    yield (
        f"{step['series']:9,} {step['points']:13,} {read:>10} {step['seconds'] * 1e3:9.2f}  "
        f"{'  ' * depth}{step['step']}{more}"
    )
    for inner in step.get("within", ()):
        yield from _lines(inner, depth + 1)
