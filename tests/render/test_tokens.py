from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from render import tokens
from render.config import Scope
from render.token_cli import token_command

NOW = 1_700_000_000


def command(*arguments: str) -> Result:
    return CliRunner().invoke(token_command, arguments)


def test_a_token_is_found_by_itself_only_and_its_file_does_not_have_it(tmp_path: Path) -> None:
    secret = tokens.add(tmp_path, "grafana", Scope.WRITE, NOW)
    file = tmp_path / tokens.FILE
    assert secret not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    known = tokens.Tokens(tmp_path)
    found = known.find(secret, NOW)
    assert found is not None
    assert (found.name, found.scope) == ("grafana", Scope.WRITE)
    for other in (secret[:-1], secret + "=", secret.lower(), "", found.sha256):
        assert known.find(other, NOW) is None


def test_a_running_server_sees_what_is_added_and_removed(tmp_path: Path) -> None:
    known = tokens.Tokens(tmp_path)
    assert not known.any()
    first = tokens.add(tmp_path, "a", Scope.READ, NOW)
    assert known.any()
    assert known.find(first, NOW)
    second = tokens.add(tmp_path, "b", Scope.READ, NOW)
    tokens.remove(tmp_path, "a")
    assert known.find(first, NOW) is None
    assert known.find(second, NOW)
    tokens.remove(tmp_path, "b")
    assert not known.any()


@given(st.integers(1, 10**9), st.integers(-(10**9), 10**9))
def test_a_token_is_over_when_its_time_is(lifetime: int, later: int) -> None:
    token = tokens.Token("a", Scope.READ, "", NOW, NOW + lifetime)
    assert token.is_over(NOW + later) == (later >= lifetime)
    assert not tokens.Token("a", Scope.READ, "", NOW).is_over(NOW + later)


def test_one_that_is_over_is_not_found_but_there_is_one(tmp_path: Path) -> None:
    secret = tokens.add(tmp_path, "a", Scope.READ, NOW, lifetime_s=10)
    known = tokens.Tokens(tmp_path)
    assert known.find(secret, NOW + 9)
    assert known.find(secret, NOW + 10) is None
    assert known.any()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"tokens": [{}]}', '{"tokens": [{"name": "a", "scope": "x"}]}']
)
def test_a_file_that_cannot_be_read_lets_nobody_in(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tokens.add(tmp_path, "a", Scope.READ, NOW)
    known = tokens.Tokens(tmp_path)
    assert known.find(secret, NOW)
    (tmp_path / tokens.FILE).write_text(text)
    with caplog.at_level(logging.ERROR):
        assert known.find(secret, NOW) is None
        assert known.any()
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match="is no file of tokens"):
        tokens.add(tmp_path, "b", Scope.READ, NOW)
    assert (tmp_path / tokens.FILE).read_text() == text


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        secrets = list(threads.map(lambda i: tokens.add(tmp_path, f"t{i}", Scope.READ, NOW), range(40)))
    known = tokens.Tokens(tmp_path)
    assert all(known.find(secret, NOW) for secret in secrets)
    assert os.listdir(tmp_path) == [tokens.FILE]


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a\n", "a" * 65, "ä", "../a"])
def test_a_name_is_a_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name of"):
        tokens.add(tmp_path, name, Scope.READ, NOW)
    assert os.listdir(tmp_path) == []


def test_the_command_line_adds_lists_and_removes(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    added = command("add", "ci", "--scope", "write", "--expires", "90d", *data)
    assert (added.exit_code, added.stderr) == (0, "This is the only time that it is shown.\n")
    secret = added.stdout.strip()
    assert tokens.Tokens(tmp_path).find(secret, NOW)
    listed = command("list", *data).stdout
    assert listed.startswith("ci ")
    assert " write " in listed
    assert ", until " in listed
    assert secret not in listed
    assert command("remove", "ci", *data).exit_code == 0
    assert command("list", *data).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("remove", "none"), 1, "plumbago: there is no token 'none'"),
        (("add", "a b"), 1, "plumbago: 'a b' is no name"),
        (("add", "a", "--expires", "0d"), 2, "'0d' is no age"),
        (("add", "a", "--scope", "none"), 2, "'none' is not one of"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = command(*arguments, "--data", str(tmp_path))
    assert done.exit_code == status
    assert said in done.stderr
