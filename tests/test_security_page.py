"""docs/security.md names tests that are there, and the sources have nothing that it says they have not."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CLIENTS = {
    "aiohttp",
    "ftplib",
    "http.client",
    "httpx",
    "requests",
    "smtplib",
    "twisted.web.client",
    "urllib.request",
}
TWISTED_MIN = (
    24,
    7,
)  # before it: answers mixed up on a connection, a redirect's page with what was asked for in it


def sources() -> Iterator[Path]:
    yield ROOT / "plumbago.py"
    for wing in ("carbon", "render", "storage"):
        yield from sorted((ROOT / wing).rglob("*.py"))


def rows() -> list[str]:
    """Those of the tables, without their heads."""
    return [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| item", "| ---"))
    ]


@pytest.mark.parametrize(("path", "name"), sorted(set(_NAMED.findall(PAGE))))
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_item_has_a_decision_and_a_test() -> None:
    assert len(rows()) > 40
    for row in rows():
        item, decision, tests = (cell.strip() for cell in row.strip("|").split(" | "))
        assert item, row
        assert decision, row
        assert _NAMED.sub("", tests).replace(",", "").strip() == "", row
        assert _NAMED.search(tests), row


def test_no_server_fetches_anything_for_those_who_ask() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in sources() if CLIENTS & set(_imported(path))}
    assert found == {"render/cli.py"}  # `plumbago query --url`


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_text_becomes_code_or_a_command() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {
                    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.load", "numpy.load",
                }, f"{path}:{node.lineno}"  # fmt: skip
                assert "shell" not in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


def test_twisted_is_one_without_the_holes_that_are_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [text for text in project["dependencies"] if text.startswith("twisted")]
    found = re.fullmatch(r"twisted\[tls\]>=(\d+)\.(\d+)", wanted)
    assert found is not None, wanted
    assert (int(found[1]), int(found[2])) >= TWISTED_MIN
