"""Series deleted over HTTP, by the process that has the store: as `plumbago delete` has it done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from render.errors import Unavailable
from storage.ask import run_job
from storage.errors import StorageError
from storage.glob import exactly
from storage.jobs import Progress

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Deleter:
    """Lets series go, one request at a time: other jobs of the store may hold it up."""

    data: Path
    config: Path | None
    _busy: Lock = field(default_factory=Lock)

    def __call__(self, paths: Sequence[str]) -> None:
        """When it returns they are gone, if they were there; raises Unavailable, some may be gone then."""
        if not self._busy.acquire(blocking=False):
            raise Unavailable("other series are being deleted; ask again later")
        try:
            for path in dict.fromkeys(paths):
                run_job(self.data, self.config, "delete", {"glob": exactly(path)}, _Unseen())
        except (StorageError, OSError) as error:
            _LOG.error("series were not deleted: %s", error)
            raise Unavailable(
                "the process that has the store does not delete now; the log says why"
            ) from None
        finally:
            self._busy.release()


class _Unseen:
    """Where progress is not shown."""

    def progress(self, progress: Progress) -> None:
        pass

    def line(self, line: str) -> None:
        pass
