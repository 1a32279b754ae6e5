"""Parts of series' names: the nodes and tags that they are grouped and called by (graphite-web's aggKey)."""

from __future__ import annotations

from collections.abc import Sequence

from render.series import Block, SeriesList
from render.target import first_path


def list_keys(series: SeriesList, nodes: Sequence[int | str]) -> list[str]:
    """Each series' key, in the list's order: its nodes and tags joined by dots."""
    laid = [key for block in series.blocks for key in keys(block, nodes)]
    return [laid[i] for i in series.order.tolist()]


def keys(block: Block, nodes: Sequence[int | str]) -> list[str]:
    """Each series' nodes (numbers from 0, negative from the end) and tags (text) joined by dots.

    A name that ends with ")" stands for the first path in it. A node that the path does not have is looked
    for among the tags, and a tag that is not there is "".
    """
    columns = [
        _nodes(block, node) if isinstance(node, int) else [_tag(block, i, node) for i in range(len(block))]
        for node in nodes
    ]
    if len(columns) == 1:
        return columns[0]
    return list(map(".".join, zip(*columns, strict=True))) if columns else [""] * len(block)


def path_of(name: str) -> str:
    """The metric path that a series' name is about, without tags."""
    if name.endswith(")"):
        name = first_path(name) or name
    return name.partition(";")[0]


def members(keys: Sequence[str]) -> dict[str, list[int]]:
    """Which places have each key; keys first seen first."""
    places: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    return places


def _nodes(block: Block, node: int) -> list[str]:
    found = []
    for i, name in enumerate(block.names):
        try:
            found.append(path_of(name).split(".")[node])
        except IndexError:
            found.append(_tag(block, i, str(node)))
    return found


def _tag(block: Block, i: int, tag: str) -> str:
    return block.tags[i].get(tag, "")
