from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from tests.render.api.store import ask, house
from tests.render.test_server import LOCKED, Client


def test_health_tells_series_generation_and_uptime() -> None:
    to = house()
    answer = json.loads(ask("/health", to).body)
    assert answer == {
        "status": "ok",
        "series": len(to.source),
        "generation": 7,
        "uptime_s": 60,
        "ready": True,
        "reasons": [],
    }


def test_ready_is_200_or_503_with_the_reasons_and_live_is_200_even_so() -> None:
    good, bad = house(), replace(house(), not_ready=lambda: ["no worker", "disk"])
    assert (ask("/health/ready", good).status, ask("/health/ready", bad).status) == (200, 503)
    assert json.loads(ask("/health/ready", good).body) == {"ready": True, "reasons": []}
    answer = json.loads(ask("/health/ready", bad).body)
    assert answer == {"error": "not ready: no worker; disk", "ready": False, "reasons": ["no worker", "disk"]}
    assert (ask("/health/live", bad).status, json.loads(ask("/health/live", bad).body)) == (
        200,
        {"live": True},
    )
    assert ask("/health", bad).status == 200
    assert json.loads(ask("/health", bad).body)["reasons"] == ["no worker", "disk"]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_whoever_reaches_the_server_may_ask_whether_it_is_there(path: str) -> None:
    client = Client(door=LOCKED)
    answer = client.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert set(answer.json) <= {"live", "ready", "reasons"}
    assert client.ask("GET", "/health").status == 401


def test_version_is_one_that_grafana_takes_for_semantic() -> None:
    version = json.loads(ask("/version").body)
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert version == "1.1.10"
