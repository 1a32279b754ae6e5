"""Holding senders back: all listeners' streams at once, for as long as any reason lasts."""

from __future__ import annotations

from typing import Protocol


class Gate(Protocol):
    """A listener's streams, as they are held back."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Gates:
    def __init__(self) -> None:
        self._gates: list[Gate] = []
        self._reasons: set[str] = set()

    def append(self, gate: Gate) -> None:
        self._gates.append(gate)
        if self._reasons:
            gate.pause()

    @property
    def held(self) -> frozenset[str]:
        """Why nothing is read; nothing = it is."""
        return frozenset(self._reasons)

    def hold(self, reason: str) -> None:
        """Read nothing of any stream, until every reason is released."""
        if not self._reasons:
            for gate in self._gates:
                gate.pause()
        self._reasons.add(reason)

    def release(self, reason: str) -> None:
        if reason in self._reasons:
            self._reasons.discard(reason)
            if not self._reasons:
                for gate in self._gates:
                    gate.resume()
