"""Folding: an aggregate put together of parts is the aggregate of all, values, names, tags and the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from render.functions.aggregation import EXPRESSION_CHARS_MAX, aggregate, aggregate_groups
from render.functions.fold import fold_of
from render.functions.nodes import list_keys, members
from render.series import Block, SeriesList, Tags

START = 1_700_000_040
FUNCS = [
    "sum", "total", "average", "avg", "count", "min", "max", "range", "rangeOf", "last", "current", "diff", "stddev",
]  # fmt: skip

values = arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.just(6)),
    elements=st.one_of(
        st.just(np.nan), st.floats(-1e6, 1e6), st.sampled_from([0.0, -1.0, 1e9, np.inf, -np.inf])
    ),
)


def listed(rows: np.ndarray, method: Callable[[int], str] = lambda _: "average") -> SeriesList:
    names = [f"dc{i % 2};host=h{i};rack=r1" if i % 3 else f"dc{i % 2}.h{i}" for i in range(len(rows))]
    return SeriesList(
        [
            Block(
                rows, START, 60, names, [f"dc{i % 2}.*" for i in range(len(rows))], Tags(names),
                [method(i) for i in range(len(rows))], x_files_factor=0.25,
            )
        ]
    )  # fmt: skip


def fit(func: str, rows: np.ndarray) -> np.ndarray:
    """A standard deviation says nothing of infinite values."""
    return np.where(np.isinf(rows), 1e9, rows) if func == "stddev" else rows


def parts(series: SeriesList, size: int) -> list[SeriesList]:
    return [series.pick(range(at, min(at + size, len(series)))) for at in range(0, len(series), size)]


def shown(series: SeriesList) -> list[tuple[object, ...]]:
    return [
        (one.name, one.expression, one.tags, one.start, one.step, one.consolidation, one.x_files_factor)
        for one in series
    ]


def same(ours: SeriesList | None, whole: SeriesList) -> None:
    assert ours is not None
    assert shown(ours) == shown(whole)
    for a, b in zip(ours, whole, strict=True):
        scale = max(1.0, float(np.nanmax(np.abs(b.values), initial=0, where=np.isfinite(b.values))))
        np.testing.assert_allclose(a.values, b.values, rtol=1e-9, atol=1e-7 * scale)


@pytest.mark.parametrize("func", FUNCS)
@given(rows=values, size=st.integers(1, 9), factor=st.sampled_from([None, 0.0, 0.5, 1.0]))
def test_parts_make_what_all_series_make(
    func: str, rows: np.ndarray, size: int, factor: float | None
) -> None:
    series = listed(fit(func, rows))
    fold = fold_of(func, x_files_factor=factor)
    assert fold is not None
    for part in parts(series, size):
        fold.add(part)
    same(fold.done(), aggregate(series, func, factor))


@pytest.mark.parametrize("func", FUNCS)
@given(rows=values, size=st.integers(1, 9))
def test_so_do_parts_of_groups(func: str, rows: np.ndarray, size: int) -> None:
    series = listed(fit(func, rows), lambda i: ("sum", "average")[i % 2])

    def keys(some: SeriesList) -> list[str]:
        return list_keys(some, [0])

    fold = fold_of(func, keys)
    assert fold is not None
    for part in parts(series, size):
        fold.add(part)
    same(fold.done(), aggregate_groups(series, members(keys(series)), func, check=lambda: None))


def test_long_names_are_cut_as_those_of_all_series_are() -> None:
    names = [f"a.{i:0200}" for i in range(60)]
    series = SeriesList([Block(np.ones((60, 2)), START, 60, names, names, Tags(names), ["average"] * 60)])
    fold = fold_of("sum")
    assert fold is not None
    for part in parts(series, 7):
        fold.add(part)
    ours = fold.done()
    same(ours, aggregate(series, "sum"))
    assert ours is not None
    assert len(ours.names[0]) < EXPRESSION_CHARS_MAX + 20


def test_parts_on_different_grids_are_for_another_way() -> None:
    series = listed(np.ones((4, 6)))
    fold = fold_of("sum")
    assert fold is not None
    fold.add(series)
    fold.add(series.map(lambda block: block.with_(step=10)))
    assert fold.done() is None


def test_no_part_is_no_series() -> None:
    fold = fold_of("sum")
    assert fold is not None
    made = fold.done()
    assert made is not None
    assert len(made) == 0


@pytest.mark.parametrize("func", ["median", "p95", "avg_zero", "multiply", "nonsense", "sumSeriesSeries"])
def test_what_cannot_be_put_together_is_not(func: str) -> None:
    assert fold_of(func) is None


def test_sums_of_many_parts_do_not_drift() -> None:
    rows = np.full((10_000, 1), 0.1)
    names = [f"a.{i}" for i in range(len(rows))]
    series = SeriesList([Block(rows, START, 60, names, names, Tags(names), ["average"] * len(rows))])
    fold = fold_of("sum")
    assert fold is not None
    for part in parts(series, 100):
        fold.add(part)
    made = fold.done()
    assert made is not None
    np.testing.assert_allclose(made.blocks[0].values, [[1000.0]], rtol=1e-13)
