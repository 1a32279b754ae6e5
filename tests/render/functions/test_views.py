from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from tests.render.functions.asking import ask, values
from tests.render.golden.series import START
from tests.render.memory import MemorySource

Row = list[float | None]
VALUES = st.one_of(st.none(), st.integers(0, 5).map(float))


def holding(**series: Row) -> MemorySource:
    """Series by name, with _ for the dots, whose first point is the first in the window."""
    source = MemorySource()
    for name, row in series.items():
        source.add(name.replace("_", "."), START + 60, 60, row)
    return source


def asked(source: MemorySource, target: str, points: int) -> dict[str, Row]:
    found = ask(source, target, until=START + 60 * points)
    return dict(zip(found.names, values(found), strict=True))


def share(
    wrong: float | None, all_: float | None, missing: float | None = None, idle: float | None = None
) -> object:
    """One point of errorRate(): the plain twin."""
    if wrong is None and all_ is not None:
        wrong = missing
    if all_ == 0:
        return idle
    return None if wrong is None or all_ is None else pytest.approx(100 * wrong / all_)


def total(values_: list[float | None]) -> float | None:
    known = [value for value in values_ if value is not None]
    return sum(known) if known else None


@st.composite
def services(draw: st.DrawFn) -> dict[str, dict[str, Row]]:
    """kind → series name → values: errors and totals of a few services, some of which have only one of them."""
    points = draw(st.integers(1, 4))
    row = st.lists(VALUES, min_size=points, max_size=points)
    names = st.dictionaries(st.sampled_from(["a.x", "a.y", "b.x", "c.x"]), row, max_size=4)
    return {"bad": draw(names), "all": draw(names)}


@given(services(), st.sampled_from([None, 0.0, 1.0]), st.sampled_from([None, 0.0, 50.0]))
def test_with_nodes_each_key_has_the_share_of_its_sums(
    services: dict[str, dict[str, Row]], missing: float | None, idle: float | None
) -> None:
    source = holding(**{f"{kind}.{name}": row for kind, of in services.items() for name, row in of.items()})
    options = "".join(
        f",{key}={value:g}" for key, value in (("missing", missing), ("idle", idle)) if value is not None
    )
    rows = [row for of in services.values() for row in of.values()]
    points = len(rows[0]) if rows else 1
    found = asked(source, f"errorRate(bad.*.*,all.*.*,1{options})", points)
    assert set(found) == {name.partition(".")[0] for of in services.values() for name in of}
    for key, got in found.items():
        for i, value in enumerate(got):
            wrong, all_ = (
                total([row[i] for name, row in sorted(services[kind].items()) if name.startswith(key)])
                for kind in ("bad", "all")
            )
            assert value == share(wrong, all_, missing, idle)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6))
def test_a_pair_has_its_share_at_each_point(points: list[tuple[float | None, float | None]]) -> None:
    source = holding(bad=[wrong for wrong, _ in points], all=[all_ for _, all_ in points])
    found = asked(source, "errorRate(bad,all)", len(points))
    assert found == {"errorRate(bad,all)": [share(*pair) for pair in points]}


def test_lists_as_long_are_paired_in_the_order_of_their_names() -> None:
    source = holding(s_a_bad=[1.0], s_b_bad=[2.0], s_a_all=[10.0], s_b_all=[4.0])
    target = "errorRate(group(s.b.bad,s.a.bad),s.*.all)"
    assert asked(source, target, 1) == {
        "errorRate(s.a.bad,s.a.all)": [10.0],
        "errorRate(s.b.bad,s.b.all)": [50.0],
    }


def test_one_total_stands_for_all() -> None:
    source = holding(bad_a=[1.0], bad_b=[2.0], all=[10.0])
    assert asked(source, "errorRate(bad.*,all)", 1) == {
        "errorRate(bad.a,all)": [10.0],
        "errorRate(bad.b,all)": [20.0],
    }


def test_errors_that_nobody_has_ever_sent_are_none() -> None:
    source = holding(all=[10.0, None, 0.0])
    assert asked(source, "errorRate(bad.*,all,missing=0)", 3) == {"errorRate(MISSING,all)": [0.0, None, None]}
    assert asked(source, "errorRate(bad.*,all)", 3) == {"errorRate(MISSING,all)": [None] * 3}
    assert asked(source, "errorRate(bad.*,bad.*,missing=0)", 3) == {}


def test_tags_that_all_have_stay() -> None:
    source = MemorySource()
    for name, value in (
        ("bad;dc=east;host=a", 1.0),
        ("all;dc=east;host=a", 4.0),
        ("all;dc=east;host=b", 4.0),
    ):
        source.add(name, START + 60, 60, [value])
    bad, all_ = 'seriesByTag("name=bad")', 'seriesByTag("name=all")'
    (found,) = ask(source, f'errorRate({bad},{all_},"dc")', until=START + 60)
    assert (found.name, found.tags, found.values.tolist()) == ("east", {"name": "east", "dc": "east"}, [12.5])
    assert found.expression == f"errorRate(bad;dc=east;host=a,sumSeries({all_}))"


def test_series_of_different_steps_are_compared_on_their_common_grid() -> None:
    source = holding(bad=[1.0, 3.0, 2.0, 2.0, 2.0])
    source.add("all", START + 300 - 60, 300, [20.0])
    found = ask(source, "errorRate(bad,all)", until=START + 300)
    assert {one.step for one in found} == {300}


Triple = tuple[float | None, float | None, float | None]


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6), st.booleans())
def test_the_tolerating_count_half(points: list[Triple], cumulative: bool) -> None:
    happy, patient, all_ = (list(row) for row in zip(*points, strict=True))
    source = holding(happy=happy, patient=patient, all=all_)
    found = asked(
        source, f"apdex(happy,patient,all,cumulative={str(cumulative).lower()},idle=1)", len(points)
    )

    def content(one: Triple) -> object:
        a, b, n = one
        if n == 0:
            return 1.0
        if a is None or b is None or n is None:
            return None
        return pytest.approx(((a + b) / 2 if cumulative else a + b / 2) / n)

    assert found == {"apdex(happy,patient,all)": [content(one) for one in points]}


def test_apdex_by_nodes_is_called_by_them() -> None:
    source = holding(
        s_a_ok=[6.0], s_a_slow=[2.0], s_a_all=[10.0], s_b_ok=[1.0], s_b_slow=[0.0], s_b_all=[1.0]
    )
    assert asked(source, "apdex(s.*.ok,s.*.slow,s.*.all,1)", 1) == {"a": [0.7], "b": [1.0]}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "errorRate(s.*.bad,group(s.a.all,s.b.all,s.b.bad))",
            "errors: takes 3 series, .*not 2; or say by which",
        ),
        ("apdex(s.*.bad,s.a.bad,s.*.all)", "tolerating: takes 2 series, .*not 1"),
        ("errorRate(s.*.bad)", "total: is missing"),
        ("errorRate(s.*.bad,s.*.all,missing='no')", "missing: takes a number, not 'no'"),
    ],
)
def test_lists_that_do_not_fit_are_refused(target: str, said: str) -> None:
    source = holding(s_a_bad=[1.0], s_b_bad=[2.0], s_a_all=[10.0], s_b_all=[4.0])
    with pytest.raises(ArgumentError, match=said):
        ask(source, target)
