"""How an answer goes over: compressed as the client takes it, and not at all where the client has it already."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import zstandard
from isal import isal_zlib

from render.api.response import Response

_BYTES_MIN = 1024  # what is smaller fits into one packet as it is
_TAGGED_BYTES_MAX = 1 << 20  # a digest of more costs a tenth of what making it has cost
_TAG_CHARS = 24  # 96 bits
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1  # isal's: as small as zlib's level 1 at four times its speed
_ZSTD_LEVEL = 1
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_PICTURES = ("image/png", "application/pdf")  # these are compressed as they are

# coding → what makes an object with compress(bytes) and flush()
_CODINGS: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "zstd": lambda: zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj(),
        "gzip": lambda: isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP),
    }
)


def coding_of(accepted: Sequence[str]) -> str:
    """The coding that Accept-Encoding's values like best, ours where they like several as much; "" = none."""
    if not accepted:
        return ""
    weights = dict(_weight(part) for value in accepted for part in value[:1000].split(","))
    anything = weights.get("*", 0.0)
    liked = {name: weights.get(name, anything) for name in _CODINGS}
    best = max(liked.values())
    return next((name for name, weight in liked.items() if weight == best), "") if best > 0 else ""


def _weight(part: str) -> tuple[str, float]:
    name, _, parameter = part.partition(";")
    weight = parameter.strip().removeprefix("q=") if parameter else "1"
    try:
        return name.strip().lower(), float(weight)
    except ValueError:
        return name.strip().lower(), 0.0


def sent(response: Response, accepted: Sequence[str], known: Sequence[str]) -> Response:
    """The response as it goes over: 304 if it is the client's own (`known`: If-None-Match), else compressed."""
    if response.content_type in _PICTURES:
        return _tagged(response, "", known)
    coding = coding_of(accepted)
    if response.rest is None and len(response.body) < _BYTES_MIN:
        coding = ""
    headers = {"Vary": _with(response.headers.get("Vary"), "Accept-Encoding")}
    if coding:
        headers["Content-Encoding"] = coding
    response = _tagged(response, coding, known, headers)
    return response if response.status == 304 else _coded(response, coding)


def _tagged(
    response: Response, coding: str, known: Sequence[str], more: Mapping[str, str] = NO_HEADERS
) -> Response:
    """With more headers, and an ETag where that is worth it; 304 without a body if the client knows it."""
    headers = {**response.headers, **more}
    if response.status != 200 or response.rest is not None or len(response.body) > _TAGGED_BYTES_MAX:
        return replace(response, headers=headers)
    # processors have instructions for this one: 30 KB take 20 µs, and twice that with blake2b
    digest = hashlib.sha256(response.body).hexdigest()[:_TAG_CHARS]
    tag = f'"{digest}-{coding}"' if coding else f'"{digest}"'
    headers["ETag"] = tag
    if known:
        asked = {each.strip().removeprefix("W/") for value in known for each in value[:4000].split(",")}
        if tag in asked or "*" in asked:
            headers.pop("Content-Encoding", None)
            return replace(response, body=b"", status=304, headers=headers)
    return replace(response, headers=headers)


def _coded(response: Response, coding: str) -> Response:
    if not coding:
        return response
    compressor = _CODINGS[coding]()
    if response.rest is None:
        return replace(response, body=compressor.compress(response.body) + compressor.flush())
    return replace(response, body=b"", rest=_coded_chunks(response, compressor))


def _coded_chunks(response: Response, compressor: Any) -> Iterator[bytes]:
    for chunk in response.chunks():
        if coded := compressor.compress(chunk):
            yield coded
    yield compressor.flush()


def _with(vary: str | None, header: str) -> str:
    return f"{vary}, {header}" if vary else header
