"""The power is cut at random instants: what is older than the sync interval is there, and nothing was made up.

The store asks for the boot's id, which a cut here does not change, so the folder is told of another one.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.disks import Ext4, needs_root
from tests.torture.harness import Torture

pytestmark = [pytest.mark.timeout(4 * 3600), pytest.mark.slow, needs_root()]

SYNC_S = 0.5
BOUND_S = SYNC_S + 1.0
_CUTS = 200 if os.environ.get("PLUMBAGO_TORTURE") == "full" else 50
_DISK_BYTES = 1 << 30


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Ext4]:
    with Ext4(tmp_path / "disk", _DISK_BYTES) as disk:
        yield disk


def cut(torture: Torture, disk: Ext4, after_s: float) -> None:
    """Send for so long, cut the power, and bring all up again."""

    def end() -> None:
        disk.cut()
        torture.receiver.kill()

    torture.send_until(after_s, end)
    disk.mount_again()
    torture.data.mkdir(exist_ok=True)
    (torture.data / "boot").write_text("the boot before the power was cut")
    torture.start()


@pytest.mark.parametrize("cuts", [2, pytest.param(_CUTS, marks=pytest.mark.torture)])
def test_a_power_cut_costs_at_most_the_sync_interval(tmp_path: Path, disk: Ext4, cuts: int) -> None:
    seed = random.randrange(1 << 32)
    torture = Torture(tmp_path, seed, data=disk.folder / "data", options=["--sync", str(SYNC_S)])
    torture.start()
    try:
        lost, loss_s, unrolled = 0, 0.0, 0
        for number in range(cuts):
            cut(torture, disk, torture.chance.uniform(0.1, 3.0))
            found = torture.examine(rolled_up=True)
            lost, loss_s, unrolled = lost + found.lost, max(loss_s, found.loss_s), found.unrolled
            said = f"cut {number} with seed {seed}: {found}"
            assert not found.invented, said
            assert found.loss_s <= BOUND_S, said
    finally:
        torture.receiver.kill()
        torture.receiver.gone()
    sent = len(torture.ledger)
    print(
        f"{cuts} cuts, {sent} sent, {lost} lost (read up to {loss_s:.3f} s before), {unrolled} not rolled up"
    )


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("eatmydata") is None, reason="eatmydata is not installed")
def test_without_syncs_a_power_cut_costs_more(tmp_path: Path, disk: Ext4) -> None:
    """The test above can fail: eatmydata makes every sync do nothing."""
    torture = Torture(
        tmp_path, 1, data=disk.folder / "data", options=["--sync", str(SYNC_S)], command=["eatmydata"]
    )
    torture.start()
    try:
        cut(torture, disk, BOUND_S + 1.5)
        found = torture.examine(rolled_up=True)
    finally:
        torture.receiver.kill()
        torture.receiver.gone()
    assert found.loss_s > BOUND_S, found
    print(f"without syncs: {found.lost} of {found.read} lost, read up to {found.loss_s:.3f} s before")
