"""plumbago find · info, and the options that all commands share"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

if TYPE_CHECKING:
    from storage.shard import Shard
    from storage.store import Store

P = ParamSpec("P")

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default="plumbago-data",
    show_default=True,
    envvar="PLUMBAGO_DATA",
    help="Folder of the store.",
)
CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PLUMBAGO_CONFIG",
    help="Folder of the configuration.",
)


def one_line_errors(command: Callable[P, None]) -> Callable[P, None]:
    """What storage raises on purpose is one line on stderr and exit status 1."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        from storage.errors import StorageError

        try:
            command(*args, **kwargs)
        except BrokenPipeError:  # `| head` has what it wants: click ends quietly
            raise
        except (StorageError, OSError) as error:
            click.echo(f"plumbago: {error}", err=True)
            sys.exit(1)

    return guarded


def is_store(folder: Path) -> bool:
    """Whether the folder has a catalogue: one that has not is made into a store by the writer."""
    return (folder / "catalogue.sqlite").exists()


@click.command()
@click.argument("glob")
@DATA
@CONFIG
@one_line_errors
def find(glob: str, data: Path, config: Path | None) -> None:
    """List the metrics that match a glob, branches with a dot behind.

    Example: plumbago find 'servers.*.cpu'
    """
    from storage.store import Store

    nodes = Store(data, writable=False).find(glob)
    for path, series, branch in zip(nodes.paths, nodes.series, nodes.branch, strict=True):
        if series >= 0:
            click.echo(path)
        if branch:
            click.echo(f"{path}.")
    if not nodes.paths:
        sys.exit(1)


@click.command()
@click.argument("metric", required=False)
@DATA
@CONFIG
@one_line_errors
def info(metric: str | None, data: Path, config: Path | None) -> None:
    """Explain the store, or one metric: which rules, which archives, rows, bytes, newest datapoint.

    Example: plumbago info servers.web1.load
    """
    from storage.schema import Rules
    from storage.store import Store

    store = Store(data, Rules.load(config), writable=False)
    for line in _of_store(store) if metric is None else _of_metric(store, metric):
        click.echo(line)


def _of_store(store: Store) -> list[str]:
    shards = store.shards()
    trashed, free = len(store.catalogue.trash()), len(store.catalogue.free())
    lines = [
        f"store      {store.folder.resolve()}",
        f"series     {len(store)}",
        f"trash      {trashed} series that can be restored, {free} rows free for others",
        f"on disk    {bytes_words(sum(f.stat().st_blocks * 512 for f in store.folder.rglob('*') if f.is_file()))}",
    ]
    for shard in shards:
        schema = shard.schema
        lines += ["", f"shard      {shard.folder.name}   {shard.rows} series", *_schema_lines(shard)]
        lines.append(
            f"xFilesFactor {schema.x_files_factor:g}, aggregation {schema.aggregation}, newest {_when(shard.newest())}"
        )
    return lines


def _of_metric(store: Store, metric: str) -> list[str]:
    from storage.naming import canonical

    decision = store.explain(metric)
    schema = decision.schema
    paths, series = store.find_series(canonical(metric))
    lines = [
        f"metric       {canonical(metric)}",
        f"retention    {schema.retention}   by {decision.retention_rule}",
        f"aggregation  {schema.aggregation}, xFilesFactor {schema.x_files_factor:g}   by {decision.aggregation_rule}",
    ]
    if not paths:
        return [*lines, "series       none yet: nothing was received under this name"]
    stored = store.schema_of(int(series[0]))
    if stored != schema:
        lines.append(
            f"stored as    {stored.retention}, {stored.aggregation}: by the rules of when it was made"
        )
    shard = store.shard_of(int(series[0]))
    newest = store.newest(int(series[0]), int(time.time()))
    lines += [f"shard, row   {shard.folder.name}, {int(series[0]) % (1 << 15)}", *_schema_lines(shard)]
    per_series = sum(archive.points * 8 for archive in shard.archives)
    return [*lines, f"bytes        {bytes_words(per_series)} when full", f"newest       {_when(newest)}"]


def _schema_lines(shard: Shard) -> list[str]:
    lines = []
    for archive, ring in zip(shard.archives, shard.rings, strict=True):
        size = f"{archive.step:>6} s × {archive.points:<8} {_duration(archive.duration):>6}"
        lines.append(f"  archive    {size}   {bytes_words(_on_disk(ring.path))} in {ring.path.name}")
    return lines


def _on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def bytes_words(count: float) -> str:
    """A number of bytes, in its largest unit."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _duration(seconds: int) -> str:
    for unit, size in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _when(timestamp: int) -> str:
    if timestamp <= 0:
        return "never"
    age = max(0, int(time.time()) - timestamp)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(timestamp))} ({age} s ago)"


COMMANDS = [find, info]
