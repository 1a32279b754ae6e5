"""Gates: all are held while any reason lasts, those that come later too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carbon.gates import Gates


class Counting:
    def __init__(self) -> None:
        self.paused = False
        self.calls = 0

    def pause(self) -> None:
        assert not self.paused
        self.paused, self.calls = True, self.calls + 1

    def resume(self) -> None:
        assert self.paused
        self.paused, self.calls = False, self.calls + 1


reasons = st.sampled_from(["the disk is full", "a relay queue is full", "the receiver ends"])
moves = st.lists(st.tuples(st.sampled_from(["hold", "release", "join"]), reasons), max_size=40)


@given(moves)
def test_every_gate_is_paused_exactly_while_there_is_a_reason(moves: list[tuple[str, str]]) -> None:
    gates, joined, held = Gates(), [Counting()], set[str]()
    gates.append(joined[0])
    for move, reason in moves:
        if move == "join":
            joined.append(Counting())
            gates.append(joined[-1])
        elif move == "hold":
            gates.hold(reason)
            held.add(reason)
        else:
            gates.release(reason)
            held.discard(reason)
        assert gates.held == held
        assert {gate.paused for gate in joined} == {bool(held)}


def test_a_second_reason_is_not_a_second_pause() -> None:
    gates, gate = Gates(), Counting()
    gates.append(gate)
    gates.hold("a")
    gates.hold("b")
    gates.hold("a")
    gates.release("a")
    assert (gate.paused, gate.calls) == (True, 1)
    gates.release("b")
    assert (gate.paused, gate.calls) == (False, 2)
