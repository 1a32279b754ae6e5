"""Archives of one retention → archives of another: pure, on matrices (rows, slots). What a new slot holds:

    an old archive has the same step   what stands there, missing or not, as far back as that archive reaches
    only finer ones, or beyond it      the finer rolled up by the new aggregation and xFilesFactor; the finest prevails
    coarser ones                       each old point at the slot of its own timestamp, as whisper-resize puts it

A coarser point says what finer ones were rolled up to, so it stands only where the next finer archive has nothing of
the point's time: otherwise it would fill a gap between finer points, and a sum would count them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import consolidation
from storage.retention import Archive
from storage.schema import Schema

Floats = npt.NDArray[np.float64]


class Held(NamedTuple):
    """Slots of one archive: column j is slot `first` + j, and `slot = timestamp // step`."""

    archive: Archive
    first: int
    values: Floats  # float64 (rows, slots), NaN = missing

    @property
    def step(self) -> int:
        return self.archive.step

    @property
    def stop(self) -> int:
        """The slot after the last."""
        slots: int = self.values.shape[1]
        return self.first + slots

    def between(self, first: int, stop: int) -> Floats:
        """The columns of slots first … stop - 1, which must be held; what is written there is written here."""
        return self.values[:, first - self.first : stop - self.first]


def resample(held: Sequence[Held], schema: Schema, now: int) -> list[Held]:
    """The archives of `schema` at `now` (epoch seconds), made of those of another; at least one is held.

    They reach as far ahead as what is held. The steps that are held are those of a Retention: each a multiple of the
    finer ones. The new steps may be anything.
    """
    finest_first = sorted(held, key=lambda one: one.step)
    return [_archive(finest_first, archive, schema, now) for archive in schema.retention.archives]


def resample_beside(held: Sequence[Held], schema: Schema, method: str, now: int) -> list[Held]:
    """The coarser archives of `schema` for an aggregation that is kept beside the series' own.

    Held are the series' finest archive and, if the aggregation was kept before, the coarser ones with what it gave.
    """
    finest, *coarser = sorted(held, key=lambda one: one.step)
    if method == "count":  # of a value; coarser archives hold counts, which are summed
        finest = finest._replace(values=np.where(np.isnan(finest.values), np.nan, 1.0))
    rolls_up = Schema(schema.retention, "sum" if method == "count" else method, schema.x_files_factor)
    return resample([finest, *coarser], rolls_up, now)[1:]


def _archive(held: list[Held], archive: Archive, schema: Schema, now: int) -> Held:
    first = max(0, (now - archive.duration) // archive.step + 1)
    until = max(one.stop * one.step for one in held)
    slots = max(0, _above(until, archive.step) - first)
    new = Held(archive, first, np.full((len(held[0].values), slots), np.nan))
    for i in range(len(held) - 1, -1, -1):  # coarse first: what finer ones know is laid over it
        if held[i].step > new.step:
            _stand(new, held[i], held[i - 1] if i else None)
        elif held[i].step < new.step:
            _roll(new, held[i], schema)
        else:
            _take(new, held[i])
            break  # it was made of the finer ones, or knows better than they do
    return new


def _take(new: Held, one: Held) -> None:
    """Lay an archive of the same step over the new one, missing values too."""
    first, stop = max(new.first, one.first), min(new.stop, one.stop)
    if first < stop:
        new.between(first, stop)[:] = one.between(first, stop)
        new.between(stop, new.stop)[:] = np.nan


def _stand(new: Held, one: Held, finer: Held | None) -> None:
    """Put a coarser archive's points at the slots of their own timestamps."""
    slots = np.arange(one.first, one.stop) * one.step // new.step
    low, high = np.searchsorted(slots, (new.first, new.stop))
    part = Held(one.archive, one.first + int(low), one.values[:, low:high])
    put = ~np.isnan(part.values)
    if finer is not None:
        put &= ~_told(finer, part)
    columns = slots[low:high] - new.first
    new.values[:, columns] = np.where(put, part.values, new.values[:, columns])


def _told(finer: Held, one: Held) -> npt.NDArray[np.bool_]:
    """bool (rows, slots of one): where the finer archive reaches back to the slot and knows a point in it."""
    ratio = one.step // finer.step
    first, stop = max(one.first, _above(finer.first, ratio)), min(one.stop, _above(finer.stop, ratio))
    told = np.zeros(one.values.shape, np.bool_)
    if first < stop:
        known = np.zeros((len(told), (stop - first) * ratio), np.bool_)
        fine = finer.between(first * ratio, min(finer.stop, stop * ratio))
        np.logical_not(np.isnan(fine), out=known[:, : fine.shape[1]])
        told[:, first - one.first : stop - one.first] = known.reshape(len(told), -1, ratio).any(axis=2)
    return told


def _roll(new: Held, one: Held, schema: Schema) -> None:
    """Lay a finer archive, rolled up, over the new one.

    The oldest slot is only filled where nothing is known of it yet when the finer archive has but its end.
    """
    first = max(new.first, one.first * one.step // new.step)
    stop = min(new.stop, _above(one.stop * one.step, new.step))
    if first >= stop:
        return
    starts = -(-np.arange(first, stop + 1) * new.step // one.step)  # the finer slot that each begins with
    sizes = np.diff(starts)
    for size in np.unique(sizes).tolist():  # two where the steps do not divide: 10 s → 15 s is 2, 1, 2, 1 …
        which = np.flatnonzero(sizes == size)
        fine = _columns(one, (starts[which][:, None] + np.arange(size)).reshape(-1))
        # what rollup.rollup gives, but for series that lie side by side
        reduced = consolidation.rows(schema.method, fine.reshape(-1, size))
        enough = (reduced.known > 0) & (reduced.known / size >= schema.x_files_factor)
        columns = which + (first - new.first)
        old = new.values[:, columns]
        put = enough.reshape(old.shape) & ((starts[which] >= one.first) | np.isnan(old))
        new.values[:, columns] = np.where(put, reduced.values.reshape(old.shape), old)


def _columns(one: Held, slots: npt.NDArray[np.int64]) -> Floats:
    """float64 (rows, slots), NaN for slots that are not held."""
    fine = one.values.take(slots - one.first, axis=1, mode="clip")
    fine[:, (slots < one.first) | (slots >= one.stop)] = np.nan
    return fine


def _above(number: int, size: int) -> int:
    """number / size, rounded up."""
    return -(-number // size)
