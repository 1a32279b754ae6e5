from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError, InvalidTime
from tests.effort import tries
from tests.render.functions.asking import ask, holding, values
from tests.render.functions.futures import NOW, known
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START, UNTIL
from tests.render.memory import MemorySource

_ROUNDING = "there the line is reckoned from the year 1970 on, which loses what comes after nine digits"
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    **dict.fromkeys(
        (
            "linearRegression(servers.*.cpu)",
            "linearRegression(fine.*)",
            'linearRegression(alias(servers.web1.cpu,"x"))',
            "linearRegression(dashed(servers.web1.cpu))",
            "sumSeries(linearRegression(servers.*.cpu))",
        ),
        _ROUNDING,
    ),
    'linearRegression(servers.web1.cpu,"1600001000","1600000400")': "an end before the begin is refused; whisper fails",
}
test_we_answer_as_graphite_web_does = golden_test("trend", DEPARTURES)

HOUR, DAY = 3600, 86_400
cells = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e300, -1e300]))


def test_a_regression_goes_on_ahead_of_now() -> None:
    source = known(2.0 + 0.5 * np.arange(100))
    (found,) = ask(source, "linearRegression(a.*,'-1h')", start=NOW - HOUR, until=NOW + HOUR, now=NOW)
    assert (found.start, len(found.values)) == (NOW - HOUR + 60, 120)
    np.testing.assert_allclose(found.values, 2.0 + 0.5 * np.arange(40, 160))
    assert found.name == f"linearRegression(a.000, {NOW - HOUR}, {NOW + HOUR})"


def test_a_regression_is_drawn_over_a_window_that_begins_after_now() -> None:
    source = known(2.0 + 0.5 * np.arange(100))
    (found,) = ask(
        source, "linearRegression(a.*,'-1h','now')", start=NOW + HOUR, until=NOW + 2 * HOUR, now=NOW
    )
    assert (found.start, len(found.values)) == (NOW + HOUR + 60, 60)
    np.testing.assert_allclose(found.values, 2.0 + 0.5 * np.arange(160, 220))


def test_each_series_has_its_own_line_though_another_time_lists_other_series() -> None:
    rows = [np.full(200, 1.0), np.full(200, 2.0), np.concatenate((np.full(100, 9.0), np.full(100, 0.0)))]
    source = known(*rows)
    target = "linearRegression(highest(a.*,2,'current'),'-3h','-2h')"
    found = ask(source, target, start=NOW - HOUR, until=NOW, now=NOW)
    assert [name.split(",")[0] for name in found.names] == ["linearRegression(a.001"]
    np.testing.assert_allclose(next(iter(found)).values, 2.0)


def test_lines_of_series_whose_name_has_a_value_go_by_their_place() -> None:
    source = known(np.arange(300.0), 7 + np.arange(300.0))
    target = "linearRegression(aggregateLine(a.*,'max',true),'-3h','-1h')"
    found = ask(source, target, start=NOW - HOUR, until=NOW, now=NOW)
    assert [round(one.values[0]) for one in found] == [239, 246]


def test_relative_times_are_the_requests() -> None:
    (found,) = ask(
        MemorySource.golden(), "linearRegression(servers.web1.cpu,'-10min','-5min')", now=UNTIL - 60
    )
    assert found.name.endswith(f", {UNTIL - 660}, {UNTIL - 360})")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ArgumentError, match="takes a time after startSourceAt"):
        ask(holding([1.0]), "linearRegression(a.0,'-1h','-2h')")
    with pytest.raises((ArgumentError, InvalidTime), match="whenever"):
        ask(holding([1.0]), "linearRegression(a.0,'whenever')")


# --- trend ---


def test_a_quarter_of_wild_datapoints_does_not_turn_a_trend() -> None:
    random = np.random.default_rng(1)
    row = 10 + 0.2 * np.arange(60) + random.normal(size=60) * 0.1
    row[random.choice(60, 15, replace=False)] += 1000
    source = known(row)
    (found,) = ask(source, "trend(a.*)", start=NOW - HOUR, until=NOW + HOUR, now=NOW)
    np.testing.assert_allclose(np.diff(found.values), 0.2, atol=0.02)
    assert len(found.values) == 120
    assert float(found.tags["trendPerDay"]) == pytest.approx(0.2 * 1440, rel=0.1)
    (plain,) = ask(source, "trend(a.*,'leastSquares')", start=NOW - HOUR, until=NOW, now=NOW)
    assert abs(plain.values[0] - found.values[0]) > 50


def test_a_series_without_two_datapoints_has_no_trend() -> None:
    found = ask(holding([None, 1.0, None], [1.0, 2.0, 3.0]), "trend(a.*)", until=START + 180)
    assert values(found)[0] == [None] * 3
    assert "trendPerDay" not in found.tags[0]
    assert float(found.tags[1]["trendPerDay"]) == pytest.approx(1440)


# --- timeToReach ---


def test_a_steady_series_reaches_its_threshold_a_minute_sooner_each_minute() -> None:
    (found,) = ask(
        known(0.5 * np.arange(200)), "timeToReach(a.*,300,'1h')", start=NOW - HOUR, until=NOW, now=NOW
    )
    np.testing.assert_allclose(found.values, (300 - 0.5 * np.arange(140, 200)) / 0.5 * 60)
    assert found.name == "timeToReach(a.000,300)"


def test_what_is_there_already_takes_no_time_and_what_goes_away_never_comes() -> None:
    source = known(np.arange(100.0), -np.arange(100.0), 500 - np.arange(100.0))
    rising, falling, above = ask(source, "timeToReach(a.*,50,'1h')", start=NOW - HOUR, until=NOW, now=NOW)
    assert rising.values[-1] == 0.0
    assert np.all(np.isnan(falling.values))
    assert np.all(above.values == 0.0)


def test_free_space_reaches_its_threshold_from_above() -> None:
    source = known(500 - np.arange(100.0))
    (found,) = ask(source, "timeToReach(a.*,0,'1h','below')", start=NOW - 60, until=NOW, now=NOW)
    assert found.name == 'timeToReach(a.000,0,"below")'
    np.testing.assert_allclose(found.values, [401 * 60])


def test_the_answer_is_what_was_known_then() -> None:
    """What comes later, here a jump, changes no earlier answer."""
    row = 0.1 * np.arange(200)
    later = np.concatenate((row[:150], row[150:] + 1000))
    one, other = known(row), known(later)
    target = "timeToReach(a.*,5000,'1h')"
    before, after = (
        next(iter(ask(source, target, start=NOW - 100 * 60, until=NOW, now=NOW))).values
        for source in (one, other)
    )
    np.testing.assert_array_equal(before[:50], after[:50])
    assert after[60] < before[60] / 2


def test_the_time_is_within_its_band_as_often_as_that_says() -> None:
    random = np.random.default_rng(5)
    source = known(
        *(100 * random.random() + 0.05 * np.arange(480) + random.normal(size=480) for _ in range(400))
    )
    found = [
        one.values[-1]
        for one in ask(source, "timeToReachBands(a.*,200,'8h')", start=NOW - 60, until=NOW, now=NOW)
    ]
    starts = np.random.default_rng(5)
    exact = []
    for _ in range(400):
        exact.append((200 - 100 * starts.random() - 0.05 * 479) / 0.05 * 60)
        starts.normal(size=480)
    lower, upper = np.array(found[0::2]), np.array(found[1::2])
    inside = (lower <= exact) & (exact <= upper)
    assert 0.92 <= inside.mean() <= 0.98


def test_without_a_sure_trend_there_is_an_earliest_but_no_latest() -> None:
    row = np.random.default_rng(6).normal(size=100)
    lower, upper = ask(known(row), "timeToReachBands(a.*,5,'1h')", start=NOW - 60, until=NOW, now=NOW)
    assert lower.name == "timeToReachLower(a.000,5)"
    assert lower.values[-1] > 0
    assert math.isnan(upper.values[-1])


def test_no_answer_from_less_than_the_x_files_factor_asks() -> None:
    row = 0.5 * np.arange(60)
    row[::3] = math.nan
    target = "timeToReach(xFilesFactor(a.*,{}),300,'30min')"
    for factor, there in ((0.6, True), (0.7, False)):
        (found,) = ask(known(row), target.format(factor), start=NOW - 60, until=NOW, now=NOW)
        assert np.isfinite(found.values[-1]) == there


@settings(max_examples=tries(50))
@given(
    st.lists(cells, max_size=50),
    st.sampled_from(["1s", "2min", "17min", "1d"]),
    st.sampled_from(["above", "below"]),
)
def test_no_series_makes_it_fail_and_no_time_is_negative(
    row: list[float | None], history: str, side: str
) -> None:
    source = known(np.array(row, np.float64))
    for name in ("timeToReach", "timeToReachBands"):
        for one in ask(source, f"{name}(a.*,5,'{history}','{side}')", start=NOW - HOUR, until=NOW, now=NOW):
            assert not np.any(one.values < 0)
            assert len(one.values) == 60
