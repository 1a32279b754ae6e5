"""Whole targets of the grammar – nested calls, pipes, templates, braces – of every function with absurd arguments.

Through the API: an answer or an error of ours, never status 500, and within the time that a request may take.
test_absurd.py has each function alone.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render.api import House, Response, respond
from render.api.render import view
from render.config import Limits
from render.functions import REGISTRY
from tests.effort import tries
from tests.render.api.store import NOW, house
from tests.render.functions.test_absurd import Absurd, Lists

DEADLINE_S = 1.0
OVERRUN_S = (
    2.0  # from a check to the next, on a machine that does other things, too; a kernel's compiling is none
)
SMALL = Limits(points_max=300_000, points_read_max=600_000, series_max=500, duration_s=DEADLINE_S)
STATUSES = {200, 400, 413, 503}

functions = st.sampled_from(sorted(REGISTRY.functions))
braces = st.lists(st.sampled_from(["web1", "db1", "", "*", "w?b[12]", "{web2}"]), min_size=1, max_size=3).map(
    lambda nodes: f"servers.{{{','.join(nodes)}}}.cpu"
)
leaves = st.one_of(Lists, Absurd, braces)


def _call(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda name, args: f"{name}({','.join(args)})", functions, st.lists(inner, max_size=4))


def _named(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A call with one argument by the name that one of its parameters has."""
    parameters = st.sampled_from(
        [(name, param.name) for name, one in sorted(REGISTRY.functions.items()) for param in one.params]
    )
    return st.builds(lambda of, first, value: f"{of[0]}({first},{of[1]}={value})", parameters, inner, Absurd)


def _piped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}|{}".format, inner, _call(leaves))


def _template(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    values = st.sampled_from(["'web1'", "1", "'*'", "host='web1'", "host='{a,b}'", "'$1'", "none"])
    paths = inner | st.sampled_from(["servers.$1.cpu", "servers.$host.*", "sumSeries(servers.${1}.cpu)"])
    return st.builds("template({},{})".format, paths, values)


nested = st.recursive(
    leaves, lambda inner: st.one_of(_call(inner), _call(inner), _named(inner), _piped(inner), _template(inner)),
    max_leaves=8,
)  # fmt: skip
junk = st.sampled_from(
    ["(", ")", "{", "}", ",", "|", "'", '"', "\\", "[", "$", "\0", "é", "  ", ";", "="]
)  # fmt: skip
broken = st.builds(
    lambda target, at, text: target[:at] + text + target[at:], nested, st.integers(0, 60), junk
)
HOUSE: House = replace(house(), limits=SMALL)


def answered(target: str) -> tuple[Response, float]:
    asked = {"target": [target], "format": ["json"], "from": ["-1h"]}
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        response = respond(view, asked, HOUSE, NOW)
    return response, time.perf_counter() - started


@given(target=nested | broken)
@settings(max_examples=tries(400), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_target_is_answered_or_refused_in_time(target: str) -> None:
    response, taken = answered(target)
    assert response.status in STATUSES, target
    assert taken < DEADLINE_S + OVERRUN_S or answered(target)[1] < DEADLINE_S + OVERRUN_S, (target, taken)
    body = json.loads(response.body)
    assert isinstance(body, list) if response.status == 200 else len(str(body)) > 10, (target, body)
