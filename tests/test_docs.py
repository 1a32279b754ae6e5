"""What the documents repeat from the sources is what stands there."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from tests.config_page import PAGE, page

FORMAT = Path(__file__).parent.parent / "docs" / "format.md"


@pytest.mark.parametrize(
    "module", ["storage.format", "storage.codec", "storage.durable", "storage.catalogue"]
)
def test_the_format_is_described_as_the_source_specifies_it(module: str) -> None:
    specification = inspect.cleandoc(importlib.import_module(module).__doc__ or "")
    assert specification in FORMAT.read_text()


def test_the_settings_are_described_as_the_sources_have_them() -> None:
    assert PAGE.read_text() == page(), "make it anew: python -m tests.config_page"


def test_every_setting_has_words_on_the_page() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    for row in rows:
        cells = [cell.strip() for cell in row.replace("\\|", "/").split("|")[1:-1]]
        assert all(cells), row
        assert len(cells[-1]) > 3, row
