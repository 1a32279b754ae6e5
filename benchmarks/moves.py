"""How fast does what is stored come in and change its shape: whisper files, and a changed retention?

Files of a day of minutes, all full, as one installation has them; the import reads every file, and reads all back to
compare it point by point. The twin only opens, reads and closes the same files with the whisper package.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import whisper

from benchmarks.measure import Row
from benchmarks.peers import WHISPER
from benchmarks.workbench import STEP_S, Workbench, add_names, make_day, names, now_in_steps
from storage.jobs import drive
from storage.migration import migrate
from storage.schema import Rules
from storage.store import Store
from storage.whisper_tree import import_tree

_DAY = 1440
_BEFORE, _AFTER = "60s:1d,5m:30d", "60s:2d,15m:90d"
_TWIN_FILES = 500


def rows(bench: Workbench) -> Iterator[Row]:
    yield from _imported(bench)
    yield _migrated(bench)


def _imported(bench: Workbench) -> Iterator[Row]:
    tree, count = bench.folder / "moves-whisper", bench.size(10_000)
    _make_tree(tree, count)
    store = Store(bench.folder / "moves-imported")
    skipped: list[str] = []

    def skip(path: str, why: str) -> None:
        skipped.append(f"{path}: {why}")

    for verify, what in ((False, "import whisper"), (True, "import whisper and compare")):
        cpu = time.process_time()
        drive(import_tree(store, tree, _clock, skip=skip, verify=verify), lambda progress: None)
        rate = count / (time.process_time() - cpu)
        if skipped:
            raise AssertionError(f"files were skipped: {skipped[:3]}")
        theirs = _TWIN_FILES / _fetch_all(tree, _TWIN_FILES)
        limit = None if verify else 2000
        yield Row(f"moves: {what}, 1-day files", rate, "files/CPU-s", f"{WHISPER} fetch", theirs, limit=limit)
    store.close()


def _clock() -> int:
    return int(time.time())


def _make_tree(tree: Path, count: int) -> None:
    """One file made by the whisper package, and copies of it under other names."""
    day = make_day(1)
    paths = [tree / f"{name.replace('.', '/')}.wsp" for name in names(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    whisper.create(str(paths[0]), [(STEP_S, _DAY)], xFilesFactor=0.0, aggregationMethod="average")
    points = [(int(t), float(i) / 8) for i, t in enumerate(day.timestamps)]
    whisper.update_many(str(paths[0]), points, now=day.now)
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)


def _fetch_all(tree: Path, count: int) -> float:
    now, cpu = int(time.time()), time.process_time()
    for name in names(count):
        whisper.fetch(str(tree / f"{name.replace('.', '/')}.wsp"), now - _DAY * STEP_S, now, now=now)
    return time.process_time() - cpu


def _migrated(bench: Workbench) -> Row:
    config, count = bench.folder / "moves-config", bench.size(5_000)
    config.mkdir()
    schemas = config / "storage-schemas.conf"
    schemas.write_text(f"[all]\npattern = .\nretentions = {_BEFORE}\n")
    store = Store(bench.folder / "moves-migrated", Rules.load(config))
    series, now = add_names(store, names(count)), now_in_steps()
    random = np.random.default_rng(42)
    for i, archive in enumerate(store.schema_of(int(series[0])).retention.archives):
        last = now // archive.step
        values = random.integers(0, 100_000, (count, archive.points)) / 8
        store.write_archive(series, i, last - archive.points + 1, values, now)
    schemas.write_text(f"[all]\npattern = .\nretentions = {_AFTER}\n")
    store.rules = Rules.load(config)
    cpu = time.process_time()
    drive(migrate(store, _clock, lossy=True), lambda progress: None)
    rate = count / (time.process_time() - cpu)
    if str(store.schema_of(int(store.lookup(names(1))[0])).retention) == _BEFORE:
        raise AssertionError("nothing was migrated")
    store.close()
    return Row(
        f"moves: migrate {_BEFORE} → {_AFTER}, full", rate, "series/CPU-s", "the aim", 500.0, limit=500
    )


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["moves", *sys.argv[1:]]))
