from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.formats.points import tagged
from tests.render.formats.lists import values

rows = st.lists(values)


@given(rows, st.integers(0, 255), st.integers(0, 255))
def test_each_number_has_its_byte_before_it_and_a_missing_one_is_a_byte(
    row: list[float], number: int, nothing: int
) -> None:
    plain = [
        bytes([nothing]) if math.isnan(value) else bytes([number]) + struct.pack(">d", value) for value in row
    ]
    assert tagged(np.array(row, np.float64), number, nothing) == b"".join(plain)


@pytest.mark.parametrize("step", [2, -1])
def test_a_row_that_is_part_of_another_is_written_right(step: int) -> None:
    row = np.array([1.0, math.nan, 3.0, math.nan, 5.0])[::step]
    assert tagged(row, 7, 9) == tagged(row.copy(), 7, 9)
