from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import anomaly_kernels
from tests.render.functions.asking import ask
from tests.render.functions.futures import NOW, known

HOUR = 3600
numbers = st.one_of(st.integers(-8, 8).map(lambda n: n / 2), st.floats(-1e3, 1e3))
cells = st.one_of(numbers, numbers, numbers, st.just(math.nan))


def score(value: float, others: list[float], least: float, most: float) -> float:
    if value != value or len(others) < anomaly_kernels.KNOWN_MIN:
        return math.nan
    middle = statistics.median(others)
    distances = [abs(v - middle) for v in others]
    spread = (
        statistics.median(distances) * 1.482602218505602 or statistics.fmean(distances) * 1.2533141373155001
    )
    spread = max(spread, least)
    off = value - middle
    if spread == 0.0:
        return math.copysign(most, off) if off else 0.0
    return min(max(off / spread, -most), most)


@given(
    st.integers(0, 40).flatmap(lambda points: st.lists(cells, min_size=points, max_size=points)),
    st.integers(1, 9),
    st.sets(st.integers(0, 20), min_size=1, max_size=3),
    st.sampled_from([0.0, 1.5]),
)
def test_scores_are_those_of_each_point_by_itself(
    row: list[float], length: int, more: set[int], least: float
) -> None:
    backs = [length + extra for extra in sorted(more)]
    values = np.array([row, row])
    out = np.empty_like(values)
    anomaly_kernels.scores(values, np.array(backs, np.int64), length, least, 100.0, out)
    for i, value in enumerate(row):
        places = [i - back + j for back in backs for j in range(length)]
        others = [row[j] for j in places if j >= 0 and row[j] == row[j]]
        expected = score(value, others, least, 100.0)
        assert out[1, i] == out[0, i] or math.isnan(out[0, i])
        assert (math.isnan(out[0, i]) and math.isnan(expected)) or math.isclose(
            out[0, i], expected, rel_tol=1e-6, abs_tol=1e-6
        )


def test_a_score_of_noise_is_in_standard_deviations() -> None:
    noise = np.random.default_rng(1).normal(50, 7, size=2000)
    for target in ("anomaly(a.*,'zscore','5h')", "anomaly(a.*,'seasonal','30min','1h',10)"):
        (found,) = ask(known(noise), target, start=NOW - 12 * HOUR, until=NOW, now=NOW)
        assert found.values.std() == pytest.approx(1.0, abs=0.1)
        assert np.mean(np.abs(found.values) > 3.5) < 0.005


def test_a_jump_stands_out_and_what_was_wild_before_does_not_hide_it() -> None:
    row = np.random.default_rng(2).normal(size=300)
    row[100:140] = 1000.0
    row[-1] = 12.0
    (found,) = ask(known(row), "anomaly(a.*,'zscore','4h')", start=NOW - HOUR, until=NOW, now=NOW)
    assert found.values[-1] > 5
    assert np.abs(found.values[:-1]).max() < 5


def test_what_is_usual_at_this_time_is_no_anomaly_and_what_is_unusual_is() -> None:
    at = np.arange(600)
    row = np.where(at % 60 < 5, 100.0, 10.0) + np.random.default_rng(3).normal(size=600)
    row[-20] = 100.0
    target = "anomaly(a.*,'{}','{}','1h',7)"
    (seasonal,) = ask(known(row), target.format("seasonal", "2min"), start=NOW - HOUR, until=NOW, now=NOW)
    (plain,) = ask(known(row), target.format("zscore", "1h"), start=NOW - HOUR, until=NOW, now=NOW)
    assert seasonal.values[-20] == 100 or seasonal.values[-20] > 20
    peak = (np.arange(540, 600) % 60) < 5
    assert np.abs(seasonal.values[peak]).max() < 5
    assert plain.values[peak].min() > 20


def test_a_level_series_is_no_anomaly_until_it_changes_and_a_least_spread_calms_it() -> None:
    row = np.append(np.full(400, 5.0), 6.0)
    source = known(row)
    for argument, last in (("", 100.0), (",leastSpread=2", 0.5)):
        (found,) = ask(source, f"anomaly(a.*{argument})", start=NOW - 120, until=NOW, now=NOW)
        assert found.values.tolist() == [0.0, last]


def test_missing_datapoints_have_no_score_and_too_few_to_compare_with_give_none() -> None:
    row = np.arange(12.0)
    row[9] = math.nan
    (found,) = ask(known(row), "anomaly(a.*)", start=NOW - 720, until=NOW, now=NOW)
    assert np.isnan(found.values).tolist() == [True] * 5 + [False] * 4 + [True] + [False] * 2


def test_a_season_that_is_no_whole_number_of_points_does_not_drift() -> None:
    source = known(np.arange(2000.0))
    ask(source, "anomaly(a.*,'seasonal','1min','90s',20)", start=NOW - 60, until=NOW, now=NOW)
    assert source.fetches[-1][1] == NOW - 60 - 20 * 90 - 30


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("anomaly(a.*,'nonsense')", "'nonsense' is not one of zscore, seasonal"),
        ("anomaly(a.*,window='0s')", "window: takes an interval of more than 0 seconds"),
        ("anomaly(a.*,'seasonal',season='0s')", "season: takes an interval of more than 0 seconds"),
        ("anomaly(a.*,'seasonal',seasons=0)", "seasons: takes 1 to 400, not 0"),
        ("anomaly(a.*,'seasonal',seasons=401)", "seasons: takes 1 to 400, not 401"),
        ("anomaly(a.*,leastSpread=-1)", "leastSpread: takes 0 or more, not -1"),
        ("anomaly(a.*,'zscore','100d')", "compares each value with 144000 of step 60 s; at most 100000"),
    ],
)
def test_what_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(known(np.ones(9)), target, start=NOW - HOUR, until=NOW, now=NOW)
