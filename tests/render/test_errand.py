"""A quick request that another process answers: the same as here, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from render.api import House, respond, route
from render.api.cache import Cache, Reuse
from render.errand import Errand, done, packed, runner
from render.errors import TooHeavy
from render.request import Sent
from render.transfer import sent
from tests.render.api.store import NOW, house


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.errand._SECONDS", 600)


def errand(path: str, query: str, accepted: Sequence[str] = (), known: Sequence[str] = ()) -> Errand:
    return Errand(path, Sent(parse_qs(query, keep_blank_values=True)), b"", NOW, accepted, known)


MANY = "&".join(f"target=alias(a.d,'name {i} of many')" for i in range(60))


@pytest.mark.parametrize("accepted", [(), ("gzip",), ("zstd, gzip",)])
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/render", "target=a.*&format=json&from=-20min"),
        ("/render", f"{MANY}&format=json&from=-20min"),
        ("/render", "target=a.*&format=csv&from=-20min&noCache=1"),
        ("/render", "target=nosuch(&format=json"),
        ("/render", "format=gif"),
        ("/metrics/find", "query=a.*&format=json"),
    ],
)
def test_what_comes_back_is_what_would_have_been_sent(path: str, query: str, accepted: Sequence[str]) -> None:
    to, asked = replace(house(), cache=Cache()), errand(path, query, accepted)
    found = route(path)
    assert found is not None
    here = sent(respond(found.view, asked.params, to, NOW), accepted, ())
    over, _ = done(runner(to)(packed(asked)))
    assert replace(over, account=None, reuse=None) == replace(here, account=None, reuse=None)


def test_what_may_be_given_again_comes_as_it_was_made(to: House) -> None:
    asked = errand("/render", f"{MANY}&format=json&from=-20min&until=-5min", ["gzip"])
    over, made = done(runner(to)(packed(asked)))
    assert over.headers["Content-Encoding"] == "gzip"
    assert made is not None
    assert made.body.startswith(b'[{"target":"name 0 of many"')
    assert made.reuse is not None
    assert Reuse(*made.reuse).made_at == NOW
    assert "ETag" not in made.headers


def test_a_client_that_has_it_gets_no_body_and_the_answer_is_kept(to: House) -> None:
    asked = errand("/render", "target=a.*&format=json&from=-20min&until=-5min")
    first, _ = done(runner(to)(packed(asked)))
    again, made = done(runner(to)(packed(asked._replace(known=[first.headers["ETag"]]))))
    assert (again.status, again.body) == (304, b"")
    assert made is not None
    assert made.body == first.body


@pytest.mark.parametrize(("query", "late"), [("target=grep(a.*,'d')&format=json", False)])
def test_what_is_too_heavy_is_told(to: House, query: str, late: bool) -> None:
    with pytest.raises(TooHeavy) as raised:
        done(runner(to)(packed(errand("/render", query))))
    assert raised.value.late is late


@pytest.fixture
def to() -> House:
    return replace(house(), cache=Cache())
