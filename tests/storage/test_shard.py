"""A shard against the whisper package: the same datapoints in, the same answer out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import whisper
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from storage.consolidation import WHISPER_METHODS
from storage.retention import Archive, Retention
from storage.ring import Floats, Integers
from storage.schema import Schema
from storage.shard import Shard, Window, choose_window
from tests.effort import tries

NOW = 1_700_000_003


def read(shard: Shard, rows: Integers, window: Window, method: str | None = None) -> Floats:
    """float64 (rows, window.points)"""
    out = np.empty((len(rows), window.points))
    shard.read_into(out, np.arange(len(rows)), rows, window, method)
    return out


Point = tuple[int, float]  # timestamp, value


@st.composite
def retentions(draw: st.DrawFn) -> list[tuple[int, int]]:
    """1–3 archives that whisper accepts: (step, points)."""
    step, points = draw(st.sampled_from([1, 5, 10, 60])), draw(st.integers(2, 90))
    archives = [(step, points)]
    for _ in range(draw(st.integers(0, 2))):
        ratio = draw(st.sampled_from([2, 3, 6, 15, 60]))
        assume(points >= ratio)
        longer = step * points // (step * ratio) + draw(st.integers(1, 60))
        step, points = step * ratio, longer
        archives.append((step, points))
    return archives


@st.composite
def cases(
    draw: st.DrawFn,
) -> tuple[list[tuple[int, int]], str, float, list[list[Point]], list[tuple[int, int]]]:
    archives = draw(retentions())
    slots = st.tuples(st.integers(0, len(archives) - 1), st.floats(0, 1, exclude_max=True))

    def point(at: tuple[int, float], value: int) -> Point:
        step, points = archives[at[0]]
        newest = NOW // step
        slot = newest - int(at[1] * (points - 1))
        return min(NOW, slot * step + value % step), float(value)

    batch = st.lists(st.builds(point, slots, st.integers(-50, 50)), max_size=25)
    longest = archives[-1][0] * archives[-1][1]
    ages = st.integers(0, longest + 100)
    windows = st.lists(st.tuples(ages, ages).map(lambda ab: (max(ab), min(ab))), min_size=1, max_size=5)
    xff = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return (
        archives,
        draw(st.sampled_from(WHISPER_METHODS)),
        xff,
        draw(st.lists(batch, max_size=4)),
        draw(windows),
    )


def straddles(archives: list[tuple[int, int]], start: int, step: int) -> bool:
    """Whether a coarse slot lies across the end of a finer archive: there whisper's answer hangs on the order."""
    return any(
        s < step and start <= NOW - s * p + s and NOW - s * p - step < start + step for s, p in archives
    )


@given(case=cases())
@settings(max_examples=tries(150), deadline=None)
@example(
    case=(
        [(60, 90), (900, 8)],
        "average",
        0.5,
        [[(NOW - 600 + 60 * i, float(i)) for i in range(10)]],
        [(3600, 0)],
    )
)
def test_the_same_points_give_the_answer_that_whisper_gives(
    case: tuple, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archives, method, xff, batches, windows = case
    folder = tmp_path_factory.mktemp("shard")
    path = str(folder / "m.wsp")
    whisper.create(path, archives, xFilesFactor=xff, aggregationMethod=method)
    shard = Shard(
        folder, Schema(Retention(tuple(Archive(s, p) for s, p in archives)), method, xff), 5, writable=True
    )
    for batch in batches:
        for timestamp, value in batch:
            whisper.update_many(path, [(timestamp, value)], now=NOW)
        if batch:
            times, values = np.array([t for t, _ in batch]), np.array([v for _, v in batch])
            assert shard.append(np.full(len(batch), 3), times, values, NOW) == 0
    shard.roll_up()
    for oldest, newest in windows:
        compare(shard, path, archives, NOW - oldest, NOW - newest)
    shard.close()


def compare(shard: Shard, path: str, archives: list[tuple[int, int]], start: int, until: int) -> None:
    theirs = whisper.fetch(path, start, until, now=NOW)
    window = shard.window(start, until, NOW)
    if theirs is None:
        assert window is None
        return
    assert window is not None
    (first, end, step), values = theirs
    assert (window.start, window.start + window.points * window.step, window.step) == (first, end, step)
    ours = read(shard, np.array([3]), window)[0]
    expected = np.array(values, float)
    same = np.array([straddles(archives, at, step) for at in range(first, end, step)])
    np.testing.assert_allclose(np.where(same, 0, ours), np.where(same, 0, expected), rtol=1e-12)


@given(
    points=st.lists(st.tuples(st.integers(0, 3000), st.integers(-9, 9)), min_size=1, max_size=80),
    method=st.sampled_from(["sum", "average,max,count,p90"]),
    data=st.data(),
)
@settings(max_examples=tries(60), deadline=None)
def test_any_order_gives_the_same_archives(
    points: list[tuple[int, int]], method: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    schema = Schema(Retention((Archive(10, 400), Archive(60, 400), Archive(600, 100))), method, 0.0)
    unique = list({(NOW - age) // 10: (age, value) for age, value in points}.values())  # one a slot
    answers = []
    for number, order in enumerate((unique, data.draw(st.permutations(unique)))):
        shard = Shard(folder / str(number), schema, 1, writable=True)
        cut = data.draw(st.integers(0, len(order)))
        for part in (order[:cut], order[cut:]):
            if part:
                times = np.array([NOW - age for age, _ in part])
                shard.append(np.zeros(len(part), np.int64), times, np.array([float(v) for _, v in part]), NOW)
            if data.draw(st.booleans()):
                shard.roll_up()
        shard.roll_up()
        answers.append(
            [
                ring.read(np.array([0]), (NOW - 3600) // ring.geometry.step, 3700 // ring.geometry.step)
                for ring in shard.every_ring()
            ]
        )
        shard.close()
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


Writes = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4200), st.integers(-9, 9)), min_size=1, max_size=30),
    max_size=6,
)


@given(batches=Writes, data=st.data())
@settings(max_examples=tries(60), deadline=None)
def test_each_aggregation_kept_is_what_it_would_be_alone(
    batches: list, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    retention = Retention((Archive(10, 90), Archive(60, 40), Archive(600, 12)))
    methods = ("average", "max", "min", "sum", "last", "median", "count")
    together = Shard(
        folder / "all", Schema(retention, ",".join(methods), 0.5), 3, writable=True, pack_after=0
    )
    alone = [
        Shard(folder / method, Schema(retention, method, 0.5), 3, writable=True, pack_after=None)
        for method in methods[:-1]
    ]
    now = NOW
    for batch in batches:
        rows, ages, values = (np.array(column) for column in zip(*batch, strict=True))
        for shard in (together, *alone):
            shard.append(rows, now - ages, values.astype(float), now)
        if data.draw(st.booleans()):
            for shard in (together, *alone):
                shard.roll_up()
            together.seal_ahead(64)
        if data.draw(st.booleans()):
            for _, sync in together.begin_sync():
                sync.run()
        now += data.draw(st.sampled_from([0, 30, 700]))
    for shard in (together, *alone):
        shard.roll_up()
    everything = np.arange(3)
    for i, archive in enumerate(retention.archives):
        at = (now - archive.duration) // archive.step + 1, archive.points
        for method, shard in zip(methods, alone, strict=False):
            np.testing.assert_array_equal(
                together.ring(i, method).read(everything, *at), shard.rings[i].read(everything, *at)
            )
        if i == 1:
            fine = together.rings[0].read(everything, at[0] * 6, archive.points * 6)
            known = (~np.isnan(fine.reshape(3, -1, 6))).sum(axis=2)
            counted = together.ring(1, "count").read(everything, *at)
            late = np.isnan(counted) | (known == 0)  # beyond the finest archive, or half of it
            young = np.arange(at[0], at[0] + archive.points) * 60 > now - 900 + 60
            assert (late | (counted == known) | ~young).all()
    for shard in (together, *alone):
        shard.close()


def test_what_is_from_before_an_aggregation_was_kept_is_the_series_own(tmp_path: Path) -> None:
    retention = Retention((Archive(10, 12), Archive(60, 60)))
    shard = Shard(tmp_path, Schema(retention, "average,max,sum", 0.0), 1, writable=True)
    row, window = np.array([0]), choose_window(retention.archives, NOW - 3000, NOW, NOW)
    assert window is not None
    shard.write_archive(1, row, NOW // 60 - 20, np.array([[1.0, 2.0]]), NOW)
    shard.write_archive(1, row, NOW // 60 - 19, np.array([[9.0]]), NOW, "max")
    found = {m: read(shard, row, window, m)[0] for m in (None, "average", "max", "sum", "min")}
    known = {m: values[~np.isnan(values)].tolist() for m, values in found.items()}
    assert known == {None: [1, 2], "average": [1, 2], "max": [1, 9], "sum": [], "min": [1, 2]}


def test_what_was_written_before_a_kill_is_rolled_up_at_the_next_start(tmp_path: Path) -> None:
    schema = Schema(Retention((Archive(10, 400), Archive(60, 400))), "max", 0.0)
    killed = Shard(tmp_path, schema, 1, writable=True)
    killed.append(np.array([0, 0]), np.array([NOW - 20, NOW - 30]), np.array([3.0, 5.0]), NOW)
    again = Shard(tmp_path, schema, 1, writable=True)
    again.roll_up()
    window = choose_window(schema.retention.archives, NOW - 6000, NOW, NOW)
    assert window is not None
    assert window.step == 60
    assert np.nanmax(read(again, np.array([0]), window)) == 5.0


def test_what_came_to_a_head_that_was_sealed_already_is_rolled_up_before_the_head_goes(
    tmp_path: Path,
) -> None:
    schema = Schema(Retention((Archive(10, 400), Archive(60, 400))), "max", 0.0)
    killed = Shard(tmp_path, schema, 1, writable=True)
    row, fine = np.array([0]), killed.rings[0]
    start = NOW // 10 // fine.geometry.block * fine.geometry.block * 10
    for at in range(0, fine.geometry.block * 15, 10):
        killed.append(row, np.array([start + at]), np.array([1.0]), start + at)
    killed.roll_up()
    assert killed.seal_ahead(64) > 0
    killed.append(row, np.array([start + 20]), np.array([7.0]), start + fine.geometry.block * 15)
    fine.sync()
    assert not fine.places.puts
    again = Shard(tmp_path, schema, 1, writable=True)
    again.roll_up()
    assert again.rings[1].read(row, start // 60, 1).tolist() == [[7.0]]


def test_a_window_before_all_archives_or_in_the_future_is_none() -> None:
    archives = (Archive(10, 6), Archive(60, 10))
    assert choose_window(archives, NOW - 10_000, NOW - 5_000, NOW) is None
    assert choose_window(archives, NOW + 1, NOW + 2, NOW) is None
    assert choose_window(archives, NOW, NOW - 10, NOW) is None
