"""The series functions: importing this registers them all. One module a family."""

from render.functions import (
    alias,
    calculate,
    combine,
    filter_data,
    filter_series,
    graph,
    sorting,
    special,
    summarize,
    timeshift,
    transform,
)
from render.functions.registry import REGISTRY

__all__ = [
    "REGISTRY",
    "alias",
    "calculate",
    "combine",
    "filter_data",
    "filter_series",
    "graph",
    "sorting",
    "special",
    "summarize",
    "timeshift",
    "transform",
]
