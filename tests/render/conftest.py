from __future__ import annotations

import pytest

from tests.render.memory import MemorySource


@pytest.fixture
def source() -> MemorySource:
    """The golden series in memory, of the test's own."""
    return MemorySource.golden()


@pytest.fixture(scope="session")
def golden_source() -> MemorySource:
    """The golden series in memory, for tests that only ask."""
    return MemorySource.golden()
