from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError
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
    with pytest.raises(ArgumentError, match=r"startSliceAt: takes a time such as .*, not 'whenever'"):
        ask(holding([1.0]), "timeSlice(a.0,'whenever')")


def released(**rows: Sequence[float | None]) -> MemorySource:
    source = MemorySource()
    for name, row in rows.items():
        source.add(name.replace("__", "."), START + 60, 60, row)
    return source


def mark(at: int) -> list[float | None]:
    return [1.0 if i == at else None for i in range(11)]


def test_versions_are_moved_to_the_newest_ones_release() -> None:
    # carbonapi's own: 1_3, 2_2 and 3_1 count, at the points 3, 6 and 8
    marks = {"1_0": 0, "1_1": 1, "1_2": 2, "1_3": 3, "2_0": 4, "2_1": 5, "2_2": 6, "3_0": 7, "3_1": 8}
    source = released(
        **{f"apps__mark__{name}": mark(at) for name, at in marks.items()},
        **{f"apps__{name}__metric": [1.0] for name in ("1_3", "2", "3", "1", "30", "web")},
    )
    found = ask(source, "timeShiftByMetric(apps.*.metric, apps.mark.*, 1)", until=START + 660)
    shifts = {one.name: (one.start - START) // 60 - 1 for one in found}
    assert shifts == {
        "timeShiftByMetric(apps.1.metric)": 5,
        "timeShiftByMetric(apps.1_3.metric)": 5,
        "timeShiftByMetric(apps.2.metric)": 2,
        "timeShiftByMetric(apps.3.metric)": 0,
    }
    mixed = ask(source, "timeShiftByMetric(apps.{1,3,1_3}.metric|sortByName(true), apps.mark.*, 1)")
    assert mixed.names == [f"timeShiftByMetric(apps.{name}.metric)" for name in ("1", "1_3", "3")]
    turned = ask(
        source, "timeShiftByMetric(group(apps.1.metric, apps.3.metric, apps.2.metric), apps.mark.*, 1)"
    )
    assert turned.names == [f"timeShiftByMetric(apps.{name}.metric)" for name in ("1", "3", "2")]
    again = ask(
        source, "timeShiftByMetric(group(apps.1.metric, apps.3.metric, apps.1_3.metric), apps.mark.*, 1)"
    )
    assert again.names == [f"timeShiftByMetric(apps.{name}.metric)" for name in ("1", "3", "1_3")]
    assert len(ask(source, "timeShiftByMetric(apps.*.metric, apps.mark.*, 7)", until=START + 660)) == 0


def test_versions_count_as_numbers_and_by_their_last_mark() -> None:
    rows: dict[str, list[float | None]] = {
        "v9_2": [None, 1.0, 1.0],
        "v9_10": [1.0, None],
        "v10_0": [1.0, 1.0, None],
        "v11_0": [None],
    }
    source = released(
        **{f"mark__{name}": row for name, row in rows.items()}, v9__x=[5.0], v10__x=[6.0], v1__x=[7.0]
    )
    found = ask(source, "timeShiftByMetric(v*.x, mark.*, 0)", until=START + 180)
    assert [(one.name, one.start - START) for one in found] == [
        ("timeShiftByMetric(v10.x)", 60),
        ("timeShiftByMetric(v9.x)", 120),
    ]


@pytest.mark.parametrize("marks", ["mark.1_*", "mark.none", "no.such"])
def test_two_major_versions_are_needed(marks: str) -> None:
    source = released(mark__1_0=[1.0], mark__1_1=[1.0], mark__none=[1.0], apps__1=[1.0])
    with pytest.raises(
        ArgumentError, match=r"markSource: takes marks .* of two major versions or more, not of"
    ):
        ask(source, f"timeShiftByMetric(apps.*, {marks}, 1)")
