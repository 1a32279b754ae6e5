from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError, TooMuch
from tests.effort import tries
from tests.render.functions.asking import ask, holding, values
from tests.render.functions.futures import known
from tests.render.golden.compare import golden_test
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource

_SHORT = "a season of less than two points fails there; it has two here"
_GRID = "the series stays on its own grid; there it begins between two of its points"
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    'holtWintersForecast(servers.*.cpu,"4h","90s")': _SHORT,
    'holtWintersForecast(servers.*.cpu,"4h","1min")': _SHORT,
    'holtWintersForecast(servers.*.cpu,"4h","10s")': _SHORT,
    'holtWintersForecast(coarse.*,"4h","5min")': _SHORT,
    'holtWintersForecast(servers.*.cpu,"100s","5min")': _GRID,
    'holtWintersAberration(servers.web1.cpu,1,"100s","5min")': "bands and datapoints of one time are compared",
    "holtWintersConfidenceArea(nothing.here)": "nothing is no error",
}
test_we_answer_as_graphite_web_does = golden_test("holt_winters", DEPARTURES)

FUNCTIONS = ("holtWintersForecast", "holtWintersConfidenceBands", "holtWintersAberration")
cells = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e300, -1e300]))


@settings(max_examples=tries(60))
@given(
    st.sampled_from(FUNCTIONS),
    st.lists(cells, max_size=40),
    st.sampled_from(["0s", "7s", "2min", "1h", "7d"]),
    st.sampled_from(["1s", "61s", "5min", "1d"]),
    st.integers(0, 30),
)
def test_no_series_and_no_season_makes_it_fail(
    name: str, row: list[float | None], bootstrap: str, season: str, ahead: int
) -> None:
    target = f"{name}(a.0,bootstrapInterval='{bootstrap}',seasonality='{season}')"
    for one in ask(holding(row), target, until=UNTIL + ahead * 60):
        assert one.start > START
        assert one.step == 60


def test_a_season_that_is_too_short_to_be_one_has_two_points() -> None:
    source = MemorySource.golden()
    answers = [
        values(ask(source, f"holtWintersForecast(servers.*.cpu,'4h','{season}')"))
        for season in ("1s", "2min")
    ]
    assert answers[0] == answers[1]


def test_what_repeats_is_expected_to_go_on_ahead_of_now() -> None:
    wave = [float(i % 10) for i in range(200)]
    source = known(np.array(wave))
    (found,) = ask(source, "holtWintersForecast(a.*,'3h','10min')", until=START + 3600, now=START)
    assert (found.start, len(found.values)) == (START + 60, 60)
    np.testing.assert_allclose(found.values, [float(i % 10) for i in range(200, 260)], atol=1.5)
    assert np.corrcoef(found.values, np.arange(200, 260) % 10)[0, 1] > 0.99


def test_a_window_that_lies_ahead_of_now_has_values() -> None:
    source = known(np.arange(200.0) % 10)
    whole = ask(source, "holtWintersForecast(a.*,'3h','10min')", until=START + 7200, now=START)
    (found,) = ask(
        source, "holtWintersForecast(a.*,'4h','10min')", start=START + 3600, until=START + 7200, now=START
    )
    assert found.start == START + 3660
    np.testing.assert_allclose(found.values, next(iter(whole)).values[60:], atol=0.5)


def test_bands_are_as_far_from_the_forecast_as_delta_says() -> None:
    source = MemorySource.golden()
    (middle,) = ask(source, "holtWintersForecast(servers.web2.cpu,'4h','1h')")
    lower, upper = ask(source, "holtWintersConfidenceBands(servers.web2.cpu,2.5,'4h','1h')")
    wide = ask(source, "holtWintersConfidenceBands(servers.web2.cpu,5,'4h','1h')")
    np.testing.assert_allclose(upper.values - middle.values, middle.values - lower.values)
    np.testing.assert_allclose(list(wide)[1].values - middle.values, 2 * (upper.values - middle.values))


def test_each_series_has_its_bands_side_by_side_whatever_the_steps() -> None:
    found = ask(
        MemorySource.golden(),
        "holtWintersConfidenceBands(sortByName(group(fine.*,servers.web1.cpu),reverse=true))",
    )
    assert found.names == [
        f"holtWintersConfidence{which}({path})"
        for path in ("servers.web1.cpu", "fine.f2", "fine.f1")
        for which in ("Lower", "Upper")
    ]
    assert [one.step for one in found] == [60, 60, 10, 10, 10, 10]


def test_datapoints_and_bands_come_of_one_reading_whatever_the_archives_steps() -> None:
    """Earlier data that only a coarse archive has makes all coarse; graphite-web failed on two steps."""

    class Archives(MemorySource):
        def fetch(self, series, start, until, now, *others, **named):  # type: ignore[no-untyped-def]  # as the base
            found = super().fetch(series, start, until, now, *others, **named)
            return [one for one in found if one.step == (300 if now - start > 7200 else 60)]

    source = Archives()
    for step in (60, 300):
        first = START - START % step - 86400
        source.add(f"a.{step}", first, step, [float(i * 7 % 11) for i in range(2 * 86400 // step)])
    (found,) = ask(source, "holtWintersAberration(a.*,1,'4h','1h')")
    assert (found.step, len(found.values)) == (300, 4)
    assert np.any(found.values != 0)


def test_nothing_is_an_anomaly_where_the_datapoint_is_missing() -> None:
    row = [1.0, 2.0, 1.0, None, 100.0]
    (found,) = ask(holding(row), "holtWintersAberration(a.0,1,'1h','5min')", until=START + 300)
    assert found.values[3] == 0.0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("holtWintersForecast(a.0,'7d','0s')", "takes an interval of more than 0 seconds"),
        ("holtWintersForecast(a.0,'7d','-1d')", "takes an interval of more than 0 seconds"),
        ("holtWintersConfidenceArea(a.*)", "takes one series, not 2"),
    ],
)
def test_what_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(holding([1.0], [2.0]), target)


def test_more_points_ahead_than_a_function_may_make_are_refused() -> None:
    with pytest.raises((ArgumentError, TooMuch), match="points"):
        ask(known(np.ones(9)), "holtWintersForecast(a.*,'1h')", until=NOW + 4 * 365 * 86_400, now=NOW)


def test_a_bootstrap_that_looks_back_is_the_same_with_and_without_a_sign() -> None:
    source = MemorySource.golden()
    plain, signed = (ask(source, f"holtWintersForecast(servers.web1.cpu,'{s}4h')") for s in ("", "-"))
    assert values(plain) == values(signed)
