from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from render.graph.scale import UNITS, Scale, Wish, labels, scale

numbers = st.one_of(
    st.floats(-1e300, 1e300, allow_subnormal=True),
    st.floats(-1000, 1000).map(lambda x: round(x, 2)),
    st.sampled_from([0.0, 1.0, 100.0, -1.0, 1e-300, 1e16, 1e16 + 2, 1024.0**3, 86_400.0]),
)
units = st.sampled_from(list(UNITS))
wishes = st.builds(
    Wish,
    unit=units,
    divisors=st.lists(st.integers(1, 50), min_size=1, max_size=4).map(tuple),
    base=st.sampled_from([None, None, 2.0, 10.0, math.e]),
    labels_max=st.integers(2, 40),
    step=st.one_of(st.none(), st.sampled_from([1e-300, 0.3, 7.0, 1e300])),
    limit=st.one_of(st.none(), numbers),
)


def sound(axis: Scale, most: int) -> None:
    """What every axis is."""
    values = [tick.value for tick in axis.ticks]
    assert axis.low < axis.high
    assert math.isfinite(axis.low)
    assert math.isfinite(axis.high)
    assert values == sorted(set(values))
    assert len(values) <= most
    assert len({tick.label for tick in axis.ticks}) == len(values)
    span = axis.high - axis.low
    assert all(axis.low - span * 1e-6 <= value <= axis.high + span * 1e-6 for value in values)


@given(numbers, numbers, wishes)
@example(5e-324, 5e-324, Wish())
@example(1e300, -1e300, Wish(unit="sec"))
@example(0.0, 1e-300, Wish(base=10.0))
@example(100.0, 110.0, Wish(minimum=100.0, limit=30.0, step=200.0))
@example(-5.0, -1.0, Wish(base=10.0))
def test_any_axis_is_sound(a: float, b: float, wish: Wish) -> None:
    sound(scale(min(a, b), max(a, b), wish), wish.labels_max)


@given(numbers, numbers, units)
def test_an_axis_without_wishes_reaches_over_the_data(a: float, b: float, unit: str) -> None:
    axis = scale(min(a, b), max(a, b), Wish(unit=unit))
    span = axis.high - axis.low
    assert axis.low <= min(a, b) + span * 1e-6
    assert axis.high >= max(a, b) - span * 1e-6


@given(
    st.floats(-1e9, 1e9),
    st.floats(1e-3, 1e9),
    st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
)
def test_steps_are_round_and_as_many_as_a_divisor_says_or_a_few_more(
    low: float, span: float, divisors: tuple[int, ...]
) -> None:
    span = max(span, abs(low) * 1e-6)  # a step is the difference of two ticks here
    axis = scale(low, low + span, Wish(divisors=divisors, labels_max=50))
    step = axis.ticks[1].value - axis.ticks[0].value
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - nice) for nice in (1, 2, 2.5, 5, 10)) < 1e-3
    assert len(axis.ticks) <= max(divisors) + 2


@given(st.floats(0, 1e15), st.floats(1, 1e15))
def test_binary_steps_are_powers_of_two(low: float, span: float) -> None:
    ticks = scale(low, low + span, Wish(unit="binary")).ticks
    step = ticks[1].value - ticks[0].value
    assert step < 1 or math.log2(step) == round(math.log2(step))


@pytest.mark.parametrize(
    ("low", "high", "unit", "expected"),
    [
        (0, 80, "si", ["0", "20", "40", "60", "80"]),
        (0, 1.6e6, "si", ["0", "0.5 M", "1.0 M", "1.5 M", "2.0 M"]),
        (-3, 12, "si", ["-5", "0", "5", "10", "15"]),
        (0, 0.1, "si", ["0", "0.02", "0.04", "0.06", "0.08", "0.10"]),
        (0, 4 * 1024**3, "binary", ["0", "1 Gi", "2 Gi", "3 Gi", "4 Gi"]),
        (0, 7200, "sec", ["0", "0.5 h", "1.0 h", "1.5 h", "2.0 h"]),
        (0, 40_000, "msec", ["0", "10 s", "20 s", "30 s", "40 s"]),
        (0, 5_000_000, "none", ["0", "1000000", "2000000", "3000000", "4000000", "5000000"]),
    ],
)
def test_labels_are_in_one_unit_with_as_many_digits_as_they_need(
    low: float, high: float, unit: str, expected: list[str]
) -> None:
    assert [tick.label for tick in scale(low, high, Wish(unit=unit)).ticks] == expected


@given(numbers, st.integers(1, 12), st.floats(1e-6, 1e6), units)
def test_no_two_labels_are_the_same(first: float, count: int, step: float, unit: str) -> None:
    values = sorted({first + i * step for i in range(count)})
    assert len(set(labels(values, step, unit))) == len(values)


def test_limits_hold() -> None:
    assert scale(3, 97, Wish(minimum=-7.0)).low == -7
    assert scale(3, 97, Wish(maximum=55.0)).high == 55
    assert scale(3, 97, Wish(at_data=True)).high == 97
    assert scale(3, 97, Wish(limit=98.0)).high == 98
    assert scale(3, 97, Wish(limit=50.0)).high == 50
    assert scale(3, 97, Wish(limit=500.0)).high == 100


def test_a_step_is_taken_as_it_is_unless_labels_had_no_room() -> None:
    assert [tick.value for tick in scale(0, 100, Wish(step=30.0)).ticks] == [0, 30, 60, 90, 120]
    assert [tick.value for tick in scale(0, 100, Wish(step=1.0, labels_max=6)).ticks] == [
        0,
        20,
        40,
        60,
        80,
        100,
    ]


def test_data_of_one_value_have_room_around_them() -> None:
    assert scale(5, 5, Wish()).low < 5 < scale(5, 5, Wish()).high
    assert scale(0, 0, Wish()).low < 0 < scale(0, 0, Wish()).high


def test_a_logarithmic_axis_has_powers_and_no_place_for_zero() -> None:
    axis = scale(2, 50_000, Wish(base=10.0, labels_max=8))
    assert [tick.label for tick in axis.ticks] == ["1", "10", "100", "1000", "10 k", "100 k"]
    places = axis.place(np.array([1.0, 10.0, 100_000.0, 0.0, -3.0]))
    assert places[:3].tolist() == pytest.approx([0, 0.2, 1])
    assert np.isnan(places[3:]).all()


def test_minor_lines_divide_the_steps() -> None:
    assert scale(0, 40, Wish()).minor(1) == [5, 15, 25, 35]
    assert scale(0, 40, Wish()).minor(0) == []
