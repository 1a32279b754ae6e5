"""What was sent to a receiver, and when it was seen to have read it.

A datapoint's value is its number in the ledger plus FIRST, so a value tells which datapoint it is: one that was
never sent, or lies under another name or another time, is *invented* (examine.py finds them).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FIRST = 1 << 40  # nothing that is counted or left over comes so high by chance
NEVER = math.inf


def _maximum(slots: Floats) -> Floats:
    highest: Floats = np.fmax.reduce(slots, axis=2)
    return highest


def _average(slots: Floats) -> Floats:
    known = (~np.isnan(slots)).sum(axis=2)
    return np.where(known > 0, np.nansum(slots, axis=2) / np.maximum(known, 1), np.nan)


class Kind(NamedTuple):
    """A family of names, `<kind>.<number>`, with one schema of two archives."""

    name: str
    retention: str
    aggregation: str
    coarse_is_one: bool  # a coarse value is that of one of its slot's datapoints
    reduce: (
        Callable[[Floats], Floats] | None
    )  # float64 (names, coarse slots, ratio) → coarse values; None: not
    # all that a coarse value was made of is still in the finer archive


LIVE = Kind("live", "1s:32s,8s:10m", "last", True, None)  # its rings go round within a minute
SWEEP = Kind("sweep", "1s:6h,1m:1d", "max", True, _maximum)  # a block ends many times a second
LATE = Kind("late", "10s:6h,1m:1d", "average", False, _average)  # mostly into sealed blocks
KINDS = (LIVE, SWEEP, LATE)


def write_rules(config: Path) -> None:
    """Graphite's two files, with a section a kind."""
    config.mkdir()
    (config / "storage-schemas.conf").write_text(
        "".join(
            f"[{kind.name}]\npattern = ^{kind.name}\\.\nretentions = {kind.retention}\n" for kind in KINDS
        )
        + "[rest]\npattern = .\nretentions = 60s:1h,5m:1d\n"
    )
    (config / "storage-aggregation.conf").write_text(
        "".join(
            f"[{kind.name}]\npattern = ^{kind.name}\\.\nxFilesFactor = 0\naggregationMethod = {kind.aggregation}\n"
            for kind in KINDS
        )
    )


class Columns(NamedTuple):
    """The ledger as arrays: row n is datapoint n. `names` are places in Ledger.names."""

    names: Integers
    timestamps: Integers
    read_at: Floats  # monotonic seconds; NEVER = not known to have been read


class Ledger:
    """Every datapoint sent, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.of_kind: dict[str, list[int]] = {kind.name: [] for kind in KINDS}  # places in `names`
        self._names, self._timestamps, self._read_at = array("q"), array("q"), array("d")

    def __len__(self) -> int:
        return len(self._names)

    def new_name(self, kind: Kind) -> None:
        self.of_kind[kind.name].append(len(self.names))
        self.names.append(f"{kind.name}.{len(self.names)}")

    def add(self, names: Sequence[int], timestamps: Iterable[int]) -> range:
        """Enter datapoints; gives their numbers."""
        first = len(self)
        self._names.extend(names)
        self._timestamps.extend(timestamps)
        self._read_at.extend([NEVER] * len(names))
        return range(first, len(self))

    def lines(self, numbers: range) -> bytes:
        names, of, timestamps = self.names, self._names, self._timestamps
        return "".join(f"{names[of[n]]} {FIRST + n} {timestamps[n]}\n" for n in numbers).encode()

    def was_read(self, numbers: range, at: float) -> None:
        self._read_at[numbers.start : numbers.stop] = array("d", [at]) * len(numbers)

    def forget(self, numbers: Iterable[int]) -> None:
        """Take datapoints as not known to have been read: they are lost, and were told of once."""
        for number in numbers:
            self._read_at[number] = NEVER

    def columns(self) -> Columns:
        """Made of slices: an array that numpy looks into cannot grow, and the thread of a sender may enter more."""
        return Columns(np.array(self._names[:]), np.array(self._timestamps[:]), np.array(self._read_at[:]))
