"""The store: the front door of this wing. append · fetch · find · create.

A data folder holds `catalogue.sqlite` (names), `shards/NNNNN/<step>s.ring` (numbers), `lock` (the writer's) and
`boot` (whether the power was cut).
A *series* is an int32: its shard × 32,768 + its row there, so that where a datapoint lies is arithmetic.
One process writes; any number read the same files and see a datapoint as soon as it is written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from storage import naming, retention
from storage.catalogue import Catalogue, Run
from storage.durable import Sync
from storage.errors import InvalidName, NotAStore, StoreInUse
from storage.format import SHARD_ROWS
from storage.index import Index, Nodes
from storage.intern import Interned
from storage.ring import Floats, Integers, Ring
from storage.schema import Decision, Rules, Schema
from storage.shard import Shard, Window

Series = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

_CLEAN = "closed"
AHEAD_MAX_S = 600  # how far ahead of now a timestamp may lie: VictoriaMetrics takes 2 days, whisper any


class Fetched(NamedTuple):
    """Series that share one grid: a part of what `fetch` was asked for."""

    positions: npt.NDArray[np.intp]  # which of the asked series
    start: int  # epoch seconds of the first point
    step: int
    values: Floats  # float64 (len(positions), points), NaN = no data


class Dropped(NamedTuple):
    """How many of the values given to `append` were not stored, by reason."""

    too_old: int = 0
    too_far_ahead: int = 0
    not_a_number: int = 0

    @property
    def total(self) -> int:
        return sum(self)


class Store:
    """A data folder, open. `Store(folder)` writes, `Store(folder, writable=False)` reads beside a writer."""

    def __init__(
        self, folder: Path, rules: Rules | None = None, *, writable: bool = True, durable: bool = False
    ) -> None:
        """`durable`: what `sync` has returned from survives a power cut; otherwise only a kill of the process."""
        self.folder = folder
        self.rules = rules or Rules.load(None)
        self._writable, self._durable = writable, durable
        self._lock = _lock(folder) if writable else None
        self._recover = writable and _power_was_cut(folder)
        self.catalogue = Catalogue(folder, writable=writable)
        if writable:
            self.catalogue.merge_runs()
        self._schemas: dict[int, Schema] = {}
        self._shard_schema: dict[int, int] = {}
        self._shards: dict[int, Shard] = {}
        self._opening = Lock()  # threads that read may meet a new shard at once
        self._rows: dict[int, int] = {}  # shard → rows in use
        self._forget()
        self.refresh()
        self._old_shards = frozenset(self._shard_schema)
        if writable:
            for number in self._old_shards:
                self._open_shard(number)  # a power cut is recovered from at once, not when a value comes
            _write_boot(folder, _boot())

    def _forget(self) -> None:
        self._names = Interned()
        self._series = np.empty(0, np.int32)  # of each name
        self._index: Index | None = None
        self._indexed = 0
        self._last_run = 0
        self._epoch = self.catalogue.epoch()

    def close(self, *, synced: bool = False) -> None:
        """Sync and close; `synced`: the caller has seen to that, or could not wait for it."""
        if self._writable and not synced:
            self.roll_up()
            self.sync()
            self.closed_clean()
        for shard in self._shards.values():
            shard.close()
        self.catalogue.close()
        if self._lock is not None:
            os.close(self._lock)

    def closed_clean(self) -> None:
        """Remember that all is synced: the next start need not ask whether the power was cut."""
        if self._durable:
            _write_boot(self.folder, _CLEAN)

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._names)

    # --- names ---

    def refresh(self) -> None:
        """Take in what the writer has added to the catalogue; cheap when it has not."""
        if not self.catalogue.changed():
            return
        if self.catalogue.epoch() != self._epoch:
            self._forget()
        for row in self.catalogue.schemas():
            if row.id not in self._schemas:
                self._schemas[row.id] = Schema(
                    retention.parse(row.retention), row.aggregation, row.x_files_factor
                )
        self._shard_schema.update(self.catalogue.shards())
        for run in self.catalogue.runs(self._last_run):
            self._take(run)

    def _take(self, run: Run) -> None:
        text = np.frombuffer(run.names.encode() + b"\n", np.uint8)
        stops = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate(([0], stops[:-1] + 1))
        self._names.add_all(text, starts, stops)
        series = run.shard * SHARD_ROWS + run.first_row + np.arange(run.rows, dtype=np.int32)
        self._series = _extended(self._series, len(self._names) - run.rows, series)
        self._rows[run.shard] = max(self._rows.get(run.shard, 0), run.first_row + run.rows)
        self._last_run = run.id

    def series_of(self, text: Bytes, starts: Integers, stops: Integers) -> Series:
        """The series of canonical names text[starts:stops] (UTF-8), made where there is none yet.

        The names must be without fault (see naming.py). Raises OSError when the disk is full.
        """
        return self._series_of(text, starts, stops, self._create)

    def _series_of(
        self, text: Bytes, starts: Integers, stops: Integers, make: Callable[[list[str]], None]
    ) -> Series:
        ids = self._names.find_all(text, starts, stops)
        new = np.flatnonzero(ids < 0)
        if len(new):
            raw = text.tobytes()
            bounds = zip(starts[new].tolist(), stops[new].tolist(), strict=True)
            wanted = dict.fromkeys(raw[start:stop] for start, stop in bounds)
            make([name.decode() for name in wanted])
            ids = self._names.find_all(text, starts, stops)
        return self._series[ids]

    def create(self, names: Sequence[str]) -> Series:
        """The series of these names, made where there is none yet; a name with a fault raises InvalidName."""
        return self._series_of(*_laid(names), self._create)

    def create_as(self, names: Sequence[str], schema: Schema) -> Series:
        """As `create`, but new ones get this schema, whatever the rules say; those there are keep their own."""
        return self._series_of(*_laid(names), lambda new: self._add([(schema, new)]))

    def lookup(self, names: Sequence[str]) -> Series:
        """The series of these names, -1 where there is none; a name with a fault raises InvalidName."""
        ids = self._names.find_all(*_laid(names))
        series = np.full(len(ids), -1, np.int32)
        series[ids >= 0] = self._series[ids[ids >= 0]]
        return series

    def _create(self, names: list[str]) -> None:
        """Make series of new names, each with the schema that the rules decide."""
        by_schema: dict[int, list[str]] = {}
        for name, outcome in zip(names, self.rules.decide_all(names), strict=True):
            by_schema.setdefault(outcome, []).append(name)
        self._add([(self.rules.schemas[outcome], members) for outcome, members in by_schema.items()])

    def _add(self, groups: list[tuple[Schema, list[str]]]) -> None:
        """Give new names rows of shards of their schemas; in the catalogue before any of their values."""
        runs = []
        for decided, members in groups:
            schema = self._schema_id(decided)
            while members:
                shard = self._shard_with_room(schema)
                first, count = shard.rows, min(shard.free_rows, len(members))
                shard.make_room(first + count)
                runs.append((self._number(shard), first, count, "\n".join(members[:count])))
                members = members[count:]
        last = self.catalogue.add_runs(runs)
        for i, run in enumerate(runs):
            self._take(Run(last - len(runs) + 1 + i, *run))

    def _schema_id(self, schema: Schema) -> int:
        for known, other in self._schemas.items():
            if other == schema:
                return known
        added = self.catalogue.add_schema(str(schema.retention), schema.aggregation, schema.x_files_factor)
        self._schemas[added] = schema
        return added

    def _shard_with_room(self, schema: int) -> Shard:
        for number, of in self._shard_schema.items():
            if of == schema and self._rows.get(number, 0) < SHARD_ROWS and self._shard(number).free_rows:
                return self._shard(number)
        number = self.catalogue.add_shard(schema)
        self._shard_schema[number] = schema
        return self._shard(number)

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        return shard if shard is not None else self._open_shard(number)

    def _open_shard(self, number: int) -> Shard:
        with self._opening:
            if number not in self._shards:
                schema = self._schemas[self._shard_schema[number]]
                rows = self._rows.get(number, 0)
                self._shards[number] = Shard(
                    self._folder_of(number),
                    schema,
                    rows,
                    writable=self._writable,
                    durable=self._durable,
                    recover=self._recover and number in self._old_shards,
                )
            return self._shards[number]

    def _folder_of(self, number: int) -> Path:
        return self.folder / "shards" / f"{number:05d}"

    def _number(self, shard: Shard) -> int:
        return int(shard.folder.name)

    @property
    def index(self) -> Index:
        """The names as a tree; made when first asked for, kept up to date from then on."""
        if self._index is None:
            self._index, self._indexed = Index(), 0
        if self._indexed < len(self._names):
            offsets = self._names.offsets
            some = slice(self._indexed, len(self._names))
            after = slice(self._indexed + 1, len(self._names) + 1)
            self._index.add_all(self._names.blob, offsets[some], offsets[after], self._series[some])
            self._indexed = len(self._names)
        return self._index

    def find(self, pattern: str) -> Nodes:
        """The nodes, leaves and branches, whose path matches a glob; sorted by path."""
        return self.index.find(pattern)

    def find_series(self, pattern: str) -> tuple[list[str], Series]:
        """The paths, sorted, and series that match a glob."""
        return self.index.find_series(pattern)

    # --- numbers ---

    def append(self, series: Series, timestamps: Integers, values: Floats, now: int) -> Dropped:
        """Store columns of datapoints; of two for one slot the later in the columns prevails."""
        dropped = Dropped()
        missing = np.isnan(values)
        if missing.any():
            series, timestamps, values = series[~missing], timestamps[~missing], values[~missing]
            dropped = dropped._replace(not_a_number=int(missing.sum()))
        ahead = timestamps > now + AHEAD_MAX_S
        if ahead.any():
            series, timestamps, values = series[~ahead], timestamps[~ahead], values[~ahead]
            dropped = dropped._replace(too_far_ahead=int(ahead.sum()))
        too_old = 0
        for number, at in _by_shard(series):
            too_old += self._append(number, series[at], timestamps[at], values[at], now)
        return dropped._replace(too_old=too_old)

    def _append(self, number: int, series: Series, timestamps: Integers, values: Floats, now: int) -> int:
        shard = self._shard(number)
        rows = series.astype(np.int64) - number * SHARD_ROWS
        oldest = now - shard.schema.retention.longest
        too_old = 0
        if int(timestamps.min()) <= oldest:
            kept = timestamps > oldest
            too_old = len(kept) - int(kept.sum())
            rows, timestamps, values = rows[kept], timestamps[kept], values[kept]
            if not len(rows):
                return too_old
        return too_old + shard.append(rows, timestamps, values, now)

    def write_archive(self, series: Series, archive: int, first: int, values: Floats, now: int) -> None:
        """Store a matrix (series, slots from `first` on) in one archive as it is; NaN leaves what is there.

        For imports: of any age that the archive holds, and nothing is rolled up. The series must have that archive.
        """
        order = np.argsort(series, kind="stable")
        for number, at in _by_shard(series[order]):
            rows = series[order[at]].astype(np.int64) - number * SHARD_ROWS
            self._shard(number).write_archive(archive, rows, first, values[order[at]], now)

    def read_archive(self, series: Series, archive: int, first: int, points: int) -> Floats:
        """float64 (series, points): the slots from `first` on of one archive, NaN where there is nothing."""
        out = np.empty((len(series), points))
        for number, at in _by_shard(series):
            rows = series[at].astype(np.int64) - number * SHARD_ROWS
            out[at] = self._shard(number).rings[archive].read(rows, first, points)
        return out

    def roll_up(self) -> None:
        """Bring all coarser archives up to date; to be called every fraction of a second, and before closing."""
        for shard in self._shards.values():
            shard.roll_up()

    def seal_ahead(self, lanes_max: int) -> None:
        """Seal up to lanes_max complete heads: some at a time, so that no block's end stalls the writer."""
        for shard in self._shards.values():
            lanes_max -= shard.seal_ahead(lanes_max)

    def sync(self) -> None:
        """Bring all that was appended to the disk, if the store is durable."""
        syncs = self.begin_sync()
        self.run_sync(syncs)
        self.end_sync(syncs)

    def begin_sync(self) -> list[tuple[Ring, Sync]]:
        """What has changed since the last sync; in the writer's thread."""
        return [sync for shard in self._shards.values() for sync in shard.begin_sync()]

    def run_sync(self, syncs: Sequence[tuple[Ring, Sync]]) -> None:
        """Wait for the disk, in any thread: names first, so that no value is on it without its name."""
        if syncs and self._durable:
            self.catalogue.sync()
        for _, sync in syncs:
            sync.run()

    def end_sync(self, syncs: Sequence[tuple[Ring, Sync]]) -> None:
        """Free what has been brought to its place; in the writer's thread."""
        for ring, sync in syncs:
            ring.end_sync(sync)

    def fetch(self, series: Series, start: int, until: int, now: int) -> list[Fetched]:
        """The datapoints in (start, until] of series, each on the archive that whisper would choose.

        Series whose archives have the same step and window come as one matrix; those without any window
        (all of it in the future or before their oldest point) come in none.
        """
        grids: dict[Window, list[_Part]] = {}
        for number, at in _by_shard(series):
            shard = self._shard(number)
            window = shard.window(start, until, now)
            if window is not None:
                rows = series[at].astype(np.int64) - number * SHARD_ROWS
                grids.setdefault(window._replace(archive=0), []).append(_Part(shard, window, at, rows))
        return [_gather(grid, parts) for grid, parts in grids.items()]

    def consolidations(self, series: Series) -> list[str]:
        """Each series' own aggregation."""
        numbers, which = np.unique(series // SHARD_ROWS, return_inverse=True)
        methods = [self.schema_of(int(number) * SHARD_ROWS).aggregation for number in numbers]
        return [methods[i] for i in which]

    # --- explaining ---

    def schema_of(self, series: int) -> Schema:
        return self._schemas[self._shard_schema[series // SHARD_ROWS]]

    def shard_of(self, series: int) -> Shard:
        return self._shard(series // SHARD_ROWS)

    def newest(self, series: int, now: int) -> int:
        """Epoch seconds of a series' newest datapoint, to the step of the archive that has it; 0 = none."""
        shard = self.shard_of(series)
        for archive, ring in zip(shard.archives, shard.rings, strict=True):
            last = now // archive.step + AHEAD_MAX_S // archive.step + 1
            first = max(0, last - archive.points)
            row = np.array([series % SHARD_ROWS], np.int64)
            known = np.flatnonzero(~np.isnan(ring.read(row, first, last - first)[0]))
            if len(known):
                return int(first + known[-1]) * archive.step
        return 0

    def shards(self) -> list[Shard]:
        return [self._shard(number) for number in sorted(self._shard_schema)]

    def explain(self, name: str) -> Decision:
        """Which rules decide a name's schema now; what is stored already may have come by others."""
        return self.rules.decide(naming.canonical(name))


class _Part(NamedTuple):
    """What a shard gives to a grid."""

    shard: Shard
    window: Window
    positions: npt.NDArray[np.intp]
    rows: Integers


def _gather(grid: Window, parts: list[_Part]) -> Fetched:
    matrices = [part.shard.read(part.rows, part.window) for part in parts]
    if len(parts) == 1:
        return Fetched(parts[0].positions, grid.start, grid.step, matrices[0])
    positions = np.concatenate([part.positions for part in parts])
    return Fetched(positions, grid.start, grid.step, np.concatenate(matrices))


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise NotAStore(
            f"{folder} cannot be written: {error.strerror}; choose a data folder that this user owns"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreInUse(
            f"{folder} is in use by another writer (process {holder}): stop it or choose another data folder"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _boot() -> str:
    """The kernel's name for the time since it was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _write_boot(folder: Path, text: str) -> None:
    """Remember under which boot the store is written; _CLEAN when it was closed with everything synced."""
    file = os.open(folder / "boot", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    os.write(file, text.encode())
    os.fsync(file)
    os.close(file)


def _power_was_cut(folder: Path) -> bool:
    """Whether the last writer ended with the machine: it was not closed, and the kernel was started since."""
    try:
        last = (folder / "boot").read_text()
    except OSError:
        return False
    return last not in (_boot(), _CLEAN)


def _by_shard(series: Series) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """(shard, indices in their order) for each shard among the series."""
    if not len(series):
        return []
    first = int(series[0]) // SHARD_ROWS
    if len(series) == 1:
        return [(first, np.zeros(1, np.intp))]
    numbers = series // SHARD_ROWS
    if (numbers == first).all():
        return [(first, np.arange(len(series)))]
    order = np.argsort(numbers.astype(np.int16 if numbers.max() < 1 << 15 else np.int32), kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    return [(int(numbers[at[0]]), at) for at in np.split(order, cuts)]


def _laid(names: Sequence[str]) -> tuple[Bytes, Integers, Integers]:
    """The canonical names as text[starts:stops]; a name with a fault raises InvalidName."""
    encoded = []
    for name in names:
        if fault := naming.fault(name.encode()):
            raise InvalidName(f"{name!r}: {fault.words}")
        encoded.append(naming.canonical(name).encode())
    sizes = np.array([len(name) for name in encoded], np.int64)
    stops = np.cumsum(sizes)
    return np.frombuffer(b"".join(encoded), np.uint8), stops - sizes, stops


def _extended(array: Series, used: int, more: Series) -> Series:
    """The array with `more` after its first `used` entries; grown by half so that adding is cheap."""
    if used + len(more) > len(array):
        grown = np.empty(max(1024, (used + len(more)) * 3 // 2), np.int32)
        grown[:used] = array[:used]
        array = grown
    array[used : used + len(more)] = more
    return array
