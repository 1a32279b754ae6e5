"""`njit` of numba, with a cache that is renewed whenever any kernel changes.

numba itself looks only at the file of the kernel that it loads, not at those of the kernels that this one has
compiled in: after an update the old ones would go on reading, and silently misread. So the folder of the cache is
named after the contents of all files that have kernels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numba
from numba import njit

__all__ = ["njit"]

_PACKAGES = ("storage", "carbon", "render")
_PREFIX = "kernels-"


def fingerprint(root: Path) -> str:
    """A name for the contents of all files below the packages of `root` that have kernels."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        text = path.read_bytes()
        if b"njit" in text:
            digest.update(str(path.relative_to(root)).encode() + b"\0" + text)
    return digest.hexdigest()[:16]


def _base(root: Path) -> Path:
    """The first folder that we can write to: the user's choice, beside the sources, the user's cache."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    beside = root / "storage" / "__pycache__"
    if os.access(beside if beside.exists() else beside.parent, os.W_OK):
        return beside
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plumbago"


def use(root: Path) -> Path:
    """Have numba keep what it compiles in a folder of these sources; those of other ones are removed."""
    base = _base(root)
    mine = base / f"{_PREFIX}{fingerprint(root)}"
    if not mine.exists():
        for other in base.glob(f"{_PREFIX}*"):
            shutil.rmtree(other, ignore_errors=True)
    numba.config.CACHE_DIR = str(mine)  # type: ignore[attr-defined]  # which settings there are numba decides at run time
    return mine


def mark(name: str) -> Path:
    """A file that tells, where it is there, that some group of kernels was compiled; it goes when they change."""
    return Path(str(numba.config.CACHE_DIR)) / name  # type: ignore[attr-defined]  # as above


use(Path(__file__).resolve().parent.parent)
