"""What a reader makes of a stream: datapoints by name, refusals by reason, and why it broke."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols.reader import Batch, Reader
from carbon.stats import Stats
from storage import naming
from storage.naming import Fault
from tests.carbon.memory import MemorySeries

NOW = 1_700_000_000
Point = tuple[bytes, int, float]
Make = Callable[[NameTable, Stats], Reader]


class Outcome(NamedTuple):
    points: list[Point]
    rejected: dict[str, int]
    broken: str | None  # the reason of BadFrame


class Stream:
    """A reader with tables of its own."""

    def __init__(self, make: Make) -> None:
        self.stats = Stats()
        self.names = NameTable(MemorySeries(), self.stats)
        self.reader = make(self.names, self.stats)

    def feed(self, data: bytes) -> list[Point]:
        """The datapoints; raises BadFrame."""
        return self.points(self.reader.feed(data, NOW))

    def points(self, batch: Batch | None) -> list[Point]:
        if batch is None:
            return []
        assert len(batch.ids)
        assert [column.dtype.name for column in batch] == ["int32", "int64", "float64"]
        names = [name.encode("utf-8", "surrogateescape") for name in self.names.interned.names(batch.ids)]
        return list(zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True))


def read(make: Make, pieces: Iterable[bytes]) -> Outcome:
    stream = Stream(make)
    points: list[Point] = []
    broken = None
    for piece in pieces:
        try:
            points += stream.feed(piece)
        except BadFrame as bad:
            points += stream.points(bad.batch)
            broken = bad.reason
            break
    return Outcome(points, dict(stream.stats.rejected), broken)


def fault(name: bytes) -> str | None:
    """Why a name is refused, tags not looked into."""
    found = naming.fault(name)
    return None if found in (Fault.NONE, Fault.BAD_TAG) else found.words


def plain_number(value: Any) -> float | None:
    """What float() makes of a number or a text of at most 32 bytes."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes) and len(value) > 32:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def plain_item(item: Any) -> Point | str:
    """What carbon would take of an item, or why nothing: the plain twin of readers of items."""
    try:
        name, (timestamp, value) = item
    except (TypeError, ValueError):
        return "bad item"
    if not isinstance(item, (list, tuple)) or not isinstance(item[1], (list, tuple)):
        return "bad item"
    if not isinstance(name, (str, bytes)) or not name:
        return "bad name"
    path = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name
    return plain_point(path, plain_number(timestamp), plain_number(value))


def plain_point(path: bytes, when: float | None, number: float | None) -> Point | str:
    if when is None or not abs(when) < 1e11:
        return "bad timestamp"
    if number is None:
        return "bad value"
    if number != number:
        return "value is NaN"
    if abs(number) == float("inf"):
        return "value is infinite"
    return fault(path) or (path, NOW if when == -1 else int(when // 1), number)


def plain(taken: Iterable[Point | str]) -> Outcome:
    """The outcome of points and reasons, in their order."""
    points: list[Point] = []
    rejected: dict[str, int] = {}
    for one in taken:
        if isinstance(one, str):
            rejected[one] = rejected.get(one, 0) + 1
        else:
            points.append(one)
    return Outcome(points, rejected, None)
