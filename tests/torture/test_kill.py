"""SIGKILL at random instants: what the receiver had read a second before is there, and nothing else is."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.torture.examine import Findings
from tests.torture.harness import Torture

pytestmark = [pytest.mark.timeout(4 * 3600), pytest.mark.slow]

SETTLED_S = 1.0
_KILLS = 1000 if os.environ.get("PLUMBAGO_TORTURE") == "full" else 200
_KILLS_A_FOLDER = 25


class Kill(NamedTuple):
    """One kill, in words, and what was found before and after the next receiver was ready."""

    words: str
    before: Findings
    after: Findings


def kills(folder: Path, count: int, longest_s: float) -> Iterator[Kill]:
    """Kill receivers, each up to longest_s after its start; they sync often, readers come and go between."""
    for first in range(0, count, _KILLS_A_FOLDER):
        seed = random.randrange(1 << 32)
        (folder / str(first)).mkdir()
        torture = Torture(folder / str(first), seed, options=["--sync", "0.3"])
        torture.start()
        try:
            for number in range(first, min(count, first + _KILLS_A_FOLDER)):
                torture.send_until(torture.chance.uniform(0, longest_s), lambda: torture.receiver.kill())  # noqa: B023  # called here
                before = torture.examine(rolled_up=False)
                torture.start()
                sent = len(torture.ledger)
                yield Kill(
                    f"kill {number}, seed {seed}, {sent} sent", before, torture.examine(rolled_up=True)
                )
        finally:
            torture.receiver.kill()
            torture.receiver.gone()


@pytest.mark.parametrize(
    ("count", "longest_s"),
    [
        (5, 1.0),
        *[pytest.param(50, 1.0, marks=pytest.mark.longer, id=f"longer-{part}") for part in (1, 2, 3, 4)],
        pytest.param(_KILLS, 2.0, marks=pytest.mark.torture),
    ],
)
def test_a_killed_receiver_loses_nothing_it_had_read_a_second_before(
    tmp_path: Path, count: int, longest_s: float
) -> None:
    lost, loss_s = 0, 0.0
    for kill in kills(tmp_path, count, longest_s):
        assert not kill.before.invented + kill.after.invented, kill
        assert max(kill.before.loss_s, kill.after.loss_s) <= SETTLED_S, kill
        lost += kill.before.lost + kill.after.lost
        loss_s = max(loss_s, kill.before.loss_s, kill.after.loss_s)
    print(f"{count} kills, {lost} lost that had been read, up to {loss_s:.3f} s before; at last {kill}")


@pytest.mark.torture
def test_after_a_kill_coarse_values_are_what_the_finer_ones_roll_up_to(tmp_path: Path) -> None:
    for kill in kills(tmp_path, _KILLS // 8, 1.0):
        assert kill.after.unrolled == 0, kill
