"""The jobs that can be asked for, by name: `find` one, and `start` it when its arguments are right.

A command asks for one here when it has the store itself, or over the control socket when a server has it (see
ask.py and carbon/control.py): the request is the same, {"job": name, "arguments": {...}}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from storage import retention
from storage.errors import InvalidJob, StorageError
from storage.index import Index
from storage.intern import lay
from storage.jobs import Job, Progress
from storage.lifetime import expire
from storage.migration import migrate
from storage.snapshot import snapshot
from storage.store import Store
from storage.whisper_tree import import_tree

_WORDS = {str: "a text", bool: "true or false", int: "a whole number"}
_NAMES_AT_ONCE = 1000  # deleted, restored or purged in a slice


class Setting(NamedTuple):
    """Where a job runs."""

    store: Store
    clock: Callable[[], int]  # epoch seconds
    tell: Callable[[str], None]  # a line on the way, such as a file that is skipped


class Operation(NamedTuple):
    begin: Callable[..., Job]  # of a Setting and the arguments
    arguments: Mapping[str, type]
    goes_on: bool = False  # when the one who asked for it hangs up


class ImportDiffers(StorageError):
    """An import after which the store does not give all that the files have."""


def start(operation: Operation, name: str, arguments: Mapping[str, Any], setting: Setting) -> Job:
    """The job of a request; raises InvalidJob."""
    for key, value in arguments.items():
        if key not in operation.arguments:
            allowed = ", ".join(operation.arguments)
            raise InvalidJob(f"{name}: {key!r} is no argument; there are: {allowed or 'none'}")
        if type(value) is not operation.arguments[key]:
            raise InvalidJob(f"{name}: {key} is {value!r}, and must be {_WORDS[operation.arguments[key]]}")
    missing = [key for key in operation.arguments if key not in arguments]
    if missing:
        raise InvalidJob(f"{name}: {', '.join(missing)} must be given")
    return operation.begin(setting, **arguments)


def find(operations: Mapping[str, Operation], name: str) -> Operation:
    """The operation of a name; raises InvalidJob."""
    if name not in operations:
        raise InvalidJob(f"{name!r} is no job; there are: {', '.join(sorted(operations))}")
    return operations[name]


def _folder(text: str) -> Path:
    """An absolute folder: another process's relative one would be somewhere else."""
    if not text.startswith("/") or "\0" in text:
        raise InvalidJob(f"{text!r} is no absolute path")
    return Path(text)


def _import_whisper(setting: Setting, folder: str, verify: bool) -> Job:
    return _imported(setting, _folder(folder), verify)


def _imported(setting: Setting, folder: Path, verify: bool) -> Job:
    def skipped(path: str, why: str) -> None:
        setting.tell(f"skipped {path}: {why}")

    tally = yield from import_tree(setting.store, folder, setting.clock, skip=skipped, verify=verify)
    lines = [
        f"imported   {tally.files:,} files, {tally.datapoints:,} datapoints",
        f"skipped    {tally.skipped:,}{' files, listed above' if tally.skipped else ''}",
    ]
    if verify:
        lines.append(f"verified   {tally.verified:,} files, {tally.different:,} of them differ")
    if tally.changed:
        lines.append(
            f"unverified {tally.changed:,} files that were written since the import began; import again"
        )
    if tally.different:
        for line in lines:
            setting.tell(line)
        raise ImportDiffers(
            f"{tally.different:,} files differ from what the store gives; they are listed above"
        )
    return lines


def _snapshot(setting: Setting, folder: str) -> Job:
    return snapshot(setting.store, _folder(folder))


# --- what becomes of names ---


def _delete(setting: Setting, glob: str) -> Job:
    names, deleted = setting.store.find_series(glob)[0], 0
    for at in range(0, len(names), _NAMES_AT_ONCE):
        deleted += setting.store.delete(names[at : at + _NAMES_AT_ONCE], setting.clock())
        yield Progress(at, len(names), "series")
    span = retention.words(setting.store.rules.limits.trash_s)
    return [f"deleted    {deleted:,} series; plumbago restore brings them back, for {span}"]


def _restore(setting: Setting, glob: str) -> Job:
    names = list(dict.fromkeys(name for name, _ in trashed(setting.store, glob)))
    restored = refused = 0
    for at in range(0, len(names), _NAMES_AT_ONCE):
        found = setting.store.restore(names[at : at + _NAMES_AT_ONCE])
        for name in found.refused:
            setting.tell(f"not restored: {name} is there again, rename or delete it first")
        restored, refused = restored + len(found.restored), refused + len(found.refused)
        yield Progress(at, len(names), "series")
    return [
        f"restored   {restored:,} series",
        *([f"refused    {refused:,}, listed above"] if refused else []),
    ]


def _rename(setting: Setting, old: str, new: str) -> Job:
    setting.store.rename(old, new)
    yield Progress(1, 1, "series")
    return [f"renamed    {old} to {new}"]


def _purge(setting: Setting, older_than_s: int) -> Job:
    purged, before = 0, setting.clock() - older_than_s
    while some := setting.store.purge(before, at_most=_NAMES_AT_ONCE):
        purged += some
        yield Progress(purged, 0, "series")
    return [f"purged     {purged:,} series, for good"]


def trashed(store: Store, glob: str | None) -> list[tuple[str, int]]:
    """(name, epoch seconds of when it was deleted) of what lies in the trash, all or what matches a glob."""
    found = store.trashed()
    if glob is None or not found:
        return found
    names = list(dict.fromkeys(name for name, _ in found))
    index = Index()
    blob, starts, stops = lay([name.encode() for name in names])
    index.add_all(blob, starts, stops, np.arange(len(names), dtype=np.int32))
    matching = set(index.find_series(glob)[0])
    return [one for one in found if one[0] in matching]


# --- the table ---

OPERATIONS: Mapping[str, Operation] = {
    "import whisper": Operation(_import_whisper, {"folder": str, "verify": bool}),
    "snapshot": Operation(_snapshot, {"folder": str}),
    "delete": Operation(_delete, {"glob": str}),
    "restore": Operation(_restore, {"glob": str}),
    "rename": Operation(_rename, {"old": str, "new": str}),
    "purge": Operation(_purge, {"older_than_s": int}),
    "expire": Operation(lambda setting: expire(setting.store, setting.clock()), {}, goes_on=True),
    "migrate": Operation(
        lambda setting, lossy: migrate(setting.store, setting.clock, lossy=lossy),
        {"lossy": bool},
        goes_on=True,
    ),
}
