"""The fixed series and window that golden answers are made from. Pure standard library: two Pythons import
this.

`find` and `window` are the rules by which a store finds and reads: graphite's globs and seriesByTag(), and
whisper's window (start, until].
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

START = 1_600_000_200  # a multiple of 300, as the steps are
UNTIL = START + 1200
NOW = UNTIL
_FIRST = START - 6 * 3600  # functions that look back find this much more
_LAST = START + 3600


class Points(NamedTuple):
    start: int  # epoch seconds of the first point
    step: int
    values: list[float | None]


def _wave(seed: int, step: int = 60, gaps: int = 0, scale: float = 1.0, offset: float = 0.0) -> Points:
    """A mix of rise, fall and jumps in quarters; with `gaps` every so many points one or two are missing."""
    values: list[float | None] = []
    for i in range((_LAST - _FIRST) // step):
        value = 20 * math.sin((i + seed) / 3.7) + (i * (seed + 3)) % 11 - 3 + offset
        missing = gaps and ((i + seed) % gaps == 0 or (i * seed) % (gaps + 4) == 1)
        values.append(None if missing else round(value * scale * 4) / 4)
    return Points(_FIRST, step, values)


def _ramp(seed: int, wrap: int, step: int = 60) -> Points:
    """A counter that starts again now and then."""
    return Points(_FIRST, step, [float((i * seed) % wrap) for i in range((_LAST - _FIRST) // step)])


def _flat(value: float | None, step: int = 60) -> Points:
    return Points(_FIRST, step, [value] * ((_LAST - _FIRST) // step))


def _spots(every: int) -> Points:
    """Missing but for one point in so many."""
    return Points(
        _FIRST, 60, [float(i % 97) if i % every == 0 else None for i in range((_LAST - _FIRST) // 60)]
    )


SERIES: dict[str, Points] = {
    "servers.web1.cpu": _wave(1),
    "servers.web2.cpu": _wave(2, gaps=5),
    "servers.web3.cpu": _wave(3, gaps=3),
    "servers.web1.mem": _wave(4, scale=2.5, offset=60),
    "servers.web2.mem": _wave(5, scale=2.5, offset=60, gaps=7),
    "servers.web3.mem": _flat(None),
    "servers.db1.cpu": _wave(6, scale=0.1),
    "servers.db1.mem": _flat(64.0),
    "servers.web1.requests": _ramp(7, 1000),
    "servers.web2.requests": _ramp(13, 400),
    "servers.web3.requests": _spots(6),
    "disk.a.used": _wave(7, offset=40),
    "disk.a.total": _flat(100.0),
    "disk.b.used": _wave(8, offset=40, gaps=4),
    "disk.b.total": _flat(80.0),
    "disk.c.used": _wave(9, offset=40),
    "disk.d.total": _flat(50.0),
    "odd.zero": _flat(0.0),
    "odd.negative": _flat(-2.5),
    "odd.none": _flat(None),
    "odd.spots": _spots(4),
    "odd.huge": _flat(1e300),
    "odd.tiny": _wave(10, scale=0.015),
    "fine.f1": _wave(11, step=10),
    "fine.f2": _wave(12, step=10, gaps=4),
    "coarse.c1": _wave(13, step=300),
    "coarse.c2": _wave(14, step=300, gaps=3),
    "load;dc=east;host=a": _wave(15),
    "load;dc=east;host=b": _wave(16, gaps=6),
    "load;dc=west;host=c": _wave(17),
    "temp;dc=west;host=c": _wave(18, scale=0.5),
}


def find(pattern: str, among: Iterable[str] = SERIES) -> list[str]:
    """The paths that a pattern (or a seriesByTag(…) text) names, sorted."""
    if pattern.startswith("seriesByTag("):
        return sorted(path for path in among if tagged(path, pattern))
    matcher = glob(pattern)
    return sorted(path for path in among if path == pattern or (";" not in path and matcher.fullmatch(path)))


def glob(pattern: str) -> re.Pattern[str]:
    """A glob as an expression to match whole paths with: * ? [abc] [!a] {a,b}."""
    out = []
    depth = 0
    for char in pattern:
        depth += (char == "{") - (char == "}")
        out.append(
            {"*": "[^.]*", "?": "[^.]", "{": "(?:", "}": ")", "[": "[", "]": "]", "!": "^", "-": "-"}.get(
                char
            )
            or ("|" if char == "," and depth else re.escape(char))
        )
    return re.compile("".join(out))


def tagged(path: str, expressions: str) -> bool:
    """Whether a path's tags fulfil all of seriesByTag('tag=value', …)."""
    name, *pairs = path.split(";")
    tags = {"name": name, **dict(pair.split("=", 1) for pair in pairs)}
    for tag, operator, spec in re.findall(r"""["']([^;!=]+)(!?=~?)([^;"']*)["']""", expressions):
        value = tags.get(tag, "")
        holds = bool(re.match(spec, value)) if operator.endswith("~") else value == spec
        if holds == operator.startswith("!"):
            return False
    return True


def window(points: Points, start: int, until: int) -> Points:
    """The points in (start, until], as whisper cuts them: the first slot is the one after start's."""
    step = points.step
    begin, end = start - start % step + step, until - until % step + step
    if end == begin:
        end += step
    first = (begin - points.start) // step
    count = (end - begin) // step
    values = [points.values[i] if 0 <= i < len(points.values) else None for i in range(first, first + count)]
    return Points(begin, step, values)
