from __future__ import annotations

import pytest
from hypothesis import settings

from tests.render.memory import MemorySource

# the first call of a kernel compiles it, which takes seconds
settings.register_profile("render", deadline=None)
settings.load_profile("render")


@pytest.fixture
def source() -> MemorySource:
    """The golden series in memory, of the test's own."""
    return MemorySource.golden()


@pytest.fixture(scope="session")
def golden_source() -> MemorySource:
    """The golden series in memory, for tests that only ask."""
    return MemorySource.golden()
