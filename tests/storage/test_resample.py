"""Resampling: archives of one retention → those of another, against a plain twin of dicts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import consolidation
from storage.errors import InvalidRetention
from storage.resample import Floats, Held, resample
from storage.retention import Archive, Retention, parse
from storage.schema import Schema
from tests.effort import tries

NOW = 1_700_000_030
Dicts = list[tuple[Archive, int, dict[int, float]]]  # (archive, first slot, slot → value), finest first


# --- the plain twin ---


def twin_slot(held: Dicts, slot: int, step: int, schema: Schema) -> float | None:
    """What one new slot holds, asked one source after the other: who prevails comes first."""
    for archive, first, known in held:
        if archive.step == step and slot >= first:
            return known.get(slot)
    finer = [one for one in held if one[0].step < step and all(a.step != step for a, _, _ in held)]
    for one in finer:  # whole slots, the finest first
        value, whole = twin_rolled(one, slot, step, schema)
        if value is not None and whole:
            return value
    for i, (archive, _, known) in enumerate(held):
        if archive.step > step:
            for at, value in known.items():
                if at * archive.step // step == slot and not (i and twin_told(held[i - 1], at, archive.step)):
                    return value
    for one in reversed(finer):  # a slot of which only the end is left
        value, _ = twin_rolled(one, slot, step, schema)
        if value is not None:
            return value
    return None


def twin_rolled(
    one: tuple[Archive, int, dict[int, float]], slot: int, step: int, schema: Schema
) -> tuple[float | None, bool]:
    archive, first, known = one
    parts = [at for at in range(slot * step // archive.step, (slot + 1) * step // archive.step + 1)
             if at * archive.step // step == slot]  # fmt: skip
    column = np.array([[known.get(at, np.nan)] for at in parts])
    values, counts = consolidation.columns(schema.aggregation, column)
    enough = counts[0] > 0 and counts[0] / len(parts) >= schema.x_files_factor
    return (float(values[0]) if enough else None), parts[0] >= first


def twin_told(finer: tuple[Archive, int, dict[int, float]], at: int, step: int) -> bool:
    archive, first, known = finer
    start, stop = at * step // archive.step, (at + 1) * step // archive.step
    return start >= first and any(fine in known for fine in range(start, stop))


def twin(held: Dicts, schema: Schema) -> list[dict[int, float]]:
    until = max((first + archive.points + 1) * archive.step for archive, first, _ in held)
    new = []
    for archive in schema.retention.archives:
        slots = range((NOW - archive.duration) // archive.step + 1, -(-until // archive.step))
        answers = ((slot, twin_slot(held, slot, archive.step, schema)) for slot in slots)
        new.append({slot: value for slot, value in answers if value is not None})
    return new


# --- cases ---


def first_slot(archive: Archive) -> int:
    return (NOW - archive.duration) // archive.step + 1


def as_held(held: Dicts) -> list[Held]:
    """One row each; a slot more than the archive has, as there is after `now`."""
    out = []
    for archive, first, known in held:
        values = np.full((1, archive.points + 1), np.nan)
        for slot, value in known.items():
            values[0, slot - first] = value
        out.append(Held(archive, first, values))
    return out


def as_dicts(held: list[Held], row: int = 0) -> list[dict[int, float]]:
    out = []
    for one in held:
        known = np.flatnonzero(~np.isnan(one.values[row]))
        out.append(dict(zip((known + one.first).tolist(), one.values[row, known].tolist(), strict=True)))
    return out


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    """Mostly few points, so that archives end in the middle of each other's slots."""
    archives: list[Archive] = []
    step = draw(st.sampled_from([1, 7, 10, 15, 20, 60]))
    points = draw(st.integers(2, 12))
    for _ in range(draw(st.integers(1, 3))):
        archives.append(Archive(step, points))
        ratio = draw(st.integers(2, 6))
        if archives[-1].points < ratio:
            break
        step *= ratio
        points = points // ratio + draw(st.integers(1, 6))
        points = max(points, 2)
    try:
        return Retention(tuple(archives))
    except InvalidRetention:
        return Retention(tuple(archives[:1]))


@st.composite
def filled(draw: st.DrawFn, retention: Retention) -> Dicts:
    out: Dicts = []
    for archive in retention.archives:
        first = first_slot(archive)
        slots = st.integers(first, first + archive.points)
        whole = dict.fromkeys(range(first, first + archive.points + 1), 1.0)
        values = st.integers(-9, 9).map(float)
        some = st.dictionaries(slots, values, max_size=archive.points + 1)
        known = draw(some) if draw(st.booleans()) else {slot: float(slot % 7) for slot in whole}
        out.append((archive, first, known))
    return out


Methods = st.sampled_from(["average", "sum", "last", "max", "min", "avg_zero", "absmax", "count", "median"])
Factors = st.sampled_from([0.0, 0.3, 0.5, 1.0])


@given(data=st.data(), old=retentions(), new=retentions(), method=Methods, factor=Factors)
@settings(max_examples=tries(250), deadline=None)
def test_every_slot_is_what_the_plain_twin_says(
    data: st.DataObject, old: Retention, new: Retention, method: str, factor: float
) -> None:
    held, schema = data.draw(filled(old)), Schema(new, method, factor)
    assert as_dicts(resample(as_held(held), schema, NOW)) == twin(held, schema)


@given(
    data=st.data(), old=retentions(), method=Methods, factor=Factors, more=st.integers(0, 5), rows=st.integers(1, 3)
)  # fmt: skip
@settings(max_examples=tries(150), deadline=None)
def test_an_archive_that_does_not_change_comes_through_to_the_last_bit(
    data: st.DataObject, old: Retention, method: str, factor: float, more: int, rows: int
) -> None:
    """Whatever its neighbours become; any bits, NaN where there is nothing."""
    held = [
        Held(one.archive, one.first, np.repeat(one.values, rows, axis=0) * np.pi)
        for one in as_held(data.draw(filled(old)))
    ]
    kept = data.draw(st.sampled_from(held))
    others = [one.archive for one in held if one.step != kept.step and data.draw(st.booleans())]
    longer = Archive(kept.step, kept.archive.points + more)
    archives = sorted([*others, longer], key=lambda one: one.step)
    try:
        schema = Schema(Retention(tuple(archives)), method, factor)
    except InvalidRetention:
        schema = Schema(Retention((longer,)), method, factor)
    (new,) = [one for one in resample(held, schema, NOW) if one.step == kept.step]
    same = new.between(kept.first, kept.stop)
    assert (same.view(np.uint64) == kept.values.view(np.uint64)).all()


# --- examples ---


def made(text: str, *known: dict[int, float]) -> list[Held]:
    """Archives of a retention, each with {age in seconds: value}; ages are from the last whole hour."""
    hour = NOW // 3600 * 3600
    archives = parse(text).archives
    dicts = [
        {(hour - age) // archive.step: value for age, value in points.items()}
        for archive, points in zip(archives, known, strict=True)
    ]
    held: Dicts = [(a, first_slot(a), one) for a, one in zip(archives, dicts, strict=True)]
    return as_held(held)


def at_ages(one: Held, row: int = 0) -> dict[int, float]:
    hour = NOW // 3600 * 3600
    (known,) = as_dicts([one._replace(values=one.values[row : row + 1])])
    return {hour - slot * one.step: value for slot, value in known.items()}


def test_a_coarser_point_stands_at_its_own_timestamp_and_not_in_a_gap_between_finer_ones() -> None:
    held = made("1m:2h,5m:1d", {600: 1.0, 480: 3.0}, {600: 2.0, 900: 9.0, 36_000: 5.0})
    (new,) = resample(held, Schema(parse("30s:1d"), "average", 0), NOW)
    # 600 … 300 s ago is told by the minutes, 900 s ago nobody else knows
    assert at_ages(new) == {36_000: 5.0, 900: 9.0, 600: 1.0, 480: 3.0}


def test_the_finest_that_has_the_whole_slot_prevails_and_its_end_fills_only_what_nobody_knows() -> None:
    held = made("10s:1h,1m:6h", {}, {})
    fine, coarse = held
    fine.values[:], coarse.values[:] = 1.0, 2.0
    coarse.values[0, 0] = np.nan
    (new,) = resample(held, Schema(parse("5m:6h"), "max", 0), NOW)
    border = -(-fine.first * 10 // 300)  # the first slot of five minutes that the tens of seconds have whole
    assert (new.between(border, new.stop) == 1.0).all()
    assert (new.between(new.first, border) == 2.0).all()
    (alone,) = resample([fine], Schema(parse("5m:6h"), "max", 0), NOW)
    assert (alone.between(border - 1, alone.stop) == 1.0).all()


def test_too_few_known_values_are_not_rolled_up() -> None:
    hour = {3600 - 10 * i: 1.0 for i in range(2)}
    (new,) = resample(made("10s:6h", hour), Schema(parse("1m:6h"), "sum", 0.5), NOW)
    assert at_ages(new) == {}
    (new,) = resample(made("10s:6h", hour), Schema(parse("1m:6h"), "sum", 0.3), NOW)
    assert at_ages(new) == {3600: 2.0}


def test_what_rolls_up_is_the_first_of_several_aggregations() -> None:
    (new,) = resample(made("10s:6h", {3600: 1.0, 3590: 5.0}), Schema(parse("1m:6h"), "max,sum", 0), NOW)
    assert at_ages(new) == {3600: 5.0}


def test_values_ahead_of_now_come_along() -> None:
    archive = Archive(60, 60)
    values: Floats = np.full((1, 70), np.nan)
    values[0, 69] = 4.0
    held = [Held(archive, first_slot(archive), values)]
    new, coarse = resample(held, Schema(parse("1m:2h,5m:1d"), "sum", 0), NOW)
    ahead = first_slot(archive) + 69
    assert as_dicts([new, coarse]) == [{ahead: 4.0}, {ahead // 5: 4.0}]
