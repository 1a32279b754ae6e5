"""The tree of storage errors; every message has the value, what is allowed and the place.

StorageError
├── InvalidRetention      a retention text or a list of archives that cannot be
├── InvalidConfig         a line of a storage-*.conf (file, line, key, allowed)
├── InvalidName           a metric name that cannot be stored
├── InvalidGlob           a glob that cannot be matched within its bounds
├── UnknownAggregation    an aggregation that the table of consolidation.py does not have
├── StoreInUse            another writer holds the data folder
├── StoreVersion          the data folder was written by another version
├── NotAStore             the folder is no store, or cannot be read or written
├── CorruptRing           a ring file that is not what its header says (path, offset, reason)
├── CorruptCatalogue      a catalogue that SQLite, or a checksum of its own, does not recognise (path, reason)
├── EventsFailed          events that cannot be read or written (path, reason)
├── CorruptWhisper        a whisper file that is not what its header says
├── InvalidJob            a request for a job that there is not, or with arguments that it cannot have
├── CannotAsk             another process has the store and cannot be asked to do a job
└── JobFailed             the server says why a job ended early
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


class CorruptCatalogue(StorageError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class EventsFailed(StorageError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class CorruptWhisper(StorageError):
    pass


class InvalidJob(StorageError):
    pass


class CannotAsk(StorageError):
    pass


class JobFailed(StorageError):
    pass
