"""Long work of the writer, done in slices: a *job* is a generator that yields how far it has come.

Whoever holds the store open for writing drives it: a command when no server runs, the receiver's reactor when one
does, so a slice takes some tens of milliseconds at most. Between two slices datapoints come in, so nothing that a
job has read of the store before a yield may be trusted after it. Closing the generator stops the job; what it has
done by then stands.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from storage.room import os_error

if TYPE_CHECKING:
    from storage.store import Store

T = TypeVar("T")

_LOOK_S = 0.005  # the driver is held so long for each look whether a wait is over


class Progress(NamedTuple):
    """How far a job has come."""

    done: int
    total: int  # 0 = not known
    what: str  # what is counted: "series", "files"


Job = Generator[Progress, None, list[str]]  # returns the lines that tell how it ended
Part = Generator[Progress, None, None]  # a piece of a job, for `yield from`


def drive(job: Generator[Progress, None, T], show: Callable[[Progress], object]) -> T:
    """Do a job as fast as it goes; an exception, Ctrl-C too, stops it cleanly."""
    try:
        while True:
            show(next(job))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        job.close()


class SyncFailed(OSError):
    """The store itself could not be brought to the disk; its cause says why."""


def beside(wait: Callable[[], None], progress: Progress) -> Part:
    """Do what waits for the disk in a thread, with slices meanwhile; raises what it raises. Closing awaits it."""
    failures: list[Exception] = []

    def guarded() -> None:
        try:
            wait()
        except Exception as error:
            failures.append(error)

    thread = Thread(target=guarded, daemon=True)
    thread.start()
    try:
        thread.join(_LOOK_S)
        while thread.is_alive():
            yield progress
            thread.join(_LOOK_S)
    finally:
        thread.join()
    if failures:
        raise failures[0]


def synced(store: Store, progress: Progress) -> Part:
    """Bring all that was appended before to the disk; raises SyncFailed."""
    syncs = store.begin_sync()
    if not syncs:
        return
    try:
        yield from beside(lambda: store.run_sync(syncs), progress)
    except (OSError, sqlite3.OperationalError) as error:
        raise SyncFailed(os_error(error).errno, f"the store was not synced: {error}") from error
    store.end_sync(syncs)
