from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError, InvalidTime
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START, UNTIL
from tests.render.memory import MemorySource

_OWN_TIME = "a datapoint counts with its own time; there with one up to a step earlier"
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'timeSlice(servers.*.cpu,"1600000530","1600001010")': _OWN_TIME,
    'timeSlice(coarse.*,"1600000650","1600001250")': _OWN_TIME,
    'sumSeries(timeSlice(servers.*.cpu,"1600000590","1600001070"))': _OWN_TIME,
}
test_we_answer_as_graphite_web_does = golden_test("timeshift", DEPARTURES)


@settings(deadline=None)
@given(
    st.integers(0, 59),
    st.integers(1, 400),
    st.sampled_from(["servers.web1.cpu", "fine.f1", "coarse.c1"]),
    st.sampled_from("-+"),
)
def test_a_shifted_series_lies_on_the_grid_of_the_series_itself(
    off: int, shift: int, path: str, sign: str
) -> None:
    source = MemorySource.golden()
    start, until = START + off, UNTIL + off
    (plain,) = ask(source, path, start=start, until=until)
    (found,) = ask(source, f"timeShift({path},'{sign}{shift}s')", start=start, until=until)
    seconds = -shift if sign == "-" else shift
    (there,) = ask(source, path, start=start + seconds, until=until + seconds)
    assert found.start == plain.start
    np.testing.assert_array_equal(found.values, there.values)


@pytest.mark.parametrize(
    ("day", "shift", "hours"),
    [
        ("2020-11-10", "30d", 30 * 24 + 1),  # from winter into summer: the clock was an hour ahead
        ("2020-04-10", "30d", 30 * 24 - 1),
        ("2020-04-10", "5d", 5 * 24),
        ("2020-10-25", "1d", 24),  # the window itself has both
    ],
)
def test_a_shift_across_dst_compares_equal_times_of_day(day: str, shift: str, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime.fromisoformat(day).replace(tzinfo=zone).timestamp())
    source = holding([1.0])
    ask(source, f"timeShift(a.0,'{shift}',alignDst=true)", start=start, until=start + 86400, zone=zone)
    assert source.fetches[-1][1:] == (start - hours * 3600, start - hours * 3600 + 86400)


def test_a_stack_is_of_the_shifts_before_its_end() -> None:
    source = MemorySource()
    source.add("a", START - 240, 60, [float(i) for i in range(10)])
    found = ask(source, "timeStack(a,'1min',0,3)", until=START + 120)
    assert found.names == [f"timeShift(a, -1min, {i})" for i in range(3)]
    assert values(found) == [[5.0, 6.0], [4.0, 5.0], [3.0, 4.0]]
    assert {one.start for one in found} == {START + 60}


def test_a_stack_of_thousands_is_refused() -> None:
    with pytest.raises(ArgumentError, match="takes at most 400 shifts, not 401"):
        ask(holding([1.0]), "timeStack(a.0,'1d',0,401)")


def test_a_slice_has_the_datapoints_whose_own_time_is_in_it() -> None:
    row = [1.0, 2.0, 3.0, 4.0, 5.0]
    target = "timeSlice(a.0,'-4min','-2min')"
    now = START + 300
    found = ask(holding(row), target, until=now, now=now)
    assert values(found) == [[1.0, 2.0, 3.0, None, None]]
    assert found.names == [f"timeSlice(a.0, {now - 240}, {now - 120})"]
    assert found.expressions == ["a.0"]


def test_a_slice_ends_with_the_requests_now() -> None:
    found = ask(holding([1.0, 2.0, 3.0]), "timeSlice(a.0,'-1d')", until=START + 180, now=START + 130)
    assert values(found) == [[1.0, 2.0, None]]


@pytest.mark.parametrize("target", ["timeShift(a.0,'1m')", "timeShift(a.0,'')", "timeShift(a.0)"])
def test_an_argument_that_cannot_be_is_refused(target: str) -> None:
    with pytest.raises(ArgumentError):
        ask(holding([1.0]), target)


def test_a_slice_at_no_time_is_refused() -> None:
    with pytest.raises(InvalidTime):
        ask(holding([1.0]), "timeSlice(a.0,'whenever')")
