"""A list of maps in MessagePack: what graphite-web's cluster servers and carbonapi ask for; the keys are pickle's."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

import msgpack  # type: ignore[import-untyped]  # has no stubs

from render.formats.points import tagged
from render.formats.presentation import Presentation
from render.series import Series, SeriesList

_NUMBER, _NIL = 0xCB, 0xC0


def encode(series: SeriesList, how: Presentation) -> bytes:
    return b"".join([_array(len(series)), *map(_map, series)])


def encode_nodes(nodes: Iterable[tuple[str, tuple[int, int] | None]]) -> bytes:
    """[{"path", "is_leaf", "intervals"}, …], what /metrics/find answers a cluster; None = a branch."""
    pack = msgpack.Packer(unicode_errors="replace").pack
    path, ends = b"%c" + pack("path"), cache(_end_of_node)  # intervals are few: one a retention
    packed = [
        path % (0x82 + (interval is not None)) + pack(name) + ends(interval) for name, interval in nodes
    ]
    return b"".join([_array(len(packed)), *packed])


def _end_of_node(interval: tuple[int, int] | None) -> bytes:
    if interval is None:
        branch: bytes = msgpack.packb("is_leaf") + msgpack.packb(False)
        return branch
    leaf: bytes = msgpack.packb({"is_leaf": True, "intervals": [interval]})
    return leaf[1:]  # without the map's head


def _map(one: Series) -> bytes:
    """The values stand last: all before them is packed as one map, whose head is then made to count them too."""
    head = {
        "name": one.name,
        "start": int(one.start),
        "end": int(one.end),
        "step": int(one.step),
        "pathExpression": one.expression,
        "valuesPerPoint": int(one.points_per_value),
        "consolidationFunc": one.consolidation,
        "xFilesFactor": float(one.x_files_factor),
    }
    packed = msgpack.packb(head, unicode_errors="replace")
    values = msgpack.packb("values") + _array(len(one.values)) + tagged(one.values, _NUMBER, _NIL)
    return b"%c%s%s" % (packed[0] + 1, packed[1:], values)


def _array(items: int) -> bytes:
    return b"\xdd" + struct.pack(">I", items)
