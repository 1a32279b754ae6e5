from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.render.functions.asking import ask, holding
from tests.render.golden.compare import golden_test
from tests.render.golden.series import START
from tests.render.memory import MemorySource

test_we_answer_as_graphite_web_does = golden_test("sorting")


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-2, 2).map(float)), min_size=1, max_size=9), st.booleans())
def test_sorting_is_pythons_with_nothing_known_below_all(row: list[float | None], reverse: bool) -> None:
    source = holding(*([value] for value in row))
    found = ask(source, f"sortBy(a.*,'max',{str(reverse).lower()})", until=START + 60)
    keys = [float("-inf") if value is None else value for value in row]
    order = sorted(range(len(row)), key=keys.__getitem__, reverse=reverse)
    assert found.names == [f"a.{i}" for i in order]


def test_natural_names_count_their_digits() -> None:
    source = MemorySource()
    for name in ("web10", "web9", "web1", "web09"):
        source.add(f"a.{name}", START + 60, 60, [1.0])
    assert ask(source, "sortByName(a.*)").names == ["a.web09", "a.web1", "a.web10", "a.web9"]
    assert ask(source, "sortByName(a.*,true)").names == ["a.web1", "a.web09", "a.web9", "a.web10"]
