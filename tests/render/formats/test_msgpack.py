from __future__ import annotations

import math

import msgpack  # type: ignore[import-untyped]  # has no stubs
from hypothesis import given

from render.formats.msgpack import encode
from render.formats.presentation import Presentation
from render.series import SeriesList
from tests.render.formats.lists import block, cold, series_lists
from tests.render.formats.test_pickle import infos


@cold
@given(series_lists())
def test_a_decoder_reads_what_graphite_web_would_have_packed(series: SeriesList) -> None:
    read = msgpack.unpackb(encode(series, Presentation()))
    assert [dict(sorted(one.items())) for one in infos(series)] == [dict(sorted(one.items())) for one in read]


def test_names_are_texts_and_not_bytes() -> None:
    body = encode(SeriesList([block([[math.inf, math.nan]], names=["ä"])]), Presentation())
    (one,) = msgpack.unpackb(body, raw=False)
    assert (one["name"], one["values"]) == ("ä", [math.inf, None])
