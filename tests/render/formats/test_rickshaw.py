from __future__ import annotations

import math

import orjson
from hypothesis import given

from render.formats.presentation import Presentation
from render.formats.rickshaw import encode
from render.series import SeriesList
from tests.render.formats.lists import block, cold, series_lists


@cold
@given(series_lists())
def test_the_answer_is_that_of_a_loop_over_datapoints(series: SeriesList) -> None:
    plain = [
        {
            "target": one.name,
            "datapoints": [
                {"x": one.start + i * one.step, "y": value if math.isfinite(value) else None}
                for i, value in enumerate(one.values.tolist())
            ],
        }
        for one in series
    ]
    assert orjson.loads(encode(series, Presentation())) == plain
    assert orjson.loads(encode(series, Presentation(pretty=True))) == plain


def test_brackets_in_a_name_stay() -> None:
    body = encode(SeriesList([block([[1.5, math.nan]], names=['a[1],"x"'])]), Presentation())
    assert body == (
        b'[{"target":"a[1],\\"x\\"","datapoints":[{"y":1.5,"x":1600000200},{"y":null,"x":1600000260}]}]'
    )
