from __future__ import annotations

import json
import math

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from render.formats.json import encode
from render.formats.presentation import Presentation
from render.series import SeriesList
from tests.render.formats.lists import START, block, cold, series_lists

NAN = math.nan


def plain(series: SeriesList, no_null_points: bool) -> list[object]:
    """The twin: a loop over datapoints."""
    answer: list[object] = []
    if not any(len(one.values) for one in series):
        return answer
    for one in series:
        stamps = range(one.start, one.end + 1, one.step)
        numbers = [value if math.isfinite(value) else None for value in one.values.tolist()]
        points = [[value, at] for value, at in zip(numbers, stamps, strict=False)]
        if no_null_points:
            points = [point for point in points if point[0] is not None]
        if points or not no_null_points:
            answer.append({"target": one.name, "tags": one.tags, "datapoints": points})
    return answer


@cold
@given(series_lists(), st.booleans())
def test_the_answer_is_that_of_a_loop_over_datapoints(series: SeriesList, no_null_points: bool) -> None:
    body = encode(series, Presentation(no_null_points=no_null_points))
    assert repr(orjson.loads(body)) == repr(plain(series, no_null_points))  # repr tells -0.0 from 0.0


@cold
@given(series_lists())
def test_pretty_is_the_same_with_indents(series: SeriesList) -> None:
    body = encode(series, Presentation(pretty=True))
    assert orjson.loads(body) == orjson.loads(encode(series, Presentation()))
    assert body == b"[]" or body.startswith(b'[\n  {\n    "target": ')


def test_the_body_is_compact_json_with_values_before_timestamps() -> None:
    body = encode(SeriesList([block([[56.0, NAN], [0.25, -1e22]], names=["a.b", 'c"ü'])]), Presentation())
    assert body.decode() == (
        '[{"target":"a.b","tags":{"name":"a.b"},"datapoints":[[56.0,1600000200],[null,1600000260]]},'
        '{"target":"c\\"ü","tags":{"name":"c\\"ü"},"datapoints":[[0.25,1600000200],[-1e+22,1600000260]]}]'
    )


def test_rows_that_take_several_batches_are_whole() -> None:
    matrix = np.random.default_rng(1).normal(size=(5, 30_000))
    series = SeriesList([block(matrix.tolist())], np.array([3, 0, 4, 1, 2]))
    assert json.loads(encode(series, Presentation())) == plain(series, False)


def test_a_block_that_is_a_view_of_another_matrix_is_written_right() -> None:
    whole = block([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    series = SeriesList([whole.with_(whole.values[:, ::2])])
    assert json.loads(encode(series, Presentation())) == plain(series, False)


def test_no_series_and_series_without_points_are_an_empty_list() -> None:
    assert encode(SeriesList(), Presentation()) == b"[]"
    assert encode(SeriesList([block([[]])]), Presentation(max_data_points=1)) == b"[]"


def test_max_data_points_merges_before_null_points_go() -> None:
    series = SeriesList([block([[NAN, 1.0, NAN, NAN, NAN, NAN]], start=START // 120 * 120 - 60)])
    answer = json.loads(encode(series, Presentation(max_data_points=3, no_null_points=True)))
    assert answer[0]["datapoints"] == [[1.0, START // 120 * 120]]


def test_timestamps_are_in_the_unit_that_is_asked_for() -> None:
    series = SeriesList([block([[1.0, 2.0]])])
    answer = json.loads(encode(series, Presentation(timestamps_per_s=10**9)))
    assert answer[0]["datapoints"] == [[1.0, START * 10**9], [2.0, (START + 60) * 10**9]]
