from __future__ import annotations

import base64
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import ArgumentError
from render.functions import REGISTRY
from render.plan import render
from render.series import SeriesList
from tests.render.functions import asking
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
    function = REGISTRY.functions[name]
    for example in function.examples:
        assert example.startswith(tuple(f"{known}(" for known in [name, *REGISTRY.others(function)]))
        assert asking.ask(golden_source, example).names
    assert function.examples


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
    with pytest.raises(ArgumentError, match=r"aliasSub\(\): search: .* takes more than"):
        ask(source, r'aliasSub(a*, "(a|aa)+(?=b)", "x")')


@given(st.text(st.characters(codec="utf-8", exclude_characters=".,;|(){}'\"\\"), min_size=1, max_size=20))
def test_what_is_base64_of_a_text_is_called_by_it(text: str) -> None:
    coded = base64.b64encode(text.encode()).decode()
    source = named(f"a.{coded}.b")
    assert ask(source, f'aliasByBase64(alias(a.*.b, "{coded}"))').names == [text]
    assert ask(source, "aliasByBase64(a.*.b, 2)").names == [f"a.{text}.b"]
    assert ask(source, "aliasByBase64(scale(a.*.b, 2), -2)").names == [f"a.{text}.b"]


def test_what_is_no_base64_stays() -> None:
    for name in ("a.b", "Zg", "Zg==Zg==", "gICA", "a b", "ä"):  # gICA are bytes that are no text
        assert ask(named("x"), f"aliasByBase64(alias(x, '{name}'))").names == [name]
    assert ask(named("a.Zg==.b"), "aliasByBase64(a.*.b, 9)").names == ["a.Zg==.b"]
    with pytest.raises(ArgumentError, match="counted from 1, not 0"):
        ask(named("a"), "aliasByBase64(a, 0)")


def test_columns_are_as_wide_as_the_widest_value_of_the_list() -> None:
    source = MemorySource()
    for name, value in (("a", 5.0), ("a.long.name", 1234567.0), ("b", float("inf")), ("c", None)):
        source.add(name, START + 60, 60, [value] * 20)
    names = ask(source, "cactiStyle(group(a,a.long.name,b,c),'si','b')").names
    assert names[1] == "a.long.name Current:1.23 Mb    Max:1.23 Mb    Min:1.23 Mb    "
    assert len({len(name) for name in names}) == 1
    assert "nan" in names[3]
    assert "inf" in names[2]
