"""What a request wants of its answer beside the format."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo

from render.graph.options import DEFAULT, Options


@dataclass(frozen=True)
class Presentation:
    """How to write series; each format looks at what concerns it."""

    zone: tzinfo = UTC  # csv and pictures
    max_data_points: int | None = None  # json; None = all there are
    no_null_points: bool = False  # json
    pretty: bool = False  # json
    timestamps_per_s: int = 1  # json: 1,000 writes milliseconds
    window: tuple[int, int] = (0, 0)  # carbonapi: epoch seconds that were asked for
    drawing: Options = DEFAULT  # pictures
