"""Series as a table for people: a column a series, a row a timestamp. What `plumbago query` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

_GAP = "  "
_NAME_MIN = 12  # columns to which a name may be cut before series are left out


class Column(NamedTuple):
    name: str
    values: Mapping[int, float | None]  # by timestamp, epoch seconds


def table(columns: Sequence[Column], zone: tzinfo, width: int) -> str:
    """Lines of at most `width` characters; names are cut in front, series that do not fit counted below."""
    timestamps = sorted({timestamp for column in columns for timestamp in column.values})
    times = [
        datetime.fromtimestamp(timestamp, zone).strftime("%Y-%m-%d %H:%M:%S") for timestamp in timestamps
    ]
    laid = [[_number(column.values.get(timestamp)) for timestamp in timestamps] for column in columns]
    time_width = max(map(len, times), default=0)
    needed = [max(map(len, cells), default=0) for cells in laid]
    widths = _widths(columns, needed, width - time_width)
    shown = list(zip(columns, laid, widths, strict=False))
    head = [" " * time_width, *(_cut(column.name, size).rjust(size) for column, _, size in shown)]
    rows = [head, *([at, *(cells[i].rjust(size) for _, cells, size in shown)] for i, at in enumerate(times))]
    lines = [_GAP.join(row).rstrip() for row in rows]
    if left := len(columns) - len(shown):
        lines.append(f"… and {left} more series: --format csv or json shows all")
    return "\n".join(lines)


def _widths(columns: Sequence[Column], needed: Sequence[int], width: int) -> list[int]:
    """The widths of the columns that fit, at least one: as wide as their names if there is room for that."""
    least = [
        max(need, min(len(column.name), _NAME_MIN)) for column, need in zip(columns, needed, strict=True)
    ]
    count, used = 0, 0
    while count < len(least) and (count == 0 or used + len(_GAP) + least[count] <= width):
        used += len(_GAP) + least[count]
        count += 1
    widths, spare = least[:count], max(0, width - used)
    for i in sorted(range(count), key=lambda i: len(columns[i].name)):
        more = min(spare, max(0, len(columns[i].name) - widths[i]))
        widths[i] += more
        spare -= more
    return widths


def _cut(name: str, width: int) -> str:
    """The end of a name tells more than its beginning: `…web1.cpu.user`."""
    printable = "".join(c if c.isprintable() else "�" for c in name)
    return printable if len(printable) <= width else "…" + printable[len(printable) - width + 1 :]


def _number(value: float | None) -> str:
    """Whole numbers in full, others with six digits; a missing value is `-`."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.2f}" if abs(value) < 1e12 else f"{value:.6g}"
