"""Answers given again, by way of /render over series in memory that go on growing."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import numpy as np
import pytest

from render.api import House, Response, respond
from render.api.cache import Cache
from render.api.render import view
from render.config import CacheBounds
from render.formats import FORMATS, Presentation
from render.functions import REGISTRY
from render.reading import Request
from render.series import SeriesList
from tests.render.api.store import MemoryStore
from tests.render.functions import asking
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import MemorySource

STEP = 60
HERE = NOW - NOW % STEP  # the newest slot


class Living(MemoryStore):
    """A store whose series get datapoints."""

    def put(self, path: str, at: int, value: float) -> None:
        place = self._paths.index(path)
        start, step, values = self._points[place]
        index = (at - start) // step
        longer = np.full(max(len(values), index + 1), np.nan)
        longer[: len(values)] = values
        longer[index] = value
        self._points[place] = start, step, longer


class Shop:
    """A house with a cache, asked at any time; `hits` counts what came from the cache."""

    def __init__(self, bytes_max: int = 1 << 20) -> None:
        self.store = Living()
        for path in ("a.b", "a.c"):
            self.store.add(path, HERE - 3600, STEP, [float(i) for i in range(60)])
        self.cache = Cache(CacheBounds(bytes_max=bytes_max))
        self.house = House(self.store, cache=self.cache)

    def ask(self, now: int = HERE + 5, **params: str) -> Any:
        given = {"target": "a.*", "from": "-30min", "format": "json", **params}
        response: Response = respond(
            view, {name.rstrip("_"): [text] for name, text in given.items()}, self.house, now
        )
        assert response.status == 200, response.body
        return json.loads(response.body)

    @property
    def hits(self) -> int:
        return self.cache.statistics().hits


def test_the_same_question_in_the_same_step_is_answered_once() -> None:
    shop = Shop()
    first = shop.ask(HERE + 5)
    assert shop.ask(HERE + 20) == first
    assert (shop.hits, shop.cache.statistics().misses) == (1, 1)
    assert shop.ask(HERE + STEP) != first  # its window begins a step later
    assert shop.hits == 1


def test_a_new_datapoint_is_never_missing() -> None:
    shop = Shop()
    shop.ask(HERE + 5)
    shop.store.put("a.c", HERE, 99.0)
    assert [99.0, HERE] in shop.ask(HERE + 6)[1]["datapoints"]
    shop.store.put("a.c", HERE - STEP, 98.0)  # another value for a slot that was there
    assert [98.0, HERE - STEP] in shop.ask(HERE + 7)[1]["datapoints"]
    assert shop.hits == 0


def test_a_late_datapoint_is_missing_for_no_longer_than_the_setting_says() -> None:
    shop = Shop()
    first = shop.ask(HERE, from_="-50min", until="-20min")
    shop.store.put("a.b", HERE - 40 * STEP, 77.0)
    assert shop.ask(HERE + 59, from_=str(HERE - 50 * STEP), until=str(HERE - 20 * STEP)) == first
    later = shop.ask(HERE + 61, from_=str(HERE - 50 * STEP), until=str(HERE - 20 * STEP))
    assert [77.0, HERE - 40 * STEP] in later[0]["datapoints"]


def test_a_new_name_is_never_missing() -> None:
    shop = Shop()
    assert len(shop.ask()) == 2
    shop.store.add("a.d", HERE - 600, STEP, [1.0])
    shop.store.__dict__.pop("_index", None)
    assert len(shop.ask(HERE + 6)) == 3


def test_what_differs_in_anything_but_its_window_is_another_question() -> None:
    shop = Shop()
    assert shop.ask() != shop.ask(target="a.b")
    assert shop.ask() != shop.ask(maxDataPoints="5")
    assert shop.hits == 1  # a.* once more


def test_a_client_may_want_a_new_answer_or_take_an_old_one() -> None:
    shop = Shop()
    first = shop.ask()
    shop.ask(noCache="1")
    assert shop.hits == 0
    shop.store.put("a.b", HERE, 5.0)
    assert shop.ask(HERE + 10, cacheTimeout="30") == first
    assert shop.ask(HERE + 10) != first


def test_so_many_bytes_are_kept_of_what_was_asked_for_last() -> None:
    shop = Shop(bytes_max=60_000)
    for minute in range(5, 50):
        shop.ask(from_=f"-{minute}min")
        shop.ask(from_="-5min")
    statistics = shop.cache.statistics()
    assert 40_000 < statistics.bytes <= 60_000
    assert statistics.hits >= 45  # that which is asked for again and again stays
    assert sum(entry.bytes for entry in shop.cache._entries.values()) == statistics.bytes


def test_what_is_too_large_is_not_kept() -> None:
    shop = Shop(bytes_max=16_000)  # an entry has an eighth of it
    shop.ask()
    assert shop.cache.statistics().entries == 0


@pytest.mark.parametrize("target", ["randomWalk('x')", "timeFunction('x')", "time('t',7)", "constantLine(4)"])
def test_what_is_made_of_its_own_seconds_is_for_these_alone(target: str) -> None:
    shop = Shop()
    shop.ask(HERE + 5, target=target)
    shop.ask(HERE + 6, target=target)
    assert shop.hits == 0


def test_a_picture_is_for_its_own_window() -> None:
    shop = Shop()
    for now in (HERE + 5, HERE + 6, HERE + 6):
        params = {"target": ["a.*"], "from": ["-30min"], "format": ["svg"]}
        assert respond(view, params, shop.house, now).status == 200
    assert shop.hits == 1


# --- every function ---

EXAMPLES = sorted({example for one in REGISTRY.functions.values() for example in one.examples})


def encoded(found: SeriesList) -> bytes:
    return FORMATS["json"].encode(found, Presentation(UTC))


ODD = [
    "timeShift(servers.web1.cpu,'90s')",
    "movingAverage(servers.web1.cpu,'90s')",
    "group(servers.web1.cpu,timeFunction('x'))",
    "summarize(servers.web1.cpu,'7min','sum',true)",
    "delay(servers.web1.cpu,3)",
    "timeSlice(servers.web1.cpu,'-10min','-3min')",
]


@pytest.mark.parametrize("start", [0, 1, 9])
@pytest.mark.parametrize("until", [0, 9])
def test_one_answer_serves_all_windows_whose_ends_lie_in_the_same_steps(start: int, until: int) -> None:
    """As long as a function does not say that its answer is for its own seconds only."""
    for target in (*EXAMPLES, *ODD):
        source, seen = MemorySource.golden(), list[Request]()
        first = asking.ask(source, target, start=START, until=UNTIL, admitted=seen.append)
        request = seen[0]
        if request.is_of_one_window or not request.may_recur or not request.common_step:
            continue
        tenth = request.common_step / 10
        window = {"start": START + int(start * tenth), "until": UNTIL + int(until * tenth)}
        assert encoded(asking.ask(source, target, **window)) == encoded(first), target


def test_most_functions_answers_serve_more_than_one_window() -> None:
    """The property above says something only of these."""
    source = MemorySource.golden()
    shared = 0
    for target in EXAMPLES:
        seen: list[Request] = []
        asking.ask(source, target, admitted=seen.append)
        shared += not seen[0].is_of_one_window and seen[0].may_recur and seen[0].common_step > 0
    assert shared > 0.8 * len(EXAMPLES)
