from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis.extra import numpy as arrays

from render.formats.numbers import text
from tests.render.formats.lists import cold, values


def plain(row: list[float]) -> str:
    return ",".join("null" if math.isnan(value) else repr(value) for value in row)


@cold
@given(arrays.arrays(np.float64, arrays.array_shapes(max_dims=1, max_side=8), elements=values))
def test_numbers_are_written_as_repr_writes_them(row: npt.NDArray[np.float64]) -> None:
    assert text(row).decode() == plain(row.tolist())


def test_each_number_alone_is_written_as_repr_writes_it() -> None:
    hard = [
        0.0,
        -0.0,
        1e-4,
        9.999e-5,
        1e-5,
        1e15,
        1e16,
        123456789012345678.0,
        5e-324,
        1.7e308,
        math.inf,
        -math.inf,
    ]
    random = np.random.default_rng(1).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    for value in [*hard, *random.tolist()]:
        assert text(np.array([value])).decode() == plain([value])


def test_no_numbers_are_no_text() -> None:
    assert text(np.empty(0)) == b""


def test_a_column_of_a_matrix_is_written_right() -> None:
    assert text(np.array([[1.0, 2.0], [3.0, math.nan]])[:, 1]) == b"2.0,null"
