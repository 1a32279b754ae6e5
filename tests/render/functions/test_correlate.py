from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError
from tests.effort import tries
from tests.render.functions.asking import ask
from tests.render.functions.futures import NOW, known
from tests.render.memory import MemorySource

HOUR = 3600
Row = npt.NDArray[np.float64]
cells = st.one_of(st.just(math.nan), st.integers(-20, 20).map(float), st.floats(-1e3, 1e3))
rows = st.lists(cells, min_size=12, max_size=12).map(lambda row: np.array(row, np.float64))


def pearson(row: Row, reference: Row, shift: int) -> float:
    """Of the points that both have; NaN if those are too few or one of them is level."""
    pairs = [
        (row[i], reference[i - shift])
        for i in range(len(row))
        if 0 <= i - shift < len(row) and not math.isnan(row[i] + reference[i - shift])
    ]
    if len(pairs) < max(5, 0.25 * np.count_nonzero(~np.isnan(reference))):
        return math.nan
    x, y = np.array(pairs).T
    x, y = x - x.mean(), y - y.mean()
    squares = np.sum(x * x) * np.sum(y * y)
    # what a level line leaves is rounding
    return float(np.sum(x * y) / math.sqrt(squares)) if squares > 1e-12 else math.nan


@settings(max_examples=tries(80))
@given(st.lists(rows, min_size=1, max_size=4), rows, st.integers(0, 4))
def test_coefficients_are_those_of_each_pair_at_each_lag(others: list[Row], reference: Row, lag: int) -> None:
    source = known(*others, reference)
    last = f"a.{len(others):03d}"
    found = ask(
        source,
        f"correlate(a.*,{last},99,'{lag}min','either')",
        start=NOW - 12 * 60,
        until=NOW,
        now=NOW,
    )
    best = {}
    for i, row in enumerate(others):
        known_ones = [c for s in range(-lag, lag + 1) if not math.isnan(c := pearson(row, reference, s))]
        if known_ones:
            best[f"a.{i:03d}"] = max(map(abs, known_ones))
    ours = {name: abs(float(tags["correlation"])) for name, tags in zip(found.names, found.tags, strict=True)}
    assert ours == pytest.approx(best, abs=1e-4)
    assert list(ours.values()) == sorted(ours.values(), reverse=True)


def test_lags_say_by_how_much_a_series_follows() -> None:
    random = np.random.default_rng(1)
    wave = np.cumsum(random.normal(size=140))
    source = known(wave[5:125], wave[20:140], wave[10:130], -wave[10:130])
    target = "correlate(a.*,a.002,{},'20min','{}')"
    found = ask(source, target.format(9, "either"), start=NOW - 2 * HOUR, until=NOW, now=NOW)
    tags = {tag["name"]: tag for tag in found.tags}
    assert tags["a.000"]["correlationLag"] == "300"
    assert tags["a.001"]["correlationLag"] == "-600"
    assert tags["a.003"]["correlation"] == "-1.0000"
    (opposite,) = ask(source, target.format(1, "opposite"), start=NOW - 2 * HOUR, until=NOW, now=NOW).names
    assert opposite == "a.003"
    assert (
        "a.003" not in ask(source, target.format(2, "alike"), start=NOW - 2 * HOUR, until=NOW, now=NOW).names
    )


def test_small_movements_upon_a_large_value_count_as_any() -> None:
    wave = np.sin(np.arange(60))
    source = known(1e9 + wave, 1e300 * (2 + wave), 1e-300 * wave, wave)
    found = ask(source, "correlate(a.*,a.003,9)", start=NOW - HOUR, until=NOW, now=NOW)
    assert [tag["correlation"] for tag in found.tags] == ["1.0000"] * 3


def test_series_of_other_steps_are_compared_on_one_grid_and_given_as_they_are() -> None:
    source = MemorySource.golden()
    found = ask(source, "correlate(group(fine.*,coarse.*,servers.web1.*),servers.web2.mem,20)")
    plain = {one.name: one for one in ask(source, "group(fine.*,coarse.*,servers.web1.*)")}
    for one in found:
        assert one.step == plain[one.name].step
        np.testing.assert_array_equal(one.values, plain[one.name].values)


def test_the_reference_and_what_never_moves_are_left_out() -> None:
    wave = np.sin(np.arange(60))
    source = known(wave, np.full(60, 3.0), np.full(60, math.nan), np.full(60, math.inf), wave * 2)
    assert ask(source, "correlate(a.*,a.000,9)", start=NOW - HOUR, until=NOW, now=NOW).names == ["a.004"]


def test_ten_thousand_series_are_sifted_for_the_one() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=(10_000, 120))
    values[7777] = values[0] * 3 + 5 + random.normal(size=120) * 0.1
    found = ask(known(*values), "correlate(a.*,a.000,3,'10min')", start=NOW - 2 * HOUR, until=NOW, now=NOW)
    assert found.names[0] == "a.7777"
    assert len(found) == 3


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("correlate(a.*,a.*)", "reference: takes one series, not 2"),
        ("correlate(a.*,b.*)", "reference: takes one series, not 0"),
        ("correlate(a.*,a.000,-1)", "n: takes 0 or more, not -1"),
        ("correlate(a.*,a.000,1,'1d')", "lag: is 1440 points of 60 s; at most 500"),
    ],
)
def test_what_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(known(np.ones(9), np.ones(9)), target, start=NOW - HOUR, until=NOW, now=NOW)
