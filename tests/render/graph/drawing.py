"""Series to draw, a way to ask for a picture as a request does, and a reader for PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo

import numpy as np
import numpy.typing as npt

from render.graph import options as drawing
from render.graph import svg
from render.graph.options import Options
from render.graph.picture import picture
from render.graph.shapes import Picture
from render.request import Parameters
from render.series import Block, SeriesList, Tags

START = 1_700_006_400  # 2023-11-15 00:00 UTC
NAN = float("nan")


def block(
    rows: Sequence[Sequence[float]],
    *,
    names: Sequence[str] = (),
    start: int = START,
    step: int = 60,
    method: str = "average",
    options: Sequence[Mapping[str, object]] | None = None,
) -> Block:
    values = np.array(rows, np.float64).reshape(len(rows), -1)
    called = list(names) or [f"s{i}" for i in range(len(rows))]
    return Block(values, start, step, called, called, Tags(called), [method] * len(rows), options=options)


def wave(points: int = 120, low: float = 10.0, high: float = 50.0, turns: float = 3.0) -> list[float]:
    angles = np.linspace(0, 2 * np.pi * turns, points)
    return [round(float(part), 3) for part in low + (high - low) * (1 - np.cos(angles)) / 2]


def two_waves() -> SeriesList:
    return SeriesList([block([wave(), wave(low=20, high=90, turns=2)], names=["a.cpu", "b.cpu"])])


def options(**params: str) -> Options:
    """Raises ParameterError."""
    given = Parameters({name.rstrip("_"): [value] for name, value in params.items()})
    read = drawing.read(given)
    given.check()
    return read


def draw(series: SeriesList, zone: tzinfo = UTC, /, **params: str) -> Picture:
    return picture(series, options(**params), zone)


def draw_svg(series: SeriesList, zone: tzinfo = UTC, /, **params: str) -> str:
    return svg.encode(draw(series, zone, **params))


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    """A PNG's pixels (height, width, 3 or 4), whatever its filters; of eight bits a channel only."""
    width, height, bits, kind = struct.unpack(">IIBB", png[16:26])
    assert (png[:8], bits) == (b"\x89PNG\r\n\x1a\n", 8)
    channels = {2: 3, 6: 4}[kind]
    body, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        body += png[at + 8 : at + 8 + size] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += size + 12
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * channels)
    out = np.zeros((height + 1, width + 1, channels), np.int64)  # a row above, a column before, of zeros
    for y, row in enumerate(rows.astype(np.int64), start=1):
        line = row[1:].reshape(width, channels)
        if row[0] in (0, 2):
            out[y, 1:] = (line + (out[y - 1, 1:] if row[0] else 0)) % 256
            continue
        for x in range(1, width + 1):
            out[y, x] = (
                line[x - 1] + _predicted(row[0], out[y, x - 1], out[y - 1, x], out[y - 1, x - 1])
            ) % 256
    return out[1:, 1:].astype(np.uint8)


def _predicted(
    kind: int, left: npt.NDArray[np.int64], up: npt.NDArray[np.int64], corner: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    if kind == 1:
        return left
    if kind == 3:
        return (left + up) // 2
    base = left + up - corner
    far = np.abs(base - left), np.abs(base - up), np.abs(base - corner)
    return np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], up, corner))
