"""Trees of whisper files into a store and out of it. Import goes on where it was stopped, and may be repeated.

The tree is read in the order of its paths, a *piece* of some files at a time: a slice of the job. When pieces that
make a *chunk* are on the disk, the journal in the data folder says so; a chunk that was cut off is read again, which
changes nothing. Afterwards all files are read once more and compared with what the store gives for them.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from storage import consolidation, whisper
from storage.errors import CorruptWhisper, InvalidName, StorageError
from storage.jobs import Part, Progress, synced
from storage.register import Series
from storage.schema import Schema
from storage.store import AHEAD_MAX_S, Store
from storage.whisper import SUFFIX, Layout, Span

FILE_BYTES_MAX = 1 << 30  # 1 s for 2.8 years
CHUNK_FILES = 4096  # what is done twice at most after a kill: two seconds of work
_CHUNK_BYTES = 64 << 20
_PIECE_FILES = 64  # of a day each: 20 ms
_PIECE_BYTES = 2 << 20
_COUNTED_AT_ONCE = 4096  # paths, some 20 ms
_POINTS_AT_ONCE = 1 << 21  # read for export together

Skip = Callable[[str, str], None]  # path or name, and why
Clock = Callable[[], int]  # epoch seconds
Counted = Generator[Progress, None, "Tally"]  # a job that gives its tally


@dataclass(frozen=True)
class Tally:
    """How far an import or export has come."""

    files: int = 0
    datapoints: int = 0
    skipped: int = 0
    verified: int = 0  # files
    different: int = 0  # files of which the store has not every datapoint
    changed: int = 0  # files that were written since the import began: not compared


# --- the tree ---


class _File(NamedTuple):
    path: str  # relative to the tree
    name: str
    layout: Layout
    data: bytes
    mtime_ns: int


@dataclass
class _Piece:
    last: tuple[str, ...] = ()  # the parts of the path of the last file looked at
    files: list[_File] = field(default_factory=list)
    looked_at: int = 0
    size: int = 0

    def groups(self) -> dict[Layout, list[_File]]:
        groups: dict[Layout, list[_File]] = {}
        for file in self.files:
            groups.setdefault(file.layout, []).append(file)
        return groups


def tree_of(folder: Path) -> Path:
    """The folder of the whisper files, where an installation's own (/opt/graphite) may be given."""
    inside = folder / "storage" / "whisper"
    return inside if inside.is_dir() else folder


def _pieces(
    tree: Path, after: tuple[str, ...], skip: Skip, piece_files: int = _PIECE_FILES
) -> Iterator[_Piece]:
    piece = _Piece()
    for parts in _walk(tree, after, skip):
        path = "/".join(parts)
        piece.last = parts
        piece.looked_at += 1
        try:
            file = _read(tree, path)
            piece.files.append(file)
            piece.size += len(file.data)
        except StorageError as error:
            skip(path, str(error))
        except OSError as error:
            skip(path, error.strerror or str(error))
        if piece.looked_at >= piece_files or piece.size >= _PIECE_BYTES:
            yield piece
            piece = _Piece()
    if piece.looked_at:
        yield piece


def _count(tree: Path) -> Generator[Progress, None, int]:
    """How many files a tree has: a walk costs a fiftieth of an import, and tells how long it takes."""
    count = 0
    for _ in _walk(tree, (), lambda path, why: None):
        count += 1
        if count % _COUNTED_AT_ONCE == 0:
            yield Progress(0, 0, f"of {count:,} files and more")
    return count


def _read(tree: Path, path: str) -> _File:
    """A file, whole; raises InvalidName, CorruptWhisper or OSError."""
    name = whisper.name_of(path)
    opened = os.open(
        f"{tree}/{path}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    )  # a pipe must not make us wait
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise CorruptWhisper("no regular file")
        if status.st_size > FILE_BYTES_MAX:
            raise CorruptWhisper(f"{status.st_size:,} bytes; {FILE_BYTES_MAX:,} are allowed")
        data = os.read(opened, status.st_size)
    finally:
        os.close(opened)
    return _File(path, name, whisper.layout(data), data, status.st_mtime_ns)


class _Level(NamedTuple):
    parts: tuple[str, ...]
    entries: Iterator[os.DirEntry[str]]
    identity: tuple[int, int]  # device and inode


def _walk(tree: Path, after: tuple[str, ...], skip: Skip) -> Iterator[tuple[str, ...]]:
    """The parts of the paths of all .wsp files that come after one, in order. Links are followed."""
    levels = [_open(tree, (), after)]
    while levels:
        parts, entries, _ = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        here = (*parts, entry.name)
        try:
            if not entry.is_dir():
                if entry.name.endswith(SUFFIX) and here > after:
                    yield here
                continue
            below = _open(tree, here, after)
        except OSError as error:
            skip("/".join(here), error.strerror or str(error))
            continue
        if below.identity in [level.identity for level in levels]:
            skip("/".join(here), "a link to a folder that it lies in")
        else:
            levels.append(below)


def _open(tree: Path, parts: tuple[str, ...], after: tuple[str, ...]) -> _Level:
    """A folder's entries in order, without those that all come before `after`."""
    folder = "/".join((str(tree), *parts))
    status = os.stat(folder)
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    if parts == after[: len(parts)] and len(parts) < len(after):
        entries = [entry for entry in entries if entry.name >= after[len(parts)]]
    return _Level(parts, iter(entries), (status.st_dev, status.st_ino))


# --- import ---


@dataclass(frozen=True)
class _Journal:
    """How far the import of a tree has come; a file of one line, replaced after each chunk."""

    tree: str
    began_ns: int
    after: tuple[str, ...] = ()  # the parts of the last path that is done
    tally: Tally = Tally()

    FILE = "import.journal"

    @classmethod
    def open(cls, folder: Path, tree: Path) -> _Journal:
        """What an import of this tree has left behind when it was stopped, or a new one."""
        new = cls(os.path.realpath(tree), time.time_ns())
        try:
            found = json.loads((folder / cls.FILE).read_text())
            old = cls(found["tree"], found["began_ns"], tuple(found["after"]), Tally(**found["tally"]))
        except (OSError, ValueError, KeyError, TypeError):
            return new
        return old if old.tree == new.tree else new

    def write(self, folder: Path) -> None:
        unfinished = folder / f"{self.FILE}.new"
        with unfinished.open("w") as file:
            file.write(json.dumps(asdict(self)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, folder / self.FILE)

    def remove(self, folder: Path) -> None:
        (folder / self.FILE).unlink(missing_ok=True)


def import_tree(
    store: Store,
    folder: Path,
    clock: Clock,
    *,
    skip: Skip,
    verify: bool = True,
    chunk_files: int = CHUNK_FILES,
) -> Counted:
    """Take in every file of a tree, with its own schema and all its archives; the store is open for writing.

    What cannot be taken in is told to `skip`, and nothing else is lost by it. Raises OSError when the disk is full.
    """
    tree = tree_of(folder)
    total = yield from _count(tree)
    journal = _Journal.open(store.folder, tree)
    counting = _Counting(skip)
    tally, looked_at, size = journal.tally, 0, 0
    for piece in _pieces(tree, journal.after, counting, min(_PIECE_FILES, chunk_files)):
        tally = _take_in(store, piece, clock(), tally, counting)
        looked_at, size = looked_at + piece.looked_at, size + piece.size
        progress = Progress(tally.files + tally.skipped, total, "files")
        if looked_at >= chunk_files or size >= _CHUNK_BYTES:
            journal, looked_at, size = replace(journal, after=piece.last, tally=tally), 0, 0
            yield from _on_disk(store, journal, progress)
        yield progress
    if looked_at:
        journal = replace(journal, after=piece.last, tally=tally)
        yield from _on_disk(store, journal, progress)
        yield progress
    tally = replace(tally, skipped=tally.skipped + counting.take())
    if verify:
        tally = yield from _verify(store, tree, clock, journal.began_ns, tally, skip, total)
    journal.remove(store.folder)
    return tally


def _take_in(store: Store, piece: _Piece, now: int, tally: Tally, counting: _Counting) -> Tally:
    store.roll_up()  # what lies in heads, so that it cannot be rolled up over what comes
    for layout, files in piece.groups().items():
        kept, series = _created(store, layout, files, counting)
        datapoints = _put(store, layout, kept, series, now)
        tally = replace(tally, files=tally.files + len(kept), datapoints=tally.datapoints + datapoints)
    return replace(tally, skipped=tally.skipped + counting.take())


def _on_disk(store: Store, journal: _Journal, progress: Progress) -> Part:
    """Let the journal say what is done, after it has reached the disk."""
    yield from synced(store, progress)
    journal.write(store.folder)


class _Counting:
    """A Skip that counts."""

    def __init__(self, skip: Skip) -> None:
        self._skip, self._count = skip, 0

    def __call__(self, path: str, why: str) -> None:
        self._count += 1
        self._skip(path, why)

    def take(self) -> int:
        count, self._count = self._count, 0
        return count


def _created(store: Store, layout: Layout, files: list[_File], skip: Skip) -> tuple[list[_File], Series]:
    """The files that can be taken in and their series; not those that the store keeps by another schema."""
    series = _create(store, layout.schema, [file.name for file in files])
    fits = _fits(store, series, layout.schema)
    for file, one, fit in zip(files, series.tolist(), fits, strict=True):
        if not fit:
            stored = store.schema_of(one)
            words = f"{stored.retention}, {stored.aggregation}, xFilesFactor {stored.x_files_factor:g}"
            skip(file.path, f"the store has this series already, and keeps it otherwise: {words}")
    return [file for file, fit in zip(files, fits, strict=True) if fit], series[np.array(fits, np.bool_)]


def _create(store: Store, schema: Schema, names: list[str]) -> Series:
    """The series of names, made as they are in their files; those for which the rules decide otherwise keep it so."""
    decided = [store.rules.schemas[outcome] == schema for outcome in store.rules.decide_all(names)]
    for own in (False, True):
        some = [name for name, same in zip(names, decided, strict=True) if same is not own]
        if some:
            store.create_as(some, schema, pinned=own)
    return store.lookup(names)


def _fits(store: Store, series: Series, schema: Schema) -> list[bool]:
    return [one >= 0 and store.schema_of(one) == schema for one in series.tolist()]


def _put(store: Store, layout: Layout, files: list[_File], series: Series, now: int) -> int:
    """Write all archives of files with one layout; gives how many datapoints they have."""
    datapoints = 0
    if not files:
        return datapoints
    data = [file.data for file in files]
    for i, archive in enumerate(layout.schema.retention.archives):
        span = whisper.span(archive, now, AHEAD_MAX_S)
        values = whisper.decode(data, layout, i, span)
        series = store.write_archive(series, i, span.first, values, now)
        datapoints += values.size - int(np.count_nonzero(np.isnan(values)))
    return datapoints


def _verify(
    store: Store, tree: Path, clock: Clock, began_ns: int, tally: Tally, skip: Skip, total: int
) -> Counted:
    """Compare each file with what the store reads; `skip` is told of those that differ."""
    looked_at = 0
    for piece in _pieces(tree, (), lambda path, why: None):
        for layout, files in piece.groups().items():
            still = [file for file in files if file.mtime_ns < began_ns]
            series = store.lookup([file.name for file in still])
            fits = np.array(_fits(store, series, layout.schema), np.bool_)
            compared = [file for file, fit in zip(still, fits.tolist(), strict=True) if fit]
            missing = _missing(store, layout, compared, series[fits], clock())
            for at in np.flatnonzero(missing).tolist():
                skip(
                    compared[at].path, f"{missing[at]:,} datapoints do not read back as they are in the file"
                )
            tally = replace(
                tally,
                verified=tally.verified + len(compared),
                different=tally.different + int(np.count_nonzero(missing)),
                changed=tally.changed + len(files) - len(still),
            )
        looked_at += piece.looked_at
        yield Progress(looked_at, total, "files verified")
    return tally


def _missing(
    store: Store, layout: Layout, files: Sequence[_File], series: Series, now: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """int64 (files,): the datapoints of each that the store does not give to the last bit."""
    missing = np.zeros(len(files), np.int64)
    data = [file.data for file in files]
    for i, archive in enumerate(layout.schema.retention.archives):
        span = whisper.span(archive, now, AHEAD_MAX_S)
        wanted = whisper.decode(data, layout, i, span)
        stored = store.read_archive(series, i, span.first, span.slots)
        differs = ~np.isnan(wanted) & (wanted.view(np.uint64) != stored.view(np.uint64))
        missing += np.count_nonzero(differs, axis=1)
    return missing


# --- export ---


def export_tree(
    store: Store,
    glob: str | None,
    folder: Path,
    now: int,
    *,
    overwrite: bool,
    skip: Skip,
) -> Counted:
    """Write a file for each series that matches a glob (None: all, tagged ones too), with all its archives.

    Each file is whole or not there. What cannot be written as whisper is told to `skip`.
    """
    names = store.index.all_paths() if glob is None else store.find_series(glob)[0]
    series = store.lookup(names) if names else np.empty(0, np.int32)
    counting, tally = _Counting(skip), Tally()
    by_schema: dict[Schema, list[int]] = {}
    for at, one in enumerate(series.tolist()):
        by_schema.setdefault(store.schema_of(one), []).append(at)
    for schema, members in by_schema.items():
        points = sum(archive.points for archive in schema.retention.archives)
        at_once = max(1, min(CHUNK_FILES, _POINTS_AT_ONCE // points))
        for start in range(0, len(members), at_once):
            some = members[start : start + at_once]
            wanted = [(names[at], int(series[at])) for at in some]
            written, datapoints = _export(store, schema, wanted, folder, now, overwrite, counting)
            tally = replace(
                tally,
                files=tally.files + written,
                datapoints=tally.datapoints + datapoints,
                skipped=tally.skipped + counting.take(),
            )
            yield Progress(tally.files + tally.skipped, len(names), "files")
    return tally


def _export(
    store: Store,
    schema: Schema,
    wanted: list[tuple[str, int]],
    folder: Path,
    now: int,
    overwrite: bool,
    skip: Skip,
) -> tuple[int, int]:
    """Write files of (name, series) with one schema; gives how many files and datapoints."""
    if schema.method not in consolidation.WHISPER_METHODS:
        for name, _ in wanted:
            skip(name, f"whisper cannot roll up with {schema.method}")
        return 0, 0
    spans = [whisper.span(archive, now, AHEAD_MAX_S) for archive in schema.retention.archives]
    series = np.array([one for _, one in wanted], np.int32)
    archives = [store.read_archive(series, i, *span) for i, span in enumerate(spans)]
    files = datapoints = 0
    for row, (name, _) in enumerate(wanted):
        values = [matrix[row] for matrix in archives]
        if _write(folder, name, schema, spans, values, overwrite, skip):
            files += 1
            datapoints += sum(len(one) - int(np.count_nonzero(np.isnan(one))) for one in values)
    return files, datapoints


def _write(
    folder: Path,
    name: str,
    schema: Schema,
    spans: Sequence[Span],
    values: Sequence[whisper.Floats],
    overwrite: bool,
    skip: Skip,
) -> bool:
    """Make a series' file, under another name first; False if it was skipped."""
    try:
        target = folder / whisper.path_of(name)
        if not overwrite and target.exists():
            skip(name, f"{target} exists; --overwrite replaces it")
            return False
        unfinished = target.with_name(target.name + ".new")
        data = whisper.encode(schema, spans, values)
        try:
            unfinished.write_bytes(data)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(data)
        os.replace(unfinished, target)
    except InvalidName as error:
        skip(name, str(error))
        return False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        skip(name, "a path that is too long for the file system")
        return False
    return True
