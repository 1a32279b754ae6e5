"""The window: what is not acknowledged is kept, of the rest the last for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carbon.relay.encode import Chunk
from carbon.relay.spool import Place
from carbon.relay.window import Keep, Window


def chunk(size: int) -> Chunk:
    return Chunk(b"x" * size, 1)


def must_stay(end: int, at: int, acknowledged: int, now: int, last_bytes: int, seconds: int) -> bool:
    return end > acknowledged or (end > acknowledged - last_bytes and at > now - seconds)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 5)), max_size=30),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)), max_size=5),
    st.integers(0, 200),
    st.integers(0, 40),
)
def test_what_is_kept_is_what_must_be(
    sent: list[tuple[int, int]], looks: list[tuple[int, int]], last_bytes: int, seconds: int
) -> None:
    window = Window(Keep(last_bytes, seconds))
    written, now, chunks = 0, 0, []
    for size, pause in sent:
        now += pause
        written += size
        chunks.append((written, now, chunk(size)))
        window.add(chunks[-1][2], None, now)
    acknowledged, model = 0, list(chunks)
    for waiting, pause in looks:
        now += pause
        acknowledged = max(acknowledged, written - waiting)
        window.settle(waiting, now)
        while model and not must_stay(*model[0][:2], acknowledged, now, last_bytes, seconds):
            del model[0]
        assert [(one.end, one.chunk) for one in window._sent] == [(end, each) for end, _, each in model]
        assert window.arrived == (acknowledged >= written)
        assert window.nbytes == (written - model[0][0] + len(model[0][2].data) if model else 0)
    unsure = window.take_unacknowledged()
    assert [one.end for one in unsure] == [end for end, _, _ in chunks if end > acknowledged]
    assert len(window) == 0


def test_places_of_what_is_forgotten_are_told_the_last_one() -> None:
    window = Window(Keep(0, 0))
    for i in range(4):
        window.add(chunk(10), Place(0, i) if i != 2 else None, 0)
    assert window.settle(40, 1) is None
    assert window.settle(25, 1) == Place(0, 0)
    assert window.settle(10, 1) == Place(0, 1)
    assert window.settle(0, 1) == Place(0, 3)


def test_taking_all_begins_anew() -> None:
    window = Window(Keep())
    window.add(chunk(10), None, 0)
    assert [one.end for one in window.take()] == [10]
    assert (len(window), window.nbytes, window.written, window.arrived) == (0, 0, 0, True)
