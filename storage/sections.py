"""Graphite's rules files: INI sections in file order, as Python's configparser reads them, with the line of each key.

What cannot be used is an InvalidConfig that names file, line and key: no rule is ever left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from storage.errors import InvalidConfig

FILE_BYTES_MAX = 1 << 20  # large installations have some hundred sections, 20 KiB
SECTIONS_MAX = 1000  # each may cost every new name a search
Stamp = tuple[int, int, int]  # a file's mtime in ns, size, inode


class Option(NamedTuple):
    key: str  # as it is written
    value: str
    line: int


@dataclass
class Section:
    """A section as it stands in its file; keys in lower case, as Graphite takes them in any."""

    path: str
    name: str
    line: int
    options: dict[str, Option]

    def option(self, key: str) -> Option:
        """A key that must be there and say something; raises InvalidConfig."""
        option = self.options.get(key.lower())
        if option is None:
            raise InvalidConfig(self.path, self.line, key, f"is missing in section [{self.name}]")
        if not option.value:
            self.refuse(option, "says nothing")
        return option

    def allow_only(self, keys: Sequence[str]) -> None:
        for key, option in self.options.items():
            if key == "priority":
                self.refuse(
                    option, "is not read by Graphite: the first section that matches wins; sort the sections"
                )
            if key not in map(str.lower, keys):
                self.refuse(option, f"is unknown in section [{self.name}]; there are {', '.join(keys)}")

    def refuse(self, option: Option, reason: str) -> NoReturn:
        raise InvalidConfig(self.path, option.line, option.key, reason)


_MATCH_ALL = frozenset([".", ".*", ".+", "^", "$", "^.*", ".*$", "^.*$", "^.+$"])  # names are never empty
Search = Callable[[str], object]


def search(section: Section) -> Search | None:
    """What tells if the section's pattern is in a name; None: it is in each."""
    option = section.option("pattern")
    if option.value in _MATCH_ALL:
        return None
    try:
        return re.compile(option.value).search
    except (re.error, OverflowError, RecursionError) as error:
        section.refuse(option, f"{option.value!r} is no regular expression: {error}")


def first_match(searches: Sequence[Search | None]) -> Callable[[str], int]:
    """The function from a name to the number of the first search that finds something, else len(searches)."""
    # a rule that matches all ends the list: what stands behind it is never asked
    last = searches.index(None) if None in searches else len(searches)
    asked = [(number, search) for number, search in enumerate(searches[:last]) if search is not None]

    def number(name: str) -> int:
        for number, search in asked:
            if search(name):
                return number
        return last

    return number


# --- syntax ---

_HEADER = re.compile(r"\[([^]]+)\]\s*(?:[#;].*)?")
_OPTION = re.compile(r"([^=:]*?)\s*[=:]\s*(.*)", re.DOTALL)


def sections(path: str, text: str) -> Iterator[Section]:
    """The sections of an INI file as Python's configparser reads them, with the line of each key.

    Raises InvalidConfig for what is no section, key or comment, and for what stands twice.
    """
    section: Section | None = None
    seen: dict[str, int] = {}
    for line, entry in _entries(text):
        if entry.startswith("["):
            if section is not None:
                yield section
            section = Section(path, _header(path, line, entry, seen), line, {})
        elif section is None:
            raise InvalidConfig(path, line, _clipped(entry), "stands before the first [section]")
        else:
            _add_option(section, line, entry)
    if section is not None:
        yield section


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Headers and options with the numbers of their lines; a line indented deeper continues an option."""
    entry: list[str] = []
    first, indent = 0, 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        depth = len(raw) - len(raw.lstrip())
        if entry and depth > indent and not entry[0].startswith("["):
            entry.append(line)
            continue
        if entry:
            yield first, "\n".join(entry)
        entry, first, indent = [line], number, depth
    if entry:
        yield first, "\n".join(entry)


def _header(path: str, line: int, entry: str, seen: dict[str, int]) -> str:
    match = _HEADER.fullmatch(entry)
    if match is None:
        raise InvalidConfig(path, line, _clipped(entry), "is no section; wanted is [name] alone on its line")
    name = match[1]
    if name == "DEFAULT":
        raise InvalidConfig(
            path, line, "[DEFAULT]", "is no rule for Graphite, which reads it otherwise; name it [default]"
        )
    if name in seen:
        raise InvalidConfig(path, line, f"[{name}]", f"stands twice, first in line {seen[name]}")
    if len(seen) == SECTIONS_MAX:
        raise InvalidConfig(path, line, f"[{name}]", f"is one section too many; {SECTIONS_MAX} are allowed")
    seen[name] = line
    return name


def _add_option(section: Section, line: int, entry: str) -> None:
    match = _OPTION.fullmatch(entry)
    if match is None or not match[1]:
        raise InvalidConfig(section.path, line, _clipped(entry), "is no option; wanted is key = value")
    option = Option(match[1], match[2], line)
    before = section.options.setdefault(option.key.lower(), option)
    if before is not option:
        section.refuse(option, f"stands twice in section [{section.name}], first in line {before.line}")


def _clipped(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")


def text_of(path: Path) -> str | None:
    """A file's text, None if there is no such file; raises InvalidConfig if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidConfig(str(path), 0, "file", f"cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise InvalidConfig(str(path), 0, "file", f"is larger than {FILE_BYTES_MAX:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(str(path), line, "text", "is not UTF-8") from error


def stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # why it cannot be seen is said when it is read
    return status.st_mtime_ns, status.st_size, status.st_ino
