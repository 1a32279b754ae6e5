"""The tree of storage errors; every message has the value, what is allowed and the place.

StorageError
├── InvalidRetention      a retention text or a list of archives that cannot be
├── InvalidConfig         a line of storage-schemas.conf or storage-aggregation.conf (file, line, key, allowed)
├── InvalidName           a metric name that cannot be stored
├── InvalidGlob           a glob that cannot be matched within its bounds
├── UnknownAggregation    an aggregation that the table of consolidation.py does not have
├── StoreInUse            another writer holds the data folder
├── StoreVersion          the data folder was written by another version
├── NotAStore             the folder is no store, or cannot be read or written
├── CorruptRing           a ring file that is not what its header says (path, offset, reason)
└── CorruptWhisper        a whisper file that is not what its header says
"""

from __future__ import annotations


class StorageError(Exception):
    """The root: `except StorageError` is everything that this wing raises on purpose."""


class InvalidRetention(StorageError):
    pass


class InvalidConfig(StorageError):
    """A configuration file that cannot be used; says file, line, key and what is allowed."""

    def __init__(self, path: str, line: int, key: str, reason: str) -> None:
        super().__init__(f"{path}:{line}: {key}: {reason}")
        self.path, self.line, self.key, self.reason = path, line, key, reason


class InvalidName(StorageError):
    pass


class InvalidGlob(StorageError):
    pass


class UnknownAggregation(StorageError):
    pass


class StoreInUse(StorageError):
    pass


class StoreVersion(StorageError):
    pass


class NotAStore(StorageError):
    pass


class CorruptRing(StorageError):
    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: at byte {offset}: {reason}")
        self.path, self.offset, self.reason = path, offset, reason


class CorruptWhisper(StorageError):
    pass
