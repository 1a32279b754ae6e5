"""A metric's archives, finest first: "10s:6h,1m:7d" ↔ Retention(Archive(step, points), …), whisper's rules.

The rules are those of whisper 1.1.10's validateArchiveList, because every Graphite configuration was
written under them: two archives never share a step; a coarser step is a multiple of the finer; the coarser
archive reaches further back; the finer holds at least the points that make one coarser point. We depart
in the bounds (below), and in that carbon's own parser knows the one-letter units only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from storage.errors import InvalidRetention

# whisper's words; any beginning of one is the unit too: s, sec, min, hour, days. "mon" is none of them.
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800, "years": 31536000}

ARCHIVES_MAX = 64  # a typical file has 1 to 4; each archive of a schema costs a file per shard
POINTS_MIN = 2  # one point is a "last value", which no window and no rollup can use
POINTS_MAX = 2**31 - 1  # 68 years of seconds: a point's number fits int32
LONGEST_MAX_S = 100 * _UNITS["years"]  # whisper's own timestamps end after 136 years

# 12 digits are enough for a century of seconds and keep a line of digits from becoming a number
_PART = re.compile(r"(\d{1,12})([a-z]*)", re.ASCII)
_ALLOWED = "wanted is step:duration or step:points, as 10s:6h or 60:1440, in the units s m h d w y"


@dataclass(frozen=True)
class Archive:
    """`points` datapoints, one every `step` seconds; raises InvalidRetention out of bounds."""

    step: int
    points: int

    def __post_init__(self) -> None:
        if self.step < 1:
            raise InvalidRetention(f"a step of {self.step} s; the shortest is 1 s")
        if not POINTS_MIN <= self.points <= POINTS_MAX:
            have = f"an archive with a step of {_shortest(self.step)} has {self.points:,} points"
            raise InvalidRetention(f"{have}; {POINTS_MIN} to {POINTS_MAX:,} are allowed")
        if self.duration > LONGEST_MAX_S:
            raise InvalidRetention(f"archive {self} is longer than {_shortest(LONGEST_MAX_S)}")

    @property
    def duration(self) -> int:
        """Seconds that the archive reaches back."""
        return self.step * self.points

    def __str__(self) -> str:
        return f"{_shortest(self.step)}:{_shortest(self.duration)}"


@dataclass(frozen=True)
class Retention:
    """One to ARCHIVES_MAX archives, finest first, that keep whisper's rules; raises InvalidRetention."""

    archives: tuple[Archive, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.archives) <= ARCHIVES_MAX:
            raise InvalidRetention(f"{len(self.archives)} archives; 1 to {ARCHIVES_MAX} are allowed")
        for finer, coarser in pairwise(self.archives):
            _check_pair(finer, coarser)

    @property
    def longest(self) -> int:
        """Seconds that the coarsest archive reaches back; nothing older is kept."""
        return self.archives[-1].duration

    def __str__(self) -> str:
        return ",".join(map(str, self.archives))


def parse(text: str) -> Retention:
    """The retention that "10s:6h,1m:7d" says, its archives in any order; raises InvalidRetention."""
    try:
        archives = sorted(_archives(text), key=lambda archive: archive.step)
        return Retention(tuple(archives))
    except InvalidRetention as error:
        raise InvalidRetention(f"{_quoted(text)}: {error}") from None


def seconds(text: str) -> int:
    """The seconds that "90d" says; raises InvalidRetention for what has no unit too."""
    number, has_unit = _number(text)
    if not has_unit:
        raise InvalidRetention(f"{_quoted(text)} has no unit; there are s m h d w y")
    return number


def words(count: int) -> str:
    """Seconds in the largest unit of which they are two or more: 60 s, 5 min, 24 h, 30 days."""
    for unit, size in (("years", 31_536_000), ("days", 86_400), ("h", 3_600), ("min", 60)):
        if count % size == 0 and count >= 2 * size:
            return f"{count // size} {unit}"
    return f"{count} s"


def _archives(text: str) -> Iterator[Archive]:
    parts = text.split(",", ARCHIVES_MAX)
    if len(parts) > ARCHIVES_MAX:
        raise InvalidRetention(f"more than {ARCHIVES_MAX} archives")
    for part in parts:
        step_text, colon, length_text = part.strip().partition(":")
        if not colon:
            raise InvalidRetention(f"{_quoted(part.strip())} is no archive; {_ALLOWED}")
        step, _ = _number(step_text)
        length, has_unit = _number(length_text)
        if has_unit and step:
            length //= step  # whole points, as whisper and carbon round
        yield Archive(step, length)


def _number(text: str) -> tuple[int, bool]:
    """The seconds (without a unit: the count) that "90", "10s" or "1min" says, and if it had a unit."""
    match = _PART.fullmatch(text)
    if match is None:
        raise InvalidRetention(f"{_quoted(text)} is no number with a unit; {_ALLOWED}")
    number, unit = match.groups()
    if not unit:
        return int(number), False
    for word, seconds in _UNITS.items():
        if word.startswith(unit):
            return int(number) * seconds, True
    raise InvalidRetention(f"{_quoted(text)} has an unknown unit; {_ALLOWED}")


def _check_pair(finer: Archive, coarser: Archive) -> None:
    """Raise InvalidRetention if a neighbour in the list breaks one of whisper's rules."""
    if finer.step == coarser.step:
        raise InvalidRetention(f"archives {finer} and {coarser} have the same step")
    if finer.step > coarser.step:
        raise InvalidRetention(f"archive {finer} stands before the finer {coarser}; the finest comes first")
    per_point, rest = divmod(coarser.step, finer.step)
    if rest:
        steps = f"{coarser.step} s is no multiple of {finer.step} s"
        raise InvalidRetention(f"the points of archive {coarser} cannot be made of those of {finer}: {steps}")
    if coarser.duration <= finer.duration:
        reach = f"{coarser.duration:,} s against {finer.duration:,} s"
        raise InvalidRetention(f"archive {coarser} must reach further back than the finer {finer}: {reach}")
    if finer.points < per_point:
        counts = f"it has {finer.points:,} points and one of {coarser} is made of {per_point:,}"
        raise InvalidRetention(f"archive {finer} is too short: {counts}")


def _shortest(seconds: int) -> str:
    """Seconds in the unit that makes the shortest text, of two the finer: 60 → 1m, 90 → 90s, a week → 7d."""
    whole = [f"{seconds // size}{word[0]}" for word, size in _UNITS.items() if seconds % size == 0]
    return min(whole, key=len)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
