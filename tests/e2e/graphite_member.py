"""graphite-web 1.1.10 as the head of a cluster: GETs, answered in this very process of the peers' Python.

    PYTHON_WITH_GRAPHITE_WEB graphite_member.py < {"folder", "servers", "post", "events", "urls"}

writes [[status, body in base64], …]. It has no files of its own: all that it knows, but for the events that it is
given first, it asks of `servers`.
"""

# It runs in another Python, whose packages are not here:
# mypy: ignore-errors
from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from types import ModuleType


def main() -> None:
    asked = json.load(sys.stdin)
    client = graphite_web(Path(asked["folder"]), asked["servers"], asked["post"])
    for event in asked["events"]:
        client.post("/events/", json.dumps(event), content_type="application/json")
    answers = []
    for url in asked["urls"]:
        answer = client.get(url)
        answers.append([answer.status_code, base64.b64encode(answer.content).decode()])
    json.dump(answers, sys.stdout)


def graphite_web(folder: Path, servers: list[str], post: bool):
    settings = ModuleType("member_settings")
    settings.__dict__.update(
        SECRET_KEY="member",
        STORAGE_DIR=str(folder),
        WHISPER_DIR=str(folder / "whisper"),
        LOG_DIR=str(folder),
        LOG_ROTATION=False,
        TIME_ZONE="UTC",
        CARBONLINK_HOSTS=[],
        CLUSTER_SERVERS=servers,
        REMOTE_STORE_USE_POST=post,
        FIND_TIMEOUT=30.0,
        FETCH_TIMEOUT=30.0,
        TAGDB="graphite.tags.base.DummyTagDB",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    (folder / "whisper").mkdir()
    sys.modules["member_settings"] = settings
    os.environ["GRAPHITE_SETTINGS_MODULE"] = "member_settings"
    os.environ["DJANGO_SETTINGS_MODULE"] = "graphite.settings"
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0, run_syncdb=True)
    return Client(raise_request_exception=False)


if __name__ == "__main__":
    main()
