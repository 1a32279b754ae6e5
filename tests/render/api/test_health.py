from __future__ import annotations

import json
import re

from tests.render.api.store import ask, house


def test_health_tells_series_generation_and_uptime() -> None:
    to = house()
    answer = json.loads(ask("/health", to).body)
    assert answer == {"status": "ok", "series": len(to.source), "generation": 7, "uptime_s": 60}


def test_version_is_one_that_grafana_takes_for_semantic() -> None:
    version = json.loads(ask("/version").body)
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert version == "1.1.10"
