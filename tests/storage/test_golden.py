"""Stores that earlier versions wrote are read, written and give what was put in.

Each was made so: at minute i of 60 from START every series got its number × 1000 + i + 0.25 (not at minute 33; the
tagged one at odd minutes only), and at last golden.a got -5.5 for minute 35. Version 2 packs, and keeps maxima.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from storage.jobs import drive
from storage.store import Store
from storage.verify import verify

GOLDEN = Path(__file__).parent / "golden"
NAMES = ["golden.a", "golden.b", "golden.max", "golden.t;host=x"]
START, MINUTES = 1_700_000_040, 60
NOW = START + 60 * MINUTES
KEPT = range(21, MINUTES)  # the finest archive has 40 minutes


@pytest.fixture(params=["v1", "v2"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(GOLDEN / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / request.param


def value(number: int, minute: int) -> float:
    if minute == 33 or (number == 3 and minute % 2 == 0):
        return np.nan
    return -5.5 if (number, minute) == (0, 35) else number * 1000 + minute + 0.25


def held(store: Store) -> np.ndarray:
    return store.read_archive(store.lookup(NAMES), 0, START // 60 + KEPT.start, len(KEPT))


def test_its_values_are_what_was_put_in(folder: Path) -> None:
    expected = [[value(number, minute) for minute in KEPT] for number in range(4)]
    for writable in (False, True):
        store = Store(folder, writable=writable)
        np.testing.assert_array_equal(held(store), expected)
        store.close()


def test_its_coarse_archives_are_what_they_were(folder: Path) -> None:
    store = Store(folder, writable=False)
    slot = (START + 60 * 45) // 300
    minutes = [i for i in range(MINUTES) if (START + 60 * i) // 300 == slot]
    average = [np.mean([value(number, i) for i in minutes]) for number in range(2)]
    one = store.read_archive(store.lookup(NAMES), 1, slot, 1)[:, 0]
    np.testing.assert_allclose(one[:2], average)
    assert one[2] == max(value(2, i) for i in minutes)
    if folder.name == "v2":
        highest = store.shard_of(int(store.lookup(NAMES)[0])).ring(1, "max")
        assert highest.read(np.array([0]), slot, 1)[0, 0] == max(value(0, i) for i in minutes)
    store.close()


def test_it_takes_new_and_late_values_and_is_sound(folder: Path) -> None:
    store = Store(folder, pack_after=0)
    series = store.lookup(NAMES)
    for at in (NOW, NOW - 20 * 60, NOW + 30 * 60):
        store.append(series, np.full(4, at), np.arange(4.0), max(at, NOW))
        assert store.read_archive(series, 0, at // 60, 1)[:, 0].tolist() == [0, 1, 2, 3]
    store.create(["golden.new"])
    store.close()
    drive(verify(folder, NOW + 3600, pytest.fail), lambda progress: None)
