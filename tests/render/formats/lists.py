"""Series lists that output formats are tried on: several grids, any order, values of all kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from render.series import Block, SeriesList, Tags

START = 1_600_000_200
cold = settings(deadline=None)  # the first call compiles, or loads what was compiled
METHODS = ("average", "sum", "min", "max", "first", "last", "avg_zero")

values = st.one_of(
    st.floats(allow_subnormal=True),
    st.sampled_from([np.nan, 0.0, -0.0, 1.0, -1.5, 1e16, 1e22, 1e-4, 9.9e-5, 1e-7, 5e-324, np.inf, -np.inf]),
    st.integers(-(2**53), 2**53).map(float),
)
anywhere = st.integers(-400, 2 * START)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def block(
    rows: Sequence[Sequence[float]],
    *,
    start: int = START,
    step: int = 60,
    names: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    x_files_factor: float = 0.0,
    fixed_end: int | None = None,
) -> Block:
    named = list(names or [f"a.b{i}" for i in range(len(rows))])
    matrix = np.array(rows, np.float64).reshape(len(rows), -1)
    how = list(methods or ["average"] * len(rows))
    return Block(matrix, start, step, named, named, Tags(named), how, x_files_factor, fixed_end=fixed_end)


@st.composite
def blocks(draw: st.DrawFn, starts: st.SearchStrategy[int] = anywhere) -> Block:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(0, 12)))
    start, step = draw(starts), draw(st.sampled_from([1, 7, 60]))
    matrix = draw(arrays.arrays(np.float64, shape, elements=values))
    named = draw(st.lists(names, min_size=shape[0], max_size=shape[0]))
    methods = draw(st.lists(st.sampled_from(METHODS), min_size=shape[0], max_size=shape[0]))
    end = draw(st.one_of(st.none(), st.integers(0, step * 14).map(lambda seconds: start + seconds)))
    factor = draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    return Block(matrix, start, step, named, named, Tags(named), methods, factor, fixed_end=end)


@st.composite
def series_lists(draw: st.DrawFn, of: st.SearchStrategy[Block] | None = None) -> SeriesList:
    """Lists of up to three blocks, in the order of their blocks or in any."""
    made = draw(st.lists(of if of is not None else blocks(), max_size=3))
    count = sum(map(len, made))
    order = draw(st.one_of(st.none(), st.permutations(range(count)).map(np.array)))
    return SeriesList(made, None if order is None or not count else order.astype(np.intp))
