from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.formats.csv import encode
from render.formats.presentation import Presentation
from render.series import SeriesList
from tests.render.formats.lists import block, blocks, cold, series_lists

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER_ENDS = 1_698_541_200  # 2023-10-29 01:00 UTC


@cold
@given(series_lists(blocks(st.integers(0, 2_000_000_000))), st.sampled_from([UTC, BERLIN]))
def test_each_datapoint_is_a_line_of_the_csv_module(series: SeriesList, zone: tzinfo) -> None:
    plain = io.StringIO(newline="")
    writer = csv.writer(plain)
    for one in series:
        for i, value in enumerate(one.values.tolist()):
            at = datetime.fromtimestamp(one.start + i * one.step, zone).strftime("%Y-%m-%d %H:%M:%S")
            writer.writerow([one.name, at, "" if math.isnan(value) else value])
    assert encode(series, Presentation(zone)).decode() == plain.getvalue()


def test_the_body_is_graphite_webs() -> None:
    rows = [[2.5, math.nan, 1e22, 1e-7]]
    series = SeriesList([block(rows, names=['x,"=" y'], start=SUMMER_ENDS - 60)])
    assert encode(series, Presentation(BERLIN)).decode() == (
        '"x,""="" y",2023-10-29 02:59:00,2.5\r\n'
        '"x,""="" y",2023-10-29 02:00:00,\r\n'
        '"x,""="" y",2023-10-29 02:01:00,1e+22\r\n'
        '"x,""="" y",2023-10-29 02:02:00,1e-07\r\n'
    )


@pytest.mark.parametrize("start", [253_402_300_799, -62_135_596_800, 10**12])
def test_times_at_the_ends_of_the_calendar_are_written(start: int) -> None:
    for zone in (ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")):
        body = encode(SeriesList([block([[1.0]], start=start)]), Presentation(zone)).decode()
        assert body.count("\r\n") == 1
        assert len(body.split(",")[1]) == len("2023-11-14 22:09:00")
