"""The last part of docs/compatibility.md, made of the golden tests' tables: `python -m tests.compatibility_page`.

What stands above it is written by hand; test_docs_of_render.py looks at both.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.render.differential.departures import DEPARTURES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
_GOLDEN = "## Every golden target that is answered otherwise"


def page() -> str:
    """The page as it should be: its first part as it is, the tables anew."""
    return written() + "\n" + golden_part()


def written() -> str:
    """What is written by hand."""
    return PAGE.read_text().partition(_GOLDEN)[0].rstrip("\n") + "\n"


def departures() -> dict[str, dict[str, str]]:
    """By family the golden targets that are answered otherwise, and why."""
    found = {}
    for path in sorted((ROOT / "tests" / "render" / "functions").glob("test_*.py")):
        module = importlib.import_module(f"tests.render.functions.{path.stem}")
        if hasattr(module, "test_we_answer_as_graphite_web_does") and getattr(module, "DEPARTURES", None):
            found[path.stem.removeprefix("test_")] = dict(module.DEPARTURES)
    return found


def golden_part() -> str:
    lines = [
        _GOLDEN,
        "",
        "Made of the tests' tables by `python -m tests.compatibility_page`. Where graphite-web fails, so does the",
        "comparison unless we refuse the target, too.",
    ]
    for family, targets in departures().items():
        lines += ["", f"### {family}", "", f"`tests/render/functions/test_{family}.py::DEPARTURES`", ""]
        lines += ["| target | here, and why |", "| --- | --- |"]
        lines += [f"| {_code(target)} | {_cell(reason)} |" for target, reason in targets.items()]
    lines += ["", "### Drawn cases", "", "`tests/render/differential/departures.py::DEPARTURES`", ""]
    lines += ["| functions (an expression) | here, and why |", "| --- | --- |"]
    lines += [f"| {_code(one.functions)} | {_cell(one.reason)} |" for one in DEPARTURES]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page())
