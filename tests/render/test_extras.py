from __future__ import annotations

from pathlib import Path

import pytest

from render import extras, settings
from render.errors import ArgumentError, Unavailable
from render.extras import Extras
from storage.errors import InvalidConfig

BOTH = """
[functions.define]
perMinute = "perSecond({{.argString}})|scale(60)"

[lookup.redis]
url = "redis://:secret@127.0.0.1:1/0"
keys = ["hosts"]

[lookup.postgres.inventory]
dsn = "host=127.0.0.1 port=1 password=secret"

[lookup.postgres.inventory.queries]
owner = "SELECT owner FROM hosts WHERE name = %s AND dc = %s"
"""


def read(folder: Path, text: str) -> Extras:
    (folder / "plumbago.toml").write_text(text)
    return extras.of(settings.load(folder))


def test_what_the_file_names_can_be_used_and_nothing_else(tmp_path: Path) -> None:
    found = read(tmp_path, BOTH)
    assert found.macros.expand("perMinute(a)") == "perSecond(a)|scale(60)"
    assert found.lookups.hash("f", "hosts").width == 1
    assert found.lookups.query("f", "inventory", "owner").width == 2
    for table in (found.lookups.hash("f", "hosts"), found.lookups.query("f", "inventory", "owner")):
        with pytest.raises(Unavailable):  # nobody is there; it was not asked before
            table.ask([("x",) * table.width])
    with pytest.raises(ArgumentError):
        found.lookups.hash("f", "others")


def test_without_tables_there_is_nothing(tmp_path: Path) -> None:
    found = extras.of(settings.load(tmp_path))
    assert found.macros.expand("perMinute(a)") == "perMinute(a)"
    with pytest.raises(ArgumentError, match=r"plumbago\.toml"):
        found.lookups.hash("f", "hosts")


@pytest.mark.parametrize("name", ["scale", "template", "sumSeries"])
def test_a_macro_stands_for_no_function(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=f"{name}: is a function's name: choose another"):
        read(tmp_path, f'[functions.define]\n{name} = "x"\n')


def test_a_url_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"\[lookup.redis\] url: "):
        read(tmp_path, '[lookup.redis]\nurl = "http://x"\nkeys = ["a"]\n')


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "plumbago.toml").write_text(BOTH)
    assert "secret" not in repr(settings.load(tmp_path))
