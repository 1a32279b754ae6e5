"""The output formats: a table from `format=` to what encodes series. A new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from render.formats import csv, dygraph, json, msgpack, pdf, pickle, png, protobuf, raw, rickshaw, svg
from render.formats.presentation import Presentation
from render.series import SeriesList


class Format(NamedTuple):
    content_type: str
    encode: Callable[[SeriesList, Presentation], bytes]
    chunks: Callable[[SeriesList, Presentation], Iterator[bytes]] | None = None  # the same, piece by piece
    is_script: bool = False  # the body is an expression of JavaScript, so that jsonp can call with it
    is_picture: bool = False  # the request's drawing parameters are for it


_V2 = Format(protobuf.V2_TYPE, protobuf.encode_v2)

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "carbonapi_v2_pb": _V2,
        "carbonapi_v3_pb": Format(protobuf.V3_TYPE, protobuf.encode_v3),
        "csv": Format("text/csv; charset=utf-8", csv.encode),
        "dygraph": Format("application/json", dygraph.encode, is_script=True),
        "json": Format("application/json", json.encode, json.chunks, is_script=True),
        "msgpack": Format("application/x-msgpack", msgpack.encode),
        "pdf": Format("application/pdf", pdf.encode, is_picture=True),
        "pickle": Format("application/pickle", pickle.encode),
        "png": Format("image/png", png.encode, is_picture=True),
        "protobuf": _V2,
        "protobuf3": _V2,
        "raw": Format("text/plain; charset=utf-8", raw.encode),
        "rickshaw": Format("application/json", rickshaw.encode, is_script=True),
        "svg": Format("image/svg+xml", svg.encode, is_picture=True),
    }
)

__all__ = ["FORMATS", "Format", "Presentation"]
