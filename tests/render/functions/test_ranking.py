from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from tests.render.functions.asking import ask, holding, values
from tests.render.golden.series import START

Row = list[float | None]


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    points = draw(st.integers(1, 4))
    value = st.one_of(st.none(), st.integers(-5, 5).map(float))
    return draw(st.lists(st.lists(value, min_size=points, max_size=points), min_size=1, max_size=9))


def average(row: Row) -> float | None:
    known = [value for value in row if value is not None]
    return sum(known) / len(known) if known else None


@given(rows(), st.integers(1, 10), st.sampled_from(["topk", "bottomk"]))
def test_the_n_of_the_highest_or_lowest_average_come_in_order_and_the_rest_is_their_sum(
    rows: list[Row], n: int, name: str
) -> None:
    sign = -1 if name == "topk" else 1
    ranked = [(sign * number, i) for i, row in enumerate(rows) if (number := average(row)) is not None]
    chosen = [i for _, i in sorted(ranked)]
    source, until = holding(*rows), START + 60 * len(rows[0])
    found = ask(source, f"{name}(a.*,{n})", until=until)
    assert found.names == [f"a.{i}" for i in chosen[:n]]
    folded = ask(source, f"{name}(a.*,{n},others=true)", until=until)
    rest = chosen[n:]
    assert folded.names == found.names + (["others"] if rest else [])
    for point, value in enumerate(values(folded)[-1] if rest else []):
        known = [v for i in rest if (v := rows[i][point]) is not None]
        assert value == (sum(known) if known else None)


def test_series_may_be_ranked_and_folded_by_any_aggregation() -> None:
    source = holding([1.0, 9.0], [5.0, 5.0], [4.0, 2.0], [None, None])
    until = START + 120
    assert ask(source, "topk(a.*,1,'max')", until=until).names == ["a.0"]
    assert ask(source, "topk(a.*,1,by='min')", until=until).names == ["a.1"]
    assert ask(source, "bottomk(a.*,1,'last')", until=until).names == ["a.2"]
    found = ask(source, "topk(a.*,1,'p90',true,'max')", until=until)
    assert found.names == ["a.0", "others"]
    assert values(found)[1] == [5.0, 5.0]


def test_series_without_datapoints_are_neither_chosen_nor_folded() -> None:
    source = holding([None], [1.0], [None])
    assert ask(source, "topk(a.*,3,'count',others=true)", until=START + 60).names == ["a.1"]
    assert not ask(source, "bottomk(a.0,3)", until=START + 60)


def test_the_rest_keeps_the_tags_that_all_of_it_has() -> None:
    source = holding()
    for host, value in (("a", 9.0), ("b", 2.0), ("c", 1.0)):
        source.add(f"load;dc=east;host={host}", START + 60, 60, [value])
    (_, rest) = ask(source, 'topk(seriesByTag("name=load"),1,others=true)', until=START + 60)
    assert rest.tags == {"name": "others", "dc": "east", "aggregatedBy": "sum"}


def test_series_of_several_steps_are_ranked_together() -> None:
    source = holding([1.0] * 5, [3.0] * 5)
    source.add("a.2", START, 300, [2.0, 2.0])
    assert ask(source, "topk(a.*,2,others=true)", until=START + 300).names == ["a.1", "a.2", "others"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("topk(a.*,0)", "n: takes 1 series or more, not 0"),
        ("bottomk(a.*,-1)", "n: takes 1 series or more, not -1"),
        ("topk(a.*,1,'maxx')", "by: no aggregation 'maxx', perhaps 'max'"),
        ("topk(a.*,1,fold='summ')", "fold: no aggregation 'summ', perhaps 'sum'"),
        ("topk(a.*)", "n: is missing"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(target: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(holding([1.0]), target)
