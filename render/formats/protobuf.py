"""What carbonapi asks its servers: messages of its protocols carbonapi_v2_pb and carbonapi_v3_pb.

By https://github.com/go-graphite/protocol. A message that repeats a field can be written in pieces, end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from render import protobuf as wire
from render.formats.presentation import Presentation
from render.series import Series, SeriesList
from storage.schema import Schema

V2_TYPE, V3_TYPE = "application/x-protobuf", "application/x-carbonapi-v3-pb"


def encode_v2(series: SeriesList, how: Presentation) -> bytes:
    """A MultiFetchResponse of version 2: missing values are 0 and said to be absent. Its times end in 2038."""
    return b"".join([wire.message(1, _fetched_v2(one)) for one in series])


def encode_v3(series: SeriesList, how: Presentation) -> bytes:
    """A MultiFetchResponse of version 3: missing values are NaN."""
    window = wire.whole(11, how.window[0]) + wire.whole(12, how.window[1])
    return b"".join([wire.message(1, _fetched_v3(one) + window) for one in series])


def _fetched_v2(one: Series) -> bytes:
    absent = np.isnan(one.values)
    return b"".join(
        [
            wire.text(1, one.name),
            wire.whole(2, one.start),
            wire.whole(3, one.end),
            wire.whole(4, one.step),
            wire.doubles(5, np.where(absent, 0.0, one.values)),
            wire.booleans(6, absent),
        ]
    )


def _fetched_v3(one: Series) -> bytes:
    return b"".join(
        [
            wire.text(1, one.name),
            wire.text(2, one.expression),
            wire.text(3, one.consolidation),
            wire.whole(4, one.start),
            wire.whole(5, one.end),
            wire.whole(6, one.step),
            wire.single(7, one.x_files_factor),
            wire.doubles(9, one.values),
        ]
    )


Node = tuple[str, bool]  # its path, and whether it is a leaf


def globbed(query: str, nodes: Iterable[Node]) -> bytes:
    """A GlobResponse, in which the versions are alike; a MultiGlobResponse has each as a message 1."""
    matches = [wire.message(2, wire.text(1, path) + wire.whole(2, is_leaf)) for path, is_leaf in nodes]
    return b"".join([wire.text(1, query), *matches])


def described(path: str, schema: Schema) -> bytes:
    """An InfoResponse, of version 3 a MetricsInfoResponse: they are alike."""
    archives = schema.retention.archives
    kept = [wire.message(5, wire.whole(1, one.step) + wire.whole(2, one.points)) for one in archives]
    return b"".join(
        [
            wire.text(1, path),
            wire.text(2, schema.method),
            wire.whole(3, schema.retention.longest),
            wire.single(4, schema.x_files_factor),
            *kept,
        ]
    )


def capabilities(protocols: Sequence[str], name: str) -> bytes:
    """A CapabilityResponse of a server that neither filters nor streams, and takes globs split up as well."""
    listed = [wire.text(1, protocol) for protocol in protocols]
    return b"".join([*listed, wire.text(2, name), wire.whole(5, True)])


class Fetch(NamedTuple):
    """A FetchRequest; the functions and points that it may ask for are not ours to apply."""

    name: str
    start: int  # epoch seconds
    until: int
    path_expression: str


def read_fetches(body: bytes) -> list[Fetch]:
    """What a MultiFetchRequest of version 3 asks for; raises ValueError."""
    return [_fetch(dict(wire.fields(_body(value)))) for field, value in wire.fields(body) if field == 1]


def read_names(body: bytes) -> list[str]:
    """The first field of a MultiGlobRequest or a MultiMetricsInfoRequest; raises ValueError."""
    return [wire.words(value) for field, value in wire.fields(body) if field == 1]


def _body(value: wire.Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a message is no message")
    return value


def _fetch(given: Mapping[int, wire.Value]) -> Fetch:
    """Of a field that comes twice the last counts."""
    name = wire.words(given.get(1, b""))
    return Fetch(
        name,
        wire.signed(given.get(2, 0)),
        wire.signed(given.get(3, 0)),
        wire.words(given.get(5, b"")) or name,
    )
