from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError, TooMuch
from render.source import SharedStore
from storage.schema import Rules
from storage.store import Store
from tests.effort import tries
from tests.render.functions.asking import ask
from tests.render.functions.futures import NOW, UpToNow, known
from tests.render.memory import MemorySource

Row = npt.NDArray[np.float64]
HOUR, DAY = 3600, 86_400
_STEP = 300
_DAILY = DAY // _STEP
_AHEAD = 2 * _DAILY


def futures(
    seed: int, days: int, *, season: bool = True, alike: float = 0.0, gaps: float = 0.0
) -> tuple[UpToNow, Row]:
    """Series of some days' history, with what comes in the two days after: (source, float64 (series, points))."""
    random = np.random.default_rng(seed)
    points = days * _DAILY + _AHEAD
    at = np.arange(points)
    noise = random.normal(size=(20, points))
    for i in range(1, points):
        noise[:, i] += alike * noise[:, i - 1]
    rows = 100 + noise + random.normal(size=(20, 1)) * at * (5 / points)
    if season:
        turn = 2 * np.pi * at / _DAILY
        rows += 5 * np.sin(turn + random.random((20, 1)) * 6) + 3 * np.sin(
            2 * turn + random.random((20, 1)) * 6
        )
    past = rows[:, :-_AHEAD].copy()
    past[np.repeat(random.random((20, days * _DAILY // 12)) < gaps, 12, axis=1)] = math.nan
    return known(*past, step=_STEP), rows[:, -_AHEAD:]


def bands(source: MemorySource, target: str, until: int) -> tuple[Row, Row]:
    found = np.array([one.values for one in ask(source, target, start=NOW, until=until, now=NOW)])
    return found[0::2], found[1::2]


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("linear", {"days": 7, "season": False}),
        ("linear", {"days": 7, "season": False, "alike": 0.9}),
        ("seasonal", {"days": 14}),
        ("seasonal", {"days": 3}),
        ("seasonal", {"days": 14, "alike": 0.9}),
        ("seasonal", {"days": 14, "alike": 0.9, "gaps": 0.2}),
    ],
    ids=str,
)
def test_of_what_comes_a_band_holds_as_much_as_it_says(method: str, what: dict[str, float]) -> None:
    source, future = futures(11, **what)  # type: ignore[arg-type]  # numbers and a bool by name
    lower, upper = bands(source, f"forecastBands(a.*,'{method}','{what['days']}d')", NOW + _AHEAD * _STEP)
    inside = (lower <= future) & (future <= upper)
    assert 0.90 <= inside.mean() <= 0.99
    lower, upper = bands(
        source, f"forecastBands(a.*,'{method}','{what['days']}d',band=50)", NOW + _AHEAD * _STEP
    )
    assert 0.40 <= ((lower <= future) & (future <= upper)).mean() <= 0.62


def test_of_what_wanders_a_line_holds_less_than_it_says_and_a_season_more_than_a_line() -> None:
    source, future = futures(
        8, days=8, season=False, alike=1.0
    )  # two days ahead are a quarter of the history
    inside = {}
    for method in ("linear", "seasonal"):
        lower, upper = bands(source, f"forecastBands(a.*,'{method}','8d')", NOW + _AHEAD * _STEP)
        inside[method] = ((lower <= future) & (future <= upper)).mean()
    assert 0.6 < inside["linear"] < inside["seasonal"] < 0.85


@pytest.mark.parametrize("method", ["linear", "seasonal"])
def test_a_band_is_about_the_forecast_and_widens_ahead_of_now(method: str) -> None:
    source, _ = futures(12, 3, alike=0.9)
    until = NOW + _AHEAD * _STEP
    lower, upper = bands(source, f"forecastBands(a.*,'{method}','3d')", until)
    middle = [
        one.values for one in ask(source, f"forecast(a.*,'{method}','3d')", start=NOW, until=until, now=NOW)
    ]
    np.testing.assert_allclose((lower + upper) / 2, middle)
    assert np.all((upper - lower)[:, -1] > (upper - lower)[:, 0])


cells = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e300, -1e300, math.inf]))


@settings(max_examples=tries(60))
@given(
    st.sampled_from(["linear", "seasonal"]),
    st.lists(cells, max_size=60),
    st.sampled_from(["1min", "7min", "100s", "1s", "30min"]),
    st.integers(-90, 90),
    st.integers(-90, 90),
)
def test_whatever_is_known_the_answer_covers_the_window(
    method: str, row: list[float | None], season: str, start: int, end: int
) -> None:
    start, end = sorted((start, end))
    source = known(np.array(row, np.float64))
    target = f"forecastBands(a.*,'{method}','1h','{season}')"
    for one in ask(source, target, start=NOW + start * 60, until=NOW + (end + 1) * 60, now=NOW):
        assert NOW + start * 60 < one.start <= NOW + start * 60 + 60
        assert len(one.values) == end + 1 - start


def test_a_line_goes_on_through_gaps_and_ahead_of_now() -> None:
    row = 3.0 + 0.25 * np.arange(100)
    row[10:70] = math.nan
    (found,) = ask(known(row), "forecast(a.*,'linear','3h')", start=NOW - HOUR, until=NOW + HOUR, now=NOW)
    assert (found.start, len(found.values)) == (NOW - HOUR + 60, 120)
    np.testing.assert_allclose(found.values, 3.0 + 0.25 * np.arange(40, 160))


def test_what_repeats_goes_on_through_gaps_and_ahead_of_now() -> None:
    at = np.arange(300)
    row = 5.0 + 0.1 * at + at % 30
    row[100:140] = math.nan
    (found,) = ask(
        known(row[:270]),
        "forecast(a.*,'seasonal','4h','30min')",
        start=NOW - HOUR,
        until=NOW + 30 * 60,
        now=NOW,
    )
    np.testing.assert_allclose(found.values, row[210:], atol=1e-6)


def test_only_the_history_is_learnt_from() -> None:
    row = np.concatenate((np.full(200, 1000.0), np.arange(100.0)))
    (line,) = ask(
        known(row), "forecast(a.*,'linear','100min')", start=NOW - 4 * HOUR, until=NOW + HOUR, now=NOW
    )
    np.testing.assert_allclose(line.values[-60:], np.arange(100.0, 160.0))
    assert line.values[0] < 0  # the line is drawn over the window before, too
    (wave,) = ask(
        known(row),
        "forecast(a.*,'seasonal','100min','2min')",
        start=NOW - 4 * HOUR,
        until=NOW + HOUR,
        now=NOW,
    )
    np.testing.assert_allclose(wave.values[-60:], np.arange(100.0, 160.0), atol=1e-6)
    assert np.all(np.isnan(wave.values[:140]))


def test_of_a_window_long_ago_the_history_ends_with_it() -> None:
    row = np.concatenate((np.arange(100.0), np.full(100, 1000.0)))
    source = known(row)
    until = NOW - 100 * 60
    (found,) = ask(source, "forecast(a.*,'linear','1h')", start=until - HOUR, until=until, now=NOW)
    np.testing.assert_allclose(found.values, np.arange(40.0, 100.0))
    assert source.fetches == [(1, until - HOUR, until)]


def test_a_time_of_the_season_that_was_never_known_has_no_value() -> None:
    at = np.arange(200)
    row = np.where(at % 10 == 3, math.nan, at % 10)
    (found,) = ask(known(row), "forecast(a.*,'seasonal','3h','10min')", start=NOW, until=NOW + HOUR, now=NOW)
    missing = (np.arange(200, 260)) % 10 == 3
    np.testing.assert_array_equal(np.isnan(found.values), missing)


def test_too_little_is_known_of_a_series_that_has_begun_just_now() -> None:
    source = known(np.arange(2.0), np.arange(300.0))
    for method in ("linear", "seasonal"):
        lower, _ = bands(source, f"forecastBands(a.*,'{method}','5h','1h')", NOW + HOUR)
        assert np.isnan(lower).all(axis=1).tolist() == [True, False]


def test_smoothing_that_is_given_is_taken() -> None:
    row = np.repeat([0.0, 100.0], 60)
    last = {}
    for alpha in ("0.01", "1"):
        (found,) = ask(
            known(row),
            f"forecast(a.*,'seasonal','2h','1min',alpha={alpha},beta=0,gamma=0)",
            start=NOW,
            until=NOW + 600,
            now=NOW,
        )
        last[alpha] = found.values[-1]
    assert last["1"] == pytest.approx(100, abs=20)
    assert abs(last["0.01"] - last["1"]) > 5


def test_names_and_tags_say_what_a_series_is() -> None:
    found = ask(MemorySource.golden(), "forecastBands(disk.a.used,'linear','4h',band=80)")
    assert found.names == ['forecastLower(disk.a.used,"linear")', 'forecastUpper(disk.a.used,"linear")']
    assert found.expressions == found.names
    assert found.tags[0] == {"name": "disk.a.used", "forecast": "linear", "forecastBand": "80"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("forecast(a.*,'cubic')", "'cubic' is not one of linear, seasonal"),
        ("forecast(a.*,history='0s')", "history: takes an interval of more than 0 seconds"),
        ("forecast(a.*,'seasonal','1d','1d')", "history: takes two seasons of 1d at least, not '1d'"),
        ("forecast(a.*,'seasonal',season='-1d')", "season: takes an interval of more than 0 seconds"),
        ("forecast(a.*,alpha=2)", "alpha: takes a number from 0 to 1, not 2"),
        ("forecastBands(a.*,band=100)", "band: takes a percentage between 0 and 100"),
    ],
)
def test_what_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(known(np.ones(9)), target)


def test_a_future_of_too_many_points_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"until: would make .* points a series; at most 1000000"):
        ask(known(np.ones(9)), "forecast(a.*,'linear','1h')", until=NOW + 800 * DAY, now=NOW)
    with pytest.raises(TooMuch, match="a window of"):
        ask(known(np.ones(9)), "forecast(a.*,'linear','1000y')")


def test_a_store_on_disk_is_foreseen_from_its_coarse_archive_too(tmp_path: Path) -> None:
    (tmp_path / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 60s:6h,5m:30d\n")
    store = Store(tmp_path / "data", Rules.load(tmp_path))
    (series,) = store.create(["disk.used"])
    at = NOW - 86_400 + 60 * np.arange(1440)
    store.append(np.full(1440, series, np.int32), at, np.linspace(10.0, 729.5, 1440), NOW)
    store.roll_up()
    for history, step in (("5h", 60), ("20h", 300)):
        target = f"forecast(disk.used,'linear','{history}')"
        (found,) = ask(SharedStore(store), target, start=NOW - HOUR, until=NOW + 7 * DAY, now=NOW)  # type: ignore[arg-type]  # any source
        assert found.step == step
        last = found.start + (len(found.values) - 1) * step
        assert NOW + 7 * DAY - step < last <= NOW + 7 * DAY
        assert found.values[-1] == pytest.approx(10 + 0.5 * 1440 * 8, rel=0.01)
