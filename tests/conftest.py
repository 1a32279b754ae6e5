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
    """What waits for processes comes first, with one worker, while others compute; each begins with some of the kills.

    A worker begins with its part of all tests, in their order, and takes from the end of another's when it has none.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    longest = [item for item in items if item.get_closest_marker("longer")]
    items.sort(key=_turn)
    for number, item in enumerate(longest):
        items.remove(item)
        items.insert(len(items) * (number % workers) // workers + workers, item)


def _turn(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is None and "e2e" not in item.path.parts
