"""Functions of which each series makes its own of the outcome: series by series they give what they give of all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC

import pytest

from render.config import Limits
from render.errors import RenderError, TargetError
from render.functions import REGISTRY
from render.plan import Context
from render.reading import Part, Request, Window
from render.series import SeriesList
from render.target import Call, Pattern, parse
from tests.render.golden.compare import HERE
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource

SEVERAL = [Pattern("servers.*.cpu", 1), Pattern("servers.*.*", 1), Pattern("odd.*", 1)]
EACH = {name: function for name, function in REGISTRY.functions.items() if function.each}


def context(source: MemorySource) -> Context:
    return Context(Window(START, UNTIL), NOW, UTC, None, {}, Request(source, Limits()))


def calls() -> Iterator[tuple[Call, Pattern]]:
    """The golden targets and the manual's examples that call such a function on a pattern."""
    texts = [line for path in sorted(HERE.glob("targets_*.txt")) for line in path.read_text().splitlines()]
    texts += [example for function in EACH.values() for example in function.examples]
    for text in texts:
        try:
            node = parse(re.sub(r"^xFilesFactor=\S+ ", "", text))
        except TargetError:  # a comment, or there to be refused
            continue
        if (
            isinstance(node, Call)
            and node.function in EACH
            and node.args
            and isinstance(node.args[0], Pattern)
        ):
            yield node, node.args[0]
            for pattern in SEVERAL:
                yield replace(node, args=(pattern, *node.args[1:])), pattern


def shown(series: SeriesList) -> list[str]:
    return sorted(f"{one._replace(values=None)} {one.values.tobytes()!r}" for one in series)


@pytest.mark.parametrize("name", sorted(EACH))
def test_series_by_series_it_gives_the_same(name: str) -> None:
    source, tried = MemorySource.golden(), 0
    for call, pattern in calls():
        if EACH[call.function].run is not EACH[name].run:
            continue
        whole = context(source)
        try:
            wanted = whole.evaluate(call)
        except RenderError:
            continue
        count = len(whole.request.find(pattern.text).series)
        parts = [replace(whole, part=Part(pattern.text, slice(i, i + 1))) for i in range(count)]
        found = SeriesList.concat(part.evaluate(call) for part in parts)
        assert shown(found) == shown(wanted), call.text
        tried += count > 1
    assert tried


def test_none_of_them_looks_at_another_list() -> None:
    for name, function in EACH.items():
        assert not function.lazy, name
        kinds = [param.type for param in function.params]
        assert kinds[0] == "seriesList", name
        assert not {"seriesList", "seriesLists", "any"} & set(kinds[1:]), name
