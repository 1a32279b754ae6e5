from __future__ import annotations

from pathlib import Path

import pytest

from render import settings
from render.config import Settings
from storage.errors import InvalidConfig


def written(folder: Path, text: str) -> Path:
    (folder / "plumbago.toml").write_text(text)
    return folder


def test_without_a_folder_or_a_file_all_is_as_it_is_by_default(tmp_path: Path) -> None:
    assert settings.load(None) == settings.load(tmp_path) == Settings()


def test_the_modules_are_read_and_other_tables_passed_over(tmp_path: Path) -> None:
    text = 'line-port = 2003\n[limits]\nanything = 1\n[functions]\nmodules = ["ops_functions", "our.own"]\n'
    assert settings.load(written(tmp_path, text)).functions.modules == ("ops_functions", "our.own")
    one = settings.load(written(tmp_path, '[functions]\nmodules = "alone"\n'))
    assert one.functions.modules == ("alone",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("functions = 5", r"plumbago\.toml:1: functions: is no table: write \[functions\]"),
        (
            "a = 1\n[functions]\nmodule = []",
            r":3: module: no such setting in \[functions\]; there are modules",
        ),
        ("[functions]\n\n'modules' = ['ops.py!']", ":3: modules: 'ops.py!' is no module's name"),
        ("[functions]\nmodules = ['../ops']", ":2: modules: '../ops' is no module's name"),
        ("[functions]\nmodules = [5]", ":2: modules: 5 is no module's name"),
        ("[functions]\nmodules = [" + "'a'," * 65 + "]", ":2: modules: has 65 modules; at most 64"),
        ("[functions\n", ":1: file: "),
        ("[http]\nslow-s = -1", ":2: slow-s: -1 is no number of seconds from 0 to 86,400"),
        ("[http]\nslow-s = true", ":2: slow-s: True is no number"),
        ("[http]\naccess-log = 5", ":2: access-log: 5 is no text"),
        ("[functions]\ndefine = 5", ":2: define: is no table of texts"),
        ('[functions]\n[functions.define]\na = "{{.x}}"', ":2: define: a: {{.x}} is none of"),
        ('[functions.define]\na = "a(1)"', ":1: define: a uses itself: a → a"),
        ("[lookup]\nredis = 5", ":2: redis: is no table with url, keys, timeout"),
        ('[lookup.redis]\nurl = "redis://h"', ":1: redis: keys: is missing"),
        ('[lookup.redis]\nurl = "redis://h"\nkeys = []', ":1: redis: keys: .. is no list of texts"),
        ('[lookup.redis]\nurl = ""\nkeys = ["a"]', ":1: redis: url: '' is no text"),
        (
            '[lookup.redis]\nurl = "u"\nkeys = ["a"]\nhost = 1',
            ":1: redis: host: no such setting; there are url",
        ),
        (
            '[lookup.redis]\nurl = "u"\nkeys = ["a"]\ntimeout = 31',
            ":1: redis: timeout: 31 is no number of seconds",
        ),
        ("[lookup]\npostgres = 5", ":2: postgres: is no table of databases"),
        ('[lookup.postgres.x]\ndsn = "d"', "postgres: x: queries: is missing"),
        ('[lookup.postgres.x]\ndsn = "d"\nqueries = {}', "postgres: x: queries: is no table of queries"),
        (
            '[lookup.postgres.x]\ndsn = "d"\nqueries = {q = "SELECT 1"}',
            "x: queries: q: a query has a %s for each",
        ),
        (
            '[lookup.postgres.x]\ndsn = "d"\nqueries = {q = "SELECT %%s"}',
            "x: queries: q: a query has a %s for each",
        ),
        (
            '[lookup.postgres.x]\ndsn = "d"\nqueries = {q = "LIKE \'a%\' %s"}',
            "x: queries: q: a % that is no %s",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_file_line_and_key(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=said):
        settings.load(written(tmp_path, text))
