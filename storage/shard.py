"""Up to 32,768 series of one schema: a ring for each archive, fine → coarse, and the rollup between them.

A series is a row. Values go to the finest archive that still covers their age; what they change in the coarser
ones is recomputed from the finer: for heads when `roll_up` is called, for late values at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from storage.durable import Sync
from storage.format import SHARD_ROWS, Geometry
from storage.retention import Archive
from storage.ring import Floats, Integers, Ring
from storage.rollup import rollup
from storage.schema import Schema

_PAIRS_AT_ONCE = 1 << 16  # (row, coarse slot) pairs rolled up together: ratio × 512 KiB of memory


class Window(NamedTuple):
    """The slots of one archive that answer a query: whisper's choice."""

    archive: int
    start: int  # epoch seconds of the first slot
    step: int
    points: int


def choose_window(archives: tuple[Archive, ...], start: int, until: int, now: int) -> Window | None:
    """whisper's window: (start, until] on the finest archive that reaches back to start from `now`.

    The first slot is the one after start; the last may lie after until. None where nothing can be: a start in
    the future, an end before all archives.
    """
    oldest = now - archives[-1].duration
    if start > now or until < oldest or start > until:
        return None
    start, until = max(start, oldest), min(until, now)
    choice = next(i for i, archive in enumerate(archives) if archive.duration >= now - start)
    step = archives[choice].step
    first = start - start % step + step
    last = until - until % step + step
    return Window(choice, first, step, max(1, (last - first) // step))


class Shard:
    """The rings of one shard, in `folder`; created as they are first needed."""

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        rows: int,
        *,
        writable: bool,
        durable: bool = False,
        recover: bool = False,
    ) -> None:
        """`durable`: syncs wait for the disk. `recover`: the power was cut; only what was synced is believed."""
        self.folder, self.schema, self.rows = folder, schema, rows
        self._writable = writable
        self.rings = [self._ring(i) for i in range(len(self.archives))]
        self._durations = [archive.duration for archive in self.archives]
        for ring in self.rings:
            ring.durable = durable
            if recover:
                ring.recover(rows)
        if writable:
            self.make_room(rows)
            for i, ring in enumerate(self.rings[:-1]):
                ring.before_seal = lambda lane, fine=i: self._roll_up_lane(fine, lane)  # type: ignore[misc]  # a bound default
                ring.mark_heads_dirty()

    @property
    def archives(self) -> tuple[Archive, ...]:
        return self.schema.retention.archives

    def _ring(self, i: int) -> Ring:
        archive = self.archives[i]
        path = self.folder / f"{archive.step}s.ring"
        if self._writable and not path.exists():
            return Ring.create(
                path, Geometry.choose(archive.step, archive.points, ratio=self._ratio(i)), self._description()
            )
        return Ring(path, writable=self._writable)

    def _description(self) -> dict[str, object]:
        """The schema as a ring file tells it to people and tools."""
        schema = self.schema
        return {
            "retention": str(schema.retention),
            "aggregation": schema.aggregation,
            "x_files_factor": schema.x_files_factor,
        }

    def _ratio(self, fine: int) -> int:
        if fine + 1 == len(self.archives):
            return 1
        return self.archives[fine + 1].step // self.archives[fine].step

    def close(self) -> None:
        for ring in self.rings:
            ring.close()

    @property
    def free_rows(self) -> int:
        return SHARD_ROWS - self.rows

    def make_room(self, rows: int) -> None:
        """Have room for `rows` rows; raises OSError (ENOSPC) before anything depends on it."""
        for ring in self.rings:
            ring.make_room(rows)
        self.rows = rows

    # --- writing ---

    def append(self, rows: Integers, timestamps: Integers, values: Floats, now: int) -> int:
        """Store values that are within the shard's retention; gives how many no archive could take."""
        overtaken = sum(ring.overtaken for ring in self.rings)
        oldest = int(timestamps.min())
        if now - oldest < self._durations[0]:
            self._write(0, rows, timestamps // self.archives[0].step, values)
        else:
            self._append_by_age(rows, timestamps, values, now)
        return sum(ring.overtaken for ring in self.rings) - overtaken

    def _append_by_age(self, rows: Integers, timestamps: Integers, values: Floats, now: int) -> None:
        archive = np.searchsorted(self._durations, now - timestamps, side="right")
        for i in range(len(self.archives) - 1, -1, -1):  # coarse first: what finer values roll up to prevails
            at = np.flatnonzero(archive == i)
            if len(at):
                self._write(i, rows[at], timestamps[at] // self.archives[i].step, values[at])

    def _write(self, i: int, rows: Integers, slots: Integers, values: Floats) -> None:
        late = self.rings[i].write(rows, slots, values)
        if len(late) and i + 1 < len(self.rings):
            ratio = self._ratio(i)
            pairs = np.unique(np.stack((slots[late] // ratio, rows[late].astype(np.int64))), axis=1)
            self._roll_up(i, pairs[1], pairs[0])

    def roll_up(self) -> None:
        """Bring the coarser archives up to date with what was written to heads."""
        for fine in range(len(self.rings) - 1):
            self._roll_up(fine, *self.rings[fine].take_dirty(self._ratio(fine)))

    def write_archive(self, i: int, rows: Integers, first: int, values: Floats, now: int) -> None:
        """Store a matrix (rows ascending, slots from `first` on) in archive i as it is; nothing is rolled up."""
        self.rings[i].fill(rows, first, values, now // self.archives[i].step)

    def seal_ahead(self, lanes_max: int) -> int:
        """Seal up to lanes_max heads that are complete, before their place is needed; gives how many."""
        left = lanes_max
        for ring in self.rings:
            left -= ring.seal_ahead(left)
        return lanes_max - left

    def begin_sync(self) -> list[tuple[Ring, Sync]]:
        """What of each ring is to be synced; see durable.py."""
        return [(ring, sync) for ring in self.rings if (sync := ring.begin_sync()) is not None]

    def _roll_up_lane(self, fine: int, lane: int) -> None:
        self._roll_up(fine, *self.rings[fine].take_dirty(self._ratio(fine), lane))

    def _roll_up(self, fine: int, rows: Integers, coarse: Integers) -> None:
        """Recompute coarse slots of rows (pairs) from the finer archive."""
        ratio = self._ratio(fine)
        for at in range(0, len(rows), _PAIRS_AT_ONCE):
            some = slice(at, at + _PAIRS_AT_ONCE)
            values = self.rings[fine].intervals(rows[some], coarse[some] * ratio, ratio)
            rolled, enough = rollup(values, self.schema.aggregation, self.schema.x_files_factor)
            if enough.all():
                self._write(fine + 1, rows[some], coarse[some], rolled)
            elif enough.any():
                self._write(fine + 1, rows[some][enough], coarse[some][enough], rolled[enough])

    # --- reading ---

    def window(self, start: int, until: int, now: int) -> Window | None:
        return choose_window(self.archives, start, until, now)

    def read(self, rows: Integers, window: Window) -> Floats:
        """float64 (rows, window.points), NaN where there is nothing."""
        return self.rings[window.archive].read(rows, window.start // window.step, window.points)

    def newest(self) -> int:
        """Epoch seconds of the newest datapoint of any series; 0 = none."""
        return max(
            (ring.newest() + 1) * archive.step - archive.step
            for ring, archive in zip(self.rings, self.archives, strict=True)
        )
