"""Up to 32,768 series of one schema: a ring for each archive, fine → coarse, and the rollup between them.

A schema with several aggregations has a ring for each of them in every archive but the finest, each rolled up from
the finer one of its own kind: a maximum of maxima is the true maximum.

A series is a row. Values go to the finest archive that still covers their age; what they change in the coarser
ones is recomputed from the finer: for heads when `roll_up` is called, for late values at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage.damage import Aside, header_fault, mend, mend_header
from storage.disk import Disk
from storage.durable import Sync
from storage.errors import CorruptRing
from storage.format import LANE_ROWS, PAGE, SHARD_ROWS, Geometry
from storage.retention import Archive
from storage.ring import Floats, Integers, LostRing, Ring
from storage.rollup import rollup
from storage.schema import Schema

_log = logging.getLogger(__name__)

_PAIRS_AT_ONCE = 1 << 16  # (row, coarse slot) pairs rolled up together: ratio × 512 KiB of memory


TOTALS = ("sum", "count")  # what does not stand for a single value


class Window(NamedTuple):
    """The slots of one archive that answer a query: whisper's choice."""

    archive: int
    start: int  # epoch seconds of the first slot
    step: int
    points: int


class Grid(NamedTuple):
    """What `fetch` gives of some series, told without reading."""

    start: int  # epoch seconds of the first point
    step: int
    points: int  # of each series
    series: int  # how many have this grid


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
        pack_after: int | None = None,
        disk: Disk | None = None,
        aside: Aside | None = None,
        horizon: int | None = None,
    ) -> None:
        """`durable`: syncs wait for the disk. `recover`: the power was cut; only what was synced is believed.

        `pack_after`: seconds after its end that a block is packed, 0 = when it is sealed, None = never.
        `aside`: where a writer puts what is damaged. `horizon`: epoch seconds after which no value can lie.
        """
        self.folder, self.schema = folder, schema
        self.rows = rows  # after that: those the files have too, of names that were lost
        self._writable, self._disk = writable, disk
        self._aside = aside or Aside(folder)
        self._left: list[Ring] = []  # that threads may be reading yet
        self.rings = [self._ring(i, schema.method) for i in range(len(self.archives))]
        self.beside = [
            {method: self._ring(i, method) for method in schema.methods[1:] if i}
            for i in range(len(self.archives))
        ]  # of each archive: the rings of the other aggregations
        self.has_lost = self._has_lost()  # whether a reader could not use a file
        self._durations = [archive.duration for archive in self.archives]
        if writable:
            for ring in self.every_ring():
                ring.file.durable = durable
                ring.places.pack_after = pack_after
                if recover:
                    ring.recover(rows)
            self.make_room(self._rows_found(rows))
            for ring in self.every_ring():
                mend(ring.file, self._aside, horizon)
            for i in range(len(self.rings) - 1):
                for ring in self._rings_of(i):
                    ring.before_seal = partial(self._roll_up_dirty, i)
                    ring.mark_dirty()

    @property
    def archives(self) -> tuple[Archive, ...]:
        return self.schema.retention.archives

    def _rings_of(self, i: int) -> list[Ring]:
        return [self.rings[i], *self.beside[i].values()]

    def every_ring(self) -> list[Ring]:
        return [ring for i in range(len(self.rings)) for ring in self._rings_of(i)]

    def ring(self, i: int, method: str | None = None) -> Ring:
        """The ring of archive i that holds what `method` asks for; the series' own where there is no such."""
        return self.beside[i].get(method or "", self.rings[i])

    def _ring(self, i: int, method: str) -> Ring:
        path, wanted = self.folder / _name(self.schema, i, method), _geometry(self.schema, i)
        if not self._writable:
            return self._read_ring(path, wanted, tell=True)
        words = self._description(method)
        if path.exists() and mend_header(path, wanted, words, self.rows, self._aside):
            return Ring(path, writable=True, disk=self._disk)
        return Ring.create(path, wanted, words, self._disk)

    def _read_ring(self, path: Path, wanted: Geometry, *, tell: bool) -> Ring:
        """A ring to read, as far as it can be read: the writer mends it when it starts."""
        try:
            ring = Ring(path, writable=False)
            page, size = os.pread(ring.file.fd, PAGE, 0), os.fstat(ring.file.fd).st_size
            fault: Exception | None = header_fault(path, page, size, wanted, self.rows)
            if fault is None:
                return ring
            ring.close()
        except (CorruptRing, FileNotFoundError) as error:
            fault = error
        if tell:
            _log.error("%s; it reads as missing until the writer is started again", fault)
        return LostRing(path, wanted)

    def _has_lost(self) -> bool:
        return any(isinstance(ring, LostRing) for ring in self.every_ring())

    def follow(self) -> None:
        """Read what the writer has mended, or put in the place of a damaged file. Other threads may be reading."""
        for i in range(len(self.rings)):
            self.rings[i] = self._followed(self.rings[i])
            for method, ring in self.beside[i].items():
                self.beside[i][method] = self._followed(ring)
        self.has_lost = self._has_lost()

    def _followed(self, ring: Ring) -> Ring:
        if not isinstance(ring, LostRing):
            try:
                if os.stat(ring.path).st_ino == ring.file.inode:
                    return ring
            except FileNotFoundError:
                pass  # the fresh one comes in a moment
            self._left.append(ring)
        return self._read_ring(ring.path, ring.geometry, tell=False)

    def _description(self, method: str) -> dict[str, object]:
        """The schema as a ring file tells it to people and tools, and which aggregation it holds."""
        schema = self.schema
        return {
            "retention": str(schema.retention),
            "aggregation": schema.aggregation,
            "x_files_factor": schema.x_files_factor,
            "holds": method,
        }

    def _ratio(self, fine: int) -> int:
        return _ratio(self.schema, fine)

    def close(self) -> None:
        for ring in (*self.every_ring(), *self._left):
            ring.close()

    @property
    def free_rows(self) -> int:
        return SHARD_ROWS - self.rows

    def make_room(self, rows: int) -> None:
        """Have room for `rows` rows; raises OSError (ENOSPC) before anything depends on it."""
        for ring in self.every_ring():
            ring.make_room(rows)
        self.rows = rows

    def _rows_found(self, rows: int) -> int:
        """How many rows were given to names, of which the catalogue knows `rows`: it may be an older one."""
        given = max(ring.file.rows_given() for ring in self.every_ring())
        if given > rows and any(ring.holds_rows(rows) for ring in self.every_ring()):
            return min(given, SHARD_ROWS)
        return rows

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
        """Store values in archive i, for whatever is kept of them there; a value is one value."""
        late = self.rings[i].write(rows, slots, values)
        for method, ring in self.beside[i].items():
            one = np.ones(len(values)) if method == "count" else values
            late = np.union1d(late, ring.write(rows, slots, one))
        self._roll_up_late(i, rows[late], slots[late])

    def _roll_up_late(self, i: int, rows: Integers, slots: Integers) -> None:
        """Bring the coarser archive up to date with values that went to sealed blocks."""
        if not len(rows) or i + 1 == len(self.rings):
            return
        pairs = np.unique(np.stack((slots // self._ratio(i), rows.astype(np.int64))), axis=1)
        self._roll_up(i, pairs[1], pairs[0])
        for ring in self._rings_of(i):
            ring.rolled_up(np.unique(rows // LANE_ROWS))

    def roll_up(self) -> None:
        """Bring the coarser archives up to date with what was written to heads."""
        for fine in range(len(self.rings) - 1):
            self._roll_up_dirty(fine)

    def _roll_up_dirty(self, fine: int, lane: int | None = None) -> None:
        rings = self._rings_of(fine)
        dirty = rings[0].take_dirty(lane)
        for ring in rings[1:]:
            dirty = dirty.with_(ring.take_dirty(lane))
        try:
            self._roll_up(fine, *rings[0].pairs(dirty, self._ratio(fine)))
        except OSError:
            rings[0].give_back(dirty)  # no room for a seal of the coarser archive: to be tried again
            raise
        for ring in rings:
            ring.rolled_up(np.flatnonzero(dirty.high >= 0))

    def write_archive(
        self, i: int, rows: Integers, first: int, values: Floats, now: int, method: str | None = None
    ) -> None:
        """Store a matrix (rows ascending, slots from `first` on) in archive i as it is; nothing is rolled up."""
        self.ring(i, method).fill(rows, first, values, now // self.archives[i].step)

    def seal_ahead(self, lanes_max: int) -> int:
        """Seal up to lanes_max heads that are complete, before their place is needed; gives how many."""
        left = lanes_max
        for ring in self.every_ring():
            left -= ring.seal_ahead(left)
        return lanes_max - left

    def pack_some(self, now: int, most: int) -> int:
        """Pack up to `most` sealed blocks that are old enough; gives how many."""
        left = most
        for ring in self.every_ring():
            left -= ring.pack_some(now // ring.geometry.step, left)
        return most - left

    def begin_sync(self) -> list[tuple[Ring, Sync]]:
        """What of each ring is to be synced; see durable.py.

        The coarse before the fine: a fine block may leave its head only when what it rolled up to is on the disk.
        """
        self.roll_up()
        return [
            (ring, sync) for ring in reversed(self.every_ring()) if (sync := ring.begin_sync()) is not None
        ]

    def _roll_up(self, fine: int, rows: Integers, coarse: Integers) -> None:
        """Recompute coarse slots of rows (pairs) from the finer archive."""
        for at in range(0, len(rows), _PAIRS_AT_ONCE):
            some = slice(at, at + _PAIRS_AT_ONCE)
            self._roll_up_some(fine, rows[some], coarse[some])

    def _roll_up_some(self, fine: int, rows: Integers, coarse: Integers) -> None:
        ratio, factor = self._ratio(fine), self.schema.x_files_factor
        values = self.rings[fine].intervals(rows, coarse * ratio, ratio)
        rolled, enough = rollup(values, self.schema.method, factor)
        late = self.rings[fine + 1].write(*_where(enough, rows, coarse, rolled))
        late_rows, late_slots = (one[enough][late] for one in (rows, coarse))
        for method, ring in self.beside[fine + 1].items():
            if fine:
                values = self.beside[fine][method].intervals(rows, coarse * ratio, ratio)
            rolled, known = rollup(values, "sum" if fine and method == "count" else method, 0.0)
            late = ring.write(*_where(enough & known, rows, coarse, rolled))
            if len(late):
                mine = enough & known
                late_rows = np.concatenate((late_rows, rows[mine][late]))
                late_slots = np.concatenate((late_slots, coarse[mine][late]))
        self._roll_up_late(fine + 1, late_rows, late_slots)

    # --- reading ---

    def window(self, start: int, until: int, now: int) -> Window | None:
        return choose_window(self.archives, start, until, now)

    def read_into(
        self, out: Floats, at: Integers, rows: Integers, window: Window, method: str | None = None
    ) -> None:
        """Fill out[at[i]] (…, window.points) with what rows[i] has, NaN where there is nothing.

        `method`: the aggregation that is asked for, where several are kept. What is from before it was kept is taken
        from the series' own, if the two are values of one kind.
        """
        first = window.start // window.step
        own, asked = self.rings[window.archive], self.ring(window.archive, method)
        asked.read_into(out, at, rows, first)
        if asked is not own and method not in TOTALS and self.schema.method not in TOTALS:
            gaps = np.isnan(out[at])
            if gaps.any():
                out[at] = np.where(gaps, own.read(rows, first, window.points), out[at])

    def newest(self) -> int:
        """Epoch seconds of the newest datapoint of any series; 0 = none."""
        return max(
            (ring.newest() + 1) * archive.step - archive.step
            for ring, archive in zip(self.rings, self.archives, strict=True)
        )


def ring_files(schema: Schema) -> Iterator[tuple[str, Geometry]]:
    """(name, geometry) of each ring of a shard, as they are made."""
    for i in range(len(schema.retention.archives)):
        for method in schema.methods if i else (schema.method,):
            yield _name(schema, i, method), _geometry(schema, i)


def _name(schema: Schema, i: int, method: str) -> str:
    step = schema.retention.archives[i].step
    return f"{step}s.ring" if method == schema.method else f"{step}s.{method}.ring"


def _geometry(schema: Schema, i: int) -> Geometry:
    archive = schema.retention.archives[i]
    return Geometry.choose(archive.step, archive.points, ratio=_ratio(schema, i))


def _ratio(schema: Schema, fine: int) -> int:
    archives = schema.retention.archives
    return 1 if fine + 1 == len(archives) else archives[fine + 1].step // archives[fine].step


def _where(
    mask: npt.NDArray[np.bool_], rows: Integers, slots: Integers, values: Floats
) -> tuple[Integers, Integers, Floats]:
    return (rows, slots, values) if mask.all() else (rows[mask], slots[mask], values[mask])
