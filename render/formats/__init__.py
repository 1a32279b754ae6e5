"""The output formats: a table from `format=` to what encodes series. A new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from render.formats import csv, json, raw
from render.formats.presentation import Presentation
from render.series import SeriesList


class Format(NamedTuple):
    content_type: str
    encode: Callable[[SeriesList, Presentation], bytes]
    is_script: bool = False  # the body is an expression of JavaScript, so that jsonp can call with it


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "csv": Format("text/csv; charset=utf-8", csv.encode),
        "json": Format("application/json", json.encode, is_script=True),
        "raw": Format("text/plain; charset=utf-8", raw.encode),
    }
)

__all__ = ["FORMATS", "Format", "Presentation"]
