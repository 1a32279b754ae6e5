from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    asked = os.environ.get("PLUMBAGO_TORTURE", "")
    for item in items:
        if item.get_closest_marker("torture") and asked not in ("short", "full"):
            item.add_marker(pytest.mark.skip(reason="many rounds: `make torture` runs them"))
        if item.get_closest_marker("longer") and asked != "longer":
            item.add_marker(pytest.mark.skip(reason="two hundred kills: PLUMBAGO_TORTURE=longer runs them"))
