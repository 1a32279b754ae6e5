"""A body of metric lines, sans-IO: what an HTTP request carries in, and the answer to it.

    {"taken": 2, "refused": {"bad value": 1}, "samples": [{"line": 3, "text": "'a.b x 1'", "reason": "bad value"}]}

`taken` counts the datapoints that were read; the store may still refuse some of them (too old, no room), which its own
counters say. Samples are of the first lines that were refused.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple, TypedDict

import numpy as np

from carbon.errors import BadFrame
from carbon.kernels import NEWLINE
from carbon.names import NameTable
from carbon.protocols.compressed import Expander, Zlib, Zstd
from carbon.protocols.line import LineReader, Refusals
from carbon.protocols.reader import Batch
from carbon.stats import Stats

BODY_BYTES_MAX = 8 << 20  # decompressed; 160,000 lines
SAMPLES_MAX = 20
TEXT_CHARACTERS_MAX = 200  # of a line in the answer

TOO_LARGE = "body too large"
UNKNOWN_ENCODING = "unknown content encoding"
CUT_SHORT = "compressed body cut short"


class Sample(TypedDict):
    line: int  # the first is 1
    text: str  # its repr, clipped
    reason: str


class Answer(TypedDict):
    taken: int
    refused: dict[str, int]
    samples: list[Sample]


class Ingested(NamedTuple):
    answer: Answer
    batch: Batch | None


def ingest(
    body: bytes, encoding: str, names: NameTable, stats: Stats, now: int, *, bytes_max: int = BODY_BYTES_MAX
) -> Ingested:
    """What a body of lines gives, of the Content-Encoding ("" = none).

    Raises BadFrame: TOO_LARGE (413), UNKNOWN_ENCODING (415), or another reason for what cannot be decompressed (400).
    """
    lines = decoded(body, encoding, bytes_max)
    refusals = Refusals(SAMPLES_MAX)
    batch = LineReader(names, stats).whole(lines, now, refusals)
    taken = 0 if batch is None else len(batch.ids)
    return Ingested(
        {"taken": taken, "refused": dict(refusals.counts), "samples": _samples(lines, refusals)}, batch
    )


def decoded(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body without its encodings, of which the last named was the last to be applied."""
    names = [name.strip().lower() for name in encoding.split(",")]
    if len(names) > 2:
        raise BadFrame(UNKNOWN_ENCODING)
    for name in reversed(names):
        if name not in ("", "identity"):
            body = _expanded(_expander(name, body), body, bytes_max)
    if len(body) > bytes_max:
        raise BadFrame(TOO_LARGE)
    return body


def _expander(name: str, body: bytes) -> Expander:
    if name in ("gzip", "x-gzip"):
        return Zlib(zlib.MAX_WBITS | 16, "gzip")
    if name == "deflate":  # zlib's format by the standard, the bare stream by some senders
        is_zlib = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return Zlib(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS, "deflate")
    if name == "zstd":
        return Zstd()
    raise BadFrame(UNKNOWN_ENCODING)


def _expanded(expander: Expander, body: bytes, bytes_max: int) -> bytes:
    whole = bytearray()

    def take(piece: bytes) -> None:
        if len(whole) + len(piece) > bytes_max:
            raise BadFrame(TOO_LARGE)
        whole.extend(piece)

    expander.expand(body, take)
    if not expander.ended:  # a line that is cut would be read as another value
        raise BadFrame(CUT_SHORT)
    return bytes(whole)


def _samples(data: bytes, refusals: Refusals) -> list[Sample]:
    text = np.frombuffer(data, np.uint8)
    samples: list[Sample] = []
    line, counted = 1, 0
    for start, stop, reason in sorted(refusals.lines)[:SAMPLES_MAX]:
        line, counted = line + int(np.count_nonzero(text[counted:start] == NEWLINE)), start
        shown = repr(data[start:stop][:TEXT_CHARACTERS_MAX].decode("utf-8", "backslashreplace"))
        samples.append({"line": line, "text": shown[:TEXT_CHARACTERS_MAX], "reason": reason})
    return samples
