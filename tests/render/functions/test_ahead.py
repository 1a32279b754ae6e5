from __future__ import annotations

import numpy as np

from render.functions.ahead import reaching
from tests.render.functions.asking import ask
from tests.render.functions.futures import NOW, known


class Window:
    def __init__(self, until: int) -> None:
        self.until, self.now = until, NOW


def test_missing_points_reach_up_to_until_where_that_is_ahead_of_now() -> None:
    (block,) = ask(known(np.arange(9.0)), "a.*", start=NOW - 300, until=NOW + 300, now=NOW).blocks
    for seconds in (60, 61, 119, 120, 600):
        longer = reaching(Window(NOW + seconds), "x", block)  # type: ignore[arg-type]  # all that is asked for
        assert longer.values.shape[1] - block.values.shape[1] == seconds // 60
        np.testing.assert_array_equal(longer.values[:, : block.values.shape[1]], block.values)
        assert longer.end - longer.step <= NOW + seconds < longer.end


def test_a_window_that_ends_by_now_stays_as_it_is() -> None:
    (block,) = ask(known(np.arange(9.0)), "a.*", start=NOW - 300, until=NOW, now=NOW).blocks
    assert reaching(Window(NOW), "x", block) is block  # type: ignore[arg-type]  # all that is asked for


def test_a_line_of_three_points_ends_as_it_did() -> None:
    (block,) = ask(known(), "constantLine(5)", start=NOW, until=NOW + 300, now=NOW).blocks
    assert reaching(Window(NOW + 9000), "x", block) is block  # type: ignore[arg-type]  # all that is asked for
