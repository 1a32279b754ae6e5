"""Numbers as text: the shortest that reads back as the same float64, as repr() finds it."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carbon.decimal import EXACT, read_decimal
from carbon.relay.number_kernels import (
    INTEGER_BYTES_MAX,
    VALUE_BYTES_MAX,
    shortest,
    write_integer,
    write_value,
)
from tests.effort import tries

Floats = st.one_of(
    st.floats(allow_nan=False),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
    st.integers(-1074, 1023).map(lambda power: 2.0**power),  # where the next below is closer
    st.builds(lambda number, places: number / 10**places, st.integers(-(10**17), 10**17), st.integers(0, 12)),
    st.builds(lambda number, power: float(f"{number}e{power}"), st.integers(1, 999), st.integers(-30, 30)),
)


def value_text(value: float) -> str:
    """What write_value writes; all around it stays as it was."""
    out = np.full(VALUE_BYTES_MAX + 2, 0xEE, np.uint8)
    stop = write_value(np.float64(value), np.float64(value).view(np.uint64), out, 1)
    assert out[0] == 0xEE
    assert (out[stop:] == 0xEE).all()
    return out[1:stop].tobytes().decode()


def plain(value: float) -> str:
    """The same by repr()."""
    if not math.isfinite(value):
        return repr(value)
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, decimals = mantissa.partition(".")
    digits = (whole + decimals).lstrip("0")
    exponent = int(power or 0) - len(decimals)
    exponent += len(digits) - len(digits.rstrip("0"))
    digits = digits.rstrip("0")
    sign = "-" if math.copysign(1, value) < 0 else ""
    point = len(digits) + exponent
    if not digits:
        return sign + "0"
    if not -4 < point <= 17:
        return sign + digits[0] + ("." + digits[1:] if digits[1:] else "") + f"e{point - 1}"
    if exponent >= 0:
        return sign + digits + "0" * exponent
    return sign + (digits[:point] + "." + digits[point:] if point > 0 else "0." + "0" * -point + digits)


@given(Floats)
@settings(max_examples=tries(1000))
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example(2.2250738585072014e-308)
@example(9007199254740993.0)
@example(1e15)
@example(1e17)
@example(0.0001)
@example(0.00001)
@example(123456789.123456)
@example(9e9 + 1e-6)
@example(math.inf)
@example(-math.inf)
def test_a_value_is_written_as_its_shortest_text(value: float) -> None:
    text = value_text(value)
    assert text == plain(value) or value != value
    assert struct.pack("<d", float(text)) == struct.pack("<d", value) or value != value


@given(Floats.filter(lambda value: math.isfinite(value) and value != 0))
@settings(max_examples=tries(500))
def test_the_long_way_finds_the_digits_of_repr(value: float) -> None:
    digits, exponent = shortest(np.float64(abs(value)).view(np.uint64))
    assert 0 < digits < 10**17
    assert float(f"{digits}e{exponent}") == abs(value)
    mantissa = repr(abs(value)).partition("e")[0]
    assert str(digits).rstrip("0") == mantissa.replace(".", "").strip("0")


@given(Floats.filter(math.isfinite))
def test_our_own_reader_reads_the_same(value: float) -> None:
    text, bits = value_text(value).encode(), np.zeros(1, np.uint64)
    if read_decimal(np.frombuffer(text, np.uint8), 0, len(text), bits) == EXACT:
        assert bits.tobytes() == struct.pack("<d", value)


def test_not_a_number_is_written_as_float_reads_it() -> None:
    assert value_text(math.nan) == value_text(-math.nan) == "nan"


@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
@example(0)
@example(9)
@example(10)
def test_an_integer_is_written_as_str_writes_it(number: int) -> None:
    out = np.full(INTEGER_BYTES_MAX + 2, 0xEE, np.uint8)
    stop = write_integer(np.int64(number), out, 1)
    assert out[1:stop].tobytes().decode() == str(number)
    assert out[0] == 0xEE
    assert (out[stop:] == 0xEE).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        (1.5e-7, "1.5e-7"),
        (1e300, "1e300"),
    ],
)
def test_texts_that_agents_send(value: float, text: str) -> None:
    assert value_text(value) == text
