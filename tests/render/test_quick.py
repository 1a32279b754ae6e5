"""What the reactor's thread answers itself: kept answers, and what has been quick; the rest never."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from render.api import House, Response, route
from render.api.cache import Cache
from render.desk import Ask, Desk, Known
from render.errand import runner
from render.errors import TooHeavy
from render.extras import Extras
from render.functions import REGISTRY
from render.functions.custom import SERIES, _guard, function
from render.lookups.tables import Aliases, Key, Lookups
from render.quick import LIGHT, Luck, Quick, key_of
from render.workers import Jobs, Workers
from tests.render.api.store import NOW, MemoryStore, house

NO_WORKERS = Workers(0, Jobs(lambda question, cancelled: Response(b"")), lambda: None)


def ask(target: str, path: str = "/render", **more: str) -> Ask:
    found = route(path)
    assert found is not None
    parameters = {"target": target, "format": "json", "from": "-20min", **more}
    return Ask("1", "GET", path, found, urlencode(parameters).encode())


def lenient(clock: Callable[[], float] = time.monotonic) -> Quick:
    """Whatever the machine does beside, and though the first of all wait for kernels."""
    return Quick(clock, cpu_s=600, seconds=600)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.desk.LIGHT", LIGHT._replace(seconds=600))


def desk(to: House | None = None, quick: Quick | None = None) -> Desk:
    return Desk(to or house(), NO_WORKERS, lambda: NOW, quick or lenient())


def by_a_thread(at: Desk, asked: Ask) -> Response:
    return at.answer(asked, lambda: False)


@pytest.mark.parametrize("target", ["a.*", "sumSeries(a.*)", "x", "a.d|aliasSub('(^.*$)','\\1 A')"])
def test_what_was_quick_is_answered_at_once_the_next_time_and_just_so(target: str) -> None:
    at, asked = desk(), ask(target)
    with pytest.raises(TooHeavy):
        at.answer_at_once(asked)
    first = by_a_thread(at, asked)
    assert replace(at.answer_at_once(asked), account=None) == replace(first, account=None)


def test_a_wrong_request_is_quick_and_a_long_one_is_not_looked_at() -> None:
    at = desk()
    by_a_thread(at, ask("x", format="gif"))
    assert at.answer_at_once(ask("x", format="gif")).status == 400
    many = ask("x")._replace(
        query=b"&" * 4000, body=b"&" * 4000, form_type="application/x-www-form-urlencoded"
    )
    with pytest.raises(TooHeavy):
        at.answer_at_once(many)


def test_names_that_are_to_be_taken_in_are_for_a_thread() -> None:
    to, asked = house(), ask("a.*")
    at = desk(to)
    by_a_thread(at, asked)
    assert isinstance(to.source, MemoryStore)
    to.source.is_current = False
    with pytest.raises(TooHeavy):
        at.answer_at_once(asked)


@pytest.mark.parametrize(
    ("path", "method"), [("/events/get_data", "GET"), ("/tags/tagSeries", "POST"), ("/tags", "GET")]
)
def test_what_waits_for_others_is_never_tried(path: str, method: str) -> None:
    at, asked = desk(), ask("x", path)._replace(method=method)
    by_a_thread(at, ask("a.*"))
    with pytest.raises(TooHeavy):
        at.answer_at_once(asked)


@pytest.fixture
def custom() -> Any:
    @function("sleepy", group="Ours", params=[SERIES])
    def sleepy(context: Any, series: Any) -> Any:
        """Who knows what it does.

        Example: sleepy(a)
        """
        return series

    _guard(["sleepy"])
    yield
    REGISTRY.remove(["sleepy"])


@pytest.mark.usefixtures("custom")
@pytest.mark.parametrize(
    "target",
    [
        "grep(a.*,'d')",
        "exclude(a.*,'d')",
        "aliasSub(a.*,'d','e')",
        "aliasQuery(a.d,'d','d','%g')",
        "useSeriesAbove(a.*,-1,'d','d')",
        "seriesByTag('name=a.d')",
        "aliasByRedis(a.*,'x')",
        "sleepy(a.*)",
    ],
)
def test_users_patterns_and_what_may_wait_are_for_a_thread_each_time(target: str) -> None:
    at, asked = desk(replace(house(), extras=Extras(lookups=Lookups({"x": Anything()})))), ask(target)
    for _ in range(2):
        assert by_a_thread(at, asked).status == 200
        with pytest.raises(TooHeavy):
            at.answer_at_once(asked)


class Anything:
    width = 1

    def ask(self, keys: Sequence[Key]) -> Aliases:
        return ["x" for _ in keys]


def test_one_that_became_heavy_is_not_tried_for_a_while() -> None:
    now = 0.0
    at = desk(quick=lenient(lambda: now))
    assert isinstance(at.house.source, MemoryStore)
    start = NOW - (LIGHT.points + 1)
    at.house.source.add("a.wide", start, 1, [1.0] * (LIGHT.points + 1))
    wide = ask("a.wide", **{"from": str(start - 1)})
    key = key_of("/render", (), {"target": ["a.wide"], "format": ["json"], "from": [str(start - 1)]}, NOW)
    at.quick.took(key, 0.0, 0.0)
    with pytest.raises(TooHeavy):
        at.answer_at_once(wide)
    by_a_thread(at, wide)
    assert not at.quick.has(key)
    now = 61.0
    assert at.quick.has(key)


def test_a_kept_answer_is_given_at_once_however_long_it_took() -> None:
    at, asked = desk(replace(house(), cache=Cache()), Slow()), ask("a.*")
    first = by_a_thread(at, asked)
    again = at.answer_at_once(asked)
    assert (again.body, again.account) == (first.body, {"cache": "hit"})
    with pytest.raises(TooHeavy):
        at.answer_at_once(ask("a.*", noCache="1"))


def test_an_assistants_answer_is_given_and_kept() -> None:
    to, asked = replace(house(), cache=Cache()), ask("a.*")
    at = desk(to)
    by_a_thread(desk(house(), at.quick), asked)
    known = at.answer_at_once(asked, makes=False)
    assert isinstance(known, Known)
    given = at.assisted(asked, known, runner(to)(at.errand(asked, known)))
    assert given.body == by_a_thread(desk(), asked).body
    again = at.answer_at_once(asked, makes=False)
    assert isinstance(again, Response)
    assert (again.body, again.account) == (given.body, {"cache": "hit"})


def test_what_an_assistant_finds_too_heavy_is_not_tried_for_a_while() -> None:
    at, asked = desk(), ask("grep(a.*,'d')")
    by_a_thread(at, asked)
    known = at.answer_at_once(asked, makes=False)
    assert isinstance(known, Known)
    with pytest.raises(TooHeavy):
        at.assisted(asked, known, runner(house())(at.errand(asked, known)))
    assert not at.quick.has(known.key)


def test_a_large_kept_answer_is_for_a_thread_though_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    at, asked = desk(replace(house(), cache=Cache()), Slow()), ask("a.*")
    by_a_thread(at, asked)
    monkeypatch.setattr("render.api.cache._AT_ONCE_BYTES", 100)
    with pytest.raises(TooHeavy):
        at.answer_at_once(asked)
    assert by_a_thread(at, asked).account == {"cache": "hit"}


def test_what_was_quick_only_as_it_was_kept_is_not_quick() -> None:
    keeping, asked, quick = replace(house(), cache=Cache()), ask("a.*"), lenient()
    first = by_a_thread(desk(keeping), asked)
    again = by_a_thread(desk(keeping, quick), asked)
    assert (again.body, again.account) == (first.body, {"cache": "hit"})
    with pytest.raises(TooHeavy):
        desk(house(), quick).answer_at_once(asked)


class Slow(Quick):
    def has(self, key: int) -> bool:
        return False


# --- which requests are alike ---


def key(accepted: str = "", **parameters: str) -> int:
    return key_of("/render", (accepted,), {name: [value] for name, value in parameters.items()}, NOW)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"until": "-1h"}, {"until": "-1h"}, True),
        ({"from": str(NOW - 86_400)}, {"from": str(NOW - 90_000)}, True),
        ({"from": str(NOW - 86_400)}, {"from": str(NOW - 31_536_000)}, False),
        ({"from": "-1h"}, {"from": "-1y"}, False),
        ({"target": "a"}, {"target": "b"}, False),
        ({"target": "a"}, {"target": "a", "maxDataPoints": "3"}, False),
        ({"target": "a"}, {"target": "a", "accepted": "gzip"}, False),
        ({"from": "9" * 5000}, {"from": "8" * 5000}, False),
    ],
)
def test_requests_are_alike_but_for_windows_of_about_an_age(
    one: dict[str, str], other: dict[str, str], alike: bool
) -> None:
    assert (key(**one) == key(**other)) is alike


@pytest.mark.parametrize(
    ("cpu_s", "seconds", "is_quick"), [(0.004, 0.04, True), (0.006, 0.0, False), (0.0, 0.06, False)]
)
def test_quick_is_what_took_a_processor_little_and_waited_for_nothing(
    cpu_s: float, seconds: float, is_quick: bool
) -> None:
    quick = Quick()
    quick.took(1, cpu_s, seconds)
    assert quick.has(1) is is_quick


def test_one_that_was_quick_before_is_not_once_it_takes_long() -> None:
    quick = Quick()
    quick.took(1, 0.0, 0.0)
    quick.took(1, 1.0, 1.0)
    assert not quick.has(1)


def test_only_so_many_are_remembered_those_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.quick._REQUESTS_MAX", 3)
    quick = Quick()
    for number in (1, 2, 3, 1, 4):
        quick.took(number, 0.0, 0.0)
    assert [number for number in range(6) if quick.has(number)] == [1, 3, 4]


def test_where_looking_was_in_vain_for_long_it_is_done_seldom_until_it_is_good_again() -> None:
    luck = Luck()
    assert all(luck.says() for _ in range(63))
    assert sum(luck.says() for _ in range(80)) == 10
    luck.was_good()
    assert all(luck.says() for _ in range(63))
