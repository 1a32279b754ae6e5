from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError
from storage import consolidation
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START, UNTIL
from tests.render.memory import MemorySource

_GRID = "points stay at their times; there they move by what the window is off the step"
_NO_WINDOW = "there is no such window; there nothing but missing points"
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'movingAverage(servers.*.cpu,"30s")': _GRID,
    'movingAverage(servers.*.cpu,"90s")': _GRID,
    "movingAverage(servers.web1.cpu,0)": _NO_WINDOW,
    'movingAverage(servers.web1.cpu,"0s")': _NO_WINDOW,
    "exponentialMovingAverage(servers.web1.cpu,0)": _NO_WINDOW,
    "movingAverage(group(servers.web1.cpu,fine.f1),5)": "finer series begin with the rest; there before",
    "nPercentile(servers.web1.cpu,-5)": "there is no such percentile; there some value",
    "stdev(odd.*,4)": "windows are not squared and summed; there an OverflowError",
    "stdev(servers.web1.cpu,0)": "there is no such window; there nothing but missing points",
    'movingWindow(servers.web1.cpu,5,"first")': "every aggregation of storage can be used, there only some",
}
test_we_answer_as_graphite_web_does = golden_test("calculate", DEPARTURES)


ROW = st.lists(st.one_of(st.none(), st.integers(-5, 5).map(float)), min_size=1, max_size=25)
FUNCS = [*consolidation.NAMES, "p25", "p99.9"]


@settings(deadline=None)
@given(ROW, st.integers(1, 9), st.sampled_from(FUNCS), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_window_is_aggregated_as_if_it_were_alone(
    row: list[float | None], window: int, func: str, least: float
) -> None:
    found = ask(holding(row), f"movingWindow(a.0,{window},'{func}',{least})", until=START + 60 * len(row))
    for i, got in enumerate(values(found)[0]):
        inside = [v for v in row[max(i + 1 - window, 0) : i + 1] if v is not None]
        if not inside or len(inside) / window < least:
            assert got is None
        else:
            twin = consolidation.rows(func, np.array([inside])).values[0]
            assert got == pytest.approx(twin, nan_ok=True, abs=1e-9)


def _holding_all(rows: Sequence[float | None], step: int) -> MemorySource:
    """A series whose last point is the window's last."""
    source = MemorySource()
    source.add("a", UNTIL - step * (len(rows) - 1), step, rows)
    return source


@pytest.mark.parametrize(("window", "points"), [("5", 5), ("'5min'", 5), ("'-5min'", 5)])
def test_a_window_reaches_back_before_the_start(window: str, points: int) -> None:
    source = _holding_all([float(i) for i in range(100)], 60)
    found = ask(source, f"movingSum(a,{window})", start=UNTIL - 180)
    assert (found.blocks[0].start, found.blocks[0].step) == (UNTIL - 120, 60)
    assert values(found) == [[sum(range(i - points + 1, i + 1)) for i in (97, 98, 99)]]


def test_a_window_off_the_step_leaves_datapoints_at_their_times() -> None:
    source = _holding_all([float(i) for i in range(100)], 60)
    for window, seconds in (("'90s'", 0), ("'90s'", 10), ("'119s'", 59)):
        found = ask(source, f"movingSum(a,{window})", start=UNTIL - 240 + seconds)
        plain = ask(source, "a", start=UNTIL - 240 + seconds)
        assert (found.blocks[0].start, values(found)) == (plain.blocks[0].start, values(plain))


def test_series_of_every_step_keep_their_own_window(golden_source: MemorySource) -> None:
    paths = ("coarse.c1", "fine.f1", "servers.web1.cpu")
    together = ask(golden_source, f"movingSum(group({','.join(paths)}),5)")
    for one, path in zip(together, paths, strict=True):
        (plain,) = ask(golden_source, path)
        assert (one.start, one.step, len(one.values)) == (plain.start, plain.step, len(plain.values))
        (alone,) = ask(golden_source, f"movingSum({path},5)")
        np.testing.assert_allclose(one.values, alone.values, rtol=1e-12)


def test_what_leaves_a_window_leaves_nothing_behind() -> None:
    huge = [1e300, -1e300, 1e-3, float("inf"), 1.0, 2.0, 3.0, 4.0, 5.0]
    found = ask(holding(huge), "movingAverage(a.0,2)", until=START + 60 * len(huge))
    assert values(found)[0][5:] == [1.5, 2.5, 3.5, 4.5]
    found = ask(holding([1e16, 0.1, 0.1, 0.1, 0.1]), "stdev(a.0,2)", until=START + 300)
    assert values(found)[0][2:] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("target", "argument"),
    [
        ("movingAverage(a.0,0)", "windowSize"),
        ("movingAverage(a.0,-3)", "windowSize"),
        ("movingMedian(a.0,'0s')", "windowSize"),
        ("movingWindow(a.0,5,'maxSeries')", "func"),
        ("exponentialMovingAverage(a.0,0)", "windowSize"),
        ("stdev(a.0,0)", "points"),
        ("nPercentile(a.0,0)", "n"),
        ("nPercentile(a.0,100.5)", "n"),
        ("nPercentile(a.0,-1)", "n"),
        ("aggregateLine(a.0,'maxSeries')", "func"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(target: str, argument: str) -> None:
    with pytest.raises(ArgumentError) as error:
        ask(holding([1.0]), target)
    assert error.value.argument == argument


def test_a_line_over_a_window_of_a_second_has_a_step() -> None:
    (found,) = ask(holding([4.0]), "aggregateLine(a.0)", until=START + 1)
    assert (found.start, found.step, found.end) == (START, 1, START + 1)
