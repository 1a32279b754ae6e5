"""What we answer to drawn cases is what graphite-web 1.1.10 answers: every function, nasty values, many windows.

answers.json.gz has the cases of draw.py with graphite-web's answers of make.py. Where graphite-web fails we may
refuse with a RenderError or answer, which is then nobody's to compare. DEPARTURES are the rules by which answers
differ on purpose; a rule that no case needs any more fails.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.render.differential.departures import DEPARTURES, Departure
from tests.render.golden.compare import difference
from tests.render.memory import MemorySource

ANSWERS = Path(__file__).with_name("answers.json.gz")
RANDOM = re.compile(r"randomWalk(Function)?\(")  # all but its values is determined
ANSWERED_MIN = 12  # cases of each function


@cache
def drawn() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(ANSWERS.read_bytes()))
    return found


@cache
def world(number: int) -> MemorySource:
    source = MemorySource()
    for path, (start, step, values) in drawn()["worlds"][number].items():
        source.add(path, start, step, values)
    return source


def differs(case: dict[str, Any]) -> str | None:
    found = difference(case, world(case["world"]), *case["window"])
    if found is None or "error" in case:
        return None
    return None if RANDOM.match(case["target"]) and found.startswith("point ") else found


def departure(name: str, case: dict[str, Any], found: str) -> Departure | None:
    return next((one for one in DEPARTURES if one.explains(name, case, found)), None)


@pytest.mark.parametrize("name", drawn()["answers"])
def test_we_answer_drawn_cases_as_graphite_web_does(name: str) -> None:
    for case in drawn()["answers"][name]:
        found = differs(case)
        assert found is None or departure(name, case, found) is not None, (
            case["target"],
            case["window"],
            found,
        )


@pytest.mark.parametrize("name", drawn()["answers"])
def test_graphite_web_answers_enough_cases_of_each_function(name: str) -> None:
    assert sum("series" in case for case in drawn()["answers"][name]) >= ANSWERED_MIN


def test_each_departure_is_needed() -> None:
    needed: Counter[str] = Counter()
    for name, cases in drawn()["answers"].items():
        for case in cases:
            found = differs(case)
            one = None if found is None else departure(name, case, found)
            if one is not None:
                needed[one.reason] += 1
    assert {one.reason for one in DEPARTURES} == set(needed)
