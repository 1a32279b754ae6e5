"""What the documents repeat from the sources is what stands there."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

FORMAT = Path(__file__).parent.parent / "docs" / "format.md"


@pytest.mark.parametrize(
    "module", ["storage.format", "storage.codec", "storage.durable", "storage.catalogue"]
)
def test_the_format_is_described_as_the_source_specifies_it(module: str) -> None:
    specification = inspect.cleandoc(importlib.import_module(module).__doc__ or "")
    assert specification in FORMAT.read_text()
