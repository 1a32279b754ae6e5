"""A list of dicts, pickled: what graphite-web's cluster servers ask each other for.

Written here and not by the pickle module, which would want an object a datapoint. Protocol 2, which Python 2 reads
too; nothing but lists, dicts, texts and numbers is in it, and Plumbago never reads one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

from render.formats.points import tagged
from render.formats.presentation import Presentation
from render.series import Series, SeriesList

_BEGIN, _END = b"\x80\x02](", b"e."  # a list and what is appended to it
_NUMBER, _NONE = ord("G"), ord("N")

Interval = tuple[int, int]  # epoch seconds


def encode(series: SeriesList, how: Presentation) -> bytes:
    return b"".join([_BEGIN, *map(_dict, series), _END])


def encode_nodes(nodes: Iterable[tuple[str, Interval | None]]) -> bytes:
    """[{"path", "is_leaf", "intervals"}, …], what /metrics/find answers a cluster; None = a branch."""
    path, ends = b"}(" + _text("path"), cache(_end_of_node)  # intervals are few: one a retention
    return b"".join([_BEGIN, *[path + _text(name) + ends(interval) for name, interval in nodes], _END])


def _end_of_node(interval: Interval | None) -> bytes:
    if interval is None:
        return _text("is_leaf") + b"\x89u"
    start, end = map(_whole, interval)
    return _text("is_leaf") + b"\x88" + _text("intervals") + b"](" + start + end + b"\x86eu"


def _dict(one: Series) -> bytes:
    """The keys are those of graphite-web's getInfo."""
    return b"".join(
        [
            b"}(",
            _text("name"), _text(one.name),
            _text("start"), _whole(one.start),
            _text("end"), _whole(one.end),
            _text("step"), _whole(one.step),
            _text("values"), b"](", tagged(one.values, _NUMBER, _NONE), b"e",
            _text("pathExpression"), _text(one.expression),
            _text("valuesPerPoint"), _whole(one.points_per_value),
            _text("consolidationFunc"), _text(one.consolidation),
            _text("xFilesFactor"), b"G" + struct.pack(">d", one.x_files_factor),
            b"u",
        ]
    )  # fmt: skip


def _text(text: str) -> bytes:
    encoded = text.encode(errors="replace")
    return b"X%s%s" % (struct.pack("<I", len(encoded)), encoded)


def _whole(number: int) -> bytes:
    number = int(number)
    encoded = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a%c%s" % (len(encoded), encoded)
