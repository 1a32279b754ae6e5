"""A ring against a dict: any order of writes, wraps, reopening; and its file against its specification."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import CorruptRing
from storage.format import LANE_ROWS, LANES_START, PAGE, Geometry, decode_header
from storage.ring import Ring
from tests.effort import tries

STEP, POINTS = 10, 40


def ring(folder: Path, rows: int, points: int = POINTS) -> Ring:
    made = Ring.create(folder / "10s.ring", Geometry.choose(STEP, points), {"retention": "10s:400"})
    made.make_room(rows)
    return made


def write(to: Ring, rows: list[int], slots: list[int], values: list[float]) -> list[int]:
    return to.write(np.array(rows), np.array(slots), np.array(values, float)).tolist()


def read(of: Ring, rows: list[int], first: int, points: int) -> np.ndarray:
    return of.read(np.array(rows), first, points)


Writes = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 3 * POINTS), st.integers(-9, 9)), max_size=60)


@given(steps=st.lists(st.one_of(Writes, st.just("reopen")), max_size=6))
@settings(max_examples=tries(120), deadline=None)
def test_what_was_written_last_to_a_slot_is_read_until_its_block_is_overtaken(
    steps: list, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    one, model = ring(folder, 700), {}
    newest: dict[int, int] = {}
    for step in steps:
        if step == "reopen":
            one.close()
            one = Ring(folder / "10s.ring", writable=True)
            one.make_room(700)
            continue
        if step:
            before = one.overtaken
            write(one, *map(list, zip(*step, strict=True)))
            refused = one.overtaken - before
            for row, slot, value in step:
                model[row, slot] = float(value)
                lane = row // LANE_ROWS
                newest[lane] = max(newest.get(lane, 0), slot)
            assert refused == 0 or any(newest[r // LANE_ROWS] - s > POINTS for r, s, _ in step)
    for lane, slot in newest.items():
        rows = sorted({row for row, _ in model if row // LANE_ROWS == lane})
        first = max(0, slot - POINTS + 1)
        expected = [[model.get((row, at), np.nan) for at in range(first, slot + 1)] for row in rows]
        np.testing.assert_array_equal(read(one, rows, first, slot + 1 - first), expected)
    one.close()


def test_a_reader_sees_values_seals_and_new_lanes_of_a_writer_at_once(tmp_path: Path) -> None:
    writer = ring(tmp_path, 3)
    reader = Ring(tmp_path / "10s.ring", writable=False)
    write(writer, [0, 2], [5, 6], [1.5, 2.5])
    assert read(reader, [0, 2], 5, 2).tolist()[0][0] == 1.5
    writer.make_room(LANE_ROWS + 1)
    write(writer, [LANE_ROWS], [5], [9.0])
    assert read(reader, [LANE_ROWS], 5, 1) == [[9.0]]
    write(writer, [0] * 60, list(range(60)), [float(i) for i in range(60)])
    assert read(reader, [0], 25, 35).tolist() == [[float(i) for i in range(25, 60)]]


def test_a_slot_that_comes_round_again_holds_nothing_of_its_last_round(tmp_path: Path) -> None:
    one = ring(tmp_path, 2)
    for slot in range(300):
        write(one, [0], [slot], [float(slot)])
    one.make_room(3)
    write(one, [2], [299], [1.0])
    got = read(one, [0, 1, 2], 260, 40)
    assert got[0].tolist() == [float(s) for s in range(260, 300)]
    assert np.isnan(got[1]).all()
    assert np.isnan(got[2, :39]).all()
    assert got[2, 39] == 1.0


def test_a_late_value_beside_sealed_ones_changes_only_its_slot(tmp_path: Path) -> None:
    one = ring(tmp_path, 2)
    for slot in range(100, 140):
        write(one, [0, 1], [slot, slot], [1.0, 2.0])
    assert write(one, [1, 0], [105, 139], [7.0, 8.0]) == [0]
    got = read(one, [0, 1], 100, 40)
    assert got[0].tolist() == [1.0] * 39 + [8.0]
    assert got[1].tolist() == [2.0] * 5 + [7.0] + [2.0] * 34


def test_heads_are_sealed_ahead_some_at_a_time_and_read_as_before(tmp_path: Path) -> None:
    one = ring(tmp_path, 3 * LANE_ROWS)
    rows = [0, LANE_ROWS, 2 * LANE_ROWS]
    block = one.geometry.block
    first = 10 * block
    for slot in range(first, first + block + 1):
        write(one, rows, [slot] * 3, [float(slot)] * 3)
    before = read(one, rows, first, block + 1)
    assert [one.seal_ahead(2), one.seal_ahead(2), one.seal_ahead(2)] == [2, 1, 0]
    np.testing.assert_array_equal(read(one, rows, first, block + 1), before)
    one.sync()
    np.testing.assert_array_equal(read(one, rows, first, block + 1), before)
    assert [int(one.file.stamps(lane)[10 % one.geometry.places]) for lane in range(3)] == [11] * 3


def test_a_late_value_of_a_block_that_was_sealed_early_is_not_hidden_by_an_empty_head(tmp_path: Path) -> None:
    one = ring(tmp_path, 1)
    write(one, [0] * 3, [100, 110, 120], [1.0, 2.0, 3.0])
    block = one.geometry.block
    for head in (0, 1):
        if int(one.file.heads(0)[head]) == 110 // block + 1:
            one.seal(0, head)
            one.sync()
    write(one, [0], [111], [4.0])
    one.sync()
    assert read(one, [0], 110, 2).tolist() == [[2.0, 4.0]]


def test_dirty_says_which_slots_were_written_to_heads(tmp_path: Path) -> None:
    one = ring(tmp_path, 600)
    write(one, [3, 5, 599], [101, 104, 102], [1.0, 2.0, 3.0])
    rows, coarse = one.pairs(one.take_dirty(lane=0), 2)
    assert sorted(set(coarse.tolist())) == [50, 51, 52]
    assert rows.tolist() == list(range(LANE_ROWS)) * 3
    rows, coarse = one.pairs(one.take_dirty(), 2)
    assert (rows.tolist(), set(coarse.tolist())) == (list(range(LANE_ROWS, 600)), {51})
    assert len(one.pairs(one.take_dirty(), 2)[0]) == 0


def test_a_small_ring_takes_little_space(tmp_path: Path) -> None:
    one = Ring.create(tmp_path / "60s.ring", Geometry.choose(60, 43_200, ratio=15), {})
    one.make_room(50)
    for slot in range(600):
        write(one, list(range(50)), [slot] * 50, [1.0] * 50)
    assert (tmp_path / "60s.ring").stat().st_blocks * 512 < 2 << 20


@pytest.mark.parametrize("at", [0, 8, 12, 20, 40, 60])
def test_a_damaged_header_is_named(tmp_path: Path, at: int) -> None:
    ring(tmp_path, 1).close()
    path = tmp_path / "10s.ring"
    data = bytearray(path.read_bytes())
    data[at] ^= 0x41
    path.write_bytes(data)
    with pytest.raises(CorruptRing, match=r"10s\.ring"):
        Ring(path, writable=True)


def test_the_file_is_what_the_specification_says(tmp_path: Path) -> None:
    one = ring(tmp_path, 2)
    write(one, [1], [77], [1.5])
    data = (tmp_path / "10s.ring").read_bytes()
    geometry, schema = decode_header(data[:PAGE], "x")
    assert (geometry.step, geometry.points, schema) == (STEP, POINTS, {"retention": "10s:400"})
    assert len(data) == LANES_START + geometry.lane_bytes
    block, s = divmod(77, geometry.block)
    head = block % 2
    assert struct.unpack_from("<Q", data, PAGE + 8 * head)[0] == block + 1
    assert struct.unpack_from("<I", data, PAGE + 8 * (5 + head))[0] == s
    assert struct.unpack_from("<I", data, PAGE + 8 * (2 + head))[0] == s + 1
    at = LANES_START + geometry.stamps_bytes + head * geometry.unit_bytes + s * PAGE + 8
    stored = struct.unpack_from("<Q", data, at)[0]
    assert struct.unpack("<d", struct.pack("<Q", stored ^ 0x7FF8000000000000))[0] == 1.5


@given(st.integers(1, 3600), st.integers(2, 100_000), st.integers(1, 4000))
def test_a_geometry_holds_its_archive_and_whole_coarse_slots(step: int, points: int, ratio: int) -> None:
    geometry = Geometry.choose(step, points, ratio=ratio)
    assert (geometry.places - 1) * geometry.block >= points
    assert geometry.block <= 512
    if ratio <= 256:
        assert geometry.block % ratio == 0
