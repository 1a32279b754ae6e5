"""What decides the schema of a name: storage-schemas.conf and storage-aggregation.conf, the first match wins.

Both files are Graphite's: sections in file order, `pattern` searched for (case-sensitive) in the full
canonical name. A file that is absent is replaced by built-in rules; a name that no section of a file matches
gets the last built-in rule. Departures from carbon 1.1.10, each because what it does is silent: a section
that cannot be used is an error and is not skipped; an unknown key is an error; xFilesFactor is 0 where
nothing sets it (whisper: 0.5), because with 0.5 a half-empty interval vanishes from every coarser archive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, NoReturn, TypeVar

from storage import consolidation, retention
from storage.errors import InvalidConfig, InvalidRetention
from storage.retention import Retention

SCHEMAS_FILE = "storage-schemas.conf"
AGGREGATION_FILE = "storage-aggregation.conf"
FILE_BYTES_MAX = 1 << 20  # large installations have some hundred sections, 20 KiB
SECTIONS_MAX = 1000  # each may cost every new name a search


@dataclass(frozen=True)
class Schema:
    """How a series is kept; `aggregation` is a canonical name of consolidation.py, how slots roll up."""

    retention: Retention
    aggregation: str
    x_files_factor: float  # 0 to 1, the part of a coarse slot's points that must be known


class Decision(NamedTuple):
    """A name's schema, and in words the section of the file or the built-in rule that decided each half."""

    schema: Schema
    retention_rule: str
    aggregation_rule: str


class _Aggregation(NamedTuple):
    method: str
    x_files_factor: float


_T = TypeVar("_T")


@dataclass(frozen=True)
class _Half(Generic[_T]):
    """The rules of one file: `number(name)` is the rule's place in `outcomes` and in `words`."""

    outcomes: Sequence[_T]
    words: Sequence[str]
    number: Callable[[str], int]


@dataclass(frozen=True)
class Rules:
    """Decides the schema of names. Never changes: when `changed()`, load new ones."""

    retentions: _Half[Retention]
    aggregations: _Half[_Aggregation]
    folder: Path | None
    fingerprint: tuple[tuple[int, int, int] | None, ...]  # of each file: mtime in ns, size, inode
    schemas: tuple[Schema, ...] = field(init=False)  # every pair of outcomes, what decide_all points into

    def __post_init__(self) -> None:
        pairs = ((kept, rolled) for kept in self.retentions.outcomes for rolled in self.aggregations.outcomes)
        object.__setattr__(self, "schemas", tuple(Schema(kept, *rolled) for kept, rolled in pairs))

    @classmethod
    def load(cls, folder: Path | None) -> Rules:
        """The rules of a folder's two files, None: the built-in ones; raises InvalidConfig."""
        if folder is None:
            return cls(_BUILT_IN_RETENTIONS, _BUILT_IN_AGGREGATIONS, None, ())
        if not folder.is_dir():
            raise InvalidConfig(
                str(folder), 0, "folder", "is no folder; without one the built-in rules decide"
            )
        # taken before reading: a file that is written meanwhile then counts as changed
        fingerprint = _fingerprint(folder)
        retentions = _read(folder / SCHEMAS_FILE, _retention, _BUILT_IN_RETENTIONS)
        aggregations = _read(folder / AGGREGATION_FILE, _aggregation, _BUILT_IN_AGGREGATIONS)
        return cls(retentions, aggregations, folder, fingerprint)

    def changed(self) -> bool:
        """If a file was written, made or removed since it was read; two stat calls."""
        return self.folder is not None and _fingerprint(self.folder) != self.fingerprint

    def decide(self, name: str) -> Decision:
        """The schema of a canonical name, and why."""
        kept, rolled = self.retentions.number(name), self.aggregations.number(name)
        schema = Schema(self.retentions.outcomes[kept], *self.aggregations.outcomes[rolled])
        return Decision(schema, self.retentions.words[kept], self.aggregations.words[rolled])

    def decide_all(self, names: Sequence[str]) -> list[int]:
        """The place in `schemas` of each canonical name's schema."""
        kept, rolled, width = (
            self.retentions.number,
            self.aggregations.number,
            len(self.aggregations.outcomes),
        )
        return [kept(name) * width + rolled(name) for name in names]


# --- built-in rules ---

_COLLECTED = ("hosts.", "collectd.", "stats.", "stats_counts.", "statsd.")

# The last node says how a name rolls up: what statsd, collectd, Dropwizard and Graphite's examples write.
# A node that ends in _total is a counter that only grows (Prometheus' custom): a sum of it means nothing,
# and rates need its last value. With tags the name ends at the first ";".
_SUM, _MAX, _MIN, _LAST, _AVERAGE = range(5)  # the order of _BUILT_IN_AGGREGATIONS
_ENDINGS = {
    "count": _SUM, "counter": _SUM, "sum": _SUM,
    "max": _MAX, "upper": _MAX, "min": _MIN, "lower": _MIN,
}  # fmt: skip
_PERCENTILES = {"upper": _MAX, "lower": _MIN}  # statsd's upper_90, upper_99_9 and lower_10


def _collected_number(name: str) -> int:
    return 0 if name.startswith(_COLLECTED) else 1


def _ending_number(name: str) -> int:
    if ";" in name:
        name = name[: name.index(";")]
    node = name[name.rfind(".") + 1 :]
    number = _ENDINGS.get(node)
    if number is not None:
        return number
    if name.startswith("stats_counts."):
        return _SUM
    if "_" not in node:
        return _AVERAGE
    if node.endswith("_total"):
        return _LAST
    word, _, percent = node.partition("_")
    return _PERCENTILES.get(word, _AVERAGE) if percent.replace("_", "").isdecimal() else _AVERAGE


_BUILT_IN_RETENTIONS = _Half(
    (retention.parse("10s:6h,1m:7d,10m:5y"), retention.parse("1m:30d,15m:5y")),
    ("built-in default 'collected every 10 s'", "built-in default 'everything else, every minute'"),
    _collected_number,
)
_BUILT_IN_AGGREGATIONS = _Half(
    tuple(_Aggregation(method, 0.0) for method in ("sum", "max", "min", "last", "average")),
    (
        "built-in default 'counts are summed'",
        "built-in default 'maxima keep the highest'",
        "built-in default 'minima keep the lowest'",
        "built-in default 'totals keep the last'",
        "built-in default 'everything else is averaged'",
    ),
    _ending_number,
)


# --- files ---


class _Option(NamedTuple):
    key: str  # as it is written
    value: str
    line: int


@dataclass
class _Section:
    """A section as it stands in its file; keys in lower case, as Graphite takes them in any."""

    path: str
    name: str
    line: int
    options: dict[str, _Option]

    def option(self, key: str) -> _Option:
        """A key that must be there and say something; raises InvalidConfig."""
        option = self.options.get(key)
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

    def refuse(self, option: _Option, reason: str) -> NoReturn:
        raise InvalidConfig(self.path, option.line, option.key, reason)


def _read(path: Path, outcome: Callable[[_Section], _T], built_in: _Half[_T]) -> _Half[_T]:
    """A file's rules, with the last built-in rule behind them; without the file, the built-in rules."""
    text = _text(path)
    if text is None:
        return built_in
    sections = list(_sections(str(path), text))
    searches = [_search(section) for section in sections]
    outcomes = [outcome(section) for section in sections]
    words = [f"section [{section.name}] of {path.name}, line {section.line}" for section in sections]
    number = _first_match(searches)
    return _Half((*outcomes, built_in.outcomes[-1]), (*words, built_in.words[-1]), number)


def _retention(section: _Section) -> Retention:
    section.allow_only(["pattern", "retentions"])
    option = section.option("retentions")
    try:
        return retention.parse(option.value)
    except InvalidRetention as error:
        section.refuse(option, str(error))


def _aggregation(section: _Section) -> _Aggregation:
    section.allow_only(["pattern", "xFilesFactor", "aggregationMethod"])
    method, factor = "average", 0.0
    if "aggregationmethod" in section.options:
        method = _method(section, section.option("aggregationmethod"))
    if "xfilesfactor" in section.options:
        factor = _factor(section, section.option("xfilesfactor"))
    return _Aggregation(method, factor)


def _method(section: _Section, option: _Option) -> str:
    allowed = (*consolidation.WHISPER_METHODS, "avg")
    if option.value not in allowed:
        section.refuse(option, f"{option.value!r} is no method; there are {', '.join(allowed)}")
    return consolidation.canonical(option.value)


def _factor(section: _Section, option: _Option) -> float:
    try:
        factor = float(option.value)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 1:
        section.refuse(option, f"{option.value!r} is no number from 0 to 1")
    return factor


_MATCH_ALL = frozenset([".", ".*", ".+", "^", "$", "^.*", ".*$", "^.*$", "^.+$"])  # names are never empty
_Search = Callable[[str], object]


def _search(section: _Section) -> _Search | None:
    """What tells if the section's pattern is in a name; None: it is in each."""
    option = section.option("pattern")
    if option.value in _MATCH_ALL:
        return None
    try:
        return re.compile(option.value).search
    except (re.error, OverflowError, RecursionError) as error:
        section.refuse(option, f"{option.value!r} is no regular expression: {error}")


def _first_match(searches: Sequence[_Search | None]) -> Callable[[str], int]:
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


def _sections(path: str, text: str) -> Iterator[_Section]:
    """The sections of an INI file as Python's configparser reads them, with the line of each key.

    Raises InvalidConfig for what is no section, key or comment, and for what stands twice.
    """
    section: _Section | None = None
    seen: dict[str, int] = {}
    for line, entry in _entries(text):
        if entry.startswith("["):
            if section is not None:
                yield section
            section = _Section(path, _header(path, line, entry, seen), line, {})
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


def _add_option(section: _Section, line: int, entry: str) -> None:
    match = _OPTION.fullmatch(entry)
    if match is None or not match[1]:
        raise InvalidConfig(section.path, line, _clipped(entry), "is no option; wanted is key = value")
    option = _Option(match[1], match[2], line)
    before = section.options.setdefault(option.key.lower(), option)
    if before is not option:
        section.refuse(option, f"stands twice in section [{section.name}], first in line {before.line}")


def _clipped(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")


def _text(path: Path) -> str | None:
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


def _fingerprint(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(map(_stamp, (folder / SCHEMAS_FILE, folder / AGGREGATION_FILE)))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # why it cannot be seen is said when it is read
    return status.st_mtime_ns, status.st_size, status.st_ino
