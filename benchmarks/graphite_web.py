"""Answers GETs with graphite-web in this very process; peers.py runs it with the peers' Python.

stdin: {"folder", "url", "runs"} as JSON, whisper files are in folder/whisper; stdout: {"seconds", "body"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

_TIMEOUT_S = 600.0  # graphite-web gives up after 3 s and answers without the rest


def main() -> None:
    asked = json.load(sys.stdin)
    get = _graphite_web(Path(asked["folder"]))
    get(asked["url"])  # the first compiles patterns and imports the rest
    taken, body = [], b""
    for _ in range(asked["runs"]):
        started = time.perf_counter()
        body = get(asked["url"])
        taken.append(time.perf_counter() - started)
    json.dump({"seconds": taken, "body": body.decode()}, sys.stdout)


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
