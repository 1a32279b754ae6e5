from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import TooMuch, Unavailable
from render.lookups.tables import Aliases, Cached, Key


class Counting:
    """A table that knows the names of even numbers, and counts; it may be made to give no answer."""

    width = 1

    def __init__(self) -> None:
        self.asked: list[list[Key]] = []
        self.works = True

    def ask(self, keys: Sequence[Key]) -> Aliases:
        self.asked.append(list(keys))
        if not self.works:
            raise Unavailable("no answer")
        return [f"{key[0]}!" if int(key[0]) % 2 == 0 else None for key in keys]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys(*numbers: int) -> list[Key]:
    return [(str(number),) for number in numbers]


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=8),
    st.lists(st.sampled_from([0, 5, 61]), min_size=8),
)
def test_answers_are_the_tables_and_known_ones_are_not_asked_for(
    calls: list[list[int]], pauses: list[int]
) -> None:
    table, clock = Counting(), Clock()
    cached = Cached(table, names_max=10, fresh_s=60, clock=clock)
    for call, pause in zip(calls, pauses, strict=False):
        clock.now += pause
        before = len(table.asked)
        assert cached.ask(keys(*call)) == [f"{number}!" if number % 2 == 0 else None for number in call]
        assert len(cached._known) <= 10
        once = [key for asked in table.asked[before:] for key in asked]
        assert len(once) == len(set(once))
        cached.ask(keys(*call))
        assert len(table.asked) <= before + 1  # all of them are known now


def test_an_answer_is_fresh_for_a_while_also_that_there_is_none() -> None:
    table, clock = Counting(), Clock()
    cached = Cached(table, fresh_s=60, clock=clock)
    assert cached.ask(keys(1, 2, 2)) == [None, "2!", "2!"]
    clock.now += 59
    assert cached.ask(keys(2, 1, 3)) == ["2!", None, None]
    clock.now += 2
    cached.ask(keys(1, 3))
    assert table.asked == [keys(1, 2), keys(3), keys(1)]


def test_old_answers_serve_where_there_is_no_new_one() -> None:
    table, clock = Counting(), Clock()
    cached = Cached(table, fresh_s=60, clock=clock)
    cached.ask(keys(1, 2))
    clock.now += 3600
    table.works = False
    assert cached.ask(keys(2, 1)) == ["2!", None]
    with pytest.raises(Unavailable):
        cached.ask(keys(2, 4))
    table.works = True
    assert cached.ask(keys(2, 4)) == ["2!", "4!"]


def test_what_nobody_has_asked_for_longest_goes_first() -> None:
    table = Counting()
    cached = Cached(table, names_max=3)
    cached.ask(keys(0, 2, 4))
    cached.ask(keys(0))
    cached.ask(keys(6))
    table.asked.clear()
    assert cached.ask(keys(0, 4, 6)) == ["0!", "4!", "6!"]
    assert table.asked == []
    cached.ask(keys(2))
    assert table.asked == [keys(2)]


def test_too_many_names_at_once_are_refused_before_the_table_is_asked() -> None:
    table = Counting()
    cached = Cached(table, names_max=3)
    assert cached.ask(keys(*[0] * 99)) == ["0!"] * 99
    with pytest.raises(TooMuch, match="4 names to be looked up; at most 3"):
        cached.ask(keys(1, 2, 3, 4))
    assert table.asked == [keys(0)]
