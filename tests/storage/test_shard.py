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
from storage.schema import Schema
from storage.shard import Shard, choose_window

NOW = 1_700_000_003
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
@settings(max_examples=150, deadline=None)
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
    ours = shard.read(np.array([3]), window)[0]
    expected = np.array(values, float)
    same = np.array([straddles(archives, at, step) for at in range(first, end, step)])
    np.testing.assert_allclose(np.where(same, 0, ours), np.where(same, 0, expected), rtol=1e-12)


@given(
    points=st.lists(st.tuples(st.integers(0, 3000), st.integers(-9, 9)), min_size=1, max_size=80),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_order_gives_the_same_archives(
    points: list[tuple[int, int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    schema = Schema(Retention((Archive(10, 400), Archive(60, 400), Archive(600, 100))), "sum", 0.0)
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
                for ring in shard.rings
            ]
        )
        shard.close()
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_written_before_a_kill_is_rolled_up_at_the_next_start(tmp_path: Path) -> None:
    schema = Schema(Retention((Archive(10, 400), Archive(60, 400))), "max", 0.0)
    killed = Shard(tmp_path, schema, 1, writable=True)
    killed.append(np.array([0, 0]), np.array([NOW - 20, NOW - 30]), np.array([3.0, 5.0]), NOW)
    again = Shard(tmp_path, schema, 1, writable=True)
    again.roll_up()
    window = choose_window(schema.retention.archives, NOW - 6000, NOW, NOW)
    assert window is not None
    assert window.step == 60
    assert np.nanmax(again.read(np.array([0]), window)) == 5.0


def test_a_window_before_all_archives_or_in_the_future_is_none() -> None:
    archives = (Archive(10, 6), Archive(60, 10))
    assert choose_window(archives, NOW - 10_000, NOW - 5_000, NOW) is None
    assert choose_window(archives, NOW + 1, NOW + 2, NOW) is None
    assert choose_window(archives, NOW, NOW - 10, NOW) is None
