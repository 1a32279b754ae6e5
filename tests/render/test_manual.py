"""docs/functions.md and docs/compatibility.md say what is so, and their examples run."""

from __future__ import annotations

import ast
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from render import settings
from render.cli import query_command
from render.functions import REGISTRY, custom
from storage.store import Store
from tests import compatibility_page, functions_page
from tests.render.functions.asking import ask
from tests.render.memory import MemorySource

ROOT = Path(__file__).parents[2]
PAGE = functions_page.PAGE.read_text()
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
OWN_MODULE = "ops_functions"


def prose(text: str) -> str:
    return _CODE.sub("", text)


# --- functions.md ---


def test_the_entries_are_those_of_the_registry() -> None:
    assert functions_page.page() == PAGE, "make it anew: python -m tests.functions_page"


def test_every_name_is_found_on_the_page() -> None:
    headings = set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
    also = {name for line in re.findall(r"also (`.*`)", PAGE) for name in re.findall(r"`(\w+)`", line)}
    assert headings | also == set(REGISTRY.functions)
    assert not headings & also


def test_links_lead_to_one_heading_each() -> None:
    anchors = Counter(
        functions_page.anchor(heading)
        for heading in re.findall(r"^#+ (.*)$", _CODE.sub("", PAGE), re.MULTILINE)
    )
    assert {anchor for anchor, times in anchors.items() if times > 1} == set()
    links = set(re.findall(r"\]\(#([^)]*)\)", PAGE))
    assert len(links) > 150
    assert links <= set(anchors)


def test_every_function_has_words_and_an_example() -> None:
    for function in REGISTRY.functions.values():
        assert len(function.summary) > 15, function.name
        assert function.examples, function.name


def test_words_of_a_docstring_are_no_markup() -> None:
    for function in REGISTRY.functions.values():
        text = prose("\n".join(line for line in function.description.splitlines() if "Example: " not in line))
        assert not re.search(r"[*<>]", text), function.name


def guide() -> list[str]:
    """The targets of the table at the page's begin."""
    table = functions_page.written().partition("## Which function")[2].partition("\n## ")[0]
    rows = [line.replace("\\|", "\0").split("|") for line in table.splitlines() if line.startswith("| ")]
    return [row[2].strip().strip("`").replace("\0", "|") for row in rows[2:]]


@pytest.mark.parametrize("target", guide())
def test_what_the_guide_advises_gives_series(target: str, golden_source: MemorySource) -> None:
    assert ask(golden_source, target)


def test_the_guide_is_for_every_purpose() -> None:
    assert len(guide()) > 30


# --- the functions of one's own that the page shows ---


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A config folder with what the page tells to write; its functions are gone after the test."""
    before = set(REGISTRY.functions)
    (toml,) = functions_page.blocks(PAGE, "toml")
    (module,) = functions_page.blocks(PAGE, "python")
    (tmp_path / "plumbago.toml").write_text(toml)
    (tmp_path / f"{OWN_MODULE}.py").write_text(module)
    yield tmp_path
    REGISTRY.remove(set(REGISTRY.functions) - before)
    sys.modules.pop(OWN_MODULE, None)


def test_the_module_on_the_page_works(own: Path, golden_source: MemorySource) -> None:
    assert custom.load(settings.load(own).functions.modules, own) == ["headroom", "room", "imbalance"]
    for name in ("headroom", "imbalance"):
        for example in REGISTRY.functions[name].examples:
            assert ask(golden_source, example)
    (found,) = ask(golden_source, "room(constantLine(50),200)")
    assert (found.name, found.values.tolist()) == ("headroom(50.0,200)", [75.0] * 3)
    (found,) = ask(golden_source, "imbalance(group(constantLine(1),constantLine(3)))")
    assert found.values.tolist() == [1.5] * 3


def test_a_query_of_the_command_line_has_the_module_of_its_config_folder(own: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = Store(data)
    now = int(time.time())
    store.append(store.create(["servers.web1.mem"]), np.array([now - 60]), np.array([50.0]), now)
    store.close()
    asked = [
        "room(servers.*.mem,200)",
        "--data",
        str(data),
        "--from",
        "-5min",
        "--format",
        "csv",
        "--tz",
        "UTC",
    ]
    shown = CliRunner().invoke(query_command, [*asked, "--config", str(own)])
    assert shown.exit_code == 0, shown.output
    assert [line.rsplit(",", 1)[1] for line in shown.stdout.splitlines() if not line.endswith(",")] == [
        "75.0"
    ]


def test_a_module_that_cannot_be_used_is_one_line_at_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "plumbago.toml").write_text('[functions]\nmodules = ["no_such_module_here"]\n')
    shown = CliRunner().invoke(query_command, ["a", "--config", str(tmp_path), "--data", str(tmp_path)])
    assert shown.exit_code == 1
    assert shown.stderr.startswith(
        "plumbago: [functions] modules: no_such_module_here: there is no such module"
    )
    assert shown.stderr.count("\n") == 1


# --- compatibility.md ---


def test_the_departures_are_those_of_the_golden_tests() -> None:
    assert compatibility_page.page() == compatibility_page.PAGE.read_text(), (
        "make it anew: python -m tests.compatibility_page"
    )


def named_tests() -> list[tuple[str, str]]:
    """The tests that the page names: file and name."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", compatibility_page.PAGE.read_text())


@pytest.mark.parametrize(("path", "name"), sorted(set(named_tests())))
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert name in names


def test_every_line_by_hand_names_its_test() -> None:
    rows = [line for line in compatibility_page.written().splitlines() if line.startswith("| ")]
    told = [row for row in rows if not re.match(r"\| (what|---)", row)]
    assert len(told) > 20
    for row in told:
        assert re.search(r"\| `tests/[^`]*::\w+` \|$", row), row
