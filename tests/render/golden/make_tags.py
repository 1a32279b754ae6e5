"""Ask graphite-web's /tags, on its own database of tags, and keep what it answers: run by a Python that has it.

    python tests/render/golden/make_tags.py

Each line of targets_tags.txt is a method, a path with its query and, after POST, a form. The answers are in
tags.json, after the series that were tagged first; a line may delete some.
"""

import json
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

PATHS = [
    "load;dc=east;host=a",
    "load;dc=east;host=b",
    "load;dc=west;host=c",
    "temp;dc=west;host=c",
    "disk.used;host=a;mount=/",
    "disk.used;host=ab;mount=/var/log",
    "disk.free;host=a.b;mount=/;unit=B",
    "http;code=200;path=a=b",
    "Load;dc=East;host=A",
    "größe;ort=münchen;zähler=ä",
]


def main() -> None:
    lines = (HERE / "targets_tags.txt").read_text().splitlines()
    asked = [line for line in lines if line.strip() and not line.startswith("#")]
    with tempfile.TemporaryDirectory() as folder:
        client = graphite_web(pathlib.Path(folder))
        for path in PATHS:
            if client.post("/tags/tagSeries", {"path": path}).json() != path:
                raise SystemExit(f"{path!r} is not canonical")
        answers = [answer(client, line) for line in asked]
    lines = [json.dumps(one, separators=(",", ":")) for one in [PATHS, *answers]]
    (HERE / "tags.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(answers)} answers, {sum(one['status'] != 200 for one in answers)} of them errors")


def answer(client, line: str) -> dict[str, object]:
    method, _, rest = line.partition(" ")
    url, _, form = rest.partition(" ")
    if method == "GET":
        response = client.get(url)
    else:
        response = client.post(url, form, content_type="application/x-www-form-urlencoded")
    body = without_ids(json.loads(response.content)) if response.content else None
    return {"asked": line, "status": response.status_code, "body": body}


def without_ids(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_ids(one) for key, one in value.items() if key != "id"}
    return [without_ids(one) for one in value] if isinstance(value, list) else value


def graphite_web(folder: pathlib.Path):
    """A client of graphite-web with an empty database in memory."""
    (folder / "golden_settings.py").write_text(
        "SECRET_KEY = 'golden'\n"
        f"LOG_DIR = STORAGE_DIR = CONF_DIR = {str(folder)!r}\n"
        "TIME_ZONE = 'UTC'\n"
        "LOG_ROTATION = False\n"
        "ALLOWED_HOSTS = ['*']\n"
        "TAGDB_CACHE_DURATION = 0\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
    )
    sys.path.insert(0, str(folder))
    os.environ["GRAPHITE_SETTINGS_MODULE"] = "golden_settings"
    os.environ["DJANGO_SETTINGS_MODULE"] = "graphite.settings"
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", run_syncdb=True, verbosity=0)
    return Client(raise_request_exception=False)


if __name__ == "__main__":
    main()
