"""Aliases from tables of other servers: aliasByRedis and aliasByPostgres, of group Alias. Of carbonapi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from render.functions.context import Context
from render.functions.nodes import keys, path_of
from render.functions.registry import SERIES, Param, function
from render.lookups.tables import Lookups
from render.series import Block, SeriesList


class Looking(Context, Protocol):
    """A context that knows tables."""

    @property
    def lookups(self) -> Lookups: ...


@function(
    "aliasByRedis",
    group="Alias",
    params=[
        SERIES,
        Param("keyName", "string", required=True),
        Param("keepPath", "boolean", default=False),
    ],
)
def alias_by_redis(context: Looking, series: SeriesList, key: str, keep_path: bool = False) -> SeriesList:
    """Each series called by what a Redis hash has under the last node of its path; with `keepPath` only that node
    is replaced. What the hash does not have stays as it is.

    The server, and the keys of the hashes that may be asked, stand in plumbago.toml:
    `[lookup.redis] url = "redis://127.0.0.1:6379/0"`, `keys = ["hosts"]`.

    Example: aliasByRedis(servers.*.cpu, "hosts", true)
    """
    table = context.lookups.hash("aliasByRedis", key)
    paths = [path_of(name) for block in series.blocks for name in block.names]
    found = iter(table.ask([(path.rpartition(".")[2],) for path in paths]))

    def named(block: Block) -> Block:
        names = []
        for name, alias in zip(block.names, found, strict=False):
            before = path_of(name).rpartition(".")[0]
            whole = f"{before}.{alias}" if keep_path and before else alias
            names.append(name if whole is None or alias is None else whole)
        return block.with_(names=names)

    return series.map(named)


@function(
    "aliasByPostgres",
    group="Alias",
    params=[
        SERIES,
        Param("databaseName", "string", required=True),
        Param("keyString", "string", required=True),
        Param("nodes", "nodeOrTag", required=True, multiple=True),
    ],
)
def alias_by_postgres(
    context: Looking, series: SeriesList, database: str, key: str, nodes: Sequence[int | str]
) -> SeriesList:
    """Each series called by what a query of a PostgreSQL database says about its nodes (counted from 0, negative
    from the end) or tags, and by those of them that the query does not take, joined by dots; by all of them if
    the query finds nothing.

    Databases and queries stand in plumbago.toml: `[lookup.postgres.inventory] dsn = "host=… dbname=…"`,
    `[lookup.postgres.inventory.queries] owner = "SELECT owner FROM hosts WHERE name = %s"`. Each %s takes the
    next node, as a parameter.

    Example: aliasByPostgres(servers.*.cpu, "inventory", "owner", 1, 2)
    """
    table = context.lookups.query("aliasByPostgres", database, key)
    width = table.width
    rows = [row for block in series.blocks for row in _rows(block, nodes)]
    whole = [tuple(row[:width]) for row in rows if len(row) >= width and all(row[:width])]
    found = dict(zip(whole, table.ask(whole), strict=True))
    left = iter(rows)

    def named(block: Block) -> Block:
        names = []
        for name, row in zip(block.names, left, strict=False):
            alias = found.get(tuple(row[:width]))
            parts = row if alias is None else [alias, *row[width:]]
            names.append(".".join(filter(None, parts)) or name)
        return block.with_(names=names)

    return series.map(named)


def _rows(block: Block, nodes: Sequence[int | str]) -> list[list[str]]:
    """The nodes and tags of each series, "" where it has none."""
    columns = [keys(block, [node]) for node in nodes]
    return [list(row) for row in zip(*columns, strict=True)]
