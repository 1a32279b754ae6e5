"""How much senders may do: rates by token buckets, for all and for each address, and the memory they may fill.

A bucket holds one second's worth; what is taken beyond leaves it in debt, which time pays off.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)

SOURCES_MAX = 10_000  # addresses whose rates are kept; those heard of longest ago begin anew
_SHARE_OF_MEMORY = 4  # without a setting, one part in so many
_EASED = 0.95  # of the limit: below it new names are taken again, so that it does not go back and forth
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class Bucket:
    def __init__(self, a_second: float, clock: Callable[[], float]) -> None:
        self._rate, self._clock = a_second, clock
        self._left, self._at = a_second, clock()

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now

    def take(self, wanted: int) -> int:
        """How many of so many are granted now."""
        self._fill()
        granted = max(0, min(wanted, int(self._left)))
        self._left -= granted
        return granted

    def charge(self, used: int) -> float:
        """Take so many, come what may; gives the seconds until the debt is paid."""
        self._fill()
        self._left -= used
        return max(0.0, -self._left / self._rate)


class Sources:
    """A bucket for each address."""

    def __init__(self, a_second: float, clock: Callable[[], float]) -> None:
        self._rate, self._clock = a_second, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def of(self, source: str) -> Bucket:
        found = self._buckets.get(source)
        if found is None:
            found = self._buckets[source] = Bucket(self._rate, self._clock)
            if len(self._buckets) > SOURCES_MAX:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(source)
        return found


class NewSeries:
    """How many series may be made: by all, by each address, and none while there is no memory for them."""

    def __init__(self, a_second: int | None, per_source: int | None, clock: Callable[[], float]) -> None:
        self._all = Bucket(a_second, clock) if a_second is not None else None
        self._each = Sources(per_source, clock) if per_source is not None else None
        self.stopped = False

    def admit(self, wanted: int, source: str) -> int:
        """How many of so many new ones there may be now."""
        if self.stopped:
            return 0
        if self._each is not None and source:
            wanted = self._each.of(source).take(wanted)
        return wanted if self._all is None else self._all.take(wanted)


class Memory:
    """Watches what the process has of its own (maps of files are the kernel's to take back)."""

    def __init__(
        self, limit: int | None, new_series: NewSeries, used: Callable[[], int] | None = None
    ) -> None:
        self.limit = memory_of_machine() // _SHARE_OF_MEMORY if limit is None else limit
        self._new_series, self._used = new_series, used or own_memory

    def watch(self) -> None:
        """Make no series beyond the limit; known ones go on."""
        used = self._used()
        if used > self.limit and not self._new_series.stopped:
            self._new_series.stopped = True
            _log.error(
                "%d MiB are used, %d allowed ([limits] memory): no new series is made until it is less",
                used >> 20,
                self.limit >> 20,
            )
        elif self._new_series.stopped and used < self.limit * _EASED:
            self._new_series.stopped = False
            _log.warning("%d MiB are used: new series are made again", used >> 20)


def own_memory() -> int:
    """Bytes of anonymous memory, as the kernel counts them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return int(psutil.Process().memory_info().rss)


def memory_of_machine(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Bytes that there are: of our cgroup or one around it, if that has less."""
    least = int(psutil.virtual_memory().total)
    for path in _limits(cgroups, own):
        try:
            least = min(least, int(path.read_text()))
        except (OSError, ValueError):
            continue  # no cgroup of this kind, or "max"
    return least


def _limits(cgroups: Path, own: Path) -> Iterator[Path]:
    """The files that may hold a limit, of both kinds of cgroups; a service of systemd is some levels down."""
    yield cgroups / "memory" / "memory.limit_in_bytes"
    yield cgroups / "memory.max"
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::/"):
            below = Path(line.removeprefix("0::/"))
            yield from (cgroups / each / "memory.max" for each in (below, *below.parents))
