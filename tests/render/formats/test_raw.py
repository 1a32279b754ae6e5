from __future__ import annotations

import math

from hypothesis import given

from render.formats.presentation import Presentation
from render.formats.raw import encode
from render.series import SeriesList
from tests.render.formats.lists import block, cold, series_lists


@cold
@given(series_lists())
def test_each_series_is_a_line_of_python_numbers(series: SeriesList) -> None:
    lines = []
    for one in series:
        numbers = ",".join("None" if math.isnan(value) else repr(value) for value in one.values.tolist())
        lines.append(f"{one.name},{one.start},{one.end},{one.step}|{numbers}\n")
    assert encode(series, Presentation()).decode() == "".join(lines)


def test_the_body_is_graphite_webs() -> None:
    rows = [[2.5, math.nan, 1e22, 1e-7, -3.0]]
    body = encode(SeriesList([block(rows, names=["a.b.c"])]), Presentation())
    assert body == b"a.b.c,1600000200,1600000500,60|2.5,None,1e+22,1e-07,-3.0\n"
