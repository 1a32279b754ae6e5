from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given

from render.errors import TooMuch
from render.formats.dygraph import CELLS_MAX, encode
from render.formats.presentation import Presentation
from render.series import SeriesList
from tests.render.formats.lists import START, block, cold, series_lists


@cold
@given(series_lists())
def test_each_value_stands_at_its_time_in_its_column(series: SeriesList) -> None:
    found: dict[int, list[float | None]] = {}
    for column, one in enumerate(series):
        for i, value in enumerate(one.values.tolist()):
            row = found.setdefault(one.start + i * one.step, [None] * len(series))
            row[column] = value if math.isfinite(value) else None
    table = [[at * 1000, *row] for at, row in sorted(found.items())]
    plain = {"labels": ["Time", *series.names], "data": table} if series else {}
    assert orjson.loads(encode(series, Presentation())) == plain
    assert orjson.loads(encode(series, Presentation(pretty=True))) == plain


def test_times_are_whole_milliseconds() -> None:
    body = encode(SeriesList([block([[56.0]], names=["a"])]), Presentation())
    assert body == b'{"labels":["Time","a"],"data":[[1600000200000,56.0]]}'


def test_a_table_of_many_times_and_many_series_is_refused_with_numbers() -> None:
    fine = block([[1.0] * 100_000], step=1)
    many = block([[1.0]] * 200, start=START - 1)
    with pytest.raises(TooMuch, match=f"100001 times of 201 series; .* {CELLS_MAX} values"):
        encode(SeriesList([fine, many]), Presentation())
