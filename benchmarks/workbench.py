"""What every question is given: a folder on the disk, sizes, names and values, stores filled with them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import whisper

from benchmarks.peers import Peers
from storage.intern import lay
from storage.schema import Rules
from storage.store import Store

Matrix = npt.NDArray[np.float64]

STEP_S = 60
RETENTION = "1m:30d,15m:5y"  # the built-in rule that the names below come under
_ARCHIVES = [(60, 43_200), (900, 175_200)]  # the same for whisper
_SERVICES = ("checkout", "search", "cart", "login", "stock", "mail", "media", "rating", "billing", "gateway")
_METRICS = ("requests", "errors", "latency", "bytes")
_STATISTICS = ("p50", "p90", "p99", "mean", "max")
_LEAVES = tuple(f"{metric}.{statistic}" for metric in _METRICS for statistic in _STATISTICS)
_GAPS = 0.05  # the part of datapoints that are missing


@dataclass(frozen=True)
class Workbench:
    folder: Path  # empty at first, removed at the end
    peers: Peers
    quick: bool

    def size(self, whole: int) -> int:
        return whole // 10 if self.quick else whole


def now_in_steps() -> int:
    return int(time.time()) // STEP_S * STEP_S


class Day(NamedTuple):
    """24 hours of a value a minute; about one in twenty is missing (NaN)."""

    names: list[str]
    timestamps: npt.NDArray[np.int64]  # (1440,), the last is `now`
    values: Matrix  # (1440, series)

    @property
    def now(self) -> int:
        return int(self.timestamps[-1])

    @property
    def start(self) -> int:
        """The window (start, now] holds all of it."""
        return self.now - len(self.timestamps) * STEP_S


def names(how_many: int, leaves: tuple[str, ...] = _LEAVES) -> list[str]:
    """Names such as dc1.web-042.checkout.requests.p99, host by host as agents send them."""
    every = (
        f"dc{host % 3 + 1}.web-{host:03d}.{service}.{leaf}"
        for host in count()
        for service in _SERVICES
        for leaf in leaves
    )
    return list(islice(every, how_many))


def make_day(how_many: int) -> Day:
    """One series a service: all names match *.*.*.requests.p99."""
    last = now_in_steps()
    timestamps = np.arange(last - 1439 * STEP_S, last + 1, STEP_S)
    random = np.random.default_rng(42)
    values = (
        random.integers(0, 100_000, (len(timestamps), how_many)) / 8
    )  # exact, so that sums in any order agree
    values[random.random(values.shape) < _GAPS] = np.nan
    return Day(names(how_many, ("requests.p99",)), timestamps, values)


def add_names(store: Store, paths: list[str]) -> npt.NDArray[np.int32]:
    """Their series, made in batches as from a listener."""
    encoded = [path.encode() for path in paths]
    return np.concatenate(
        [store.series_of(*lay(encoded[at : at + 8192])) for at in range(0, len(encoded), 8192)]
    )


def fill_store(folder: Path, day: Day, rules: Rules | None = None) -> None:
    store = Store(folder, rules)
    series = add_names(store, day.names)
    for timestamp, values in zip(day.timestamps, day.values, strict=True):
        known = ~np.isnan(values)
        store.append(series[known], np.full(known.sum(), timestamp), values[known], day.now)
    store.roll_up()
    store.close()


def fill_whisper(folder: Path, day: Day, how_many: int) -> list[Path]:
    """The first series of the day as whisper files."""
    files = [make_whisper(folder, name) for name in day.names[:how_many]]
    for file, values in zip(files, day.values.T, strict=False):
        points = [(int(t), float(v)) for t, v in zip(day.timestamps, values, strict=True) if v == v]
        whisper.update_many(str(file), points, now=day.now)
    return files


def make_whisper(folder: Path, name: str) -> Path:
    """An empty whisper file of the store's own retention."""
    path = folder / (name.replace(".", "/") + ".wsp")
    path.parent.mkdir(parents=True, exist_ok=True)
    whisper.create(str(path), _ARCHIVES, xFilesFactor=0.0, aggregationMethod="average", sparse=True)
    return path


def store_of_names(bench: Workbench) -> tuple[Path, list[str]]:
    """A closed store of a million names (whole size) without datapoints, made by whoever asks first."""
    folder, paths = bench.folder / "names", names(bench.size(1_000_000))
    if not folder.exists():
        store = Store(folder)
        add_names(store, paths)
        store.close()
    return folder, paths
