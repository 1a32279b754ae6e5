from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import REGISTRY
from render.plan import render
from render.series import SeriesList
from tests.render.golden.compare import golden_test
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource

# target → why we answer otherwise than graphite-web 1.1.10
DEPARTURES = {
    "alias(servers.web1.cpu, 5)": "a name is text; there it becomes a number in the JSON",
    "aliasByNode(servers.*.cpu)": "without nodes all names would be empty",
    "aliasByTags(servers.*.cpu)": "without tags all names would be empty",
    'aliasByNode(alias(servers.web1.cpu, "5)"), 0)': "the parenthesis stays",
}
test_we_answer_as_graphite_web_does = golden_test("alias", DEPARTURES)


def ask(source: MemorySource, target: str) -> SeriesList:
    return render(source, [target], start=START, until=UNTIL, now=NOW, zone=UTC)[0]


def named(name: str) -> MemorySource:
    source = MemorySource()
    source.add(name, START, 60, [1.0])
    return source


@pytest.mark.parametrize("name", [name for name, one in REGISTRY.functions.items() if one.group == "Alias"])
def test_every_function_has_an_example_that_gives_series(name: str, golden_source: MemorySource) -> None:
    example = REGISTRY.functions[name].description.partition("Example: ")[2]
    assert example.startswith(f"{name}(")
    assert ask(golden_source, example).names


def test_values_tags_and_what_outer_functions_print_stay(golden_source: MemorySource) -> None:
    (before,) = ask(golden_source, "servers.*.cpu").blocks
    for call in ("alias('x')", "aliasByNode(1)", "aliasSub('s','b')", "upper()", "legendValue('max')"):
        (after,) = ask(golden_source, f"servers.*.cpu|{call}").blocks
        assert after.names != before.names
        assert after.expressions == before.expressions
        assert after.tags.all() == before.tags.all()
        assert after.values.tobytes() == before.values.tobytes()


@given(st.lists(st.text("abc.;=é() ", min_size=1), min_size=1, max_size=5))
def test_grafanas_wrapping_adds_its_letter_to_any_name(names: list[str]) -> None:
    source = MemorySource()
    source.add("a", START, 60, [1.0])
    quoted = ",".join(f'alias(a,"{name}")' for name in names)
    found = ask(source, rf'aliasSub(group({quoted}), "(^.*$)", "\1 A")')
    assert found.names == [f"{name} A" for name in names]


@pytest.mark.parametrize(
    "new_name", ["%1000000000d", "%.999999999f", "%*d", "%(x)s", "%d %d", "100%", "%y", "plain"]
)
def test_a_format_that_is_none_or_asks_for_gigabytes_is_refused(
    golden_source: MemorySource, new_name: str
) -> None:
    with pytest.raises(ArgumentError, match="one place such as %d"):
        ask(golden_source, f'aliasQuery(disk.a.used, "used", "total", "{new_name}")')


@pytest.mark.parametrize(
    ("value", "system", "shown"),
    [
        (15.0, "si", "15.00"),
        (1234567.0, "si", "1.23M"),
        (-2500.0, "si", "-2.50k"),
        (1024.0, "binary", "1.00Ki"),
        (1023.0, "binary", "1023.00"),
        (3e15, "si", "3.00P"),
    ],
)
def test_legends_have_prefixes(value: float, system: str, shown: str) -> None:
    source = MemorySource()
    source.add("a", START, 60, [None, value])
    assert ask(source, f'legendValue(a, "last", "{system}")').names == [f"{'a':<20}{'last':<5}{shown:<10}"]


def test_a_pattern_that_could_take_for_ever_does_not() -> None:
    source = named("a" * 40)
    assert ask(source, 'aliasSub(a*, "(a+)+$", "x")').names == ["x"]
    with pytest.raises(ArgumentError, match=r"aliasSub\(\): search: .* could take too long"):
        ask(source, r'aliasSub(a*, "(a|aa)+(?=b)", "x")')
