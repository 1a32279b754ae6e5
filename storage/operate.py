"""plumbago import · snapshot · restore · …: the commands that write, with a server that runs or without one"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from storage.cli import CONFIG, DATA, one_line_errors
from storage.errors import InvalidJob
from storage.progress import ProgressLine, printable

_ASKED_FROM = 1000  # series; more are not deleted without a yes


@contextmanager
def telling() -> Iterator[ProgressLine]:
    """A line that shows a job; Ctrl-C, which stops the job, is one more line and status 130."""
    show = ProgressLine()
    try:
        yield show
    except KeyboardInterrupt:
        show.line("plumbago: stopped; what was done by then stands")
        sys.exit(130)
    finally:
        show.end()


def do(data: Path, config: Path | None, name: str, arguments: Mapping[str, Any]) -> None:
    """Have a job done by whoever has the store, and tell how it goes and ends."""
    from storage.ask import run_job

    with telling() as show:
        lines = run_job(data, config, name, arguments, show)
    for line in lines:
        click.echo(printable(line))


# --- import ---


@click.group(name="import")
def import_() -> None:
    """Take in what another program has stored."""


@import_.command(name="whisper")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@DATA
@CONFIG
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Read all back and compare it point by point.",
)
@one_line_errors
def import_whisper(folder: Path, data: Path, config: Path | None, verify: bool) -> None:
    """Take in a tree of Graphite's whisper files, each with its own retention, aggregation and xFilesFactor.

    A running server does it between datapoints; without one it is done here. An import that was stopped goes on where
    it was when it is started again; to import twice changes nothing. Files that cannot be taken in are listed with
    the reason on stderr.

    Example: plumbago import whisper /opt/graphite/storage/whisper
    """
    do(data, config, "import whisper", {"folder": os.path.abspath(folder), "verify": verify})


# --- snapshots ---


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@DATA
@CONFIG
@one_line_errors
def snapshot(folder: Path, data: Path, config: Path | None) -> None:
    """Copy the store into FOLDER, which is new or empty, while it goes on being written.

    All that was received before the command is in the copy. It is a data folder of its own: serve it, or bring it back
    with `plumbago restore --from FOLDER`.

    Example: plumbago snapshot /backup/plumbago-monday
    """
    do(data, config, "snapshot", {"folder": os.path.abspath(folder)})


@click.command()
@click.argument("glob", required=False)
@click.option(
    "--from", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A snapshot."
)
@DATA
@CONFIG
@one_line_errors
def restore(glob: str | None, folder: Path | None, data: Path, config: Path | None) -> None:
    """Bring series back from the trash, or a whole snapshot into a data folder that is new or empty.

    For --from the server must be stopped.

    Example: plumbago restore 'servers.web1.**'

    Example: plumbago restore --from /backup/plumbago-monday --data plumbago-data
    """
    if (glob is None) == (folder is None):
        raise click.UsageError("give either a GLOB or --from FOLDER")
    if folder is None:
        do(data, config, "restore", {"glob": glob})
        return
    from storage.jobs import drive
    from storage.snapshot import restore as bring_back

    job = bring_back(folder, Path(os.path.abspath(data)))
    with telling() as show:
        lines = drive(job, show.progress)
    for line in lines:
        click.echo(line)


# --- what becomes of names ---


@click.command()
@click.argument("glob")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@click.option(
    "--yes", is_flag=True, help=f"Do not ask, however many there are; {_ASKED_FROM:,} and fewer never ask."
)
@DATA
@CONFIG
@one_line_errors
def delete(glob: str, dry_run: bool, yes: bool, data: Path, config: Path | None) -> None:
    """Put the series that match GLOB into the trash; ** at its end are all below a branch.

    A name that receives data again is a new series. What is in the trash comes back with `plumbago restore`, and is
    gone for good after 7 days, or what keepTrash in storage-limits.conf says.

    Example: plumbago delete 'servers.web1.**' --dry-run
    """
    from storage.store import Store

    names = Store(data, writable=False).find_series(glob)[0]
    if dry_run:
        for name in names:
            click.echo(name)
        click.echo(f"plumbago: {len(names):,} series would be deleted", err=True)
        return
    click.echo(f"{len(names):,} series match", err=True)
    if not names:
        sys.exit(1)
    if len(names) > _ASKED_FROM and not yes:
        if not sys.stdin.isatty():
            raise InvalidJob(f"{len(names):,} series are more than {_ASKED_FROM:,}: say --yes to delete them")
        click.confirm(f"delete {len(names):,} series?", abort=True, err=True)
    do(data, config, "delete", {"glob": glob})


@click.command()
@click.argument("glob", required=False)
@DATA
@CONFIG
@one_line_errors
def trash(glob: str | None, data: Path, config: Path | None) -> None:
    """List what was deleted and can be restored, all or what matches GLOB: when, and the name.

    Example: plumbago trash 'servers.*.load'
    """
    from storage.operations import trashed
    from storage.store import Store

    for name, deleted in trashed(Store(data, writable=False), glob):
        click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(deleted))}  {printable(name)}")


@click.command()
@click.argument("old")
@click.argument("new")
@DATA
@CONFIG
@one_line_errors
def rename(old: str, new: str, data: Path, config: Path | None) -> None:
    """Give a series another name, with all its datapoints.

    What is still sent under the old name makes a new series.

    Example: plumbago rename servers.web1.load servers.web01.load
    """
    do(data, config, "rename", {"old": old, "new": new})


@click.command()
@click.option(
    "--older-than", default="7d", show_default=True, help="Only what was deleted before; 0s = everything."
)
@DATA
@CONFIG
@one_line_errors
def purge(older_than: str, data: Path, config: Path | None) -> None:
    """Empty the trash. A server does it by itself, once an hour, of what lay there for long enough: 7 days, or what
    keepTrash in storage-limits.conf says.

    Example: plumbago purge --older-than 1h
    """
    from storage import retention

    do(data, config, "purge", {"older_than_s": retention.seconds(older_than)})


@click.command()
@DATA
@CONFIG
@one_line_errors
def expire(data: Path, config: Path | None) -> None:
    """Delete the series that were silent for too long, as storage-limits.conf says, and purge the trash.

    A server does it by itself, once an hour.

    Example: plumbago expire --config /etc/plumbago
    """
    do(data, config, "expire", {})


# --- retentions that changed ---


@click.command()
@DATA
@CONFIG
@one_line_errors
def plan(data: Path, config: Path | None) -> None:
    """Show what `plumbago migrate` would do: which series get another retention, and what that would lose.

    Example: plumbago plan --config /etc/plumbago
    """
    from storage.jobs import drive
    from storage.migration import plan_lines, survey
    from storage.schema import Rules
    from storage.store import Store

    rules = Rules.load(config)
    with telling() as show:
        found = drive(survey(Store(data, rules, writable=False), rules, int(time.time())), show.progress)
    for line in plan_lines(found):
        click.echo(line)


@click.command()
@click.option("--lossy", is_flag=True, help="Move series too that lose datapoints by it.")
@DATA
@CONFIG
@one_line_errors
def migrate(lossy: bool, data: Path, config: Path | None) -> None:
    """Give series whose rules have changed the retention that the rules say now.

    A running server does it by its own rules, and goes on if this command is stopped. Without --lossy, series that
    would lose datapoints stay as they are.

    Example: plumbago migrate --config /etc/plumbago
    """
    do(data, config, "migrate", {"lossy": lossy})


COMMANDS = [import_, snapshot, restore, delete, trash, rename, purge, expire, plan, migrate]
