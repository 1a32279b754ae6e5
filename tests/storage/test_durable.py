"""What a power cut leaves: any page of what was not synced may be on the disk, or not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.disk import SystemDisk
from storage.durable import encode_record, last_record
from storage.format import HEAD_WORDS, LANES_MAX, PAGE, Geometry
from storage.ring import Ring
from storage.store import Store
from tests.effort import tries

NOW = 1_700_000_030


def test_the_newer_whole_record_counts() -> None:
    heads = np.arange(LANES_MAX * HEAD_WORDS, dtype=np.uint64).reshape(LANES_MAX, HEAD_WORDS)
    heads[:2, 7] = 0
    one, two = encode_record(heads, 1), encode_record(heads + 1, 2)
    assert last_record(two + one)[1] == 2
    assert last_record(two[:-8] + b"\x01" * 8 + one)[1] == 1
    found, number = last_record(bytes(2 * PAGE))
    assert (found.any(), number) == (False, 0)


_SECTOR = 512  # what a disk writes at once


def torn(before: bytes, after: bytes, kept: st.DataObject, path: Path) -> None:
    """Write a file in which each sector of what was not synced is there or not."""
    before = before.ljust(len(after), b"\0")
    was, now = (np.frombuffer(data, np.uint8).reshape(-1, _SECTOR).copy() for data in (before, after))
    changed = np.flatnonzero((was != now).any(axis=1))
    if kept.draw(st.booleans()):
        there = (
            np.array(sorted(kept.draw(st.sets(st.sampled_from(changed.tolist())))), int)
            if len(changed)
            else changed
        )
    else:
        chance = np.random.default_rng(kept.draw(st.integers(0, 1 << 32)))
        there = changed[chance.random(len(changed)) < kept.draw(st.sampled_from([0.1, 0.5, 0.9]))]
    was[there] = now[there]
    path.write_bytes(was.tobytes())


Steps = st.lists(
    st.one_of(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90)), min_size=1, max_size=12),
        st.sampled_from(["sync", "ahead", "pack", "begin", "run", "end"]),
    ),
    max_size=14,
)


class Cut(NamedTuple):
    """A moment at which the power may go."""

    on_disk: bytes  # the file as it was last synced
    written: bytes  # what is in the page cache
    newest: int
    synced: dict[tuple[int, int], float]

    def __repr__(self) -> str:
        return f"Cut(newest={self.newest}, synced={self.synced})"


class WatchedDisk(SystemDisk):
    """A disk that notes the state before each wait."""

    def __init__(self, path: Path) -> None:
        self.path, self.cuts = path, list[Cut]()
        self.newest, self.synced = 0, dict[tuple[int, int], float]()

    def sync(self, file: int) -> None:
        self.note()

    def note(self) -> None:
        written = self.path.read_bytes()
        on_disk = self.cuts[-1].written if self.cuts else b""
        self.cuts.append(Cut(on_disk, written, self.newest, dict(self.synced)))


@given(steps=Steps, pack_after=st.sampled_from([None, 0, 100]), data=st.data())
@settings(max_examples=tries(200), deadline=None)
def test_after_a_power_cut_what_was_synced_is_there_and_nothing_is_invented(
    steps: list, pack_after: int | None, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    Ring.create(folder / "10s.ring", Geometry.choose(10, 40), {}).close()
    disk = WatchedDisk(folder / "10s.ring")
    ring = Ring(folder / "10s.ring", writable=True, disk=disk)
    ring.file.durable, ring.places.pack_after, ring.places.quiet_s = True, pack_after, 0.0
    ring.make_room(4)
    disk.note()
    sent: dict[tuple[int, int], list[float]] = {}
    count = 0.0
    sync, ran, wanted = None, False, dict(disk.synced)
    for step in steps:
        latest = {at: values[-1] for at, values in sent.items()}
        if step == "sync":
            ring.sync()
            disk.synced |= latest
        elif step == "ahead":
            ring.seal_ahead(64)
        elif step == "pack":
            ring.pack_some(disk.newest, 64)
        elif step == "begin":
            if sync is None:
                sync, ran, wanted = ring.begin_sync(), False, latest
        elif step == "run":
            if sync is not None:
                sync.run()
                ran = True
                disk.synced |= {at: max(value, disk.synced.get(at, 0)) for at, value in wanted.items()}
        elif step == "end":
            if sync is not None and ran:
                ring.end_sync(sync)
                sync = None
        else:
            for row, slot in step:
                count += 1
                sent.setdefault((row, slot), []).append(count)
            disk.newest = max(disk.newest, *(slot for _, slot in step))
            rows, slots = (np.array(column) for column in zip(*step, strict=True))
            ring.write(rows, slots, np.arange(count - len(step) + 1, count + 1))
    disk.note()
    held = ring.read(np.arange(4), max(0, disk.newest - 39), min(40, disk.newest + 1))
    for (row, slot), values in sent.items():
        if slot > disk.newest - 40:
            assert held[row, slot - max(0, disk.newest - 39)] == values[-1]
    cut = data.draw(st.sampled_from(disk.cuts[1:]))
    torn(cut.on_disk, cut.written, data, folder / "cut.ring")
    ring.close()
    again = Ring(folder / "cut.ring", writable=True)
    again.recover(4)
    again.make_room(4)
    first = max(0, cut.newest - 39)
    got = again.read(np.arange(4), first, cut.newest + 1 - first)
    for row in range(4):
        for i, value in enumerate(got[row].tolist()):
            at = (row, first + i)
            assert np.isnan(value) or value in sent.get(at, ()), "invented"
            if at in cut.synced:
                assert value >= cut.synced[at], "lost"
    again.close()


def test_rows_whose_names_were_lost_are_empty_when_they_are_given_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "a", durable=True)
    first = store.create(["kept.a"])
    store.append(first, np.array([NOW]), np.array([1.0]), NOW)
    store.sync()
    shutil.copy(tmp_path / "a" / "catalogue.sqlite", tmp_path / "names")
    names = {p.name: p.read_bytes() for p in (tmp_path / "a").glob("catalogue*")}
    lost = store.create(["lost.b"])
    store.append(lost, np.array([NOW]), np.array([2.0]), NOW)
    store.sync()
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "a" / "shards", tmp_path / "b" / "shards")
    for name, content in names.items():
        (tmp_path / "b" / name).write_bytes(content)
    (tmp_path / "b" / "boot").write_text("another boot")
    again = Store(tmp_path / "b", durable=True)
    new = again.create(["new.c"])
    assert new.tolist() == lost.tolist()
    (fetched,) = again.fetch(np.concatenate((first, new)), NOW - 600, NOW, NOW)
    assert np.nanmax(fetched.values[0]) == 1.0
    assert np.isnan(fetched.values[1]).all()


@pytest.mark.parametrize("durable", [True, False])
def test_a_store_that_was_closed_needs_no_recovery(tmp_path: Path, durable: bool) -> None:
    store = Store(tmp_path, durable=durable)
    store.append(store.create(["a"]), np.array([NOW]), np.array([1.0]), NOW)
    store.close()
    if durable:
        assert (tmp_path / "boot").read_text() == "closed"
    again = Store(tmp_path)
    (fetched,) = again.fetch(again.create(["a"]), NOW - 60, NOW, NOW)
    assert np.nanmax(fetched.values) == 1.0
