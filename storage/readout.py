"""plumbago dump · fetch · du · verify · export: what the store holds, as text and as whisper files"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storage.cli import CONFIG, DATA, bytes_words, one_line_errors
from storage.jobs import drive
from storage.progress import ProgressLine

if TYPE_CHECKING:
    from storage.store import Store


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic to mypy, not to older clicks
    """Epoch seconds: as they are, now, -1h before now, or a date and time of ISO 8601 (local, if it has no zone)."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text, now = str(value).strip(), int(time.time())
        found = moment(text, now)
        if found is None:
            self.fail(f"{text!r} is no time such as now, -1h, 1700000000 or 2030-01-31T12:00", param, ctx)
        return found


def moment(text: str, now: int) -> int | None:
    """Epoch seconds; None for what is no time."""
    from storage import retention
    from storage.errors import InvalidRetention

    text = text.removeprefix("now") or "now"
    try:
        if text == "now":
            return now
        if text.startswith("-"):
            return now - retention.seconds(text[1:])
        if text.isascii() and text.isdecimal():
            return int(text)
        return int(datetime.fromisoformat(text).timestamp())
    except (InvalidRetention, ValueError, OverflowError):
        return None


# --- datapoints ---


@click.command()
@click.argument("metric")
@click.option("--archive", metavar="STEP", help="Only the archive of this step, such as 60 or 1m.")
@click.option("--missing", is_flag=True, help="Show the slots without a datapoint too, as None.")
@DATA
@CONFIG
@one_line_errors
def dump(metric: str, archive: str | None, missing: bool, data: Path, config: Path | None) -> None:
    """Print all datapoints of a metric, archive by archive: `timestamp value`.

    Example: plumbago dump servers.web1.load --archive 1m
    """
    from storage.errors import InvalidName, InvalidRetention
    from storage.store import Store

    store = Store(data, writable=False)
    series = int(store.lookup([metric])[0])
    if series < 0:
        raise InvalidName(f"{metric}: there is no such metric; plumbago find lists them")
    step = None if archive is None else _step(archive)
    archives = store.schema_of(series).retention.archives
    if step is not None and step not in [one.step for one in archives]:
        steps = ", ".join(f"{one.step}" for one in archives)
        raise InvalidRetention(f"{metric} has no archive of {step} s; its steps are {steps} s")
    for line in dump_lines(store, series, step, missing, int(time.time())):
        click.echo(line)


def _step(text: str) -> int:
    from storage import retention

    return int(text) if text.isascii() and text.isdecimal() else retention.seconds(text)


def dump_lines(store: Store, series: int, step: int | None, missing: bool, now: int) -> Iterator[str]:
    """A header for each archive, or for the one of a step, and its datapoints."""
    import numpy as np

    from storage.store import AHEAD_MAX_S

    for i, archive in enumerate(store.schema_of(series).retention.archives):
        if step not in (None, archive.step):
            continue
        first = max(0, (now - archive.duration) // archive.step + 1)
        slots = (now + AHEAD_MAX_S) // archive.step + 1 - first
        values = store.read_archive(np.array([series], np.int32), i, first, slots)[0].tolist()
        known = sum(value == value for value in values)
        yield f"# archive {i}: {archive.step} s × {archive.points:,}, {known:,} datapoints"
        for at, value in enumerate(values, first):
            if value == value:
                yield f"{at * archive.step} {value!r}"
            elif missing:
                yield f"{at * archive.step} None"


@click.command()
@click.argument("glob")
@click.option("--from", "start", type=Moment(), default="-1h", show_default=True, help="After this time.")
@click.option("--until", type=Moment(), default="now", show_default=True, help="Up to this time.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line and series.")
@DATA
@CONFIG
@one_line_errors
def fetch(glob: str, start: int, until: int, as_json: bool, data: Path, config: Path | None) -> None:
    """Print a window's datapoints of the metrics that match, as queries get them: `timestamp value`.

    The finest archive that reaches back to the start answers. Times are epoch seconds, -1h, now, or ISO 8601.

    Example: plumbago fetch 'servers.*.load' --from -10m --json
    """
    from storage.store import Store

    store = Store(data, writable=False)
    found = False
    for line in fetch_lines(store, glob, start, until, int(time.time()), as_json=as_json):
        found = True
        click.echo(line)
    if not found:
        click.echo(f"plumbago: {glob}: nothing in this window; plumbago find lists the metrics", err=True)
        sys.exit(1)


def fetch_lines(store: Store, glob: str, start: int, until: int, now: int, *, as_json: bool) -> Iterator[str]:
    """The lines of each series in the order of their paths; a header with the path if there are several."""
    paths, series = store.find_series(glob)
    rows: dict[int, tuple[int, int, list[float]]] = {}
    for part in store.fetch(series, start, until, now):
        for position, values in zip(part.positions.tolist(), part.values, strict=True):
            rows[position] = part.start, part.step, values.tolist()
    for position, path in enumerate(paths):
        if position not in rows:
            continue
        first, step, known = rows[position]
        shown = [value if value == value else None for value in known]
        if as_json:
            end = first + step * len(shown)
            yield json.dumps({"metric": path, "start": first, "end": end, "step": step, "values": shown})
            continue
        if len(paths) > 1:
            yield f"# {path}"
        yield from (f"{first + step * i} {value!r}" for i, value in enumerate(shown))


# --- where the bytes are ---


@click.command()
@click.argument("glob", required=False)
@click.option(
    "--depth", type=click.IntRange(1, 64), help="Nodes of the paths to sum up by; one more than GLOB's."
)
@DATA
@CONFIG
@one_line_errors
def du(glob: str | None, depth: int | None, data: Path, config: Path | None) -> None:
    """Show which branches take the space on the disk, the largest first; all, or those below GLOB.

    A file's bytes are shared out among its series. They come to the sum of the files.

    Example: plumbago du 'servers.*' --depth 2
    """
    from storage.store import Store
    from storage.usage import usage

    store = Store(data, writable=False)
    total_series, total_bytes = 0, 0.0
    for branch in usage(store, glob, depth):
        click.echo(f"{bytes_words(branch.bytes):>12} {branch.series:>12,}  {branch.path}")
        total_series, total_bytes = total_series + branch.series, total_bytes + branch.bytes
    click.echo(f"{bytes_words(total_bytes):>12} {total_series:>12,}  in all")


# --- is it sound ---


@click.command()
@DATA
@CONFIG
@one_line_errors
def verify(data: Path, config: Path | None) -> None:
    """Check every byte of the store that has a checksum; name what is damaged, and which series and times that is.

    It only reads, with a server that runs or without one. Exit status 1 if anything is damaged. Starting the writer
    mends what can be mended.

    Example: plumbago verify --data plumbago-data
    """
    from storage.verify import verify as check

    show = ProgressLine()
    try:
        lines = drive(check(data, int(time.time()), show.line), show.progress)
    finally:
        show.end()
    for line in lines:
        click.echo(line)


# --- export ---


@click.group()
def export() -> None:
    """Write the store in another program's format."""


@export.command(name="whisper")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("glob", required=False)
@DATA
@CONFIG
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@one_line_errors
def export_whisper(folder: Path, glob: str | None, data: Path, config: Path | None, overwrite: bool) -> None:
    """Write a whisper file for each series, or for those that match GLOB, with all its archives.

    Example: plumbago export whisper /tmp/whisper 'servers.web1.*'
    """
    from storage.store import Store
    from storage.whisper_tree import export_tree

    store = Store(data, writable=False)
    show = ProgressLine()
    try:
        job = export_tree(store, glob, folder, int(time.time()), overwrite=overwrite, skip=show.skipped)
        tally = drive(job, show.progress)
    finally:
        show.end()
    click.echo(f"exported   {tally.files:,} files, {tally.datapoints:,} datapoints, {show.took}")
    click.echo(f"skipped    {tally.skipped:,}{' series, listed above' if tally.skipped else ''}")


COMMANDS = [dump, fetch, du, verify, export]
