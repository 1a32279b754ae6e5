"""What holds for all tests."""

import os

import pytest
from hypothesis import settings

from tests.effort import tries

# whichever test comes to a kernel first waits seconds until it is compiled; CI draws the same examples each time, so
# that a change is judged by itself, and `make test` others every time
settings.register_profile(
    "plumbago", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=tries(100)
)
settings.load_profile("plumbago")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for processes comes first, kills before all: one worker begins with it, while others compute."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("longer"):
        return 0
    return 1 if item.get_closest_marker("slow") or "e2e" in item.path.parts else 2
