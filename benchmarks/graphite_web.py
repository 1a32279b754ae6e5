"""Answers GETs with graphite-web in this very process; peers.py runs it with the peers' Python.

stdin: {"folder", "url", "runs"} as JSON, whisper files are in folder/whisper; stdout: {"seconds", "body"}.
Or {"folder", "targets", "start", "until", "runs"}, to evaluate them only; stdout: {target: seconds, null where it
fails}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

_TIMEOUT_S = 600.0  # graphite-web gives up after 3 s and answers without the rest


def main() -> None:
    asked = json.load(sys.stdin)
    get = _graphite_web(Path(asked["folder"]))
    if "targets" in asked:
        json.dump({target: _evaluated(target, asked) for target in asked["targets"]}, sys.stdout)
        return
    get(asked["url"])  # the first compiles patterns and imports the rest
    taken, body = [], b""
    for _ in range(asked["runs"]):
        started = time.perf_counter()
        body = get(asked["url"])
        taken.append(time.perf_counter() - started)
    json.dump({"seconds": taken, "body": body.decode(errors="replace")}, sys.stdout)


def _evaluated(target: str, asked: dict[str, Any]) -> float | None:
    """The median seconds of the processor; None = it fails."""
    import pytz  # type: ignore[import-untyped]  # only the peers' Python has it
    from graphite.render.evaluator import evaluateTarget  # type: ignore[import-not-found]  # the same

    start, until = (datetime.fromtimestamp(asked[edge], pytz.utc) for edge in ("start", "until"))
    taken = []
    for _ in range(asked["runs"]):
        context = {
            "startTime": start, "endTime": until, "now": until, "tzinfo": pytz.utc, "template": {}, "data": [],
            "localOnly": True, "targets": [target], "xFilesFactor": None, "prefetched": {},
        }  # fmt: skip
        started = time.process_time()
        try:
            evaluateTarget(context, [target])
        except Exception:
            return None  # whatever it is: there is no time to compare
        taken.append(time.process_time() - started)
    return sorted(taken)[len(taken) // 2]


def _graphite_web(folder: Path):  # type: ignore[no-untyped-def]  # a closure over what has no types
    settings = ModuleType("benchmark_settings")
    log = folder / "log"
    log.mkdir(exist_ok=True)
    settings.__dict__.update(
        SECRET_KEY="benchmark",
        STORAGE_DIR=str(folder),
        WHISPER_DIR=str(folder / "whisper"),
        LOG_DIR=str(log),
        LOG_ROTATION=False,
        LOG_INFO_PERFORMANCE=False,
        TIME_ZONE="UTC",
        CARBONLINK_HOSTS=[],
        USE_WORKER_POOL=False,
        FIND_TIMEOUT=_TIMEOUT_S,
        FETCH_TIMEOUT=_TIMEOUT_S,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    sys.modules["benchmark_settings"] = settings
    os.environ["GRAPHITE_SETTINGS_MODULE"] = "benchmark_settings"
    os.environ["DJANGO_SETTINGS_MODULE"] = "graphite.settings"
    import django  # type: ignore[import-not-found]  # only the peers' Python has it

    django.setup()
    from django.test import Client  # type: ignore[import-not-found]

    client = Client()

    def get(url: str) -> bytes:
        answer = client.get(url)
        if answer.status_code != 200:
            raise RuntimeError(f"{url}: {answer.status_code} {answer.content[:300]!r}")
        body: bytes = answer.content
        return body

    return get


if __name__ == "__main__":
    main()
