from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import REGISTRY
from tests.render.functions.asking import ask, holding, of_rows, values
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START
from tests.render.memory import MemorySource

_GAPS = "a gap is no value; there a TypeError where a limit is given"
_BY_TIME = "the reference is looked at by time; there by position"
# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    "delay(servers.*.cpu,0)": "nothing is moved; there all points are gone",
    "exp(scale(servers.web1.cpu,100))": "what is too large is missing; there an OverflowError",
    "sigmoid(scale(servers.web1.cpu,100))": "0 where e^-v is too large; there an OverflowError",
    "nonNegativeDerivative(servers.web3.requests,999)": _GAPS,
    "nonNegativeDerivative(servers.web2.cpu,minValue=-5)": _GAPS,
    "perSecond(servers.web2.cpu,20)": _GAPS,
    "transformNull(servers.web2.cpu,0,coarse.c2)": _BY_TIME,
    "transformNull(coarse.c2,0,servers.web3.cpu)": _BY_TIME,
}
test_we_answer_as_graphite_web_does = golden_test("transform", DEPARTURES)


TRANSFORMS = sorted(
    {  # the first name of each, which is what it prints
        one.run: name
        for name, one in reversed(REGISTRY.functions.items())
        if one.run.__module__ == "render.functions.transform" and not one.lazy
    }.values()
)
ARGUMENTS = {
    "add": ",2",
    "delay": ",2",
    "integralWithReset": ",odd.spots",
    "offset": ",2",
    "pow": ",2",
    "scale": ",2",
    "scaleToSeconds": ",2",
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_series_has_the_same_values_alone_as_among_others(name: str, golden_source: MemorySource) -> None:
    argument = ARGUMENTS.get(name, ",'5min'" if name == "integralByInterval" else "")
    together = ask(golden_source, f"{name}(*.*.*{argument})")
    assert len(together) > 10
    for one in together:
        path = one.name[len(name) + 1 :].partition(")")[0].split(",")[0]
        (alone,) = ask(golden_source, f"{name}({path}{argument})")
        np.testing.assert_array_equal(alone.values, one.values)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("log(a.0,0)", "takes a whole number above 0 other than 1, not 0"),
        ("log(a.0,1)", "takes a whole number above 0 other than 1, not 1"),
        ("integralByInterval(a.0,'0s')", "takes an interval of more than 0 seconds"),
        ("scale(a.0)", "is missing"),
        ("scale(a.0,'much')", "takes a number, not 'much'"),
        ("delay(a.0,1.5)", "takes a whole number, not 1.5"),
        ("keepLastValue(a.0,0.5)", "takes a whole number or inf, not 0.5"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(holding([1.0]), target)


def test_a_delay_of_no_step_changes_no_value() -> None:
    assert values(ask(holding([1.0, 2.0]), "delay(a.0,0)", until=START + 120)) == [[1.0, 2.0]]


def test_what_is_too_large_for_a_number_is_missing() -> None:
    source = holding([1.0, 1000.0, -1000.0, 0.0])
    assert values(ask(source, "exp(a.0)", until=START + 240)) == [[pytest.approx(np.e), None, 0.0, 1.0]]
    assert values(ask(source, "sigmoid(a.0)", until=START + 240))[0][1:] == [1.0, 0.0, 0.5]
    assert values(ask(source, "pow(a.0,-1)", until=START + 240)) == [[1.0, 0.001, -0.001, None]]


def test_a_counter_begins_again_after_a_gap_and_beyond_its_limits() -> None:
    """graphite-web 1.1.10 fails on the gap; master answers this."""
    row = [1.0, 5.0, None, 3.0, 7.0, 2.0, 99.0, 4.0, 6.0]
    until = START + 60 * len(row)
    wrapped = ask(holding(row), "nonNegativeDerivative(a.0,9)", until=until)
    assert values(wrapped) == [[None, 4.0, None, None, 4.0, 5.0, None, None, 2.0]]
    reset = ask(holding(row), "nonNegativeDerivative(a.0,minValue=2)", until=until)
    assert values(reset) == [[None, None, None, None, 4.0, 0.0, 97.0, 2.0, 2.0]]


def test_a_reference_is_looked_at_by_time() -> None:
    source = holding([None] * 10)
    source.add("coarse", START + 300, 300, [1.0, None, None])
    found = ask(source, "transformNull(a.0,7,coarse)", until=START + 600)
    # the reference's one datapoint covers the five minutes from START + 300 on
    assert values(found) == [[None] * 4 + [7.0] * 5 + [None]]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 5).map(float)), min_size=1, max_size=12))
def test_the_derivative_of_an_integral_without_gaps_is_the_series(row: list[float | None]) -> None:
    known = [value or 0.0 for value in row]
    found = ask(holding(known), "derivative(integral(a.0))", until=START + 60 * len(known))
    assert values(found) == [[None, *known[1:]]]


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(-5, 5).map(float)), min_size=1, max_size=20),
    st.integers(0, 59),
    st.integers(1, 400),
)
@example([1.0] * 5, 1, 120)  # a second before an interval's begin
@example([1.0] * 5, 0, 120)  # and on it
def test_an_integral_by_interval_begins_again_with_each_interval_since_the_start(
    row: list[float | None], off: int, seconds: int
) -> None:
    start = START + off
    target = f"integralByInterval(a.0,'{seconds}s')"
    (got,) = values(ask(holding(row), target, start=start, until=START + 60 * len(row)))
    total, before = 0.0, None
    for i, value in enumerate(row):
        interval = (START + 60 * (i + 1) - start) // seconds
        total = (total if interval == before else 0.0) + (value or 0.0)
        before = interval
        assert got[i] == total


@pytest.mark.parametrize("name", ["scale", "scaleAfterTimestamp"])
def test_only_later_points_are_scaled(name: str) -> None:
    row = [1, -2, -3, 4, None, 0, None, 5, 6]
    first = START + 5
    (found,) = of_rows(f"{name}(a.0, -2.5, {first + 14})", row, step=5)  # carbonapi's own expectation
    assert found.name == f"scale(a.0,-2.5,{first + 14})"
    assert found.tags["scale"] == "-2.5"
    expected = [1, -2, -3, -10, np.nan, 0, np.nan, -12.5, -15]
    np.testing.assert_array_equal(found.values, expected)


@given(st.integers(-20, 100))
def test_a_point_is_scaled_if_its_time_is_not_before(seconds: int) -> None:
    (found,) = of_rows(f"scale(a.0, 2, {START + seconds})", [1.0] * 8, step=10)
    expected = [2.0 if START + 10 * (i + 1) >= START + seconds else 1.0 for i in range(8)]
    assert found.values.tolist() == expected


def test_a_long_ago_or_far_timestamp_scales_all_or_nothing() -> None:
    for timestamp, expected in ((-(2**53), [2.0, 2.0]), (1, [2.0, 2.0]), (2**53, [1.0, 1.0])):
        (found,) = of_rows(f"scale(a.0, 2, {timestamp})", [1.0, 1.0])
        assert found.values.tolist() == expected


def test_an_integral_begins_again_where_the_other_series_is_not_0() -> None:
    # carbonapi's own expectations; there nothing is reset where the series is missing
    found = of_rows(
        "integralWithReset(a.{0,1}, a.2)", [1, 1, 3, 5, 8, 13, 21], [1] * 7, [0, 0, 0, 1, 1, 0, 0]
    )
    assert values(found) == [[1, 2, 5, 0, 0, 13, 34], [1, 2, 3, 0, 0, 1, 2]]
    assert found.names == ["integralWithReset(a.0,a.2)", "integralWithReset(a.1,a.2)"]
    gaps = ([1, None, None, 3, 4, 12, 15], [0, None, 0, None, 0, 6, 0])
    assert values(of_rows("integralWithReset(a.0, a.1)", *gaps)) == [[1, None, None, 4, 8, 0, 15]]
    assert values(of_rows("integralWithReset(a.0, a.1)", [1, None, 3], [0, 1, 0])) == [[1, None, 3]]


def test_one_series_resets() -> None:
    with pytest.raises(ArgumentError, match="resettingSeries: takes exactly 1 series, not 2"):
        of_rows("integralWithReset(a.0, a.*)", [1.0], [1.0])


def test_other_names_are_the_same_functions() -> None:
    assert of_rows("isNotNull(a.0)", [1.0]).names == ["isNonNull(a.0)"]
    assert of_rows("logarithm(a.0, 2)", [8.0]).names == ["log(a.0, 2)"]
