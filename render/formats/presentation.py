"""What a request wants of its answer beside the format."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo


@dataclass(frozen=True)
class Presentation:
    """How to write series; each format looks at what concerns it."""

    zone: tzinfo = UTC  # csv
    max_data_points: int | None = None  # json; None = all there are
    no_null_points: bool = False  # json
    pretty: bool = False  # json
