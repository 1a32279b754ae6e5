"""What is done once before the first client comes, so that none has to wait for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from render import api
from render.source import SharedStore
from storage import compiled
from storage.store import Store

_MARK = "reading"

_ASKED: Sequence[Mapping[str, Sequence[str]]] = (
    {"target": ["constantLine(1)"], "format": ["json"], "maxDataPoints": ["1"]},
    {"target": ["constantLine(1)"], "format": ["json"], "maxDataPoints": ["100000"]},
    {"target": ["constantLine(1)"]},  # a picture, and its fonts
)
_READ: Sequence[Mapping[str, Sequence[str]]] = (
    {"target": ["a.b"], "format": ["json"]},
    {"target": ["sumSeries(a.*)"], "format": ["json"]},
)


def is_compiled() -> bool:
    """Whether loading is all there is to do. Compiling takes long, the first time ever: the server answers before."""
    return compiled.mark(_MARK).exists()


def warm_up(house: api.House) -> None:
    """Have kernels loaded, or compiled, and tags made ready; also those that read, though there be nothing to read."""
    now, view = int(time.time()), api.ROUTES["/render"].view
    for params in _ASKED:
        api.respond(view, params, house, now)
    api.respond(api.ROUTES["/tags/findSeries"].view, {"expr": ["name=~a$"]}, house, now)
    with TemporaryDirectory(prefix="plumbago-") as folder:
        writer = Store(Path(folder) / "data")
        writer.create(["a.b"])
        reader = Store(Path(folder) / "data", writable=False)
        for params in _READ:
            api.respond(view, params, replace(house, source=SharedStore(reader), cache=None), now)
        reader.close()
        writer.close()
    with suppress(OSError):  # it is compiled again at the next start
        compiled.mark(_MARK).touch()
