"""The disk fills up, by bytes or by files, and gets room again: nothing is lost without being counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbon.intake import Intake
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.stats import Stats
from storage.schema import Rules
from storage.store import Store
from tests.torture.disks import Ext4, needs_root
from tests.torture.examine import examine
from tests.torture.harness import Torture
from tests.torture.ledger import LATE, SWEEP, Ledger, write_rules

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.slow,
    needs_root(),
    pytest.mark.xfail(
        strict=False,
        raises=(AssertionError, OSError),
        reason="a full disk is not handled yet: the batch's OSError ends the connection",
    ),
]

FULL = [
    pytest.param({"bytes_left": 10 << 20, "files_left": 900}, id="bytes"),
    pytest.param({"bytes_left": 300 << 20, "files_left": 12}, id="files"),
]
RESUME_S = 5.0
_DISK_BYTES = 400 << 20
_PIECES = 300


@pytest.fixture(params=FULL)
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ext4]:
    """A disk with little room. No tmpfs: there the reading of a hole takes room as well, and ends in SIGBUS."""
    with Ext4(tmp_path / "disk", _DISK_BYTES) as disk:
        disk.fill(**request.param)
        yield disk


def test_what_was_sent_is_stored_or_counted(tmp_path: Path, disk: Ext4) -> None:
    write_rules(tmp_path / "config")
    store, stats, now = (
        Store(disk.folder / "data", Rules.load(tmp_path / "config")),
        Stats(),
        int(time.time()),
    )
    names = NameTable(store, stats)
    intake, reader = Intake(store, names, stats, lambda: now), LineReader(names, stats)
    ledger = Ledger()
    for kind in (LATE, SWEEP):
        for _ in range(1000):
            ledger.new_name(kind)
    for piece in range(_PIECES):
        if piece == _PIECES * 9 // 10:
            assert disk.is_full()
            disk.empty()
        names_sent = ledger.of_kind[LATE.name] + (ledger.of_kind[SWEEP.name] if piece >= 20 else [])
        numbers = ledger.add(names_sent, [now - piece * 70] * len(names_sent))
        intake.accept(reader.feed(ledger.lines(numbers), now), "line")
        store.roll_up()
        ledger.was_read(numbers, 0.0)
    found = examine(store, ledger, ended=0.0, now=now, rolled_up=False)
    store.close()
    assert found.invented == ()
    assert (found.read, stats.received.total()) == (len(ledger), len(ledger))
    assert found.lost == stats.rejected.total()


def test_the_receiver_goes_on_when_there_is_room_again(tmp_path: Path, disk: Ext4) -> None:
    torture = Torture(tmp_path, 1, data=disk.folder / "data")
    torture.start()
    try:
        torture.send_for(6.0)
        full = torture.examine(rolled_up=False)  # what could not be stored is lost, the rest can be read
        assert not full.invented
        assert 0 < full.lost < full.read
        assert disk.is_full()
        disk.empty()
        torture.send_for(RESUME_S)
        torture.examine(rolled_up=False)
        torture.send_for(1.0)
        resumed = torture.examine(rolled_up=False)
        assert resumed.read > full.read
        assert (resumed.lost, resumed.invented) == (0, ())
    finally:
        torture.receiver.kill()
        torture.receiver.gone()
