from __future__ import annotations

import json
import math
import re
from datetime import UTC
from pathlib import Path

import pytest

from render.errors import ArgumentError
from render.functions import REGISTRY
from render.functions.registry import SERIES, Function, Param, Registry, convert
from render.plan import render
from render.series import SeriesList
from render.target import parse, patterns
from tests.render import golden
from tests.render.functions.asking import EXTRAS, ask, values
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource

# /functions of graphite-web 1.1.10
SIGNATURES = json.loads((Path(golden.__file__).parent / "signatures.json").read_text())
DEPARTURES = {
    "round": "precision has no default, as round(x) and round(x,0) are called differently",
    "legendValue": "graphite-web suggests the types of values as options",
    **dict.fromkeys(
        (
            "aggregate",
            "aggregateSeriesLists",
            "aggregateWithWildcards",
            "groupByNode",
            "groupByNodes",
            "groupByTags",
        ),
        "its aggregations are suggested",
    ),
    **dict.fromkeys(
        ("diffSeriesLists", "divideSeriesLists", "multiplySeriesLists", "sumSeriesLists"),
        "carbonapi's default and matching",
    ),
    "scale": "carbonapi's timestamp",
    **dict.fromkeys(
        ("holtWintersAberration", "holtWintersConfidenceArea", "holtWintersConfidenceBands"),
        "delta may have a fraction, as in carbonapi",
    ),
}
BOTH = sorted(set(REGISTRY.functions) & set(SIGNATURES))


def shown(function: Function) -> list[dict[str, object]]:
    """A function's parameters as /functions shows them, without options."""
    shown = []
    for param in function.params:
        default = "inf" if param.default == math.inf else param.default
        fields = {
            "name": param.name,
            "type": param.type,
            "required": param.required or None,
            "default": default,
            "multiple": param.multiple or None,
            "suggestions": list(param.suggestions) if param.suggestions else None,
        }
        shown.append({key: value for key, value in fields.items() if value is not None})
    return shown


@pytest.mark.parametrize("name", BOTH)
def test_groups_and_parameters_are_graphite_webs(name: str) -> None:
    ours, theirs = REGISTRY.functions[name], SIGNATURES[name]
    params = [{key: value for key, value in param.items() if key != "options"} for param in theirs["params"]]
    assert ours.group == theirs["group"]
    assert (shown(ours) == params) is (name not in DEPARTURES)


@pytest.mark.parametrize("name", BOTH)
def test_options_are_at_least_graphite_webs(name: str) -> None:
    # ours may have parameters beyond, see DEPARTURES
    for ours, theirs in zip(REGISTRY.functions[name].params, SIGNATURES[name]["params"], strict=False):
        if ours.options is not None:
            assert set(theirs["options"]) <= set(ours.options)


@pytest.mark.parametrize("name", sorted(REGISTRY.functions))
def test_an_example_shows_every_function_and_gives_series(name: str, golden_source: MemorySource) -> None:
    function = REGISTRY.functions[name]
    names = [other for other, one in REGISTRY.functions.items() if one.run is function.run]
    examples = [
        line.partition("Example: ")[2] for line in function.description.splitlines() if "Example: " in line
    ]
    assert any(f"{other}(" in example for other in names for example in examples)
    for example in examples:
        assert ask(golden_source, example)


@pytest.mark.parametrize("name", sorted(REGISTRY.functions))
def test_no_function_changes_what_was_fetched(name: str, golden_source: MemorySource) -> None:
    """A request reads a pattern once, so that what a function changed all others would see."""
    example = REGISTRY.functions[name].description.partition("Example: ")[2].splitlines()[0]
    paths = sorted({pattern.text for pattern in patterns(parse(example))})
    lists = render(
        golden_source, [*paths, example], start=START, until=UNTIL, now=NOW, zone=UTC, extras=EXTRAS
    )
    for path, found in zip(paths, lists, strict=False):
        fresh = ask(golden_source, path)
        assert (found.names, found.tags) == (fresh.names, fresh.tags)
        assert values(found) == values(fresh)


# --- what is wrong with an argument ---

WRONG: dict[str, object] = {
    "seriesList": 5, "seriesLists": 5, "float": "much", "integer": 1.5, "intOrInf": "much", "boolean": "maybe",
    "string": 5, "node": "one", "nodeOrTag": 1.5, "tag": 5, "interval": "1 h", "intOrInterval": "1 h",
    "aggFunc": "averge", "aggOrSeriesFunc": "averge", "date": "whenever",
}  # fmt: skip
PARAMETERS = [
    (name, param)
    for name, one in sorted(REGISTRY.functions.items())
    for param in one.params
    if param.type != "any"
]


@pytest.mark.parametrize(("name", "param"), PARAMETERS, ids=lambda p: p if isinstance(p, str) else p.name)
def test_a_wrong_argument_is_told_with_function_parameter_and_what_it_takes(name: str, param: Param) -> None:
    with pytest.raises(ArgumentError) as error:
        convert(REGISTRY.functions[name], param, WRONG[param.type])
    said = str(error.value)
    assert (error.value.function, error.value.argument) == (name, param.name)
    assert said.startswith(f"{name}(): {param.name}: ")
    assert "takes" in said or "perhaps 'average'" in said or "perhaps 'averageSeries'" in said


def test_one_of_several_words_is_told_with_the_nearest_and_all() -> None:
    consolidate_by = REGISTRY.functions["consolidateBy"]
    with pytest.raises(ArgumentError, match=r"'maxx' is not one of sum, average, .*, perhaps 'max'"):
        convert(consolidate_by, consolidate_by.params[1], "maxx")


def test_a_callback_may_be_a_function_and_is_told_with_the_nearest_of_both() -> None:
    callback = next(param for param in REGISTRY.functions["groupByNode"].params if param.name == "callback")
    group_by_node = REGISTRY.functions["groupByNode"]
    assert convert(group_by_node, callback, "asPercent") == "asPercent"
    with pytest.raises(ArgumentError, match=r"no aggregation 'sun', perhaps 'sum'; .* and functions"):
        convert(group_by_node, callback, "sun")


def test_a_misspelled_parameter_has_a_nearest() -> None:
    summarize = REGISTRY.functions["summarize"]
    assert summarize.near("interval_string") == "intervalString"
    assert summarize.near("fun") == "func"
    assert summarize.near("zzz") is None


# --- what can be registered ---


def made(name: str, *params: Param) -> Function:
    def run(context: object, series: SeriesList) -> SeriesList:
        """Nothing is changed. A second sentence.

        Example: one(a)
        Example: one(b)
        """
        return series

    return Function(name, "Ours", params or (SERIES,), run)


def test_all_names_of_a_function_are_registered_or_none() -> None:
    registry = Registry()
    registry.add(["one"], made)
    with pytest.raises(ValueError, match=r"two functions are called 'one': .*test_registry, line \d+, and "):
        registry.add(["two", "one"], made)
    assert set(registry.functions) == {"one"}
    registry.remove(["one", "two"])
    assert not registry.functions


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (made("a b"), "'a b' is no name that a target can have"),
        (made("9lives"), "'9lives' is no name"),
        (made("one", SERIES, Param("n", "int")), r"one\(\): n has the type 'int'; there are seriesList"),
        (made("one", SERIES, Param("n", "integer")), "cannot be called with the context and 2 parameters"),
    ],
)
def test_what_no_target_could_call_is_not_registered(function: Function, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Registry().add([function.name], lambda name: function)


def test_a_manual_is_read_from_the_docstring() -> None:
    one = made("one")
    assert one.summary == "Nothing is changed."
    assert one.examples == ["one(a)", "one(b)"]
    assert re.fullmatch(r"tests\.render\.functions\.test_registry, line \d+", one.place)


def test_short_forms_are_found_from_either_name() -> None:
    assert REGISTRY.others(REGISTRY.functions["pct"]) == ["asPercent"]
    assert REGISTRY.others(REGISTRY.functions["asPercent"]) == ["pct"]
    assert REGISTRY.others(REGISTRY.functions["absolute"]) == []
