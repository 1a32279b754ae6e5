"""Damage is contained: bytes flipped, zeroed, copied over, cut off or put in anywhere; the store starts and goes on.

Each case takes a small store, as it was closed or as it was killed, and damages one file of it. Then

* `verify` names it, if it hit anything that has a checksum;
* a reader shows no value that was not sent for that name and time; it never fails;
* the writer starts, shows nothing else either, and has all that lies outside of what the damage may cost;
* every series takes new points, which the reader sees; a new name has nothing of an old one;
* what was set aside is there byte by byte.

A value that is not packed has no check of its own when it is read: its own bytes are left out, and no others.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plumbago import main
from storage import backup
from storage.catalogue import Catalogue
from storage.codec_kernels import HEADER
from storage.damage import Aside
from storage.errors import CorruptCatalogue, StorageError
from storage.format import (
    CHECK_FACTOR,
    HEAD_WORDS,
    LANE_ROWS,
    LANES_START,
    LATE,
    LOW_WORD,
    PACKED,
    PAGE,
    SEALS,
    SHARD_ROWS,
    WORD,
    Geometry,
)
from storage.jobs import drive
from storage.places import digest_of
from storage.retention import Archive, Retention
from storage.ring import Ring
from storage.ring_file import RingFile
from storage.schema import Rules, Schema
from storage.shard import Shard, ring_files
from storage.store import Store
from storage.verify import Damaged, Verification, verify
from tests.effort import tries

NOW = 1_700_000_400
STEPS, POINTS = (10, 60), (48, 40)
SCHEMAS = "[all]\npattern = .\nretentions = 10s:8m,60s:40m\n"
MAX = "[all]\npattern = .\nxFilesFactor = 0\naggregationMethod = max\n"
ROWS = (0, 1, 2, LANE_ROWS - 1, LANE_ROWS, LANE_ROWS + 1)  # of the series that have values
SHARD = "shards/00001"
LATE_NAME = "late.name"
SETTINGS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)

Cell = tuple[int, int, int]  # archive, row, slot


@dataclass(repr=False)
class State:
    """A store's files, and what was sent to it."""

    files: dict[str, bytes]
    now: int
    sent: dict[tuple[str, int], set[float]]  # (name, slot of 10 s)
    unsynced: set[tuple[str, int]]
    names: dict[str, int]  # row
    rings: list[Layout]
    wanted: tuple[Wanted, ...] = ()


@dataclass(repr=False)
class Layout:
    """What lies where in a ring's file."""

    path: str
    archive: int
    geometry: Geometry
    lanes: int
    heads: npt.NDArray[np.uint64]
    stamps: npt.NDArray[np.uint64]  # (lanes, places)
    checks: npt.NDArray[np.uint64]
    size: int
    data: bytes


# --- the store ---


def build(folder: Path) -> tuple[State, State]:
    """The store as it was closed, and as it was killed some values later."""
    (folder / "storage-schemas.conf").write_text(SCHEMAS)
    (folder / "storage-aggregation.conf").write_text(MAX)
    data, clock = folder / "data", [NOW]
    rules = Rules.load(folder)
    store = Store(data, rules, durable=True, pack_after=240, clock=lambda: clock[0])
    names = {f"s.{row}": row for row in range(LANE_ROWS + 2)}
    store.create(list(names))
    sent: dict[tuple[str, int], set[float]] = {}
    live = {f"s.{row}": row for row in ROWS}
    value = 0.0
    for i in range(70):
        now = clock[0] = NOW + 10 * i
        points = [(name, now) for name in live if (i + live[name]) % 5]
        if i % 16 == 7:
            points.append(("s.1", now - 200))  # late
        value = append(store, points, value, sent, now)
        store.roll_up()
        store.seal_ahead(9)
        if i % 6 == 0:
            for shard in store.shards():
                for ring in shard.every_ring():
                    ring.places.quiet_s = 0.0
            store.pack_some(now, 9)
            store.sync()
    store.delete(["s.40"], now)
    store.delete(["s.41"], now)
    store.purge(now + 1, at_most=1)
    store.close()
    closed = state(data, now, sent, set(), names)
    store = Store(data, rules, durable=True, pack_after=240, clock=lambda: clock[0])
    store.create([LATE_NAME])
    names = {**names, LATE_NAME: LANE_ROWS + 2}
    before = {at: set(values) for at, values in sent.items()}
    now = clock[0] = now + 10
    value = append(store, [(name, now) for name in (*live, LATE_NAME)], value, sent, now)
    killed = state(data, now, sent, {at for at in sent if at not in before}, names)
    store.close()
    return closed, killed


def append(
    store: Store,
    points: list[tuple[str, int]],
    value: float,
    sent: dict[tuple[str, int], set[float]],
    now: int,
) -> float:
    values = value + 1.0 + np.arange(len(points))
    series = store.lookup([name for name, _ in points])
    assert store.append(series, np.array([t for _, t in points]), values, now).total == 0
    for (name, timestamp), one in zip(points, values.tolist(), strict=True):
        sent.setdefault((name, timestamp // 10), set()).add(one)
    return float(values[-1])


def state(
    data: Path,
    now: int,
    sent: dict[tuple[str, int], set[float]],
    unsynced: set[tuple[str, int]],
    names: dict[str, int],
) -> State:
    files = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    rings = [layout(data / path, path) for path in sorted(files) if path.endswith(".ring")]
    copied = {at: set(values) for at, values in sent.items()}
    made = State(files, now, copied, set(unsynced), dict(names), rings)
    made.wanted = tuple(Wanted(made, archive) for archive in (0, 1))
    return made


def layout(path: Path, name: str) -> Layout:
    file = RingFile(path, writable=False)
    stamps = np.array([file.stamps(lane) for lane in range(file.lanes)])
    checks = np.array([file.checks(lane) for lane in range(file.lanes)])
    archive = STEPS.index(file.geometry.step)
    data = path.read_bytes()
    return Layout(
        name, archive, file.geometry, file.lanes, file.all_heads().copy(), stamps, checks, len(data), data
    )


class Built:
    """What every case begins with; no dataclass, as a failure would print all of its bytes."""

    def __init__(self, folder: Path) -> None:
        self.states, self.rules = build(folder), Rules.load(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("built"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- damage ---


class Damage(NamedTuple):
    path: str
    kind: str
    at: int
    size: int
    data: bytes = b""  # what is there afterwards, or what is put in

    def of(self, before: bytes) -> bytes:
        if self.kind == "truncate":
            return before[: self.at]
        if self.kind == "insert":
            return before[: self.at] + self.data + before[self.at :]
        return before[: self.at] + self.data + before[self.at + self.size :]

    def changed(self, before: bytes) -> npt.NDArray[np.int64]:
        """The offsets of bytes that are not what they were; those that lie elsewhere or are gone too."""
        if self.kind in ("truncate", "insert"):
            return np.arange(
                self.at - self.at % WORD, len(before)
            )  # the word that was cut through is given up
        was = np.frombuffer(before, np.uint8, self.size, self.at)
        return self.at + np.flatnonzero(was != np.frombuffer(self.data, np.uint8))

    def __repr__(self) -> str:
        return f"{self.kind} {self.path} [{self.at}:{self.at + self.size}] {self.data[:16].hex()}"


def spots(ring: Layout) -> dict[str, list[int]]:
    """Offsets of interest, by what lies there."""
    geometry, found = ring.geometry, {"header": [0, 8, 12, 16, 24, 44, 60], "records": [2 * PAGE, 3 * PAGE]}
    found["heads' page"] = [
        PAGE + lane * HEAD_WORDS * WORD + word * WORD for lane in (0, 1) for word in range(8)
    ]
    found["stamps"] = [
        geometry.lane_offset(lane) + start + i * WORD
        for lane in (0, 1) for start in (0, PAGE) for i in range(geometry.places + 1)
    ]  # fmt: skip
    found["heads"] = [
        geometry.lane_offset(lane) + geometry.stamps_bytes + h * geometry.unit_bytes + s * PAGE
        for lane in (0, 1) for h in (0, 1) for s in range(geometry.block)
    ]  # fmt: skip
    for lane, place in np.argwhere(ring.stamps).tolist():
        if int(ring.stamps[lane, place]) & PACKED:
            start = geometry.packed_offset(lane, place)
            found.setdefault("packed", []).extend(
                start + i for i in (0, 6, 8, 12, 16, 20, 24, 2068, 3092, 3100)
            )
        else:
            start = geometry.place_offset(lane, place)
            row = geometry.block * WORD
            found.setdefault("raw", []).extend(start + i * row for i in (0, 1, 2, LANE_ROWS - 1))
    return found


@st.composite
def damages(draw: st.DrawFn, state: State, paths: list[str], kinds: tuple[str, ...]) -> Damage:
    path = draw(st.sampled_from(paths))
    before, kind = state.files[path], draw(st.sampled_from(kinds))
    ring = next((ring for ring in state.rings if ring.path == path), None)
    if ring is not None and draw(st.integers(0, 9)):
        of = spots(ring)
        near = draw(st.sampled_from(of[draw(st.sampled_from(sorted(of)))]))
        at = min(len(before), near + draw(st.sampled_from([0, 0, 0, 1, 3, 7, 8, 9, 40])))
    else:
        at = draw(st.integers(0, len(before)))
    if kind == "truncate":
        return Damage(path, kind, at, 0)
    if kind == "insert":
        size = draw(st.sampled_from([1, 7, 8, 64, 512, 4095, 5000]))
        return Damage(path, kind, at, 0, bytes([draw(st.integers(0, 255))]) * size)
    if kind == "flip":
        at = min(at, len(before) - 1)
        return Damage(path, kind, at, 1, bytes([before[at] ^ 1 << draw(st.integers(0, 7))]))
    size = min(draw(st.sampled_from([1, 8, 8, 16, 64, 512, PAGE, 3 * PAGE])), len(before) - at)
    if kind == "zero":
        return Damage(path, kind, at, size, bytes(size))
    source = draw(
        st.sampled_from([at - PAGE, at + PAGE, at - 64, at + 64, at + 8, at - 8, 0, len(before) // 2])
    )
    source = max(0, min(source, len(before) - size))
    return Damage(path, kind, at, size, before[source : source + size])


# --- what damage may cost ---


class Cost(NamedTuple):
    """`lost`: cells that may be missing; `wrong`: that may be anything; `named`: whether verify must say so."""

    lost: set[Cell]
    wrong: set[Cell]
    named: bool


def cost(ring: Layout, damage: Damage, unsynced: set[tuple[str, int]]) -> Cost:
    changed = damage.changed(ring.data)
    lost: set[Cell] = set()
    wrong: set[Cell] = set()
    geometry, named = ring.geometry, bool((changed < PAGE).any())
    if damage.kind == "insert" or (damage.kind == "truncate" and damage.at < LANES_START):
        return Cost(
            {(ring.archive, row, slot) for lane in (0, 1) for row, slot in everything(ring, lane)},
            wrong,
            True,
        )
    recorded = not ((changed >= 2 * PAGE) & (changed < LANES_START)).any()
    named |= not recorded
    for at in changed[(changed >= PAGE) & (changed < 2 * PAGE)].tolist():
        lane, word = divmod((at - PAGE) // WORD, HEAD_WORDS)
        if lane >= ring.lanes or word in (4, 7):
            continue
        stamp = int(ring.heads[lane, word % 2 if word < 4 else word - 5])
        named |= stamp != 0
        lost |= {
            (ring.archive, row, slot)
            for row, slot in cells(ring, lane, stamp)
            if not recorded or (f"s.{row}" if row < LANE_ROWS + 2 else LATE_NAME, slot) in unsynced
        }
    for lane in range(ring.lanes):
        start = geometry.lane_offset(lane)
        inside = changed[(changed >= start) & (changed < start + geometry.lane_bytes)] - start
        hit = [
            set((inside[(inside >= at) & (inside < at + PAGE)] % PAGE // WORD).tolist()) for at in (0, PAGE)
        ]
        for place in range(geometry.places):
            stamp, sure = int(ring.stamps[lane, place]), int(ring.checks[lane, place]) & LOW_WORD
            in_stamp, in_check = place in hit[0], place in hit[1]
            if stamp and in_stamp != in_check:
                named = True
            if stamp and ((in_stamp and (in_check or not sure)) or (in_check and damage.kind == "duplicate")):
                lost |= {(ring.archive, row, slot) for row, slot in cells(ring, lane, stamp & ~PACKED)}
        named |= in_units(ring, lane, inside, lost, wrong, cut=damage.kind == "truncate")
    return Cost(lost, wrong, named or (damage.kind == "truncate" and damage.at < ring.size))


def cells(ring: Layout, lane: int, stamp: int) -> Iterator[tuple[int, int]]:
    """(row, slot) of a lane's block."""
    block = ring.geometry.block
    for row in (*ROWS, LANE_ROWS + 2):
        if stamp and row // LANE_ROWS == lane:
            yield from ((row, slot) for slot in range((stamp - 1) * block, stamp * block))


def everything(ring: Layout, lane: int) -> Iterator[tuple[int, int]]:
    for stamp in (*ring.heads[lane, :2].tolist(), *(ring.stamps[lane] & np.uint64(PACKED - 1)).tolist()):
        yield from cells(ring, lane, int(stamp))


def in_units(
    ring: Layout, lane: int, inside: npt.NDArray[np.int64], lost: set[Cell], wrong: set[Cell], *, cut: bool
) -> bool:
    """Add what damaged bytes of a lane's heads and places cost; gives whether they have a checksum."""
    geometry, named, row_bytes = ring.geometry, False, ring.geometry.block * WORD
    units, within = np.divmod(
        inside[inside >= geometry.stamps_bytes] - geometry.stamps_bytes, geometry.unit_bytes
    )
    for unit in np.unique(units).tolist():
        at = within[units == unit]
        if unit < 2:
            hit = {(lane * LANE_ROWS + i % PAGE // WORD, i // PAGE) for i in at.tolist()} if not cut else None
            stamp = int(ring.heads[lane, unit])
        elif unit < 2 + geometry.places:
            stamp = int(ring.stamps[lane, unit - 2])
            if stamp & PACKED:
                continue
            hit = (
                {(lane * LANE_ROWS + i // row_bytes, i % row_bytes // WORD) for i in at.tolist()}
                if not cut
                else None
            )
            named |= stamp != 0 and int(ring.checks[lane, unit - 2]) & LOW_WORD != 0
        else:
            place = unit - 2 - geometry.places
            stamp = int(ring.stamps[lane, place])
            if not stamp & PACKED:
                continue
            stamp &= ~PACKED
            rows = damaged_rows(ring, lane, place, at)
            named |= rows is not None
            lost |= {
                (ring.archive, r, s) for r, s in cells(ring, lane, stamp) if rows and r % LANE_ROWS in rows
            }
            continue
        if hit is None:
            lost |= {(ring.archive, r, s) for r, s in cells(ring, lane, stamp)}
        elif stamp:
            first = (stamp - 1) * geometry.block
            wrong |= {(ring.archive, row, first + slot) for row, slot in hit}
    return named


def damaged_rows(ring: Layout, lane: int, place: int, at: npt.NDArray[np.int64]) -> set[int] | None:
    """The rows of a packed block that damaged bytes of it belong to; None if they lie behind it."""
    start = ring.geometry.packed_offset(lane, place)
    _, _, _, rows, size, _ = struct.unpack_from("<4sHHIII", ring.data, start)
    ends = np.frombuffer(ring.data, "<u4", rows, start + HEADER).astype(np.int64)
    found: set[int] = set()
    at = at[at < size]
    if not len(at):
        return None
    for i in at.tolist():
        if 6 <= i < 16:
            found |= set(range(rows))
        elif HEADER <= i < HEADER + 4 * rows:
            found |= {(i - HEADER) // 4, (i - HEADER) // 4 + 1}
        elif HEADER + 4 * rows <= i < HEADER + 6 * rows:
            found.add((i - HEADER - 4 * rows) // 2)
        elif i >= HEADER + 6 * rows:
            found.add(int(np.searchsorted(ends, i, side="right")))
    return found


# --- checks ---


class Wanted:
    """What may be read of the rows of interest in an archive: all that was sent, slot by slot."""

    def __init__(self, state: State, archive: int) -> None:
        self.state, self.archive, ratio = state, archive, STEPS[archive] // STEPS[0]
        self.names = {row: name for name, row in state.names.items() if row in (*ROWS, LANE_ROWS + 2)}
        self.rows, self.points = np.array(sorted(self.names)), POINTS[archive]
        self.first = state.now // STEPS[archive] - self.points + 1
        self.sent = np.full((len(self.rows), self.points, 3 * ratio), np.nan)
        self.unsynced = np.zeros((len(self.rows), self.points), np.bool_)
        for (name, fine), values in state.sent.items():
            slot, row = fine // ratio - self.first, state.names[name]
            if slot >= 0 and row in self.names:
                line = self.sent[np.searchsorted(self.rows, row), slot]
                free = int(np.count_nonzero(~np.isnan(line)))
                line[free : free + len(values)] = sorted(values)
                self.unsynced[np.searchsorted(self.rows, row), slot] |= (name, fine) in state.unsynced

    def mask(self, cells: set[Cell]) -> npt.NDArray[np.bool_]:
        """Where cells lie, and what they are rolled up to."""
        mask = np.zeros((len(self.rows), self.points), np.bool_)
        for archive, row, slot in cells:
            ratio = STEPS[self.archive] // STEPS[archive]
            if (
                row in self.names
                and archive <= self.archive
                and 0 <= slot // ratio - self.first < self.points
            ):
                mask[np.searchsorted(self.rows, row), slot // ratio - self.first] = True
        return mask

    def check(
        self, values: npt.NDArray[np.float64], cost: Cost, *, may_lose: npt.NDArray[np.bool_] | bool
    ) -> None:
        """Nothing is invented, and what is outside of the damage is there."""
        wrong, missing = self.mask(cost.wrong), np.isnan(values)
        right = (values[..., None] == self.sent).any(axis=2)
        assert (missing | wrong | right).all(), f"invented: {values[~(missing | wrong | right)]}"
        lost = self.mask({cell for cell in cost.lost if cell[0] == self.archive}) | may_lose
        if self.archive:
            lost = lost | self.unsynced  # not rolled up before the kill
            lost[:, 0] = True  # older than the ring's first whole block
        known = ~np.isnan(self.sent).all(axis=2)
        assert (~missing | ~known | wrong | lost).all(), (
            f"lost: {np.argwhere(missing & known & ~wrong & ~lost)}"
        )


def put_files(folder: Path, state: State, damage: Damage) -> None:
    for path, content in state.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(damage.of(content) if path == damage.path else content)


def fresh(tmp_path: Path) -> Path:
    folder = tmp_path / "case"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def nothing_is_gone(folder: Path, damage: Damage, before: bytes) -> None:
    """What was replaced or written anew lies in `damaged` as it was."""
    was = damage.of(before)
    kept = [path.read_bytes() for path in (folder / "damaged").rglob("*") if path.is_file()]
    if (folder / damage.path).read_bytes()[:PAGE] != was[:PAGE]:
        assert was in kept or was[:PAGE] in kept


# --- rings ---


KINDS = ("flip", "zero", "duplicate", "truncate", "insert")
SCHEMA = Schema(Retention(tuple(map(Archive, STEPS, POINTS))), "max", 0.0)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(SETTINGS, max_examples=tries(300))
def test_a_damaged_ring_loses_what_was_damaged_and_takes_new_points(
    built: Built, kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    state = built.states[data.draw(st.integers(0, 1))]
    damage = data.draw(damages(state, [ring.path for ring in state.rings], (kind,)))
    ring = next(ring for ring in state.rings if ring.path == damage.path)
    folder, costs = fresh(tmp_path), cost(ring, damage, state.unsynced)
    put_files(folder, state, damage)
    found: list[str] = []
    verification = Verification(folder, state.now, found.append, pause_s=0.0)
    for path, geometry in ring_files(SCHEMA):
        drive(
            verification.ring(folder / SHARD / path, 1, geometry, max(state.names.values()) + 1),
            lambda _: None,
        )
    assert found or not costs.named, "verify has not named it"
    assert all(str(folder / damage.path) in line for line in found)
    reader = opened(folder, state, writable=False)
    read(state, reader, costs, may_lose=True)
    writer = opened(folder, state, writable=True)
    values = read(state, writer, costs, may_lose=False)
    reader.follow()
    for mine, others in zip(values, read(state, reader, costs, may_lose=False), strict=True):
        np.testing.assert_array_equal(mine, others)
    now, rows = state.now + 10, np.arange(LANE_ROWS + 3)
    assert writer.append(rows, np.full(len(rows), now), 1e6 + rows, now) == 0
    for shard in (writer, reader):
        np.testing.assert_array_equal(shard.rings[0].read(rows, now // 10, 1)[:, 0], 1e6 + rows)
    nothing_is_gone(folder, damage, state.files[damage.path])
    writer.close()
    reader.close()


def opened(folder: Path, state: State, *, writable: bool) -> Shard:
    rows = max(state.names.values()) + 1
    return Shard(
        folder / SHARD,
        SCHEMA,
        rows,
        writable=writable,
        pack_after=240,
        aside=Aside(folder),
        horizon=state.now + 600,
    )


def read(state: State, shard: Shard, costs: Cost, *, may_lose: bool) -> list[npt.NDArray[np.float64]]:
    found = []
    for ring, wanted in zip(shard.rings, state.wanted, strict=True):
        found.append(ring.read(wanted.rows, wanted.first, wanted.points))
        wanted.check(found[-1], costs, may_lose=may_lose)
    return found


# --- names ---


@given(data=st.data())
@settings(SETTINGS, max_examples=tries(400))
def test_a_damaged_catalogue_or_small_file_loses_no_more_than_the_newest_names(
    built: Built, data: st.DataObject, tmp_path: Path
) -> None:
    state = built.states[data.draw(st.integers(0, 1))]
    others = [path for path in sorted(state.files) if not path.endswith(".ring")]
    path = data.draw(st.sampled_from([*others, *[Catalogue.FILE] * 4]))
    damage = data.draw(damages(state, [path], KINDS))
    if (
        path == Catalogue.FILE
        and damage.at < 64
        and damage.kind != "truncate"
        and damage.at + len(damage.data) > 60
    ):
        return  # the number of the format: the store of a newer program is refused
    loses_names = path.startswith(Catalogue.FILE)
    run_store(fresh(tmp_path), built, state, damage, loses_names=loses_names, loses_unsynced=path == "boot")


@given(data=st.data())
@settings(SETTINGS, max_examples=tries(100))
def test_a_store_with_a_damaged_ring_starts_and_takes_new_points(
    built: Built, data: st.DataObject, tmp_path: Path
) -> None:
    state = built.states[data.draw(st.integers(0, 1))]
    damage = data.draw(damages(state, [ring.path for ring in state.rings], KINDS))
    run_store(fresh(tmp_path), built, state, damage)


def run_store(
    folder: Path,
    built: Built,
    state: State,
    damage: Damage,
    *,
    loses_names: bool = False,
    loses_unsynced: bool = False,
) -> None:
    ring = next((ring for ring in state.rings if ring.path == damage.path), None)
    costs = cost(ring, damage, state.unsynced) if ring else Cost(set(), set(), named=False)
    put_files(folder, state, damage)
    found: list[str] = []
    with suppress(Damaged):
        drive(verify(folder, state.now, found.append, pause_s=0.0), lambda _: None)
    assert found or not costs.named
    reader = None
    with suppress(StorageError):
        reader = Store(folder, built.rules, writable=False)
        read_names(state, reader, costs, may_lose=True)
    writer = Store(folder, built.rules, clock=lambda: float(state.now), pack_after=240)
    may_lose = np.zeros((len(state.wanted[0].rows), 1), np.bool_)
    may_lose[-1] = loses_names
    one, other = (may_lose | wanted.unsynced if loses_unsynced else may_lose for wanted in state.wanted)
    values = read_names(state, writer, costs, may_lose=one, coarse_may_lose=other)
    reader = reader or Store(folder, built.rules, writable=False)
    reader.refresh()
    for mine, others in zip(values, read_names(state, reader, costs, may_lose=True), strict=True):
        np.testing.assert_array_equal(mine, others)
    takes_points(state, writer, reader)
    assert {name for name, _ in writer.trashed()} <= {"s.40", "s.41"}
    nothing_is_gone(folder, damage, state.files[damage.path]) if ring else None
    writer.close()
    reader.close()


def read_names(
    state: State,
    store: Store,
    costs: Cost,
    *,
    may_lose: npt.NDArray[np.bool_] | bool,
    coarse_may_lose: npt.NDArray[np.bool_] | bool = True,
) -> list[npt.NDArray[np.float64]]:
    """The values of both archives, by name; of names that are not there, none."""
    found = []
    for i, (wanted, excused) in enumerate(zip(state.wanted, (may_lose, coarse_may_lose), strict=True)):
        series = store.lookup([wanted.names[row] for row in wanted.rows.tolist()])
        values = np.full((len(series), wanted.points), np.nan)
        values[series >= 0] = store.read_archive(series[series >= 0], i, wanted.first, wanted.points)
        wanted.check(values, costs, may_lose=excused)
        found.append(values)
    return found


def takes_points(state: State, writer: Store, reader: Store) -> None:
    now = state.now + 10
    names = [*(name for row in ROWS for name in [f"s.{row}"]), "s.3", "s.39", LATE_NAME, "fresh.1", "fresh.2"]
    series, values = writer.create(names), 1e6 + np.arange(len(names))
    assert writer.append(series, np.full(len(names), now), values, now).total == 0
    reader.refresh()
    for store in (writer, reader):
        there = store.lookup(names)
        np.testing.assert_array_equal(store.read_archive(there, 0, now // 10, 1)[:, 0], values)
        empty = store.read_archive(there[-2:], 0, now // 10 - 47, 47)
        assert np.isnan(empty).all(), "a new name has values of an old one"


# --- single cases ---


def closed_store(folder: Path, built: Built, *without: str) -> Path:
    put_files(folder, built.states[0], Damage("", "flip", 0, 0))
    for path in without:
        (folder / path).unlink()
    return folder


def writer_of(folder: Path, built: Built) -> Store:
    return Store(folder, built.rules, clock=lambda: float(built.states[0].now), pack_after=240)


def test_names_that_a_lost_log_had_leave_rows_that_nobody_gets(built: Built, tmp_path: Path) -> None:
    state = built.states[1]
    put_files(tmp_path, state, Damage("", "flip", 0, 0))
    (tmp_path / f"{Catalogue.FILE}-wal").unlink()
    writer = writer_of(tmp_path, built)
    assert writer.lookup([LATE_NAME]).tolist() == [-1]
    row = state.names[LATE_NAME]
    assert writer.create(["fresh.1"])[0] % SHARD_ROWS != row
    assert row in [one.row for one in writer.catalogue.free()]
    writer.close()


def test_without_a_catalogue_and_without_its_copy_the_store_begins_anew_and_keeps_the_rings(
    built: Built, tmp_path: Path
) -> None:
    closed_store(tmp_path, built, Catalogue.FILE, backup.FILE)
    writer = writer_of(tmp_path, built)
    assert len(writer) == 0
    series = writer.create(["s.0"])
    values = writer.read_archive(series, 0, built.states[0].now // 10 - 47, 48)
    assert np.isnan(values).all()
    there = {path.read_bytes() for path in (tmp_path / "damaged").rglob("*.ring")}
    assert there == {ring.data for ring in built.states[0].rings}
    writer.close()


def test_a_copy_of_the_names_that_is_damaged_harms_nobody(built: Built, tmp_path: Path) -> None:
    closed_store(tmp_path, built)
    (tmp_path / backup.FILE).write_bytes(b"PBGNAMES and rubbish")
    writer = writer_of(tmp_path, built)
    assert len(writer) == len(built.states[0].names) - 2
    writer.sync()
    assert backup.read(tmp_path) is not None
    writer.close()


def test_a_damaged_catalogue_is_not_copied_over_its_copy(built: Built, tmp_path: Path) -> None:
    closed_store(tmp_path, built)
    before = (tmp_path / backup.FILE).read_bytes()
    database = sqlite3.connect(tmp_path / Catalogue.FILE)
    database.execute("UPDATE run SET names = replace(names, 's.7', 's.x')")
    database.commit()
    database.close()
    with pytest.raises(CorruptCatalogue, match="run has a wrong checksum"):
        backup.write(tmp_path, durable=False)
    assert (tmp_path / backup.FILE).read_bytes() == before
    writer = writer_of(tmp_path, built)
    assert writer.lookup(["s.7"])[0] >= 0
    writer.close()


def test_a_catalogue_that_has_lost_rows_is_taken_from_its_copy(built: Built, tmp_path: Path) -> None:
    closed_store(tmp_path, built)
    path = tmp_path / Catalogue.FILE
    database = sqlite3.connect(path)
    page, size = (
        database.execute(question).fetchone()[0]
        for question in ("SELECT rootpage FROM sqlite_master WHERE name = 'run'", "PRAGMA page_size")
    )
    database.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * size + 3 : (page - 1) * size + 5] = bytes(2)  # how many cells the page has
    path.write_bytes(data)
    writer = writer_of(tmp_path, built)
    assert len(writer) == len(built.states[0].names) - 2
    assert data in [one.read_bytes() for one in (tmp_path / "damaged").iterdir()]
    writer.close()


def test_a_reader_that_met_a_damaged_ring_reads_the_fresh_one(built: Built, tmp_path: Path) -> None:
    closed_store(tmp_path, built)
    now = built.states[0].now
    (tmp_path / SHARD / "10s.ring").write_bytes(b"rubbish")
    reader = Store(tmp_path, built.rules, writable=False)
    series = reader.lookup(["s.0"])
    assert np.isnan(reader.read_archive(series, 0, now // 10 - 40, 41)).all()
    (fetched,) = reader.fetch(series, now - 300, now, now)
    assert np.isnan(fetched.values).all()
    writer = writer_of(tmp_path, built)
    writer.append(series, np.array([now]), np.array([5.0]), now)
    reader.refresh()
    assert reader.read_archive(series, 0, now // 10, 1).tolist() == [[5.0]]
    writer.close()
    (tmp_path / SHARD / "10s.ring").write_bytes(b"rubbish again")
    writer = writer_of(tmp_path, built)
    writer.append(series, np.array([now]), np.array([6.0]), now)
    reader.refresh()
    assert reader.read_archive(series, 0, now // 10, 1).tolist() == [[6.0]]
    assert len(list((tmp_path / "damaged").iterdir())) == 2
    writer.close()
    reader.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_head_and_a_place_of_the_far_future_do_not_make_a_ring_refuse_values(
    tmp_path: Path, version: int
) -> None:
    shard = small_shard(tmp_path, version)
    for slot in range(60):
        shard.append(np.arange(3), np.full(3, NOW + 10 * slot), np.full(3, 1.0 + slot), NOW + 10 * slot)
        shard.seal_ahead(9)
        sync(shard)
    file, now = shard.rings[0].file, NOW + 600
    newest = int(file.heads(0)[:2].max())
    file.heads(0)[(newest - 1) % 2] = newest + (1 << 40)
    block, places = now // 10 // file.geometry.block, file.geometry.places
    file.stamps(0)[block % places] = block + 1 + (places << 20)
    shard.close()
    again = small_shard(tmp_path, version, horizon=now + 600)
    before = again.rings[0].read(np.arange(3), NOW // 10 + 20, 40)
    assert (np.isnan(before) | (before == 21.0 + np.arange(40))).all()
    assert version == 1 or not np.isnan(before).any()  # as of the last sync, and the block as its check says
    for slot in range(60, 90):
        now = NOW + 10 * slot
        assert again.append(np.arange(3), np.full(3, now), np.full(3, 9.0), now) == 0
        sync(again)
    assert (again.rings[0].read(np.arange(3), NOW // 10 + 60, 30) == 9.0).all()
    again.close()


def test_a_reader_shows_no_block_under_another_time(tmp_path: Path) -> None:
    shard = small_shard(tmp_path, 2)
    for slot in range(30):
        shard.append(np.arange(3), np.full(3, NOW + 10 * slot), np.full(3, 1.0), NOW + 10 * slot)
        shard.seal_ahead(9)
        sync(shard)
    ring, geometry = shard.rings[0], shard.rings[0].geometry
    place = int(np.flatnonzero(ring.file.stamps(0))[0])
    block = int(ring.file.stamps(0)[place]) - 1
    assert (ring.read(np.arange(3), block * geometry.block, geometry.block) == 1.0).all()
    ring.file.stamps(0)[place] -= np.uint64(geometry.places)
    for first in (block, block - geometry.places):
        values = ring.read(np.arange(3), first * geometry.block, geometry.block)
        rolled = ring.intervals(np.arange(3), np.full(3, first * geometry.block), geometry.block)
        assert np.isnan(values).all()
        assert np.isnan(rolled).all()
    shard.close()
    shard = small_shard(tmp_path, 2)
    assert (shard.rings[0].read(np.arange(3), block * geometry.block, geometry.block) == 1.0).all()
    shard.close()


@pytest.mark.parametrize(
    "late", [(1 << 32) | LOW_WORD, LOW_WORD << 32 | 5, 7, (NOW // 10 << 32) | (NOW // 10 + 99_999)]
)
def test_counters_that_cannot_be_begin_anew(tmp_path: Path, late: int) -> None:
    shard = small_shard(tmp_path, 2)
    shard.append(np.arange(3), np.full(3, NOW), np.full(3, 1.0), NOW)
    heads = shard.rings[0].file.heads(0)
    heads[SEALS], heads[LATE] = 1 << 40, late
    assert (shard.rings[0].read(np.arange(3), NOW // 10, 1) == 1.0).all()
    heads[SEALS] = 7
    shard.close()
    again = small_shard(tmp_path, 2, horizon=NOW + 600)
    assert again.rings[0].file.heads(0)[[SEALS, LATE]].tolist() == [8, 0]
    again.rings[0].file.heads(0)[SEALS] = 1 << 40
    again.close()
    again = small_shard(tmp_path, 2)
    assert again.rings[0].file.heads(0)[SEALS] == 0
    again.close()


def test_a_clock_that_is_wrong_costs_nothing(tmp_path: Path) -> None:
    for version in (1, 2):
        shard = small_shard(tmp_path / str(version), version)
        for slot in range(30):
            shard.append(np.arange(3), np.full(3, NOW + 10 * slot), np.full(3, 1.0), NOW + 10 * slot)
        sync(shard)
        shard.close()
        again = small_shard(tmp_path / str(version), version, horizon=1000)
        assert (again.rings[0].read(np.arange(3), NOW // 10, 30) == 1.0).all()
        again.close()


@given(rows=st.integers(1, 5), slots=st.integers(1, 11), data=st.data())
def test_the_checksum_of_a_raw_block_is_what_the_specification_says(
    rows: int, slots: int, data: st.DataObject
) -> None:
    word = st.one_of(st.just(0), st.integers(0, (1 << 64) - 1))
    unit = np.array(data.draw(st.lists(word, min_size=rows * slots, max_size=rows * slots)), np.uint64)
    unit, block = unit.reshape(rows, slots), data.draw(st.integers(0, 1 << 30))
    total, bits = 0, (1 << 64) - 1
    for i, row in enumerate(unit.tolist()):
        sums = [(4 * i + k + 1) * CHECK_FACTOR & bits for k in range(4)]
        for j, one in enumerate(row):
            s = (sums[j % 4] ^ one) * CHECK_FACTOR & bits
            sums[j % 4] = s ^ s >> 29
        total += sum(sums) if any(row) else 0
    assert digest_of(unit, block) == ((total & bits ^ block + 1) * CHECK_FACTOR & bits) >> 32 or 1
    longer = np.concatenate((unit, np.zeros((2, slots), np.uint64)))
    assert digest_of(longer, block) == digest_of(unit, block)


def test_a_raw_block_that_is_damaged_is_not_given_a_new_checksum(tmp_path: Path) -> None:
    shard = small_shard(tmp_path, 2)
    for slot in range(40):
        shard.append(np.arange(3), np.full(3, NOW + 10 * slot), np.full(3, 1.0), NOW + 10 * slot)
        shard.seal_ahead(9)
        sync(shard)
    ring = shard.rings[0]
    raw = np.flatnonzero(ring.file.stamps(0))
    ring.file.unit(0, int(raw[0]))[1, 3] ^= np.uint64(1 << 50)
    ring.places.pack_after = 0
    assert shard.pack_some(NOW + 10_000, 99) == len(raw) - 1
    shard.close()


def small_shard(folder: Path, version: int, horizon: int | None = None) -> Shard:
    schema = Schema(Retention((Archive(10, 48),)), "max", 0.0)
    path = folder / "10s.ring"
    if not path.exists():
        wanted = Geometry.choose(10, 48)
        Ring.create(path, Geometry(10, 48, wanted.block, version), {}).close()
    return Shard(folder, schema, 3, writable=True, horizon=horizon)


def sync(shard: Shard) -> None:
    for ring, begun in shard.begin_sync():
        begun.run()
        ring.end_sync(begun)


def test_verify_says_what_is_damaged_and_which_series_and_time_that_is(built: Built, tmp_path: Path) -> None:
    closed_store(tmp_path, built)
    sound = CliRunner().invoke(main, ["verify", "--data", str(tmp_path)])
    assert (sound.exit_code, "all is as it was written" in sound.output) == (0, True), sound.output
    ring = next(ring for ring in built.states[0].rings if ring.archive == 0)
    place = next(p for p in range(ring.geometry.places) if int(ring.stamps[0, p]) & PACKED)
    path, at = tmp_path / ring.path, ring.geometry.packed_offset(0, place) + 3500
    data = bytearray(path.read_bytes())
    data[at - 400] ^= 1
    path.write_bytes(data)
    found = CliRunner().invoke(main, ["verify", "--data", str(tmp_path)])
    start = ((int(ring.stamps[0, place]) & ~PACKED) - 1) * ring.geometry.block * 10
    assert found.exit_code == 1
    assert (
        f"{path}: at byte {at - 3500}: the block's checksum is wrong; lost: 510 series, s.0 … s.511"
        in found.output
    )
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start)) in found.output
