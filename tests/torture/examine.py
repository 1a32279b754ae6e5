"""What a store holds beside what was sent to it: lost, invented, not rolled up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from storage import retention
from storage.format import SHARD_ROWS
from storage.shard import Window
from storage.store import AHEAD_MAX_S, Store
from tests.torture.ledger import FIRST, KINDS, NEVER, Columns, Floats, Integers, Kind, Ledger

_AGE_MARGIN_SLOTS = 4  # so near the end of an archive a datapoint may go either way
_SHOWN_MAX = 5


@dataclass(frozen=True)
class Findings:
    """What a store had of what its receiver is known to have read."""

    read: int  # datapoints looked for
    lost: int  # of them, not found
    loss_s: float  # how long before the end the oldest lost one had been read
    invented: tuple[str, ...]  # names and values that nobody sent, each in words; the first few of a kind
    unrolled: int  # coarse values that are not what the finer ones roll up to


class _Held(NamedTuple):
    """What a store holds of a kind in one archive, also as far ahead as timestamps may lie."""

    first: int  # slot
    step: int
    values: Floats  # (names held, slots)
    names: Integers  # of each row: its place in the ledger's names
    row_of: Integers  # of each of the ledger's names: its row, -1 = not there


def examine(store: Store, ledger: Ledger, *, ended: float, now: int, rolled_up: bool) -> Findings:
    """Compare a store with the ledger; what is found lost is not looked for again.

    `ended` is when the receiver was (monotonic seconds); `rolled_up` says that coarse values are up to date.
    """
    columns = ledger.columns()
    read = lost = unrolled = 0
    loss_s, invented = 0.0, _invented_names(store, ledger)
    for kind in KINDS:
        fine, coarse = _held(store, ledger, kind, 0, now), _held(store, ledger, kind, 1, now)
        invented += _invented(ledger, columns, fine)
        if kind.coarse_is_one:
            invented += _invented(ledger, columns, coarse)
        asked = _kept(ledger, columns, kind, fine)
        missing = asked[~_there(columns, fine, asked)]
        read, lost = read + len(asked), lost + len(missing)
        if len(missing):
            loss_s = max(loss_s, ended - float(columns.read_at[missing].min()))
            ledger.forget(missing.tolist())
        if rolled_up:
            unrolled += _unrolled(kind, fine, coarse)
    return Findings(read, lost, loss_s, tuple(invented), unrolled)


def _invented_names(store: Store, ledger: Ledger) -> list[str]:
    """Names that the store has and nobody sent; those about the receiver are its own."""
    strange = set(store.index.all_paths()) - set(ledger.names)
    return [f"the name {path}" for path in sorted(strange) if not path.startswith("carbon.")][:_SHOWN_MAX]


def _held(store: Store, ledger: Ledger, kind: Kind, i: int, now: int) -> _Held:
    paths, series = store.find_series(f"{kind.name}.*")
    names = np.array([int(path.rpartition(".")[2]) for path in paths], np.int64)
    row_of = np.full(len(ledger.names), -1)
    row_of[names] = np.arange(len(names))
    archive = retention.parse(kind.retention).archives[i]
    first = now // archive.step - archive.points + 1
    points = (now + AHEAD_MAX_S) // archive.step - first + 1
    values = np.empty((0, points))
    if paths:
        assert len(np.unique(series // SHARD_ROWS)) == 1, f"names of {kind.name} have come to several shards"
        window = Window(i, first * archive.step, archive.step, points)
        values = np.empty((len(paths), points))
        rows = series.astype(np.int64) % SHARD_ROWS
        store.shard_of(int(series[0])).read_into(values, np.arange(len(paths)), rows, window)
    return _Held(first, archive.step, values, names, row_of)


def _invented(ledger: Ledger, columns: Columns, held: _Held) -> list[str]:
    """The values that are not of a datapoint of their name and slot, in words."""
    rows, slots = np.nonzero(~np.isnan(held.values))
    numbers = held.values[rows, slots] - FIRST
    sent = (numbers >= 0) & (numbers < len(columns.names)) & (numbers == np.floor(numbers))
    number = np.where(sent, numbers, 0).astype(np.int64)
    if len(number):
        sent &= columns.names[number] == held.names[rows]
        sent &= columns.timestamps[number] // held.step == held.first + slots
    return [
        f"{ledger.names[held.names[rows[at]]]} at {(held.first + slots[at]) * held.step} (step {held.step}): "
        f"{numbers[at] + FIRST!r}, as {_sender(ledger, columns, numbers[at])}"
        for at in np.flatnonzero(~sent)[:_SHOWN_MAX]
    ]


def _sender(ledger: Ledger, columns: Columns, number: float) -> str:
    if 0 <= number < len(columns.names):
        at = int(number)
        return f"{ledger.names[columns.names[at]]} at {columns.timestamps[at]}"
    return "none"


def _kept(ledger: Ledger, columns: Columns, kind: Kind, fine: _Held) -> Integers:
    """The numbers of a kind's datapoints that were read and that the finest archive still covers."""
    of_kind = np.zeros(len(ledger.names), np.bool_)
    of_kind[ledger.of_kind[kind.name]] = True
    young = columns.timestamps >= (fine.first + _AGE_MARGIN_SLOTS) * fine.step
    return np.flatnonzero(of_kind[columns.names] & (columns.read_at < NEVER) & young)


def _there(columns: Columns, fine: _Held, numbers: Integers) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each datapoint's slot has its value, or that of one sent later."""
    rows = fine.row_of[columns.names[numbers]]
    if not len(fine.values):
        return np.zeros(len(numbers), np.bool_)
    values = fine.values[rows, columns.timestamps[numbers] // fine.step - fine.first]
    return (rows >= 0) & (values >= FIRST + numbers)


def _unrolled(kind: Kind, fine: _Held, coarse: _Held) -> int:
    """How many coarse values are not what their slots in the finer archive make."""
    if kind.reduce is None or not len(fine.values):
        return 0
    ratio = coarse.step // fine.step
    first = -(-fine.first // ratio)
    slots = (fine.first + fine.values.shape[1]) // ratio - first
    start = first * ratio - fine.first
    inside = fine.values[:, start : start + slots * ratio].reshape(len(fine.values), slots, ratio)
    stored = coarse.values[:, first - coarse.first : first - coarse.first + slots]
    return int((~np.isclose(kind.reduce(inside), stored, rtol=1e-12, atol=0, equal_nan=True)).sum())
