from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError, TooMuch
from storage import consolidation
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START

_END = "a series ends after its last interval; there with its begin, and datapoints are the same"
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    "compressPeriodicGaps(odd.spots)": _END,
    "compressPeriodicGaps(servers.web3.requests)": _END,
}
test_we_answer_as_graphite_web_does = golden_test("summarize", DEPARTURES)


ROW = st.lists(st.one_of(st.none(), st.integers(-5, 5).map(float)), min_size=1, max_size=40)


@settings(deadline=None)
@given(
    ROW,
    st.sampled_from([10, 60]),
    st.integers(1, 500),
    st.sampled_from([*consolidation.NAMES, "p90"]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.booleans(),
)
def test_every_interval_is_merged_as_if_it_were_alone(
    row: list[float | None], step: int, interval: int, func: str, least: float, from_start: bool
) -> None:
    target = f"summarize(a.0,'{interval}s','{func}',{str(from_start).lower()})"
    found = ask(holding(row, step=step), target, until=START + step * len(row), x_files_factor=least)
    block = found.blocks[0]
    first = START + step
    assert block.start == (first if from_start else first - first % interval)
    for i, got in enumerate(values(found)[0]):
        begin = block.start + i * interval
        inside = [v for j, v in enumerate(row) if begin <= first + j * step < begin + interval]
        known = sum(v is not None for v in inside)
        if not known or known / (interval / step) < least:
            assert got is None
        else:
            twin = consolidation.rows(func, np.array([inside], np.float64)).values[0]
            assert got == pytest.approx(twin, nan_ok=True, abs=1e-9) or (got is None and np.isnan(twin))


@pytest.mark.parametrize("name", ["summarize", "smartSummarize", "hitcount"])
@pytest.mark.parametrize("interval", ["0s", "-1h", "-10min"])
def test_an_interval_that_is_none_is_refused(name: str, interval: str) -> None:
    """graphite-web divides by zero or loops for ever."""
    with pytest.raises(ArgumentError, match="takes an interval of more than 0 seconds"):
        ask(holding([1.0]), f"{name}(a.0,'{interval}')")


@pytest.mark.parametrize("name", ["summarize", "smartSummarize", "hitcount"])
def test_too_many_intervals_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="at most 1000000"):
        ask(holding([1.0]), f"{name}(a.0,'1s')", start=START - 10**7)


@pytest.mark.parametrize("name", ["summarize", "hitcount"])
def test_too_many_intervals_of_all_series_are_refused(name: str) -> None:
    with pytest.raises(TooMuch, match="of each of 120 series; at most 100000000 in all"):
        ask(holding(*[[1.0]] * 120), f"{name}(a.*,'1s')", start=START - 10**6 + 2000)


@pytest.mark.parametrize(
    ("align_to", "begin"),
    [
        ("seconds", "2020-09-13T14:30:17"),
        ("minutes", "2020-09-13T14:30:00"),
        ("hours", "2020-09-13T14:00:00"),
        ("days", "2020-09-13T00:00:00"),
        ("weeks", "2020-09-07T00:00:00"),
        ("weeks7", "2020-09-13T00:00:00"),
        ("weeks6", "2020-09-12T00:00:00"),
        ("months", "2020-09-01T00:00:00"),
        ("years", "2020-01-01T00:00:00"),
    ],
)
def test_smart_intervals_begin_with_the_unit_on_the_zones_clock(align_to: str, begin: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime(2020, 9, 13, 14, 30, 17, tzinfo=zone).timestamp())
    source = holding([1.0])
    target = f"smartSummarize(a.0,'30d','sum','{align_to}')"
    found = ask(source, target, start=start, until=start + 60, zone=zone)
    first = int(datetime.fromisoformat(begin).replace(tzinfo=zone).timestamp())
    assert found.blocks[0].start == first - first % 60 + 60  # a window's first point lies after its start
    assert source.fetches[-1][1:] == (first, start + 60)


def test_a_factor_set_for_one_series_holds_for_it_only() -> None:
    """In graphite-web it holds for all that is evaluated later."""
    row = [1.0, None, None, None, None]
    target = "group(summarize(xFilesFactor(a.0,0.5),'5min'),summarize(a.0,'5min'))"
    strict, plain = values(ask(holding(row), target, until=START + 300))
    assert (strict, plain) == ([None, None], [1.0, None])


def test_a_datapoint_every_third_step_gives_a_longer_step_and_the_order_stays() -> None:
    spots = [None, 1.0, None, None, 2.0, None, None, 0.0, None, None, 4.0, None]
    full = [float(i) for i in range(12)]
    early = [5.0, None, 6.0, None, 7.0, None, None, None, None, None, None, None]
    source = holding(full, spots, early, spots)
    found = ask(source, "compressPeriodicGaps(a.*)", until=START + 720)
    assert found.names == [f"compressPeriodicGaps(a.{i})" for i in range(4)]
    assert values(found) == [
        full,
        [1.0, 2.0, 0.0, 4.0],
        [5.0, 6.0, 7.0, None, None, None],
        [1.0, 2.0, 0.0, 4.0],
    ]
    assert [(one.start - START, one.step) for one in found] == [(60, 60), (120, 180), (60, 120), (120, 180)]
