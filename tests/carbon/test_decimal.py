"""read_decimal against Python's float(), to the last bit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carbon.decimal import ASK_PYTHON, read_decimal
from tests.effort import tries


def read(text: str) -> float | None:
    bits = np.zeros(1, np.uint64)
    raw = text.encode()
    if read_decimal(np.frombuffer(raw, np.uint8), 0, len(raw), bits) == ASK_PYTHON:
        return None
    return float(bits.view(np.float64)[0])


Decimals = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda bits: repr(struct.unpack("<d", struct.pack("<Q", bits))[0])),
    st.builds(lambda m, e: f"{m}e{e}", st.integers(0, 10**19), st.integers(-60, 60)),
    # half-way between two floats: ties go to the even one
    st.builds(lambda m, e: f"{2 * m + 1}e{e}", st.integers(2**52, 2**53), st.sampled_from([0, 1, 2, -1, -2])),
    st.builds(lambda a, b: f"-{a}.{b}", st.integers(0, 10**9), st.integers(0, 10**9)),
)


@given(Decimals)
@settings(max_examples=tries(1000), deadline=None)
@example("0e40")
@example("9007199254740993")
@example("9007199254740992.5")
@example("-0.0")
@example("1e23")
def test_what_it_reads_is_what_python_reads(text: str) -> None:
    got = read(text)
    if got is not None:
        assert struct.pack("<d", got) == struct.pack("<d", float(text))


@pytest.mark.parametrize(
    "text", ["1", "-2.5", "0.1", "123456.789", "1e10", "0.30000000000000004", "17.", ".5", "+3"]
)
def test_what_agents_send_needs_no_python(text: str) -> None:
    assert read(text) == float(text)


NOT_OURS = ["", "-", ".", "e5", "1e", "1e+", "0x1", "nan", "inf", "1 ", "1_0", "--1", "1.2.3", "1e99999"]


@pytest.mark.parametrize("text", NOT_OURS)
def test_what_it_does_not_know_it_leaves_to_python(text: str) -> None:
    assert read(text) is None
