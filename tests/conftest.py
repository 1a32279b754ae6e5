"""What holds for all tests."""

import os

from hypothesis import settings

from tests.effort import tries

# whichever test comes to a kernel first waits seconds until it is compiled; CI draws the same examples each time, so
# that a change is judged by itself, and `make test` others every time
settings.register_profile(
    "plumbago", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=tries(100)
)
settings.load_profile("plumbago")
