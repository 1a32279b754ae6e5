from __future__ import annotations

import json
import math
from datetime import UTC
from pathlib import Path

import pytest

from render.functions import REGISTRY
from render.functions.registry import Function
from render.plan import render
from render.target import parse, patterns
from tests.render import golden
from tests.render.functions.asking import ask, values
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
    for ours, theirs in zip(REGISTRY.functions[name].params, SIGNATURES[name]["params"], strict=True):
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
        (found,) = render(golden_source, [example], start=START, until=UNTIL, now=NOW, zone=UTC)
        assert found


@pytest.mark.parametrize("name", sorted(REGISTRY.functions))
def test_no_function_changes_what_was_fetched(name: str, golden_source: MemorySource) -> None:
    """A request reads a pattern once, so that what a function changed all others would see."""
    example = REGISTRY.functions[name].description.partition("Example: ")[2].splitlines()[0]
    paths = sorted({pattern.text for pattern in patterns(parse(example))})
    lists = render(golden_source, [*paths, example], start=START, until=UNTIL, now=NOW, zone=UTC)
    for path, found in zip(paths, lists, strict=False):
        fresh = ask(golden_source, path)
        assert (found.names, found.tags) == (fresh.names, fresh.tags)
        assert values(found) == values(fresh)
