"""How long series live and how many there may be: storage-limits.conf, and the job that lets the silent ones go.

The file has Graphite's syntax, and sections of three kinds:

    [pods]                          [all pods]              [trash]
    pattern = ^k8s\\..*\\.pod-        prefix = k8s.           keepTrash = 14d
    expireAfter = 90d               maxSeries = 100000

A series without a datapoint for `expireAfter` is deleted to the trash; the first section whose pattern is in its name
decides, `never` keeps it. Beyond `maxSeries` no sender makes new series under the prefix. What was deleted can be
restored for `keepTrash`, 7 days where nothing is said. Without the file all live for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from storage import naming, retention
from storage.errors import InvalidRetention
from storage.jobs import Job, Progress
from storage.sections import Section, Stamp, first_match, search, sections, stamp, text_of

if TYPE_CHECKING:
    from storage.register import Series
    from storage.store import Store

LIMITS_FILE = "storage-limits.conf"
TRASH_S = 7 * 86_400
EXPIRE_MIN_S = 3600  # what is silent for less may be a restart
_NEVER = 1 << 62
_SERIES_AT_ONCE = 128  # read to the end they are some 30 ms, if all of them are silent
_PURGED_AT_ONCE = 4096
_POINTS_FIRST = 64  # newest points of a series that are read first: most have one there
_VALUES_AT_ONCE = 1 << 20

Mask = npt.NDArray[np.bool_]


class Quota(NamedTuple):
    """At most so many series whose names begin with a prefix."""

    prefix: str
    most: int

    @property
    def words(self) -> str:
        return f"quota of {self.prefix} reached: {self.most} series"


@dataclass(frozen=True)
class Limits:
    """What a folder's storage-limits.conf says. Never changes: when `changed()`, load new ones."""

    ages: tuple[int, ...]  # seconds, of each section with a pattern; the last is for what none matches
    number: Callable[[str], int]  # the place in `ages` of a name
    quotas: tuple[Quota, ...]
    trash_s: int = TRASH_S  # how long what was deleted may be restored
    path: Path | None = None
    fingerprint: Stamp | None = None

    @classmethod
    def load(cls, folder: Path) -> Limits:
        """Raises InvalidConfig."""
        path = folder / LIMITS_FILE
        fingerprint = stamp(path)  # before reading: a file that is written meanwhile then counts as changed
        found = list(sections(str(path), text_of(path) or ""))
        trash = [section for section in found if "keeptrash" in section.options]
        expiries = [one for one in found if "prefix" not in one.options and one not in trash]
        quotas = tuple(_quota(section) for section in found if "prefix" in section.options)
        ages = (*map(_age, expiries), _NEVER)
        number = first_match([search(section) for section in expiries])
        return cls(ages, number, quotas, _trash(trash), path, fingerprint)

    def changed(self) -> bool:
        """If the file was written, made or removed since it was read; one stat call."""
        return self.path is not None and stamp(self.path) != self.fingerprint

    @property
    def shortest(self) -> int | None:
        """The least of the ages in seconds; None if nothing expires."""
        shortest = min(self.ages)
        return None if shortest == _NEVER else shortest

    def expire_after(self, name: str) -> int | None:
        """After how many seconds without a datapoint a series goes; None = never."""
        age = self.ages[self.number(name)]
        return None if age == _NEVER else age


NO_LIMITS = Limits((_NEVER,), lambda name: 0, ())


def _age(section: Section) -> int:
    if "pattern" not in section.options:
        section.option("pattern or prefix")  # says that it is missing
    section.allow_only(["pattern", "expireAfter"])
    option = section.option("expireAfter")
    if option.value == "never":
        return _NEVER
    try:
        age = retention.seconds(option.value)
    except InvalidRetention as error:
        section.refuse(option, f"{error}; or never")
    if not EXPIRE_MIN_S <= age <= retention.LONGEST_MAX_S:
        section.refuse(option, f"{option.value!r} is out of bounds; 1h to 100y are allowed, or never")
    return age


def _trash(found: list[Section]) -> int:
    if not found:
        return TRASH_S
    found[0].allow_only(["keepTrash"])
    option = found[0].option("keepTrash")
    if len(found) > 1:
        found[1].refuse(found[1].option("keepTrash"), f"stands twice, first in section [{found[0].name}]")
    try:
        return retention.seconds(option.value)
    except InvalidRetention as error:
        found[0].refuse(option, str(error))


def _quota(section: Section) -> Quota:
    section.allow_only(["prefix", "maxSeries"])
    prefix, most = section.option("prefix"), section.option("maxSeries")
    if naming.fault(prefix.value.rstrip(".").encode()) or ".." in prefix.value:
        section.refuse(prefix, f"{prefix.value!r} is the beginning of no metric name")
    if not (most.value.isascii() and most.value.isdecimal() and len(most.value) <= 9):
        section.refuse(most, f"{most.value!r} is no number from 0 to 999999999")
    return Quota(prefix.value, int(most.value))


# --- expiry ---


def expire(store: Store, now: int, *, trash_s: int | None = None) -> Job:
    """Delete the series that were silent for too long, then free what lay in the trash for more than `trash_s`.

    None: for as long as the limits say.
    """
    trash_s = store.rules.limits.trash_s if trash_s is None else trash_s
    total, expired, purged = store.seen, 0, 0
    store.roll_up()  # what was received a moment ago is in the finest archive only
    for first in range(0, total, _SERIES_AT_ONCE):
        expired += store.delete(_expired(store, first, now), now)
        yield Progress(min(first + _SERIES_AT_ONCE, total), total, "series")
    while some := store.purge(now - trash_s, at_most=_PURGED_AT_ONCE):
        purged += some
        yield Progress(total, total, "series")
    return [f"{expired} series without new datapoints went to the trash", f"{purged} left the trash for good"]


def _expired(store: Store, first: int, now: int) -> list[str]:
    """The names to delete among those with some ids from `first` on."""
    limits = store.rules.limits
    if limits.shortest is None:
        return []
    ids, series = store.living(first, first + _SERIES_AT_ONCE)
    quiet = silent(store, series, now, limits.shortest)
    names, series = store.names_of(ids[quiet]), series[quiet]
    ages = np.array([limits.ages[limits.number(name)] for name in names], np.int64)
    gone = ages == limits.shortest
    for age in np.unique(ages[~gone]).tolist():
        if age != _NEVER:
            mine = np.flatnonzero(ages == age)
            gone[mine[silent(store, series[mine], now, age)]] = True
    return [names[i] for i in np.flatnonzero(gone)]


def silent(store: Store, series: Series, now: int, age: int) -> Mask:
    """Which of the series have no datapoint younger than `age` seconds, in any archive."""
    quiet = np.ones(len(series), np.bool_)
    for schema, at in store.by_schema(series):
        left = at
        for i, archive in enumerate(schema.retention.archives):
            last = store.horizon(now) // archive.step + 1
            first = (now - min(age, archive.duration)) // archive.step + 1
            left = _without(store, series, left, i, first, last)
            if archive.duration >= age:
                break  # coarser ones are made of this one
        quiet[at] = False
        quiet[left] = True
    return quiet


def _without(
    store: Store, series: Series, left: npt.NDArray[np.intp], archive: int, first: int, last: int
) -> npt.NDArray[np.intp]:
    """Those of `left` that have nothing in the slots from first to before last: the newest are read first."""
    points = _POINTS_FIRST
    while last > first and len(left):
        begin = max(first, last - points)
        step = max(1, _VALUES_AT_ONCE // (last - begin))
        parts = [left[at : at + step] for at in range(0, len(left), step)]
        left = np.concatenate([_blank(store, series, part, archive, begin, last) for part in parts])
        last, points = begin, points * 4
    return left


def _blank(
    store: Store, series: Series, some: npt.NDArray[np.intp], archive: int, first: int, last: int
) -> npt.NDArray[np.intp]:
    values = store.read_archive(series[some], archive, first, last - first)
    return some[np.isnan(values).all(axis=1)]
