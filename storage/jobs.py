"""Long work of the writer, done in slices: a *job* is a generator that yields how far it has come.

Whoever holds the store open for writing drives it: a command when no server runs, the receiver's reactor when one
does, so a slice takes some tens of milliseconds at most. Between two slices datapoints come in, so nothing that a
job has read of the store before a yield may be trusted after it. Closing the generator stops the job; what it has
done by then stands.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple


class Progress(NamedTuple):
    """How far a job has come."""

    done: int
    total: int  # 0 = not known
    what: str  # what is counted: "series", "files"


Job = Generator[Progress, None, list[str]]  # returns the lines that tell how it ended
